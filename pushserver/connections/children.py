"""Let processes that were forked from this one send on its connections, as ws4py's sites do."""
from __future__ import annotations

import errno
import itertools
import logging
import mmap
import os
import pickle
import socket
import struct
import threading
import weakref
from typing import Any

from ..errors import ConnectionClosed, MessageTooLarge, PushError

logger = logging.getLogger(__name__)

SLOTS = 1 << 16
"""Connections that can be told apart at a time; with more, the oldest seem closed to children."""

LARGEST = 1 << 20
"""Bytes of one message of a child, if the system lets a datagram have as many."""

_NUMBER = struct.Struct("=Q")


class Children:
    """Carry calls from forked children to the process that has the connections.

    Children have a copy of this object. Its socket carries each call whole, whoever else sends, and
    tells in shared memory which connections are left. Any thread may call it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._numbers = itertools.count(1)
        self._known: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._slots: mmap.mmap | None = None
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"<Children {'running' if self._users else 'stopped'}>"

    # In the process that has the connections

    def start(self) -> None:
        """Begin to listen; ``stop`` must follow as often."""
        with self._lock:
            self._users += 1
            if self._users > 1 or not hasattr(os, "fork"):
                return
            self._pid = os.getpid()
            self._slots = mmap.mmap(-1, SLOTS * _NUMBER.size)
            self._ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
            self._thread = threading.Thread(target=self._listen, args=(self._ends[0],),
                                            name="pushserver-children", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, after as many starts."""
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users or self._ends is None or self._pid != os.getpid():
                return
            ends, thread = self._ends, self._thread
            self._ends = self._thread = None
        ends[1].send(b"")
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        for end in ends:
            end.close()

    def _listen(self, end: socket.socket) -> None:
        while call := end.recv(2 * LARGEST):
            number, method, arguments = pickle.loads(call)
            connection = self._known.get(number)
            try:
                if connection is not None:
                    getattr(connection, method)(*arguments)
            except PushError:
                pass    # it has ended meanwhile
            except Exception:
                logger.exception("a forked child's %s failed", method)

    def enter(self, connection: object) -> int:
        """Return a number under which children can send on a connection."""
        number = next(self._numbers)
        self._known[number] = connection
        if self._slots is not None:
            _NUMBER.pack_into(self._slots, self._at(number), number)
        return number

    def leave(self, number: int) -> None:
        """Tell children that a connection has ended."""
        if self._is_there(number) and self._slots is not None:
            _NUMBER.pack_into(self._slots, self._at(number), 0)

    @staticmethod
    def _at(number: int) -> int:
        return number % SLOTS * _NUMBER.size

    # In children, too

    def _is_there(self, number: int) -> bool:
        return self._slots is not None \
            and _NUMBER.unpack_from(self._slots, self._at(number)) == (number,)

    def call(self, number: int, method: str, *arguments: object) -> None:
        """Have a connection's method called in the process that has it.

        Raises:
            ConnectionClosed: it has ended, or that process has.
            MessageTooLarge: the arguments do not fit into one datagram.
        """
        if self._ends is None or not self._is_there(number):
            raise ConnectionClosed("the connection is closed: nothing was sent")
        try:
            self._ends[1].send(pickle.dumps((number, method, arguments)))
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise MessageTooLarge("a forked process cannot send a message of this size: send "
                                      "it in parts, or from a thread") from None
            raise ConnectionClosed("the process that has the connection is gone") from None
