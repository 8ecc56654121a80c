"""What each client may have the server do while others wait, counted in units."""
from __future__ import annotations

from typing import Protocol, Sequence

RATE = 100.0
"""Units a second that each client may cause, whatever all others do."""

BURST = 1000.0
"""Units that a client may cause at once after a while with few; also the most that it may owe."""

SHARED_RATE = 5000.0
"""Units a second that all who owe some share among them while others wait."""

OTHERS_WAIT = 1.0
"""Seconds for which others count as waiting after something was sent to them."""

FEW = 16
"""Units that are counted together: counting takes time too."""

SHORTEST_PAUSE = 0.01
"""Seconds that a pause lasts at least: shorter ones would be mostly timers."""

MOST_PAUSED = 60.0
"""Seconds for which a client may go on sending more than its share while others wait."""


class Sharer(Protocol):
    """A connection to which something is sent; see ``Watched``."""

    allowance: Allowance


class Shares:
    """Know who has caused more than its rate, and whether others wait meanwhile.

    Only the loop's thread may call it.

    Attributes:
        debtors: the allowances that are used up, each until it is looked at again.
    """

    __slots__ = ("debtors", "_waiting_until", "_looked")

    def __init__(self) -> None:
        self.debtors: dict[Allowance, None] = {}
        self._waiting_until = 0.0
        self._looked = 0.0

    def __repr__(self) -> str:
        return f"<Shares {len(self.debtors)} in debt>"

    def rate(self) -> float:
        """Return the units a second by which each debt shrinks."""
        return max(RATE, SHARED_RATE / max(1, len(self.debtors)))

    def sent(self, groups: Sequence[tuple[Sequence[Sharer], object]], now: float) -> None:
        """Note for whom something is to be written, while some are in debt.

        Others wait if it is for several clients, or for one that itself causes little: not if it
        only answers those who cause much.
        """
        if self._waiting_until > now + OTHERS_WAIT / 2:
            return
        debtors = self.debtors
        for targets, _ in groups:
            if len(targets) != 1:
                if not targets:
                    continue
            elif targets[0].allowance in debtors or not targets[0].allowance.is_little_used(now):
                continue
            self._waiting_until = now + OTHERS_WAIT
            return

    def others_wait(self, now: float) -> bool:
        """Tell whether anyone has waited of late while some are in debt."""
        return now < self._waiting_until

    def tidy(self, now: float) -> None:
        """Forget those who have ceased to send, at most once a second."""
        if now - self._looked > OTHERS_WAIT:
            self._looked = now
            for one in [one for one in self.debtors if one.level(now) >= 0]:
                del self.debtors[one]


class Allowance:
    """Count what one client causes: a bucket that holds ``BURST`` units and fills by ``RATE``.

    Only the loop's thread may call it.

    Args:
        shares: all clients' together.
        now: monotonic seconds.

    Attributes:
        due: the total from which it is worth the time to charge again.
        is_over: more has waited from the client than its share allows, since it was last read to
            the end.
    """

    __slots__ = ("due", "is_over", "_shares", "_level", "_at", "_total", "_over_since")

    def __init__(self, shares: Shares, now: float) -> None:
        self.due = FEW
        self.is_over = False
        self._shares = shares
        self._level = BURST
        self._at = now
        self._total = 0
        self._over_since = now

    def __repr__(self) -> str:
        return f"<Allowance {self._level:.0f} units>"

    def level(self, now: float) -> float:
        """Return the units that it has left; what is below 0 is owed."""
        level, seconds = self._level, now - self._at
        if level < 0:
            rate = self._shares.rate()
            if level + seconds * rate < 0:
                return level + seconds * rate
            seconds += level / rate
            level = 0.0
        return min(BURST, level + seconds * RATE)

    def is_little_used(self, now: float) -> bool:
        """Tell whether at least half of it is left."""
        return self.level(now) >= BURST / 2

    def charge(self, total: int, now: float) -> None:
        """Note what the client has caused.

        Args:
            total: units since the client came.
            now: monotonic seconds.
        """
        level = self.level(now) - (total - self._total)
        was_in_debt, self._level = self._level < 0, max(-BURST, level)
        self._total = total
        self.due = total + FEW
        self._at = now
        if level < 0:
            if not was_in_debt or self not in self._shares.debtors:
                self._shares.debtors[self] = None
        elif was_in_debt:
            self._shares.debtors.pop(self, None)

    def pause(self, now: float) -> float:
        """Return for how many seconds nothing more should be done for the client; 0: go on."""
        if self._level >= 0 or not self._shares.others_wait(now):
            return 0.0
        self._shares.tidy(now)
        level = self.level(now)
        if level >= 0:
            return 0.0
        if not self.is_over:
            self.is_over = True
            self._over_since = now
        return max(SHORTEST_PAUSE, -level / self._shares.rate())

    def has_caught_up(self) -> None:
        """Note that nothing waits from the client: it sends no more than its share."""
        self.is_over = False

    def seconds_over(self, now: float) -> float:
        """Return for how long more has waited from the client than its share allows."""
        return now - self._over_since if self.is_over else 0.0

    def is_too_much(self, now: float) -> bool:
        """Tell whether that is too long."""
        return self.seconds_over(now) > MOST_PAUSED

    def end(self) -> None:
        """Forget the debt: the client has left."""
        self._shares.debtors.pop(self, None)
