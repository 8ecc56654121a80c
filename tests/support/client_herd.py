"""Processes for a herd of clients that lose their server all at once.

``serve DESCRIPTOR``: one thread on an inherited listener. It begins to accept when a line comes on
stdin, sends one message to each client, and at the end of stdin prints when each connection came.
``follow URL NUMBER``: that number of clients. It prints a line when each has a message, and the
delays that they chose when each has another.
"""
from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import Any

from pushclient import PushClient
from pushserver.wire.frames import OPCODE_TEXT, frame
from pushserver.wire.handshake import accept_key


def main() -> None:
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        follow(sys.argv[2], int(sys.argv[3]))


def follow(url: str, number: int) -> None:
    clients = [PushClient(url, proxy=None, timeout=60).start() for _ in range(number)]
    for client in clients:
        client.receive(60)
    print("ready", flush=True)
    for client in clients:
        client.receive(60)
    print(json.dumps([client.delay for client in clients]), flush=True)
    sys.stdin.readline()


def serve(descriptor: int) -> None:
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    arrivals: list[float] = []
    requests: dict[socket.socket, bytes] = {}
    print("ready", flush=True)
    sys.stdin.readline()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    accept(listener, selector, requests, arrivals)
                elif key.fileobj is sys.stdin:
                    print(json.dumps(arrivals), flush=True)
                    return
                else:
                    answer(key.fileobj, selector, requests)


def accept(listener: socket.socket, selector: Any, requests: dict[socket.socket, bytes],
           arrivals: list[float]) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        arrivals.append(time.monotonic())
        requests[sock] = b""
        selector.register(sock, selectors.EVENT_READ)


def answer(sock: Any, selector: Any, requests: dict[socket.socket, bytes]) -> None:
    data = sock.recv(4096)
    requests[sock] += data
    if not data:
        selector.unregister(sock)
        sock.close()
    elif requests[sock].endswith(b"\r\n\r\n"):
        key = requests[sock].lower().index(b"sec-websocket-key: ") + len("sec-websocket-key: ")
        accepted = accept_key(requests[sock][key:].split(b"\r\n")[0].decode())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accepted.encode()
                     + b"\r\n\r\n" + frame(OPCODE_TEXT, b"here"))


if __name__ == "__main__":
    main()
