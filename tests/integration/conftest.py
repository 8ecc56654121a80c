"""Sites for the tests of Centrifugo's protocol and of the HTTP API, and their clients."""
from __future__ import annotations

import pytest

from tests.support import api_site, centrifuge_site
from tests.support.api_client import Api
from tests.support.centrifuge_client import PATH, RawClient

SITES = {"api": api_site.serving, "centrifuge": centrifuge_site.serving}
"""By folder of the test."""


@pytest.fixture(scope="module")
def shared(request):
    """One site for the tests that leave nothing behind in it."""
    with SITES[request.path.parent.name]() as site:
        yield site


@pytest.fixture
def site(request):
    with SITES[request.path.parent.name]() as site:
        yield site


@pytest.fixture
def api(site):
    return Api(site.port)


@pytest.fixture
def join(site):
    """Connect clients that vanish at the end."""
    clients = []

    def join(Id="42", connect=True, path=PATH, **request):
        client = RawClient(site, f"{path}?Id={Id}" if Id else path)
        clients.append(client)
        if connect:
            client.connected = client.connect(**request)
        return client

    yield join
    for client in clients:
        client.close()
