"""A bare loop of ``sock.send`` over accepted sockets: what any server in Python pays at least."""
from __future__ import annotations

import base64
import hashlib
import platform
import socket
import struct
import threading

from .control import BACKLOG, Control, Groups, options, split_target

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(text):
    """Return a text frame."""
    data = text.encode()
    size = len(data)
    head = struct.pack("!BB", 0x81, size) if size < 126 else \
        struct.pack("!BBH", 0x81, 126, size) if size < 65536 else \
        struct.pack("!BBQ", 0x81, 127, size)
    return head + data


class Server:
    """See ``control``."""

    def __init__(self):
        self.groups = Groups()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            sock, _ = self.listener.accept()
            request = b""
            while b"\r\n\r\n" not in request:
                request += sock.recv(4096)
            target = request.split(b" ", 2)[1].decode()
            key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            sock.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self.groups.add(*split_target(target), sock)

    def push(self, group, text):
        data = frame(text)
        for sock in self.groups.groups[group].copy():
            try:
                sock.send(data)
            except OSError:
                pass

    def send(self, Id, text):
        self.groups.by_id[Id].send(frame(text))

    def ids(self):
        return list(self.groups.by_id)

    def versions(self):
        return {"Python": platform.python_version()}


if __name__ == "__main__":
    options()
    server = Server()
    control = Control(server)
    control.ready(server.listener.getsockname()[1])
    control.run()
