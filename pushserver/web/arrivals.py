"""Accept connections and read their requests, without a thread for each; see ``PushFront``."""
from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import ssl
import time
from collections import deque
from functools import partial
from queue import Full
from typing import Any, Callable

from cheroot.makefile import StreamReader

from .exchanges import SENDS_IN_A_ROW, Exchange, Waits
from .heads import Head, Verdict
from .tls import Certificate, begin_tls, refuse_plain_http, take_step

HEAD_SECONDS = 10.0
"""Seconds that a client has for a TLS handshake, and then for a request's head."""

BODY_SECONDS = 30.0
"""Seconds for the short body that is awaited after it."""

QUEUE_SECONDS = 30.0
"""Seconds that a long body waits for its turn to be read."""

LEAVE_SECONDS = 2.0
"""Seconds for a client to read that it was refused, so that closing does not take that from it."""

AGE = 1.0
"""Seconds that a connection may be silent even if others need its place."""

PAUSE = 0.05
"""Seconds without accepting, if there is no place or no descriptor."""

LOOK_INTERVAL = 0.25
"""Seconds between two looks at how fast long bodies come, while others wait for their turn."""

CERTIFICATE_INTERVAL = 10.0
"""Seconds between two looks at the certificate's files."""

ACCEPTS_IN_A_ROW = 64

RECEIVE_SIZE = 16 * 1024

MOST_DISCARDED = 256 * 1024
"""Bytes of a refused client that are read and dropped."""

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Arrival:
    """One connection, while no thread works for it.

    Attributes:
        sock: its socket; non-blocking meanwhile.
        address: of its client, as ``accept`` has returned it.
        stage: what it waits for; None while a thread has it, or after its end.
        head: what has come of its next request.
        conn: cheroot's object for it, once it has made a request.
        exchange: what reads and writes for that.
        rest: what came behind a request, while its answer is being written.
        is_last: no request follows.
        ssl_env: what cheroot tells the site of its TLS layer.
        discarded: bytes that were dropped since it was refused.
    """

    __slots__ = ("sock", "address", "stage", "head", "conn", "exchange", "rest", "is_last",
                 "ssl_env", "discarded")

    def __init__(self, sock: socket.socket, address: Any, head: Head) -> None:
        self.sock = sock
        self.address = address
        self.stage: Stage | None = None
        self.head = head
        self.conn: Any = None
        self.exchange: Any = None
        self.rest = b""
        self.is_last = False
        self.ssl_env: dict[str, Any] = {}
        self.discarded = 0

    def __repr__(self) -> str:
        return f"<Arrival {self.stage!r}, {self.head!r}>"

    @property
    def host(self) -> str:
        """Return the client's address without its port; empty for a Unix socket."""
        return self.address[0] if isinstance(self.address, tuple) else ""


class Stage:
    """Those who wait for the same, the one whose time is over first at the front.

    Args:
        seconds: that each may wait.
        timed_out: called with one whose time is over.
    """

    def __init__(self, seconds: float, timed_out: Callable[[Arrival], None]) -> None:
        self.seconds = seconds
        self.timed_out = timed_out
        self.due: dict[Arrival, float] = {}

    def __len__(self) -> int:
        return len(self.due)

    def __repr__(self) -> str:
        return f"<Stage of {len(self)}, {self.seconds} s>"

    def first(self) -> tuple[Arrival, float] | None:
        """Return who is next, and when its time is over."""
        return next(iter(self.due.items()), None)


