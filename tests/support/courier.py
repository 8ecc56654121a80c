"""A thread that simulates a network: it does jobs late, in order and in batches."""
from __future__ import annotations

import threading
import time

from tests.support.waiting import PATIENCE

LATENCY = 0.003
"""Seconds from a publication or a command to its arrival at a node."""


class Courier:
    """A thread that does jobs in order, a little after they are given, many at a time.

    Args:
        failed: called with an exception in a job.
        done: called after the jobs of each batch.
    """

    def __init__(self, name, failed, done=lambda: None):
        self._failed, self._done = failed, done
        self._jobs, self._is_stopped = [], False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def give(self, job):
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def flush(self):
        """Wait until every earlier job is done, or never will be."""
        assert threading.current_thread() is not self._thread, "it would wait for itself"
        flushed = threading.Event()
        self.give(flushed.set)
        while not flushed.wait(LATENCY) and self._thread.is_alive():
            pass

    def stop(self):
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join(PATIENCE)

    def _run(self):
        while not self._is_stopped:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._is_stopped)
            time.sleep(LATENCY)
            with self._changed:
                jobs, self._jobs = self._jobs, []
            for job in (*jobs, self._done):
                try:
                    if not self._is_stopped:
                        job()
                except Exception as error:
                    self._failed(error)
