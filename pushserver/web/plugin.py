"""The CherryPy plugin that runs the push server with the engine."""
from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Hashable, Iterable

import cherrypy
from cherrypy.process.plugins import SimplePlugin

from ..channels.broker import Broker
from ..channels.rules import ChannelRule
from ..connections.memory_limit import HEADS
from ..errors import InvalidSetting
from ..server import PushServer
from ..settings import Settings
from ..tokens import Tokens
from .front import Fronted
from .http_servers import adapters, end_after_page, leave_to_parent
from .sessions import current_session, new_id, prolong
from .tls import shake_hands_later

logger = logging.getLogger(__name__)

START_PRIORITY = 70
"""After the daemonizer has forked, at 65, and before the HTTP server starts, at 75."""

SERVING_PRIORITY = 80
"""After the HTTP servers have started."""

DRAIN_PRIORITY = 10
"""Clients are told to leave before the HTTP server stops, at 25."""

STOP_PRIORITY = 50
"""After the HTTP server has stopped."""


def subscribed_to(bus: Any) -> list[PushServer]:
    """Return the push plugins that have subscribed to an engine."""
    owners = (getattr(one, "__self__", None) for one in bus.listeners.get("push-broadcast", ()))
    return [owner for owner in owners if isinstance(owner, PushServer)]


class PushPlugin(SimplePlugin, PushServer):  # type: ignore[misc]
    """Run a push server with a CherryPy engine, and push through it.

    It is a ``PushServer``, so any thread can call ``broadcast``, ``send``, ``publish`` and its
    other methods on the plugin. The engine's bus channels ``push-broadcast`` (data), ``push-send``
    (Id, data) and ``push-publish`` (channel, data) do the same. It publishes ``push-opened``
    (connection), ``push-received`` (connection, message) and ``push-closed`` (connection, code,
    reason), on worker threads.

    Args:
        bus: the engine.
        channels: the channels' rules: ``[ChannelRule("news:", history=100)]``.
        tokens: checks clients' tokens: ``Tokens(secret=...)``.
        broker: keeps histories and connects this site's nodes; see ``Broker``. None: in memory.
        settings: fields of ``Settings`` by keyword: ``PushPlugin(engine, ping_interval=10)``.

    Raises:
        InvalidSetting: a setting has an invalid value.
    """

    def __init__(self, bus: Any, *, channels: Iterable[ChannelRule] = (),
                 tokens: Tokens | None = None, broker: Broker | None = None,
                 **settings: Any) -> None:
        SimplePlugin.__init__(self, bus)
        PushServer.__init__(self, Settings(**settings), channels=channels, tokens=tokens,
                            broker=broker, events=BusEvents(bus), on_death=self._end_engine)
        self._hook = f"hooks.on_end_resource.pushserver-{id(self)}"   # in CherryPy's configuration
        self._listeners: tuple[tuple[str, Callable[..., object], int | None], ...] = (
            ("start", self.start, START_PRIORITY),
            ("start", self._serving, SERVING_PRIORITY),
            ("stop", self.drain, DRAIN_PRIORITY),
            ("stop", self.stop, STOP_PRIORITY),
            ("push-broadcast", self.broadcast, None),
            ("push-send", self.send, None),
            ("push-publish", self.publish, None))

    def subscribe(self) -> None:
        """Join the engine: start and stop with it, and listen to its bus channels."""
        if any(other is not self for other in subscribed_to(self.bus)):
            self.bus.log("Another push plugin has subscribed to this engine: each has connections "
                         "of its own. Perhaps a module was imported twice, as the program and by "
                         "its name", level=logging.WARNING)
        for channel, listener, priority in self._listeners:
            self.bus.subscribe(channel, listener, priority)

    def unsubscribe(self) -> None:
        """Leave the engine."""
        for channel, listener, _ in self._listeners:
            self.bus.unsubscribe(channel, listener)

    def start(self) -> None:
        """Start the threads; the engine calls this before its HTTP server starts."""
        PushServer.start(self)
        self.bus.log("Push server started")

    def _serving(self) -> None:
        """See to it that no client can stop the HTTP servers from accepting others."""
        servers = [adapter.httpserver for adapter in adapters(self.bus)]
        for one in servers:
            if not isinstance(one, Fronted):    # it does that itself
                shake_hands_later(one)
        self._memory.hold(HEADS, *[one for one in servers if hasattr(one, "held_bytes")])

    def stop(self) -> None:
        """Close all connections; the engine calls this after its HTTP server has stopped."""
        cherrypy.config.pop(self._hook, None)
        PushServer.stop(self)
        end_after_page()
        if not self._is_elsewhere:
            self.bus.log("Push server stopped")

    def bind_session(self, session: Hashable = None, *, expires: bool = False) -> None:
        """Bind the connection that this request becomes to a session; for page handlers.

        ``end_session`` then closes it, also if the session has got a new id: call that where users
        log out.

        Args:
            session: the session; None: CherryPy's, which must be enabled.
            expires: also close it (3005) when CherryPy's session expires, which each request of
                the session puts off, or when it is deleted.

        Raises:
            InvalidSetting: there is no session, or no request, or not CherryPy's session.
        """
        request = cherrypy.serving.request
        if not hasattr(request, "push_data"):
            raise InvalidSetting("call bind_session in the page handler of a WebSocket address")
        if session is not None:
            if expires:
                raise InvalidSetting("expires is for CherryPy's sessions: leave session out, or "
                                     "call end_session when your session expires")
            request.push_session = session
            return
        current = current_session()
        request.push_session, request.push_session_expires = current.id, expires
        if expires:
            prolong(current)
        cherrypy.config[self._hook] = cherrypy._cprequest.Hook(self._follow_session, failsafe=True)

    def end_session(self, session: Hashable = None) -> int:
        """Begin to close the connections bound to a session; return how many there were.

        A handshake in progress is refused.

        Args:
            session: the session, for CherryPy's its id; None: CherryPy's session of this request.

        Raises:
            InvalidSetting: there is no session.
        """
        if session is None:
            session = current_session().id
            self._follow_session()  # this request may have given it a new id
        return PushServer.end_session(self, session)

    def _follow_session(self) -> None:
        """Note that a request has given its session a new id, before its answer is sent."""
        ids = new_id()
        if ids is not None:
            try:
                self._rename_session(*ids)
            except Exception:
                logger.exception("a session has a new id, which could not be told to all nodes")

    def _abandon(self) -> None:
        PushServer._abandon(self)
        if self._is_elsewhere:
            leave_to_parent(self.bus)

    def _end_engine(self, error: BaseException) -> None:
        """Stop the engine, on a thread of its own, which survives that."""
        self.bus.log(f"Push server died, stopping the engine: {error!r}", level=logging.ERROR,
                     traceback=True)
        threading.Thread(target=self.bus.exit, name="pushserver-exit").start()


class BusEvents:
    """Publish what happens to connections on the engine's bus."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus

    def opened(self, connection: Any) -> None:
        """See ``Events``."""
        self._publish("push-opened", connection)

    def received(self, connection: Any, message: Any) -> None:
        """See ``Events``."""
        self._publish("push-received", connection, message)

    def closed(self, connection: Any, code: int, reason: str) -> None:
        """See ``Events``."""
        self._publish("push-closed", connection, code, reason)

    def _publish(self, channel: str, *args: object) -> None:
        if not self._bus.listeners.get(channel):
            return
        try:
            self._bus.publish(channel, *args)
        except BaseException:  # the bus has logged it; a worker must not act on a SystemExit
            self._bus.log(f"A listener of {channel} failed")
