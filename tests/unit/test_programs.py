"""Programs that tests start: they end, whatever started the tests."""
from __future__ import annotations

import signal

import pytest

from tests.support.programs import finish, program

SLEEPER = "import time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def ignored():
    """Ignore SIGINT, as tests do that a script runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_program_though_the_tests_ignore_it(ignored):
    with program("-c", SLEEPER) as process:
        assert process.stdout.readline() == "ready\n"
        status, _, err = finish(process, signal.SIGINT)
    assert status == -signal.SIGINT and "KeyboardInterrupt" in err
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_program_does_not_outlive_a_test_that_fails():
    with pytest.raises(ZeroDivisionError), program("-c", SLEEPER) as process:
        assert process.stdout.readline() == "ready\n"
        1 / 0
    assert process.returncode == -signal.SIGKILL
