"""Staying connected: lost servers, back-off, and nothing lost or left behind."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from pushclient import Disconnected, PushClient, PushError
from pushclient.backoff import FIRST_WINDOW, SHORTEST_DELAY
from pushserver.wire.frames import OPCODE_TEXT, frame

from tests.support.loopback import LOOPBACK, free_port
from tests.support.programs import start
from tests.support.scripted_server import Server
from tests.support.waiting import PATIENCE

KILLS = 6
HERD = 1000
PROCESSES = 10
HANDSHAKES = 500

TICKING = """
import sys, threading, time
from tests.support.scripted_server import Server
start = int(sys.argv[2])
def tick(peer):
    peer.answer()
    for number in range(1000000):
        peer.send(f"{start}.{number}")
        time.sleep(0.01)
with Server(tick, port=int(sys.argv[1])):
    print("ready", flush=True)
    threading.Event().wait()
"""


def ticking_server(port, generation):
    process = start(sys.executable, "-c", TICKING, str(port), str(generation))
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    process.stdout.close()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
def test_client_goes_on_each_time_its_server_is_killed():
    port = free_port()
    server = ticking_server(port, 0)
    before, threads = descriptors(), set()
    gaps, last = [], (0, -1)
    restarted, while_open = 0.0, 0
    try:
        with PushClient(f"ws://{LOOPBACK}:{port}/", proxy=None, timeout=PATIENCE) as client:
            for message in client:
                threads |= {thread.name for thread in threading.enumerate()
                            if thread.name.startswith("pushclient")}
                generation, number = map(int, message.split("."))
                assert (generation, number) == (last[0], last[1] + 1) or (generation, number) \
                    == (last[0] + 1, 0)
                last = generation, number
                if number == 0 and generation:
                    gaps.append(time.monotonic() - restarted)
                    assert descriptors() <= while_open
                if number == 10:
                    while_open = descriptors()
                    if generation == KILLS:
                        break
                    kill(server)
                    server = ticking_server(port, generation + 1)
                    restarted = time.monotonic()
    finally:
        kill(server)
    assert last[0] == KILLS
    assert max(gaps) < 20
    assert len(threads) == 1
    assert descriptors() <= before
    print(f"reconnected after {', '.join(f'{gap:.2f}' for gap in gaps)} s")


@pytest.fixture
def listener():
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        sock.listen(2 * HERD)
        yield sock


def herd(*arguments, descriptor=None):
    return start(sys.executable, "-m", "tests.support.client_herd", *map(str, arguments),
                 stdin=subprocess.PIPE, pass_fds=[descriptor] if descriptor is not None else [])


def test_reconnects_of_a_herd_are_spread_over_the_window(listener):
    number = listener.fileno()
    first, second = (herd("serve", number, descriptor=number) for _ in range(2))
    url = f"ws://{LOOPBACK}:{listener.getsockname()[1]}/"
    followers = []
    try:
        for server in (first, second):
            assert server.stdout.readline() == "ready\n"
        let_accept(first)
        followers += [herd("follow", url, HERD // PROCESSES) for _ in range(PROCESSES)]
        for follower in followers:
            assert follower.stdout.readline() == "ready\n"
        let_accept(second)
        lost = time.monotonic()
        first.kill()
        delays = sum((json.loads(follower.stdout.readline()) for follower in followers), [])
        arrivals = [at - lost for at in json.loads(second.communicate(timeout=PATIENCE)[0])]
    finally:
        for process in (first, second, *followers):
            process.kill()
            process.communicate()
    assert len(delays) == len(arrivals) == HERD
    print(histogram("delays drawn", delays))
    print(histogram("arrivals at the server after the loss", arrivals))
    assert SHORTEST_DELAY <= min(delays) <= max(delays) <= FIRST_WINDOW
    assert min(arrivals) >= SHORTEST_DELAY
    parts = [sum(edge <= delay < edge + 0.05 for delay in delays)
             for edge in (0.05 * step for step in range(1, 10))]
    assert HERD / len(parts) / 2 < min(parts) <= max(parts) < 2 * HERD / len(parts)


def let_accept(server):
    server.stdin.write("\n")
    server.stdin.flush()


def histogram(title, values, width=0.05):
    counts = {}
    for value in values:
        counts[int(value / width)] = counts.get(int(value / width), 0) + 1
    lines = [f"{step * width * 1000:5.0f} ms {counts.get(step, 0):4d} "
             + "#" * (counts.get(step, 0) // 5) for step in range(max(counts) + 1)]
    return "\n".join([title, *lines])


def test_frames_in_the_packet_of_the_handshake_are_delivered():
    three = b"".join(frame(OPCODE_TEXT, word) for word in (b"a", b"b", b"c"))

    def script(peer):
        peer.answer(with_it=three)
        peer.close()
    received = []
    with Server(script) as server:
        for _ in range(HANDSHAKES):
            with PushClient(server.url, proxy=None) as client:
                received += client
    assert received == ["a", "b", "c"] * HANDSHAKES
    print(f"{HANDSHAKES} handshakes, {len(received)} messages")


@pytest.mark.parametrize("code, comes_back", [(1000, False), (1001, True), (1006, True),
                                              (1011, True), (1012, True), (3008, True),
                                              (3012, True), (3504, False), (3505, False),
                                              (4000, True), (4500, False)])
def test_close_code_tells_whether_to_come_back(code, comes_back):
    def ends(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"1"))
        if code != 1006:
            peer.close(code, "so it is")

    def stays(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"2"))
        peer.receive()
    with Server(ends, stays) as server, PushClient(server.url, proxy=None) as client:
        assert client.receive(PATIENCE) == "1"
        if comes_back:
            assert client.receive(PATIENCE) == "2"
        elif code == 1000:
            assert list(client) == [] and client.error is None
        else:
            with pytest.raises(Disconnected, match=f"closed with {code}: so it is") as caught:
                next(client)
            assert (caught.value.code, caught.value.reason) == (code, "so it is")
        assert server.accepted == 1 + comes_back


def test_back_off_grows_until_a_connection_has_proved_itself():
    def in_vain(peer):
        peer.answer()  # and leaves without a message

    def proved(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"1"))

    def stays(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"2"))
        peer.receive()
    failures = []

    def note(state):
        if state == "waiting":
            failures.append(client._reconnector._backoff.failures)
    with Server(in_vain, in_vain, proved, stays) as server:
        with PushClient(server.url, proxy=None, on_state=note) as client:
            assert [client.receive(PATIENCE), client.receive(PATIENCE)] == ["1", "2"]
    assert failures == [1, 2, 0]


def test_max_attempts_ends_with_the_last_error():
    states = []
    with Server(lambda peer: peer.read_request()) as server:
        with PushClient(server.url, proxy=None, max_attempts=3, on_state=states.append) as client:
            with pytest.raises(OSError, match="before it answered"):
                next(client)
        assert server.accepted == 3
    assert states == ["connecting", "waiting"] * 2 + ["connecting", "closed"]


def test_thread_that_fails_ends_loudly(caplog, monkeypatch):
    def fail(*_, **__):
        raise KeyError("unforeseen")
    monkeypatch.setattr("pushclient.websocket.connect.open_socket", fail)
    with PushClient("ws://localhost/", proxy=None) as client:
        with pytest.raises(PushError, match="unforeseen"):
            next(client)
    assert "Traceback" in caplog.text


def test_states_are_told_in_order_on_the_clients_thread():
    told = []

    def note(state):
        told.append((state, client.state, threading.current_thread().name))
    ends = [lambda peer: (peer.answer(with_it=frame(OPCODE_TEXT, b"1")), peer.close(1012)),
            lambda peer: (peer.answer(), peer.close(1000))]
    with Server(*ends) as server, PushClient(server.url, Id="42", proxy=None, on_state=note) \
            as client:
        assert list(client) == ["1"]
    assert [state for state, _, _ in told] == ["connecting", "open", "waiting", "connecting",
                                               "open", "closed"]
    assert all(state == shown for state, shown, _ in told)
    assert {name for _, _, name in told} == {"pushclient Id '42'"}
