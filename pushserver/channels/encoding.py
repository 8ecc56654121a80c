"""What channels know about the wire: how a message becomes bytes in a shared encoding."""
from __future__ import annotations

from typing import Protocol

from .presence import Info
from .publication import Publication


class Encoding(Protocol):
    """Turn what is published into bytes for the wire, once for all connections that share this.

    It keeps no state; any thread may call it.
    """

    @property
    def keeps_positions(self) -> bool:
        """Tell whether clients continue from positions, so that they must be told of a hole."""

    def publication(self, channel: str, publication: Publication) -> bytes:
        """Encode a publication to a channel."""

    def message(self, publication: Publication) -> bytes | None:
        """Encode a message to an Id or to all; None: these clients do not get it."""

    def presence(self, channel: str, info: Info, joined: bool) -> bytes | None:
        """Encode that a client joined or left; None: these clients are not told."""
