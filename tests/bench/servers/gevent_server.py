"""gevent-websocket, pushed to from a greenlet."""
from __future__ import annotations

import importlib.metadata
import os
import time

import gevent
from gevent import monkey
from gevent.os import make_nonblocking, nb_read
from gevent.pywsgi import WSGIServer
from geventwebsocket import WebSocketError
from geventwebsocket.handler import WebSocketHandler

from .control import BACKLOG, Control, Groups, options, tls_context

groups = Groups()


def app(environ, start_response):
    """Echo, or keep a connection in its group."""
    connection = environ["wsgi.websocket"]
    path, Id = environ["PATH_INFO"], environ["QUERY_STRING"].partition("=")[2]
    if path == "/echo":
        return echo(connection)
    groups.add(path, Id, connection)
    try:
        while connection.receive() is not None:
            pass
    except WebSocketError:
        pass
    finally:
        groups.remove(Id, connection)
    return []


def echo(connection):
    """Send back what comes."""
    try:
        while (data := connection.receive()) is not None:
            connection.send(data)
    except WebSocketError:
        pass
    return []


class Server:
    """See ``control``."""

    def push(self, group, text):
        for connection in list(groups.groups[group]):
            try:
                connection.send(text)
            except WebSocketError:
                pass

    def send(self, Id, text):
        groups.by_id[Id].send(text)

    def ids(self):
        return list(groups.by_id)

    def versions(self):
        return {"gevent": gevent.__version__,
                "gevent-websocket": importlib.metadata.version("gevent-websocket")}


class GreenControl(Control):
    """Read orders and push in greenlets."""

    def drive(self, name, steps):
        """Push from a greenlet."""
        def run():
            start = time.monotonic()
            for seconds in steps:
                gevent.sleep(seconds)
            self.say("done", name, time.monotonic() - start)
        gevent.spawn(run)

    def run(self):
        """See ``Control.run``."""
        make_nonblocking(0)
        rest = b""
        while data := nb_read(0, 4096):
            *lines, rest = (rest + data).split(b"\n")
            if not all([self.obey(line.decode()) for line in lines]):
                return


def start_thread(run):
    """Start a thread of the system's, not a greenlet."""
    monkey.get_original("_thread", "start_new_thread")(run, ())


if __name__ == "__main__":
    command = options()
    ssl = {"ssl_context": tls_context(command.tls)} if command.tls else {}
    server = WSGIServer(("127.0.0.1", 0), app, handler_class=WebSocketHandler, log=None,
                        backlog=BACKLOG, **ssl)
    server.start()
    control = GreenControl(Server(), start_thread)
    control.ready(server.server_port)
    control.run()
    os._exit(0)
