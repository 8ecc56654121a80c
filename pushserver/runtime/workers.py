"""The threads that run the application's callbacks."""
from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Callable

logger = logging.getLogger(__name__)

TURN = 64
TURN_TIME = 0.002
"""Jobs of one mailbox, and seconds that they may take, before another mailbox gets its turn."""

STALL = 0.1
"""Seconds without progress after which a spare worker is started."""

SPARES_PER_WORKER = 16
"""Spare workers per regular worker that may run while all others are blocked."""

SPARE_IDLE = 5.0
"""Seconds without work after which a spare worker ends."""

Job = Callable[[], Any]


class Mailbox:
    """The jobs of one connection, which run one at a time and in order; see ``Workers.hold``."""

    __slots__ = ("jobs", "active", "held")

    def __init__(self) -> None:
        self.jobs: deque[Job] | None = None
        self.active = False
        self.held = False


class Workers:
    """Run jobs on threads: those of one mailbox in order, different mailboxes in parallel.

    A job that blocks holds up only its own mailbox: when nothing has moved for ``STALL`` seconds,
    ``relieve`` starts a spare worker, up to 16 for each regular one.

    Any thread may call ``post``, ``release`` and ``step_aside``, one thread at a time ``relieve``,
    and the owner ``start`` and ``stop``. No lock is held while a job runs. Only one worker is woken
    at a time, the one that has slept least; it wakes the next if there is more to do than it takes
    itself.

    Args:
        count: regular workers.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._ready: deque[Mailbox] = deque()
        self._idle: list[threading.Lock] = []   # the bells of sleeping workers
        self._waking = False
        self._threads: set[threading.Thread] = set()
        self._aside: set[threading.Thread] = set()  # those that are stopping the workers
        self._taken = 0
        self._seen = 0
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Workers {len(self._threads)} threads, {len(self._ready)} mailboxes ready>"

    def start(self) -> None:
        """Start the regular workers."""
        for number in range(self._count):
            self._start_one(f"pushserver-worker-{number + 1}", None)

    def _start_one(self, name: str, idle: float | None) -> None:
        thread = threading.Thread(target=self._work, args=(idle,), name=name, daemon=True)
        thread.start()
        with self._lock:
            self._threads.add(thread)

    def post(self, mailbox: Mailbox, job: Job) -> bool:
        """Queue a job, to run after all others of its mailbox; tell whether workers are behind."""
        bell = None
        with self._lock:
            if mailbox.jobs is None:
                mailbox.jobs = deque()
            mailbox.jobs.append(job)
            if not mailbox.active:
                bell = self._make_ready(mailbox)
        if bell is not None:
            bell.release()
        return bool(self._ready) and not self._idle     # is_behind, without its call

    def hold(self, mailbox: Mailbox, job: Job) -> None:
        """Run nothing more of a mailbox until ``release``, and this job first after it.

        For a job of the mailbox itself: its worker is free for others as soon as it returns.
        """
        with self._lock:
            mailbox.held = True
            if mailbox.jobs is None:
                mailbox.jobs = deque()
            mailbox.jobs.appendleft(job)

    def release(self, mailbox: Mailbox) -> bool:
        """Go on with a mailbox that is held; tell whether workers are behind. Safe to repeat."""
        with self._lock:
            mailbox.held = False
            bell = self._make_ready(mailbox)
        if bell is not None:
            bell.release()
        return self.is_behind

    def _make_ready(self, mailbox: Mailbox) -> threading.Lock | None:
        """Let a worker take a mailbox, if it has jobs and none has it; see ``_bell``."""
        if not mailbox.jobs or mailbox.active or mailbox.held:
            return None
        mailbox.active = True
        self._ready.append(mailbox)
        return self._bell()

    def _bell(self) -> threading.Lock | None:
        """Return what wakes a worker, to be released without the lock.

        None if one is waking already or none sleeps. Needs the lock.
        """
        if not self._idle or self._waking:
            return None
        self._waking = True
        return self._idle.pop()

    @property
    def has_thread(self) -> bool:
        """Tell whether the caller is on one of the threads."""
        thread = threading.current_thread()
        return thread in self._threads or thread in self._aside

    @property
    def is_behind(self) -> bool:
        """Tell whether a mailbox is waiting and no worker is free to take it."""
        return bool(self._ready) and not self._idle

    def relieve(self) -> None:
        """Start a spare worker if no mailbox has been taken since the last call.

        Call this every ``STALL`` seconds while ``is_behind``.
        """
        stalled = self._taken == self._seen and self.is_behind
        self._seen = self._taken
        if stalled and len(self._threads) < self._count * (1 + SPARES_PER_WORKER):
            logger.warning("all %d workers are blocked: starting a spare", len(self._threads))
            try:
                self._start_one("pushserver-worker-spare", SPARE_IDLE)
            except RuntimeError as error:
                logger.error("no spare worker could be started: %s", error)

    def _work(self, idle: float | None) -> None:
        """Serve mailboxes until the workers stop, or until there was none for ``idle`` seconds."""
        bell = threading.Lock()
        bell.acquire()
        try:
            while self._work_once(bell, idle):
                pass
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._aside.discard(threading.current_thread())

    def _work_once(self, bell: threading.Lock, idle: float | None) -> bool:
        """Serve one mailbox, and keep no reference to it while waiting for the next."""
        mailbox = self._take()
        if mailbox is not None:
            self._run(mailbox)
            return True
        return self._sleep(bell, idle)

    def _take(self) -> Mailbox | None:
        """Return a mailbox that is ready, and wake another worker if more are."""
        with self._lock:
            if not self._ready:
                return None
            self._taken += 1
            mailbox = self._ready.popleft()
            bell = self._bell() if self._ready else None
        if bell is not None:
            bell.release()
        return mailbox

    def _sleep(self, bell: threading.Lock, idle: float | None) -> bool:
        """Wait until there is something to do; False if the worker should end."""
        with self._lock:
            if self._ready:
                return True
            if self._stopping:
                return False
            self._idle.append(bell)
        rung = bell.acquire(timeout=-1 if idle is None else idle)
        with self._lock:
            if not rung and bell in self._idle:
                self._idle.remove(bell)
                return False
            self._waking = False
        if not rung:
            bell.acquire()  # it rang just after the timeout
        return True

    def _run(self, mailbox: Mailbox) -> None:
        """Run a mailbox's jobs, and put it back after a turn so that no other waits for long."""
        left, until = TURN, 0.0
        while True:
            with self._lock:
                if mailbox.held or not mailbox.jobs:
                    mailbox.jobs = mailbox.jobs or None
                    mailbox.active = False
                    return
                if self._ready and (not left or until and time.monotonic() > until):
                    self._ready.append(mailbox)
                    return
                job = mailbox.jobs.popleft()
            left, until = max(0, left - 1), until or time.monotonic() + TURN_TIME
            try:
                job()
            except BaseException:  # nothing that a job raises may end the thread
                logger.exception("a job raised an error that it should have handled")

    def step_aside(self) -> None:
        """If a job calls this, start another worker in place of its own.

        The job is about to wait for the others, as ``stop`` does; its worker ends after it.
        """
        thread = threading.current_thread()
        with self._lock:
            if thread not in self._threads:
                return
            self._threads.remove(thread)
            self._aside.add(thread)
        self._start_one("pushserver-worker-stand-in", None)

    def abandon(self) -> None:
        """Drop all jobs, in a forked process: of the threads, it has at most the one that forked.

        A thread that is not in this process may hold the lock, so another one takes its place.
        """
        self._lock = threading.Lock()
        self._stopping = True
        self._ready.clear()
        self._threads.clear()

    def stop(self, deadline: float) -> bool:
        """Let the workers end when all jobs are done; tell whether they have.

        One that calls this itself must have called ``step_aside``. The process does not end before
        it has, or the deadline.

        Args:
            deadline: monotonic time until which to wait. A worker still blocked by then ends
                with its job; its thread does not keep the process alive.
        """
        with self._lock:
            self._stopping = True
            threads = list(self._threads)
            bells, self._idle = self._idle, []
            is_worker = threading.current_thread() in self._aside
        for bell in bells:
            bell.release()
        if is_worker:
            threading.Thread(target=threading.current_thread().join,
                             args=(max(0.0, deadline - time.monotonic()),),
                             name="pushserver-last-callback").start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        alive = [thread.name for thread in threads if thread.is_alive()]
        if alive:
            logger.warning("%d callbacks are still blocked at shutdown", len(alive))
        return not alive
