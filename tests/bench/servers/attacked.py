"""A site to attack: ``cheroot`` is CherryPy alone, ``plain`` has the push server, ``front`` has its
front as well, and ``both`` serves TLS on a second port and has little room for what it holds.

Beside the orders of all servers it takes these:

================================ =================================================================
order                            answer
================================ =================================================================
``stamp``                        none: the time is broadcast from now on, ``PUSHES`` times a second
``number RATE IDS``              none: numbers are published to ``NEWS`` and sent to Ids from 0 on
``last``                         ``last NUMBER`` after the last of these
``broadcast SIZE SECONDS RATE``  ``done broadcast SECONDS``; with RATE 0, as fast as it can
``collect``                      ``collected OBJECTS``, how many are left; memory is given back
``memory``                       ``memory STATS``, what ``push.stats()`` says of it, as JSON
================================ =================================================================
"""
from __future__ import annotations

import gc
import json
import sys
import threading
import time

import cherrypy

from .control import Control, options
from .site import run_site

PAGE = b"x" * 4_000_000
PUSHES = 20
NEWS, FILLED = "news:all", "room:filled"
PARTS, PART = 20, 50_000
"""Publications of the channel that is asked for a long history, and the bytes of each."""

SMALL_MEMORY = 128 << 20
AGAIN = 0.01
"""Seconds after which a thread publishes again what there was no room for."""


class Page:
    """What each of the sites has."""

    @cherrypy.expose
    def index(self):
        return "hello"

    @cherrypy.expose
    def large(self):
        return PAGE

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def stream(self):
        return iter([PAGE])

    @cherrypy.expose
    def size(self):
        return str(len(cherrypy.request.body.read()))


class Nothing:
    """The server of a site without pushes."""

    def versions(self):
        return {}


def patiently(call, *arguments):
    """Call until there is room for what is published."""
    from pushserver import Overloaded
    while True:
        try:
            return call(*arguments)
        except Overloaded:
            time.sleep(AGAIN)


def broadcasting(push, size, seconds, rate):
    """Broadcast; yield how long to wait before the next."""
    message, until = "x" * size, time.monotonic() + seconds
    while time.monotonic() < until:
        patiently(push.broadcast, message)
        yield 1 / rate if rate else 0.0


class Numbering:
    """Publish numbers, from a thread of the site, until ``end``."""

    def __init__(self, push, rate, ids):
        self._push, self._rate, self._ids = push, rate, ids
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._number = 0
        self._thread.start()

    def _run(self):
        while not self._ending.wait(1 / self._rate):
            self._number += 1
            text = f"{self._number} {time.monotonic():.6f}"
            patiently(self._push.publish, NEWS, f"{NEWS} {text}")
            for number in range(self._ids):
                patiently(self._push.send, str(number), f"Id {text}")

    def end(self):
        """Return the last number."""
        self._ending.set()
        self._thread.join()
        return self._number


class Orders(Control):
    """Take the orders above too."""

    numbering = None

    def obey(self, line):
        verb, *words = line.split()
        if verb == "stamp":
            self.server.every(1 / PUSHES, lambda: repr(time.monotonic()))
        elif verb == "number":
            self.numbering = Numbering(self.server, float(words[0]), int(words[1]))
        elif verb == "last":
            self.say("last", self.numbering.end())
        elif verb == "broadcast":
            size, seconds, rate = map(float, words)
            self.drive(verb, broadcasting(self.server, int(size), seconds, rate))
        elif verb == "collect":
            from pushserver.machine import give_back
            gc.collect()
            give_back()
            self.say("collected", len(gc.get_objects()))
        elif verb == "memory":
            self.say("memory", json.dumps(self.server.stats()["memory"]))
        else:
            return super().obey(line)
        return True


def pushing(kind):
    """Return the pushing server of a site, and the site."""
    from pushserver import ChannelRule, PushAPI, PushPlugin, PushTool, __version__
    from tests.support.api_client import KEY

    from .ours import ROOM, Root

    class Plugin(PushPlugin):
        def versions(self):
            return {"pushserver": __version__}

    rules = [ROOM, ChannelRule("news:", history=1000, see_history="anyone")]
    memory = {"max_memory": SMALL_MEMORY} if kind == "both" else {}
    push = Plugin(cherrypy.engine, channels=rules, **memory)
    push.subscribe()
    cherrypy.tools.push = PushTool(push)

    class Site(Root, Page):
        api = PushAPI(push, keys=[KEY])

        @cherrypy.expose
        @cherrypy.tools.push(channels=[NEWS])
        def news(self, Id):
            """Let everybody in."""

    for _ in range(PARTS):
        cherrypy.engine.subscribe("start", lambda: push.publish(FILLED, "x" * PART), priority=90)
    return push, Site()


def serve_tls(chain, key):
    """Have a second port, with TLS; return its server."""
    server = cherrypy._cpserver.Server()
    server.socket_host, server.socket_port, server.thread_pool = "127.0.0.1", 0, 20
    server.instance, server.ssl_module = "pushserver.PushFront", "builtin"
    server.ssl_certificate, server.ssl_private_key = chain, key
    server.subscribe()
    return server


class BothPorts(Orders):
    """Say where the second port is as well: ``tls PORT``."""

    second = None

    def ready(self, port):
        super().ready(port)
        self.say("tls", self.second.httpserver.socket.getsockname()[1])


def main(kind):
    """Serve until told to stop."""
    command = options()
    server, root = (Nothing(), Page()) if kind == "cheroot" else pushing(kind)
    control = Orders(server)
    if kind in ("front", "both"):
        cherrypy.config.update({"server.instance": "pushserver.PushFront"})
    if kind == "both":
        control = BothPorts(server)
        control.second = serve_tls(*command.tls)
    run_site(root, None if kind == "both" else command.tls, control)


if __name__ == "__main__":
    main(sys.argv.pop(1))
