"""Let clients of a given speed catch up on 20 channels, of each of which they missed 400 KB.

    python -m tests.bench.catching_up [--speed 0.1,1,4,20] [--how frame,frames,connect,...]
                                      [--clients 1] [--tls]

Prints for each whether all got all, the largest outbox, and how much the server's memory grew for
each client. The clients run in another process.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cherrypy
import psutil

from pushserver import CentrifugeConnection, ChannelRule
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.raw_client import Client
from tests.support.site import Root, running_site

CHANNELS = [f"deep:{number}" for number in range(20)]
COUNT = 8
SIZE = 50_000
MB = 1_000_000
PATIENCE = 60.0
READS_PER_SECOND = 20
CLIENT_HOPE = 300.0
"""Seconds that a run may take at most."""

RULE = ChannelRule("deep:", history=100, history_bytes=1 << 24, see_history="anyone")


class Handler(CentrifugeConnection):
    """A client that is in all channels from the start if it asks for that."""

    def connecting(self, data):
        for channel in CHANNELS if data == "connect" else ():
            self.subscribe(channel)

    def rpc(self, method, data):
        return "x" * data


def site_root():
    class Connection:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Handler)
        def websocket(self, Id):
            """Accept everybody."""

    class Site(Root):
        connection = Connection()

    return Site()


class Reader(Client):
    """A client that reads at a given speed."""

    speed = 0.0

    def _more(self):
        size = max(1024, int(self.speed / READS_PER_SECOND))
        data = self.sock.recv(size)
        time.sleep(len(data) / self.speed)
        self.buffer += data
        return bool(data)


class SlowSite:
    """What ``RawClient`` needs of a site."""

    def __init__(self, port, speed, tls):
        self.port, self.speed, self.tls = port, speed, tls

    def client(self, path):
        context = None
        if self.tls:
            context = ssl._create_unverified_context()
        reader = Reader(("127.0.0.1", self.port), tls=context, timeout=PATIENCE)
        reader.speed = self.speed
        reader.handshake(path)
        return reader


def by_subscribing(client, epochs, together):
    """Yield the channel and the publications of each reply."""
    client.connect()
    commands = [client.command("subscribe", channel=channel, recover=True, offset=0, epoch=epoch)
                for channel, epoch in epochs.items()]
    if together:
        client.send(*commands)
    else:
        for one in commands:
            client.send(one)
    for channel, one in zip(epochs, commands):
        result = client.reply(one["id"])["subscribe"]
        assert result["recovered"], channel
        for publication in result["publications"]:
            yield channel, publication


def by_connecting(client, epochs):
    """Yield the channel and each publication, in the reply or behind it."""
    subs = {channel: {"recover": True, "offset": 0, "epoch": epoch}
            for channel, epoch in epochs.items()}
    found = client.connect(data="connect", subs=subs)["subs"]
    assert all(one["recovered"] for one in found.values())
    count = 0
    for channel, one in found.items():
        for publication in one.get("publications", ()):
            count += 1
            yield channel, publication
    while count < len(epochs) * COUNT:
        push = client.push()
        count += 1
        yield push["channel"], push["pub"]


def by_history(client, epochs):
    client.connect()
    commands = [client.command("history", channel=channel, limit=-1) for channel in epochs]
    client.send(*commands)
    for channel, one in zip(epochs, commands):
        for publication in client.reply(one["id"])["history"]["publications"]:
            yield channel, publication


def by_calling(client, epochs):
    client.connect()
    commands = [client.command("rpc", method="long", data=COUNT * SIZE) for _ in epochs]
    client.send(*commands)
    for channel, one in zip(epochs, commands):
        assert len(client.reply(one["id"])["rpc"]["data"]) == COUNT * SIZE
        for offset in range(1, COUNT + 1):
            yield channel, {"offset": offset}


HOW = {"frame": lambda client, epochs: by_subscribing(client, epochs, True),
       "frames": lambda client, epochs: by_subscribing(client, epochs, False),
       "connect": by_connecting, "history": by_history, "rpc": by_calling}


def read_all(site, Id, how, epochs):
    """Return "all", or what went wrong."""
    seen = {channel: [] for channel in epochs}
    try:
        with RawClient(site, f"{PATH}?Id={Id}") as client:
            for channel, publication in HOW[how](client, epochs):
                seen[channel].append(publication["offset"])
    except (OSError, EOFError, AssertionError, KeyError) as error:
        return f"{sum(map(len, seen.values()))}: {error!r}"
    expected = list(range(1, COUNT + 1))
    return "all" if all(found == expected for found in seen.values()) else "not in order"


def clients(port, how, speed, count, tls, epochs):
    """Run clients; print what each got. For the other process."""
    site = SlowSite(port, speed * MB, tls)
    found = []
    threads = [threading.Thread(target=lambda number=number: found.append(
        read_all(site, number, how, epochs))) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(found))


def measure(how, speed, count, tls):
    """Run one case; return its row."""
    with contextlib.ExitStack() as stack:
        certificate = stack.enter_context(certificates()) if tls else None
        site = stack.enter_context(running_site(
            site_root(), plugin={"channels": [RULE]}, tls=certificate))
        epochs = {channel: [site.push.publish(channel, "x" * SIZE) for _ in range(COUNT)][-1].epoch
                  for channel in CHANNELS}
        process = psutil.Process()
        before, begun = process.memory_info().rss, time.monotonic()
        case = json.dumps([site.port, how, speed, count, tls, epochs])
        reading = stack.enter_context(subprocess.Popen(
            [sys.executable, "-m", "tests.bench.catching_up", "--case", case],
            stdout=subprocess.PIPE, text=True))
        outbox = grown = 0
        while reading.poll() is None and time.monotonic() < begun + CLIENT_HOPE:
            links = list(site.push._lifecycle.runtime.links)
            outbox = max([outbox, *[link.outbox.size for link in links]])
            grown = max(grown, process.memory_info().rss - before)
            time.sleep(0.002)
        reading.kill()
        found = json.loads(reading.stdout.read() or "[]")
        wrong = sorted({one for one in found if one != "all"})
        return (f"{how:8} {'tls' if tls else '':4} {speed:5} MB/s: {found.count('all'):3} of "
                f"{count:3} got all in {time.monotonic() - begun:5.1f} s; largest outbox "
                f"{outbox:7} bytes; grown {grown / count / 1024:7.0f} KiB per client {wrong or ''}")


@contextlib.contextmanager
def certificates():
    """Yield files with a certificate and its key."""
    import trustme
    with tempfile.TemporaryDirectory() as folder:
        issued = trustme.CA().issue_cert("127.0.0.1")
        paths = Path(folder, "cert.pem"), Path(folder, "key.pem")
        issued.cert_chain_pems[0].write_to_path(paths[0])
        issued.private_key_pem.write_to_path(paths[1])
        yield tuple(map(str, paths))


def main():
    """Run the cases asked for."""
    command = argparse.ArgumentParser(prog="python -m tests.bench.catching_up")
    command.add_argument("--speed", default="20,4,1,0.1")
    command.add_argument("--how", default=",".join(HOW))
    command.add_argument("--clients", type=int, default=1)
    command.add_argument("--tls", action="store_true")
    command.add_argument("--case", help=argparse.SUPPRESS)
    options = command.parse_args()
    if options.case:
        clients(*json.loads(options.case))
        return
    for speed in map(float, options.speed.split(",")):
        for how in options.how.split(","):
            print(measure(how, speed, options.clients, options.tls), flush=True)


if __name__ == "__main__":
    main()
