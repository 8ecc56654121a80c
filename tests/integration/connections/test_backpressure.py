"""Threads of the site that push faster than clients read: they wait, and no client is closed."""
from __future__ import annotations

import itertools
import signal
import threading
import time

import pytest

from pushserver import ChannelRule, Overloaded, Settings
from pushserver.connections import backpressure
from tests.support import api_site, centrifuge_site
from tests.support.api_client import Api
from tests.support.centrifuge_client import RawClient
from tests.support.handlers import SMALL, handler, site_of
from tests.support.site import recorder, running_site
from tests.support.waiting import PATIENCE, wait_until

MOST = 100_000
"""``max_outbox``, of which a few messages are more than what may wait."""

SIZE = 10_000
THREADS, EACH = 4, 30

SETTINGS = {"max_outbox": MOST, "publish_timeout": PATIENCE, "close_timeout": PATIENCE}

PUSHES = {
    "broadcast": lambda push, data: push.broadcast(data),
    "send": lambda push, data: push.send("1", data),
    "publish": lambda push, data: push.publish("news", data),
    "Connection.send": lambda push, data: push.connections("1")[0].send(data)}


def numbered(thread, number, size=SIZE):
    return f"{thread} {number} ".ljust(size, "x")


def in_threads(push, *, each=EACH, threads=THREADS):
    """Push numbered messages from several threads; return them, started."""
    def run(thread):
        for number in range(each):
            push(numbered(thread, number))
    started = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
    for thread in started:
        thread.start()
    return started


def read(client, pause=0.0, count=THREADS * EACH):
    """Read all; return the numbers that came from each thread."""
    got = {}
    for _ in range(count):
        time.sleep(pause)
        thread, number, _ = client.message().split(" ")
        got.setdefault(int(thread), []).append(int(number))
    return got


ALL = {thread: list(range(EACH)) for thread in range(THREADS)}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("how", PUSHES)
def test_who_pushes_faster_than_clients_read_waits_and_closes_nobody(
        how, secure, server_certificate, client_tls):
    options = {"tls": client_tls} if secure else {}
    with running_site(settings=SETTINGS, buffers=SMALL, plugin={"channels": [ChannelRule("news")]},
                      tls=server_certificate if secure else None) as site:
        with site.client("/websocket?Id=1", receive_buffer=SMALL, **options) as slow, \
                site.client("/websocket?Id=2", receive_buffer=SMALL, **options) as other:
            for Id in "12":
                site.push.subscribe_id(Id, "news")
            threads = in_threads(lambda data, push=site.push: PUSHES[how](push, data))
            others = how in ("broadcast", "publish")
            reading = threading.Thread(target=lambda: got.append(read(other)) if others else None)
            got = []
            reading.start()
            assert read(slow, 0.01) == ALL     # some 1 MB a second
            for thread in [*threads, reading]:
                thread.join(PATIENCE)
            assert got == [ALL] * others and len(site.push) == 2


def test_who_reads_nothing_is_closed_and_the_others_get_everything():
    Handler = recorder()
    with running_site(site_of(Handler), settings=SETTINGS, buffers=SMALL) as site:
        with site.client("/websocket?Id=dead", receive_buffer=SMALL), \
                site.client("/websocket?Id=1") as client:
            threads = in_threads(site.push.broadcast)
            assert read(client) == ALL
            for thread in threads:
                thread.join(PATIENCE)
            assert site.push.ids() == ["1"]
    assert ("closed", "dead", 3008, "slow: read faster") in Handler.log


def test_who_has_long_read_nothing_keeps_no_publisher_waiting(monkeypatch):
    with running_site(settings=SETTINGS, buffers=SMALL) as site, \
            site.client("/websocket?Id=dead", receive_buffer=SMALL):
        link, = site.push._hub.everyone()
        while not link.is_behind:
            site.push.broadcast("x" * SIZE)
            time.sleep(0.01)
        speed = site.push._backpressure._behind[link]
        wait_until(lambda: speed.is_slow)
        assert len(site.push) == 1
        monkeypatch.setattr(backpressure, "WINDOW", PATIENCE)   # it is not measured again
        while len(site.push):
            site.push.broadcast("x" * SIZE)


