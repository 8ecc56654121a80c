"""What channels know of the wire: how a message becomes bytes for those who share an encoding."""
from __future__ import annotations

from typing import Protocol

from .presence import Info
from .publication import Publication


class Encoding(Protocol):
    """Make bytes for the wire of what is published, once for all connections that share it.

    It keeps no state; any thread may call it.
    """

    @property
    def keeps_positions(self) -> bool:
        """Tell whether clients go on from positions, so that a hole has to be told to them."""

    def publication(self, channel: str, publication: Publication) -> bytes:
        """Return what was published to a channel."""

    def message(self, publication: Publication) -> bytes | None:
        """Return what was sent to an Id or to all; None: these clients do not get it."""

    def presence(self, channel: str, info: Info, joined: bool) -> bytes | None:
        """Return who came or left; None: these clients are not told."""
