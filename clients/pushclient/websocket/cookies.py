"""The cookies that a server sets: by them a load balancer finds the same server again.

Source: RFC 6265 section 5, for an address that stays the same.
"""
from __future__ import annotations

import time
from typing import Callable, Iterable

from .handshake import retry_after

MAX_COOKIES = 50
MAX_COOKIE_SIZE = 4096
"""Characters of one: what RFC 6265 section 6.1 asks of browsers, as is the number of them."""


class Cookies:
    """Keep the cookies of one address, from one connection to the next. Not safe for threads.

    Args:
        secure: the connections use TLS; without, cookies that are only for TLS are not kept.
        clock: returns seconds.
    """

    def __init__(self, secure: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._secure = secure
        self._clock = clock
        self._kept: dict[str, tuple[str, float]] = {}   # value and end, by name

    def take(self, lines: Iterable[str]) -> None:
        """Keep, replace or drop cookies as the ``Set-Cookie`` lines of a response say."""
        for line in lines:
            pair, *attributes = line.split(";")
            name, equals, value = (part.strip() for part in pair.partition("="))
            if not (name and equals and pair.isascii() and pair.isprintable()
                    and len(pair) <= MAX_COOKIE_SIZE):
                continue
            given = {key.strip().lower(): text.strip() for key, _, text in
                     (attribute.partition("=") for attribute in attributes)}
            self._kept.pop(name, None)
            seconds = _seconds(given)
            if seconds > 0 and (self._secure or "secure" not in given):
                self._kept[name] = value, self._clock() + seconds
                if len(self._kept) > MAX_COOKIES:
                    del self._kept[next(iter(self._kept))]

    def added_to(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return headers with these cookies; what ``headers`` have themselves is as it was."""
        others = [pair for pair in headers if pair[0].lower() != "cookie"]
        given = [value for name, value in headers if name.lower() == "cookie"]
        names = {one.partition("=")[0].strip() for value in given for one in value.split(";")}
        now = self._clock()
        kept = [f"{name}={value}" for name, (value, end) in self._kept.items()
                if name not in names and end > now]
        return [*others, ("Cookie", "; ".join(given + kept))] if given + kept else others


def _seconds(attributes: dict[str, str]) -> float:
    """Return how long a cookie is to be kept; ``Max-Age`` comes before ``Expires``."""
    age = attributes.get("max-age", "")
    if age.lstrip("-").isdecimal():
        return float(age)
    return retry_after(attributes["expires"]) if "expires" in attributes else float("inf")
