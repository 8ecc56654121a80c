"""A connection on which Centrifugo's protocol is spoken."""
from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from random import SystemRandom
from typing import Any, Protocol, Sequence

from pushserver.wire.disconnects import ABNORMAL, Disconnect
from pushserver.wire.frames import OPCODE_TEXT, frame

from .schedule import NEVER, Agenda
from .tokens import Asking, Need
from ..backoff import Backoff
from .protocol import PONG, Channels
from ..errors import CommandFailed, ConnectionClosed, QueueFull
from .events import Again, Answer, Connected, Expires, Gap, Ping, Presence, Publication
from .replies import TOKEN_EXPIRED
from ..websocket.link import Link
from ..websocket.link import Owner as LinkOwner
from ..websocket.sending import new_mask_key
from .wanted import Token

logger = logging.getLogger("pushclient")

REFRESH_AT = 0.8, 0.9
"""A token is replaced when about so much of its time is over: not those of all clients at once."""

LONGEST_WAIT = 24 * 3600.0
"""Seconds that a wait lasts at most: selectors take no more than some weeks."""

COMING_BACK = Disconnect(4000, "coming back")
"""How to leave a connection for another one, as far as the server is concerned."""

NO_TOKEN = Disconnect(ABNORMAL.code, "the token function has not returned in time")
NO_ANSWER = Disconnect(ABNORMAL.code, "the server did not answer connect")


class Owner(LinkOwner, Protocol):
    """What such a connection asks of its client; on the client's thread."""

    channels: Channels
    token: Token
    asking: Asking

    def link_told(self, event: Gap | Presence | CommandFailed) -> None:
        """Tell the application."""


