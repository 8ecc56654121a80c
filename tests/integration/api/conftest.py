"""Sites with the HTTP API."""
from __future__ import annotations

import pytest

from tests.support.api_client import Api
from tests.support.api_site import serving


@pytest.fixture(scope="module")
def shared():
    """One site for the tests that leave nothing behind in it."""
    with serving() as site:
        yield site


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture
def api(site):
    return Api(site.port)