def test_after_a_while_the_publisher_is_told_and_nothing_is_sent(monkeypatch):
    monkeypatch.setattr(backpressure, "SLOWEST", 0)     # else it would be closed
    settings = {"max_outbox": MOST, "publish_timeout": 0.1}
    with running_site(settings=settings, buffers=SMALL,
                      plugin={"channels": [ChannelRule("news", history=1000)]}) as site:
        with site.client("/websocket?Id=1", receive_buffer=SMALL) as client:
            site.push.subscribe_id("1", "news")
            # a message of which nothing is read at all would have the client closed
            reading = threading.Thread(target=lambda: got.extend(
                client.message() for _ in range(3)))
            got, sent = [], []
            with pytest.raises(Overloaded, match="channel 'news' did not read enough"):
                for number in itertools.count():
                    site.push.publish("news", numbered(0, number))
                    sent.append(numbered(0, number))
            assert [one.data for one in site.push.history("news").publications] == sent
            reading.start()
            reading.join(PATIENCE)
            got += [client.message() for _ in sent[3:]]
            assert got == sent
            assert site.push.publish("news", "next").offset == len(sent) + 1
            assert client.message() == "next"


def test_those_who_push_to_others_do_not_wait():
    settings = {**SETTINGS, "max_outbox": MOST}
    with running_site(settings=settings, buffers=SMALL) as site:
        with site.client("/websocket?Id=1", receive_buffer=SMALL) as slow, \
                site.client("/websocket?Id=2") as other:
            threads = in_threads(lambda data: site.push.send("1", data))
            wait_until(lambda: site.push._backpressure._waiters)
            for number in range(EACH):
                site.push.send("2", numbered(0, number))
                assert other.message() == numbered(0, number)
            assert site.push._backpressure._waiters
            assert read(slow) == ALL
            for thread in threads:
                thread.join(PATIENCE)


