"""The application's functions, called on the client's thread."""
from __future__ import annotations

import logging
from typing import Callable, TypeVar

from .centrifuge.events import Gap, Presence
from .errors import ChannelLost
from .inbox import Value

logger = logging.getLogger("pushclient")

T = TypeVar("T")


class Callbacks:
    """Call the application's functions; exceptions in them are logged.

    Those meant to end a program, ``SystemExit`` and ``KeyboardInterrupt``, are raised as well.

    Args:
        label: what the log calls the client.
        on_message, on_state, on_gap, on_lost, on_presence: see ``PushClient``.
    """

    def __init__(self, label: str, *, on_message: Callable[[Value], object] | None,
                 on_state: Callable[[str], object] | None, on_gap: Callable[[Gap], object] | None,
                 on_lost: Callable[[ChannelLost], object] | None,
                 on_presence: Callable[[Presence], object] | None) -> None:
        self.on_message = on_message
        self.label = label
        self._on_state = on_state
        self._on_gap = on_gap
        self._on_lost = on_lost
        self._on_presence = on_presence

    def state(self, state: str) -> None:
        """Report a new state."""
        if self._on_state is not None:
            self.call(self._on_state, state)

    def gap(self, gap: Gap) -> None:
        """Report a gap."""
        if self._on_gap is not None:
            self.call(self._on_gap, gap)

    def presence(self, presence: Presence) -> None:
        """Report who joined or left."""
        if self._on_presence is not None:
            self.call(self._on_presence, presence)

    def lost(self, lost: ChannelLost) -> bool:
        """Report a lost channel; return False if the application has no callback for that."""
        if self._on_lost is not None:
            self.call(self._on_lost, lost)
        return self._on_lost is not None

    def call(self, callback: Callable[[T], object], argument: T) -> None:
        """Call one function with its argument."""
        try:
            callback(argument)
        except Exception:
            logger.exception("%s: %s failed", self.label,
                             getattr(callback, "__qualname__", callback))
        except BaseException:
            logger.exception("%s: %s ended the client", self.label,
                             getattr(callback, "__qualname__", callback))
            raise
