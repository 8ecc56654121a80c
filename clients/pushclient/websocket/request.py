"""Where a connection goes and how it begins: the half of a WebSocketClient before the first frame.

Source: ws4py.client; RFC 6455 section 4.1.
"""
from __future__ import annotations

import socket
import ssl
from typing import Any, Mapping, Sequence

from pushserver.version import __version__
from ws4py.websocket import WebSocket

from . import url as addresses
from . import connect as dialing, handshake, tls
from .. import options
from .proxy import ProxyOption, find_proxy
from .waker import Patience

__all__ = ["Opening"]


class Opening(WebSocket):  # type: ignore[misc]
    """Hold what ws4py's clients take and show: the URL's parts, headers, key and subprotocols.

    The attributes may be changed until ``connect``, as with ws4py: ``resource`` or
    ``extra_headers`` for example. See ``connection.WebSocketClient`` for the arguments.
    """

    sock: socket.socket | None
    protocols: list[str]

    def __init__(self, url: str, protocols: Sequence[str] | None, extensions: Sequence[str] | None,
                 heartbeat_freq: float | None, ssl_options: Mapping[str, Any] | None,
                 headers: options.Headers | None, exclude_headers: Sequence[str] | None, *,
                 ssl_context: ssl.SSLContext | None, proxy: ProxyOption,
                 unix_socket: str | None) -> None:
        super().__init__(None, handshake.check_subprotocols(protocols or ()), extensions or [],
                         heartbeat_freq=heartbeat_freq)
        self.stream.always_mask = True
        self.stream.expect_masking = False
        self.url = url
        where = addresses.parse_url(url)
        self.scheme, self.host, self.port = where.scheme, where.host, where.port
        self.resource = where.resource
        self.unix_socket_path = unix_socket or where.unix_socket
        self._credentials = where.credentials
        self.ssl_options = dict(ssl_options or {})
        self.extra_headers = options.header_pairs(headers)
        handshake.check_headers(self.extra_headers)
        self.exclude_headers = [name.lower() for name in exclude_headers or ()]
        self.key = handshake.new_key()
        self._offered = self.protocols
        self._context = ssl_context
        self._proxy = proxy

    @property
    def bind_addr(self) -> str | tuple[str, int]:
        """Return where the connection goes, as ws4py does."""
        return self.unix_socket_path or (self.host, self.port)

    @property
    def handshake_headers(self) -> list[tuple[str, str]]:
        """Return the request's headers; a subclass may add to them."""
        netloc = self._address.netloc
        headers = [("Host", netloc), ("Connection", "Upgrade"), ("Upgrade", "websocket"),
                   ("Sec-WebSocket-Key", self.key.decode("ascii")),
                   ("Sec-WebSocket-Version", handshake.VERSION)]
        if self._offered:
            headers.append(("Sec-WebSocket-Protocol", ", ".join(self._offered)))
        extra = handshake.check_headers(self.extra_headers)
        given = {name.lower() for name, _ in extra}
        defaults = [("Origin", f"{self.scheme}://{netloc}"),
                    ("User-Agent", f"pushclient/{__version__}")]
        if self._credentials is not None:
            defaults.append(("Authorization", handshake.basic(self._credentials)))
        headers = [pair for pair in headers + defaults if pair[0].lower() not in given] + extra
        return [pair for pair in headers if pair[0].lower() not in self.exclude_headers]

    @property
    def handshake_request(self) -> bytes:
        """Return the request that asks for the connection."""
        return handshake.build_request(self.resource, self.handshake_headers)

    @property
    def _address(self) -> addresses.Address:
        return addresses.Address(self.scheme, self.host, self.port, self.resource,
                                 self.unix_socket_path)

    def _open(self, resolver: dialing.Resolver, patience: Patience) -> tuple[socket.socket, bytes]:
        """Return a socket whose server agreed, and what it sent behind its answer.

        Raises:
            ConnectFailed, Interrupted: it did not come to that; nothing is left open.
        """
        where = self._address
        context = self._tls_context() if where.secure else None
        sock = dialing.open_socket(where, find_proxy(self._proxy, where), context, resolver,
                                   patience)
        try:
            chosen, early = self._shake_hands(sock, patience)
        except BaseException:
            sock.close()
            raise
        self.protocols = [chosen] if chosen else []
        self._is_secure = where.secure
        return sock, early

    def _shake_hands(self, sock: socket.socket, patience: Patience
                     ) -> tuple[str | None, bytes]:
        patience.begin("the server's answer")
        head, rest = dialing.exchange(sock, self.handshake_request, patience)
        answer = handshake.parse_answer(head)
        if answer.status != handshake.SWITCHING_PROTOCOLS:
            raise handshake.refusal(answer, dialing.read_body(sock, answer, rest, patience))
        return handshake.check_answer(answer, self.key, self._offered), rest

    def _tls_context(self) -> ssl.SSLContext:
        return self._context or tls.make_context(self.ssl_options)
