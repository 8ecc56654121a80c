"""A network in between, which a test can freeze: nothing passes, and nothing says so."""
from __future__ import annotations

import contextlib
import socket
import threading

POLL = 0.01
"""Seconds after which a thread of a relay looks whether it is to stop."""


class Relay:
    """Pass TCP connections on to a port of this machine.

    Connections that are there while it is frozen stay frozen for good, as when a route has gone;
    those that are made then pass nothing until it thaws.
    """

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL)
        self.port = self._listener.getsockname()[1]
        self._stopping = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._frozen = set()
        self._pairs = []
        self._threads = []

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for sock in [self._listener, *(sock for pair in self._pairs for sock in pair)]:
            sock.close()

    def freeze(self):
        """Pass nothing on any more."""
        self._open.clear()
        self._frozen.update(sock for pair in self._pairs for sock in pair)

    def thaw(self):
        """Pass on what new connections say."""
        self._open.set()

    def _start(self, work, *args):
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                pair = client, socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append(pair)
                for source, sink in (pair, pair[::-1]):
                    source.settimeout(POLL)
                    self._start(self._pass_on, source, sink)

    def _pass_on(self, source, sink):
        while not self._stopping.is_set():
            if source in self._frozen or not self._open.is_set():
                self._stopping.wait(POLL)
                continue
            try:
                data = source.recv(65536)
                if source in self._frozen:
                    continue
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except TimeoutError:
                pass
            except OSError:
                return
