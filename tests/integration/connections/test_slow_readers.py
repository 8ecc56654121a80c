"""Clients that do not read: they are closed, and nobody else waits for them."""
from __future__ import annotations

import contextlib
import threading

import pytest

from pushserver import ConnectionClosed
from tests.support.handlers import close_payload, handler, site_of, SMALL
from tests.support.raw_client import masked_frame
from tests.support.site import recorder, running_site
from tests.support.waiting import PATIENCE, wait_until

BUFFER = 20_000
"""Bytes of a socket's buffer, where much goes through it."""


def test_a_slow_reader_is_closed_with_3008_while_the_others_get_everything():
    Handler = recorder()
    message = "a" * SMALL
    settings = {"max_outbox": 50_000, "close_timeout": 10}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client("/websocket?Id=slow", receive_buffer=SMALL) as slow, \
                site.client("/websocket?Id=quick") as quick:
            for number in range(100):
                site.push.broadcast(f"{number} {message}")
                assert quick.message() == f"{number} {message}"
            assert site.push.ids() == ["quick"]
            read = []
            with pytest.raises(EOFError, match="3008"):
                while True:
                    read.append(slow.message())
            assert read == [f"{number} {message}" for number in range(len(read))]
            slow.send(0x88, close_payload(3008))
            assert slow.at_end()
            wait_until(lambda: ("closed", "slow", 3008, "slow: read faster") in Handler.log)
            assert quick.hang_up() == 1000


def test_a_reader_that_is_slow_for_good_is_ended_without_its_help():
    Handler = recorder()
    settings = {"max_outbox": 50_000, "close_timeout": 0.1}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site, \
            site.client("/echo?Id=quick") as quick, site.client(receive_buffer=SMALL):
        slow, = site.push._hub.of_id("42")
        while site.push.send("42", "a" * SMALL):
            quick.text("your turn")
            assert quick.message() == "your turn"  # so the last send has been dealt with
            assert slow.outbox.size <= settings["max_outbox"] + 2 * SMALL  # with what is begun
        wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log[1] == ("closed", "42", 3008, "slow: read faster")


def test_a_burst_larger_than_an_outbox_is_no_slowness_of_those_that_read():
    """What one ``send`` takes does not count as waiting."""
    with running_site(settings={"max_outbox": 200_000}) as site, site.client() as client:
        for number in range(20):
            site.push.broadcast(str(number) * 1000)
        assert [client.message() for _ in range(20)] == [str(number) * 1000
                                                         for number in range(20)]


def test_a_reader_that_does_not_read_the_pongs_it_asks_for_is_slow():
    settings = {"max_outbox": 20_000, "close_timeout": 0.1}
    Handler = recorder()
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL) as client:
            pings = masked_frame(0x89, b"a" * 125) * 100
            with contextlib.suppress(OSError):
                while len(site.push):
                    client.sock.sendall(pings)
            wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log[1][2] == 3008


def test_a_burst_leaves_no_more_than_the_limit_with_a_slow_client():
    settings = {"max_outbox": 50_000, "publish_timeout": 0}
    with running_site(settings=settings, buffers=4096) as site, \
            site.client(receive_buffer=4096):
        link, = site.push._hub.everyone()
        gate = threading.Event()
        site.push._lifecycle.runtime.loop.call(gate.wait)
        for _ in range(250):
            site.push.broadcast("a" * 4096)
        gate.set()
        wait_until(lambda: len(site.push) == 0)
        assert link.outbox.size <= 50_000


@pytest.mark.parametrize("count, size", [(100, 20_000), (20, 60_000), (10_000, 100)])
def test_an_echo_waits_for_a_client_that_sends_all_before_it_reads(count, size):
    with running_site(settings={"max_outbox": 100_000}, buffers=BUFFER) as site:
        with site.client("/echo?Id=1", receive_buffer=BUFFER) as client:
            messages = [str(number).ljust(size, "x") for number in range(count)]
            sending = threading.Thread(target=lambda: [client.text(one) for one in messages])
            sending.start()
            link, = site.push._hub.everyone()
            wait_until(lambda: link.inbox.held or not sending.is_alive())
            assert [client.message() for _ in messages] == messages
            sending.join()


