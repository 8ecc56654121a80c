"""The runtime: what is given to workers is done though all of them are blocked."""
from __future__ import annotations

import threading
import time

import pytest

from pushserver.runtime.loop import Loop
from pushserver.runtime.runtime import Runtime
from pushserver.runtime.workers import Mailbox, Workers
from tests.support.waiting import PATIENCE, wait_until


@pytest.fixture
def runtime():
    """Return one whose only worker is blocked."""
    runtime, held, is_open = Runtime(Loop(lambda error: None), Workers(1)), [], threading.Event()
    runtime.start()
    runtime.workers.post(Mailbox(), lambda: (held.append(True), is_open.wait(PATIENCE)))
    wait_until(lambda: held)
    yield runtime
    is_open.set()
    runtime.loop.stop(PATIENCE)
    assert runtime.workers.stop(time.monotonic() + PATIENCE)


def test_a_job_given_on_any_thread_is_done_while_all_workers_are_blocked(runtime):
    done = threading.Event()
    runtime.run(Mailbox(), done.set)
    assert done.wait(PATIENCE / 2)


def test_a_job_for_later_is_done_while_all_workers_are_blocked(runtime):
    done = threading.Event()
    runtime.later(Mailbox(), 0, done.set)
    assert done.wait(PATIENCE / 2)
