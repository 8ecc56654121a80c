"""How a node reaches its connections."""
from __future__ import annotations

from typing import Any, Callable


class Delivery:
    """Queue bytes for connections, and run what takes time; for nobody while the server is stopped.

    Attributes:
        put: queues bytes for a tuple of connections; makes no system call, so a lock may be held.
        wake: has the queue written; to be called after ``put``, with no lock held.
        run: runs a job on a worker thread, after those that were given before.
    """

    __slots__ = ("put", "wake", "run")

    put: Callable[[tuple[Any, ...], bytes], None]
    wake: Callable[[], None]
    run: Callable[[Callable[[], object]], None]

    def __init__(self) -> None:
        self.end()

    def begin(self, put: Callable[[tuple[Any, ...], bytes], None], wake: Callable[[], None],
              run: Callable[[Callable[[], object]], None]) -> None:
        """Reach connections from now on: the server has started."""
        self.put, self.wake, self.run = put, wake, run

    def end(self) -> None:
        """Reach nobody: the server has stopped."""
        self.put, self.wake, self.run = _put_nowhere, _wake_nobody, _run_nothing


def _put_nowhere(members: tuple[Any, ...], data: bytes) -> None:
    """Nobody is connected."""


def _wake_nobody() -> None:
    """Nothing is queued."""


def _run_nothing(job: Callable[[], object]) -> None:
    """Nobody needs it."""
