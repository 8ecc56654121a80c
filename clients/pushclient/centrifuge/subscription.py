"""One of a client's channels: the application's options, and the client's state in it."""
from __future__ import annotations

from typing import Any, Iterable, Mapping, NamedTuple, Union

from pushserver.channels.rules import checked_channel

from ..errors import InvalidSetting
from .tokens import ChannelToken, TokenState, checked_token

Since = Union["tuple[int, str]", None]
"""The position last seen in a channel, as an offset and an epoch; None: none."""

ChannelsOption = Union[Iterable[str], Mapping[str, Any]]
"""Names of channels. A mapping gives for each its position, its token, both as
``{"since": ..., "token": ...}``, or None."""

PROVED_AFTER = 5.0
"""Seconds in a channel after which being removed does not count as another failure."""

OUT, BACKING_OFF, AWAITING_TOKEN, SUBSCRIBING, SUBSCRIBED = range(5)
"""Out of the channel; out until a delay ends, a token comes or the server answers; in it."""


class ChannelOptions(NamedTuple):
    """The application's options for a channel."""

    since: Since = None
    token: ChannelToken = None


def checked_channels(channels: ChannelsOption) -> dict[str, ChannelOptions]:
    """Return the options of channels, by name.

    Raises:
        InvalidSetting: this is neither names nor a mapping, or an option cannot work.
    """
    if isinstance(channels, (str, bytes)) or not isinstance(channels, Iterable):
        raise InvalidSetting(f"channels is {channels!r:.80}: use a list of names")
    pairs = channels.items() if isinstance(channels, Mapping) \
        else ((name, None) for name in channels)
    return {checked_channel(name): _options(name, given) for name, given in pairs}


def _options(name: str, given: Any) -> ChannelOptions:
    if isinstance(given, Mapping):
        unknown = set(given) - set(ChannelOptions._fields)
        if unknown:
            raise InvalidSetting(f"channel {name!r} has {min(map(str, unknown))!r:.80}: "
                                 "use since and token")
        return checked_options(**given)
    if isinstance(given, str) or callable(given):
        return checked_options(token=given)
    return checked_options(since=given)


def checked_options(since: Any = None, token: Any = None) -> ChannelOptions:
    """Return the options for a channel.

    Raises:
        InvalidSetting: one of them is not a position, or not a token.
    """
    return ChannelOptions(checked_position(since), checked_token(token))


def checked_position(since: Any) -> Since:
    """Return a position, or None.

    Raises:
        InvalidSetting: it is something else.
    """
    if since is None:
        return None
    try:
        offset, epoch = since
    except (TypeError, ValueError):
        offset, epoch = None, None
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0 \
            or not isinstance(epoch, str):
        raise InvalidSetting(f"position is {since!r:.80}: use an offset and an epoch")
    return offset, epoch


class Subscription:
    """The state of one channel, across all connections. Not safe for several threads.

    Args:
        options: the application's.
        is_wanted: the application asked for the channel; else the server subscribed the client.

    Attributes:
        offset, epoch: the position reached.
        token: the state of its token.
        state: one of ``OUT`` to ``SUBSCRIBED``.
        command: the number of the command whose answer counts.
        by_server: the server subscribed the client to the channel.
        gap: the next publication comes after a gap.
        failures: how many times in a row the client did not get in, or did not stay.
    """

    __slots__ = ("offset", "epoch", "token", "state", "command", "is_wanted", "by_server", "gap",
                 "failures", "_has_begun", "_can_recover", "_entered_at")

    def __init__(self, options: ChannelOptions = ChannelOptions(), *,
                 is_wanted: bool = True) -> None:
        self.offset, self.epoch = options.since or (0, "")
        self.token = TokenState(options.token)
        self.state = OUT
        self.command = 0
        self.is_wanted = is_wanted
        self.by_server = False
        self.gap = False
        self.failures = 0
        self._has_begun = options.since is not None     # so anything missing is a gap
        self._can_recover = self._has_begun and bool(self.epoch or not self.offset)
        self._entered_at = 0.0

    def request(self) -> dict[str, Any]:
        """Return the fields of a subscribe request that ask for recovery."""
        return {"recover": True, "offset": self.offset, "epoch": self.epoch} \
            if self._can_recover else {}

    def reset(self) -> None:
        """Begin on a new connection: the client is out, and past failures do not count."""
        self.state, self.failures, self.token.ticket = OUT, 0, 0

    def enter(self, result: dict[str, Any], now: float) -> bool:
        """Apply the server's result; return False if publications are missing."""
        missing = self._has_begun and not result.get("recovered")
        self.gap = self.gap or missing
        self.state, self._has_begun = SUBSCRIBED, True
        self.offset, self.epoch = result.get("offset", 0), result.get("epoch", "")
        self._can_recover = bool(self.epoch)
        self.token.ticket = self.token.failures = 0
        self._entered_at = now
        return not missing

    def removed(self, now: float) -> int:
        """Leave, to subscribe again; return the earlier failures, for the back-off."""
        lasted = self.state == SUBSCRIBED and now - self._entered_at >= PROVED_AFTER
        before = 0 if lasted else self.failures
        self.state, self.failures = (BACKING_OFF if before else OUT), before + 1
        return before

    def fail(self) -> int:
        """Stay out for a while; return how many failures in a row that makes."""
        self.state = BACKING_OFF
        self.failures += 1
        return self.failures
