"""From an address to a connected socket on which the server has agreed to speak WebSocket.

Every step is bounded by ``Patience`` and ends when another thread says so, the lookup of the name
included. Every socket is closed again when a step fails.
"""
from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
import time
from collections import deque
from typing import Any, Iterable, NamedTuple, Sequence

from .url import Address
from ..errors import CertificateRefused, ConnectFailed, HandshakeFailed, TlsFailed, UnknownHost
from .handshake import END_OF_HEAD, MAX_HEAD, Answer
from .proxy import Proxy, check_tunnel, connect_request
from .waker import READ, WRITE, Patience, Waker

HEAD_START = 0.25
"""Seconds that an address has before the next is tried beside it (RFC 8305 section 5)."""

CHUNK = 64 * 1024
MAX_BODY = 1024
"""Bytes of a refusal's body that are read, for its first line."""

UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})


class Endpoint(NamedTuple):
    """One address that a name stands for, as ``socket`` takes it."""

    family: int
    sockaddr: Any

    def __str__(self) -> str:
        return str(self.sockaddr if isinstance(self.sockaddr, (str, bytes)) else self.sockaddr[0])


class Resolver:
    """Look names up without ever blocking the thread that asks.

    ``getaddrinfo`` cannot be stopped, so it runs on a thread of its own. One that outlives its
    caller's patience is waited for again by the next lookup of that name: a resolver that hangs
    costs one thread, not one for each attempt. Not safe for several threads.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, patience: Patience) -> list[Endpoint]:
        """Return the addresses of a host, looked up anew.

        Raises:
            UnknownHost: it has none.
            ConnectTimeout, Interrupted: see ``Patience.wait``.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        patience.begin(f"the lookup of {host}")
        lookup = self._pending.get((host, port))
        if lookup is None:
            lookup = self._pending[host, port] = _Lookup(host, port)
        lookup.begin(patience.waker)
        while not lookup.done:
            patience.wait({})
        del self._pending[host, port]
        lookup.join()
        if lookup.error is not None:
            raise UnknownHost(f"unknown host {host}: {lookup.error}") from None
        return lookup.found


