"""Sites on a real socket, with the handlers that most tests use."""
from __future__ import annotations

import contextlib
import socket
import threading

import cherrypy
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server as WSGIServer
from cherrypy._cptree import Tree
from cherrypy.process.wspbus import Bus

from pushserver import Connection, PushPlugin, PushServer, PushTool
from tests.support.raw_client import Client
from tests.support.waiting import PATIENCE, wait_until

cherrypy.tools.push = PushTool(PushServer())  # so that @cherrypy.tools.push() works in a class body
cherrypy.config.update({"log.screen": False, "environment": "test_suite",
                        "checker.on": False, "engine.autoreload.on": False})


class Echo(Connection):
    """Send each message back as it came."""

    def received_message(self, message):
        self.send(message.data, message.is_binary)


class Recorder(Connection):
    """Record what happens, for a test to check; all connections of a test share ``log``."""

    log: list

    def opened(self):
        self.log.append(("opened", self.Id))

    def received_message(self, message):
        self.log.append(("received", self.Id, message.data))

    def closed(self, code, reason=None):
        self.log.append(("closed", self.Id, code, reason))


def recorder():
    """Return a fresh ``Recorder`` class with a log of its own."""
    return type("Recorder", (Recorder,), {"log": []})


class Root:
    """The site of most tests: a push address, an echo and a page."""

    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id):
        """Accept everybody."""

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def echo(self, Id):
        """Accept everybody."""

    @cherrypy.expose
    def index(self):
        return "page"


class Site:
    """A running site: ``push`` is its plugin, ``port`` the port it listens on."""

    def __init__(self, bus, push, server, host):
        self.bus = bus
        self.push = push
        self.server = server
        self.host = host

    @property
    def port(self):
        return self.server.socket.getsockname()[1]

    @property
    def address(self):
        return self.server.bind_addr if isinstance(self.server.bind_addr, str) \
            else (self.host, self.port)

    def url(self, path, scheme="ws"):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{path}"

    def socket(self, **options):
        """Return a ``Client`` that has not shaken hands yet."""
        return Client(self.address, **options)

    def client(self, path="/websocket?Id=42", *, tls=None, timeout=PATIENCE, receive_buffer=None,
               **options):
        """Return a connected ``Client``."""
        client = self.socket(tls=tls, timeout=timeout, receive_buffer=receive_buffer)
        try:
            client.handshake(path, **options)
        except BaseException:
            client.close()
            raise
        return client


@contextlib.contextmanager
def running(server):
    """Run a prepared cheroot server; yield once all its threads have started.

    ``serve`` starts one more thread at its beginning: a list of the threads made before that would
    later make it look new.
    """
    work, threads = server._serve_unservicable, []

    def noted():
        threads.append(threading.current_thread())
        work()

    server._serve_unservicable = noted
    threads.append(threading.Thread(target=server.serve, name="test-http"))
    threads[0].start()
    try:
        wait_until(lambda: len(threads) == 2, what="cheroot's thread that refuses connections")
        yield
    finally:
        server.stop()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def served(root, *, host="127.0.0.1", config=None, script_name="", bind=None, tls=None,
           threads=10, bus=None, buffers=None):
    """Serve a site, or a tree of several, on a free port with cheroot, as CherryPy does."""
    app = root if isinstance(root, Tree) else cherrypy.Application(root, script_name, config)
    server = WSGIServer(bind or (host, 0), app, numthreads=threads, request_queue_size=1024)
    server.expiration_interval = 0.02  # how often cheroot checks whether to stop
    server.timeout = 5
    if tls:
        server.ssl_adapter = BuiltinSSLAdapter(*tls)
    server.prepare()
    if buffers:  # the sockets that it accepts inherit this
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
    with running(server):
        try:
            yield server
        finally:
            if bus is not None:
                bus.state = bus.states.STOPPING
                bus.publish("stop")
                bus.state = bus.states.STOPPED


@contextlib.contextmanager
def running_site(root=None, *, settings=None, plugin=None, **options):
    """Serve a site with a started push plugin, to which ``cherrypy.tools.push`` belongs."""
    bus = Bus()
    push = PushPlugin(bus, **(plugin or {}), **(settings or {}))
    push.subscribe()
    before = cherrypy.tools.push
    cherrypy.tools.push = PushTool(push)
    bus.publish("start")
    bus.state = bus.states.STARTED
    try:
        with served(root or Root(), bus=bus, **options) as server:
            yield Site(bus, push, server, options.get("host", "127.0.0.1"))
    finally:
        cherrypy.tools.push = before


def entered(site, *channels, count=1):
    """Wait until ``count`` clients are in each channel."""
    wait_until(lambda: all(site.push.channels().get(channel, 0) == count for channel in channels))


def lose(site, Id="42"):
    """End the only connection of an Id in a way that lets its client reconnect."""
    before, = site.push.connections(Id)
    site.push.disconnect(Id, code=3001, reason="try again")
    wait_until(lambda: before not in site.push.connections(Id))
