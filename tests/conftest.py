"""What holds for every test, first of all that nothing may leak, and fixtures for many of them.

``HYPOTHESIS_PROFILE=explore`` lets hypothesis search longer, and elsewhere at each run.
"""
from __future__ import annotations

import gc
import os
import socket
import ssl
import threading
import time

import pytest
import trustme
from hypothesis import settings

from pushserver.runtime.workers import SPARE_IDLE
from tests.support.raw_client import close_clients
from tests.support.waiting import PATIENCE

SETTLE = SPARE_IDLE + PATIENCE
"""Seconds that threads and descriptors of a test have to go away: a spare worker, which a busy
machine can bring about on a site that several tests share, takes its time."""

FAILED = pytest.StashKey[bool]()

settings.register_profile("steady", deadline=None, derandomize=True, database=None,
                          max_examples=100)
settings.register_profile("explore", deadline=None, database=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_addoption(parser):
    parser.addoption("--plain-ws4py", action="store_true",
                     help="run the trap tests against plain ws4py, where they fail")


def pytest_configure(config):
    if config.getoption("--plain-ws4py"):  # which leaves sockets and lets threads die
        for warning in ("pytest.PytestUnraisableExceptionWarning", "ResourceWarning",
                        "pytest.PytestUnhandledThreadExceptionWarning"):
            config.addinivalue_line("filterwarnings", f"ignore::{warning}")


CHERRYPYS = ("expire_cache", "Session cleanup")
"""Threads that CherryPy's caching and sessions tools start once for a process."""


def threads():
    return {thread for thread in threading.enumerate()
            if thread.is_alive() and thread.name not in CHERRYPYS}


def descriptors():
    """Return what the process has open, but for files: they belong to the tools around us."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:")):
            found[name] = target
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Note on a test that it has failed."""
    report = yield
    item.stash[FAILED] = report.failed or item.stash.get(FAILED, False)
    return report


def close_sockets(descriptors):
    """Close what a failed test has left open, or its end would be reported as another test's."""
    for found in gc.get_objects():
        if isinstance(found, socket.socket) and str(found.fileno()) in descriptors:
            found.close()


@pytest.fixture(autouse=True)
def no_leaks(request):
    """Fail a test that leaves a thread or a descriptor behind, unless it has failed already."""
    if request.node.get_closest_marker("browser") or not os.path.isdir("/proc/self/fd") \
            or request.config.getoption("--plain-ws4py"):
        yield
        return
    threads_before, descriptors_before = threads(), descriptors()
    yield
    deadline = time.monotonic() + SETTLE
    while True:
        leaked_threads = threads() - threads_before
        leaked = {name: target for name, target in descriptors().items()
                  if descriptors_before.get(name) != target}
        if not leaked_threads and not leaked:
            return
        gc.collect()
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if request.node.stash.get(FAILED, False):
        close_sockets(leaked)
    else:
        pytest.fail(f"left behind: threads {leaked_threads}, descriptors {leaked}")


@pytest.fixture(autouse=True)
def no_clients(no_leaks):
    """Close the clients that a test has left open, because it failed or did not care."""
    yield
    close_clients()


@pytest.fixture(scope="session")
def authority():
    """A certificate authority of the test run."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_certificate(authority, tmp_path_factory):
    """Certificate and key files for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost", "127.0.0.1", "::1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture
def client_tls(authority):
    """A TLS context that trusts that authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def pair():
    """Two connected sockets: the one under test, and its peer, which does not wait for ever."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def tls_pair(server_certificate, client_tls):
    """Two connected TLS sockets: the server's, and the client's."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate)
    context.num_tickets = 0
    wrapped = []
    thread = threading.Thread(
        target=lambda: wrapped.append(context.wrap_socket(ours, server_side=True)))
    thread.start()
    client = client_tls.wrap_socket(theirs, server_hostname="localhost",
                                    suppress_ragged_eofs=False)
    thread.join()
    with wrapped[0], client:
        yield wrapped[0], client
