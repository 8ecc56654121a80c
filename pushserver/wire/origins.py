"""Whose pages may connect: origins and host names, without I/O.

Source: RFC 6454; RFC 6455 section 10.2.
"""
from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Mapping, Sequence

from ..errors import HandshakeRefused, InvalidSetting

ANY = "*"
"""Allows every origin, or every host name."""

MAX_PORT = 65535

_MAX_LOGGED = 100
"""Characters of an origin in the log."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HTTP_OF = {"ws": "http", "wss": "https"}
_SAID_BY_PROXIES = {"on": "https", "off": "http", **_HTTP_OF}

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[\w.~%-]+)(?::([0-9]{0,5}))?/?",
                     re.ASCII)
_HOST = re.compile(r"\[.*\]|[\w-]+(\.[\w-]+)*\.?", re.ASCII)
_PORT = re.compile(r":[0-9]*$", re.ASCII)
_FORWARDED = re.compile(r'[\s;,]*([\w-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)', re.ASCII)


def check_origin(origin: str | None, sites: Sequence[str], allowed: Sequence[str], *,
                 hosts: Sequence[str] = (ANY,)) -> None:
    """Check that the page that opens the connection comes from the site or from an allowed origin.

    Args:
        origin: the request's ``Origin``; programs other than browsers usually send none.
        sites: the site's own origins as its clients see them, such as ``https://example.org``.
        allowed: further origins, as ``allowed_origin`` returns them.
        hosts: names that an origin of the site may have, as ``allowed_host`` returns them, beside
            localhost and IP addresses. A name that resolves to this machine proves nothing: its
            owner decides that.

    Raises:
        HandshakeRefused: 403.

    Source: RFC 6455 section 10.2.
    """
    if not origin or ANY in allowed:
        return
    asked = _normal_or_none(origin)
    if asked is not None:
        if any(_fits(pattern, asked) for pattern in allowed):
            return
        if asked in map(_normal_or_none, sites):
            host = host_of(asked)
            if _is_no_name(host) or any(_fits(pattern, host) for pattern in hosts):
                return
            raise HandshakeRefused(403, "this host name is not the site's: add it to "
                                   "allowed_hosts", detail=f"host {host[:_MAX_LOGGED]!a}")
    raise HandshakeRefused(403, "this Origin is not the site's own: add it to allowed_origins "
                           "(behind a proxy, set tools.proxy.on in the site's configuration)",
                           detail=_compared(origin, asked, sites))


def _compared(origin: str, asked: str | None, sites: Sequence[str]) -> str:
    """Return what the site's author needs in order to find the wrong setting."""
    known = ", ".join(sites)
    text = f"Origin {origin[:_MAX_LOGGED]!a}, the site is {known[:_MAX_LOGGED]!a}"
    if asked is not None and asked.replace("https:", "http:", 1) in map(_normal_or_none, sites):
        text += "; if a proxy ends TLS, have it send X-Forwarded-Proto: https, and set " \
                "tools.proxy.on"
    return text


def site_origins(base: str, headers: Mapping[str, str],
                 proxy: Mapping[str, Any] | None) -> list[str]:
    """Return the origins of the site's own pages, as browsers see them.

    Args:
        base: the site's address as CherryPy knows it, behind a proxy by its proxy tool.
        headers: the request's headers; lookup ignores case.
        proxy: the proxy tool's options; None: it is off, and nothing a proxy says is believed.
    """
    scheme, _, host = base.partition("://")
    scheme, host = _first(scheme), _first(host.partition("/")[0])
    if proxy is None:
        return [f"{scheme}://{host}"]
    header = str(proxy.get("local", "X-Forwarded-Host"))
    if header.lower() == "origin":  # as documented for Squid; that would compare it with itself
        scheme, host = _first(headers.get("X-Forwarded-Proto", "http")), headers.get("Host", "")
    elif not proxy.get("base"):
        forwarded = _forwarded(headers.get("Forwarded", ""))
        if header and headers.get(header) is None:
            host = forwarded.get("host", host)
        if headers.get(str(proxy.get("scheme", "X-Forwarded-Proto"))) is None:
            scheme = "on" if headers.get("X-Forwarded-Ssl") == "on" \
                else forwarded.get("proto", scheme).lower()
    scheme = _SAID_BY_PROXIES.get(scheme, scheme)
    port = headers.get("X-Forwarded-Port", "").strip()
    with_port = [f"{scheme}://{host}:{port}"] if port.isdigit() and not _PORT.search(host) else []
    return [f"{scheme}://{host}", *with_port]


def _first(value: str) -> str:
    """Return the first of a list in a header: what the proxy that clients talk to has said."""
    return value.partition(",")[0].strip().lower()


