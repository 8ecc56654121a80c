"""The link of a ``PushClient`` with channels: one of its connections."""
from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future
from random import SystemRandom
from typing import Any, Callable, Protocol, Sequence

from pushserver.wire.disconnects import ABNORMAL, Disconnect
from pushserver.wire.frames import OPCODE_TEXT
from ws4py.messaging import PongControlMessage

from ..backoff import Backoff
from ..errors import ChannelLost, CommandFailed, PushError
from ..options import ConnectionOptions
from ..websocket.connection import Connection
from ..websocket.waker import NEVER
from .answers import Answers
from .events import Connected, Event, Gap, Ping, Presence, Publication, Reply, Retry, TokenExpiry
from .protocol import PONG, ChannelProtocol
from .replies import TOKEN_EXPIRED
from .schedule import Schedule
from .tokens import TokenCalls, TokenRequest, token_problem

logger = logging.getLogger("pushclient")

REFRESH_AT = 0.8, 0.9
"""The share of a token's lifetime after which it is replaced: not at once for all clients."""

COMING_BACK = Disconnect(4000, "coming back")
"""Tells the server that the client leaves this connection for another."""

TOKEN_TOO_SLOW = Disconnect(ABNORMAL.code, "the token function has not returned in time")
NO_ANSWER = Disconnect(ABNORMAL.code, "the server did not answer connect")

DeliverPublications = Callable[[Sequence[Publication], Connection], None]
"""Takes publications and their connection; returns once they are stored or handled."""


class Listener(Protocol):
    """Is told everything but publications, always on the client's thread."""

    def gap(self, gap: Gap) -> None:
        """Take note of a gap."""

    def presence(self, presence: Presence) -> None:
        """Take note of who joined or left."""

    def lost(self, lost: ChannelLost) -> bool:
        """Take note of a lost channel; return False if nobody handles that."""


