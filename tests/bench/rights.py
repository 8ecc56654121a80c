"""How long after a right has ended the last message comes in or goes out.

    python -m tests.bench.rights [WAY ...]

Each cell is a client of its own, at a site with CherryPy's sessions: while it is sent a message
every 2 ms and sends one itself every 2 ms, its right ends in one of several ways and states. What
is shown is milliseconds from the end to the last message that the client got by that right, or
that was done for it, whichever was later; 0: both were before the end.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time

import cherrypy
import jwt

from pushserver import CentrifugeConnection, ChannelRule, Connection, Tokens
from tests.support.centrifuge_client import RawClient
from tests.support.raw_client import Refused
from tests.support.site import running_site
from tests.support.waiting import PATIENCE

from . import report

SECRET = "0123456789abcdef0123456789abcdef"
LEAD, BLOCKED, WATCHED = 1.2, 0.7, 1.0
"""Seconds until the right ends; that something slow takes, half of it before and half after that;
and for which the client is watched from then on."""

EVERY = 0.002
RATE = 1_000_000
"""Bytes a second that the client reads whose outbox is full."""

BUFFER = 4096
FLOOD, PIECE = 500, 5000
"""Messages, and bytes of each, with which an outbox is filled."""

STATES = ("idle", "outbox full", "inbox full", "slow handler", "catching up", "handshake")


class Cell:
    """One way of ending a right in one state: what the client got and did, and when."""

    def __init__(self, way, state):
        self.way, self.state = way, state
        self.ends = time.monotonic() + LEAD
        self.wall = time.time() + LEAD
        self.got = []       # when the client got something by the right that ends
        self.done = []      # when something was done for it
        self.is_allowed = True
        self.over = threading.Event()

    def slow(self, *_):
        """Take some time, during which the right ends."""
        self.until(self.ends - BLOCKED / 2)
        self.until(self.ends + BLOCKED / 2)

    @staticmethod
    def until(moment):
        time.sleep(max(0.0, moment - time.monotonic()))

    def late(self):
        """Return how many milliseconds after the end the last message came or went."""
        last = max([self.ends, *self.got, *self.done])
        return round((last - self.ends) * 1000)


def root(cell):
    """Return the site of a cell."""
    class Plain(Connection):
        def received_message(self, message):
            cell.done.append(time.monotonic())
            if str(message) == "slow":
                cell.slow()
            elif cell.state == "inbox full":
                time.sleep(0.001)

    class Talker(CentrifugeConnection):
        def rpc(self, method, data):
            cell.slow()

        def allows_publish(self, channel, data):
            if cell.state == "inbox full":
                time.sleep(0.001)
            return super().allows_publish(channel, data)

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Plain, channels=["out:a"], trust_id=True)
        def plain(self, Id=None):
            self.bind()

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Talker, channels=["out:a"],
                             trust_id=True)
        def talk(self, Id=None):
            self.bind()

        def bind(self):
            cherrypy.session["user"] = "42"
            cell.push.bind_session(expires=cell.way == "session expires")
            if cell.state == "handshake":
                cherrypy.session.release_lock()
                cell.slow()
                cherrypy.session.acquire_lock()

        @cherrypy.expose
        def login(self):
            cherrypy.session["user"] = "42"

    return Site()


@contextlib.contextmanager
def serving(cell):
    """Serve a cell's site, with its broker and its rules."""
    kept = {"history": 10_000, "history_bytes": 1 << 26}
    rules = [ChannelRule("out:", publish="subscribers", **kept),
             ChannelRule("private:", subscribe="token", publish="subscribers", **kept),
             ChannelRule("in:", publish=lambda *_: cell.is_allowed, **kept)]
    config = {"/": {"tools.sessions.on": True, "tools.sessions.timeout": LEAD / 60}}
    with running_site(root(cell), config=config, buffers=BUFFER if cell.state == "outbox full"
                      else None, settings={"max_outbox": 1 << 24},
                      plugin={"channels": rules,
                              "tokens": Tokens(secret=SECRET, grace=0.0)}) as site:
        cell.push = site.push
        yield site


def token(cell, **claims):
    return jwt.encode({"sub": "42", **claims}, SECRET, algorithm="HS256")


# Ways: how the client comes, and what ends its right

OF_CHANNEL = ("exp of a channel's token", "unsubscribe_id")

WAYS = {
    "exp of ?token=": None,
    "exp of connect's token": None,
    "exp of a channel's token": None,
    "disconnect": lambda cell: cell.push.disconnect("42"),
    "end_session": lambda cell: cell.push.end_session(cell.session),
    "session expires": None,
    "unsubscribe_id": lambda cell: cell.push.unsubscribe_id("42", "out:a"),
    "the rule's answer": lambda cell: setattr(cell, "is_allowed", False)}

NOT = {("exp of ?token=", "catching up"): "plain connections do not",
       ("exp of a channel's token", "handshake"): "comes later",
       ("the rule's answer", "handshake"): "asked later",
       ("session expires", "handshake"): "prolonged by it"}


def channel_of(cell):
    return "private:a" if cell.way == "exp of a channel's token" else "out:a"


