"""What the two servers on CherryPy share: how the site is run, and its page."""
from __future__ import annotations

import cherrypy

from .control import BACKLOG

THREADS = 20
ROWS = 100


class Pages:
    """A page that takes about as long to make as a small template."""

    @cherrypy.expose
    def page(self):
        """Return a table."""
        rows = "".join(f"<tr><td>{number}</td><td>{number * number}</td></tr>"
                       for number in range(ROWS))
        return f"<table>{rows}</table>"


def run_site(root, tls, control):
    """Run the site in CherryPy's engine until the harness stops it."""
    cherrypy.config.update({
        "server.socket_host": "127.0.0.1", "server.socket_port": 0,
        "server.thread_pool": THREADS, "server.socket_queue_size": BACKLOG,
        "engine.autoreload.on": False, "checker.on": False, "log.screen": False})
    if tls:
        cherrypy.config.update({"server.ssl_module": "builtin", "server.ssl_certificate": tls[0],
                                "server.ssl_private_key": tls[1]})
    cherrypy.tree.mount(root, "/")
    cherrypy.engine.start()
    control.ready(cherrypy.server.httpserver.socket.getsockname()[1])
    try:
        control.run()
    finally:
        cherrypy.engine.exit()
