"""How a node reaches its connections."""
from __future__ import annotations

from typing import Any, Callable


class Delivery:
    """Queue bytes for connections, and run slow jobs; do nothing while the server is stopped.

    Attributes:
        put: queues bytes for a tuple of connections; makes no system call, so a lock may be held.
        wake: starts writing the queue; call it after ``put``, with no lock held.
        run: runs a job on a worker thread, after all earlier ones.
    """

    __slots__ = ("put", "wake", "run")

    put: Callable[[tuple[Any, ...], bytes], None]
    wake: Callable[[], None]
    run: Callable[[Callable[[], object]], object]

    def __init__(self) -> None:
        self.end()

    def begin(self, put: Callable[[tuple[Any, ...], bytes], None], wake: Callable[[], None],
              run: Callable[[Callable[[], object]], object]) -> None:
        """Begin to reach connections: the server has started."""
        self.put, self.wake, self.run = put, wake, run

    def end(self) -> None:
        """Stop reaching connections: the server has stopped."""
        self.put, self.wake, self.run = _put_nowhere, _wake_nobody, _run_nothing


def _put_nowhere(members: tuple[Any, ...], data: bytes) -> None:
    """Do nothing: no connection is left."""


def _wake_nobody() -> None:
    """Do nothing: nothing is queued."""


def _run_nothing(job: Callable[[], object]) -> None:
    """Do nothing: no connection needs the job."""
