"""Take a client's socket away from cheroot; only this file knows how cheroot holds it.

cheroot has no interface for this. The request being answered is found on the stack of the thread
that answers it; the answer is held back in a buffer, for the loop to write; and cheroot is told to
leave the socket open when it is done.
"""
from __future__ import annotations

import io
import socket
import sys
from http.client import responses
from typing import Any

from cheroot import server
from cheroot.server import HTTPRequest

from ..errors import HandshakeRefused
from ..wire.origins import is_loopback

# Without this, of a header on several lines only the last counts.
for _name in (b"Sec-Websocket-Protocol", b"Forwarded"):
    if _name not in server.comma_separated_headers:  # type: ignore[attr-defined]
        server.comma_separated_headers.append(_name)  # type: ignore[attr-defined]

SWITCHING = b"HTTP/1.1 101 "


class _HeldBack(io.BytesIO):
    """Stand in for a connection's ``wfile`` and keep what is written."""

    bytes_written = 0


def current_request() -> Any:
    """Return the cheroot request that this thread is answering, or None."""
    frame = sys._getframe()
    answering = HTTPRequest.respond.__code__
    while frame is not None:
        if frame.f_code is answering:
            return frame.f_locals["self"]
        frame = frame.f_back  # type: ignore[assignment]
    return None


def end_connection() -> None:
    """Have cheroot close the connection after it has answered the current request."""
    request = current_request()
    if request is not None:
        request.close_connection = True


class SocketTakeover:
    """Hold back a request's answer, then either detach its socket or write the answer after all.

    Only the thread that answers the request may use it.

    Raises:
        HandshakeRefused: 501: the site is not served by cheroot, or is served through a TLS
            adapter whose sockets cannot be polled.
    """

    def __init__(self) -> None:
        request = current_request()
        if request is None:
            raise HandshakeRefused(501, "push needs CherryPy's own HTTP server (cheroot): serve "
                                   "the site with it, behind a proxy if necessary")
        if not isinstance(request.conn.socket, socket.socket):
            raise HandshakeRefused(501, "push needs cheroot's builtin TLS adapter: set "
                                   "server.ssl_module to 'builtin'")
        self._request = request
        self._connection = request.conn
        self._wfile = request.conn.wfile
        self._held = _HeldBack()

    def hold_back(self) -> None:
        """Keep what cheroot writes from now on."""
        self._connection.wfile = self._held

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
    def was_answered(self) -> bool:
        """Tell whether an answer was written."""
        return bool(self._request.sent_headers)

    @property
    def answer(self) -> bytes:
        """Return the answer held back so far."""
        return self._held.getvalue()

    @property
    def is_upgrade(self) -> bool:
        """Tell whether that answer turns the socket into a WebSocket."""
        return self.answer.startswith(SWITCHING)

    def take_early(self) -> bytes:
        """Return what the client has already sent after its handshake."""
        rfile = self._connection.rfile
        return bytes(rfile.peek(0)) if rfile.has_data() else b""

    def detach(self) -> None:
        """Make cheroot leave the socket alone; its new owner must close it."""
        self._request.close_connection = True
        self._connection.linger = True
        self._connection.wfile = self._wfile

    def write_answer(self, behind: bytes = b"") -> None:
        """Write the answer, which is a refusal, as cheroot would have.

        Args:
            behind: what follows it.
        """
        self._connection.wfile = self._wfile
        if self.answer:
            self._wfile.write(self.answer + behind)

    def refuse(self, status: int, message: str, headers: dict[str, str]) -> None:
        """Write a refusal instead of the answer held back, and end the connection."""
        self._connection.wfile = self._wfile
        self._request.close_connection = True
        body = (message + "\n").encode("utf-8")
        fields = {**headers, "Content-Type": "text/plain;charset=utf-8",
                  "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {status} {responses.get(status, 'Refused')}",
                 *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self._wfile.write("\r\n".join(lines).encode("latin-1") + body)
