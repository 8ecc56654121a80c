"""Who has read that it is in a channel is known to be there, whichever way it came in."""
from __future__ import annotations

import time

import cherrypy
import pytest

from pushserver import ChannelRule
from pushserver.channels.presence import Presence
from tests.support.centrifuge_client import RawClient
from tests.support.site import running_site

RULES = (ChannelRule("room", join_leave=True, see_presence="subscribers"),)


class Root:
    @cherrypy.expose
    @cherrypy.tools.push(channels=["room"])
    def plain(self, Id):
        """Let everybody into the room."""

    @cherrypy.expose
    @cherrypy.tools.push(protocol="centrifuge", channels=["room"])
    def started(self, Id):
        """Let everybody into the room when they connect."""

    @cherrypy.expose
    @cherrypy.tools.push(protocol="centrifuge")
    def asking(self, Id):
        """Let everybody ask for the room."""


@pytest.fixture
def site(monkeypatch):
    """A site in which it takes a while to note who comes."""
    join = Presence.join

    def slow(self, channel, info):
        time.sleep(0.1)
        return join(self, channel, info)

    monkeypatch.setattr(Presence, "join", slow)
    with running_site(Root(), plugin={"channels": RULES}) as site:
        yield site


def plain(site):
    return site.client("/plain?Id=42")


def started(site):
    client = RawClient(site, "/started?Id=42")
    client.connect()
    return client


def asking(site):
    client = RawClient(site, "/asking?Id=42")
    client.connect()
    client.call("subscribe", channel="room")
    return client


@pytest.mark.parametrize("come_in", [plain, started, asking])
def test_who_knows_that_it_is_in_is_known_to_be_there(site, come_in):
    with come_in(site):
        assert [info.user for info in site.push.presence("room").values()] == ["42"]
