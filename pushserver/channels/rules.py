"""The rules for channels: who may use one, and what it remembers."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Callable, Iterable, Union

from ..errors import InvalidSetting
from .publication import Limits

MAX_CHANNEL = 255
"""Characters of the longest channel name."""

RESUMING = "resuming"
WHO = ("nobody", RESUMING, "subscribers", "users", "anyone", "token")

Who = Union[str, Callable[[Any, str], bool]]
"""Which clients may do something with a channel: one of ``WHO``, or a function of connection and
channel, called on a worker, that returns true or false."""

HISTORY_BYTES = 1024 * 1024
"""Bytes that a channel's history may take, unless its rule says otherwise."""

CACHED = 4096
"""Channels whose rule is cached."""


def checked_channel(channel: str) -> str:
    """Return a channel's name.

    Raises:
        InvalidSetting: it is not text of 1 to 255 characters, or cannot be encoded as UTF-8.
    """
    if not isinstance(channel, str) or not 0 < len(channel) <= MAX_CHANNEL:
        raise InvalidSetting(f"channel is {channel!r:.80}: use text of 1 to {MAX_CHANNEL} "
                             "characters")
    try:
        channel.isascii() or channel.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidSetting(f"channel is {channel!r:.80}, with half of a surrogate pair: use "
                             "whole characters") from None
    return channel


@dataclass(frozen=True)
class ChannelRule:
    """Set the rules for channels whose names match. Immutable, and checked when created.

    The permissions apply to what clients ask for themselves, through Centrifugo's protocol; the
    site's own code may do everything with every channel. Each of ``subscribe``, ``publish``,
    ``see_presence`` and ``see_history`` is one of

    - "nobody": no client by itself (a token that the site has signed still opens a channel)
    - "resuming": connections that subscribe with a position get what came after it, and nobody
      else gets anything (only for ``see_history``)
    - "subscribers": connections that are in the channel (not for ``subscribe``)
    - "users": connections whose user is known, so not anonymous ones
    - "anyone"
    - "token": connections that show a token for this channel (only for ``subscribe``)
    - a function of connection and channel that returns true or false.

    Attributes:
        match: the beginning of a name, such as ``news:``; with a ``*`` in it, a pattern for the
            whole name, such as ``room:*:typing``; empty: every channel.
        history: publications to remember; 0: none, and nobody can resume.
        history_bytes: bytes of all of them, with 256 more counted for each; the last one always
            stays.
        history_age: seconds for which each is remembered; 0: no limit.
        subscribe: who may subscribe.
        publish: who may publish.
        see_presence: who may ask who is in the channel. Presence is kept if anybody may, or with
            ``join_leave``.
        see_history: who gets what is remembered, by asking for it or by resuming. A position
            proves nothing: whoever may resume can name an old one.
        join_leave: tell subscribers who joins and leaves, whatever ``see_presence`` says.
        linger: seconds for which a user whose connection was lost still counts as present, so
            that a reload is neither a leave nor a join.
        limits: what such a channel may remember, from the history's settings.
        keeps_presence: whether it is kept who is in such a channel, from the settings of who may
            see presence.

    Raises:
        InvalidSetting: a value has the wrong type or is out of range.
    """

    match: str
    history: int = 0
    history_bytes: int = HISTORY_BYTES
    history_age: float = 300.0
    subscribe: Who = "anyone"
    publish: Who = "nobody"
    see_presence: Who = "nobody"
    see_history: Who = RESUMING
    join_leave: bool = False
    linger: float = 15.0
    limits: Limits = field(init=False, repr=False, compare=False)
    keeps_presence: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.match, str) or len(self.match) > MAX_CHANNEL:
            raise InvalidSetting(f"match is {self.match!r:.80}: use the beginning of a channel's "
                                 "name, or a pattern with *")
        for name in ("history", "history_bytes", "history_age", "linger"):
            _check_number(name, getattr(self, name), whole=name.startswith("history")
                          and name != "history_age")
        if not isinstance(self.join_leave, bool):
            raise InvalidSetting(f"join_leave is {self.join_leave!r}: use True or False")
        for name in ("subscribe", "publish", "see_presence", "see_history"):
            _check_who(name, getattr(self, name))
        limits = Limits(self.history, self.history_bytes, self.history_age)
        object.__setattr__(self, "limits", limits)
        object.__setattr__(self, "keeps_presence",
                           self.join_leave or self.see_presence != "nobody")

    def matches(self, channel: str) -> bool:
        """Tell whether the rule applies to a channel."""
        return _matches(self.match, channel)


def _matches(match: str, channel: str) -> bool:
    """Compare without ever going back, so that no name takes long; see ``ChannelRule.match``."""
    first, *rest = match.split("*")
    if not rest or not channel.startswith(first):
        return channel.startswith(first)
    *middle, last = rest
    position, end = len(first), len(channel) - len(last)
    for part in middle:     # each at its earliest place: that leaves most room for the others
        position = channel.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return position <= end and channel.endswith(last)


def _check_number(name: str, value: object, *, whole: bool) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise InvalidSetting(f"{name} is {value!r:.80}: use a {'whole ' if whole else ''}number")
    if not math.isfinite(value) or value < 0:
        raise InvalidSetting(f"{name} is {value!r}: use 0 or more")


_NOT_FOR = {"subscribe": (RESUMING, "subscribers"), "publish": (RESUMING, "token"),
            "see_presence": (RESUMING, "token"), "see_history": ("token",)}


def _check_who(name: str, who: object) -> None:
    allowed = [word for word in WHO if word not in _NOT_FOR[name]]
    if not callable(who) and who not in allowed:
        raise InvalidSetting(f"{name} is {who!r:.80}: use {', '.join(allowed)}, or a function of "
                             "connection and channel")


DEFAULT = ChannelRule("", subscribe="nobody", see_history="nobody")
"""The rule for channels that no other rule matches: they remember nothing, and clients cannot
subscribe to them."""


class ChannelRules:
    """Find the rule for a channel. Safe from any thread.

    Args:
        rules: the first that matches applies; if none does, ``DEFAULT``.

    Raises:
        InvalidSetting: these are not rules, or two have the same ``match``.
    """

    def __init__(self, rules: Iterable[ChannelRule] = ()) -> None:
        if isinstance(rules, (str, ChannelRule)) or not isinstance(rules, Iterable):
            raise InvalidSetting(f"channels is {rules!r:.80}: use a list of ChannelRule")
        self._rules = tuple(rules)
        seen = set()
        for rule in self._rules:
            if not isinstance(rule, ChannelRule):
                raise InvalidSetting(f"channels has {rule!r:.80}: use ChannelRule('news:', ...)")
            if rule.match in seen:
                raise InvalidSetting(f"channels has two rules for {rule.match!r}: use one")
            seen.add(rule.match)
        self.rule = lru_cache(CACHED)(self._find)

    def __repr__(self) -> str:
        return f"<ChannelRules {', '.join(repr(rule.match) for rule in self._rules) or 'no rules'}>"

    def _find(self, channel: str) -> ChannelRule:
        return next((rule for rule in self._rules if rule.matches(channel)), DEFAULT)
