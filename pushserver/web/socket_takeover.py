"""Take a client's socket away from cheroot; only this file knows how cheroot holds it.

cheroot has no interface for this. The request being answered is found on the stack of the thread
that answers it; a 101 is held back, for the loop to write; and what is to happen with the socket
happens when cheroot is done with it. Nothing before that says when an answer is complete: WSGI
middleware may close CherryPy's response before it has been written, long after it, or never.
"""
from __future__ import annotations

import contextlib
import functools
import logging
import socket
import sys
from http.client import responses
from typing import Any, Callable

from cheroot import server
from cheroot.server import HTTPRequest

from ..errors import HandshakeRefused
from ..wire.origins import is_loopback

# Without this, of a header on several lines only the last counts.
for _name in (b"Sec-Websocket-Protocol", b"Forwarded"):
    if _name not in server.comma_separated_headers:  # type: ignore[attr-defined]
        server.comma_separated_headers.append(_name)  # type: ignore[attr-defined]

logger = logging.getLogger(__name__)

SWITCHING = b"HTTP/1.1 101 "

warn_once = functools.cache(logger.warning)
"""Log a warning, but not again and again: what is wrong with a site is so for every request."""


class _HeldBack:
    """Stand in for a connection's ``wfile``: keep a 101, and write any other answer at once.

    Attributes:
        answer: the 101, or the head of what is kept instead.
        status: the status of another answer, once it has begun.
        takes_all: keep any answer from being written.
    """

    bytes_written = 0

    def __init__(self, wfile: Any, takeover: SocketTakeover) -> None:
        self.answer = b""
        self.status = 0
        self.takes_all = False
        self.takeover = takeover
        self._wfile = wfile

    def write(self, data: bytes) -> int:
        """Keep or write; cheroot calls this, first with the whole head of the answer."""
        if self.takes_all:
            self.answer = self.answer or data
            return len(data)
        if not self.status and (self.answer or data).startswith(SWITCHING):
            self.answer = self.answer or data   # a 101 has no body
            return len(data)
        self.status = self.status or int(data[len("HTTP/1.1 "):][:3])
        written: int = self._wfile.write(data)
        return written


def current_request() -> Any:
    """Return the cheroot request that this thread is answering, or None."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == HTTPRequest.respond.__name__:
            request = frame.f_locals.get("self")
            if isinstance(request, HTTPRequest):
                return request
        frame = frame.f_back  # type: ignore[assignment]
    return None


def end_connection() -> None:
    """Have cheroot close the connection after it has answered the current request."""
    request = current_request()
    if request is not None:
        request.close_connection = True


class SocketTakeover:
    """Hold a request's 101 back, then either detach its socket or write a refusal after all.

    Only the thread that answers the request may use it.

    Raises:
        HandshakeRefused: 501: the site is not served by cheroot, or not on cheroot's threads, or
            through a TLS adapter whose sockets cannot be polled.
    """

    def __init__(self) -> None:
        request = current_request()
        if request is None:
            raise _refusal(501, "push needs CherryPy's own HTTP server (cheroot) and its threads: "
                           "serve the site with it, without WSGI middleware that calls the site "
                           "on other threads")
        if not isinstance(request.conn.socket, socket.socket):
            raise _refusal(501, "push needs cheroot's builtin TLS adapter: set server.ssl_module "
                           "to 'builtin'")
        if isinstance(request.conn.wfile, _HeldBack):   # CherryPy redirected, or middleware retries
            request.conn.wfile.takeover.abandon()
        self.is_abandoned = False
        self._request = request
        self._connection = request.conn
        self._wfile = request.conn.wfile
        self._held = _HeldBack(self._wfile, self)

    def hold_back(self, finish: Callable[[], None], *, all_of_it: bool = False) -> None:
        """Keep a 101 back from now on, and call ``finish`` as soon as cheroot is done.

        It is called in any case, once, and on this thread; the connection then ends, unless its
        socket is detached. If the site is called another time for the same request, it is called
        then, and this object is abandoned.

        Args:
            finish: what to call.
            all_of_it: any other answer is not written either.
        """
        self._held.takes_all = all_of_it
        self._finish = finish
        self._request.close_connection = True
        self._connection.wfile = self._held
        self._connection.close = self._close

    def abandon(self) -> None:
        """Undo what was begun, because what the site answered has been given up."""
        self.is_abandoned = True
        self._restore()
        self._finish()

    def _restore(self) -> None:
        del self._connection.close
        self._connection.wfile = self._wfile

    def _close(self) -> None:
        """Call ``finish``; cheroot calls this in the place of the connection's own ``close``."""
        self._restore()
        try:
            self._finish()
        except Exception:
            logger.exception("a WebSocket handshake could not be finished")
        finally:
            with contextlib.suppress(OSError):  # anything raised here ends cheroot's thread
                self._connection.close()

    @property
    def socket(self) -> socket.socket:
        """Return the client's socket."""
        sock: socket.socket = self._connection.socket
        return sock

    @property
    def listens_on_loopback(self) -> bool:
        """Tell whether the server can be reached from its own machine only."""
        listener = self._request.server.socket
        try:
            address = listener.getsockname()
        except (AttributeError, OSError):   # it listens no more
            address = self._request.server.bind_addr
        return isinstance(address, tuple) and is_loopback(address[0])

    @property
    def answer(self) -> bytes:
        """Return the head of what was held back, or nothing if nothing was."""
        return self._held.answer

    @property
    def status(self) -> int:
        """Return the status of an answer that was not held back, 0 if there was none."""
        return self._held.status

    def take_early(self) -> bytes:
        """Return what the client has already sent after its handshake."""
        rfile = self._connection.rfile
        return bytes(rfile.peek(0)) if rfile.has_data() else b""

    @property
    def is_detached(self) -> bool:
        """Tell whether the socket has another owner now."""
        return bool(self._connection.linger)

    def detach(self) -> None:
        """Make cheroot leave the socket alone; its new owner must close it."""
        self._connection.linger = True

    def refuse(self, status: int, message: str, headers: dict[str, str]) -> None:
        """Write a refusal instead of the 101 held back."""
        body = (message + "\n").encode("utf-8")
        fields = {**headers, "Content-Type": "text/plain;charset=utf-8",
                  "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {status} {responses.get(status, 'Refused')}",
                 *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.write("\r\n".join(lines).encode("latin-1") + body)

    def write(self, data: bytes) -> None:
        """Write something in the place of what was held back."""
        with contextlib.suppress(OSError):  # the client is gone
            self.socket.settimeout(self._request.server.timeout)
            self.socket.sendall(data)   # nothing is left behind in cheroot's buffer


def _refusal(status: int, message: str) -> HandshakeRefused:
    """Return a refusal for which the site's set-up is to blame, and say so in the log."""
    warn_once(f"WebSocket handshakes are refused: {message}")
    return HandshakeRefused(status, message)