def come(cell, site):
    """Return the client, connected by what is to end."""
    cookie = login(site)
    cell.session = cookie.partition("=")[2]
    expiring, lasting = token(cell, exp=cell.wall), token(cell, exp=cell.wall + 60)
    options = {"headers": {"Cookie": cookie}}
    if cell.state == "outbox full":
        options["receive_buffer"] = BUFFER
    if cell.way == "session expires":
        cell.ends, cell.wall = time.monotonic() + LEAD, time.time() + LEAD
    if cell.way == "exp of ?token=":
        return site.client(f"/plain?token={expiring}", **options)
    client = RawClient(site, "/talk" if cell.way.startswith("exp of con") else "/talk?Id=42",
                       **options)
    client.connect(token=expiring if cell.way.startswith("exp of con") else lasting)
    if cell.way == "exp of a channel's token" and cell.state != "catching up":
        subscribe(cell, client)
    return client


def subscribe(cell, client, channel="private:a", **options):
    client.send(client.command("subscribe", channel=channel, **options,
                               token=token(cell, exp=cell.wall, channel=channel)))


def login(site):
    from http.client import HTTPConnection
    connection = HTTPConnection(site.host, site.port)
    connection.request("GET", "/login")
    answer = connection.getresponse()
    answer.read(), connection.close()
    return answer.getheader("Set-Cookie").split(";")[0]


# What goes on meanwhile

def push_on(cell):
    """Send the client a message every 2 ms."""
    while not cell.over.wait(EVERY):
        cell.push.publish(channel_of(cell), "x" * 50)
        if cell.way not in OF_CHANNEL:
            cell.push.send("42", "x" * 50)


def read_on(cell, sock):
    """Read what comes; note when, but for close frames and what is not of the right."""
    channel = json.dumps(channel_of(cell)).encode()
    with contextlib.suppress(OSError, EOFError):
        while not cell.over.is_set():
            first, payload = sock.frame()
            if cell.state == "outbox full":
                time.sleep((len(payload) + 4) / RATE)
            if first == 0x88:
                return
            is_pub = b'"pub":' in payload or b'"publications":' in payload
            if first == 0x81 and (cell.way not in OF_CHANNEL or is_pub and channel in payload):
                cell.got.append(time.monotonic())


def send_on(cell, client):
    """Send something every 2 ms."""
    with contextlib.suppress(OSError):
        while not cell.over.wait(EVERY):
            say(cell, client)


def goes_to(cell):
    """Return the channel that the client publishes to."""
    return channel_of(cell) if cell.way in OF_CHANNEL else "in:a"


def say(cell, client):
    if isinstance(client, RawClient):
        client.send(client.command("publish", channel=goes_to(cell), data="mine"))
    else:
        client.text("x")


def prepare(cell, client, site):
    """Bring the client into the state in which its right is to end."""
    if cell.state == "outbox full":
        for _ in range(FLOOD):
            cell.push.publish(channel_of(cell), "x" * PIECE)
    elif cell.state == "inbox full":
        for _ in range(3000):
            say(cell, client)
    elif cell.state == "slow handler":
        client.send(client.command("rpc", method="slow", data=1)) \
            if isinstance(client, RawClient) else client.text("slow")
    elif cell.state == "catching up":
        recover = site.push._broker.recover

        def slow(*args):
            cell.slow()
            return recover(*args)

        site.push._broker.recover = slow
        channel = channel_of(cell) if cell.way == "exp of a channel's token" else "out:b"
        cell.push.publish("out:b", "missed")
        subscribe(cell, client, channel, recover=True, offset=0, epoch="") \
            if channel == "private:a" else client.send(client.command(
                "subscribe", channel=channel, recover=True, offset=0, epoch=""))


def measure(way, state):
    """Return what a cell of the table says."""
    if (way, state) in NOT:
        return "-"
    cell = Cell(way, state)
    with serving(cell) as site:
        threads = [threading.Thread(target=end_in_time, args=(cell,)),
                   threading.Thread(target=push_on, args=(cell,))]
        try:
            for thread in threads:
                thread.start()
            client = come(cell, site)
        except Refused as refused:
            cell.over.set()
            return f"{cell.late()} ({refused.status})"
        finally:
            if cell.over.is_set():
                for thread in threads:
                    thread.join()
        sock = client.socket if isinstance(client, RawClient) else client
        more = [threading.Thread(target=read_on, args=(cell, sock)),
                threading.Thread(target=send_on, args=(cell, client))]
        cell.until(cell.ends - 0.5)
        prepare(cell, client, site)
        for thread in more:
            thread.start()
        cell.until(cell.ends + WATCHED)
        cell.over.set()
        client.close()
        for thread in threads + more:
            thread.join(PATIENCE)
        offset = time.monotonic() - time.time()
        cell.done += [one.time + offset for one in site.push.history(goes_to(cell)).publications
                      if one.data == "mine"]
        if way == "the rule's answer":
            cell.got = []   # the rule says who may publish
        return str(cell.late())


def end_in_time(cell):
    cell.until(cell.ends)
    end = WAYS[cell.way]
    if end is not None:
        cell.ends = time.monotonic()
        end(cell)


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rights", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}; or all")
    ways = parser.parse_args(arguments).ways or list(WAYS)
    print("\n".join(report.machine()), flush=True)
    print(f"| milliseconds | {' | '.join(STATES)} |\n|{' --- |' * (len(STATES) + 1)}", flush=True)
    for way in ways:
        print(f"| {way} | {' | '.join(measure(way, state) for state in STATES)} |", flush=True)


if __name__ == "__main__":
    main()
