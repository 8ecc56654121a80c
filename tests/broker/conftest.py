"""A site of each implementation, and its nodes, for every test that asks for one."""
from __future__ import annotations

import pytest

from tests.broker.implementations import ALL, OF_SEVERAL_NODES
from tests.broker.recording_node import RecordingNode


@pytest.fixture(params=ALL.values(), ids=ALL)
def site(request):
    """Return a site with one node."""
    site = request.param()
    yield site
    site.close()


@pytest.fixture
def node(site):
    """Return the site's node, which has started."""
    node = RecordingNode(site.broker)
    yield node
    node.stop()


@pytest.fixture(params=OF_SEVERAL_NODES.values(), ids=OF_SEVERAL_NODES)
def wide_site(request):
    """Return a site that can have several nodes."""
    site = request.param()
    yield site
    site.close()


@pytest.fixture
def nodes(wide_site):
    """Return two nodes of one site, which have started."""
    nodes = [RecordingNode(broker) for broker in (wide_site.broker, wide_site.another())]
    yield nodes
    for node in nodes:
        node.stop()
