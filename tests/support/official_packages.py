"""What the tests of the official packages share: a site, and their clients as processes."""
from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import cherrypy
from cherrypy._cptree import Tree

from pushserver import CentrifugeConnection, ChannelRule, CommandError, PushAPI, Tokens
from tests.support.api_client import KEY
from tests.support.centrifuge_client import PATH
from tests.support.installed import needed_module, node
from tests.support.programs import start
from tests.support.site import running_site
from tests.support.waiting import PATIENCE

SECRET = "0123456789abcdef0123456789abcdef"
GRACE = 1.0
"""Seconds after a token expires in which a connection must send another."""

OPEN = {"publish": "subscribers", "see_presence": "subscribers", "see_history": "subscribers"}
RULES = (ChannelRule("deep:", history=2000, history_bytes=1 << 22, **OPEN),
         ChannelRule("short:", history=100, **OPEN),
         ChannelRule("room:", history=10, join_leave=True, **OPEN),
         ChannelRule("private:", subscribe="token", **OPEN),
         ChannelRule("closed:", subscribe="nobody"))


class Handler(CentrifugeConnection):
    """A site's handler, with a hook for everything that clients can ask for."""

    heard: list = []

    def connecting(self, data):
        return {"hello": data}

    def rpc(self, method, data):
        if method == "add":
            return {"sum": sum(data)}
        raise CommandError(404, "no such method")

    def message(self, data):
        self.heard.append(data)


@contextlib.contextmanager
def official_site(**settings):
    """Serve a site for the official clients, with the HTTP API at ``/api``."""
    needed_module("jwt", "pyjwt[crypto]")
    tree = Tree()
    plugin = {"channels": RULES, "tokens": Tokens(secret=SECRET, grace=GRACE)}
    with running_site(tree, plugin=plugin, settings=settings) as site:
        class Connection:
            @cherrypy.expose
            @cherrypy.tools.push(protocol="centrifuge", handler_cls=Handler)
            def websocket(self):
                """Accept clients with a token."""

        class Root:
            connection = Connection()

        tree.mount(Root(), "/")
        tree.mount(PushAPI(site.push, keys=[KEY]), "/api")
        yield site


def token(user="42", ttl=3600, **claims):
    """Return a token that is valid for some seconds."""
    import jwt
    return jwt.encode({"sub": user, "exp": time.time() + ttl, **claims}, SECRET,
                      algorithm="HS256")


def javascript():
    """Return the command of the JavaScript client."""
    return [node("centrifuge", "ws"), str(Path(__file__).with_name("official_client.js"))]


def python():
    """Return the command of the Python client."""
    needed_module("centrifuge", "centrifuge-python")
    return [sys.executable, "-m", "tests.support.official_client"]


COMMANDS = {"javascript": javascript, "python": python}


class OfficialClient:
    """One official client in a process of its own.

    Args:
        name: one of ``COMMANDS``.
        port: of the site, or of what stands in front of it.
        query: of the URL.
        options: ``tokens``, which it sends one after the other, repeating the last;
            ``channelTokens`` likewise; ``data``, sent with ``connect``.
    """

    def __init__(self, name, port, query="", **options):
        command = [*COMMANDS[name](), f"ws://127.0.0.1:{port}{PATH}{query}",
                   json.dumps({"tokens": [token()], **options})]
        self.process = start(*command, stdin=subprocess.PIPE)
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._number = 0
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self._reader.join()
        self.process.communicate()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def _next(self, deadline):
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"not in {PATIENCE} s, but {self.events[-5:]}") from None
        assert line is not None, "the client's process has ended"
        return line

    def begin(self, name, **asked):
        """Send it a command; return the command's number."""
        self._number += 1
        self.process.stdin.write(json.dumps({"id": self._number, "do": name, **asked}) + "\n")
        self.process.stdin.flush()
        return self._number

    def call(self, name, **asked):
        """Send it a command; return the result, or an error's code as ``{"error": ...}``."""
        number, deadline = self.begin(name, **asked), time.monotonic() + PATIENCE
        while True:
            line = self._next(deadline)
            if line.get("id") == number:
                return line.get("result") if "error" not in line else {"error": line["error"]}
            self.events.append(line)

    def event(self, name, **like):
        """Return the next event of a kind; others before it stay."""
        seen, deadline = 0, time.monotonic() + PATIENCE
        while True:
            while seen == len(self.events):
                self.events.append(self._next(deadline))
            found = self.events[seen]
            if found.get("event") == name and like.items() <= found.items():
                return self.events.pop(seen)
            seen += 1

    def count(self, name):
        """Return how many events of a kind have been read but not taken."""
        return sum(line.get("event") == name for line in self.events)

    def connect(self):
        """Connect, and return the event that says so."""
        self.call("connect")
        return self.event("connected")

    def subscribe(self, channel, **options):
        """Subscribe, and return the event that says so."""
        self.call("subscribe", channel=channel, **options)
        return self.event("subscribed", channel=channel)

    def publications(self, channel, count):
        """Return the next publications of a channel."""
        return [self.event("publication", channel=channel) for _ in range(count)]
