"""Use an installed pushserver as a stranger would: with the standard library only.

    python smoke.py

Starts the command on a free port, loads its page and what the page loads, reads two ticks, and
stops it.
"""
from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request

TIMEOUT = 20


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def read_ticks(port, count):
    """Return text frames of the push address, each under 126 bytes."""
    address = ("127.0.0.1", port)
    with socket.create_connection(address, TIMEOUT) as sock, sock.makefile("rb") as file:
        sock.sendall(b"GET /websocket?Id=smoke HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                     b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        assert file.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while file.readline() != b"\r\n":
            pass
        ticks = []
        while len(ticks) < count:
            first, size = file.read(2)
            assert first == 0x81, first
            ticks.append(file.read(size).decode())
        return ticks


def main():
    port = free_port()
    command = [sys.executable, "-m", "pushserver", "--port", str(port), "--interval", "0.5"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline().strip()
        assert line == f"Open http://127.0.0.1:{port}/", line
        for path in ("", "browser/clock.js", "browser/style.css", "browser/push-client.js",
                     "browser/push-client.d.ts"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=TIMEOUT) as page:
                assert page.status == 200 and page.read()
        print("ticks:", read_ticks(port, 2))
    finally:
        server.terminate()
        status = server.wait(TIMEOUT)
        server.stdout.close()
    assert status == 0, status
    import pushserver
    print("pushserver", pushserver.__version__, "from", os.path.basename(os.path.dirname(
        os.path.dirname(pushserver.__file__))), "works")


if __name__ == "__main__":
    main()
