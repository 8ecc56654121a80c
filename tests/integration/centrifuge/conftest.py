"""Sites that speak Centrifugo's protocol, and their clients."""
from __future__ import annotations

import pytest

from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import serving


@pytest.fixture(scope="module")
def shared():
    """One site for all tests that leave nothing behind in it."""
    with serving() as site:
        yield site


@pytest.fixture
def site():
    with serving() as site:
        yield site


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
