"""pushserver in a CherryPy site, pushed to from an ordinary thread."""
from __future__ import annotations

import importlib.metadata

import cherrypy

from pushserver import (CentrifugeConnection, ChannelRule, Connection, PushPlugin, PushTool,
                        __version__)

from .control import Control, options
from .site import Pages, run_site

ROOM = ChannelRule("room:", publish="anyone", see_presence="anyone", see_history="anyone",
                   join_leave=True, history=1000)

push = PushPlugin(cherrypy.engine, max_connections=19_500, max_message_size=2 << 20,
                  channels=[ROOM])
cherrypy.tools.push = PushTool(push)


class Echo(Connection):
    """Send back what comes."""

    def received_message(self, message):
        self.send(message.data, message.is_binary)


class Talker(CentrifugeConnection):
    """Answer what is called."""

    def rpc(self, method, data):
        return data


class Root(Pages):
    """The addresses."""

    @cherrypy.expose
    @cherrypy.tools.push()
    def all(self, Id):
        """Let everybody in."""

    @cherrypy.expose
    @cherrypy.tools.push(channels=["a"])
    def a(self, Id):
        """Let everybody in."""

    @cherrypy.expose
    @cherrypy.tools.push(channels=["b"])
    def b(self, Id):
        """Let everybody in."""

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def echo(self, Id):
        """Let everybody in."""

    @cherrypy.expose
    @cherrypy.tools.push(protocol="centrifuge", handler_cls=Talker, trust_id=True)
    def talk(self, Id):
        """Let everybody in."""


class Server:
    """See ``control``."""

    def push(self, group, text):
        if group == "all":
            push.broadcast(text)
        else:
            push.publish(group, text)

    def send(self, Id, text):
        push.send(Id, text)

    def ids(self):
        return push.ids()

    def versions(self):
        return {"pushserver": __version__, "CherryPy": importlib.metadata.version("cherrypy"),
                "cheroot": importlib.metadata.version("cheroot")}


def leave_switch_interval():
    """Do without the loop's short switch interval, to measure what it brings and costs."""
    from pushserver.runtime.switch_interval import SwitchInterval
    SwitchInterval.shorten = lambda switch_interval: None


if __name__ == "__main__":
    command = options()
    if command.plain:
        leave_switch_interval()
    push.subscribe()
    run_site(Root(), command.tls, Control(Server()))
