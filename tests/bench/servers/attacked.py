"""A site to attack: ``python -m tests.bench.servers.attacked KIND PORT [PEM]``.

``cheroot`` is CherryPy alone, ``plain`` has the push server, and ``front`` has its front as well.
"""
from __future__ import annotations

import sys
import time

import cherrypy

PAGE = b"x" * 4_000_000
PUSHES = 20


def main(kind, port, pem=None):
    """Serve until the end of the standard input."""
    if kind != "cheroot":
        from pushserver import PushPlugin, PushTool
        push = PushPlugin(cherrypy.engine)
        push.subscribe()
        cherrypy.tools.push = PushTool(push)
        push.every(1 / PUSHES, lambda: repr(time.monotonic()))

    class Root:
        @cherrypy.expose
        def index(self):
            return "hello"

        @cherrypy.expose
        def large(self):
            return PAGE

        @cherrypy.expose
        @cherrypy.config(**{"response.stream": True})
        def stream(self):
            return iter([PAGE])

        @cherrypy.expose
        def size(self):
            return str(len(cherrypy.request.body.read()))

        if kind != "cheroot":
            @cherrypy.expose
            @cherrypy.tools.push()
            def websocket(self, Id):
                """Accept everybody."""

    cherrypy.config.update({
        "server.socket_port": int(port), "server.thread_pool": 20, "log.screen": False,
        "server.socket_queue_size": 1024, "engine.autoreload.on": False, "checker.on": False})
    if kind == "front":
        cherrypy.config.update({"server.instance": "pushserver.PushFront"})
    if pem:
        cherrypy.config.update({"server.ssl_module": "builtin", "server.ssl_certificate": pem,
                                "server.ssl_private_key": pem})
    cherrypy.tree.mount(Root(), "/")
    cherrypy.engine.start()
    print("ready", flush=True)
    sys.stdin.read()
    cherrypy.engine.exit()


if __name__ == "__main__":
    main(*sys.argv[1:])
