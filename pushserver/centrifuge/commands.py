"""The protocol's commands: what each does, and what it answers."""
from __future__ import annotations

import math
from typing import Any

from ..errors import HandshakeRefused, InvalidData, InvalidSetting, MessageTooLarge
from ..frames import OPCODE_TEXT, encode_json, frame
from ..handshake import checked_id
from ..history import Page
from ..tokens import Claims
from ..version import __version__
from . import codes, wire
from .codes import CloseConnection
from .session import Command, Session
from .tokens import checked, expect_expiry, expiry
from .wire import Request

SHORTEST_CLIENT = 60
"""Bytes that each client takes at least in a reply to ``presence``."""


# Who the client is

def connect(session: Session, number: int, request: Request) -> None:
    """Find out who the client is, and let it into the channels that it is in from the start."""
    connection = session.connection
    token = wire.text_of(request, "token")
    connection.name = wire.text_of(request, "name")
    claims = _claims(session, token)
    _identify(session, claims)
    extra = session.encoded("connecting", session.call(connection.connecting,
                                                       request.get("data")))
    result = _connected(session, claims, extra)

    def answer(subscriptions: bytes) -> bytes:
        subs = b',"subs":{' + subscriptions + b"}" if subscriptions else b""
        return frame(OPCODE_TEXT, wire.reply(number, "connect", result[:-1] + subs + b"}"))

    asked = request.get("subs")
    session.subscriptions.start({} if asked is None else asked, answer)
    expect_expiry(session, claims)


def _claims(session: Session, token: str) -> Claims | None:
    """Return what a client's token says, or the one in its URL; None if there is none."""
    connection = session.connection
    if token:
        return _checked(session, token)
    if connection.url_claims is None and not connection.has_id and not connection.anonymous:
        raise CloseConnection(codes.INVALID_TOKEN)
    found: Claims | None = connection.url_claims
    return found


def _checked(session: Session, token: str) -> Claims:
    return checked(session, lambda tokens: tokens.connection(token),
                   CloseConnection(codes.INVALID_TOKEN))


def _identify(session: Session, claims: Claims | None) -> None:
    """Take the user from the token, or from the URL; they must not say different things."""
    connection = session.connection
    user = claims.user if claims else ""
    if connection.has_id:
        if user and user != connection.Id:
            raise CloseConnection(codes.INVALID_TOKEN)
        connection.user_id = connection.Id
    elif user:
        _rename(session, user)
        connection.user_id = user
    if claims is not None:
        _take_info(session, claims)
        session.subscriptions.add_at_start(claims.channels)


def _rename(session: Session, user: str) -> None:
    try:
        checked_id(user)
    except HandshakeRefused:
        raise CloseConnection(codes.INVALID_TOKEN) from None
    try:
        session.server.rename_connection(session.connection, user)
    except HandshakeRefused:
        raise CloseConnection(codes.CONNECTION_LIMIT) from None


def _take_info(session: Session, claims: Claims) -> None:
    if claims.info is not None:
        session.connection.info = claims.info


def _connected(session: Session, claims: Claims | None, extra: bytes | None) -> bytes:
    """Return what a client that has connected is told, but for its channels."""
    result: dict[str, Any] = {"client": session.connection.client,
                              "version": f"pushserver {__version__}", **expiry(session, claims)}
    interval = session.server.settings.ping_interval
    if interval:
        result.update(ping=math.ceil(interval), pong=True)
    found = encode_json(result)
    return found if extra is None else found[:-1] + b',"data":' + extra + b"}"


def refresh(session: Session, number: int, request: Request) -> bytes:
    """Take a newer token for the connection."""
    token = wire.text_of(request, "token")
    if not token or not session.refreshable:
        raise CloseConnection(codes.BAD_REQUEST)
    claims = _checked(session, token)
    if claims.user != session.connection.user_id:
        raise CloseConnection(codes.INVALID_TOKEN)
    _take_info(session, claims)
    expect_expiry(session, claims)
    return encode_json({"client": session.connection.client, **expiry(session, claims)})


# Channels

def subscribe(session: Session, number: int, request: Request) -> None:
    """Let the client into a channel, with what it has missed there."""
    session.subscriptions.subscribe(number, request)