def test_who_sends_on_and_never_reads_the_echo_is_slow():
    Echo = handler(received_message=lambda self, message: self.send(message.data))
    settings = {"max_outbox": 50_000, "max_inbox": 50_000, "pong_timeout": 0.3,
                "close_timeout": 0.3, "ping_interval": 0.3}
    with running_site(site_of(Echo), settings=settings, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL) as client:
            link, = site.push._hub.everyone()
            client.sock.settimeout(0.1)
            sizes, data = [], masked_frame(0x81, b"x" * 10_000)
            while not any(entry[0] == "closed" for entry in Echo.log):
                with contextlib.suppress(OSError):
                    client.sock.sendall(data)
                sizes.append(link.outbox.size)
    assert max(sizes) <= 50_000 and Echo.log[-1][2] == 3008


def sending(count, size, waited):
    """Return a handler that sends much to who asks for it, as it is read."""
    def received_message(self, message):
        for number in range(count):
            waited.append(self.wait_writable())
            self.send(str(number).ljust(size, "x"))

    return handler(received_message=received_message)


def test_a_handler_that_sends_much_can_wait_for_its_client():
    waited = []
    Handler = sending(100, 20_000, waited)
    with running_site(site_of(Handler), settings={"max_outbox": 100_000, "workers": 1},
                      buffers=BUFFER) as site:
        with site.client(receive_buffer=BUFFER) as client, site.client("/echo?Id=2") as other:
            client.text("send")
            wait_until(lambda: len(waited) > 1)
            other.text("others are served meanwhile")
            assert other.message() == "others are served meanwhile"
            assert len(waited) < 100
            assert [client.message() for _ in range(100)] == [
                str(number).ljust(20_000, "x") for number in range(100)]
    assert waited == [True] * 100


def test_a_thread_of_the_site_waits_as_long_as_it_wants():
    settings = {"max_outbox": 100_000}
    with running_site(settings=settings, buffers=BUFFER) as site:
        with site.client(receive_buffer=BUFFER) as client:
            connection, = site.push.connections("42")
            assert connection.wait_writable(0)
            sent = 0
            while connection.wait_writable(0.1):
                connection.send("x" * 20_000)
                sent += 1
            assert not connection.wait_writable(0.01) and not connection.wait_writable(0)
            for _ in range(sent):
                client.message()
            assert connection.wait_writable(PATIENCE)


@pytest.mark.parametrize("end, code", [
    (lambda client, connection: client.close(), None),
    (lambda client, connection: connection.close(4000), None),
    (lambda client, connection: client.send(0x88, close_payload(1000)), None),
    (lambda client, connection: None, 3008)], ids=["lost", "by the site", "by the client", "slow"])
def test_waiting_ends_with_the_connection(end, code):
    raised = []
    Handler = recorder()
    settings = {"max_outbox": 100_000, "close_timeout": 0.3,
                "pong_timeout": 0.3 if code else PATIENCE}
    with running_site(site_of(Handler), settings=settings, buffers=BUFFER) as site:
        with site.client(receive_buffer=BUFFER) as client:
            connection, = site.push.connections("42")

            def send():
                try:
                    while connection.wait_writable():
                        connection.send("x" * 20_000)
                except ConnectionClosed:
                    raised.append(True)

            thread = threading.Thread(target=send)
            thread.start()
            link, = site.push._hub.everyone()
            wait_until(lambda: link._waiters)
            end(client, connection)
            thread.join(PATIENCE)
            assert raised == [True]
            with pytest.raises(ConnectionClosed):
                connection.wait_writable()
            wait_until(lambda: Handler.log[-1][0] == "closed")
            assert code in (None, Handler.log[-1][2])
