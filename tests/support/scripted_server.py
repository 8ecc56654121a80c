"""Servers that do exactly what a test of pushclient needs, right or wrong."""
from __future__ import annotations

import re
import socket
import ssl
import threading
from typing import Any, Callable, Iterator

from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import OPCODE_TEXT, close_frame, frame
from pushserver.wire.handshake import accept_key
from pushserver.wire.parser import FrameReader
from tests.support.loopback import LOOPBACK
from tests.support.waiting import PATIENCE

MAX = 1 << 26

Script = Callable[["Peer"], Any]


class Peer:
    """One accepted connection, as a script sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = b""
        self.reader = FrameReader(MAX)
        self._messages: list[Any] = []

    def read_request(self) -> bytes:
        """Return the request's head."""
        while b"\r\n\r\n" not in self.request:
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError("no request")
            self.request += data
        return self.request

    @property
    def key(self) -> bytes:
        found = re.search(rb"(?i)sec-websocket-key: (\S+)", self.request)
        assert found
        return found[1]

    @property
    def resource(self) -> str:
        return self.request.split(b" ")[1].decode()

    def header(self, name: str) -> str | None:
        found = re.search(rb"(?im)^%s: ([^\r]*)" % name.encode(), self.request)
        return found[1].decode() if found else None

    def answer(self, *, with_it: bytes = b"", connection: str = "Upgrade", extra: str = "") -> None:
        """Accept the connection; ``with_it`` goes out in the same packet."""
        self.read_request()
        accept = accept_key(self.key.decode())
        self.sock.sendall((f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                           f"Connection: {connection}\r\n{extra}"
                           f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode() + with_it)

    def send(self, text: str) -> None:
        self.sock.sendall(frame(OPCODE_TEXT, text.encode()))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close in good order: send a close frame and wait for the answer."""
        self.sock.sendall(close_frame(Disconnect(code, reason)))
        while not isinstance(self.receive(), (Disconnect, type(None))):
            pass

    def receive(self) -> Any:
        """Return the next message or ``Disconnect``; None at the end."""
        while not self._messages:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._messages += self.reader.feed(data)
        return self._messages.pop(0)

    def echo(self) -> None:
        """Accept, send everything back, answer a close."""
        self.answer()
        while True:
            message = self.receive()
            if message is None:
                return
            if isinstance(message, Disconnect):
                self.sock.sendall(close_frame(message))
                return
            if message.opcode < 8:
                self.sock.sendall(frame(message.opcode, message.data))


class Server:
    """Run a script for each connection, on threads that have ended after the block.

    Args:
        scripts: one for each connection; the last also serves all further ones.
        port: 0 for any.
        tls: a context.
        unix: a path, for a Unix socket.
        family: of the address.
    """

    def __init__(self, *scripts: Script, port: int = 0, tls: ssl.SSLContext | None = None,
                 unix: str | None = None, family: int = socket.AF_INET) -> None:
        self._scripts = scripts
        self._tls = tls
        self.accepted = 0
        self._socks: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        self._listener = socket.socket(socket.AF_UNIX if unix else family)
        if not unix:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(unix or ("::1" if family == socket.AF_INET6 else LOOPBACK, port))
        self._listener.listen(256)
        self.port = 0 if unix else self._listener.getsockname()[1]
        self._closing = False

    @property
    def url(self) -> str:
        return f"ws{'s' if self._tls else ''}://{LOOPBACK}:{self.port}/websocket"

    def __enter__(self) -> "Server":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._threads[0].join(PATIENCE)
        self._listener.close()
        for sock in self._socks:
            _hang_up(sock)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread
        for sock in self._socks:
            sock.close()

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._socks.append(sock)
            script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
            self.accepted += 1
            self._start(self._run, sock, script)

    def _run(self, sock: socket.socket, script: Script) -> None:
        try:
            if self._tls is not None:
                index = self._socks.index(sock)
                sock = self._tls.wrap_socket(sock, server_side=True,
                                             do_handshake_on_connect=False)
                self._socks[index] = sock
                sock.do_handshake()
            script(Peer(sock))
        except (OSError, ValueError) as error:
            self.errors.append(error)
        finally:
            if script is not hold:
                _hang_up(sock)
                sock.close()


def _hang_up(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass


def hold(peer: Peer) -> None:
    """Accept, then keep the connection and read nothing more until the test is over."""
    peer.answer()


def drain(peer: Peer) -> Iterator[Any]:
    """Yield what a client sends until it has left."""
    while True:
        message = peer.receive()
        if message is None:
            return
        yield message
