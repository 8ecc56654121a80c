"""Tornado, pushed to on its loop."""
from __future__ import annotations

import asyncio

import tornado
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from .control import BACKLOG, Groups, LoopControl, options, tls_context

groups = Groups()


class Kept(WebSocketHandler):
    """A connection in a group."""

    def open(self):
        self.Id = self.get_query_argument("Id")
        groups.add(self.request.path, self.Id, self)

    def on_message(self, message):
        """Ignore it."""

    def on_close(self):
        groups.remove(self.Id, self)


class Echo(WebSocketHandler):
    """Send back what comes."""

    def on_message(self, message):
        self.write_message(message, isinstance(message, bytes))


class Server:
    """See ``control``."""

    def push(self, group, text):
        for connection in list(groups.groups[group]):
            try:
                connection.write_message(text)
            except WebSocketClosedError:
                pass

    def send(self, Id, text):
        groups.by_id[Id].write_message(text)

    def ids(self):
        return list(groups.by_id)

    def versions(self):
        return {"Tornado": tornado.version}


async def main():
    command = options()
    app = Application([("/all", Kept), ("/a", Kept), ("/b", Kept), ("/echo", Echo)],
                      log_function=lambda handler: None)
    sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
    server = HTTPServer(app, ssl_options=tls_context(command.tls))
    server.add_sockets(sockets)
    control = LoopControl(Server())
    control.ready(sockets[0].getsockname()[1])
    await control.run()


if __name__ == "__main__":
    asyncio.run(main())