class ChannelLink:
    """A connection that subscribes to the client's channels and passes on publications.

    To the client it is open once the server has answered ``connect``. ``command``, ``enter`` and
    ``leave`` are for any thread; the rest belongs to the client's thread.

    Args:
        options: the connection's.
        deliver: gets publications.
        listener: is told everything else.
        protocol: the client's, for all its connections.
        token_calls: call token functions.
        answers: to the application's commands.
        opened: called when the server has accepted the client.

    Attributes:
        connection: the connection.
        failure: an error that says more about the end than the close code does, or None.
        has_received: whether a publication has come.
    """

    def __init__(self, options: ConnectionOptions, deliver: DeliverPublications, listener: Listener,
                 protocol: ChannelProtocol, token_calls: TokenCalls, answers: Answers,
                 opened: Callable[[], None]) -> None:
        self.connection = Connection(self, options, values=True)
        self.failure: PushError | None = None
        self.has_received = False
        self._timeout = options.timeout
        self._protocol = protocol
        self._token_calls = token_calls
        self._answers = answers
        self._opened = opened
        self._deliver = deliver
        self._listener = listener
        self._turn = 0              # the protocol's, once this connection has begun
        self._is_accepted = False   # the server has answered ``connect``
        self._answer_by = NEVER
        self._schedule = Schedule()     # guarded by the protocol's lock
        self._tokens: deque[tuple[TokenRequest, Any, BaseException | None]] = deque()

    # any thread

    def command(self, name: str, request: dict[str, Any], *, wake: bool = False,
                wait: bool = True) -> Future[Any]:
        """Send a command; return a future for its result.

        Args:
            name: the command's.
            request: its fields.
            wake: whether a thread is going to wait for the result: the client may not be reading.
            wait: see ``Sender.send_frame``.

        Raises:
            InvalidData: JSON cannot hold it.
            ConnectionClosed: it was not sent.
        """
        number, text = self._protocol.command(name, request)
        future = self._answers.expect(number)
        if wake:
            self.connection.wake()
        try:
            self.connection.sender.send_frame(OPCODE_TEXT, text.encode("utf-8"), wait=wait)
        except BaseException:
            self._answers.forget(number)
            raise
        return future

    def enter(self) -> None:
        """Subscribe to what is wanted: now, or once the server has accepted the client."""
        with self._protocol.lock:
            if self._turn == self._protocol.turn:
                self._say(self._protocol.enter())
                for request in self._protocol.take_requests():
                    self._schedule.at(request.channel, time.monotonic() + self._timeout)
                    self._call_for_token(request)

    def leave(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        with self._protocol.lock:
            text = self._protocol.unsubscribe(channel)
            if self._turn == self._protocol.turn:
                self._say(text)

    def _call_for_token(self, request: TokenRequest) -> None:
        self._token_calls.call(request, self._token_made)
        self.connection.wake()  # its current wait may be too long

    def _token_made(self, request: TokenRequest, token: Any, error: BaseException | None) -> None:
        self._tokens.append((request, token, error))
        self.connection.wake()

    def _say(self, text: str) -> None:
        """Send one of the protocol's own frames, unless it is empty."""
        if text:
            self.connection.sender.try_send(OPCODE_TEXT, text.encode("utf-8"))

    # told by the connection

    def opened(self) -> None:
        """Say who the client is, as soon as that is known."""
        source = self._protocol.token.source
        if callable(source):
            self._answer_by = time.monotonic() + self._timeout
            self._token_calls.call(TokenRequest("", 0, source), self._token_made)
        else:
            self._introduce(source or "")

    def _introduce(self, token: str) -> None:
        self._answer_by = time.monotonic() + self._timeout
        with self._protocol.lock:
            self._say(self._protocol.begin(token))
            self._turn = self._protocol.turn

    def received(self, messages: Sequence[Any]) -> None:
        """Deliver publications and act on everything else, in the order in which it came."""
        publications: list[Publication] = []
        for message in messages:
            for event in self._events(message):
                if type(event) is Publication:
                    publications.append(event)
                    continue
                publications = self._pass_on(publications)
                self._act(event)
            if self.failure is not None:
                return
        self._pass_on(publications)

    def _events(self, message: Any) -> list[Event]:
        try:
            return self._protocol.receive(message if isinstance(message, str) else "?")
        except CommandFailed as error:
            return [error]

    def _pass_on(self, publications: list[Publication]) -> list[Publication]:
        if publications:
            self.has_received = True
            self._deliver(publications, self.connection)
        return []

    def ponged(self, pong: PongControlMessage) -> None:
        """Do nothing: any traffic counts as an answer."""

    def closed(self, end: Disconnect) -> None:
        """Fail the commands that wait for answers: none will come."""
        self._token_calls.forget()
        self._answers.lose()

    @property
    def due(self) -> float:
        """Return when ``run_due`` has something to do."""
        if self._tokens:
            return 0.0
        due = self._schedule.next
        return due if self._is_accepted else min(due, self._answer_by)

    def run_due(self) -> None:
        """Do what is due, and use the tokens that have come."""
        if not self._is_accepted and time.monotonic() >= self._answer_by:
            self.connection.drop(NO_ANSWER if self._turn else TOKEN_TOO_SLOW)
            return
        self._take_tokens()
        self._do_due()

    # what the server says

    def _act(self, event: Event) -> None:
        if isinstance(event, Ping):
            self._say(PONG)
        elif isinstance(event, Connected):
            self._is_accepted = True
            self._opened()
            self.enter()
        elif isinstance(event, Retry):
            self._retry(event)
        elif isinstance(event, TokenExpiry):
            self._do_later(event.channel, event.ttl * SystemRandom().uniform(*REFRESH_AT))
        elif isinstance(event, Reply):
            self._answers.take(event)
        elif isinstance(event, Gap):
            self._listener.gap(event)
        elif isinstance(event, Presence):
            self._listener.presence(event)
        elif isinstance(event, CommandFailed):
            self._failed(event)

    def _failed(self, error: CommandFailed) -> None:
        """End the connection, unless only a channel is lost and the listener handles that."""
        if not self._is_accepted:
            self._refused(error)
        elif not error.code or not isinstance(error, ChannelLost):
            self._fail(error)
        else:
            logger.info("%s", error)
            if not self._listener.lost(error):
                self._fail(error)

    def _refused(self, error: CommandFailed) -> None:
        """End a connection that the server refused; for good, unless trying again may help."""
        if error.temporary or error.code == TOKEN_EXPIRED and self._protocol.token.is_renewable:
            self._come_back(f"connect was answered with {error}")
        else:
            self._fail(error)

    def _fail(self, error: CommandFailed) -> None:
        """End the connection for good, and the client with this error."""
        self.failure = self.failure or error
        self.connection.close_with(COMING_BACK)

    def _come_back(self, why: str) -> None:
        self.connection.close_with(COMING_BACK, because=Disconnect(ABNORMAL.code, why))

    # done later

    def _retry(self, event: Retry) -> None:
        if not event.failures:
            self.enter()
            return
        delay = Backoff.delay_after(event.failures)
        logger.info("%s: %s; again in %.1f s", _of(event.channel), event.why, delay)
        self._do_later(event.channel, delay)

    def _do_later(self, channel: str, seconds: float) -> None:
        with self._protocol.lock:
            self._schedule.at(channel, time.monotonic() + seconds)

    def _do_due(self) -> None:
        now = time.monotonic()
        if now < self._schedule.next:
            return
        with self._protocol.lock:
            events = [event for channel in self._schedule.take(now)
                      for event in self._protocol.due(channel)]
        for event in events:
            self._act(event)
        self.enter()

    def _take_tokens(self) -> None:
        """Use the tokens that have come, or act on their failure."""
        while self._tokens:
            request, token, error = self._tokens.popleft()
            if error is not None:
                logger.warning("%s: the token function failed", _of(request.channel),
                               exc_info=error)
            if request.ticket:
                self._take_token(request, token, error)
            elif not self._turn:
                self._take_first(token, error)

    def _take_token(self, request: TokenRequest, token: Any, error: BaseException | None) -> None:
        why = token_problem(token, error)
        events: list[Event] = []
        with self._protocol.lock:
            if why:
                text = ""
                events = self._protocol.token_failed(request, why, for_good=error is None)
            else:
                text = self._protocol.token_came(request, token)
            if text or events:
                self._schedule.drop(request.channel)
            self._say(text)
        for event in events:
            self._act(event)

    def _take_first(self, token: Any, error: BaseException | None) -> None:
        """Begin with the token that this connection waited for; "" or None: without one."""
        if error is not None:
            self._come_back(token_problem(token, error))
        elif isinstance(token, str) or token is None:
            self._introduce(token or "")
        else:
            self._fail(CommandFailed(0, token_problem(token, error)))


def _of(channel: str) -> str:
    return f"channel {channel!r}" if channel else "the connection's token"
