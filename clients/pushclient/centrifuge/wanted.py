"""Which channels a client wants, and what it shows for them: the forms, and their checks."""
from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, NamedTuple, Union

from pushserver.channels.rules import checked_channel
from pushserver.errors import InvalidSetting

Since = Union["tuple[int, str]", None]
"""What has been seen of a channel, an offset and an epoch; None: nothing."""

ChannelToken = Union[str, Callable[[str], Any], None]
"""A JWT for one channel; or what returns one, called with the channel's name for each
subscription and before a token expires; None: none is needed."""

Token = Union[str, Callable[[], Any], None]
"""Who the client is, as a JWT; or what returns one, called for each connection and before a token
expires."""

Wanted = Union[Iterable[str], Mapping[str, Any]]
"""Names of channels. As a mapping, of each what has been seen of it, or its token, or both as
``{"since": ..., "token": ...}``, or None."""


class Wish(NamedTuple):
    """What is known of a channel that a client wants."""

    since: Since = None
    token: ChannelToken = None


def checked_channels(wanted: Wanted) -> dict[str, Wish]:
    """Return channels by name.

    Raises:
        InvalidSetting: these are none.
    """
    if isinstance(wanted, (str, bytes)) or not isinstance(wanted, Iterable):
        raise InvalidSetting(f"channels is {wanted!r:.80}: use a list of names")
    pairs = wanted.items() if isinstance(wanted, Mapping) else ((name, None) for name in wanted)
    return {checked_channel(name): _wish(name, given) for name, given in pairs}


def _wish(name: str, given: Any) -> Wish:
    if isinstance(given, Mapping):
        unknown = set(given) - set(Wish._fields)
        if unknown:
            raise InvalidSetting(f"channel {name!r} has {min(map(str, unknown))!r:.80}: "
                                 "use since and token")
        return checked_wish(**given)
    if isinstance(given, str) or callable(given):
        return checked_wish(token=given)
    return checked_wish(since=given)


def checked_wish(since: Any = None, token: Any = None) -> Wish:
    """Return what is known of a channel.

    Raises:
        InvalidSetting: the position or the token is none.
    """
    return Wish(checked_position(since), checked_token(token))


def checked_token(token: Any) -> Any:
    """Return a token, or what returns one, or None.

    Raises:
        InvalidSetting: it is none of these.
    """
    if token is None or callable(token) or isinstance(token, str) and token:
        return token
    raise InvalidSetting(f"token is {'empty' if token == '' else type(token).__name__}: use text, "
                         "or a function that returns it")


def checked_position(since: Any) -> Since:
    """Return a position, or None.

    Raises:
        InvalidSetting: it is none.
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
