"""The queue of messages that have come and wait to be iterated over."""
from __future__ import annotations

from collections import deque
from typing import Any, Callable, Sequence, Union

from .bell import Bell
from .centrifuge.events import Publication

LIMIT_SIZE = 1024 * 1024
"""Characters or bytes worth queueing: of large messages the queue takes fewer."""

AWAITED_FACTOR = 16
"""While a thread waits for an answer, this many times the limit may be queued."""

LEAST_AWAITED = 1024
"""The limit then, in messages, if the real one is smaller."""

Value = Union[str, bytes, Publication]
"""A message: text or binary, or with channels a publication."""


class Inbox:
    """Hold a bounded number of messages from the client's thread for those that iterate.

    ``put`` belongs to the client's thread, ``get`` and ``end`` are for any.

    Args:
        limit: messages that it holds; of large ones only as many as make up 1 MiB, at least one.
        on_room: called when there is room again after ``put`` found too little, on the thread that
            made room.
        size: returns the size of one message.
        on_wait: called before a thread waits for a message; raises if it must not.
    """

    def __init__(self, limit: int, on_room: Callable[[], None],
                 size: Callable[[Any], int] = len,
                 on_wait: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._size = size
        self._limit_now = limit     # for messages as large as the last ones
        self._on_room = on_room
        self._on_wait = on_wait
        self._messages: deque[Value] = deque()
        self._wants_room = False
        self._changed = Bell()
        self._ended = False

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def has_room(self) -> bool:
        """Tell whether half of it is free, enough to resume reading."""
        return len(self._messages) <= self._limit_now // 2

    def put(self, messages: Sequence[Value], *, awaited: bool = False) -> Sequence[Value]:
        """Take as many of some messages as there is room for; return the rest.

        Args:
            messages: at least one.
            awaited: a thread waits for an answer after them, so there is far more room.
        """
        largest = max(1, *map(self._size, messages))
        self._limit_now = min(self._limit, max(1, LIMIT_SIZE // largest))
        limit = self._limit_now
        if awaited:
            limit = AWAITED_FACTOR * min(max(self._limit, LEAST_AWAITED),
                                         max(1, LIMIT_SIZE // largest))
        room = max(0, limit - len(self._messages))
        taken = messages[:room]
        self._messages.extend(taken)
        self._changed.ring()
        rest = messages[room:] if len(messages) > room else ()
        self._wants_room = bool(rest)
        return rest

    def put_all(self, messages: Sequence[Value]) -> None:
        """Take the last messages, whatever the limit: nothing more will be read."""
        self._messages.extend(messages)
        self._changed.ring()

    def end(self) -> None:
        """Let ``get`` return None once the queue is empty: nothing more will come."""
        self._ended = True
        self._changed.ring()

    def clear(self) -> None:
        """Drop what is queued: it is somebody else's."""
        self._messages.clear()

    def get(self, timeout: float | None = None) -> Value | None:
        """Return the next message, waiting for it; None: there will be none.

        Args:
            timeout: seconds to wait; None: for as long as it takes.

        Raises:
            TimeoutError: none came in time.
        """
        try:
            message = self._messages.popleft()
        except IndexError:
            if not self._wait(timeout):
                return None
            return self.get(timeout)  # another thread may take it first
        if self._wants_room and self.has_room:
            self._wants_room = False
            self._on_room()
        return message

    def _wait(self, timeout: float | None) -> bool:
        """Return True once there is a message, False when there will be none."""
        self._on_wait()
        if not self._changed.wait(lambda: self._messages or self._ended, timeout):
            raise TimeoutError(f"no message within {timeout:g} s")
        return bool(self._messages)
