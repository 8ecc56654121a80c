"""From the start of the threads that serve connections to the end of the last connection."""
from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import Any, Callable, Iterable

from ..channels.hub import Hub
from ..errors import HandshakeRefused
from ..runtime.loop import Loop, Watched
from ..runtime.runtime import Runtime
from ..runtime.workers import Workers
from ..settings import Settings
from ..wire.disconnects import SHUTTING_DOWN

logger = logging.getLogger(__name__)

LEAVE_SHARE = 0.8
"""The share of ``drain_timeout`` for clients; the rest is for ``closed`` and the threads."""

LAST_CALLBACKS = 0.25
"""Seconds that workers have to finish even if stopping the HTTP server took all of the time."""


class Lifecycle:
    """Start the threads, say whether connections are accepted, and end all connections.

    Any thread may call it, also the workers and the loop's. ``stop`` waits, for at most
    ``drain_timeout``, but not for the thread that calls it.

    Args:
        settings: see ``Settings``.
        hub: the connections that take messages.
        on_death: called, on the loop's thread, if an error ends that thread.

    Attributes:
        runtime: the threads, or None while stopped.
        failure: the error that ended the loop's thread, if one has.
    """

    def __init__(self, settings: Settings, hub: Hub[Any],
                 on_death: Callable[[BaseException], None]) -> None:
        self.runtime: Runtime | None = None
        self.failure: BaseException | None = None
        self._settings = settings
        self._hub = hub
        self._on_death = on_death
        self._lock = threading.Lock()
        self._was_started = False       # or it was logged that it was not
        self._is_changing = False       # a thread is starting it, or finishing its stop
        self._draining = False
        self._deadline = 0.0
        self._emptied = threading.Event()

    @property
    def state(self) -> str:
        """Return "stopped", "running" or "draining"."""
        return "stopped" if self.runtime is None else "draining" if self._draining else "running"

    @property
    def is_stopped(self) -> bool:
        """Tell whether no thread has been started, nor is being started."""
        return self.runtime is None and not self._is_changing

    @property
    def is_running(self) -> bool:
        """Tell whether connections are accepted."""
        return self.runtime is not None and not self._draining

    def start(self, begin: Callable[[Runtime], None]) -> bool:
        """Start the threads; False if they already run, or are being started or stopped.

        Args:
            begin: called once the threads run, before connections are accepted. If it raises, the
                threads end and the exception is raised.
        """
        with self._lock:
            if self.runtime is not None or self._is_changing:
                return False
            self._is_changing = True
        runtime = Runtime(Loop(self._died), Workers(self._settings.workers))
        runtime.start()
        try:
            begin(runtime)
        except BaseException:
            runtime.loop.stop(self._settings.drain_timeout)
            runtime.workers.stop(time.monotonic() + LAST_CALLBACKS)
            self._is_changing = False
            raise
        with self._lock:
            self.failure = None
            self._was_started = True
            self._draining = False
            self._emptied.clear()
            self.runtime = runtime
            self._is_changing = False
        return True

    def abandon(self, links: Iterable[Watched]) -> None:
        """Leave the connections to the parent, in a forked process, and be as before a start."""
        runtime = self.runtime
        if runtime is not None:
            runtime.abandon()
            for link in {*runtime.links, *links, *runtime.farewells}:
                link.abandon()
        self.runtime = None

    def check_running(self) -> Runtime:
        """Return the threads that serve a new connection.

        Raises:
            HandshakeRefused: 503: they do not run, or are about to stop.
        """
        runtime = self.runtime
        if runtime is None and not self._was_started:
            self._was_started = True
            logger.error("the push server was not started, so it accepts no connections: call "
                         "push.subscribe() before the engine starts, or push.start()")
        if runtime is None or self._draining or self.failure is not None:
            raise HandshakeRefused(503, "the server is not accepting connections now: "
                                        "try again later")
        return runtime

    def drain(self) -> Runtime | None:
        """Accept no more connections and begin to close all; return the threads to stop."""
        with self._lock:
            runtime = self.runtime
            if runtime is None or self._draining:
                return runtime
            self._draining = True
            self._deadline = time.monotonic() + self._settings.drain_timeout
        runtime.loop.call(partial(self._close_all, runtime))
        return runtime

    def _close_all(self, runtime: Runtime) -> None:
        runtime.leaving = SHUTTING_DOWN     # for a connection that has yet to reach the loop
        runtime.on_empty = self._emptied.set
        for link in tuple(runtime.links):
            runtime.loop.guarded(link, link.close, SHUTTING_DOWN)
        if not runtime.links:
            self._emptied.set()

    def stop(self, end: Callable[[], None]) -> None:
        """Close all connections and end the threads; a callback's own ends after it.

        Args:
            end: called once no connection is left.
        """
        runtime = self.drain()
        if runtime is None:
            return
        runtime.workers.step_aside()
        timeout = self._settings.drain_timeout
        if self.failure is None:
            started = self._deadline - timeout
            self._emptied.wait(max(0.0, started + timeout * LEAVE_SHARE - time.monotonic()))
            runtime.loop.call(partial(self._abort_all, runtime))
            runtime.loop.stop(max(LAST_CALLBACKS, self._deadline - time.monotonic()))
        else:
            runtime.loop.stop(timeout)
        if not runtime.loop.is_serving:
            self._abort_all(runtime)    # those that never reached the loop
        runtime.workers.stop(max(self._deadline, time.monotonic() + LAST_CALLBACKS))
        with self._lock:
            if self.runtime is not runtime or self._is_changing:
                return  # another thread is stopping it, or has stopped and restarted it
            self._is_changing = True
        try:
            end()
        finally:
            with self._lock:
                self.runtime = None
                self._is_changing = False

    def _abort_all(self, runtime: Runtime) -> None:
        for link in {*runtime.links, *self._hub.everyone(), *runtime.farewells}:
            runtime.loop.guarded(link, link.abort)

    def _died(self, error: BaseException) -> None:
        self.failure = error
        self._on_death(error)
