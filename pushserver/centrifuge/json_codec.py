"""Centrifugo's JSON client protocol as bytes: commands in, replies and pushes out.

Source: Centrifugo client protocol, version 2; centrifugal/protocol, client.proto.
"""
from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

from ..channels.publication import BINARY, JSON, Position, Publication
from ..channels.presence import Info
from ..channels.rules import checked_channel
from ..errors import InvalidSetting
from ..wire.frames import OPCODE_TEXT, encode_json, frame
from .errors import BAD_REQUEST, CloseConnection, bad_request, not_available

MAX_OFFSET = (1 << 64) - 1
MAX_ID = (1 << 32) - 1
"""The largest offset and the largest command id that the protocol has room for."""

REJECT_UNRECOVERED = 2
"""The bit in a subscription's ``flag`` that asks for error 112 where nothing can be recovered."""

METHODS = ("connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats",
           "history", "ping", "send", "rpc", "refresh", "sub_refresh")
"""The protocol's commands, in the order in which the first one of a command counts."""

Request = dict[str, Any]


class _Malformed(ValueError):
    """Carry what JSON has no place for out of the decoder."""


def _no_constant(name: str) -> NoReturn:
    raise _Malformed(name)


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def commands(text: str) -> list[Request]:
    """Return the commands of one frame, which newlines separate.

    Raises:
        CloseConnection: 3501: one is not a JSON object, or there is none.
    """
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    try:
        found = [_decode(line) for line in lines]
    except (ValueError, RecursionError):
        raise CloseConnection(BAD_REQUEST) from None
    if not all(isinstance(command, dict) for command in found):
        raise CloseConnection(BAD_REQUEST)
    return found


def method_of(command: Request) -> tuple[str, Request]:
    """Return a command's name and its request.

    Raises:
        CloseConnection: 3501: it has none, or its request is no object.
    """
    for name in METHODS:
        request = command.get(name)
        if request is not None:
            if not isinstance(request, dict):
                break
            return name, request
    raise CloseConnection(BAD_REQUEST)


def number_of(command: Request) -> int:
    """Return a command's id, 0 if it has none.

    Raises:
        CloseConnection: 3501: it is no number of 32 bits.
    """
    return whole(command, "id", 0, MAX_ID)


def whole(request: Request, name: str, least: int, most: int) -> int:
    """Return a whole number of a request, 0 if it is not there.

    Raises:
        CloseConnection: 3501: it is something else.
    """
    value = request.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise CloseConnection(BAD_REQUEST)
    return value


def text_of(request: Request, name: str) -> str:
    """Return text of a request, empty if it is not there; see ``whole``."""
    value = request.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CloseConnection(BAD_REQUEST)
    return value


def channel_of(request: Request) -> str:
    """Return the channel that a command is about.

    Raises:
        CloseConnection: 3501: it names none.
        CommandError: 107: this cannot be a channel's name.
    """
    channel = text_of(request, "channel")
    if not channel:
        raise CloseConnection(BAD_REQUEST)
    try:
        return checked_channel(channel)
    except InvalidSetting:
        raise bad_request() from None


def check_plain(request: Request) -> None:
    """Refuse what means another kind of channel: a map, or shared polling.

    Raises:
        CommandError: 108.
    """
    if whole(request, "type", -(1 << 31), (1 << 31) - 1) or text_of(request, "key"):
        raise not_available()


def flag_of(request: Request, name: str) -> bool:
    """Return a flag of a request, false if it is not there; see ``whole``."""
    value = request.get(name)
    if value is not None and not isinstance(value, bool):
        raise CloseConnection(BAD_REQUEST)
    return bool(value)


def position_of(request: Request) -> Position:
    """Return the position that a request has; see ``whole``."""
    return Position(whole(request, "offset", 0, MAX_OFFSET), text_of(request, "epoch"))


def encoded_data(publication: Publication) -> bytes:
    """Return what was published as JSON; bytes become base64, for JSON has nothing for them."""
    if publication.kind == JSON:
        return publication.payload
    if publication.kind == BINARY:
        return b'"' + base64.b64encode(publication.payload) + b'"'
    return encode_json(publication.payload.decode("utf-8"))


def encoded_publication(publication: Publication) -> bytes:
    """Return a publication as the protocol's object."""
    parts = [b'{"data":', encoded_data(publication)]
    if publication.info is not None:
        parts += [b',"info":', publication.info]
    if publication.offset:
        parts.append(b',"offset":%d' % publication.offset)
    if publication.tags is not None:
        parts += [b',"tags":', publication.tags]
    parts.append(b"}")
    return b"".join(parts)


def encoded_info(info: Info) -> bytes:
    """Return a client as the protocol's object."""
    found: dict[str, Any] = {"user": info.user, "client": info.client}
    if info.connection is not None:
        found["conn_info"] = info.connection
    if info.channel is not None:
        found["chan_info"] = info.channel
    return encode_json(found)


def reply(number: int, name: str, result: bytes) -> bytes:
    """Return the reply to a command."""
    return b'{"id":%d,"%s":%s}' % (number, name.encode("ascii"), result)


def push(channel: str | None, name: str, contents: bytes) -> bytes:
    """Return something that no command has asked for."""
    where = b"" if channel is None else b'"channel":%s,' % encode_json(channel)
    return b'{"push":{%s"%s":%s}}' % (where, name.encode("ascii"), contents)


def message(publication: Publication) -> bytes:
    """Return the frame of a message that belongs to no channel."""
    contents = b'{"data":%s}' % encoded_data(publication)
    return frame(OPCODE_TEXT, push(None, "message", contents))


class Centrifuge:
    """Speak the protocol; see ``protocols.Protocol``."""

    ping = frame(OPCODE_TEXT, b"{}")
    always_pings = True
    reason = "disconnected"     # some clients look at the code only where there is a reason

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def publication(self, channel: str, publication: Publication) -> bytes:
        """See ``Protocol``."""
        return frame(OPCODE_TEXT, push(channel, "pub", encoded_publication(publication)))

    def message(self, publication: Publication) -> bytes | None:
        """See ``Protocol``."""
        return message(publication)

    def presence(self, channel: str, info: Info, joined: bool) -> bytes:
        """See ``Protocol``."""
        name = "join" if joined else "leave"
        return frame(OPCODE_TEXT, push(channel, name, b'{"info":%s}' % encoded_info(info)))


class NotConnected(Centrifuge):
    """Speak it with who has not sent ``connect``, and so is told nothing."""

    def message(self, publication: Publication) -> None:
        """See ``Protocol``."""


CENTRIFUGE = Centrifuge()
NOT_CONNECTED = NotConnected()
