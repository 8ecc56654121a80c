"""Who is in which channel: what others see of them, and the interface of what tracks them."""
from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Info(NamedTuple):
    """One client as others in a channel see it.

    Attributes:
        client: the connection's name.
        user: its user; empty if unknown.
        connection: what the site tells others about the connection, for JSON; None: nothing.
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
    """Track who is in a channel, across all nodes of a site.

    Joins and leaves are announced of users: a user is in a channel from the first of its clients
    to the last, so that one who is back before its loss was noticed neither joins nor leaves. A
    client whose user is unknown counts as a user of its own. A user's last client, if it vanishes,
    stays present for a while: it lingers. If another client of the user joins in that time, it
    takes over: no leave or join is announced.

    What the rest of the package relies on:

    - Once ``join`` has returned for a client, ``of``, ``stats`` and ``still`` include it, on any
      node, until ``leave`` or the end of the linger.
    - Of a user's clients that join at once, ``join`` returns True to exactly one; of those that
      leave at once, exactly one is returned, by ``leave`` or ``due``.
    - A client that ``leave`` or ``due`` has returned is not returned by either again.
    - Clients of a node that has died disappear from every result within a bounded time.

    Any thread may call any method, with no lock held and never on the loop's thread: each may wait
    for a network, for a bounded time, and raise an error if it cannot be reached. ``start`` and
    ``stop`` belong to the server.
    """

    def start(self) -> None:
        """Begin. A second ``start`` may follow ``stop``."""

    def stop(self) -> None:
        """End what ``start`` began."""

    def health(self) -> str:
        """Return what is wrong, in one line; empty if nothing is."""

    @property
    def held_bytes(self) -> int:
        """Return about how many bytes of this process it takes."""

    def join(self, channel: str, info: Info) -> bool:
        """Add a client to a channel; tell whether its user was not there before.

        That is what the others should be told. It is false for a client that joins again.
        """

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """Remove a client from a channel, at once or after a while.

        Args:
            channel: the channel's name.
            client: the connection's name.
            linger: seconds for which it stays present, if it is the last of a known user.

        Returns:
            The client, if it was the user's last and the others should now be told. If it
            lingers, ``due`` returns it later, unless another client takes over.
        """

    def lingers(self, channel: str, client: str) -> bool:
        """Tell whether a client has vanished but still counts as present."""

    def still(self, channel: str, info: Info) -> Info | None:
        """Return a client of the same user that is in the channel, lingering or not.

        For an unknown user this is the client itself. None: there is none.
        """

    def due(self) -> list[tuple[str, Info]]:
        """Remove this node's clients that have lingered long enough; return (channel, client)."""

    def next_due(self) -> float | None:
        """Return the seconds until ``due`` may find a client, or None if none lingers."""

    def of(self, channel: str) -> dict[str, Info]:
        """Return who is in a channel, by client name. Callers do not change it.

        It may be the same object again as long as nothing has changed: what was made of it is then
        used again, see ``MadeOnce``. One made anew each time is right too.
        """

    def stats(self, channel: str) -> Stats:
        """Return how many clients and users are in a channel; cheap, however many there are."""

    def channels(self, client: str) -> list[str]:
        """Return the channels that a client of this node is in."""
