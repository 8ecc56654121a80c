"""The interface of a broker: how publications get from a site's threads to its connections."""
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
        hold a lock. ``wake`` must follow, once for any number of publications.

        Args:
            channel: its name.
            publication: with its offset, which is 0 in a channel without history.
            epoch: of the channel's history; empty for a channel without history.
        """

    def wake(self) -> None:
        """Start writing what was delivered. Must not be called with a lock held."""


class Broker(Protocol):
    """Give each publication its offset, keep it, and deliver it to this node's subscribers.

    What the rest of the package relies on:

    - For each channel with history, offsets are 1, 2, 3 ... within an epoch. ``deliver`` is
      called in that order, one call at a time, whichever thread or node published.
    - A broker that has lost publications delivers the next one with its true offset: the node
      sees the hole and mends it from the history, or removes those who keep positions from the
      channel. A publication delivered twice is recognized by its offset.
    - ``deliver`` may be called before or after ``publish`` returns, on any thread.
    - What one thread publishes to one channel is delivered in that order.
    - ``history`` and ``deliver`` may run in any order: a page can hold publications that are yet
      to be delivered, and can lack ones that have been. ``joining`` merges them by offset.
    - A history that is lost starts again under an epoch that it never had. A position of
      another epoch is never answered with ``recovered``.
    - Before its first publication a channel is at position 0 of the epoch that this publication
      gets.
    - A channel whose limits allow no publications has no history: its publications have offset 0
      and an empty epoch, but are still delivered in one order.
    - ``publish``, ``history``, ``recover``, ``remove_history``, ``subscribe`` and ``unsubscribe``
      may wait for a network, for a bounded time, and raise an error if it cannot be reached. The
      node calls them with no lock held and never on the loop's thread.
    - A history that is forgotten, for whatever reason, is like one whose publications have become
      too old: its offsets and epoch continue, or it starts again under another epoch.
    - In a process that was forked from a running node's nothing is called, until a server is
      started there: ``start`` then comes without a ``stop``, and all threads and any held locks
      are the parent's.

    Any thread may call any method, but ``start`` and ``stop`` belong to the server. Before
    ``start`` and after ``stop`` nothing is delivered.

    Attributes:
        presence: tracks who is in which channel, across all nodes.
        control: carries commands to all nodes.
    """

    @property
    def presence(self) -> Presence:
        """Return what tracks presence; the server also starts and stops it."""

    @property
    def control(self) -> Control:
        """Return what carries commands; the server also starts and stops it."""

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver. A second ``start`` may follow ``stop``.

        Args:
            receiver: this node.
        """

    def stop(self) -> None:
        """Stop delivering, and end what ``start`` began."""

    def health(self) -> str:
        """Return what is wrong, in one line; empty if nothing is."""

    def subscribe(self, channel: str) -> None:
        """Begin to deliver a channel's publications: a connection of this node is in it.

        What is published after this returns is delivered. A broker may also deliver other channels.
        """

    def unsubscribe(self, channel: str) -> None:
        """Stop delivering a channel's publications: no connection of this node is in it."""

    def publish(self, channel: str, publication: Publication, limits: Limits,
                key: str | None = None, maker: str = "") -> Position:
        """Append one publication to a channel and deliver it.

        Args:
            channel: its name, checked.
            publication: without an offset; the caller does not use it again.
            limits: how much history the channel may keep.
            key: a second publication with the same key within five minutes is not made; the
                position of the first is returned.
            maker: the client that publishes: its user, or its address if it has none; empty: the
                site. If there are too many histories that clients' publications have created, a
                broker may forget some, but not for a channel into which the site has published.
        """

    def history(self, channel: str, limits: Limits, limit: int | None,
                since: Position | None = None, reverse: bool = False) -> Page:
        """Read a channel's history; see ``History.page``."""

    def recover(self, channel: str, limits: Limits, since: Position | None,
                limit: int | None = None) -> Page:
        """Return what was published after a position, if it is kept; see ``History.since``."""

    def remove_history(self, channel: str) -> None:
        """Remove a channel's history; its offsets and epoch continue."""

    def sweep(self) -> None:
        """Free what has expired; called every few seconds."""

    @property
    def held_bytes(self) -> int:
        """Return about how many bytes of this process histories, keys and presence take."""

    def evict(self, size: int) -> int:
        """Forget what this process keeps: histories, those of clients first, then positions.

        Of the site's, and of each client's, the longest unused go first. Safe from any thread, the
        loop's too.

        Args:
            size: bytes to free, at least, as ``held_bytes`` counts them.

        Returns:
            The bytes freed: fewer if there are no more.
        """
