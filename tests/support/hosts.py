"""Two hosts with one interface, so that the same test runs on pushserver and on plain ws4py.

A test that fails on ``PlainHost`` and passes on ``OurHost`` shows what pushserver adds.
"""
from __future__ import annotations

import contextlib

import cherrypy
from cherrypy.process.plugins import Monitor
from cherrypy.process.wspbus import Bus
from ws4py.manager import SelectPoller, WebSocketManager
from ws4py.server.cherrypyserver import WebSocketPlugin, WebSocketTool
from ws4py.websocket import WebSocket

from pushserver import Connection

from tests.support.site import Site, running_site, served
from tests.support.waiting import PATIENCE

PLAIN_PATIENCE = 1.5
"""Seconds after which a test on plain ws4py, where much fails, assumes that nothing happens."""


class Host:
    """What both hosts share; a test makes its handlers and pages with it.

    Attributes:
        base: the class of handlers.
        patience: seconds that a client waits for something.
        site: the running ``Site``.
    """

    base: type
    patience: float
    site: Site

    def client(self, path="/websocket?Id=42", **options):
        """Return a connected client that waits for ``patience`` seconds."""
        return self.site.client(path, timeout=self.patience, **options)

    def socket(self, **options):
        """Return a client that has not shaken hands."""
        return self.site.socket(timeout=self.patience, **options)

    def echo(self):
        """Return a handler class that sends back what it receives."""
        def received_message(handler, message):
            handler.send(message.data, message.is_binary)
        return type("Echo", (self.base,), {"received_message": received_message})

    def recorder(self):
        """Return a handler class that records in its ``log`` what happens to it."""
        log = []
        return type("Recorder", (self.base,), {
            "log": log,
            "opened": lambda handler: log.append(("opened",)),
            "received_message": lambda handler, message: log.append(("received", message.data)),
            "closed": lambda handler, code, reason=None: log.append(("closed", code)),
        })

    def stop(self):
        """Stop the engine's services."""
        self.site.bus.state = self.site.bus.states.STOPPING
        self.site.bus.publish("stop")
        self.site.bus.state = self.site.bus.states.STOPPED

    def start(self):
        """Start the engine's services."""
        self.site.bus.state = self.site.bus.states.STARTING
        self.site.bus.publish("start")
        self.site.bus.state = self.site.bus.states.STARTED


class OurHost(Host):
    """pushserver, embedded as the README says."""

    base = Connection
    patience = PATIENCE

    def address(self, handler_cls=Connection, *, subprotocols=(), extensions=()):
        """Return a decorator that turns a page handler into a WebSocket address.

        Args:
            handler_cls: a subclass of ``base``.
            subprotocols: those that the site speaks.
            extensions: ignored; ws4py lets a site name some although it has none.
        """
        def decorate(page):
            options = {"handler_cls": handler_cls, "subprotocols": list(subprotocols)}
            return cherrypy.expose(cherrypy.tools.push(**options)(page))
        return decorate

    @contextlib.contextmanager
    def running(self, root, *, heartbeat=None, select=False, **options):
        """Serve a site; options as for ``served``.

        Args:
            root: the site.
            heartbeat: seconds between pings.
            select: use the poller of a system without epoll; here, ``selectors`` chooses it.
        """
        settings = {} if heartbeat is None else {"ping_interval": heartbeat,
                                                 "pong_timeout": heartbeat}
        with running_site(root, settings=settings, **options) as self.site:
            yield self.site

    def broadcast(self, data):
        """Send to every connection."""
        self.site.push.broadcast(data)

    def count(self):
        """Return the number of connections."""
        return len(self.site.push)

    def every(self, seconds, make):
        """Broadcast what ``make`` returns at an interval."""
        self.site.push.every(seconds, make)

    def kill(self):
        """Make an error end the thread that serves the sockets."""
        self.site.push._lifecycle.runtime.loop.call(lambda: 1 / 0)


class PlainHost(Host):
    """ws4py's own plugin and tool, with a manager that cannot hang the test run."""

    base = WebSocket
    patience = PLAIN_PATIENCE

    def address(self, handler_cls=WebSocket, *, subprotocols=(), extensions=()):
        """See ``OurHost.address``."""
        def decorate(page):
            options = {"handler_cls": handler_cls, "protocols": list(subprotocols),
                       "extensions": list(extensions)}
            return cherrypy.expose(cherrypy.tools.websocket(**options)(page))
        return decorate

    @contextlib.contextmanager
    def running(self, root, *, heartbeat=None, select=False, config=None, **options):
        """See ``OurHost.running``."""
        bus = Bus()
        self.plugin = WebSocketPlugin(bus)
        if select:
            self.manager.poller.release()
            self.plugin.manager = WebSocketManager(SelectPoller())
        self.manager.daemon = True
        self.plugin.subscribe()
        cherrypy.engine.subscribe("handle-websocket", self.plugin.handle)
        config = {"/": {}, **(config or {})}
        if heartbeat is not None:
            config["/"]["tools.websocket.heartbeat_freq"] = heartbeat
        bus.publish("start")
        bus.state = bus.states.STARTED
        try:
            with served(root, config=config, **options) as server:
                self.site = Site(bus, self.plugin, server, options.get("host", "127.0.0.1"))
                yield self.site
        finally:
            cherrypy.engine.unsubscribe("handle-websocket", self.plugin.handle)
            self._clean_up()

    def _clean_up(self):
        """End what a failed test has left behind, as far as ws4py allows."""
        handlers = list(self.manager)
        self.manager.running = False
        for handler in handlers:
            handler.server_terminated = True
            handler.close_connection()
        if self.manager.ident:
            self.manager.join(PLAIN_PATIENCE)
        self.manager.poller.release()

    @property
    def manager(self):
        return self.plugin.manager

    def broadcast(self, data):
        """See ``OurHost.broadcast``."""
        self.site.bus.publish("websocket-broadcast", data)

    def count(self):
        """See ``OurHost.count``."""
        return len(self.manager)

    def every(self, seconds, make):
        """See ``OurHost.every``; this is what CherryPy offers for it."""
        monitor = Monitor(self.site.bus, lambda: self.broadcast(make()), seconds)
        monitor.subscribe()
        monitor.start()

    def kill(self):
        """See ``OurHost.kill``."""
        self.manager.poller.poll = lambda: 1 / 0


cherrypy.tools.websocket = WebSocketTool()
