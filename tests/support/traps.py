"""What ws4py on CherryPy does wrong, one test for each: all pass here and fail on plain ws4py.

To see them fail: ``pytest tests/integration/host_traps --plain-ws4py``. ``#n`` is an issue of
Lawouach/WebSocket-for-Python.

Not included, because no test can make plain ws4py fail at it: its kqueue poller, which is a copy
of the epoll one and never chosen; an ``Origin: ws://host``, which it accepts because it ignores
Origin (handshake/test_origins.py tests that for pushserver); and what is due to cheroot, such as
its TLS handshake on the thread that accepts.
"""
from __future__ import annotations

import contextlib
import threading

import pytest

from tests.support.raw_client import Refused

MESSAGE = 4096
"""Bytes of a message in the tests with heavy traffic."""


def site_of(host, handler_cls=None, **options):
    """Return a site with a WebSocket address, ``/websocket``, and one that echoes, ``/echo``."""
    class Root:
        @host.address(handler_cls or host.base, **options)
        def websocket(self, Id=None):
            """Accept everybody."""

        @host.address(host.echo())
        def echo(self, Id=None):
            """Accept everybody."""

    return Root()


def refused(host, **options):
    """Return how a handshake was refused."""
    with pytest.raises(Refused) as caught, host.client(**options):
        pass
    return caught.value


def received(client):
    """Return the next message, or None if none comes in time."""
    try:
        return client.message()
    except (OSError, EOFError):
        return None


def messages(client, count):
    """Return up to ``count`` messages, as many as come in time."""
    found = []
    with contextlib.suppress(OSError, EOFError):
        for _ in range(count):
            found.append(client.message())
    return found


def close_code(client):
    """Return the code of the server's close frame, or "none came"."""
    try:
        return client.close_code()
    except (OSError, EOFError):
        return "none came"


def frames(client, count):
    """Return up to ``count`` frames, as many as come in time and can be read."""
    found = []
    with contextlib.suppress(OSError, EOFError):
        for _ in range(count):
            found.append(client.frame())
    return found


@contextlib.contextmanager
def in_background(work):
    """Run something on a thread that does not long outlive the test."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(5)