class ChannelLink(Link):
    """A connection that subscribes to its client's channels and hands on publications.

    It is open for the client once the server has answered ``connect``.

    Args:
        owner: the client.
        url: see ``WebSocketClient``, which also takes the rest.
    """

    def __init__(self, owner: Owner, url: str, **rest: Any) -> None:
        super().__init__(owner, url, **rest)
        self._client = owner
        self._channels = owner.channels
        self._turn = 0              # ours of the channels' once we have begun
        self._is_known = False      # the server has answered ``connect``
        self._answer_by = NEVER
        self._agenda = Agenda()     # guarded by the channels' lock
        self._tokens: deque[tuple[Need, Any, BaseException | None]] = deque()
        self._futures: dict[int, Future[Any]] = {}
        self._futures_lock = threading.Lock()
        self._is_over_for_calls = False

    # any thread

    def command(self, name: str, request: dict[str, Any], *, wake: bool = False) -> "Future[Any]":
        """Send a command; return what will have its result.

        Args:
            name: of the command.
            request: its contents.
            wake: somebody is about to wait for it: the client may not be reading.

        Raises:
            InvalidData: JSON cannot hold it.
            ConnectionClosed: it was not sent.
        """
        number, text = self._channels.command(name, request)
        future: Future[Any] = Future()
        with self._futures_lock:
            if self._is_over_for_calls:
                raise ConnectionClosed("nothing was sent: the connection is closed")
            self._futures[number] = future
        if wake:
            self._client.waker.wake()
        try:
            self.send_frame(OPCODE_TEXT, text.encode("utf-8"))
        except BaseException:
            with self._futures_lock:
                self._futures.pop(number, None)
            raise
        return future

    def enter(self) -> None:
        """Subscribe to what is wanted, now if the server knows the client, else when it does."""
        with self._channels.lock:
            if self._turn == self._channels.turn:
                self._say(self._channels.enter())
                for need in self._channels.take_needs():
                    self._need(need)

    def leave(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        with self._channels.lock:
            text = self._channels.leave(channel)
            if self._turn == self._channels.turn:
                self._say(text)

    def _need(self, need: Need) -> None:
        """Have a token made; it comes to ``_take_tokens``. Needs the channels' lock."""
        self._agenda.at(need.channel, time.monotonic() + self._timeout)
        self._client.asking.ask(need, self._made)
        self._client.waker.wake()  # the client's thread may be about to wait for longer

    def _made(self, need: Need, token: Any, error: BaseException | None) -> None:
        self._tokens.append((need, token, error))
        self._client.waker.wake()

    def _say(self, text: str) -> None:
        """Queue a frame, if there is something to be said; a lost connection shows in reading."""
        if text:
            self._try_write(frame(OPCODE_TEXT, text.encode("utf-8"), new_mask_key()))

    # the client's thread

    def opened(self) -> None:
        """Say who the client is, once that is known."""
        token = self._client.token
        if callable(token):
            self._answer_by = time.monotonic() + self._timeout
            self._client.asking.ask(Need("", 0, token), self._made)
        else:
            self._introduce(token or "")

    def _introduce(self, token: str) -> None:
        self._answer_by = time.monotonic() + self._timeout
        with self._channels.lock:
            self._say(self._channels.begin(token))
            self._turn = self._channels.turn

    def closed(self, code: int, reason: str | None = None) -> None:
        """Tell those who wait for answers that none will come."""
        self._client.asking.forget()
        with self._futures_lock:
            self._is_over_for_calls = True
        self._fail_calls(ConnectionClosed, "the connection was lost")

    def give_up_calls(self) -> None:
        """Tell those who wait for answers that there is no room for what comes before them."""
        self._fail_calls(QueueFull, "too many messages came that nobody has taken")

    def _fail_calls(self, kind: type[Exception], why: str) -> None:
        with self._futures_lock:
            futures, self._futures = list(self._futures.values()), {}
        for future in futures:
            future.set_exception(kind(f"{why} before the answer: the command may or may not "
                                      "have been run"))

    def _take_values(self, values: Sequence[Any]) -> None:
        publications: list[Publication] = []
        for value in values:
            try:
                events = self._channels.receive(value if isinstance(value, str) else "?")
            except CommandFailed as error:
                events = [error]
            for event in events:
                if type(event) is Publication:
                    publications.append(event)
                    continue
                publications = self._hand_on(publications)  # in the order in which all was said
                self._act(event)
            if self.failure is not None:
                return
        self._hand_on(publications)

    def _hand_on(self, publications: list[Publication]) -> list[Publication]:
        if publications:
            self.has_received = True
            self._owner.link_received(publications)
        return []

    def _act(self, event: Any) -> None:
        if isinstance(event, Ping):
            self._say(PONG)
        elif isinstance(event, Connected):
            self._is_known = True
            self._owner.link_opened()
            self.enter()
        elif isinstance(event, Again):
            self._again(event)
        elif isinstance(event, Expires):
            self._do_later(event.channel, event.ttl * SystemRandom().uniform(*REFRESH_AT))
        elif isinstance(event, Answer):
            self._answer(event)
        elif isinstance(event, CommandFailed) and not self._is_known:
            self._refused(event)
        elif isinstance(event, CommandFailed) and not event.code:
            self.fail(event)
        else:
            self._client.link_told(event)

    def _again(self, event: Again) -> None:
        if not event.failures:
            self.enter()
            return
        delay = Backoff.delay_after(event.failures)
        logger.info("%s: %s; again in %.1f s", _of(event.channel), event.why, delay)
        self._do_later(event.channel, delay)

    def _do_later(self, channel: str, seconds: float) -> None:
        with self._channels.lock:
            self._agenda.at(channel, time.monotonic() + seconds)

    def _keep_appointments(self) -> None:
        """Go on with all whose time has come."""
        with self._channels.lock:
            events = [event for channel in self._agenda.take(time.monotonic())
                      for event in self._channels.due(channel)]
        for event in events:
            self._act(event)
        self.enter()

    def _take_tokens(self) -> None:
        """Go on with what tokens have come for."""
        while self._tokens:
            need, token, error = self._tokens.popleft()
            if not need.ticket:
                if not self._turn:
                    self._take_first(token, error)
                continue
            why = _against(token, error)
            _note(need, error)
            with self._channels.lock:
                text = "" if why else self._channels.given(need, token)
                events = self._channels.not_given(need, why, for_good=error is None) if why else []
                if text or events:
                    self._agenda.drop(need.channel)
                self._say(text)
            for event in events:
                self._act(event)

    def _take_first(self, token: Any, error: BaseException | None) -> None:
        """Begin with the token that this connection was waiting for; "" or None: without."""
        if error is not None:
            _note(Need("", 0, str), error)
            self._note_end(Disconnect(ABNORMAL.code, _against(token, error)))
            self._send_close(COMING_BACK)
        elif isinstance(token, str) or token is None:
            self._introduce(token or "")
        else:
            self.fail(CommandFailed(0, _against(token, error)))

    def _answer(self, answer: Answer) -> None:
        with self._futures_lock:
            future = self._futures.pop(answer.number, None)
        if future is None:
            return
        if answer.error is not None:
            future.set_exception(answer.error)
        else:
            future.set_result(answer.result)

    def _refused(self, error: CommandFailed) -> None:
        """End a connection that the server does not want, for good unless time may help."""
        if error.temporary or error.code == TOKEN_EXPIRED and callable(self._client.token):
            self._note_end(Disconnect(ABNORMAL.code, f"connect was answered with {error}"))
            self._send_close(COMING_BACK)
        else:
            self.fail(error)

    def fail(self, error: CommandFailed) -> None:
        """End the connection for good, and the client with this error."""
        self.failure = self.failure or error
        self._send_close(COMING_BACK)

    def _is_over(self) -> bool:
        now = time.monotonic()
        if not self._is_known and now >= self._answer_by and self._end_by is None:
            self._note_end(NO_ANSWER if self._turn else NO_TOKEN)
            return True
        if self._end_by is None:
            if self._tokens:
                self._take_tokens()
            if now >= self._agenda.next:
                self._keep_appointments()
        return super()._is_over()

    def _seconds_to_wait(self) -> float | None:
        seconds = super()._seconds_to_wait()
        due = min(self._agenda.next, NEVER if self._is_known else self._answer_by)
        if due == NEVER:
            return seconds
        left = min(LONGEST_WAIT, max(0.0, due - time.monotonic()))
        return left if seconds is None else min(left, seconds)


def _against(token: Any, error: BaseException | None) -> str:
    """Return what keeps a token from being shown; empty: nothing."""
    if error is not None:
        return f"the token function failed: {error!r:.200}"
    if token is None or token == "":
        return "permission denied: the token function has none"
    return "" if isinstance(token, str) else \
        f"the token function returned {type(token).__name__}, no text"


def _note(need: Need, error: BaseException | None) -> None:
    if error is not None:
        logger.warning("%s: the token function failed", _of(need.channel), exc_info=error)


def _of(channel: str) -> str:
    return f"channel {channel!r}" if channel else "the connection's token"
