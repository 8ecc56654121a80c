"""A connected socket to a server: each address in turn, through a proxy, with TLS.

A ``StepDeadline`` bounds each step, which also ends when another thread closes the connection.
If a step fails, every socket is closed.
"""
from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections import deque
from typing import Iterable, Sequence

from ..errors import ConnectFailed
from ..forks import closed_in_children
from .errands import Errands
from .exchange import exchange
from .proxy import Proxy, check_tunnel, tunnel_request
from .resolver import SocketAddress, resolve
from .tls import start_tls
from .url import Address
from .waker import WRITE, StepDeadline

HEAD_START = 0.25
"""Seconds before the next address is tried in parallel (RFC 8305 section 5)."""

UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})


def open_socket(address: Address, proxy: Proxy | None, context: ssl.SSLContext | None,
                errands: Errands, deadline: StepDeadline) -> socket.socket:
    """Return a non-blocking socket to a server.

    Args:
        address: the server's.
        proxy: the one that makes a tunnel to the server, or None.
        context: for TLS, or None.
        errands: run the lookup of the name.
        deadline: bounds each step.

    Raises:
        ConnectFailed: a step failed.
        Interrupted: another thread has closed the connection.
    """
    sock = connect(_socket_addresses(address, proxy, errands, deadline), deadline,
                   _name(address, proxy))
    try:
        if sock.family != getattr(socket, "AF_UNIX", None):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if proxy is not None:
            deadline.begin("the proxy's answer")
            check_tunnel(*exchange(sock, tunnel_request(proxy, address), deadline))
        return start_tls(sock, context, address.host, deadline) if context is not None else sock
    except BaseException:
        sock.close()
        raise


def _socket_addresses(address: Address, proxy: Proxy | None, errands: Errands,
                      deadline: StepDeadline) -> Sequence[SocketAddress]:
    if address.unix_socket is not None:
        return [SocketAddress(socket.AF_UNIX, address.unix_socket)]
    if proxy is not None:
        return resolve(proxy.host, proxy.port, errands, deadline)
    return resolve(address.host, address.port, errands, deadline)


def _name(address: Address, proxy: Proxy | None) -> str:
    if address.unix_socket is not None:
        return address.unix_socket
    if proxy is not None:
        return f"proxy {proxy.host}:{proxy.port}"
    return f"{address.host}:{address.port}"


def connect(addresses: Iterable[SocketAddress], deadline: StepDeadline, name: str
            ) -> socket.socket:
    """Return a socket connected to the first address that answers.

    Each is tried in turn; the next starts once the last one has had its head start.

    Args:
        addresses: in order of preference.
        deadline: bounds the step.
        name: what errors call the server.

    Raises:
        ConnectFailed: none answered; the message says why for each.
        ConnectTimeout, Interrupted: see ``StepDeadline.wait``.
    """
    race = _Race(addresses)
    deadline.begin(f"connecting to {name}")
    try:
        while race.winner is None and race.is_going_on:
            race.start_next()
            if race.winner is None and race.under_way:
                ready = deadline.wait(dict.fromkeys(race.under_way, WRITE), race.next_start)
                race.settle(ready)
        if race.winner is None:
            raise ConnectFailed(f"could not connect to {name}: {'; '.join(race.failures)}")
        return race.winner
    finally:
        race.close_losers()


class _Race:
    """Hold the sockets that are connecting, and the first that connected."""

    def __init__(self, addresses: Iterable[SocketAddress]) -> None:
        self.winner: socket.socket | None = None
        self.under_way: dict[socket.socket, SocketAddress] = {}
        self.failures: list[str] = []
        self._waiting = deque(addresses)
        self._next_start = 0.0

    @property
    def is_going_on(self) -> bool:
        return bool(self._waiting or self.under_way)

    @property
    def next_start(self) -> float | None:
        return self._next_start if self._waiting else None

    def start_next(self) -> None:
        now = time.monotonic()
        if self._waiting and (not self.under_way or now >= self._next_start):
            self._next_start = now + HEAD_START
            self._start(self._waiting.popleft())

    def _start(self, address: SocketAddress) -> None:
        try:
            sock = closed_in_children(socket.socket(address.family, socket.SOCK_STREAM))
        except OSError as error:  # no such address family here
            self._failed(address, error.errno)
            return
        self.under_way[sock] = address
        sock.setblocking(False)
        try:
            code = sock.connect_ex(address.sockaddr)
        except (OSError, ValueError):  # a path that is too long, an unknown scope
            code = errno.EINVAL
        if code not in UNDER_WAY or address.family == getattr(socket, "AF_UNIX", None):
            self._settle(sock, code)

    def settle(self, ready: Iterable[socket.socket]) -> None:
        for sock in ready:
            self._settle(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _settle(self, sock: socket.socket, code: int) -> None:
        address = self.under_way.pop(sock)
        if not code and _is_its_own_peer(sock):
            code = errno.ECONNREFUSED
        if code or self.winner is not None:
            sock.close()
            self._failed(address, code)
        else:
            self.winner = sock

    def _failed(self, address: SocketAddress, code: int | None) -> None:
        if code:
            self.failures.append(f"{address}: {os.strerror(code)}")
            self._next_start = 0.0

    def close_losers(self) -> None:
        for sock in self.under_way:
            sock.close()


def _is_its_own_peer(sock: socket.socket) -> bool:
    """Tell whether the socket got the dead server's own port, and TCP connected it to itself."""
    try:
        return sock.family != getattr(socket, "AF_UNIX", None) \
            and bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False