def unsubscribe(session: Session, number: int, request: Request) -> bytes:
    """Take the client out of a channel."""
    session.subscriptions.unsubscribe(request)
    return b"{}"


def sub_refresh(session: Session, number: int, request: Request) -> bytes:
    """Take a newer token for a channel."""
    return session.subscriptions.refresh(request)


def publish(session: Session, number: int, request: Request) -> bytes:
    """Publish for the client, as who it is."""
    channel, data = wire.channel_of(request), request.get("data")
    if data is None:
        raise codes.bad_request()
    session.check(session.connection.allows_publish, channel, data)
    try:
        session.server.publish_from(channel, data, info=wire.encoded_info(session.info(channel)))
    except (InvalidData, MessageTooLarge, InvalidSetting):
        raise codes.bad_request() from None
    return b"{}"


def presence(session: Session, number: int, request: Request) -> bytes:
    """Tell who is in a channel."""
    found = session.server.presence(_asked_presence(session, request))
    room = session.room
    if len(found) * SHORTEST_CLIENT > room:
        raise codes.limit_exceeded()
    parts = []
    for client, info in found.items():
        parts.append(encode_json(client) + b":" + wire.encoded_info(info))
        room -= len(parts[-1]) + 1
        if room < 0:
            raise codes.limit_exceeded()
    return b'{"presence":{' + b",".join(parts) + b"}}"


def presence_stats(session: Session, number: int, request: Request) -> bytes:
    """Tell how many are in a channel."""
    stats = session.server.presence_stats(_asked_presence(session, request))
    return encode_json({"num_clients": stats.clients, "num_users": stats.users})


def _asked_presence(session: Session, request: Request) -> str:
    channel = wire.channel_of(request)
    session.check(session.connection.allows_presence, channel)
    if not session.server.rule(channel).keeps_presence:
        raise codes.not_available()
    return channel


def history(session: Session, number: int, request: Request) -> bytes:
    """Read what a channel remembers."""
    channel = wire.channel_of(request)
    limit = wire.whole(request, "limit", -(1 << 31), (1 << 31) - 1)
    reverse = wire.flag_of(request, "reverse")
    asked = request.get("since")
    if asked is not None and not isinstance(asked, dict):
        raise CloseConnection(codes.BAD_REQUEST)
    since = None if asked is None else wire.position_of(asked)
    session.check(session.connection.allows_history, channel)
    if not session.server.rule(channel).history:
        raise codes.not_available()
    page = session.server.history(channel, None if limit < 0 else limit, since, reverse)
    if since is not None and not page.recovered:
        raise codes.unrecoverable()
    return _history_result(page, session.room)


def _history_result(page: Page, room: int) -> bytes:
    """Return a page, or as much of its beginning as fits a reply: the client asks on.

    The first publication is there whatever its size: it has fitted an outbox before.
    """
    parts: list[bytes] = []
    for publication in page.publications:
        encoded = wire.encoded_publication(publication)
        room -= len(encoded)
        if room < 0 and parts:
            break
        parts.append(encoded)
    top = encode_json({"offset": page.top.offset, "epoch": page.top.epoch})
    return b'{"publications":[' + b",".join(parts) + b"]," + top[1:]


# What belongs to no channel

def ping(session: Session, number: int, request: Request) -> bytes:
    """Refuse: it is the server that pings."""
    raise codes.not_available()


def rpc(session: Session, number: int, request: Request) -> bytes:
    """Have the site answer a call."""
    method = wire.text_of(request, "method")
    answer = session.encoded("rpc", session.call(session.connection.rpc, method,
                                                 request.get("data")))
    return b"{}" if answer is None else b'{"data":%s}' % answer


def send(session: Session, number: int, request: Request) -> None:
    """Give the site a message."""
    session.call(session.connection.message, request.get("data"))


COMMANDS: dict[str, Command] = {
    "connect": connect, "subscribe": subscribe, "unsubscribe": unsubscribe, "publish": publish,
    "presence": presence, "presence_stats": presence_stats, "history": history, "ping": ping,
    "send": send, "rpc": rpc, "refresh": refresh, "sub_refresh": sub_refresh}
