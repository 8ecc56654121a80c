"""Where publications pass on their way from a site's threads to its connections: the interface."""
from __future__ import annotations

from typing import Protocol

from .control import Control
from .presence import Presence
from .publication import Limits, Page, Position, Publication


class Receiver(Protocol):
    """The node that a broker delivers to."""

    def deliver(self, channel: str, publication: Publication, epoch: str) -> None:
        """Queue one publication for this node's subscribers.

        It never waits, makes no system call and does not call the application, so the broker may
        hold a lock. ``wake`` has to follow, once for any number of publications.

        Args:
            channel: its name.
            publication: with its offset, 0 in a channel that remembers nothing.
            epoch: of the channel's history; empty for a channel that remembers nothing.
        """

    def wake(self) -> None:
        """Have what was delivered written. Not to be called with a lock held."""


class Broker(Protocol):
    """Give each publication its place, keep it, and deliver it to this node's subscribers.

    What the rest of the package relies on:

    - For each channel that remembers, offsets are 1, 2, 3 ... within an epoch. ``deliver`` is
      called in that order, one call at a time, whichever thread or node published.
    - A broker that has lost some on the way delivers the next one with its true offset: the node
      sees the hole and mends it from the history, or takes those who keep positions out of the
      channel. One that is delivered twice is recognized by its offset.
    - ``deliver`` may come before ``publish`` returns or after it, on any thread.
    - What one thread publishes to one channel is delivered in that order.
    - ``history`` and ``deliver`` may run in any order to each other: a page can hold what is still
      to be delivered, and can lack what has been. Offsets tell, and ``joining`` merges.
    - A history that is lost starts again under an epoch that it never had. A position of
      another epoch is never answered with ``recovered``.
    - What a channel has before its first publication is position 0 of the epoch that this
      publication gets.
    - A channel whose limits have no publications is not remembered: its publications have the
      offset 0 and an empty epoch, and are delivered in one order all the same.
    - ``publish``, ``history``, ``recover``, ``remove_history``, ``subscribe`` and ``unsubscribe``
      may wait for a network, for a bounded time, and raise an error if it cannot be reached. The
      node calls them with no lock held and never on the loop's thread.

    Any thread may call any method, but ``start`` and ``stop`` belong to the server. Before
    ``start`` and after ``stop`` nothing is delivered.

    Attributes:
        presence: who is in which channel, over all nodes.
        control: what carries commands to all nodes.
    """

    @property
    def presence(self) -> Presence:
        """Return who is in which channel; started and stopped by the server, too."""

    @property
    def control(self) -> Control:
        """Return what carries commands; started and stopped by the server, too."""

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver. A second ``start`` may follow ``stop``.

        Args:
            receiver: this node.
        """

    def stop(self) -> None:
        """Deliver nothing more, and end what ``start`` has begun."""

    def health(self) -> str:
        """Return what is wrong, in one line; empty if nothing is."""

    def subscribe(self, channel: str) -> None:
        """Deliver a channel's publications from now on: somebody on this node is in it.

        What is published after this returns is delivered. A broker may deliver other channels, too.
        """

    def unsubscribe(self, channel: str) -> None:
        """Deliver a channel's publications no more: nobody on this node is in it."""

    def publish(self, channel: str, publication: Publication, limits: Limits,
                key: str | None = None) -> Position:
        """Append one publication to a channel and have it delivered.

        Args:
            channel: its name, checked.
            publication: without an offset; the caller does not use it again.
            limits: what the channel may remember.
            key: a second publication with the same key within five minutes is not made; the
                answer is that of the first.
        """

    def history(self, channel: str, limits: Limits, limit: int | None,
                since: Position | None = None, reverse: bool = False) -> Page:
        """Read what a channel remembers; see ``History.page``."""

    def recover(self, channel: str, limits: Limits, since: Position | None,
                limit: int | None = None) -> Page:
        """Return what was published after a position, or why not; see ``History.since``."""

    def remove_history(self, channel: str) -> None:
        """Forget what a channel remembers; offsets and epoch go on."""

    def sweep(self) -> None:
        """Free what is too old; called every few seconds."""
