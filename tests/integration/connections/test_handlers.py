"""What handlers do, and what happens to those that fail, block or fall behind."""
from __future__ import annotations

import contextlib
import logging
import select
import threading

import pytest

from pushserver import Connection
from tests.support.handlers import close_payload, handler, site_of, SMALL
from tests.support.raw_client import masked_frame
from tests.support.site import running_site
from tests.support.waiting import wait_until


@pytest.mark.parametrize("callback", ["opened", "received_message", "ponged"])
def test_what_a_callback_raises_is_logged_and_closes_that_connection_with_1011(callback, caplog):
    def fail(*args):
        raise ValueError("a bug of the site")

    with running_site(site_of(handler(**{callback: fail}))) as site:
        with site.client("/echo?Id=2") as other, site.client("/websocket?Id=buggy") as client:
            client.send(0x8A)
            with contextlib.suppress(ConnectionError):
                client.text("anything")
            assert client.close_code() == 1011
            other.text("hello")
            assert other.message() == "hello"
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [str(record.exc_info[1]) for record in errors] == ["a bug of the site"]
    assert "'buggy'" in errors[0].getMessage()


def test_what_closed_raises_is_logged(caplog):
    def fail(*args):
        raise ValueError("a bug of the site")

    with running_site(site_of(handler(closed=fail))) as site, site.client() as client:
        assert client.hang_up() == 1000
    assert "a bug of the site" in caplog.text


def test_handlers_that_block_keep_nobody_else_waiting_even_when_all_workers_do():
    gate = threading.Event()
    Handler = handler(received_message=lambda self, message: gate.wait(30))
    with running_site(site_of(Handler), settings={"workers": 2}) as site, \
            contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        for number in range(6):
            client = stack.enter_context(site.client(f"/websocket?Id=blocked-{number}"))
            client.text("block")
        with site.client("/echo?Id=free") as free:
            for number in range(3):
                free.text(str(number))
                assert free.message() == str(number)
            site.push.broadcast("for all")
            assert free.message() == "for all"
        assert client.message() == "for all"


def test_the_callbacks_of_one_connection_run_one_at_a_time_and_in_order():
    running, overlaps, seen = [], [], []

    def received_message(self, message):
        overlaps.append(len(running))
        running.append(True)
        seen.append(int(str(message)))
        running.pop()

    Handler = handler(received_message=received_message)
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.sock.sendall(b"".join(masked_frame(0x81, b"%d" % number) for number in range(500)))
        assert client.hang_up() == 1000
    assert seen == list(range(500))
    assert set(overlaps) == {0}
    assert [entry[0] for entry in Handler.log] == ["opened", "closed"]


def test_handlers_may_send_to_themselves_and_to_all():
    def received_message(self, message):
        self.send("by connection")
        push.send(self.Id, "by Id")
        push.broadcast("to all")
        push.publish("self", "by channel")

    Handler = handler(received_message=received_message,
                      opened=lambda self: self.subscribe("self"))
    with running_site(site_of(Handler)) as site, site.client() as client:
        push = site.push
        client.text("go")
        assert [client.message() for _ in range(4)] == ["by connection", "by Id", "to all",
                                                        "by channel"]


def test_a_handler_may_say_goodbye_behind_its_last_words():
    def received_message(self, message):
        self.send("last words")
        self.close(4000, "goodbye")

    with running_site(site_of(handler(received_message=received_message))) as site:
        with site.client() as client:
            client.text("go")
            assert client.message() == "last words"
            assert client.frame() == (0x88, close_payload(4000, b"goodbye"))


def test_a_handler_may_end_its_connection_while_it_opens():
    Handler = handler(opened=lambda self: self.close(4003, "not today"))
    with running_site(site_of(Handler)) as site, site.client() as client:
        assert client.close_code() == 4003
        client.send(0x88, close_payload(4003))
        assert client.at_end()
    assert Handler.log == [("closed", "42", 4003, "not today")]


def full(sock):
    """Tell whether a socket takes nothing for a while."""
    return not select.select([], [sock], [], 0.2)[1]


def test_a_client_that_sends_more_than_its_handler_takes_is_not_read_until_it_has_caught_up():
    gate, seen = threading.Event(), []

    def received_message(self, message):
        gate.wait(30)
        seen.append(len(message.data))

    settings = {"max_inbox": 100_000, "ping_interval": 0.1}
    frame = masked_frame(0x82, b"a" * 10_000)
    Handler = handler(received_message=received_message)
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site, \
            site.client() as client, contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        client.sock.setblocking(False)
        sent = 0
        data = frame * 2000
        while not full(client.sock):
            sent += client.sock.send(data[sent:])
            assert sent < len(data), "the server went on reading"
        link, = site.push._hub.everyone()
        assert link.inbox.backlog < 2 * settings["max_inbox"]
        wait_until(lambda: site.push._lifecycle.runtime.loop.now - link.last_read > 0.5)
        assert link._keepalive._rule.pinged_at <= link.last_read  # for a pong could not be read now
        site.push.broadcast("to a busy client")
        client.sock.setblocking(True)
        client.sock.settimeout(10)
        gate.set()
        client.sock.sendall(data[sent:(sent // len(frame) + 1) * len(frame)])
        wait_until(lambda: len(seen) == sent // len(frame) + 1)
        assert client.message() == "to a busy client"
        assert set(seen) == {10_000}


def test_other_clients_are_read_while_one_is_not():
    gate = threading.Event()
    Handler = handler(received_message=lambda self, message: gate.wait(30))
    with running_site(site_of(Handler), settings={"max_inbox": 1000}) as site, \
            contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        client = stack.enter_context(site.client())
        client.sock.sendall(masked_frame(0x82, b"a" * 900) * 20)
        other = stack.enter_context(site.client("/echo?Id=other"))
        other.text("hello")
        assert other.message() == "hello"
        assert site.push.send("42", "still written to") == 1
        assert client.message() == "still written to"


def test_a_handler_that_exits_ends_its_own_connection_only(caplog):
    log = []

    class Exiting(Connection):
        def received_message(self, message):
            raise SystemExit("from a library")

        def closed(self, code, reason=None):
            log.append(code)

    with running_site(site_of(Exiting)) as site:
        for _ in range(site.push.settings.workers + 2):
            with site.client() as client:
                client.text("go")
                assert client.close_code() == 1011
                client.send(0x88, b"\x03\xf3")
        wait_until(lambda: log == [1011] * (site.push.settings.workers + 2))
        with site.client() as client:
            site.push.broadcast("still here")
            assert client.message() == "still here"