def _literal(host: str, port: int) -> Endpoint | None:
    """Return the endpoint of a host that is an address already: no thread need look it up."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return Endpoint(family, (host, port))
    return None


class _Lookup(threading.Thread):
    """Run one ``getaddrinfo`` and wake who waits for it."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"pushclient lookup of {host}", daemon=True)
        self.done = False
        self.found: list[Endpoint] = []
        self.error: str | None = None
        self._host, self._port = host, port
        self._waker: Waker | None = None

    def begin(self, waker: Waker) -> None:
        self._waker = waker
        if self.ident is None:
            self.start()

    def run(self) -> None:
        try:
            self.found = [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in
                          socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            self.error = getattr(error, "strerror", None) or str(error)
        finally:
            self.done = True
            if self._waker is not None:
                self._waker.wake()


def connect(endpoints: Iterable[Endpoint], patience: Patience, name: str) -> socket.socket:
    """Return a socket connected to the first endpoint that answers.

    Each is tried, the next one beside the last when that has had its head start.

    Args:
        endpoints: in order of preference.
        patience: bounds the step.
        name: what the endpoints belong to, for errors.

    Raises:
        ConnectFailed: none answered; says why for each.
        ConnectTimeout, Interrupted: see ``Patience.wait``.
    """
    race = _Race(endpoints)
    patience.begin(f"connecting to {name}")
    try:
        while race.winner is None and race.is_on:
            race.start_next()
            if race.winner is None and race.under_way:
                ready = patience.wait(dict.fromkeys(race.under_way, WRITE), race.next_start)
                race.settle(ready)
        if race.winner is None:
            raise ConnectFailed(f"could not connect to {name}: {'; '.join(race.failures)}")
        return race.winner
    finally:
        race.close_losers()


class _Race:
    """Keep the sockets that try to connect, and who was first."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.winner: socket.socket | None = None
        self.under_way: dict[socket.socket, Endpoint] = {}
        self.failures: list[str] = []
        self._waiting = deque(endpoints)
        self._next_start = 0.0

    @property
    def is_on(self) -> bool:
        return bool(self._waiting or self.under_way)

    @property
    def next_start(self) -> float | None:
        return self._next_start if self._waiting else None

    def start_next(self) -> None:
        now = time.monotonic()
        if self._waiting and (not self.under_way or now >= self._next_start):
            self._next_start = now + HEAD_START
            self._start(self._waiting.popleft())

    def _start(self, endpoint: Endpoint) -> None:
        try:
            sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
        except OSError as error:  # a family that this machine does not have
            self._failed(endpoint, error.errno)
            return
        self.under_way[sock] = endpoint
        sock.setblocking(False)
        try:
            code = sock.connect_ex(endpoint.sockaddr)
        except (OSError, ValueError):  # a path too long, a scope that is none
            code = errno.EINVAL
        if code not in UNDER_WAY or endpoint.family == getattr(socket, "AF_UNIX", None):
            self._settle(sock, code)

    def settle(self, ready: Iterable[socket.socket]) -> None:
        for sock in ready:
            self._settle(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _settle(self, sock: socket.socket, code: int) -> None:
        endpoint = self.under_way.pop(sock)
        if not code and _is_its_own_peer(sock):
            code = errno.ECONNREFUSED
        if code or self.winner is not None:
            sock.close()
            self._failed(endpoint, code)
        else:
            self.winner = sock

    def _failed(self, endpoint: Endpoint, code: int | None) -> None:
        if code:
            self.failures.append(f"{endpoint}: {os.strerror(code)}")
            self._next_start = 0.0

    def close_losers(self) -> None:
        for sock in self.under_way:
            sock.close()


def _is_its_own_peer(sock: socket.socket) -> bool:
    """Tell whether a dead server's port was given to this very socket, which TCP then connects."""
    try:
        return sock.family != getattr(socket, "AF_UNIX", None) \
            and bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False


def open_socket(address: Address, proxy: Proxy | None, context: ssl.SSLContext | None,
                resolver: Resolver, patience: Patience) -> socket.socket:
    """Return a non-blocking socket to a server, through the proxy and with TLS where wanted.

    Args:
        address: the server's.
        proxy: to be asked for a tunnel; None for none.
        context: for TLS; None for none.
        resolver: looks the name up.
        patience: bounds each step.

    Raises:
        ConnectFailed: a step failed; the socket is closed again.
        Interrupted: another thread ended it.
    """
    sock = connect(_endpoints(address, proxy, resolver, patience), patience,
                   _name(address, proxy))
    try:
        if sock.family != getattr(socket, "AF_UNIX", None):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if proxy is not None:
            patience.begin("the proxy's answer")
            check_tunnel(*exchange(sock, connect_request(proxy, address), patience))
        if context is not None:
            patience.begin("the TLS handshake")
            sock = _with_tls(sock, context, address.host)
            _shake_hands(sock, address.host, patience)
    except BaseException:
        sock.close()
        raise
    return sock


def _endpoints(address: Address, proxy: Proxy | None, resolver: Resolver,
               patience: Patience) -> Sequence[Endpoint]:
    if address.unix_socket is not None:
        return [Endpoint(socket.AF_UNIX, address.unix_socket)]
    if proxy is not None:
        return resolver.resolve(proxy.host, proxy.port, patience)
    return resolver.resolve(address.host, address.port, patience)


def _name(address: Address, proxy: Proxy | None) -> str:
    if address.unix_socket is not None:
        return address.unix_socket
    if proxy is not None:
        return f"proxy {proxy.host}:{proxy.port}"
    return f"{address.host}:{address.port}"


def _with_tls(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        raise TlsFailed(f"no TLS with {host}: {error}") from None


def _shake_hands(sock: socket.socket, host: str, patience: Patience) -> None:
    assert isinstance(sock, ssl.SSLSocket)
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            patience.wait({sock: READ})
        except ssl.SSLWantWriteError:
            patience.wait({sock: WRITE})
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(f"the certificate of {host} was refused: "
                                     f"{error.verify_message}") from None
        except (OSError, ValueError) as error:
            raise TlsFailed(f"no TLS with {host}: {_cause(error)}") from None


def exchange(sock: socket.socket, request: bytes, patience: Patience) -> tuple[bytes, bytes]:
    """Send a request; return its answer's head and what came after that.

    Raises:
        ConnectFailed: the server left.
        HandshakeFailed: its answer's head is over 64 KiB.
        ConnectTimeout, Interrupted: see ``Patience.wait``.
    """
    _send_all(sock, request, patience)
    got = bytearray()
    while True:
        searched = max(0, len(got) - len(END_OF_HEAD) + 1)
        data = receive(sock, CHUNK, patience)
        if not data:
            raise ConnectFailed("the server closed the connection before it had answered")
        got += data
        end = got.find(END_OF_HEAD, searched)
        if (len(got) if end < 0 else end) > MAX_HEAD:
            raise HandshakeFailed(f"the answer's headers are over {MAX_HEAD} bytes")
        if end >= 0:
            return bytes(got[:end]), bytes(got[end + len(END_OF_HEAD):])


def read_body(sock: socket.socket, answer: Answer, rest: bytes, patience: Patience) -> bytes:
    """Return the beginning of an answer's body, as far as its length is told.

    Args:
        sock: what the answer came from.
        answer: its head.
        rest: what came with the head.
        patience: bounds it, together with the answer.
    """
    length = answer.first("content-length")
    wanted = min(int(length), MAX_BODY) if length.isascii() and length.isdigit() else 0
    body = rest
    while len(body) < wanted:
        try:
            data = receive(sock, MAX_BODY, patience)
        except ConnectFailed:
            break
        if not data:
            break
        body += data
    return body[:wanted]


def receive(sock: socket.socket, size: int, patience: Patience) -> bytes:
    """Return what comes next, b"" when the server has left.

    Raises:
        ConnectFailed: the connection was lost.
        ConnectTimeout, Interrupted: see ``Patience.wait``.
    """
    while True:
        try:
            return sock.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            patience.wait({sock: READ})
        except ssl.SSLWantWriteError:
            patience.wait({sock: WRITE})
        except OSError as error:
            raise ConnectFailed(f"the connection was lost: {_cause(error)}") from None


def _send_all(sock: socket.socket, data: bytes, patience: Patience) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view):]
        except (BlockingIOError, ssl.SSLWantWriteError):
            patience.wait({sock: WRITE})
        except ssl.SSLWantReadError:
            patience.wait({sock: READ})
        except OSError as error:
            raise ConnectFailed(f"the connection was lost: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
