"""Connect many clients, several at a time, without a thread for each."""
from __future__ import annotations

import collections
import errno
import select
import socket
import ssl
import time

IN, OUT = select.EPOLLIN, select.EPOLLOUT
REQUEST = ("GET {path}?Id={number} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
           "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
END = b"\r\n\r\n"
READ_SIZE = 65536


class Refused(Exception):
    """The answer was not a 101."""


class Shaking:
    """Shake hands with a server for many clients.

    Attributes:
        connected: clients that got through.
        failures: the others, by what happened to them.
    """

    def __init__(self, port, tls, receive_buffer=None):
        self._port = port
        self._tls = tls
        self._receive_buffer = receive_buffer
        self.connected = 0
        self.failures = collections.Counter()

    def run(self, path, count, first, in_flight, deadline):
        """Yield each socket with what came behind the answer."""
        pending, poll, number = {}, select.epoll(), 0
        try:
            while number < count or pending:
                while number < count and len(pending) < in_flight:
                    self._begin(poll, pending, path, first + number)
                    number += 1
                for fd, _ in poll.poll(0.1):
                    done = self._step(poll, pending, fd)
                    if done:
                        self.connected += 1
                        yield done
                if time.monotonic() > deadline:
                    break
        finally:
            poll.close()
        if number < count or pending:
            self.failures["not in time"] += count - number + len(pending)

    def _begin(self, poll, pending, path, number):
        sock = socket.socket()
        sock.setblocking(False)
        if self._receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        error = sock.connect_ex(("127.0.0.1", self._port))
        if error not in (0, errno.EINPROGRESS):
            self.failures[errno.errorcode[error]] += 1
            sock.close()
            return
        request = REQUEST.format(path=path, number=number, port=self._port).encode()
        steps = self._shake(sock, request)
        pending[sock.fileno()] = steps
        poll.register(sock.fileno(), next(steps))

    def _step(self, poll, pending, fd):
        """Go on with one handshake; return its result if it is done."""
        steps = pending[fd]
        try:
            poll.modify(fd, next(steps))
            return None
        except StopIteration as end:
            result = end.value
        except (OSError, Refused) as error:
            self.failures[str(error) if isinstance(error, Refused) else
                          type(error).__name__] += 1
            result = None
        del pending[fd]
        try:
            poll.unregister(fd)
        except (OSError, ValueError):
            pass  # closed already
        return result

    def _shake(self, sock, request):
        """Shake hands with one socket; yield the event to wait for, return what came of it."""
        yield OUT
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, errno.errorcode[error])
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname="localhost",
                                         do_handshake_on_connect=False)
            yield from _tls_handshake(sock)
        sock.send(request)
        answer = b""
        while END not in answer:
            yield IN
            try:
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            if not data:
                raise ConnectionResetError
            answer += data
        head, early = answer.split(END, 1)
        status = head.split(b" ", 2)[1].decode()
        if status != "101":
            sock.close()
            raise Refused(status)
        return sock, early


def _tls_handshake(sock):
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            yield IN
        except ssl.SSLWantWriteError:
            yield OUT
