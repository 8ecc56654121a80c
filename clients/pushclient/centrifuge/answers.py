"""The server's answers that the application's commands wait for."""
from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Iterator

from ..errors import ConnectionClosed, PushError, QueueFull
from .events import Reply


class Answers:
    """Hold a future for each answer, across all connections of a client. For any thread.

    An answer comes after the messages that the server sent before it. So a thread that waits for
    one says so with ``awaited``: meanwhile more messages are taken than the client would queue.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._futures: dict[int, Future[Any]] = {}
        self._threads = 0

    def __repr__(self) -> str:
        return f"<Answers: {len(self._futures)} expected, {self._threads} threads waiting>"

    @property
    def are_awaited(self) -> bool:
        """Tell whether a thread waits for an answer."""
        return bool(self._threads)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Count this thread among those that wait."""
        with self._lock:
            self._threads += 1
        try:
            yield
        finally:
            with self._lock:
                self._threads -= 1

    def expect(self, number: int) -> Future[Any]:
        """Return a future for the result of a command, or its error."""
        future: Future[Any] = Future()
        with self._lock:
            self._futures[number] = future
        return future

    def forget(self, number: int) -> None:
        """Expect no answer after all: the command was not sent."""
        with self._lock:
            self._futures.pop(number, None)

    def take(self, reply: Reply) -> None:
        """Pass a reply on to where it is expected."""
        with self._lock:
            future = self._futures.pop(reply.number, None)
        if future is None:
            return
        if reply.error is not None:
            future.set_exception(reply.error)
        else:
            future.set_result(reply.result)

    def lose(self) -> None:
        """Fail all expected answers: the connection was lost."""
        self._fail(ConnectionClosed, "the connection was lost")

    def give_up(self) -> None:
        """Fail all expected answers: there is no room for the messages before them."""
        self._fail(QueueFull, "too many messages came that nobody took")

    def _fail(self, kind: type[PushError], why: str) -> None:
        with self._lock:
            futures = list(self._futures.values())
            self._futures.clear()
        for future in futures:
            future.set_exception(kind(f"{why} before the answer: the command may or may not "
                                      "have been run"))
