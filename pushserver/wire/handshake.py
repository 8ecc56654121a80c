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
from urllib.parse import urlsplit

from ws4py import WS_KEY

from ..errors import HandshakeRefused, InvalidSetting

VERSION = "13"

MAX_ID_LENGTH = 128
"""Characters of the longest Id."""

KEY_SIZE = 16
"""Bytes that a ``Sec-WebSocket-Key`` decodes to."""

MIN_HEARTBEAT = 1
MAX_HEARTBEAT = 3600
"""Seconds between heartbeats that a client may ask for."""

_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,9})?", re.ASCII)

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
        raise HandshakeRefused(405, f"use GET for a WebSocket handshake, not {method:.20}",
                               {"Allow": "GET"})
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


def check_origin(origin: str | None, site: str, allowed: Sequence[str]) -> None:
    """Check that the page that opens the connection comes from the site or from an allowed origin.

    Args:
        origin: the request's ``Origin``; programs other than browsers usually send none.
        site: the site's own origin as its clients see it, such as ``https://example.org``.
        allowed: further origins, in their normal form; "*" allows any.

    Raises:
        HandshakeRefused: 403.

    Source: RFC 6455 section 10.2.
    """
    if not origin or "*" in allowed:
        return
    try:
        asked = normal_origin(origin)
        if asked in allowed or asked == normal_origin(site):
            return
    except InvalidSetting:
        pass  # for example "null", which is nobody's origin
    raise HandshakeRefused(403, "this Origin is not the site's own: add it to allowed_origins "
                           "(behind a proxy: let CherryPy's proxy tool see the public host)")


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


_DEFAULT_PORTS = {"http": 80, "https": 443}
_HTTP_OF = {"ws": "http", "wss": "https"}


def normal_origin(origin: str) -> str:
    """Return an origin in its normal form, so that two can be compared.

    That is: lower case, ``http`` for ``ws`` (which a plain ws4py client sends), no default port.

    Args:
        origin: scheme, host and optionally port, such as ``https://example.org:8443``.

    Raises:
        InvalidSetting: it is not an origin.

    Source: RFC 6454 section 4.
    """
    try:
        parts = urlsplit(origin if isinstance(origin, str) else "")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    scheme = _HTTP_OF.get(parts.scheme, parts.scheme)
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if not scheme or not parts.hostname or extra:
        raise InvalidSetting(f"origin {origin!r}: use scheme://host or scheme://host:port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{port}"
