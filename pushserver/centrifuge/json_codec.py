"""Centrifugo's protocol in JSON: one command, reply or push per line.

Source: Centrifugo client protocol, version 2; centrifugal/protocol, client.proto.
"""
from __future__ import annotations

import base64
from typing import Any, Callable, Iterator, Mapping, Sequence

from ..channels.presence import Info
from ..channels.publication import BINARY, JSON, Position, Publication
from ..channels.rules import checked_channel
from ..connections.codec import Payload
from ..errors import InvalidSetting
from ..wire.payloads import decode_json, dumps, encode_json
from . import values
from .errors import MALFORMED, CloseConnection, CommandError, bad_request, not_available
from .values import Command, Result

MAX_OFFSET = (1 << 64) - 1
MAX_COMMAND_ID = (1 << 32) - 1
"""The largest offset and the largest command id in the protocol."""

REJECT_UNRECOVERED = 2
"""The bit in a subscription's ``flag`` that asks for error 112 if recovery is impossible."""

JsonObject = dict[str, Any]
"""A decoded object."""


# Reading

def objects(text: str) -> list[JsonObject]:
    """Return the objects of one message, separated by newlines.

    Raises:
        CloseConnection: 3501: one is not a JSON object, or there is none.
    """
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    try:
        found = [decode_json(line) for line in lines]
    except (ValueError, RecursionError):
        raise CloseConnection(MALFORMED) from None
    if not all(isinstance(one, dict) for one in found):
        raise CloseConnection(MALFORMED)
    return found


def command_of(found: JsonObject) -> Command:
    """Return the command in an object.

    Raises:
        CloseConnection: 3501: it has no request, or a malformed one.
    """
    if not found:
        return Command(0, values.Pong())
    for name, read in _READERS.items():
        fields = found.get(name)
        if fields is not None:
            if not isinstance(fields, dict):
                break
            number = whole(found, "id", 0, MAX_COMMAND_ID)
            try:
                return Command(number, read(fields))
            except CommandError as error:
                return Command(number, error)
    raise CloseConnection(MALFORMED)


def whole(fields: JsonObject, name: str, least: int, most: int) -> int:
    """Return a whole number, 0 if it is missing.

    Raises:
        CloseConnection: 3501: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise CloseConnection(MALFORMED)
    return value


def text_of(fields: JsonObject, name: str) -> str:
    """Return text, empty if it is missing; see ``whole``."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CloseConnection(MALFORMED)
    return value


def flag_of(fields: JsonObject, name: str) -> bool:
    """Return true or false, false if it is missing; see ``whole``."""
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise CloseConnection(MALFORMED)
    return bool(value)


def channel_of(fields: JsonObject) -> str:
    """Return the channel that a request is about.

    Raises:
        CloseConnection: 3501: it names none.
        CommandError: 107: the channel's name is invalid.
    """
    channel = text_of(fields, "channel")
    if not channel:
        raise CloseConnection(MALFORMED)
    try:
        return checked_channel(channel)
    except InvalidSetting:
        raise bad_request() from None


def check_plain(fields: JsonObject) -> None:
    """Refuse requests for another kind of channel: a map, or shared polling.

    Raises:
        CommandError: 108.
    """
    if whole(fields, "type", -(1 << 31), (1 << 31) - 1) or text_of(fields, "key"):
        raise not_available()


def position_of(fields: JsonObject) -> Position:
    """Return the position in a request; see ``whole``."""
    return Position(whole(fields, "offset", 0, MAX_OFFSET), text_of(fields, "epoch"))


def _recovered_from(fields: Any) -> Position | None:
    """Return the position to recover from; None: no recovery."""
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise CloseConnection(MALFORMED)
    return position_of(fields) if flag_of(fields, "recover") else None


def _connect(fields: JsonObject) -> values.ConnectRequest:
    subs = fields.get("subs")
    if subs is not None and not isinstance(subs, dict):
        raise CloseConnection(MALFORMED)
    seen = {name: _recovered_from(one) for name, one in (subs or {}).items()}
    return values.ConnectRequest(text_of(fields, "token"), text_of(fields, "name"),
                                 fields.get("data"), seen)


