"""Where a client is in one channel."""
from __future__ import annotations

from typing import Any

from .wanted import Wish

PROVED_AFTER = 5.0
"""Seconds in a channel after which being sent out of it is no failure in a row."""

OUT, LATER, WAITS, ASKED, IN = range(5)
"""Out of a channel; out, until the back-off says so; its token is asked for; the server is; in."""


class Pass:
    """What is shown for a channel, or for the connection.

    Attributes:
        token: a JWT, or what returns one, or None.
        ticket: of the need whose answer counts; 0: none is waited for.
        failures: refreshing it has failed so often in a row.
    """

    __slots__ = ("token", "ticket", "failures")

    def __init__(self, token: Any = None) -> None:
        self.token = token
        self.ticket = self.failures = 0

    @property
    def renews(self) -> bool:
        """Tell whether there will be another token."""
        return callable(self.token)


class Place:
    """What is known of one channel, over all connections."""

    __slots__ = ("offset", "epoch", "state", "asked", "is_ours", "by_server", "resumes", "can_ask",
                 "gap", "shown", "failures", "entered_at")

    def __init__(self, wish: Wish = Wish(), *, is_ours: bool = True) -> None:
        self.offset, self.epoch = wish.since or (0, "")
        self.shown = Pass(wish.token)
        self.state = OUT
        self.asked = 0                      # the command whose answer counts
        self.is_ours = is_ours              # this client wants it
        self.by_server = False              # the server has put the client into it
        self.resumes = wish.since is not None    # something has been seen: the rest must be whole
        self.can_ask = self.resumes and bool(self.epoch or not self.offset)
        self.gap = False
        self.failures = 0                   # to enter, or to stay, in a row
        self.entered_at = 0.0

    def request(self) -> dict[str, Any]:
        """Return what a subscription asks for."""
        return {"recover": True, "offset": self.offset, "epoch": self.epoch} \
            if self.can_ask else {}

    def enter(self, found: dict[str, Any], now: float) -> bool:
        """Take the server's answer; return whether nothing is missing."""
        missing = self.resumes and not found.get("recovered")
        self.gap = self.gap or missing
        self.state, self.resumes = IN, True
        self.offset, self.epoch = found.get("offset", 0), found.get("epoch", "")
        self.can_ask = bool(self.epoch)
        self.shown.ticket = self.shown.failures = 0
        self.entered_at = now
        return not missing

    def sent_out(self, now: float) -> int:
        """Be out, to enter again; return the failures before this, for the back-off."""
        lasted = self.state == IN and now - self.entered_at >= PROVED_AFTER
        before = 0 if lasted else self.failures
        self.state, self.failures = (LATER if before else OUT), before + 1
        return before

    def refused(self) -> int:
        """Be out for a while; return how often in a row."""
        self.state = LATER
        self.failures += 1
        return self.failures
