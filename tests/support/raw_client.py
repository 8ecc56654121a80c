"""A WebSocket client that can misbehave, and frames as a client sends them."""
from __future__ import annotations

import base64
import io
import os
import socket
import ssl
import struct
from http.client import parse_headers

from tests.support.waiting import PATIENCE


class Refused(Exception):
    """The handshake's answer was not a 101."""

    def __init__(self, status, headers, body):
        super().__init__(f"{status}: {body!r}")
        self.status = status
        self.headers = headers
        self.body = body


class Client:
    """A WebSocket client on a bare socket, which can send any bytes.

    It is closed at the end of its test at the latest.
    """

    _open: set = set()

    def __init__(self, address, *, tls=None, timeout=PATIENCE, receive_buffer=None):
        family = socket.AF_UNIX if isinstance(address, str) else \
            socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family)
        self._open.add(self)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.host = "localhost" if isinstance(address, str) else \
            "[%s]:%d" % address[:2] if ":" in address[0] else "%s:%d" % address[:2]
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._open.discard(self)
        self.sock.close()

    def reset(self):
        """Close with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def request(self, path="/websocket?Id=42", *, method="GET", version="HTTP/1.1", headers=None):
        """Return the bytes of a handshake; a header that is None is left out."""
        fields = {"Host": self.host, "Upgrade": "websocket", "Connection": "Upgrade",
                  "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()}
        fields.update(headers or {})
        lines = [f"{method} {path} {version}"]
        lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def handshake(self, path="/websocket?Id=42", *, behind=b"", **options):
        """Shake hands and return the answer's headers; raise ``Refused`` if it is not a 101."""
        self.sock.sendall(self.request(path, **options) + behind)
        return self.answer()

    def answer(self):
        """Read the answer to a handshake."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                raise ConnectionResetError("closed before an answer")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status_line, fields = head.split(b"\r\n", 1)
        status = int(status_line.split()[1])
        headers = parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
        if status != 101:
            length = int(headers.get("Content-Length", 0))
            while len(self.buffer) < length and self._more():
                pass
            body, self.buffer = self.buffer[:length], self.buffer[length:]
            raise Refused(status, headers, body)
        return headers

    def _more(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def exactly(self, size):
        while len(self.buffer) < size:
            if not self._more():
                raise EOFError("closed by the server")
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def frame(self):
        """Return the next frame as (first byte, payload)."""
        first, size = self.exactly(2)
        if size == 126:
            size, = struct.unpack("!H", self.exactly(2))
        elif size == 127:
            size, = struct.unpack("!Q", self.exactly(8))
        return first, self.exactly(size)

    def message(self):
        """Return the next text or binary message; answer pings on the way."""
        while True:
            first, payload = self.frame()
            if first == 0x89:
                self.send(0x8A, payload)
            elif first == 0x88:
                raise EOFError(f"closed with {close_code(payload)}")
            elif first == 0x81:
                return payload.decode()
            elif first == 0x82:
                return payload

    def close_code(self):
        """Read up to the close frame and return its code, None if it has none."""
        while True:
            first, payload = self.frame()
            if first == 0x88:
                return close_code(payload)

    def at_end(self):
        """Tell whether the server closes the TCP connection, reading up to there."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        except (socket.timeout, ssl.SSLError):
            return False
        return True

    def send(self, first, payload=b"", *, mask=b"\x11\x22\x33\x44"):
        """Send one frame, masked unless ``mask`` is None."""
        self.sock.sendall(masked_frame(first, payload, mask=mask))

    def text(self, text):
        self.send(0x81, text.encode())

    def hang_up(self, code=1000):
        """Do the closing handshake and return the server's code."""
        self.send(0x88, struct.pack("!H", code))
        return self.close_code()


def shaken_hands(sock, context):
    """Shake hands over TLS; return the TLS object, and the buffer with what is to be sent."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
    sock.sendall(outgoing.read())
    return tls, outgoing


def close_clients():
    """Close all clients that are open."""
    for client in list(Client._open):
        client.close()


def close_code(payload):
    return struct.unpack("!H", payload[:2])[0] if payload else None


def masked_frame(first, payload=b"", *, mask=b"\x11\x22\x33\x44"):
    """Return one frame as a client sends it."""
    bit = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, bit | 127]) + struct.pack("!Q", size)
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
