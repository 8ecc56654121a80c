"""No lock of ours is held while a broker is called, a thread is woken or a system call is made."""
from __future__ import annotations

import json
import threading

import pytest

from pushserver import CentrifugeConnection, ChannelRule, Connection, PushServer, Settings
from pushserver.channels.memory_broker import MemoryBroker
from pushserver.wire.frames import OPCODE_TEXT
from pushserver.wire.speedups import HAVE_NATIVE
from tests.support.bare_server import Hosting
from tests.support.waiting import PATIENCE, wait_until
from tests.support.watched_locks import watching

RULES = (ChannelRule("kept:", history=100, see_history="anyone", publish="anyone",
                     see_presence="anyone", join_leave=True, linger=0.05), ChannelRule("open:"))


class Talker(CentrifugeConnection):
    """A client that may do everything, whose site calls back at once."""

    anonymous = True

    def connecting(self, data):
        self.subscribe("kept:from-the-start")
        threading.Thread(target=self.subscribe, args=("kept:late",)).start()
        return {"welcome": True}

    def rpc(self, method, data):
        self.send({"message": data})
        return data


class Plain(Connection):
    """A client that joins a channel when it comes."""

    def opened(self):
        self.subscribe("kept:a")
        self.send("hello")


class Run:
    """A server under watch, with a broker that looks at its calls."""

    def __init__(self, watch, broker=None, **settings):
        self.watch = watch
        self.server = PushServer(Settings(drain_timeout=0.5, ping_interval=0.05, **settings),
                                 channels=RULES, broker=watch.broker(broker or MemoryBroker()))
        self.server.start()
        self.hosting = Hosting(self.server)
        self.talkers = 0

    def talker(self, Id):
        peer = self.hosting.join(Id, handler_cls=Talker)
        peer.number = 0
        self.ask(peer, "connect", {})
        return peer

    def ask(self, peer, name, request):
        """Send a command; return its reply, whatever comes before it."""
        peer.number += 1
        peer.send(OPCODE_TEXT, json.dumps({"id": peer.number, name: request}).encode())
        while True:
            message = peer.next()
            assert message is not None, f"closed instead of a reply to {name}"
            for line in message.split("\n") if isinstance(message, str) else ():
                reply = json.loads(line)
                if reply.get("id") == peer.number:
                    return reply
                if not reply:
                    peer.send(OPCODE_TEXT, b"{}")


def everything(run):
    """Do what a site and its clients can do."""
    server = run.server
    position = server.publish("kept:a", "first")
    peers = [run.hosting.join(str(number), handler_cls=Plain, channels=["kept:b", "open:c"],
                              heartbeat=number % 2) for number in range(12)]
    ann, bob = run.talker("ann"), run.talker("bob")
    ticker = server.every(0.02, lambda: "tick", channel="kept:tick")
    for peer in (ann, bob):
        run.ask(peer, "subscribe", {"channel": "kept:a", "recover": True,
                                    "offset": position.offset, "epoch": position.epoch})
        for name, more in (("publish", {"data": {"x": 1}}), ("presence", {}),
                           ("presence_stats", {}), ("history", {"limit": 2})):
            run.ask(peer, name, {"channel": "kept:a", **more})
        run.ask(peer, "rpc", {"method": "echo", "data": "x"})
    for key in ("k", "k", None):
        server.publish("kept:a", "text", key=key)
    server.publish("open:c", b"bytes")
    server.broadcast("all"), server.send("1", "one"), server.send("2", "x" * 100_000)
    server.presence("kept:a"), server.presence_stats("kept:a"), server.history("kept:a")
    server.subscribe_id("ann", "kept:b"), server.unsubscribe_id("ann", "kept:b")
    run.ask(ann, "unsubscribe", {"channel": "kept:a"})
    peers[1].connection.session = "s"
    assert server.end_session("s") == 1 and server.disconnect("2") == 1
    peers[3].sock.close(), bob.sock.close()
    peers[4].close()
    wait_until(lambda: len(server) == 12 + 2 - 5)
    wait_until(lambda: server._node.next_departure() is None)   # bob's linger is over
    run.hosting.join("5").connection.close(4000, "enough")
    server.remove_history("kept:a")
    server._node.sweep()
    ticker.stop()


