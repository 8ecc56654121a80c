"""ws4py's own plugin and manager in a CherryPy site, pushed to over the bus."""
from __future__ import annotations

import importlib.metadata

import cherrypy
from ws4py.server.cherrypyserver import WebSocketPlugin, WebSocketTool
from ws4py.websocket import WebSocket

from .control import Control, Groups, options, split_target
from .site import Pages, run_site

plugin = WebSocketPlugin(cherrypy.engine)
cherrypy.tools.websocket = WebSocketTool()
groups = Groups()


class Kept(WebSocket):
    """A connection in a group."""

    def opened(self):
        self.target = self.environ["REQUEST_URI"] if "REQUEST_URI" in self.environ else \
            f"{self.environ['PATH_INFO']}?{self.environ['QUERY_STRING']}"
        groups.add(*split_target(self.target), self)

    def closed(self, code, reason=None):
        groups.remove(split_target(self.target)[1], self)


class Echo(WebSocket):
    """Send back what comes."""

    def received_message(self, message):
        self.send(message.data, message.is_binary)


class Root(Pages):
    """The addresses."""

    @cherrypy.expose
    @cherrypy.tools.websocket(handler_cls=Kept)
    def all(self, Id):
        """Let everybody in."""

    @cherrypy.expose
    @cherrypy.tools.websocket(handler_cls=Kept)
    def a(self, Id):
        """Let everybody in."""

    @cherrypy.expose
    @cherrypy.tools.websocket(handler_cls=Kept)
    def b(self, Id):
        """Let everybody in."""

    @cherrypy.expose
    @cherrypy.tools.websocket(handler_cls=Echo)
    def echo(self, Id):
        """Let everybody in."""


class Server:
    """See ``control``."""

    def push(self, group, text):
        if group == "all":
            cherrypy.engine.publish("websocket-broadcast", text)
        else:
            for connection in list(groups.groups[group]):
                connection.send(text)

    def send(self, Id, text):
        groups.by_id[Id].send(text)

    def ids(self):
        return list(groups.by_id)

    def versions(self):
        return {"ws4py": importlib.metadata.version("ws4py"),
                "CherryPy": importlib.metadata.version("cherrypy")}


if __name__ == "__main__":
    command = options()
    plugin.subscribe()
    run_site(Root(), command.tls, Control(Server()))
