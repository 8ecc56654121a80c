"""What other processes may ask of a push server: Centrifugo's server API, apart from HTTP.

Source: Centrifugo server API, HTTP API methods and errors.
"""
from __future__ import annotations

import fnmatch
import logging
import re
import socket
import time
import uuid
from contextlib import suppress
from typing import Any, Callable, Iterable, Iterator, Mapping

from ..centrifuge import CentrifugeConnection
from ..centrifuge.json_codec import encoded_clients, encoded_publication
from ..connections.connection import Connection
from ..errors import ConnectionClosed, Overloaded, PushError
from ..server import MAX_KEY, PushServer, made_of_presence
from ..version import __version__
from ..wire.disconnects import BY_SITE, EXPIRED, Disconnect, checked_disconnect
from ..wire.payloads import encode_json
from .fields import BadField, Fields, checked_channel_field
from .patience import MAX_ANSWERS, MAX_SECONDS, answers

logger = logging.getLogger(__name__)

INTERNAL, NOT_FOUND, LIMIT_EXCEEDED, BAD_REQUEST, NOT_AVAILABLE, TOO_MANY, UNRECOVERABLE = \
    100, 104, 106, 107, 108, 111, 112
"""Error codes of the API."""

MAX_COMMANDS = 10_000
"""Most commands in one batch, and most channels in one broadcast."""

MAX_TIME = 10.0 ** 10
"""The latest time that a request may give, in seconds since 1970."""

_PUBLISH = ("data", "b64data", "tags", "idempotency_key", "skip_history")
_NO_DELTA = ("delta", "version", "version_epoch")
_WHO = ("user", "client")
_PRO = ("session", "all_users", "label_filter")


