"""Who is in which channel: what is told of them, and the interface to what keeps it."""
from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Info(NamedTuple):
    """One client as others in a channel see it.

    Attributes:
        client: the connection's name.
        user: its user; empty if unknown.
        connection: what the site tells others about the connection, as JSON data; None: nothing.
        channel: what it tells them in this channel; None: nothing.
    """

    client: str
    user: str
    connection: Any = None
    channel: Any = None


class Stats(NamedTuple):
    """How many clients and users are in a channel.

    Attributes:
        clients: connections.
        users: distinct users; all clients whose user is unknown count as one.
    """

    clients: int
    users: int


class Presence(Protocol):
    """Keep who is in a channel, over all nodes of a site.

    A client that vanishes stays present for a while: it lingers. If a client of the same user
    joins meanwhile, it takes over: nobody is said to have left or joined.

    What the rest of the package relies on:

    - Somebody for whom ``join`` has returned is in what ``of`` and ``stats`` return, on any node,
      until ``leave`` or the end of the linger.
    - Of several clients that take the place of one, ``join`` returns False to exactly one.
    - A client that ``leave`` or ``due`` has returned is returned by neither again.
    - Clients of a node that has died are gone from every answer within a bounded time.

    Any thread may call any method, with no lock held and never on the loop's thread: each may wait
    for a network, for a bounded time, and raise an error if it cannot be reached. ``start`` and
    ``stop`` belong to the server.
    """

    def start(self) -> None:
        """Begin. A second ``start`` may follow ``stop``."""

    def stop(self) -> None:
        """End what ``start`` has begun."""

    def health(self) -> str:
        """Return what is wrong, in one line; empty if nothing is."""

    def join(self, channel: str, info: Info) -> bool:
        """Add a client to a channel; tell whether to announce it to the others."""

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """Remove a client from a channel, at once or after a while.

        Args:
            channel: the channel's name.
            client: the connection's name.
            linger: seconds for which it stays present, if its user is known.

        Returns:
            The client, if the others should be told now that it has left. If it lingers, ``due``
            returns it later, unless another client takes over.
        """

    def lingers(self, channel: str, client: str) -> bool:
        """Tell whether a client has vanished but still counts as present."""

    def due(self) -> list[tuple[str, Info]]:
        """Remove this node's clients whose time is over; return them, each with its channel."""

    def next_due(self) -> float | None:
        """Return the seconds until ``due`` may find a client, or None if none lingers."""

    def of(self, channel: str) -> dict[str, Info]:
        """Return who is in a channel, by client."""

    def stats(self, channel: str) -> Stats:
        """Return how many clients and users are in a channel."""

    def channels(self, client: str) -> list[str]:
        """Return the channels that a client of this node is in."""
