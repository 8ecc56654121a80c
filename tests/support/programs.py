"""Programs of ours run as a user runs them, in a process of their own."""
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


@contextlib.contextmanager
def program(*arguments, **options):
    """Run Python with arguments; at the end it must have gone, by itself or by a signal."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.PIPE, cwd=options.pop("cwd", ROOT), **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextlib.contextmanager
def demo(*options, port=None, without=None):
    """Run the demo site.

    Args:
        options: of the command.
        port: a free one if none is given; ``process.port`` is that.
        without: a package that cannot be imported.
    """
    port = port or free_port()
    command = ("-c", WITHOUT, without) if without else ("-m", "pushserver")
    with program(*command, "--port", str(port), *options) as process:
        process.port = port
        process.first_line = process.stdout.readline()
        yield process


def finish(process, how=signal.SIGTERM):
    """Send a signal, if any, and return exit status, stdout and stderr."""
    if how is not None:
        process.send_signal(how)
    out, err = process.communicate(timeout=2 * PATIENCE)
    return process.returncode, out, err


def get(url):
    """Return status and body of a page."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
