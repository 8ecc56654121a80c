"""What is held for clients that take too much: by this process, and by the system for it."""
from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading

import pytest

from pushserver import ChannelRule, CentrifugeConnection
from tests.support.handlers import SMALL, handler, site_of
from tests.support.handshakes import accepted, refusal
from tests.support.raw_client import masked_frame
from tests.support.site import running_site
from tests.support.waiting import PATIENCE, wait_until

KIB = 1024
MIB = 1024 * KIB

SO_MEMINFO = 55
MEMINFO = struct.Struct("=9I")
"""What Linux tells about a socket's memory: the second is what was received and not read, the sixth
what waits to be sent."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what a socket holds")


def system_memory(link):
    """Return the bytes that the system holds for a connection: received, and to be sent."""
    found = MEMINFO.unpack(link.socket.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO,
                                                         MEMINFO.size))
    return found[0], found[5]


@on_linux
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_the_system_holds_little_for_a_client_that_does_not_read(is_tls, server_certificate,
                                                                 client_tls):
    with running_site(tls=server_certificate if is_tls else None,
                      settings={"max_outbox": 8 * MIB}) as site:
        with site.client(tls=client_tls if is_tls else None, receive_buffer=SMALL) as client:
            link, = site.push._hub.everyone()
            for letter in "abcdef":
                site.push.send("42", letter * MIB)
            wait_until(lambda: link.outbox.size > 5 * MIB)
            link._loop.call_for(link, link.flush)
            wait_until(lambda: not site.push.stats()["memory"]["queued"])
            assert system_memory(link)[1] < 512 * KIB
            assert [client.message() for _ in "abcdef"] == [letter * MIB for letter in "abcdef"]


@on_linux
def test_the_system_holds_little_of_a_client_that_is_not_read():
    """At first it is, so that the system would hold ever more for it."""
    gate = threading.Event()
    Handler = handler(received_message=lambda self, message:
                      message.data[:1] == b"q" or gate.wait(PATIENCE))
    with running_site(site_of(Handler), settings={"max_inbox": 256 * KIB}) as site:
        with site.client() as client:
            link, = site.push._hub.everyone()
            client.sock.sendall(masked_frame(0x82, b"q" * 32 * KIB) * 1000)
            wait_until(lambda: link.inbox._handled >= 1000 * 32 * KIB)
            client.sock.settimeout(0.3)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 64 * MIB:
                    client.send(0x82, b"x" * 32 * KIB)
                    sent += 32 * KIB
            assert link.inbox.is_full and sent < 64 * MIB
            assert system_memory(link)[0] < 512 * KIB
            gate.set()


def test_a_head_that_a_connection_would_keep_is_refused_if_it_is_long():
    with running_site() as site:
        refused = refusal(site, headers={"Cookie": "x" * 20_000})
        assert refused.status == 431 and b"20" in refused.body
        accepted(site, headers={"Cookie": "x" * 15_000})


def test_kept_heads_are_counted_as_long_as_their_connections_live():
    with running_site() as site:
        before = site.push.stats()["memory"]["heads"]
        with site.client(headers={"Cookie": "x" * 15_000}) as client:
            wait_until(lambda: 15_000 < site.push.stats()["memory"]["heads"] - before < 25_000)
            assert client.hang_up() == 1000
            wait_until(lambda: site.push.stats()["memory"]["heads"] == before)


def test_clients_that_do_not_read_are_closed_and_new_ones_come_again():
    settings = {"max_memory": 4 * MIB, "retry_after": 1}
    with running_site(settings=settings) as site, contextlib.ExitStack() as stack:
        for number in range(20):
            stack.enter_context(site.client(f"/websocket?Id={number}", receive_buffer=SMALL))
        reader = stack.enter_context(site.client("/echo?Id=reader"))
        for number in range(20):
            site.push.send(str(number), "x" * 900 * KIB)
        wait_until(lambda: len(site.push) < 10)
        assert "reader" in site.push.ids()
        reader.text("still there")
        assert reader.message() == "still there"
        wait_until(lambda: site.push.stats()["memory"]["held"] <= 4 * MIB)
        wait_until(lambda: not site.push._memory._account.is_over)
        accepted(site, "/websocket?Id=new")


def test_a_client_that_publishes_without_end_fills_no_more_than_the_limit():
    class Handler(CentrifugeConnection):
        anonymous = True

    rules = (ChannelRule("room:", history=1000, history_bytes=4 * MIB, publish="anyone"),)
    root = site_of(Handler, protocol="centrifuge")
    settings = {"max_memory": 6 * MIB}
    with running_site(root, settings=settings, plugin={"channels": rules}) as site:
        with site.client() as client:
            client.send(0x81, b'{"id":1,"connect":{}}')
            client.message()
            for number in range(2, 402):
                command = {"id": number, "publish": {"channel": f"room:{number % 100}",
                                                     "data": "x" * 50_000}}
                client.sock.sendall(masked_frame(0x81, json.dumps(command).encode()))
                if f'"id":{number}' not in client.message():
                    break
            wait_until(lambda: site.push.stats()["memory"]["held"] <= 6 * MIB)
        assert site.push.stats()["memory"]["histories"] > MIB
