"""The application's commands that wait for the server's answers."""
from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Iterator

from ..errors import ConnectionClosed, PushError, QueueFull
from .events import Reply


class Answers:
    """Hold what will have each answer, over all connections of a client. For any thread.

    An answer comes behind the messages that the server has sent before. So a thread that waits for
    one says so with ``awaited``: until then more messages are taken than the client would queue.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._futures: dict[int, Future[Any]] = {}
        self._threads = 0

    def __repr__(self) -> str:
        return f"<Answers: {len(self._futures)} expected, {self._threads} threads wait>"

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
        """Return what will have the result of a command, or the error."""
        future: Future[Any] = Future()
        with self._lock:
            self._futures[number] = future
        return future

    def forget(self, number: int) -> None:
        """Expect no answer: the command was not sent."""
        with self._lock:
            self._futures.pop(number, None)

    def take(self, reply: Reply) -> None:
        """Give a reply to whoever expects it."""
        with self._lock:
            future = self._futures.pop(reply.number, None)
        if future is None:
            return
        if reply.error is not None:
            future.set_exception(reply.error)
        else:
            future.set_result(reply.result)

    def lose(self) -> None:
        """Fail all that is expected: the connection was lost."""
        self._fail(ConnectionClosed, "the connection was lost")

    def give_up(self) -> None:
        """Fail all that is expected: there is no room for what comes before the answers."""
        self._fail(QueueFull, "too many messages came that nobody has taken")

    def _fail(self, kind: type[PushError], why: str) -> None:
        with self._lock:
            futures = list(self._futures.values())
            self._futures.clear()
        for future in futures:
            future.set_exception(kind(f"{why} before the answer: the command may or may not "
                                      "have been run"))