def test_no_broker_is_called_no_thread_woken_and_no_system_call_made_with_a_lock_held():
    with watching() as watch:
        run = Run(watch, duplicates="share")
        try:
            everything(run)
        finally:
            run.hosting.close()
        for _ in range(2):  # and once more: the server starts again
            run.server.start()
            run.server.stop()
    assert watch.found == set()
    assert watch.broker_calls >= {f"MemoryBroker.{name}" for name in (
        "start", "stop", "publish", "recover", "history", "subscribe", "unsubscribe", "sweep",
        "remove_history")}
    assert watch.broker_calls >= {f"MemoryPresence.{name}" for name in (
        "start", "stop", "join", "leave", "due", "next_due", "of", "stats")}
    assert watch.broker_calls >= {f"LocalControl.{name}" for name in ("start", "stop", "tell")}


class LossyBroker(MemoryBroker):
    """Lose every third publication on its way."""

    def _deliver(self, channel, publication, epoch):
        if publication.offset % 3:
            super()._deliver(channel, publication, epoch)


@pytest.mark.parametrize("is_kept", [True, False], ids=["mended", "lost"])
def test_a_hole_is_mended_and_told_with_no_lock_held(is_kept):
    with watching() as watch:
        run = Run(watch, LossyBroker())
        ann = run.talker("ann")
        run.ask(ann, "subscribe", {"channel": "kept:x"})
        for number in range(1, 5):
            if not is_kept and number == 4:
                run.server.remove_history("kept:x")
            run.server.publish("kept:x", number)
        found = []
        while not found or '"unsubscribe"' not in found[-1] and '"data":4' not in found[-1]:
            found.append(ann.next())
        told = [message for message in found if "kept:x" in message and "join" not in message]
        run.hosting.close()
    assert watch.found == set()
    assert [f'"data":{number}' in message for number, message in enumerate(told, 1)] == (
        [True] * 4 if is_kept else [True, True, False]) and ("2500" in told[-1]) != is_kept


def test_many_threads_at_once_hold_no_lock_either():
    with watching() as watch:
        run = Run(watch, duplicates="replace")
        failures = []

        def busy(number):
            try:
                for round_ in range(15):
                    run.server.publish(f"kept:{round_ % 3}", number)
                    peer = run.hosting.join(str(number), handler_cls=Plain)
                    peer.connection.subscribe(f"kept:{round_ % 3}")
                    run.server.send(str(number), "x"), run.server.broadcast("y")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=busy, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        run.hosting.close()
    assert watch.found == set() and not failures


BROKEN = {
    "MemoryBroker.history": lambda run: run.server.history("kept:a"),
    "MemoryPresence.of": lambda run: run.server.presence("kept:a"),
    "LocalControl.tell": lambda run: run.server.broadcast("x"),
    "wake" if HAVE_NATIVE else "send": lambda run: run.server._lifecycle.runtime.loop._wake(),
    "start_": lambda run: run.server.every(60, lambda: "x"),
    "waking the thread": lambda run: run.server._lifecycle.runtime.workers._idle.pop().release()}


@pytest.mark.parametrize("what, act", BROKEN.items(), ids=BROKEN)
def test_the_watch_sees_what_is_done_with_a_lock_held(what, act):
    with watching() as watch:
        run = Run(watch)
        workers = run.server._lifecycle.runtime.workers
        wait_until(lambda: len(workers._idle) == run.server.settings.workers)
        with run.server._housekeeping._lock:
            act(run)
        run.hosting.close()
    assert any(what in found for found, _ in watch.found), watch.found
