"""One request for a connection, from the socket to the server's agreement.

Source: ws4py.client; RFC 6455 section 4.1.
"""
from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field, replace
from typing import Any, Collection, Mapping, NamedTuple, Sequence

from pushserver.version import __version__
from pushserver.wire.handshake import VERSION

from . import connect, handshake, tls
from .credentials import Credentials
from .errands import Errands
from .exchange import exchange, read_body
from .proxy import ProxyOption, find_proxy
from .url import Address
from .waker import StepDeadline

SWITCHING_PROTOCOLS = 101


class Accepted(NamedTuple):
    """A connection on which the server has agreed to speak WebSocket.

    Attributes:
        sock: connected and non-blocking.
        subprotocol: the one that the server chose, or None.
        early: bytes that came after the server's response.
    """

    sock: socket.socket
    subprotocol: str | None
    early: bytes


@dataclass(frozen=True)
class Request:
    """Ask a server for one connection.

    Attributes:
        address: where to connect to.
        subprotocols: those to offer.
        extra_headers: further headers; one of these replaces a default.
        exclude_headers: names, in lower case, of headers to leave out.
        proxy: see ``find_proxy``.
        ssl_context: for TLS; None: one made from ``ssl_options``.
        ssl_options: see ``tls.make_context``.
        key: the ``Sec-WebSocket-Key``.
        head: the request itself; None: made from the other attributes.
        credentials: further headers, read when a connection is made, and more; or None.
    """

    address: Address
    subprotocols: Sequence[str] = ()
    extra_headers: Sequence[tuple[str, str]] = ()
    exclude_headers: Collection[str] = ()
    proxy: ProxyOption = True
    ssl_context: ssl.SSLContext | None = None
    ssl_options: Mapping[str, Any] = field(default_factory=dict)
    key: bytes = field(default_factory=handshake.new_key)
    head: bytes | None = None
    credentials: Credentials | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return all headers of the request."""
        netloc = self.address.netloc
        headers = [("Host", netloc), ("Connection", "Upgrade"), ("Upgrade", "websocket"),
                   ("Sec-WebSocket-Key", self.key.decode("ascii")),
                   ("Sec-WebSocket-Version", VERSION)]
        if self.subprotocols:
            headers.append(("Sec-WebSocket-Protocol", ", ".join(self.subprotocols)))
        if self.credentials is None:  # ws4py's client shows one, as browsers do
            headers.append(("Origin", f"{self.address.scheme}://{netloc}"))
        headers.append(("User-Agent", f"pushclient/{__version__}"))
        if self.address.credentials is not None:
            headers.append(("Authorization", handshake.basic(self.address.credentials)))
        extra = handshake.check_headers(self.extra_headers)
        given = {name.lower() for name, _ in extra}
        headers = [pair for pair in headers if pair[0].lower() not in given] + extra
        return [pair for pair in headers if pair[0].lower() not in self.exclude_headers]

    def open(self, errands: Errands, deadline: StepDeadline) -> Accepted:
        """Connect to the server and shake hands.

        Raises:
            ConnectFailed, Interrupted: no connection was made; nothing is left open.
        """
        if self.credentials is None:
            return self._open(errands, deadline)
        headers = self.credentials.headers(errands, deadline)
        token = self.credentials.token(errands, deadline)
        address = self.address.with_parameter("token", token) if token else self.address
        return replace(self, address=address, extra_headers=headers)._open(errands, deadline)

    def _open(self, errands: Errands, deadline: StepDeadline) -> Accepted:
        proxy = find_proxy(self.proxy, self.address)
        sock = connect.open_socket(self.address, proxy, self._context(), errands, deadline)
        try:
            return self._shake_hands(sock, deadline)
        except BaseException:
            sock.close()
            raise

    def _context(self) -> ssl.SSLContext | None:
        if not self.address.secure:
            return None
        return self.ssl_context or tls.make_context(self.ssl_options)

    def _shake_hands(self, sock: socket.socket, deadline: StepDeadline) -> Accepted:
        deadline.begin("the server's answer")
        request = self.head or handshake.build_request(self.address.resource, self.headers)
        head, rest = exchange(sock, request, deadline)
        response = handshake.parse_response(head)
        if self.credentials is not None:
            self.credentials.cookies.take(response.headers.get("set-cookie", ()))
        if response.status != SWITCHING_PROTOCOLS:
            raise handshake.refusal(response, read_body(sock, response, rest, deadline))
        chosen = handshake.check_response(response, self.key, self.subprotocols)
        return Accepted(sock, chosen, rest)