def test_a_broadcast_is_not_put_off_by_those_who_push_to_one(monkeypatch):
    monkeypatch.setattr(backpressure, "SLOWEST", 0)
    with running_site(settings=SETTINGS, buffers=SMALL) as site:
        with site.client("/websocket?Id=1", receive_buffer=SMALL) as client:
            threads = in_threads(lambda data: site.push.send("1", data))
            wait_until(lambda: site.push._backpressure._waiters)
            big = threading.Thread(target=site.push.broadcast, args=("big".ljust(MOST * 9 // 10),))
            big.start()
            wait_until(lambda: len(site.push._backpressure._waiters) == THREADS + 1)
            got = [client.message() for _ in range(THREADS * EACH + 1)]
            at, = (number for number, one in enumerate(got) if one.startswith("big"))
            assert at < THREADS * EACH / 2
            for thread in [*threads, big]:
                thread.join(PATIENCE)


def test_a_worker_does_not_wait_and_its_client_is_closed():
    done, pushes = threading.Event(), []

    def received_message(self, message):
        for number in range(EACH * THREADS):
            pushes[0].broadcast(numbered(0, number))
        done.set()
    Handler = handler(received_message=received_message)
    with running_site(site_of(Handler), settings=SETTINGS, buffers=SMALL) as site:
        pushes.append(site.push)
        with site.client("/websocket?Id=1", receive_buffer=SMALL) as client:
            client.text("go")
            assert done.wait(PATIENCE)
            wait_until(lambda: len(site.push) == 0)
            client.close()
            wait_until(lambda: Handler.log[-1][0] == "closed")
    assert Handler.log[-1][2] == 3008


def test_with_a_timeout_of_0_nobody_is_waited_for():
    with running_site(settings={**SETTINGS, "publish_timeout": 0}, buffers=SMALL) as site, \
            site.client("/websocket?Id=1", receive_buffer=SMALL):
        while len(site.push):
            site.push.broadcast("x" * SIZE)
            assert not site.push._backpressure._behind


@pytest.mark.parametrize("end", ["stop", "drain", "disconnect", "the client leaves"])
def test_an_end_lets_those_go_on_who_wait(end, monkeypatch):
    monkeypatch.setattr(backpressure, "SLOWEST", 0)
    with running_site(settings={**SETTINGS, "drain_timeout": 0.3}, buffers=SMALL) as site:
        with site.client("/websocket?Id=1", receive_buffer=SMALL) as client:
            threads = in_threads(site.push.broadcast)
            wait_until(lambda: site.push._backpressure._waiters)
            {"stop": site.push.stop, "drain": site.push.drain, "the client leaves": client.reset,
             "disconnect": lambda: site.push.disconnect("1")}[end]()
            for thread in threads:
                thread.join(PATIENCE / 2)
                assert not thread.is_alive()
        if end == "stop":   # and a new run begins with nothing reserved
            site.push.start()
        assert site.push._backpressure._reserved == 0


def test_a_client_that_lacks_room_as_the_server_stops_is_no_error_of_the_loop():
    """It is not known as behind then; a ``KeyError`` would end the loop's thread."""
    stopped = backpressure.Backpressure(Settings())
    assert not stopped._is_slow(type("Reader", (), {"is_behind": False})())


def test_ctrl_c_ends_the_wait_and_gives_the_room_back(monkeypatch):
    monkeypatch.setattr(backpressure, "SLOWEST", 0)
    main = threading.get_ident()

    def interrupt():
        wait_until(lambda: site.push._backpressure._waiters)
        signal.pthread_kill(main, signal.SIGINT)
    with running_site(settings=SETTINGS, buffers=SMALL) as site, \
            site.client("/websocket?Id=1", receive_buffer=SMALL) as client:
        thread = threading.Thread(target=interrupt)
        thread.start()
        sent = 0
        with pytest.raises(KeyboardInterrupt):
            while True:
                site.push.broadcast(numbered(0, sent))
                sent += 1
        thread.join()
        assert not site.push._backpressure._waiters and not site.push._backpressure._reserved
        assert [client.message() for _ in range(sent)] == [
            numbered(0, number) for number in range(sent)]
        site.push.broadcast("next")
        assert client.message() == "next"


def test_what_becomes_longer_in_a_protocol_has_room_as_well():
    text = "\x01\x02\"\\".join("x" * 9) * 600
    assert len(text) < 30_000
    with running_site(centrifuge_site.root(), buffers=SMALL,
                      settings=SETTINGS, plugin={"channels": centrifuge_site.RULES}) as site:
        with RawClient(site, receive_buffer=SMALL) as client:
            client.connect()
            client.call("subscribe", channel="open:a")

            def run():
                for _ in range(20):
                    site.push.publish("open:a", text)
            publishing = threading.Thread(target=run)
            publishing.start()
            for _ in range(20):
                assert client.next()["push"]["pub"]["data"] == text
            publishing.join(PATIENCE)


def test_the_api_says_so_too(monkeypatch):
    monkeypatch.setattr(backpressure, "SLOWEST", 0)
    settings = {"max_outbox": MOST, "publish_timeout": 0.05}
    with api_site.serving(site={"settings": settings, "buffers": SMALL}) as site:
        with RawClient(site, receive_buffer=SMALL) as client:
            client.connect()
            client.call("subscribe", channel="news:a")
            api = Api(site.port)
            while "code" not in (answer := api.call("publish", channel="news:a",
                                                    data="x" * SIZE)):
                pass
            assert answer["code"] == 111 and "did not read enough" in answer["message"]
            answers = api.call("broadcast", channels=["news:a", "news:b"], data="x" * SIZE)
            assert [one.get("error", {}).get("code") for one in answers["responses"]] == [111, None]
