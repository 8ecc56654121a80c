"""Use an installed pushserver as a stranger would: with the standard library only.

    python smoke.py

Starts the command on a free port, loads each page of its navigation and what those load, reads two
ticks, and stops it.
"""
from __future__ import annotations

import os
import re
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


def load(url):
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        text = answer.read().decode("utf-8")
        assert answer.status == 200 and text, url
        return text


def load_all(site):
    """Load every page, what it links to, and the source it shows; return how many there were."""
    shared = load(f"{site}/browser/page.js")
    left = re.findall(r'path: "([^"]+)"', shared)
    for names in re.findall(r"modules: \[([^]]+)\]", shared):
        left += [f"/source/{name}" for name in re.findall(r"\w+", names)]
    assert "/" in left and "/source/clock" in left, left
    left.append("/browser/push-client.d.ts")
    loaded = set()
    while left:
        path = left.pop()
        if path not in loaded:
            loaded.add(path)
            text = load(site + path)
            if not path.startswith("/source/"):
                left += re.findall(r'(?:src|href)="(/[^"]*)"', text)
                left += [f"/browser/{name}" for name in re.findall(r'from "\./([^"]+)"', text)]
    return len(loaded)


def main():
    port = free_port()
    command = [sys.executable, "-m", "pushserver", "--port", str(port), "--interval", "0.5"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline().strip()
        assert line == f"Open http://127.0.0.1:{port}/", line
        print("loaded:", load_all(f"http://127.0.0.1:{port}"))
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
