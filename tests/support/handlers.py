"""What the tests of connections share: sites with one handler, and settings that save time."""
from __future__ import annotations

import contextlib
import struct

import cherrypy

from pushserver import Connection
from tests.support.site import Echo, recorder, running_site
from tests.support.waiting import PATIENCE

SMALL = 4096
"""Bytes of a socket's buffer in the tests where buffers fill."""

QUICK = {"ping_interval": 0.1, "pong_timeout": 0.1}
"""Settings with which a dead peer is soon noticed."""


def blocked(gate):
    """Return a handler class that does nothing until a gate is open."""
    class Blocked(Connection):
        def received_message(self, message):
            gate.wait(PATIENCE)

    return Blocked


def site_of(handler_cls=Connection, **options):
    """Return a site with a handler at ``/websocket``."""
    class Root:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=handler_cls, **options)
        def websocket(self, Id):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Echo)
        def echo(self, Id):
            """Accept everybody."""

    return Root()


def handler(**methods):
    """Return a recorder class with other methods."""
    return type("Handler", (recorder(),), methods)


def close_payload(code, reason=b""):
    return struct.pack("!H", code) + reason


@contextlib.contextmanager
def echoing(**settings):
    """Return a client of the echo address."""
    with running_site(settings=settings) as site, site.client("/echo?Id=1") as client:
        yield client
