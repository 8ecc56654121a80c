"""Whether a request may become a connection: the rules of the opening handshake, without I/O.

Source: RFC 6455 sections 4.2.1 and 4.2.2.
"""
from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from hashlib import sha1
from typing import Mapping, Sequence

from ws4py import WS_KEY

from ..errors import HandshakeRefused
from .disconnects import MAX_REASON_BYTES, Disconnect

VERSION = "13"

MAX_HEAD = 16 * 1024
"""Bytes of the request line and the headers together; pages may send longer ones."""

HEADER_PUNCTUATION = len(": \r\n")

MAX_ID_LENGTH = 128
"""Characters of the longest Id."""

KEY_SIZE = 16
"""Bytes that a ``Sec-WebSocket-Key`` decodes to."""

MIN_HEARTBEAT = 1
MAX_HEARTBEAT = 3600
"""Seconds between heartbeats that a client may ask for."""

_FINAL, _TEMPORARY, _OTHER = 4500, 4000, 4700
_CODES = {3: 4600, 4: _FINAL, 5: 4100}
"""Close codes for refusals, to which the last two digits of the status are added."""

_LATER = (408, 425, 429)
"""Statuses below 500 after which another try may succeed."""

_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,9})?", re.ASCII)

_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)

_UPGRADE_HEADERS = {"Upgrade": "websocket", "Connection": "Upgrade",
                    "Sec-WebSocket-Version": VERSION}

_HANDSHAKE_ONLY = ("Sec-WebSocket-Key", "Sec-WebSocket-Version")

_NO_BODY = ("", "0")
"""Values of ``Content-Length`` that mean no body; some WSGI servers add it without a value."""


def _tokens(value: str) -> list[str]:
    return [token.strip() for token in value.split(",") if token.strip()]


def asks_to_connect(headers: Mapping[str, str]) -> bool:
    """Tell whether a request is meant as an opening handshake, valid or not.

    A proxy that drops ``Upgrade`` still passes the other headers, which no other request has.

    Args:
        headers: the request's headers; lookup ignores case.
    """
    upgrade = [token.lower() for token in _tokens(headers.get("Upgrade", ""))]
    return "websocket" in upgrade or any(headers.get(name) is not None for name in _HANDSHAKE_ONLY)


def check_head(request_line: str, headers: Mapping[str, str]) -> None:
    """Check that a request is not too long: its connection keeps it.

    Args:
        request_line: the first line.
        headers: the request's headers.

    Raises:
        HandshakeRefused: 431.
    """
    size = len(request_line) + sum(len(name) + len(value) + HEADER_PUNCTUATION
                                   for name, value in headers.items())
    if size > MAX_HEAD:
        raise HandshakeRefused(431, f"the request has {size} bytes of headers: send at most "
                                    f"{MAX_HEAD}, so fewer or shorter cookies, for example")


def check_request(method: str, protocol: tuple[int, int], headers: Mapping[str, str]) -> None:
    """Check the parts of a request that make it a valid opening handshake.

    Args:
        method: the HTTP method.
        protocol: the HTTP version, such as (1, 1).
        headers: the request's headers; lookup ignores case.

    Raises:
        HandshakeRefused: 405, 426 or 400.
    """
    if method != "GET":
        raise HandshakeRefused(405, "use GET for a WebSocket handshake", {"Allow": "GET"})
    if protocol < (1, 1):
        raise HandshakeRefused(426, "use HTTP/1.1 (in nginx: proxy_http_version 1.1)",
                               _UPGRADE_HEADERS)
    upgrade = [token.lower() for token in _tokens(headers.get("Upgrade", ""))]
    if "websocket" not in upgrade:
        raise HandshakeRefused(426, "this is a WebSocket URL: send 'Upgrade: websocket' "
                               "(a proxy in between must pass it on)", _UPGRADE_HEADERS)
    if headers.get("Sec-WebSocket-Version", "").strip() != VERSION:
        raise HandshakeRefused(426, f"send 'Sec-WebSocket-Version: {VERSION}'", _UPGRADE_HEADERS)
    connection = [token.lower() for token in _tokens(headers.get("Connection", ""))]
    if "upgrade" not in connection:
        raise HandshakeRefused(400, "send 'Connection: Upgrade'")
    check_key(headers.get("Sec-WebSocket-Key", ""))
    size = headers.get("Content-Length", "").strip()
    if headers.get("Transfer-Encoding") or size not in _NO_BODY:
        raise HandshakeRefused(400, "send the handshake without a body")


