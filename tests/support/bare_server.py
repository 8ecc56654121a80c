"""A push server on bare sockets, in place of a site, for the unit tests."""
from __future__ import annotations

import contextlib
import socket

from pushserver import Connection, PushServer, Settings
from pushserver.server import acceptor_of
from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import frame
from pushserver.wire.parser import FrameReader
from tests.support.waiting import PATIENCE

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
KEY = b"\x0a\x0b\x0c\x0d"


class Peer:
    """The client's end of a connection, as bytes."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(PATIENCE)
        self._reader = FrameReader(1 << 26, from_client=False, values=True)
        self._found = []
        self._buffer = b""

    def answer(self):
        """Read the handshake's answer."""
        while ANSWER not in self._buffer:
            data = self.sock.recv(4096)
            assert data, "closed before the answer"
            self._buffer += data
        head, rest = self._buffer.split(ANSWER, 1)
        assert head == b""
        self._found += self._reader.feed(rest)
        return self

    def next(self):
        """Return the next message, ping, pong or disconnect; None at the end."""
        while not self._found:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._found += self._reader.feed(data)
            assert self._reader.failure is None
        return self._found.pop(0)

    def rest(self):
        """Return all that comes until the end."""
        found = []
        while (message := self.next()) is not None:
            found.append(message)
        return found

    def rest_until_close(self):
        """Return all that comes until a close frame, with it."""
        found = [self.next()]
        while found[-1] is not None and not isinstance(found[-1], Disconnect):
            found.append(self.next())
        return found

    def send(self, opcode, payload=b""):
        self.sock.sendall(frame(opcode, payload, KEY))

    def close(self, code=1000):
        """Send a close frame."""
        self.send(8, code.to_bytes(2, "big"))


def codes(messages):
    return [message.code for message in messages if isinstance(message, Disconnect)]


class Hosting:
    """A running server and the clients' ends of its connections."""

    def __init__(self, server):
        self.server = server
        self._sockets, self._peers = [], []

    def join(self, Id="42", *, handler_cls=Connection, channels=(), early=b"", shake=True,
             buffer=None, heartbeat=0, pair=None):
        """Connect a client; return its end, with ``connection`` on it."""
        ours, theirs = pair or socket.socketpair()
        self._sockets.append(ours)
        self._peers.append(theirs)
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        acceptor = acceptor_of(self.server)
        acceptor.reserve(Id)
        connection = handler_cls(ours, [], [], {})
        connection.identify(Id=Id, user=None, data={}, peer="peer")
        acceptor.accept(connection, ours, channels=channels, answer=ANSWER, early=early,
                        heartbeat=heartbeat)
        peer = Peer(theirs)
        peer.connection = connection
        return peer.answer() if shake else peer

    def close(self):
        for sock in self._peers:
            sock.close()
        self.server.stop()
        for sock in self._sockets:
            sock.close()


@contextlib.contextmanager
def hosting(*, events=None, channels=(), broker=None, **settings):
    """Run a server; its clients vanish at the end."""
    server = PushServer(Settings(**settings), events=events, channels=channels, broker=broker)
    server.start()
    hosting = Hosting(server)
    try:
        yield hosting
    finally:
        hosting.close()
