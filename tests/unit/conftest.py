"""What the unit tests share: pairs of connected sockets, and how long hypothesis searches.

``HYPOTHESIS_PROFILE=explore`` searches longer, and elsewhere at each run.
"""
from __future__ import annotations

import os
import socket
import ssl
import threading

import pytest
from hypothesis import settings

from tests.support.waiting import PATIENCE

settings.register_profile("steady", deadline=None, derandomize=True, database=None,
                          max_examples=100)
settings.register_profile("explore", deadline=None, database=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


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
