"""What commands do to the connections of this node."""
from __future__ import annotations

from typing import Any, Callable, Iterable, cast

from ..channels.control import (Broadcast, ControlCommand, DisconnectId, EndSession,
                                RenameSession, SendToId, SubscribeId, UnsubscribeId)
from ..channels.delivery import Delivery
from ..channels.hub import Groups, Hub, grouped
from ..channels.presence import Info
from ..channels.publication import Publication
from ..wire.disconnects import BY_SITE, Disconnect
from .connection import Connection
from .endings import Endings
from .handle import end
from .link import Link


ENDING = (DisconnectId, EndSession, RenameSession, UnsubscribeId)
"""Commands that also count for a connection whose handshake was in progress."""


def ending_of(command: ControlCommand, connection: Connection) -> Disconnect | None:
    """Return how a command ends a connection; None: it does not.

    If the command renames the connection's session, note that.
    """
    if isinstance(command, DisconnectId) and command.Id == connection.Id:
        return Disconnect(command.code, command.reason)
    if isinstance(command, EndSession) and command.session == connection.session:
        return BY_SITE
    if isinstance(command, RenameSession) and command.old == connection.session:
        connection.session = command.new
    return None


class LocalConnections:
    """Carry out commands on the connections of this node; see ``Control``. Any thread may call it.

    Args:
        hub: the connections.
        delivery: queues bytes for connections.
        endings: notes what ends rights, for connections that are yet to come.
    """

    def __init__(self, hub: Hub[Link], delivery: Delivery, endings: Endings) -> None:
        self._hub = hub
        self._endings = endings
        self._delivery = delivery
        self._how: dict[type, Callable[[Any], int]] = {
            Broadcast: self._broadcast, SendToId: self._send, DisconnectId: self._disconnect,
            EndSession: self._of_session, RenameSession: self._of_session,
            SubscribeId: self._subscribe,
            UnsubscribeId: self._unsubscribe}

    def __repr__(self) -> str:
        return f"<LocalConnections of {self._hub!r}>"

    def obey(self, command: ControlCommand) -> int:
        """Carry out a command; return how many connections it affected."""
        if isinstance(command, ENDING):
            self._endings.add(command)
        return self._how[type(command)](command)

    def of_id(self, Id: str) -> list[Connection]:
        """Return the connections of an Id, the oldest first."""
        return [cast(Connection, link.connection) for link in self._hub.of_id(Id)]

    def everyone(self) -> list[Connection]:
        """Return all connections, the oldest first."""
        return [cast(Connection, link.connection) for link in self._hub.everyone()]

    def infos(self, channel: str) -> list[Info]:
        """Return what others see of the connections in a channel."""
        return [cast(Connection, link.connection).presence_info()
                for link in self._hub.members(channel)]

    def _broadcast(self, command: Broadcast) -> int:
        groups = self._hub.everyone_grouped()
        self._deliver(groups, command.publication)
        return sum(len(links) for _, links in groups)

    def _deliver(self, groups: Groups[Link], publication: Publication) -> None:
        for encoding, links in groups:
            data = encoding.message(publication)
            if data is not None:
                self._delivery.put(links, data)
        self._delivery.wake()

    def _send(self, command: SendToId) -> int:
        links = self._hub.of_id(command.Id)
        if len(links) == 1:     # as most have one: nothing to group
            data = links[0].encoding.message(command.publication)
            if data is not None:
                self._delivery.put(links, data)
                self._delivery.wake()
        elif links:
            self._deliver(grouped(links), command.publication)
        return len(links)

    def _disconnect(self, command: DisconnectId) -> int:
        return self._end(self._hub.of_id(command.Id), command)

    def _of_session(self, command: EndSession | RenameSession) -> int:
        return self._end(self._hub.everyone(), command)

    def _end(self, links: Iterable[Link], command: ControlCommand) -> int:
        """End the rights of those whom a command means; count those that had not left."""
        return sum(end(link, ending) for link in (*links, *self._hub.leaving())
                   if (ending := ending_of(command, cast(Connection, link.connection))))

    def _subscribe(self, command: SubscribeId) -> int:
        return sum(bool(one.subscribe(command.channel)) for one in self.of_id(command.Id))

    def _unsubscribe(self, command: UnsubscribeId) -> int:
        return sum(bool(one.unsubscribe(command.channel)) for one in self.of_id(command.Id))
