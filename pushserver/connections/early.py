"""What a site does with a connection before it is open, as its page handler may."""
from __future__ import annotations

import threading
from typing import Callable

from ..errors import ConnectionClosed, MessageTooLarge
from .handle import Handle

Job = Callable[[Handle], object]


class Early:
    """Keep what is to be done with a connection, in order, until it is open.

    Any thread may call it.

    Args:
        room: bytes of messages that may wait.

    Attributes:
        channels: those that it is to be in from the start.
    """

    def __init__(self, room: int) -> None:
        self.channels: dict[str, None] = {}
        self._room = room
        self._lock = threading.Lock()
        self._jobs: list[Job] | None = []

    def __repr__(self) -> str:
        return f"<Early {'over' if self._jobs is None else len(self._jobs)}>"

    def keep(self, job: Job, size: int = 0) -> bool:
        """Keep a job; False if the connection is open by now, or will never be.

        Args:
            job: called with the connection's handle, on the thread that opens it.
            size: bytes of the message that it sends.

        Raises:
            MessageTooLarge: the messages that wait have more bytes than there is room for.
        """
        with self._lock:
            if self._jobs is None:
                return False
            if size > self._room:
                raise MessageTooLarge("the messages sent before the connection is open have more "
                                      "than max_outbox bytes: send them in opened()")
            self._room -= size
            self._jobs.append(job)
            return True

    def enter(self, channel: str) -> bool:
        """Have the connection in a channel from the start; False if it was in it before."""
        with self._lock:
            if self._jobs is None or channel in self.channels:
                return False
            self.channels[channel] = None
            return True

    def leave(self, channel: str) -> bool:
        """Undo ``enter``; tell whether it was in the channel."""
        with self._lock:
            return channel in self.channels and self.channels.pop(channel) is None

    def run(self, handle: Handle) -> None:
        """Do all of it, and keep nothing more."""
        while jobs := self._take():
            for job in jobs:
                try:
                    job(handle)
                except ConnectionClosed:
                    pass    # by a job before it

    def _take(self) -> list[Job] | None:
        with self._lock:
            jobs = self._jobs
            self._jobs = [] if jobs else None
            return jobs

    def drop(self) -> None:
        """Forget all of it, and keep nothing more."""
        with self._lock:
            self._jobs = None