def _forwarded(value: str) -> dict[str, str]:
    """Return each parameter of a ``Forwarded`` header as the first proxy with one gave it.

    Source: RFC 7239 section 4.
    """
    found: dict[str, str] = {}
    position = 0
    while match := _FORWARDED.match(value, position):
        name, text = match.groups()
        position = match.end()
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        found.setdefault(name.lower(), text)
    return found


def normal_origin(origin: str) -> str:
    """Return an origin in its normal form, so that two can be compared.

    That is: lower case, ``http`` for ``ws`` (which a plain ws4py client sends), no default port.

    Args:
        origin: scheme, host and optionally port, such as ``https://example.org:8443``; or what
            browsers send for pages without a host, ``null`` or ``file://``.

    Raises:
        InvalidSetting: it is not an origin.

    Source: RFC 6454 section 4.
    """
    lower = origin.lower() if isinstance(origin, str) else ""
    if lower in ("null", "file://"):
        return lower
    match = _ORIGIN.fullmatch(lower)
    if match is not None:
        scheme, host, digits = match.groups()
        scheme = _HTTP_OF.get(scheme, scheme)
        port = int(digits) if digits else _DEFAULT_PORTS.get(scheme)
        if (scheme not in _DEFAULT_PORTS or _HOST.fullmatch(host)) and (port or 0) <= MAX_PORT:
            host = _normal_address(host)
            return f"{scheme}://{host}" if port == _DEFAULT_PORTS.get(scheme) \
                else f"{scheme}://{host}:{port}"
    raise InvalidSetting(f"origin {origin!r}: use scheme://host, scheme://host:port or "
                         "scheme://*.host for its subdomains; an international name in its "
                         "ASCII form, xn--...")


def allowed_origin(origin: str) -> str:
    """Return an origin that a site allows, or a pattern of origins, in its normal form.

    Args:
        origin: see ``normal_origin``; "*" for any, ``https://*.example.org`` for all subdomains,
            however deep, but not for ``https://example.org``.

    Raises:
        InvalidSetting: it is neither.
    """
    if origin == ANY:
        return origin
    head, star, tail = origin.partition("://*.") if isinstance(origin, str) else ("", "", "")
    if not star:
        return normal_origin(origin)
    try:
        normal = normal_origin(f"{head}://{tail}")
    except InvalidSetting:
        normal = ""
    if not normal or "*" in normal or _is_no_name(host_of(normal), names=()):
        raise InvalidSetting(f"origin {origin!r}: use scheme://*.host, with one * for the "
                             "subdomains of a name")
    return normal.replace("://", "://*.")


def allowed_host(host: str) -> str:
    """Return a host name that a site allows, or a pattern of them, in its normal form.

    Args:
        host: a name, with or without a port, which is ignored; "*" for any, ``*.example.org`` for
            all subdomains, but not for ``example.org``.

    Raises:
        InvalidSetting: it is neither.
    """
    if host == ANY:
        return host
    try:
        normal = allowed_origin(f"http://{host}" if isinstance(host, str) else "")
    except InvalidSetting:
        raise InvalidSetting(f"host {host!r}: use a name such as example.org, *.example.org for "
                             "its subdomains, or *") from None
    return host_of(normal)


def is_loopback(host: object) -> bool:
    """Tell whether an address can be reached from its own machine only."""
    try:
        return host == "localhost" or ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def host_of(origin: str) -> str:
    """Return the host of an origin in its normal form."""
    host = _PORT.sub("", origin.partition("://")[2])
    return host[:-1] if host.endswith(".") else host


def _normal_or_none(origin: str) -> str | None:
    try:
        return normal_origin(origin)
    except InvalidSetting:
        return None


def _normal_address(host: str) -> str:
    """Return an IPv6 address as browsers write it, and any other host as it is."""
    if not host.startswith("["):
        return host
    try:
        return f"[{ip_address(host[1:-1]).compressed}]"
    except ValueError:
        raise InvalidSetting(f"host {host!r}: this is no IPv6 address") from None


def _is_no_name(host: str, names: Sequence[str] = ("localhost",)) -> bool:
    """Tell whether nobody can make this host resolve to a machine of his choice."""
    if any(host == name or host.endswith(f".{name}") for name in names):
        return True
    try:
        return bool(ip_address(host.strip("[]")))
    except ValueError:
        return False


def _fits(pattern: str, text: str) -> bool:
    """Tell whether a text is a pattern's, which may have one ``*`` for one or more characters."""
    head, star, tail = pattern.partition("*")
    if not star:
        return text == pattern
    return len(text) > len(head) + len(tail) and text.startswith(head) and text.endswith(tail)
