"""What one node asks of all: commands for the connections of every node of a site."""
from __future__ import annotations

from typing import Callable, Hashable, NamedTuple, Protocol, Union

from .publication import Publication


class Broadcast(NamedTuple):
    """Send a message to every connection."""

    publication: Publication


class SendToId(NamedTuple):
    """Send a message to every connection of an Id."""

    Id: str
    publication: Publication


class DisconnectId(NamedTuple):
    """Close every connection of an Id."""

    Id: str
    code: int
    reason: str


class EndSession(NamedTuple):
    """Close the connections that are bound to a session."""

    session: Hashable


class SubscribeId(NamedTuple):
    """Put every connection of an Id into a channel."""

    Id: str
    channel: str


class UnsubscribeId(NamedTuple):
    """Take every connection of an Id out of a channel."""

    Id: str
    channel: str


ControlCommand = Union[Broadcast, SendToId, DisconnectId, EndSession, SubscribeId, UnsubscribeId]

Obey = Callable[[ControlCommand], int]
"""Carries a command out on this node; returns how many connections it concerned."""


class Control(Protocol):
    """Carry commands to every node of a site, this one included.

    What the rest of the package relies on:

    - This node has carried the command out when ``tell`` returns, on the thread that called it.
    - Every other node carries it out once, or not at all if it cannot be reached in time. Commands
      that one thread tells arrive in that order.
    - ``obey`` waits for no client, but to put connections into a channel it calls the broker and
      presence. It is called with no lock held, and never on the loop's thread or on one that their
      answers depend on.

    Any thread may call ``tell`` and ``health``; ``start`` and ``stop`` belong to the server.
    """

    def start(self, obey: Obey) -> None:
        """Begin to carry commands. A second ``start`` may follow ``stop``.

        Args:
            obey: carries one out on this node.
        """

    def stop(self) -> None:
        """Carry nothing more."""

    def health(self) -> str:
        """Return what is wrong, in one line; empty if nothing is."""

    def tell(self, command: ControlCommand) -> int:
        """Have every node carry out a command.

        Returns:
            How many connections it concerned: those of this node, and those of others where that
            is known.
        """


class LocalControl:
    """Carry commands out in this process, the only node; see ``Control``.

    Attributes:
        tell: carries a command out; see ``Control.tell``.
    """

    def __init__(self) -> None:
        self.tell: Obey = _obey_nothing

    def __repr__(self) -> str:
        return "<LocalControl>"

    def start(self, obey: Obey) -> None:
        """See ``Control.start``."""
        self.tell = obey

    def stop(self) -> None:
        """See ``Control.stop``."""
        self.tell = _obey_nothing

    def health(self) -> str:
        """See ``Control.health``."""
        return ""


def _obey_nothing(command: ControlCommand) -> int:
    return 0
