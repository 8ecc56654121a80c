"""One client of Centrifugo's protocol: what a site subclasses."""
from __future__ import annotations

from typing import Any, Iterable, cast

from ws4py.messaging import Message

from ..channels.presence import Info
from ..channels.publication import Position, Publication
from ..channels.rules import ChannelRule, Who, checked_channel
from ..connections.connection import Connection
from ..connections.handle import Handle
from ..errors import ConnectionClosed
from ..server import PushServer
from ..wire.payloads import Data
from . import errors
from .commands import Commands
from .errors import CloseConnection
from .json_codec import JSON_NOT_CONNECTED
from .session import Session
from .subscriptions import Subscriptions


class CentrifugeConnection(Connection):
    """One client that speaks Centrifugo's JSON protocol: subclass it, and pass the class to the
    tool as ``handler_cls`` with ``protocol="centrifuge"``.

    Commands run on a worker thread, one at a time and in order, as do the methods below that a
    site may define: ``connecting``, ``rpc``, ``message`` and the ``allows_`` ones. They may raise
    ``CommandError`` to answer with an error of the site's own, or ``CloseConnection``. Any other
    exception is logged and answered with error 100.

    Attributes:
        anonymous: let clients connect with neither a token nor ``?Id=``.
        user_id: who the user is: the token's ``sub`` or the Id; empty: anonymous.
        name: what the client calls itself.
    """

    codec = JSON_NOT_CONNECTED
    refused_subprotocols = {
        "centrifuge-protobuf": "this server speaks Centrifugo's protocol in JSON only: use a "
                               "client that does, in its JSON mode"}
    has_heartbeats = False
    needs_id = False
    expires_itself = True
    anonymous = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user_id = ""
        self.name = ""
        self._session = Session(self, JSON_NOT_CONNECTED)
        self._subscriptions = Subscriptions(self._session)
        self._commands = Commands(self._session, self._subscriptions)

    def attach(self, handle: Handle) -> None:
        """See ``Connection``."""
        super().attach(handle)
        self._session.attach(handle)

    @property
    def connected(self) -> bool:
        """Tell whether its ``connect`` has been answered."""
        return self._session.connected

    # For sites

    def connecting(self, data: Any) -> Any:
        """Handle a client that connects; return data for it, or None. For subclasses.

        ``self.subscribe(channel)`` here subscribes it from the start, and ``self.info`` is what
        others see of it.

        Args:
            data: what the client sent with ``connect``.
        """

    def rpc(self, method: str, data: Any) -> Any:
        """Answer a call; the result is sent to the client as JSON. For subclasses."""
        raise errors.not_available()

    def message(self, data: Any) -> None:
        """Handle what a client sends without a channel. For subclasses."""
        raise CloseConnection(errors.UNSUPPORTED)

    def allows_subscribe(self, channel: str) -> bool:
        """Tell whether the client may subscribe without a token. By default, the rule decides."""
        return self.is_among(self._rule(channel).subscribe, channel)

    def allows_publish(self, channel: str, data: Any) -> bool:
        """Tell whether the client may publish. By default, the channel's rule decides."""
        return self.is_among(self._rule(channel).publish, channel)

    def allows_presence(self, channel: str) -> bool:
        """Tell whether the client may ask who is in a channel. By default, the rule decides."""
        return self.is_among(self._rule(channel).see_presence, channel)

    def allows_history(self, channel: str) -> bool:
        """Tell whether the client may read a channel's history. By default, the rule decides."""
        return self.is_among(self._rule(channel).see_history, channel)

    def _rule(self, channel: str) -> ChannelRule:
        handle = self._handle
        return self.handle.node.rule(channel) if handle is None else handle.node.rule(channel)

    def is_among(self, who: Who, channel: str) -> bool:
        """Tell whether this client is one of those that a rule names."""
        if callable(who):
            return bool(who(self, channel))
        if who == "subscribers":
            return self.handle.is_in(channel)
        return who == "anyone" or who == "users" and bool(self.user_id)

    # What a ``Connection`` has

    @property
    def server(self) -> PushServer:
        """Return the push server.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        return cast(PushServer, self.handle.context.server)

    def presence_info(self) -> Info:
        """See ``Connection``."""
        return Info(self.client, self.user_id, self.info)

    def send(self, payload: Data, binary: bool = False) -> None:
        """Queue one message that belongs to no channel; see ``Connection``."""
        if isinstance(payload, Message):
            payload = bytes(payload.data).decode("utf-8", "replace")
        made = Publication.of(payload)
        handle = self._handle
        if handle is not None:
            handle.check_size(made.size)
        contents = self._session.codec.connected.message(made)
        if handle is None or contents is None or not self.connected or not handle.put(*contents):
            raise ConnectionClosed(f"connection of Id {self.Id!r} is not open: nothing was sent")
        handle.wake()

    def subscribe(self, channel: str, *, since: Position | None = None, info: Any = None,
                  data: Any = None) -> bool:
        """Subscribe the client to a channel: it is told so, and receives what is published there.

        The other arguments are for a client that is already connected.

        Args:
            channel: 1 to 255 characters.
            since: the last position it has seen; it gets what has come since, if that is kept.
            info: what others in the channel see of it.
            data: what the client is told with the subscription.

        Raises:
            InvalidSetting: this cannot be a channel's name.
            InvalidData: JSON cannot hold ``info`` or ``data``.
            MessageTooLarge: they have more than ``max_outbox`` bytes.
        """
        checked_channel(channel)
        if self._handle is None:
            return False
        return self._subscriptions.demand(channel, since, info, data)

    def unsubscribe(self, channel: str) -> bool:
        """Unsubscribe the client from a channel, for good; it is told so."""
        checked_channel(channel)
        if self._handle is None:
            return False
        return self._subscriptions.push_out(channel, *errors.UNSUBSCRIBED_BY_SERVER)

    def channel_lost(self, channel: str) -> None:
        """See ``Connection``."""
        self._subscriptions.lost(channel)

    def opened(self) -> None:
        """Start the time limit for ``connect``. A subclass that overrides this must call it."""
        handle = self.handle
        self.keep(handle.later(handle.context.settings.connect_timeout,
                               lambda: self._session.end(errors.STALE)))

    def detach(self) -> None:
        """See ``Connection``."""
        super().detach()
        self._session.detach()
        self._subscriptions.cancel()

    def starts_in(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Keep the channels that the tool names until the client has connected."""
        self._subscriptions.add_at_start(channels)
        return ()

    def received_message(self, message: Any) -> None:
        """Run the commands of one message; see ``rpc`` and the others for what a site defines."""
        self._commands.receive(message)