class Arrivals:
    """Hold an HTTP server's connections that no thread works for; cheroot's ``ConnectionManager``.

    Everything runs on the server's own thread, in ``run``, except ``put``, which its workers call,
    ``stop`` and the properties.

    Args:
        server: the HTTP server, listening.
        most_pending: connections without a whole request, beyond which the oldest are closed, first
            of the address that has most.
        most_idle: connections between two requests, likewise.
    """

    def __init__(self, server: Any, most_pending: int, most_idle: int) -> None:
        self.server = server
        self._most_pending = most_pending
        self._most_idle = most_idle
        self._shaking = Stage(HEAD_SECONDS, self._drop)
        self._heads = Stage(HEAD_SECONDS, self._head_timed_out)
        self._bodies = Stage(BODY_SECONDS, self._body_timed_out)
        self._queued = Stage(QUEUE_SECONDS, self._queue_timed_out)
        self._idle = Stage(server.timeout, self._drop)
        self._answering = Stage(server.timeout, self._drop)
        self._leaving = Stage(LEAVE_SECONDS, self._drop)
        self._without_request = (self._shaking, self._heads, self._bodies, self._queued)
        self._stages = (*self._without_request, self._idle, self._answering, self._leaving)
        self._long: set[Arrival] = set()    # those whose long bodies threads read
        self._waits = Waits(server.requests)
        self._pending: dict[str, dict[Arrival, float]] = {}     # by address; and since when
        self._returned: deque[tuple[Arrival, bytes | None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_in, READ, self._woken)
        self._listener: socket.socket = server.socket
        self._listener.setblocking(False)
        self._selector.register(self._listener, READ, self._accept)
        self._accepts_again: float | None = None    # None: it accepts
        self._certificate = Certificate(server.ssl_adapter) if server.ssl_adapter else None
        self._look_again = time.monotonic() + CERTIFICATE_INTERVAL
        self._to_free = 0
        self._serving = False
        self._is_stopping = False

    def __repr__(self) -> str:
        return f"<Arrivals {self._pending_count} pending, {len(self._idle)} idle>"

    # Any thread

    @property
    def can_add_keepalive_connection(self) -> bool:
        """Tell whether a client may make another request; the longest idle one goes first."""
        return self._most_idle > 0

    @property
    def _num_connections(self) -> int:
        """Return how many are between two requests; cheroot's statistics ask."""
        return len(self._idle)

    @property
    def held_bytes(self) -> int:
        """Return how many bytes no thread works for: of requests, and of answers."""
        return self._waits.kept + sum(len(one.head.data) for stage in self._without_request
                                      for one in tuple(stage.due))

    def put(self, conn: Any) -> None:
        """Take a connection back after a request. It must not raise: that would end the worker."""
        conn.last_used = time.time()
        arrival: Arrival = conn.arrival
        self._request_ended(arrival)
        try:
            arrival.exchange.finish()
            rest = _unread(conn.rfile)
            if rest or conn.wfile.left or _has_pending(arrival.sock):
                self._returned.append((arrival, rest))
                self._wake()
            else:
                arrival.stage = self._idle
                self._returned.append((arrival, None))
                # without a wake: the next request wakes the thread
                self._selector.register(arrival.sock, READ, arrival)
        except (OSError, ValueError, KeyError, RuntimeError):   # the client or the server has ended
            with contextlib.suppress(OSError):
                conn.end()

    def put_last(self, conn: Any) -> None:
        """Close a connection after its last request, as soon as the answer is written."""
        arrival: Arrival = conn.arrival
        self._request_ended(arrival)
        with contextlib.suppress(OSError, ValueError):
            arrival.exchange.finish()
        if not arrival.exchange.left or arrival.is_last or conn.linger:
            conn.end()
        elif self._is_stopping and not self._serving:
            with contextlib.suppress(OSError, ValueError):
                arrival.exchange.flush()
            conn.end()
        else:
            arrival.is_last = True
            self._returned.append((arrival, b""))
            self._wake()

    def evict(self, size: int) -> int:
        """Close connections that hold so many bytes in all, if there are; return about how many."""
        size = min(size, self.held_bytes)
        self._to_free = size
        self._wake()
        return size

    def _request_ended(self, arrival: Arrival) -> None:
        self._long.discard(arrival)
        if self._queued.due:
            self._wake()

    def stop(self) -> None:
        """End ``run``, and wait for that."""
        self._is_stopping = True
        self._wake()
        while self._serving:
            time.sleep(0.005)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_out.send(b"\0")

    def close(self) -> None:
        """Close all connections; ``run`` has ended."""
        for arrival in {*(one for stage in self._stages for one in stage.due),
                        *(one for one, _ in tuple(self._returned))}:
            _close(arrival)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    # The server's thread

    def run(self, longest: float) -> None:
        """Serve until ``stop``.

        Args:
            longest: seconds to sleep at most.
        """
        self._serving = True
        try:
            while not self._is_stopping:
                self._round(longest)
            if self._accepts_again is None:
                self._selector.unregister(self._listener)
            self._accepts_again = None
            until = time.monotonic() + self.server.shutdown_timeout
            while (self._answering.due or self._returned) and time.monotonic() < until:
                self._round(PAUSE)
        finally:
            self._serving = False

    def _round(self, longest: float) -> None:
        for key, _ in self._selector.select(min(longest, self._until_due())):
            if isinstance(key.data, Arrival):
                self._guarded(key.data)
            else:
                key.data()
        self._take_returned()
        if self._to_free > 0:
            self._free()
        self._let_long_ones_in()
        if self._waits.is_short:
            self._make_room_for_answers()
        now = time.monotonic()
        for stage in self._stages:
            while (first := stage.first()) is not None and first[1] <= now:
                stage.timed_out(first[0])
        if self._certificate is not None and self._look_again <= now:
            self._look_again = now + CERTIFICATE_INTERVAL
            told = self._certificate.refresh()
            if told is not None:
                self.server.error_log(told, logging.WARNING)
        if self._accepts_again is not None and self._accepts_again <= now:
            self._accepts_again = None
            self._selector.register(self._listener, READ, self._accept)

    def _free(self) -> None:
        """Close those who have waited longest of the kind that holds more: requests, or answers."""
        size, self._to_free = self._to_free, 0
        kept = self._waits.kept
        stages = (self._answering, *self._without_request)
        for stage in stages if 2 * kept > self.held_bytes else reversed(stages):
            for arrival in tuple(stage.due):
                held = len(arrival.head.data)
                held += arrival.exchange.size if stage is self._answering else 0
                if size > 0 and held:
                    size -= held
                    self._drop(arrival)

    def _make_room_for_answers(self) -> None:
        """Close who reads most slowly."""
        self._waits.is_short, now = False, time.monotonic()
        slowest = min(self._answering.due, key=lambda one: one.exchange.rate(now), default=None)
        if slowest is not None and slowest.exchange.is_slow(now):
            self._drop(slowest)

    def _until_due(self) -> float:
        """Return the seconds until something is to be done that no client causes."""
        due = [first[1] for stage in self._stages if (first := stage.first()) is not None]
        if self._accepts_again is not None:
            due.append(self._accepts_again)
        if self._queued.due:
            due.append(time.monotonic() + LOOK_INTERVAL)
        return max(0.0, min(due, default=float("inf")) - time.monotonic())

    def _woken(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_in.recv(4096)

    def _guarded(self, arrival: Arrival) -> None:
        """Serve one connection, so that an error ends only that one."""
        try:
            self._serve(arrival)
        except Exception as error:
            self.server.error_log(f"a connection failed before its request: {error!r}",
                                  logging.ERROR, True)
            self._drop(arrival)

    def _take_returned(self) -> None:
        """Take note of those that workers have given back."""
        while self._returned:
            arrival, rest = self._returned.popleft()
            if rest is None:
                if arrival.stage is self._idle:
                    self._rest(arrival)
            elif arrival.exchange.left:
                arrival.rest = rest
                self._selector.register(arrival.sock, WRITE, arrival)
                self._move(arrival, self._answering)
            else:
                self._selector.register(arrival.sock, READ, arrival)
                self._go_on(arrival, rest)

    def _rest(self, arrival: Arrival) -> None:
        """Wait for a connection's next request."""
        self._move(arrival, self._idle)
        if len(self._idle) > self._most_idle:
            self._drop(next(iter(self._idle.due)))

    def _go_on(self, arrival: Arrival, data: bytes) -> None:
        """Go on with a connection of whose next request something has come."""
        self._move(arrival, self._heads)
        if not data or self._fed(arrival, data):
            self._guarded(arrival)

    def _let_long_ones_in(self) -> None:
        """Have threads read long bodies, as many as may; end slow ones while others wait."""
        while self._queued.due and len(self._long) < self._waits.most:
            self._start(next(iter(self._queued.due)))
        if self._queued.due:
            now = time.monotonic()
            for arrival in tuple(self._long):
                if arrival.exchange.is_slow(now):
                    arrival.exchange.end()

    # Accepting

    def _accept(self) -> None:
        for _ in range(ACCEPTS_IN_A_ROW):
            if not self._make_room():
                self._pause()
                return
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno in NO_DESCRIPTORS:
                    self._count("Socket Errors")
                    self._spare_one()
                    self._pause()
                elif error.errno == errno.ECONNABORTED:
                    continue
                return
            self._count("Accepts")
            self._begin(sock, address)

    def _count(self, name: str) -> None:
        if self.server.stats["Enabled"]:
            self.server.stats[name] += 1

    def _pause(self) -> None:
        if self._accepts_again is None:
            self._accepts_again = time.monotonic() + PAUSE
            self._selector.unregister(self._listener)

    def _make_room(self) -> bool:
        """Close a connection if there are too many without a request; False if that is too early.
        """
        if self._pending_count < self._most_pending:
            return True
        oldest, since = self._first_to_go()
        if since + AGE > time.monotonic():
            return False
        self._drop(oldest)
        return True

    def _first_to_go(self) -> tuple[Arrival, float]:
        """Return the oldest without a request of the address that has most, and since when."""
        return next(iter(max(self._pending.values(), key=len).items()))

    def _spare_one(self) -> None:
        """Close a connection for its descriptor, if there is one that nobody works for."""
        if self._idle.due:
            self._drop(next(iter(self._idle.due)))
        elif self._pending:
            self._drop(self._first_to_go()[0])
        elif self._answering.due:
            self._drop(next(iter(self._answering.due)))

    @property
    def _pending_count(self) -> int:
        return sum(map(len, self._without_request))

    def _begin(self, sock: socket.socket, address: Any) -> None:
        adapter = self.server.ssl_adapter
        try:
            sock.setblocking(False)
            if adapter is not None:
                sock = begin_tls(adapter, sock)
            arrival = Arrival(sock, address, Head(self.server.max_request_body_size))
            self._selector.register(sock, READ, arrival)
        except (OSError, ValueError):   # it has gone
            sock.close()
            return
        self._move(arrival, self._heads if adapter is None else self._shaking)
        self._guarded(arrival)      # most send something at once

    # One connection

    def _move(self, arrival: Arrival, stage: Stage | None) -> None:
        """Have it wait for something else, or for nothing."""
        before, arrival.stage = arrival.stage, stage
        if before is not None:
            before.due.pop(arrival, None)
        if stage is not None:
            stage.due[arrival] = time.monotonic() + stage.seconds
        if stage in self._without_request:
            self._pending.setdefault(arrival.host, {}).setdefault(arrival, time.monotonic())
        elif before in self._without_request:
            mine = self._pending[arrival.host]
            del mine[arrival]
            if not mine:
                del self._pending[arrival.host]

    def _serve(self, arrival: Arrival) -> None:
        """Do what an event of its socket calls for."""
        if arrival.stage is self._answering:
            self._write(arrival)
            return
        if arrival.stage is self._shaking and not self._shake(arrival):
            return
        while arrival.stage is not None:
            try:
                data = arrival.sock.recv(RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError,
                    ssl.SSLWantWriteError):
                return
            except (OSError, ValueError):
                data = b""
            if not data or not self._fed(arrival, data) or not _has_pending(arrival.sock):
                if not data:
                    self._drop(arrival)
                return

    def _write(self, arrival: Arrival) -> None:
        """Go on with an answer."""
        before = arrival.exchange.size
        try:
            needs = arrival.exchange.send(SENDS_IN_A_ROW)
        except (OSError, ValueError):
            self._drop(arrival)
            return
        if needs:
            self._selector.modify(arrival.sock, needs, arrival)
            if arrival.exchange.size < before:
                self._waits.keep(arrival.exchange)
                self._move(arrival, self._answering)
        elif arrival.is_last:
            self._drop(arrival)
        else:
            rest, arrival.rest = arrival.rest, b""
            self._selector.modify(arrival.sock, READ, arrival)
            if rest or _has_pending(arrival.sock):
                self._go_on(arrival, rest)
            else:
                self._rest(arrival)

    def _shake(self, arrival: Arrival) -> bool:
        """Go on with the TLS handshake; tell whether it is done."""
        sock = arrival.sock
        assert isinstance(sock, ssl.SSLSocket)
        try:
            needs = take_step(sock)
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._selector.unregister(sock)     # it is detached now
                refuse_plain_http(sock, self.server.protocol)
                self._move(arrival, None)
            else:
                self._drop(arrival)
            return False
        except (OSError, ValueError):
            self._drop(arrival)
            return False
        if needs is not None:
            self._selector.modify(sock, WRITE if needs is ssl.SSLWantWriteError else READ, arrival)
            return False
        self._selector.modify(sock, READ, arrival)
        arrival.ssl_env = self.server.ssl_adapter.get_environ(sock)
        self._move(arrival, self._heads)
        return True

    def _fed(self, arrival: Arrival, data: bytes) -> bool:
        """Take what has come; tell whether more is to be read."""
        if arrival.stage is self._leaving:
            arrival.discarded += len(data)
            if arrival.discarded > MOST_DISCARDED:
                self._drop(arrival)
            return arrival.stage is not None
        verdict = arrival.head.feed(data)
        if verdict is Verdict.READY:
            self._hand_over(arrival)
        elif verdict is Verdict.TOO_LONG:
            self._refuse(arrival, "431 Request Header Fields Too Large",
                         "The request line and the headers are too long.")
        else:
            stage = self._heads if verdict is Verdict.HEAD else self._bodies
            if arrival.stage is not stage:
                self._move(arrival, stage)
        return arrival.stage is not None

    def _hand_over(self, arrival: Arrival) -> None:
        """Let a worker answer the request, or have it wait for that."""
        self._selector.unregister(arrival.sock)
        if arrival.head.is_long and (self._queued.due or len(self._long) >= self._waits.most):
            self._move(arrival, self._queued)
        else:
            self._start(arrival)

    def _start(self, arrival: Arrival) -> None:
        """Let a worker answer the request, which it can read without waiting if it is not long."""
        self._move(arrival, None)
        if arrival.head.is_long:
            self._long.add(arrival)
        conn = arrival.conn
        if conn is None:
            conn = arrival.conn = self._connection(arrival)
        conn.rfile._read_buf, conn.rfile._read_pos = arrival.head.take(), 0
        arrival.exchange.begin()
        try:
            self.server.requests.put(conn)
        except Full:
            self._request_ended(arrival)
            self._turn_away(arrival, "Too many requests wait.")
        else:
            self._waits.make_way()

    def _connection(self, arrival: Arrival) -> Any:
        """Make cheroot's object for a connection; see cheroot's ``_from_server_socket``."""
        server = self.server
        arrival.exchange = Exchange(arrival.sock, server.timeout, self._waits)
        conn = server.ConnectionClass(server, arrival.sock, partial(_file, arrival.exchange))
        conn.arrival = arrival
        if isinstance(arrival.address, tuple):
            conn.remote_addr, conn.remote_port = arrival.address[:2]
        conn.ssl_env = arrival.ssl_env
        return conn

    # Ending

    def _head_timed_out(self, arrival: Arrival) -> None:
        if arrival.head.data:
            self._body_timed_out(arrival)
        else:
            self._drop(arrival)     # a browser may connect in advance

    def _body_timed_out(self, arrival: Arrival) -> None:
        self._refuse(arrival, "408 Request Timeout", "The request has not come in time.")

    def _queue_timed_out(self, arrival: Arrival) -> None:
        self._turn_away(arrival, "Too many others send long bodies.")

    def _turn_away(self, arrival: Arrival, text: str) -> None:
        self._selector.register(arrival.sock, READ, arrival)
        self._refuse(arrival, "503 Service Unavailable", text)

    def _refuse(self, arrival: Arrival, status: str, text: str) -> None:
        """Answer in cheroot's place, and wait for the client to have read that."""
        lines = [f"{self.server.protocol} {status}", f"Content-Length: {len(text)}",
                 "Content-Type: text/plain", "Connection: close", "", text]
        try:
            arrival.sock.send("\r\n".join(lines).encode("ascii"))
            socket.socket.shutdown(arrival.sock, socket.SHUT_WR)
        except (OSError, ValueError):
            self._drop(arrival)
            return
        arrival.head.take()
        self._move(arrival, self._leaving)

    def _drop(self, arrival: Arrival) -> None:
        """Close a connection."""
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(arrival.sock)
        self._move(arrival, None)
        if arrival.exchange is not None:
            arrival.exchange.forget()
        _close(arrival)


def _close(arrival: Arrival) -> None:
    with contextlib.suppress(OSError, ValueError):
        if arrival.conn is not None:
            arrival.conn.end()
        else:
            socket.socket.shutdown(arrival.sock, socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        arrival.sock.close()


def _file(exchange: Exchange, _: socket.socket, mode: str, size: int) -> Any:
    """Return cheroot's ``rfile`` or ``wfile``."""
    return StreamReader(exchange, mode, size) if "r" in mode else exchange


def _unread(rfile: Any) -> bytes:
    """Take from cheroot's buffer what it has read and not used: a next request has begun."""
    data = bytes(rfile._read_buf[rfile._read_pos:])
    rfile._read_buf, rfile._read_pos = b"", 0
    return data


def _has_pending(sock: socket.socket) -> bool:
    """Tell whether decrypted bytes are waiting that the selector cannot see."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
