"""The threads of one run of the server, and the jobs that they do later."""
from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable

from ..wire.disconnects import Disconnect
from .loop import Loop, Polled, Watched
from .timers import Timer
from .workers import STALL, Job, Mailbox, Workers


class Runtime:
    """Hold the loop and the workers of one run of the server, and the links that they serve.

    ``post``, ``relieve_soon`` and ``ended`` belong to the loop's thread, and ``links`` changes only
    there; any thread may read ``links`` and call the other methods.

    Attributes:
        links: the connections whose sockets the loop has, including those that are closing.
        farewells: sockets that only wait for their clients; any thread may add one.
        leaving: why a new connection is closed at once; None: it is not.
        on_empty: called when the last link has ended.
    """

    def __init__(self, loop: Loop, workers: Workers) -> None:
        self.loop = loop
        self.workers = workers
        self.links: set[Watched] = set()
        self.farewells: set[Polled] = set()
        self.leaving: Disconnect | None = None
        self.on_empty: Callable[[], None] | None = None
        self._relief: Timer | None = None

    def __repr__(self) -> str:
        return f"<Runtime {len(self.links)} links, {self.loop!r}, {self.workers!r}>"

    def start(self) -> None:
        """Start the threads."""
        self.workers.start()
        self.loop.start()

    def abandon(self) -> None:
        """Leave everything to the parent, in a forked process."""
        self.workers.abandon()
        self.loop.abandon()

    def is_own_thread(self) -> bool:
        """Tell whether the caller is on the loop's thread or a worker's."""
        return self.loop.is_own_thread or self.workers.has_thread

    def post(self, mailbox: Mailbox, job: Job) -> None:
        """Run a callback on a worker, and make sure that blocked workers are relieved."""
        if self.workers.post(mailbox, job):
            self.relieve_soon()

    def run(self, mailbox: Mailbox, job: Job) -> None:
        """Do what ``post`` does, on any thread. Must not be called with a lock held."""
        if self.workers.post(mailbox, job):
            self.loop.call(self.relieve_soon)

    def relieve_soon(self) -> None:
        """Make sure that workers are relieved if they fall behind and stay behind."""
        if self._relief is None:
            self._relief = self.loop.call_later(STALL, self._relieve)

    def _relieve(self) -> None:
        self._relief = None
        if self.workers.is_behind:
            self.workers.relieve()
            self._relief = self.loop.call_later(STALL, self._relieve)

    def later(self, mailbox: Mailbox | None, seconds: float,
              job: Callable[[], object]) -> DelayedJob:
        """Run a job after some seconds; return the job, which can be cancelled.

        Args:
            mailbox: where it takes its turn, on a worker; None: it is run on the loop's thread, so
                that nothing can delay it.
            seconds: from now.
            job: what to run.
        """
        made = DelayedJob(self, mailbox, job)
        made.start(seconds)
        return made

    def ended(self, link: Watched) -> None:
        """Forget a link that has ended."""
        self.links.discard(link)
        if not self.links and self.on_empty is not None:
            self.on_empty()


class DelayedJob:
    """A job to run after some time. Any thread may call it.

    Args:
        runtime: has the loop, which waits, and the workers.
        mailbox: the mailbox in which it takes its turn; None: it is run on the loop's thread.
        job: what to run.
    """

    __slots__ = ("_runtime", "_mailbox", "_job", "_timer")

    def __init__(self, runtime: Runtime, mailbox: Mailbox | None,
                 job: Callable[[], object]) -> None:
        self._runtime = runtime
        self._mailbox = mailbox
        self._job: Callable[[], Any] | None = job
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<DelayedJob{'' if self._job else ' done'}>"

    def start(self, seconds: float) -> None:
        """Run it after some seconds. Must not be called with a lock held."""
        self._runtime.loop.call(partial(self._arm, time.monotonic() + seconds))

    def cancel(self) -> None:
        """Do not run it, unless it is running. Safe to repeat; not with a lock held."""
        self._job = None
        self._runtime.loop.call(self._disarm)

    def _arm(self, when: float) -> None:
        if self._job is not None:
            self._timer = self._runtime.loop.call_later(when - time.monotonic(), self._post)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _post(self) -> None:
        if self._mailbox is None:
            self._run()
        else:
            self._runtime.post(self._mailbox, self._run)

    def _run(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job()