def _subscribe(fields: JsonObject) -> values.SubscribeRequest:
    channel = channel_of(fields)
    check_plain(fields)
    flag = whole(fields, "flag", 0, MAX_OFFSET)
    return values.SubscribeRequest(channel, text_of(fields, "token"), _recovered_from(fields),
                                   bool(flag & REJECT_UNRECOVERED))


def _sub_refresh(fields: JsonObject) -> values.SubRefreshRequest:
    channel = channel_of(fields)
    check_plain(fields)
    return values.SubRefreshRequest(channel, text_of(fields, "token"))


def _publish(fields: JsonObject) -> values.PublishRequest:
    channel, data = channel_of(fields), fields.get("data")
    check_plain(fields)
    if data is None:
        raise bad_request()
    return values.PublishRequest(channel, data)


def _history(fields: JsonObject) -> values.HistoryRequest:
    channel = channel_of(fields)
    limit = whole(fields, "limit", -(1 << 31), (1 << 31) - 1)
    since = fields.get("since")
    if since is not None and not isinstance(since, dict):
        raise CloseConnection(MALFORMED)
    return values.HistoryRequest(channel, None if limit < 0 else limit,
                                 None if since is None else position_of(since),
                                 flag_of(fields, "reverse"))


_READERS: dict[str, Callable[[JsonObject], values.Request]] = {
    "connect": _connect,
    "subscribe": _subscribe,
    "unsubscribe": lambda fields: values.UnsubscribeRequest(channel_of(fields)),
    "publish": _publish,
    "presence": lambda fields: values.PresenceRequest(channel_of(fields)),
    "presence_stats": lambda fields: values.PresenceStatsRequest(channel_of(fields)),
    "history": _history,
    "ping": lambda fields: values.PingRequest(),
    "send": lambda fields: values.SendRequest(fields.get("data")),
    "rpc": lambda fields: values.RpcRequest(text_of(fields, "method"), fields.get("data")),
    "refresh": lambda fields: values.RefreshRequest(text_of(fields, "token")),
    "sub_refresh": _sub_refresh}
"""How to read each request; the first name found in an object counts."""


# Writing

def encoded_data(publication: Publication) -> bytes:
    """Return a publication's data as JSON; bytes become base64."""
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
    found: JsonObject = {"user": info.user, "client": info.client}
    if info.connection is not None:
        found["conn_info"] = info.connection
    if info.channel is not None:
        found["chan_info"] = info.channel
    return encode_json(found)


def encoded_position(position: Position) -> bytes:
    """Return a position as the protocol's object."""
    return encode_json({"offset": position.offset, "epoch": position.epoch})


def encoded_clients(clients: Mapping[str, Info]) -> bytes:
    """Return clients as an object, by name."""
    return b"{%s}" % b",".join(encode_json(client) + b":" + encoded_info(info)
                               for client, info in clients.items())


def _object(fields: JsonObject, *parts: tuple[bytes, bytes | None]) -> bytes:
    """Return an object of values and of parts already encoded; a part that is None is left out."""
    found = [dumps(fields)[1:-1].encode()] if fields else []
    found += [b'"%s":%s' % part for part in parts if part[1] is not None]
    return b"{%s}" % b",".join(found)


def _expiry(ttl: int | None) -> JsonObject:
    return {} if ttl is None else {"expires": True, "ttl": ttl}


def _connected(result: values.ConnectResult) -> bytes:
    fields = {"client": result.client, "version": result.version, **_expiry(result.ttl)}
    if result.ping:
        fields.update(ping=result.ping, pong=True)
    subs = b",".join(encode_json(channel) + b":" + _subscribed(one)
                     for channel, one in result.subs.items())
    return _object(fields, (b"data", result.data), (b"subs", b"{%s}" % subs if subs else None))


def _subscribed(result: values.SubscribeResult) -> bytes:
    fields = _expiry(result.ttl)
    if result.position is not None:
        fields.update(recoverable=True, positioned=True, epoch=result.position.epoch)
        if result.position.offset:
            fields["offset"] = result.position.offset
    if result.recovered:
        fields["recovered"] = True
    if result.was_recovering:
        fields["was_recovering"] = True
    missed = b"[%s]" % b",".join(result.publications) if result.publications else None
    return _object(fields, (b"data", result.data), (b"publications", missed))


_WRITERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    values.ConnectResult: (b"connect", _connected),
    values.RefreshResult: (b"refresh", lambda result: _object(
        {"client": result.client, **_expiry(result.ttl)})),
    values.SubscribeResult: (b"subscribe", _subscribed),
    values.UnsubscribeResult: (b"unsubscribe", lambda result: b"{}"),
    values.SubRefreshResult: (b"sub_refresh", lambda result: _object(_expiry(result.ttl))),
    values.PublishResult: (b"publish", lambda result: b"{}"),
    values.PresenceResult: (b"presence", lambda result: _object(
        {}, (b"presence", result.clients))),
    values.PresenceStatsResult: (b"presence_stats", lambda result: _object(
        {"num_clients": result.clients, "num_users": result.users})),
    values.HistoryResult: (b"history", lambda result: b'{"publications":[%s],%s' % (
        b",".join(result.publications), encoded_position(result.top)[1:])),
    values.RpcResult: (b"rpc", lambda result: _object({}, (b"data", result.data)))}
"""The name of each result, and how to write it."""


def push(channel: str | None, name: bytes, contents: bytes) -> bytes:
    """Return a push, which answers no command."""
    where = b"" if channel is None else b'"channel":%s,' % encode_json(channel)
    return b'{"push":{%s"%s":%s}}' % (where, name, contents)


class JsonCodec:
    """Speak the protocol in JSON; see ``ProtocolCodec``."""

    is_binary = False
    keeps_positions = True
    awaits_pings = True
    reason = "disconnected"     # some clients look at the code only if there is a reason

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @property
    def connected(self) -> JsonCodec:
        """See ``ProtocolCodec``."""
        return JSON_CONNECTED

    def commands(self, data: bytes) -> Iterator[Command]:
        """See ``ProtocolCodec``."""
        return map(command_of, objects(data.decode("utf-8")))

    def encoded(self, publications: Sequence[Publication]) -> list[bytes]:
        """See ``ProtocolCodec``."""
        return [encoded_publication(one) for one in publications]

    clients = staticmethod(encoded_clients)

    def reply(self, number: int, result: Result) -> bytes:
        """See ``ProtocolCodec``."""
        name, write = _WRITERS[type(result)]
        return b'{"id":%d,"%s":%s}' % (number, name, write(result))

    def error(self, number: int, error: CommandError) -> bytes:
        """See ``ProtocolCodec``."""
        found: JsonObject = {"code": error.code, "message": error.message}
        if error.temporary:
            found["temporary"] = True
        return b'{"id":%d,"error":%s}' % (number, encode_json(found))

    def join(self, replies: Sequence[bytes]) -> bytes:
        """See ``ProtocolCodec``."""
        return b"\n".join(replies)

    def subscribed(self, channel: str, result: values.SubscribeResult) -> bytes:
        """See ``ProtocolCodec``."""
        return push(channel, b"subscribe", _subscribed(result))

    def unsubscribed(self, channel: str, code: int, reason: str) -> bytes:
        """See ``ProtocolCodec``."""
        return push(channel, b"unsubscribe", encode_json({"code": code, "reason": reason}))

    def publication(self, channel: str, publication: Publication) -> Payload:
        """See ``Codec``."""
        return False, push(channel, b"pub", encoded_publication(publication))

    def message(self, publication: Publication) -> Payload | None:
        """See ``Codec``."""
        contents = b'{"data":%s}' % encoded_data(publication)
        return False, push(None, b"message", contents)

    def of_channel(self, channel: str) -> tuple[bytes, ...]:
        """See ``Codec``."""
        return tuple(push(channel, name, b"").rstrip(b"}") for name in (b"pub", b"join", b"leave"))

    def presence(self, channel: str, info: Info, joined: bool) -> Payload:
        """See ``Codec``."""
        contents = b'{"info":%s}' % encoded_info(info)
        return False, push(channel, b"join" if joined else b"leave", contents)

    def ping(self) -> Payload:
        """See ``Codec``."""
        return False, b"{}"


class NotConnectedJsonCodec(JsonCodec):
    """Speak it with a client that has not connected yet: it gets no messages."""

    def message(self, publication: Publication) -> None:
        """See ``Codec``."""


JSON_CONNECTED = JsonCodec()
JSON_NOT_CONNECTED = NotConnectedJsonCodec()
