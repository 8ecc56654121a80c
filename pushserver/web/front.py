"""CherryPy's HTTP server with a front that no client can hold; only a whole request takes a thread.

In cheroot, a thread waits for each client that has begun a request, and new clients wait for each
TLS handshake. Here both happen on the thread that accepts, for all clients at once, each with a
deadline. All else is cheroot's: its threads, its parser, its WSGI.
"""
from __future__ import annotations

import ssl
import sys
from typing import Any

from cheroot.server import HTTPServer
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cherrypy._cpwsgi_server import CPWSGIServer

from ..errors import InvalidSetting
from ..settings import default_max_connections
from .arrivals import Arrivals

SHARE = 10
"""Connections without a request take at most one in this of the process's descriptors."""

MOST = 2000
"""And no more than this."""

MOST_IDLE = 1000
"""Connections between two requests, unless the site has set ``keep_alive_conn_limit``; the longest
idle ones are closed.
"""


class _Connection:
    """An ``HTTPConnection``, whose subclass this becomes."""

    server: Any

    def close(self) -> None:
        """End the connection, once its answer is written; cheroot's threads call this."""
        self.server._connections.put_last(self)

    def end(self) -> None:
        """End it at once."""
        super().close()  # type: ignore[misc]


class Fronted:
    """Give an HTTP server of cheroot a front; see ``PushFront``."""

    ssl_adapter: Any
    ConnectionClass: type[Any]
    requests: Any
    keep_alive_conn_limit: int | None
    _connections: Any

    def prepare(self) -> None:
        """Listen and start the threads; see cheroot.

        Raises:
            InvalidSetting: the TLS adapter is not cheroot's builtin one.
        """
        if self.ssl_adapter is not None and not isinstance(self.ssl_adapter, BuiltinSSLAdapter):
            raise InvalidSetting("the front needs cheroot's builtin TLS adapter: set "
                                 "server.ssl_module to 'builtin'")
        if self.ssl_adapter is not None:    # a handshake costs much more than it costs a client
            self.ssl_adapter.context.options |= ssl.OP_NO_RENEGOTIATION
        super().prepare()  # type: ignore[misc]
        made = self.ConnectionClass
        if not issubclass(made, _Connection):
            self.ConnectionClass = type(made.__name__, (_Connection, made), {})
        self._connections._selector.close()
        pending = max(1, min(MOST, default_max_connections() // SHARE))
        limit = self.keep_alive_conn_limit
        if limit == HTTPServer.keep_alive_conn_limit:
            limit = MOST_IDLE
        self._connections = Arrivals(self, pending, sys.maxsize if limit is None else limit)
        self.requests._queue_put_timeout = 0    # nobody else is to wait

    @property
    def held_bytes(self) -> int:
        """Return the bytes of requests that have not come as a whole, and of unread answers."""
        arrivals = getattr(self, "_connections", None)
        return arrivals.held_bytes if isinstance(arrivals, Arrivals) else 0

    def evict(self, size: int) -> int:
        """Have about so many of them freed soon; return how many may be."""
        arrivals = getattr(self, "_connections", None)
        return arrivals.evict(size) if isinstance(arrivals, Arrivals) else 0


class PushFront(Fronted, CPWSGIServer):  # type: ignore[misc]
    """Serve a CherryPy site so that slow or silent clients keep nobody else out.

    One line turns it on: ``cherrypy.config.update({"server.instance": "pushserver.PushFront"})``,
    or ``instance = "pushserver.PushFront"`` with the other ``server.`` settings, all of which keep
    their meaning.

    A client has 10 s for its TLS handshake and 10 s for a request's head (else 408) of at most
    16 KiB (else 431). Bodies of up to 64 KiB are awaited for 30 s before a thread is used. Longer
    ones, and those whose length is not told, are read by half of the threads; the others wait for
    that for 30 s (else 503), and who sends less than 4 KiB a second meanwhile is answered 408.

    What a client does not read of an answer is kept, up to 4 MiB for one and 64 MiB for all, and
    its thread is free; the client is closed if it reads nothing for ``server.socket_timeout``.
    Beyond that, and for answers without a ``Content-Length``, a thread waits. Only if requests wait
    for a thread, and more than half of the threads for clients, are the slowest of those closed.

    A new certificate in ``server.ssl_certificate`` and ``server.ssl_private_key`` is used within
    some 10 s, without a restart; while it cannot be used, the old one is, and the log says why.

    Of the connections that have not made a request, at most 2,000, and a tenth of what the file
    limit allows, are kept; then the oldest of the address that has most is closed.
    """
