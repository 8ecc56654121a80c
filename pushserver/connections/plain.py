"""What a connection speaks: how a message becomes a frame, made once for all who speak it."""
from __future__ import annotations

from typing import Protocol as Interface

from ..channels.history import Publication
from ..channels.presence import Info
from ..wire.frames import OPCODE_PING, frame


class Protocol(Interface):
    """Turn what a server has to say into frames. It keeps no state; any thread may call it.

    Attributes:
        ping: the frame that asks a client whether it is there.
        always_pings: clients wait for pings, so send them to those that are not silent, too.
        reason: what a close frame says where nobody has given a reason; may be empty.
    """

    ping: bytes
    always_pings: bool
    reason: str

    def publication(self, channel: str, publication: Publication) -> bytes:
        """Return the frame for what was published to a channel."""

    def message(self, publication: Publication) -> bytes | None:
        """Return the frame for what was sent to an Id or to all; None: it is not for these."""

    def presence(self, channel: str, info: Info, joined: bool) -> bytes | None:
        """Return the frame that tells who came or left; None: its clients are not told."""


class Plain:
    """Send payloads as they are; see ``Protocol``."""

    ping = frame(OPCODE_PING, b"")
    always_pings = False
    reason = ""

    def __repr__(self) -> str:
        return "<Plain>"

    def publication(self, channel: str, publication: Publication) -> bytes:
        """See ``Protocol``."""
        return publication.frame()

    def message(self, publication: Publication) -> bytes:
        """See ``Protocol``."""
        return publication.frame()

    def presence(self, channel: str, info: Info, joined: bool) -> None:
        """See ``Protocol``; what they would get could not be told from what is published."""


PLAIN: Protocol = Plain()
