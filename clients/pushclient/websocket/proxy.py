"""Which HTTP proxy to use, and how to ask it for a tunnel. Pure, but reads the environment.

Source: RFC 9110 section 9.3.6 (CONNECT); curl and Go for ``no_proxy``, which no standard describes.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Union
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import HandshakeFailed, InvalidSetting, ProxyFailed
from .handshake import END_OF_HEAD, Response, basic, parse_response, shown
from .url import Address

ProxyOption = Union[str, bool, None]
"""A proxy's URL; True: as the environment says; False or None: no proxy."""

HTTP_PORT = 80
OK = range(200, 300)

_VARIABLES = {"ws": ("ws", "http", "all"), "wss": ("wss", "https", "all")}
_SEPARATORS = re.compile(r"[,\s]+")
_ENTRY = re.compile(r"(\[.+\](?:/\d+)?|[^:]*|.*:.*:.*)(?::(\d+))?")
"""An entry of ``no_proxy``: a host and a port. An IPv6 address with a port needs brackets."""


@dataclass(frozen=True)
class Proxy:
    """Hold where a proxy is.

    Attributes:
        host: its name or address.
        port: 1 to 65535.
        credentials: "user:password", or None; never shown.
    """

    host: str
    port: int
    credentials: str | None = field(default=None, repr=False)


def find_proxy(option: ProxyOption, address: Address) -> Proxy | None:
    """Return the proxy to use for an address, or None.

    Args:
        option: the caller's choice. True reads ``ws_proxy`` and ``http_proxy`` for ``ws``,
            ``wss_proxy`` and ``https_proxy`` for ``wss``, then ``all_proxy``; what ``no_proxy``
            lists uses none: names with all below them, addresses, networks (``10.0.0.0/8``), each
            of them with a port if need be, or ``*``.
        address: where to connect to.

    Raises:
        InvalidSetting: the URL is not an HTTP proxy's.
    """
    if not option or address.unix_socket:
        return None
    if isinstance(option, str):
        return parse_proxy(option)
    url = _from_environment(address)
    return parse_proxy(url) if url else None


def _from_environment(address: Address) -> str | None:
    proxies = getproxies()
    spared = _SEPARATORS.split(proxies.get("no", "").strip())
    if any(_is_meant(entry, address) for entry in spared) \
            or proxy_bypass(f"{address.host}:{address.port}"):  # the system's settings
        return None
    found = (proxies.get(name) for name in _VARIABLES[address.scheme])
    return next((url for url in found if url), None)


def _is_meant(entry: str, address: Address) -> bool:
    """Tell whether an entry of ``no_proxy`` means an address."""
    if entry == "*":
        return True
    match = _ENTRY.fullmatch(entry)
    if not match or match[2] and int(match[2]) != address.port:
        return False
    name = match[1].lstrip("[").replace("]", "").lower()
    host = address.host.lower().rstrip(".")
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:  # one of them is a name
        name = name.lstrip("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def parse_proxy(url: str) -> Proxy:
    """Return what a proxy's URL says.

    Args:
        url: ``http://[user:password@]host[:port]``; the scheme may be left out.

    Raises:
        InvalidSetting: it is not such a URL.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or HTTP_PORT
    except ValueError as error:
        raise InvalidSetting(f"proxy: {error}") from None
    if parts.scheme != "http":
        raise InvalidSetting(f"proxy: scheme {parts.scheme!r}: use http://host:port, or no proxy")
    if not parts.hostname:
        raise InvalidSetting("proxy: no host: use http://host:port")
    credentials = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(parts.hostname, port, credentials)


def tunnel_request(proxy: Proxy, address: Address) -> bytes:
    """Return the request that asks a proxy for a tunnel."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{host}:{address.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.credentials is not None:
        lines.append(f"Proxy-Authorization: {basic(proxy.credentials)}")
    return "\r\n".join(lines).encode("ascii") + END_OF_HEAD


def check_tunnel(head: bytes, rest: bytes) -> None:
    """Check a proxy's response.

    Args:
        head: its bytes before the empty line.
        rest: what came after it: nothing, because the client speaks first in a new tunnel.

    Raises:
        ProxyFailed: there is no tunnel.
    """
    try:
        response = parse_response(head)
    except HandshakeFailed as error:
        raise ProxyFailed(f"proxy: {error}") from None
    if response.status not in OK:
        raise ProxyFailed(_refused(response), status=response.status)
    if rest:
        raise ProxyFailed("proxy: it sent data of its own through the tunnel")


def _refused(response: Response) -> str:
    return f"the proxy answered {response.status} {shown(response.phrase)}".rstrip()
