"""What the tests of embedding share: a site in a process of its own, which obeys commands."""
from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pushserver
from tests.support.loopback import free_port
from tests.support.programs import start
from tests.support.raw_client import Client

PACKAGES = str(Path(pushserver.__file__).parents[1])


def echoes(site, path, **options):
    """Tell whether an address echoes."""
    with site.client(path, **options) as client:
        client.text("hello")
        return client.message() == "hello" and client.hang_up() == 1000


SERVERS = [None, "pushserver.PushFront"]
"""CherryPy's own, and that with a front."""


def environment(server):
    """Return the environment of a site that is served by one of these."""
    return {**os.environ, "PYTHONPATH": PACKAGES, **({"SITE_SERVER": server} if server else {})}


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


SITE = r'''
import os, sys, threading
import cherrypy
from pushserver import Connection, PushPlugin, PushTool

push = PushPlugin(cherrypy.engine, drain_timeout=2)
push.subscribe()
cherrypy.tools.push = PushTool(push)


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # in one piece, for all threads


class Echo(Connection):
    def received_message(self, message):
        self.send(str(message))

    def closed(self, code, reason=None):
        say("closed", self.Id, code)


class Site:
    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def websocket(self, Id):
        pass


def obey():
    for line in sys.stdin:
        getattr(cherrypy.engine, line.strip())()
        say("done", line.strip())


cherrypy.config.update({"server.socket_port": int(sys.argv[1]), "environment": "production",
                        "server.instance": os.environ.get("SITE_SERVER"),
                        "server.shutdown_timeout": 1, "log.screen": False})
cherrypy.engine.subscribe("start", lambda: say("ready", os.getpid()), 90)
threading.Thread(target=obey, daemon=True).start()
cherrypy.quickstart(Site())
'''


class EmbeddingSite:
    """A site in a process of its own, which obeys the commands on its standard input."""

    def __init__(self, folder, source=SITE, server=None):
        self.port = free_port()
        script = folder / "site_with_push.py"
        script.write_text(source)
        self.errors = (folder / "stderr").open("w+")
        self.process = start(
            sys.executable, str(script), str(self.port), stdin=subprocess.PIPE, stderr=self.errors,
            cwd=folder, env=environment(server))

    def close(self):
        """End it, whatever it is doing, and release it."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def line(self):
        """Return the next line that the site prints; the test's own timeout ends the wait."""
        line = self.process.stdout.readline().strip()
        assert line, "the site ended: " + self.stderr()
        return line

    def ready(self):
        assert self.line() == f"ready {self.process.pid}"
        assert listens(self.port)

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def connect(self, path):
        """Return a client that has shaken hands."""
        client = Client(("127.0.0.1", self.port))
        client.handshake(path)
        return client

    def client(self, Id="42"):
        """Return a client that has had an answer."""
        client = self.connect(f"/websocket?Id={Id}")
        client.text("hello")
        assert client.message() == "hello"
        return client

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