class CallError(PushError):
    """A call is answered with an error.

    Args:
        code: the error's number.
        message: one line that says what to change.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def encoded(self) -> bytes:
        """Return the error as JSON."""
        return encode_json({"code": self.code, "message": self.message})


class Methods:
    """Answer the calls of Centrifugo's server API. Safe from any thread.

    Args:
        server: the push server that carries them out.
    """

    def __init__(self, server: PushServer) -> None:
        self._server = server
        self._uid = str(uuid.uuid4())
        self._started = time.monotonic()
        self._methods: Mapping[str, Callable[[Fields], bytes]] = {
            name: getattr(self, f"_do_{name}") for name in METHODS}

    def answer(self, method: str, request: Any) -> bytes:
        """Return a call's result as JSON.

        Args:
            method: its name.
            request: its decoded body.

        Raises:
            CallError: it cannot be done; the message says why.
        """
        if method not in self._methods:
            raise CallError(NOT_FOUND, f"there is no method {method!r:.40}: use "
                            f"{', '.join(METHODS)}")
        try:
            return self._methods[method](Fields(request))
        except CallError:
            raise
        except PushError as error:  # a field, a channel, data: each message says what to change
            raise _call_error(error) from None
        except Exception:
            logger.exception("API: %s failed", method)
            raise CallError(INTERNAL, "internal server error: see the site's log") from None

    def answer_all_named(self, commands: Iterable[Any]) -> bytes:
        """Answer several calls like ``answer_named``, one reply a line."""
        return b"\n".join(answers(commands, self.answer_named, refused))

    def answer_named(self, command: Any) -> bytes:
        """Answer a call whose body names the method, as older clients send it.

        Args:
            command: the decoded ``{"method": ..., "params": {...}}``.

        Returns:
            The reply as JSON, with a result or an error.
        """
        try:
            fields = Fields(command)
            fields.expect(("method", "params", "id"))
            params = fields.raw("params")
            return b'{"result":%s}' % self.answer(fields.text("method", needed=True),
                                                  {} if params is None else params)
        except CallError as error:
            return b'{"error":%s}' % error.encoded()
        except BadField as error:
            return b'{"error":%s}' % CallError(BAD_REQUEST, str(error)).encoded()

    def _do_batch(self, request: Fields) -> bytes:
        request.expect(("commands", "parallel"))
        request.flag("parallel")
        commands = request.raw("commands")
        if not isinstance(commands, list) or len(commands) > MAX_COMMANDS:
            raise BadField(f"commands: send a list of at most {MAX_COMMANDS} objects such as "
                           '{"publish": {...}}')
        return b'{"replies":[' + b",".join(answers(commands, self._reply, refused)) + b"]}"

    def _reply(self, command: Any) -> bytes:
        """Answer one command of a batch."""
        try:
            given = {name: value for name, value in command.items() if value is not None} \
                if isinstance(command, dict) else {}
            if len(given) != 1:
                raise CallError(BAD_REQUEST, "a command has one method: send "
                                '{"publish": {...}}')
            (method, request), = given.items()
            if method == "batch":
                raise CallError(NOT_FOUND, "a batch cannot hold a batch: send its commands here")
            return b"{%s:%s}" % (encode_json(method), self.answer(method, request))
        except CallError as error:
            return b'{"error":%s}' % error.encoded()

    # Publishing

    def _do_publish(self, request: Fields) -> bytes:
        request.expect(("channel", *_PUBLISH), _NO_DELTA)
        return self._publish(request.channel(), *_to_publish(request))

    def _publish(self, channel: str, data: Any, options: Mapping[str, Any]) -> bytes:
        position = self._server.publish(channel, data, **options)
        return encode_json(position._asdict() if position.offset else {})

    def _do_broadcast(self, request: Fields) -> bytes:
        request.expect(("channels", *_PUBLISH), _NO_DELTA)
        channels = request.texts("channels")
        if not 0 < len(channels) <= MAX_COMMANDS:
            raise BadField(f"channels: send a list of 1 to {MAX_COMMANDS} names")
        data, options = _to_publish(request)
        return b'{"responses":[' + b",".join(
            answers(channels, lambda channel: self._publish_one(channel, data, options),
                    refused)) + b"]}"

    def _publish_one(self, channel: str, data: Any, options: Mapping[str, Any]) -> bytes:
        """Publish to one channel of several; an error in one does not affect the others."""
        try:
            checked_channel_field(channel)
            return b'{"result":%s}' % self._publish(channel, data, options)
        except PushError as error:
            return b'{"error":%s}' % _call_error(error).encoded()

    # Users

    def _connections(self, request: Fields) -> Iterator[Connection]:
        """Find the connections that a request is about: all of a user's, or one client's."""
        user, client = request.text("user"), request.text("client")
        if not user and not client:
            raise BadField("user is missing: send it")
        for connection in self._server.connections(user or None):
            if not client or connection.has_client and connection.client == client:
                yield connection

    @staticmethod
    def _means_user(request: Fields) -> bool:
        """Tell whether a request is about all connections of a user, even those yet to come."""
        return bool(request.text("user")) and not request.text("client")

    def _do_subscribe(self, request: Fields) -> bytes:
        request.expect((*_WHO, "channel", "info", "b64info", "data", "b64data", "recover_since"),
                       (*_PRO, "expire_at", "override"))
        channel, since = request.channel(), request.position("recover_since")
        info, data = request.data("info", "b64info"), request.data()
        if isinstance(info, bytes) or isinstance(data, bytes):
            raise BadField("base64 is for binary clients, which are not supported: use info and "
                           "data")
        for connection in self._connections(request):
            if isinstance(connection, CentrifugeConnection):
                connection.subscribe(channel, since=since, info=info, data=data)
            else:
                connection.subscribe(channel)
        return b"{}"

    def _do_unsubscribe(self, request: Fields) -> bytes:
        request.expect((*_WHO, "channel"), _PRO)
        channel = request.channel()
        if self._means_user(request):
            self._server.unsubscribe_id(request.text("user"), channel)
            return b"{}"
        for connection in self._connections(request):
            connection.unsubscribe(channel)
        return b"{}"

    def _do_disconnect(self, request: Fields) -> bytes:
        request.expect((*_WHO, "disconnect", "whitelist"), _PRO)
        disconnect, spared = BY_SITE, set(request.texts("whitelist"))
        given = request.inner("disconnect")
        if given is not None:
            given.expect(("code", "reason"), ("reconnect",))
            disconnect = checked_disconnect(given.whole("code"), given.text("reason"))
        if self._means_user(request) and not spared:
            self._server.disconnect(request.text("user"), *disconnect)
            return b"{}"
        for connection in list(self._connections(request)):
            if not (connection.has_client and connection.client in spared):
                self._end(connection, disconnect)
        return b"{}"

    @staticmethod
    def _end(connection: Connection, disconnect: Disconnect) -> None:
        with suppress(ConnectionClosed):
            connection.handle.end(disconnect)

    def _do_refresh(self, request: Fields) -> bytes:
        request.expect((*_WHO, "expired", "expire_at"), (*_PRO, "info"))
        expired, until = request.flag("expired"), request.whole("expire_at", most=int(MAX_TIME))
        for connection in list(self._connections(request)):
            if expired:
                self._end(connection, EXPIRED)
            elif getattr(connection, "connected", True):
                connection.expire(max(0.0, until - time.time()) if until else None)
        return b"{}"

    # Channels

    def _do_presence(self, request: Fields) -> bytes:
        request.expect(("channel",))
        return b'{"presence":%s}' % made_of_presence(self._server, request.channel(),
                                                     encoded_clients)

    def _do_presence_stats(self, request: Fields) -> bytes:
        request.expect(("channel",))
        stats = self._server.presence_stats(request.channel())
        return encode_json({"num_clients": stats.clients, "num_users": stats.users})

    def _channel_with_history(self, request: Fields) -> str:
        channel = request.channel()
        if not self._server.rule(channel).history:
            raise CallError(NOT_AVAILABLE, "not available: the channel has no history; give it a "
                            "ChannelRule with one")
        return channel

    def _do_history(self, request: Fields) -> bytes:
        request.expect(("channel", "limit", "since", "reverse"))
        limit, reverse = request.whole("limit", -(1 << 31), (1 << 31) - 1), request.flag("reverse")
        since, channel = request.position("since"), self._channel_with_history(request)
        page = self._server.history(channel, None if limit < 0 else limit, since, reverse)
        if since is not None and not page.recovered:
            raise CallError(UNRECOVERABLE, "unrecoverable position: what followed it is lost")
        return b'{"publications":[' + b",".join(map(encoded_publication, page.publications)) \
            + b"]," + encode_json(page.top._asdict())[1:]

    def _do_history_remove(self, request: Fields) -> bytes:
        request.expect(("channel",))
        self._server.remove_history(self._channel_with_history(request))
        return b"{}"

    def _do_channels(self, request: Fields) -> bytes:
        request.expect(("pattern",))
        matches = _matcher(request.text("pattern"))
        return encode_json({"channels": {
            channel: {"num_clients": count} for channel, count in self._server.channels().items()
            if matches(channel)}})

    def _do_info(self, request: Fields) -> bytes:
        request.expect(())
        connections, channels = self._server.connections(), self._server.channels()
        users = {getattr(one, "user_id", one.Id) for one in connections}
        return encode_json({"nodes": [{
            "uid": self._uid, "name": socket.gethostname(), "version": f"pushserver {__version__}",
            "num_clients": len(connections), "num_users": len(users),
            "num_channels": len(channels), "num_subs": sum(channels.values()),
            "uptime": int(time.monotonic() - self._started)}]})


METHODS = tuple(name[len("_do_"):] for name in vars(Methods) if name.startswith("_do_"))


def refused(command: Any) -> bytes:
    """Return the answer to a command that is not carried out: those before it took too much."""
    return b'{"error":%s}' % CallError(
        LIMIT_EXCEEDED, f"limit exceeded: the commands before it took more than {MAX_SECONDS:.0f} "
        f"seconds, or {MAX_ANSWERS >> 20} MiB of answers: send the rest again").encoded()


def _call_error(error: PushError) -> CallError:
    """Return how a call is answered that the server refuses."""
    code = TOO_MANY if isinstance(error, Overloaded) else BAD_REQUEST
    return CallError(code, " ".join(str(error).split()))


def _to_publish(request: Fields) -> tuple[Any, dict[str, Any]]:
    """Return what to publish, and the options of ``publish``."""
    data = request.data()
    if data is None:
        raise BadField("data is missing: send what to publish")
    key = request.text("idempotency_key")
    if len(key) > MAX_KEY:
        raise BadField(f"idempotency_key has {len(key)} characters: use at most {MAX_KEY}")
    return data, {"key": key or None, "tags": request.tags(),
                  "remember": not request.flag("skip_history")}


def _matcher(pattern: str) -> Callable[[str], object]:
    """Return a function that tells whether a name matches a pattern; an empty one matches all."""
    if any(char in pattern for char in "{}\\"):
        raise BadField("pattern has a character that is not supported: use *, ? and [abc]")
    return re.compile(fnmatch.translate(pattern)).match if pattern else lambda channel: True
