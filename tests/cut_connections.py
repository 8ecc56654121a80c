"""A network that cuts every connection again and again, under a flood: no client may miss a thing.

    python -m tests.cut_connections --clients 100 --seconds 60 --rate 500

Half of the clients are pushclient's, half the browser's in Node. Each is in every channel and keeps
what it received; in the end its log has to be the publisher's: no gap, no double, one order.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import cherrypy

from pushserver import ChannelRule
from tests.support.installed import node
from tests.support.programs import program, started
from tests.support.site import running_site
from tests.support.waiting import wait_until

BROWSER_HERD = Path(__file__).with_name("support") / "channel_herd.mjs"
CHANNELS = ["flood:a", "flood:b", "flood:c"]
HISTORY = 4000
"""Publications of one channel that are remembered: more than are made while a client is away."""

RULES = (ChannelRule("flood:", history=HISTORY, history_bytes=1 << 24),)
LIFETIME = 3.0
"""Seconds after which a connection is cut, on average."""

PATIENCE = 60.0


class Root:
    """A site with one address."""

    @cherrypy.expose
    @cherrypy.tools.push(protocol="centrifuge")
    def websocket(self, Id):
        """Let everybody in."""


def publish(push, seconds, rate):
    """Publish evenly for a while; return what was published, by channel."""
    logs = {channel: [] for channel in CHANNELS}
    begun = time.monotonic()
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        channel = CHANNELS[number % len(CHANNELS)]
        position = push.publish(channel, number)
        logs[channel].append((position.offset, number))
    return logs, time.monotonic() - begun


@contextlib.contextmanager
def herds(port, clients):
    """Run the clients; yield their processes."""
    names = [f"client {number}" for number in range(clients)]
    url = f"ws://127.0.0.1:{port}/websocket"
    halves = [(names[::2], [sys.executable, "-m", "tests.support.channel_herd"]),
              (names[1::2], [node("ws"), str(BROWSER_HERD)])]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(started(
            *command, url, json.dumps({"names": half, "channels": CHANNELS}),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE)) for half, command in halves]


def run(clients, seconds, rate, lifetime=LIFETIME):
    """Return what each client says of its log, and numbers of the run."""
    with running_site(Root(), plugin={"channels": RULES}, threads=20) as site, \
            program("-m", "tests.support.relay", str(site.port), str(lifetime),
                    stdin=-1) as relay:
        port = int(relay.stdout.readline())
        with herds(port, clients) as processes:
            wait_until(lambda: all(site.push.channels().get(channel) == clients
                                   for channel in CHANNELS), PATIENCE, "all clients in")
            print(file=relay.stdin, flush=True)  # cut, from now on
            logs, took = publish(site.push, seconds, rate)
            print(file=relay.stdin, flush=True)  # no more
            cuts = json.loads(relay.stdout.readline())["cuts"]
            reports = ask(processes, logs)
    return reports, {"cuts": cuts, "published": sum(map(len, logs.values())), "seconds": took}


def ask(processes, logs):
    """Tell each process what was published; return what its clients say."""
    found = []

    def talk(process):
        out, err = process.communicate(json.dumps(logs) + "\n", timeout=PATIENCE)
        found.extend(map(json.loads, out.splitlines()))
        sys.stderr.write(err)

    threads = [threading.Thread(target=talk, args=[process]) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def faults(reports, clients):
    """Return what is wrong, a line for each."""
    found = [] if len(reports) == clients else [f"{len(reports)} of {clients} clients reported"]
    for report in reports:
        found += [f"{report['name']}: {one}" for one in report["wrong"]]
        found += [f"{report['name']}: told of a gap in {one}" for one in report["gaps"]]
    return found


def main(arguments=None):
    """Run it and say how it went; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cut_connections")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--lifetime", type=float, default=LIFETIME,
                        help="seconds after which a connection is cut, on average")
    options = parser.parse_args(arguments)
    reports, numbers = run(options.clients, options.seconds, options.rate, options.lifetime)
    wrong = faults(reports, options.clients)
    opened = sum(report["opened"] for report in reports)
    print(f"{options.clients} clients; {numbers['published']} publications in "
          f"{numbers['seconds']:.1f} s; {numbers['cuts']} cuts; {opened} connections")
    print("\n".join(wrong) if wrong else "every log is the publisher's: no gap, no double")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
