"""push-client.js in Node, with the WebSocket of the package ws, against real servers."""
from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading

import pytest

from tests.support.installed import node
from tests.support.loopback import free_port
from tests.support.programs import ROOT, program, start
from tests.support.relay import Relay
from tests.support.site import running_site
from tests.support.waiting import PATIENCE, wait_until

DRIVER = ROOT / "tests" / "browser" / "push-client-driver.mjs"
QUICK = {"minDelay": 0.05, "maxDelay": 0.1}


class Driver:
    """A PushClient in a Node process: what it says, and what it is told."""

    def __init__(self, process):
        self.process = process
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def next(self):
        return self._lines.get(timeout=PATIENCE)

    def until(self, *event):
        """Return what it says up to an event."""
        found = []
        while event not in found:
            found.append(tuple(self.next()))
        return found

    def tell(self, method, *arguments):
        self.process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self.process.stdin.flush()

    def ended(self):
        """Wait until it has ended by itself and return what it still said."""
        assert self.process.wait(PATIENCE) == 0
        self._reader.join()
        return list(self._lines.queue)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


@contextlib.contextmanager
def driver(url, **options):
    """Run a client; it is killed at the end unless it has ended."""
    command = [node("ws"), str(DRIVER), url, json.dumps({**QUICK, **options})]
    run = Driver(start(*command, stdin=subprocess.PIPE))
    try:
        yield run
    finally:
        run.close()


@pytest.fixture
def site():
    with running_site() as site:
        yield site


def link(site):
    """Return the server's side of the only connection."""
    return next(iter(site.push._lifecycle.runtime.links), None)


def wait_for_heartbeats(site, count):
    """Wait until the server has sent some more of them."""
    for _ in range(count):
        before = link(site)._keepalive._heartbeat
        wait_until(lambda: link(site)._keepalive._heartbeat is not before)


def test_messages_go_both_ways_and_its_end_ends_the_process(site):
    with driver(site.url("/echo"), Id="é &") as client:
        client.until("open")
        assert site.push.ids() == ["é &"]
        client.tell("send", "text")
        client.tell("send", {"a": ["é", None]})
        site.push.broadcast(b"\0\xff")
        assert {json.dumps(client.next()) for _ in range(5)} == {
            '["send", true]', '["message", "text"]', '["message", [0, 255]]',
            json.dumps(["message", '{"a":["é",null]}'])}
        client.tell("close", 4000, "enough")
        assert ["close", 4000, "enough", True] in client.ended()


def test_heartbeats_are_not_seen(site):
    with driver(site.url("/websocket", "http"), Id="42", heartbeat=1) as client:
        client.until("open")
        wait_for_heartbeats(site, 2)
        site.push.send("42", "pushed")
        assert client.next() == ["message", "pushed"]


@pytest.mark.slow
def test_it_lasts_longer_than_silence_would_with_heartbeats_only(site):
    with driver(site.url("/websocket"), Id="42", heartbeat=1) as client:
        client.until("open")
        wait_for_heartbeats(site, 4)
        site.push.send("42", "pushed")
        assert client.next() == ["message", "pushed"]


@pytest.mark.parametrize("code", [3505, 4500, 1000])
def test_a_final_code_ends_it_and_the_process(site, code):
    with driver(site.url("/websocket"), Id="42") as client:
        client.until("open")
        site.push.disconnect("42", code=code, reason="out")
        assert client.ended() == [["close", code, "out", True], ["state", "closed"]]


def test_it_stays_away_when_it_was_replaced():
    with running_site(settings={"duplicates": "replace"}) as site:
        with driver(site.url("/websocket"), Id="42") as older:
            older.until("open")
            with driver(site.url("/websocket"), Id="42") as newer:
                newer.until("open")
                said = older.ended()
                assert said[0][:2] == ["close", 3504] and said[1:] == [["state", "closed"]]
                site.push.send("42", "pushed")
                assert newer.next() == ["message", "pushed"]


def test_it_comes_back_after_other_codes(site):
    with driver(site.url("/websocket"), Id="42") as client:
        client.until("open")
        site.push.disconnect("42", code=3008, reason="")
        assert client.until("open") == [("close", 3008, "", False), ("state", "waiting"),
                                        ("state", "connecting"), ("state", "open"), ("open",)]


def test_a_refused_handshake_is_tried_again():
    with running_site(settings={"max_connections_per_id": 1}) as site:
        with site.client("/websocket?Id=42") as other, \
                driver(site.url("/websocket"), Id="42") as client:
            why = ("close", 4029, "this Id has reached its limit of 1 connections: close one, or "
                   "try again later", False)
            for _ in range(2):
                assert why in client.until("state", "waiting")
            other.close()
            while client.next()[0] != "message":
                site.push.send("42", "you are in")


@pytest.mark.parametrize("how, code", [(signal.SIGKILL, 1006), (signal.SIGTERM, 1001)])
def test_it_finds_the_server_again_that_was_stopped_and_started(how, code):
    port = str(free_port())
    command = ["-m", "pushserver", "--port", port, "--interval", "0.1"]
    with driver(f"http://127.0.0.1:{port}/websocket", Id="42") as client:
        with program(*command) as first:
            while client.next()[0] != "message":
                pass
            first.send_signal(how)
            first.wait(PATIENCE)
        while (event := client.next())[0] == "message":
            pass
        assert event[:2] == ["close", code] and not event[3]
        with program(*command):
            while client.next()[0] != "message":    # first it may be told that the old one ends
                pass


@pytest.mark.slow
def test_a_connection_that_freezes_is_given_up_and_made_again(site):
    with Relay(site.port) as relay, \
            driver(f"ws://127.0.0.1:{relay.port}/websocket", Id="42", heartbeat=1) as client:
        client.until("open")
        site.push.send("42", "before")
        assert client.next() == ["message", "before"]
        relay.freeze()
        assert client.next() == ["close", 1006, "no heartbeat", False]
        relay.thaw()
        client.until("open")
        site.push.send("42", "after")
        client.until("message", "after")
        client.tell("close")
        client.ended()


@pytest.mark.slow
def test_closing_through_a_frozen_network_ends_the_process_in_time(site):
    with Relay(site.port) as relay, \
            driver(f"ws://127.0.0.1:{relay.port}/websocket", Id="42") as client:
        client.until("open")
        relay.freeze()
        client.tell("close")
        assert ["close", 1000, "", True] in client.ended()


def test_closing_while_nobody_is_there_ends_the_process():
    with driver(f"ws://127.0.0.1:{free_port()}/", minDelay=20) as client:
        client.until("state", "waiting")
        client.tell("close")
        assert client.ended()[-1] == ["close", None]


def test_listeners_that_throw_break_nothing(site):
    with driver(site.url("/echo"), Id="42", throwing=True) as client:
        client.until("open")
        client.tell("send", "hello")
        assert ("uncaught", "message") in client.until("message", "hello") + [tuple(client.next())]
        site.push.disconnect("42", code=4000)
        client.until("open")
        client.tell("send", "again")
        client.until("message", "again")
