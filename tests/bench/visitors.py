"""Visitors of a site's page, who ask again as soon as they are answered."""
from __future__ import annotations

import multiprocessing
import socket
import threading
import time

REQUEST = b"GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LENGTH = b"content-length:"
PATIENCE = 60


def visit(port, ending, counts):
    """Ask for the page over one kept connection, until told to end."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        count, last = 0, 0.0
        while not ending.is_set():
            start = time.monotonic()
            sock.sendall(REQUEST)
            _read_answer(sock)
            count += 1
            last = max(last, time.monotonic() - start)
        counts.append((count, last))


def _read_answer(sock):
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _more(sock)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().split(LENGTH, 1)[1].split(b"\r\n", 1)[0])
    missing = length - len(body)
    while missing > 0:
        missing -= len(_more(sock))


def _more(sock):
    data = sock.recv(65536)
    if not data:
        raise ConnectionResetError("the site closed a visitor's connection")
    return data


def _serve(port, visitors, pipe):
    ending, counts = threading.Event(), []
    threads = [threading.Thread(target=visit, args=(port, ending, counts), daemon=True)
               for _ in range(visitors)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    pipe.recv()
    ending.set()
    seconds = time.monotonic() - start
    for thread in threads:
        thread.join(PATIENCE)
    pipe.send({"pages": sum(count for count, _ in counts) / seconds,
               "slowest": max((last for _, last in counts), default=None)})


class Visitors:
    """Visitors in a process of their own, from construction on until ``end``."""

    def __init__(self, port, visitors):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(port, visitors, theirs), daemon=True)
        self._process.start()

    def end(self):
        """Return pages a second, and the seconds that the slowest took."""
        self._pipe.send("end")
        found = self._pipe.recv() if self._pipe.poll(PATIENCE) else {}
        self._process.join(PATIENCE)
        return found
