"""This package's programs, run as a user runs them, each in a process of its own."""
from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.loopback import free_port
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]

WITHOUT = ("import sys; from pushserver.cli import main; sys.modules[sys.argv[1]] = None; "
           "sys.exit(main(sys.argv[2:]))")


def start(*command, **options):
    """Start a program that Ctrl-C ends, even if the tests themselves ignore it.

    They do when a script runs them in the background, and a program inherits an ignored signal.
    It does not inherit a handler.

    Args:
        command: the program and its arguments.
        options: of ``Popen``. By default, the program runs in the repository and prints text to
            a pipe.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, **{"stdout": subprocess.PIPE, "text": True, "cwd": ROOT,
                                            **options})
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def started(*command, **options):
    """Run a program like ``start``, and kill it at the end unless it has ended."""
    with start(*command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def program(*arguments, **options):
    """Run Python with arguments, like ``started``, with its errors in a pipe."""
    return started(sys.executable, *arguments, **{"stderr": subprocess.PIPE, **options})


@contextlib.contextmanager
def demo(*options, port=None, without=None):
    """Run the demo site.

    Args:
        options: of the command.
        port: by default, a free one; ``process.port`` has it.
        without: a package to make impossible to import.
    """
    port = port or free_port()
    command = ("-c", WITHOUT, without) if without else ("-m", "pushserver")
    with program(*command, "--port", str(port), *options) as process:
        process.port = port
        process.first_line = process.stdout.readline()
        yield process


def finish(process, how=signal.SIGTERM):
    """Send a signal, if any, and return the exit status, stdout and stderr."""
    if how is not None:
        process.send_signal(how)
    out, err = process.communicate(timeout=2 * PATIENCE)
    return process.returncode, out, err


def get(url):
    """Return the status and body of a page."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
