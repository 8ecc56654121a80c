"""A site that speaks Centrifugo's protocol and has a channel of each kind, for its tests."""
from __future__ import annotations

import contextlib

import cherrypy

from pushserver import CentrifugeConnection, ChannelRule, CloseConnection, CommandError, Disconnect
from tests.support.raw_client import masked_frame
from tests.support.site import Root, running_site

CONNECT = masked_frame(0x81, b'{"id":1,"connect":{}}')
"""The first command, to send right after the handshake: no time passes in between."""

RULES = (
    ChannelRule("news:", history=10, see_history="subscribers", publish="users",
                see_presence="subscribers", join_leave=True),
    ChannelRule("deep:", history=5000, history_bytes=1 << 24, publish="anyone",
                see_history="anyone"),
    ChannelRule("open:", publish="subscribers"),
    ChannelRule("private:", subscribe="token"),
    ChannelRule("own:", subscribe=lambda connection, channel: channel == f"own:{connection.Id}"),
    ChannelRule("broken:", subscribe=lambda connection, channel: 1 / 0))


class Handler(CentrifugeConnection):
    """A site's handler that defines every hook."""

    anonymous = True
    heard: list = []

    def connecting(self, data):
        if data == "refuse":
            raise CloseConnection(Disconnect(4500, "not you"))
        if data == "error":
            raise CommandError(400, "not today")
        if data == "start":
            self.subscribe("news:start")
        return {"you sent": data} if data else None

    def rpc(self, method, data):
        if method == "add":
            return sum(data)
        if method == "echo":
            return data
        if method == "echo error":
            raise CommandError(404, f"there is no {data}")
        if method == "own error":
            raise CommandError(401, "no", temporary=True)
        if method == "fail":
            raise RuntimeError("the site's mistake")
        if method == "unjson":
            return object()
        return super().rpc(method, data)

    def message(self, data):
        self.heard.append(data)


def root():
    """Return a site, with a new class each time, because the tool belongs to the running site."""
    class Connection:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Handler)
        def websocket(self, Id=None):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", channels=["news:tool", "open:tool"])
        def strict(self, Id=None):
            """Accept clients that say who they are."""

    class Site(Root):
        connection = Connection()

    return Site()


@contextlib.contextmanager
def serving(**options):
    with running_site(root(), plugin={"channels": RULES, **options.pop("plugin", {})},
                      **options) as site:
        yield site


def vanish(client):
    """Close a client's socket, once all that it has asked for is done."""
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}
    client.close()


def position(result):
    return {"offset": result.get("offset", 0), "epoch": result["epoch"]}
