"""Which channels a node wants from its broker."""
from __future__ import annotations

import threading
from collections import Counter
from typing import Callable

from .broker import Broker


class Interest:
    """Tell a broker when a channel gets its first connection here, and when it loses the last.

    The broker is called with no lock held, by one thread at a time for each channel; others that
    need the same channel wait for that thread. Any thread except the loop's may call this object.

    Args:
        broker: the broker to tell.
        is_wanted: tells whether any connection is in a channel now.
    """

    def __init__(self, broker: Broker, is_wanted: Callable[[str], bool]) -> None:
        self._broker = broker
        self._is_wanted = is_wanted
        self._lock = threading.Lock()   # for what follows, except reading ``_told``
        self._held: Counter[str] = Counter()
        self._told: set[str] = set()
        self._failed: set[str] = set()
        self._telling: dict[str, threading.Event] = {}

    def __repr__(self) -> str:
        return f"<Interest in {len(self._told)} channels>"

    def hold(self, channel: str) -> None:
        """Want a channel for a connection that is about to join; ``release`` must follow."""
        with self._lock:
            self._held[channel] += 1
        try:
            self.update(channel)
        except BaseException:
            self.release(channel)
            raise

    def release(self, channel: str) -> None:
        """End a ``hold``; call ``update`` after it if no connection has joined after all."""
        with self._lock:
            self._held[channel] -= 1
            if not self._held[channel]:
                del self._held[channel]

    def _wants(self, channel: str) -> bool:
        return self._is_wanted(channel) or channel in self._held

    def update(self, channel: str) -> None:
        """Return once the broker knows whether a channel is wanted."""
        while channel in self._telling or self._wants(channel) != (channel in self._told):
            with self._lock:
                other = self._telling.get(channel)
                if other is None:
                    done = self._telling[channel] = threading.Event()
            if other is not None:
                other.wait()
            else:
                self._tell(channel, done)

    def sweep(self) -> None:
        """Retry ``update`` where it failed when a channel's last connection left."""
        for channel in self._failed.copy():
            with self._lock:
                self._failed.discard(channel)   # if it fails again, it is noted again
            self.update(channel)

    def _tell(self, channel: str, done: threading.Event) -> None:
        try:
            wanted = self._wants(channel)   # whoever joins from now on waits for this thread
            if wanted == (channel in self._told):
                return
            if wanted:
                self._broker.subscribe(channel)
                self._told.add(channel)
            else:
                self._broker.unsubscribe(channel)
                self._told.discard(channel)
        except BaseException:
            if channel in self._told:
                with self._lock:
                    self._failed.add(channel)
            raise
        finally:
            with self._lock:
                del self._telling[channel]
            done.set()