def check_key(key: str) -> None:
    """Check a ``Sec-WebSocket-Key``.

    Raises:
        HandshakeRefused: 400: it is missing, or it is not 16 bytes in base64.
    """
    try:
        size = len(base64.b64decode(key.strip(), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != KEY_SIZE:
        raise HandshakeRefused(400, "send a Sec-WebSocket-Key of 16 bytes in base64")


def accept_key(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` that answers a key."""
    digest = sha1(key.strip().encode("ascii") + WS_KEY, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def asks_for_close(value: object) -> bool:
    """Tell whether a client asks to be told by a close frame why it is refused.

    Args:
        value: the query's ``refusals``, see ``admitted_id``.

    Raises:
        HandshakeRefused: 400: it has another value than ``close``.
    """
    if value not in (None, "close"):
        raise HandshakeRefused(400, "refusals is not close: use refusals=close, or leave it out")
    return value is not None


def admitted_id(value: object) -> str:
    """Return an Id under which a client may connect.

    Args:
        value: the query's ``Id`` as CherryPy parsed it: text, a list if there were several, or
            None.

    Raises:
        HandshakeRefused: 400; the message says which rule it breaks.
    """
    if value is None:
        raise HandshakeRefused(400, "Id is missing: connect with ?Id=... in the URL")
    if not isinstance(value, str):
        raise HandshakeRefused(400, "Id is given more than once: give it once")
    if not value:
        raise HandshakeRefused(400, "Id is empty: give 1 to 128 characters")
    if len(value) > MAX_ID_LENGTH:
        raise HandshakeRefused(400, f"Id has {len(value)} characters: give at most {MAX_ID_LENGTH}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        raise HandshakeRefused(400, "Id has control characters: leave them out")
    return value


def checked_heartbeat(value: object) -> float:
    """Return the seconds between the heartbeats that a client asked for, 0 if it asked for none.

    Args:
        value: the query's ``heartbeat`` as CherryPy parsed it; see ``admitted_id``.

    Raises:
        HandshakeRefused: 400; the message says which rule it breaks.
    """
    if value is None:
        return 0
    if not isinstance(value, str):
        raise HandshakeRefused(400, "heartbeat is given more than once: give it once")
    seconds = float(value) if _SECONDS.fullmatch(value) else 0
    if not MIN_HEARTBEAT <= seconds <= MAX_HEARTBEAT:
        raise HandshakeRefused(400, f"heartbeat is not a number from {MIN_HEARTBEAT} to "
                               f"{MAX_HEARTBEAT}: give seconds, or leave it out")
    return seconds


def choose_subprotocol(offered: str, supported: Sequence[str],
                       refused: Mapping[str, str]) -> str | None:
    """Return the first subprotocol the client offers that is supported, or None.

    Args:
        offered: the request's ``Sec-WebSocket-Protocol``; may be empty.
        supported: those that the site speaks.
        refused: others, each with the line that refuses a client offering nothing else.

    Raises:
        HandshakeRefused: 400: the client offers only refused ones.
    """
    names = _tokens(offered)
    if names and all(name in refused for name in names):
        raise HandshakeRefused(400, refused[names[0]])
    return next((name for name in names if name in supported), None)


def first_subprotocol(offered: str) -> str | None:
    """Return the first subprotocol that a client offers, whether or not the site speaks it.

    Browsers fail a connection whose answer names none of those that a page has offered, and then
    do not show the page why it is refused.
    """
    return next((name for name in _tokens(offered) if is_subprotocol(name)), None)


def is_subprotocol(name: object) -> bool:
    """Tell whether a client can offer a subprotocol of this name (RFC 6455 section 4.1)."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


def refusal_disconnect(status: int, message: str) -> Disconnect:
    """Return the close code and reason that tell a page why its handshake was refused.

    Browsers show pages neither the status nor the body of a refused handshake.

    Args:
        status: the HTTP status that a program gets.
        message: why, in one line; what is too long is cut.
    """
    family, number = divmod(status, 100)
    base = _TEMPORARY if status in _LATER else _CODES.get(family, _OTHER)
    text = " ".join(message.split()).encode("utf-8", "replace")
    return Disconnect(base + number, text[:MAX_REASON_BYTES].decode("utf-8", "ignore"))
