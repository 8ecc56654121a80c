"""HTTP requests and responses on a socket, before WebSocket begins on it.

Both the handshake and a proxy's tunnel begin this way. A ``StepDeadline`` bounds each wait.
"""
from __future__ import annotations

import socket
import ssl

from ..errors import ConnectFailed, HandshakeFailed
from .handshake import END_OF_HEAD, MAX_HEAD, Response
from .waker import READ, WRITE, StepDeadline

CHUNK = 64 * 1024
MAX_REFUSAL = 1024
"""Bytes of a refusal's body that are read: its first line is shown."""


def exchange(sock: socket.socket, request: bytes, deadline: StepDeadline) -> tuple[bytes, bytes]:
    """Send a request; return the response's head, and what came after it.

    Raises:
        ConnectFailed: the server hung up.
        HandshakeFailed: the head is over 64 KiB.
        ConnectTimeout, Interrupted: see ``StepDeadline.wait``.
    """
    _send_all(sock, request, deadline)
    got = bytearray()
    while True:
        searched = max(0, len(got) - len(END_OF_HEAD) + 1)
        data = _receive(sock, CHUNK, deadline)
        if not data:
            raise ConnectFailed("the server closed the connection before it answered")
        got += data
        end = got.find(END_OF_HEAD, searched)
        if (len(got) if end < 0 else end) > MAX_HEAD:
            raise HandshakeFailed(f"the response's headers are over {MAX_HEAD} bytes")
        if end >= 0:
            return bytes(got[:end]), bytes(got[end + len(END_OF_HEAD):])


def read_body(sock: socket.socket, response: Response, rest: bytes, deadline: StepDeadline
              ) -> bytes:
    """Return the beginning of a response's body, or b"" if its length is not given.

    Args:
        sock: the one that the response came on.
        response: its head.
        rest: what came with the head.
        deadline: bounds the step.
    """
    length = response.first("content-length")
    size = min(int(length), MAX_REFUSAL) if length.isascii() and length.isdigit() else 0
    body = rest
    while len(body) < size:
        try:
            data = _receive(sock, MAX_REFUSAL, deadline)
        except ConnectFailed:
            break
        if not data:
            break
        body += data
    return body[:size]


def _receive(sock: socket.socket, size: int, deadline: StepDeadline) -> bytes:
    """Return what comes next, or b"" once the server has hung up."""
    while True:
        try:
            return sock.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            deadline.wait({sock: READ})
        except ssl.SSLWantWriteError:
            deadline.wait({sock: WRITE})
        except OSError as error:
            raise _lost(error) from None


def _send_all(sock: socket.socket, data: bytes, deadline: StepDeadline) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view):]
        except (BlockingIOError, ssl.SSLWantWriteError):
            deadline.wait({sock: WRITE})
        except ssl.SSLWantReadError:
            deadline.wait({sock: READ})
        except OSError as error:
            raise _lost(error) from None


def _lost(error: OSError) -> ConnectFailed:
    return ConnectFailed(f"the connection was lost: {error.strerror or error}")
