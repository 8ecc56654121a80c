"""Who is in which channel: what is told of them, and the interface to what keeps it."""
from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Info(NamedTuple):
    """One client as others in a channel see it.

    Attributes:
        client: names the connection.
        user: its user, empty if that is not known.
        connection: what the site tells of the connection, for JSON; None: nothing.
        channel: what the site tells of it in this channel; None: nothing.
    """

    client: str
    user: str
    connection: Any = None
    channel: Any = None


class Stats(NamedTuple):
    """How many are in a channel.

    Attributes:
        clients: connections.
        users: different users among them; all whose user is not known count as one.
    """

    clients: int
    users: int


class Presence(Protocol):
    """Keep who is in a channel, over all nodes of a site.

    A client that vanishes is still there for a while, its linger. If a client of the same user
    comes meanwhile, it takes the place: nobody left and nobody joined.

    What the rest of the package relies on:

    - Somebody for whom ``join`` has returned is in what ``of`` and ``stats`` return, on any node,
      until ``leave`` or the end of the linger.
    - Of several clients that take the place of one, ``join`` returns False to exactly one.
    - A client that ``leave`` or ``due`` has returned is returned by neither again.
    - Clients of a node that has died are gone from every answer within a bounded time.

    Any thread may call any method, with no lock held and never on the loop's thread: each may wait
    for a network, for a bounded time. ``start`` and ``stop`` belong to the server.
    """

    def start(self) -> None:
        """Begin. A second ``start`` may follow ``stop``."""

    def stop(self) -> None:
        """End what ``start`` has begun."""

    def health(self) -> str:
        """Return what is wrong, in one line; empty if nothing is."""

    def join(self, channel: str, info: Info) -> bool:
        """Put a client into a channel; tell whether the others should hear of it."""

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """Take a client out of a channel, at once or after ``linger`` seconds.

        Returns:
            The client, if the others should hear now that it has left. After a while ``due``
            returns it, unless somebody has taken its place.
        """

    def lingers(self, channel: str, client: str) -> bool:
        """Tell whether a client has vanished and still counts as there."""

    def due(self) -> list[tuple[str, Info]]:
        """Take out those of this node whose time is over; return them with their channels."""

    def next_due(self) -> float | None:
        """Return the seconds until ``due`` may find somebody, or None if nobody lingers."""

    def of(self, channel: str) -> dict[str, Info]:
        """Return who is in a channel, by client."""

    def stats(self, channel: str) -> Stats:
        """Return how many are in a channel."""

    def channels(self, client: str) -> list[str]:
        """Return the channels that a client of this node is in."""
