"""Functions of the application that return tokens, called where they hold nothing up."""
from __future__ import annotations

import threading
from typing import Any, Callable, NamedTuple

MAX_THREADS = 8
"""Functions that are called at a time; further ones wait for them."""


class Need(NamedTuple):
    """A token that is needed.

    Attributes:
        channel: what it is for; empty: the connection.
        ticket: tells this need from earlier and later ones.
        get: the application's function.
    """

    channel: str
    ticket: int
    get: Callable[[], Any]


Tell = Callable[[Need, Any, "BaseException | None"], None]


class Asking:
    """Call functions on threads that end when there is nothing more to ask. For any thread.

    A function may take long, or hang: its channel is not asked for a second time meanwhile, and
    what it returns in the end is for the last who needed it. So a function that hangs costs one
    thread, not one for each attempt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Need, Tell]] = {}
        self._running: set[str] = set()
        self._threads = 0

    def ask(self, need: Need, tell: Tell) -> None:
        """Call a function, then ``tell`` on its thread: what it returned, or what it raised."""
        with self._lock:
            self._waiting[need.channel] = need, tell
            if need.channel in self._running or self._threads >= MAX_THREADS:
                return
            self._threads += 1
        threading.Thread(target=self._run, name="pushclient token", daemon=True).start()

    def forget(self) -> None:
        """Call nothing more of what waits; nobody needs it now."""
        with self._lock:
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._lock:
                channel = next((one for one in self._waiting if one not in self._running), None)
                if channel is None:
                    self._threads -= 1
                    return
                need, tell = self._waiting.pop(channel)
                self._running.add(channel)
            self._call(need, tell)

    def _call(self, need: Need, tell: Tell) -> None:
        token = error = None
        try:
            token = need.get()
        except BaseException as failure:  # a SystemExit, too, is for this function only
            error = failure
        with self._lock:
            self._running.discard(need.channel)
            need, tell = self._waiting.pop(need.channel, (need, tell))
        tell(need, token, error)
