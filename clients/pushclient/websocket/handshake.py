"""The opening handshake: the request's text, and whether a response makes a connection.

Pure: it touches no socket. ``exchange`` sends and reads what is built and checked here.

Source: RFC 6455 sections 4.1 and 4.2.2.
"""
from __future__ import annotations

import os
import re
from base64 import b64encode
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Iterable, NamedTuple, Sequence

from pushserver.wire.handshake import KEY_SIZE, accept_key

from ..errors import HandshakeFailed, InvalidSetting, Refused

MAX_HEAD = 64 * 1024
"""Bytes of a response's status line and headers."""

MAX_SHOWN = 200
"""Characters that an error quotes of what the server said."""

END_OF_HEAD = b"\r\n\r\n"

OURS = frozenset({"connection", "upgrade", "sec-websocket-key", "sec-websocket-version",
                  "sec-websocket-extensions", "sec-websocket-protocol", "content-length",
                  "transfer-encoding"})
"""Headers that a caller cannot set: they are part of the handshake, or would break it."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_STATUS_LINE = re.compile(r"HTTP/(\d\.\d) (\d{3})(?: (.*))?")
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Response(NamedTuple):
    """Hold an HTTP response without its body.

    Attributes:
        version: "1.1".
        status: 100 to 999.
        phrase: the server's name for the status.
        headers: values by lower-case name, in the order received.
    """

    version: str
    status: int
    phrase: str
    headers: dict[str, list[str]]

    def all(self, name: str) -> list[str]:
        """Return the comma-separated items of a header, from all its lines."""
        values = ",".join(self.headers.get(name, ()))
        return [item.strip() for item in values.split(",") if item.strip()]

    def first(self, name: str) -> str:
        """Return a header's first value, or "" if there is none."""
        return self.headers.get(name, [""])[0]


def new_key() -> bytes:
    """Return a fresh ``Sec-WebSocket-Key``."""
    return b64encode(os.urandom(KEY_SIZE))


def basic(credentials: str) -> str:
    """Return the header value that carries "user:password" (RFC 7617)."""
    return "Basic " + b64encode(credentials.encode("utf-8")).decode("ascii")


def check_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return a caller's headers, if each fits into one line.

    Raises:
        InvalidSetting: a name is not a token, a value has a control character, or the handshake
            sets the header itself.
    """
    checked = []
    for name, value in headers:
        check_header(name, value)
        if name.lower() in OURS:
            raise InvalidSetting(f"header {name}: leave it out, the handshake sets it")
        checked.append((name, value))
    return checked


def check_header(name: str, value: str) -> None:
    """Raise ``InvalidSetting`` for a header that does not fit into one line."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise InvalidSetting(f"header name {name!r}: use letters, digits and hyphens")
    if not isinstance(value, str) or _NOT_IN_A_VALUE.search(value):
        raise InvalidSetting(f"header {name}: use text without line breaks or control characters")


def check_subprotocols(subprotocols: Iterable[str]) -> list[str]:
    """Return the subprotocols to offer.

    Raises:
        InvalidSetting: one is not a token, or occurs twice.
    """
    if isinstance(subprotocols, str):
        raise InvalidSetting(f"subprotocols: use a list, [{subprotocols!r}]")
    offered = list(subprotocols)
    for name in offered:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidSetting(f"subprotocol {name!r}: use letters, digits, dots and hyphens")
        if offered.count(name) > 1:
            raise InvalidSetting(f"subprotocol {name!r}: offer it once")
    return offered


def build_request(resource: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the request that asks for a connection.

    Raises:
        InvalidSetting: the resource or a header does not fit into one line.
    """
    if not resource.startswith("/") or not resource.isascii() or not resource.isprintable() \
            or " " in resource:
        raise InvalidSetting(f"resource {resource!r}: use a percent-encoded path that begins "
                             "with /")
    lines = [f"GET {resource} HTTP/1.1"]
    for name, value in headers:
        check_header(name, value)
        lines.append(f"{name}: {value}")
    return "\r\n".join(lines).encode("utf-8") + END_OF_HEAD


def parse_response(head: bytes) -> Response:
    """Return a response's status and headers.

    Args:
        head: the bytes before the empty line.

    Raises:
        HandshakeFailed: it is not HTTP.
    """
    status_line, *lines = head.decode("latin-1").split("\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if not match:
        raise HandshakeFailed(f"the response is not HTTP: it begins {shown(status_line)!r}")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise HandshakeFailed(f"the response has a malformed header {shown(line)!r}")
        headers.setdefault(name.lower(), []).append(value.strip())
    return Response(match[1], int(match[2]), (match[3] or "").strip(), headers)


def check_response(response: Response, key: bytes, offered: Sequence[str]) -> str | None:
    """Return the subprotocol that the server chose, if its response makes a connection.

    Args:
        response: the server's, with status 101.
        key: the request's ``Sec-WebSocket-Key``.
        offered: the request's subprotocols.

    Raises:
        HandshakeFailed: it breaks a rule of RFC 6455 section 4.1.
    """
    if response.version != "1.1":
        raise HandshakeFailed(f"the response is HTTP/{response.version}, not HTTP/1.1")
    _check_upgrade(response)
    _check_accept(response.headers.get("sec-websocket-accept", []), key)
    extensions = response.all("sec-websocket-extensions")
    if extensions:
        raise HandshakeFailed(f"the server chose extension {shown(extensions[0])!r}, which was "
                              "not offered")
    return _chosen(response.headers.get("sec-websocket-protocol", []), offered)


def _check_upgrade(response: Response) -> None:
    if [item.lower() for item in response.all("upgrade")] != ["websocket"]:
        raise HandshakeFailed("the response has no header Upgrade: websocket")
    if "upgrade" not in (item.lower() for item in response.all("connection")):
        raise HandshakeFailed("the response has no header Connection: Upgrade")


def _check_accept(values: list[str], key: bytes) -> None:
    if not values:
        raise HandshakeFailed("the response has no Sec-WebSocket-Accept")
    if values != [accept_key(key.decode("ascii"))]:
        raise HandshakeFailed("the response has a wrong Sec-WebSocket-Accept: it does not answer "
                              "this request")


def _chosen(values: list[str], offered: Sequence[str]) -> str | None:
    if not values:
        return None
    if len(values) > 1 or values[0] not in offered:
        raise HandshakeFailed(f"the server chose subprotocol {shown(', '.join(values))!r}, which "
                              "was not offered")
    return values[0]


def refusal(response: Response, body: bytes) -> Refused:
    """Return the error for a status other than 101.

    Args:
        response: the server's.
        body: as much of it as was read; of plain text, the error shows the first line.
    """
    words = [f"the server answered {response.status}"]
    if response.phrase:
        words.append(shown(response.phrase))
    message = " ".join(words)
    location = response.first("location")
    if location:
        message += f", a redirect to {shown(location)}"
    elif response.first("content-type").startswith("text/plain") and body.strip():
        message += ": " + shown(body.decode("utf-8", "replace").strip().splitlines()[0])
    return Refused(response.status, message,
                   retry_after=retry_after(response.first("retry-after")))


def retry_after(value: str, now: datetime | None = None) -> float:
    """Return the seconds that a ``Retry-After`` header asks for, or 0 if it is malformed.

    Source: RFC 9110 section 10.2.3.
    """
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - (now or datetime.now(timezone.utc))).total_seconds())


def shown(text: str) -> str:
    """Return what a server said, shortened and safe to print on one line."""
    line = _UNSHOWABLE.sub(" ", text).strip()
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "..."
