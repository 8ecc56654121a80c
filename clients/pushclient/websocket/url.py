"""What a URL says: where to connect, and what to ask for. Pure: it looks nothing up.

Source: RFC 6455 section 3; ws4py for ``ws+unix``.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pushserver.wire.handshake import MAX_ID_LENGTH

from ..errors import InvalidSetting

PORTS = {"ws": 80, "wss": 443}
UNIX_SCHEME = "ws+unix"
LARGEST_PORT = 65535

_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
_NOT_IN_AN_ID = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_KEPT = "/?:@!$&'()*+,;=-._~%[]"


@dataclass(frozen=True)
class Address:
    """Hold what a URL says.

    Attributes:
        scheme: "ws", "wss" or "ws+unix".
        host: the name or address in ASCII; an IPv6 address without brackets.
        port: 1 to 65535.
        resource: path and query, as in the request.
        unix_socket: the path of a Unix socket to use instead of host and port, or None.
        credentials: "user:password" from the URL, or None; never shown.
    """

    scheme: str
    host: str
    port: int
    resource: str
    unix_socket: str | None = None
    credentials: str | None = field(default=None, repr=False)

    @property
    def secure(self) -> bool:
        """Tell whether the connection uses TLS."""
        return self.scheme == "wss"

    @property
    def netloc(self) -> str:
        """Return host and port in the form of a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = PORTS.get(self.scheme, self.port)
        return host if self.port == default else f"{host}:{self.port}"

    def with_id(self, Id: str) -> Address:
        """Return this address with ``Id`` in its query.

        Raises:
            InvalidSetting: no server would accept this Id, or the URL already has one.
        """
        if not isinstance(Id, str) or not 0 < len(Id) <= MAX_ID_LENGTH \
                or _NOT_IN_AN_ID.search(Id):
            raise InvalidSetting(f"Id: use 1 to {MAX_ID_LENGTH} characters of text, without "
                                 "control characters")
        return self.with_parameter("Id", Id)

    def with_parameter(self, name: str, value: str) -> Address:
        """Return this address with one more parameter in its query.

        Raises:
            InvalidSetting: the URL already has it.
        """
        path, mark, query = self.resource.partition("?")
        if any(name == one for one, _ in parse_qsl(query, keep_blank_values=True)):
            raise InvalidSetting(f"{name}: the URL already has one: give only one of them")
        query += f"{'&' if query else ''}{name}={quote(value, safe='')}"
        return replace(self, resource=f"{path}?{query}")


def parse_url(url: str) -> Address:
    """Return what a URL says.

    Args:
        url: ``ws://host[:port][/path][?query]``, ``wss://...`` or ``ws+unix:///path/of/socket``.

    Raises:
        InvalidSetting: it is not one of these.
    """
    if not isinstance(url, str) or _NOT_IN_A_URL.search(url):
        raise InvalidSetting("url: use text without spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidSetting(f"url: {error}") from None
    if parts.scheme == UNIX_SCHEME:
        return _unix(parts.path, parts.query)
    if parts.scheme not in PORTS:
        raise InvalidSetting(f"url: scheme {parts.scheme!r}: use ws:// or wss://")
    if not parts.hostname:
        raise InvalidSetting("url: no host: use ws://host:port/path")
    if port == 0:
        raise InvalidSetting(f"url: port 0: use 1 to {LARGEST_PORT}")
    return Address(parts.scheme, _ascii_host(parts.hostname), port or PORTS[parts.scheme],
                   _resource(parts.path, parts.query),
                   credentials=_credentials(parts.username, parts.password))


def _unix(path: str, query: str) -> Address:
    if not path:
        raise InvalidSetting("url: no socket: use ws+unix:///path/of/socket")
    return Address(UNIX_SCHEME, "localhost", PORTS["ws"], _resource("/", query), unquote(path))


def _resource(path: str, query: str) -> str:
    quoted = quote(path or "/", safe=_KEPT)
    return f"{quoted}?{quote(query, safe=_KEPT)}" if query else quoted


def _credentials(username: str | None, password: str | None) -> str | None:
    if username is None:
        return None
    return f"{unquote(username)}:{unquote(password or '')}"


def _ascii_host(host: str) -> str:
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise InvalidSetting(f"url: host {host!r}: {error}") from None
