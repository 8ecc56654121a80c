"""The host that the traps are tested on."""
from __future__ import annotations

import pytest

from tests.support.hosts import OurHost, PlainHost


@pytest.fixture
def host(request):
    """Return our host, or plain ws4py when the test run is to show that."""
    return PlainHost() if request.config.getoption("--plain-ws4py") else OurHost()
