"""Commands from one node for the connections of every node of a site."""
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
    """Close the connections bound to a session."""

    session: Hashable


class RenameSession(NamedTuple):
    """Bind the connections of a session to it under its new id."""

    old: Hashable
    new: Hashable


class SubscribeId(NamedTuple):
    """Subscribe every connection of an Id to a channel."""

    Id: str
    channel: str


class UnsubscribeId(NamedTuple):
    """Unsubscribe every connection of an Id from a channel."""

    Id: str
    channel: str


ControlCommand = Union[Broadcast, SendToId, DisconnectId, EndSession, RenameSession, SubscribeId,
                       UnsubscribeId]

Obey = Callable[[ControlCommand], int]
"""Carries out a command on this node; returns how many connections it affected."""


class Control(Protocol):
    """Carry commands to every node of a site, including this one.

    What the rest of the package relies on:

    - By the time ``tell`` returns, this node has carried out the command, on the calling thread.
    - Every other node carries it out once, or not at all if it cannot be reached in time. Commands
      from one thread arrive in the order in which it called ``tell``.
    - ``obey`` waits for no client, but it calls the broker and presence to put connections into a
      channel. Call it with no lock held, and neither on the loop's thread nor on one that their
      answers depend on.

    Any thread may call ``tell`` and ``health``; ``start`` and ``stop`` belong to the server.
    """

    def start(self, obey: Obey) -> None:
        """Begin to carry commands. A second ``start`` may follow ``stop``.

        Args:
            obey: carries out a command on this node.
        """

    def stop(self) -> None:
        """Stop carrying commands."""

    def health(self) -> str:
        """Return what is wrong, in one line; empty if nothing is."""

    def tell(self, command: ControlCommand) -> int:
        """Have every node carry out a command.

        Returns:
            How many connections it affected: those of this node, plus those of others where that
            is known.
        """


class LocalControl:
    """Carry commands out in this process, the only node; see ``Control``.

    Attributes:
        tell: carries out a command; see ``Control.tell``.
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
