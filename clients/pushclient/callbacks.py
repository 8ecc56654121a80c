"""The application's functions, called on the client's thread."""
from __future__ import annotations

import logging
from typing import Any, Callable

from .centrifuge.events import Gap, Presence
from .errors import ChannelLost
from .inbox import Value

logger = logging.getLogger("pushclient")


class Callbacks:
    """Call the functions that the application has given; what they raise is logged.

    Args:
        label: names the client in the log.
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
        """Tell a new state."""
        if self._on_state is not None:
            self.call(self._on_state, state)

    def gap(self, gap: Gap) -> None:
        """Tell a gap."""
        if self._on_gap is not None:
            self.call(self._on_gap, gap)

    def presence(self, presence: Presence) -> None:
        """Tell who came or left."""
        if self._on_presence is not None:
            self.call(self._on_presence, presence)

    def lost(self, lost: ChannelLost) -> bool:
        """Tell which channel is lost; return False if the application does not want to know."""
        if self._on_lost is not None:
            self.call(self._on_lost, lost)
        return self._on_lost is not None

    def call(self, callback: Callable[[Any], object], argument: Any) -> None:
        """Call one function."""
        try:
            callback(argument)
        except Exception:
            logger.exception("%s: %s failed", self.label,
                             getattr(callback, "__qualname__", callback))
