"""A network in between, which a test can cut: connections end at once, and nobody says why."""
from __future__ import annotations

import contextlib
import socket
import struct
import threading

POLL = 0.02
"""Seconds after which a thread of a relay looks whether it is to stop."""


class CuttingRelay:
    """Pass TCP connections on to a port of this machine, until they are cut."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL)
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._is_down = False
        self._pairs = []
        self._threads = []

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self.cut()
        while self._threads:
            self._threads.pop().join()
        self._listener.close()

    def cut(self):
        """Reset all connections; those that come are reset too, until ``restore``."""
        with self._lock:
            self._is_down = True
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                _reset(sock)

    def restore(self):
        """Let new connections through."""
        with self._lock:
            self._is_down = False

    def _start(self, work, *args):
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                with self._lock:
                    if self._is_down:
                        _reset(client)
                        continue
                    pair = client, socket.create_connection(("127.0.0.1", self._target))
                    self._pairs.append(pair)
                for source, sink in (pair, pair[::-1]):
                    self._start(self._pass_on, source, sink)

    @staticmethod
    def _pass_on(source, sink):
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def _reset(sock):
    """End a socket so that its peer sees a reset, and who reads it wakes."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    sock.close()
