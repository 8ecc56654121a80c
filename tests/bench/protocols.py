"""What a message costs in each protocol: ``python -m tests.bench.protocols``.

One server and so many TCP clients, which a process of its own empties. *tick*: one
publication at a time; *burst*: a hundred at once. CPU of the server's process for each message
delivered, and how much more Centrifugo's protocol takes than plain text.
"""
from __future__ import annotations

import argparse
import os
import resource
import select
import signal
import socket
import statistics
import sys
import time

from pushserver import CentrifugeConnection, ChannelRule, Connection, PushServer, Settings
from pushserver.server import acceptor_of
from pushserver.wire.frames import OPCODE_TEXT, frame

CHANNEL = "news:bench"
KINDS = {"plain": Connection, "centrifuge": CentrifugeConnection}
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
MASK = b"\x01\x02\x03\x04"
AIM = 1.2
"""Times the CPU of plain text that the other protocol may take."""


def drain(socks, ready):
    """Read all that comes, for ever."""
    poll = select.epoll()
    for sock in socks:
        sock.setblocking(False)
        poll.register(sock.fileno(), select.EPOLLIN)
    by_fd = {sock.fileno(): sock for sock in socks}
    buffer = bytearray(1 << 20)
    os.write(ready, b"x")
    while True:
        for fd, _ in poll.poll():
            if not by_fd[fd].recv_into(buffer):
                poll.unregister(fd)


def serve(kind, clients):
    """Return a server with so many clients of a protocol, and the sockets to be emptied."""
    server = PushServer(Settings(max_connections=clients + 1, ping_interval=0),
                        channels=[ChannelRule("news:", history=100)])
    server.start()
    ours, theirs = [], []
    connect = frame(OPCODE_TEXT, b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"%s"}}'
                    % CHANNEL.encode(), MASK)
    listener = socket.create_server(("127.0.0.1", 0))
    for number in range(clients):
        other = socket.create_connection(listener.getsockname())
        one, _ = listener.accept()
        Id = str(number)
        acceptor = acceptor_of(server)
        acceptor.reserve(Id)
        connection = KINDS[kind](one, [], [], {})
        connection.identify(Id=Id, user=None, data={}, peer="peer")
        plain = kind == "plain"
        acceptor.accept(connection, one, channels=[CHANNEL] if plain else [], answer=ANSWER,
                        early=b"" if plain else connect)
        ours.append(one)
        theirs.append(other)
    listener.close()
    deadline = time.monotonic() + 60
    while server.channels().get(CHANNEL, 0) < clients:
        assert time.monotonic() < deadline, "not all could subscribe"
        time.sleep(0.05)
    return server, ours, theirs


def settled(server):
    """Wait until the loop has written all that was published."""
    done = []
    server._lifecycle.runtime.loop.call(lambda: done.append(True))
    while not done:
        time.sleep(0.001)


def cost(server, clients, rounds, count, pause):
    """Return microseconds of CPU for each message delivered."""
    text = f"{time.monotonic():017.6f}"  # as in the benchmark's tick and burst
    started = time.process_time()
    for _ in range(rounds):
        for _ in range(count):
            server.publish(CHANNEL, text)
        settled(server)
        time.sleep(pause)
    return (time.process_time() - started) * 1e6 / (rounds * count * clients)


def measure(kind, clients):
    """Return what tick and burst cost in one protocol."""
    server, ours, theirs = serve(kind, clients)
    hear, tell = os.pipe()
    child = os.fork()
    if not child:
        for sock in ours:
            sock.close()
        drain(theirs, tell)
    for sock in theirs:
        sock.close()
    os.read(hear, 1)
    server.publish(CHANNEL, "the first, which ends all subscribing")
    settled(server)
    time.sleep(0.2)
    found = {"tick": cost(server, clients, 30, 1, 0.05),
             "burst": cost(server, clients, 5, 100, 0.3)}
    assert len(server) == clients, "some were lost"
    server.stop()
    for sock in ours:
        sock.close()
    os.close(hear), os.close(tell)
    os.kill(child, signal.SIGKILL)  # it has the server's ends too, and so would never see an end
    os.waitpid(child, 0)
    return found


def main():
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.bench.protocols",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    CentrifugeConnection.anonymous = True
    CentrifugeConnection.allows_subscribe = lambda self, channel: True
    runs = {kind: [] for kind in KINDS}
    for _ in range(options.runs):
        for kind, found in runs.items():
            found.append(measure(kind, options.clients))
    worst = 0.0
    for name in ("tick", "burst"):
        plain, other = (statistics.median(run[name] for run in runs[kind]) for kind in KINDS)
        worst = max(worst, other / plain)
        print(f"{name:6} {options.clients} clients: plain {plain:.3f} us, centrifuge {other:.3f} "
              f"us a message, {other / plain:.2f} times")
    print("as aimed" if worst <= AIM else f"over {AIM} times")
    return 0 if worst <= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
