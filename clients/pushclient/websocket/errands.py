"""Functions that may hang, run on threads of their own."""
from __future__ import annotations

import threading
from typing import Any, Callable, Hashable

from .waker import StepDeadline, Waker


class Errands:
    """Run functions without blocking the thread that asks.

    A function cannot be interrupted, so it runs on a thread of its own. If it outlasts the step,
    the next call waits for the same thread: a function that hangs costs one thread, not one for
    each attempt. Not safe for several threads.
    """

    def __init__(self) -> None:
        self._pending: dict[Hashable, _Errand] = {}

    def run(self, function: Callable[[], Any], step: str, deadline: StepDeadline, *,
            key: Hashable = None) -> Any:
        """Return what a function returns, or raise what it raises.

        Args:
            function: takes no arguments.
            step: its name for errors, as in "the lookup of localhost".
            deadline: bounds the step.
            key: tells which calls are the same; None: the step does.

        Raises:
            ConnectTimeout, Interrupted: see ``StepDeadline.wait``.
        """
        deadline.begin(step)
        errand = self._pending.get(key or step)
        if errand is None:
            errand = self._pending[key or step] = _Errand(function, step)
        errand.begin(deadline.waker)
        while not errand.done:
            deadline.wait({})
        del self._pending[key or step]
        errand.join()
        if errand.error is not None:
            raise errand.error
        return errand.result


class _Errand(threading.Thread):
    """Run one function, then wake the thread that waits for it."""

    def __init__(self, function: Callable[[], Any], step: str) -> None:
        super().__init__(name=f"pushclient {step}", daemon=True)
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._waker: Waker | None = None

    def begin(self, waker: Waker) -> None:
        self._waker = waker
        if self.ident is None:
            self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:  # even a SystemExit ends only this function
            self.error = error
        finally:
            self.done = True
            if self._waker is not None:
                self._waker.wake()
