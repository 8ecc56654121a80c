"""A connection on which Centrifugo's protocol is spoken."""
from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, Protocol, Sequence, Union

from pushserver.disconnects import ABNORMAL, Disconnect
from pushserver.frames import MASK_SIZE, OPCODE_TEXT, frame

from .channels import (PONG, Again, Answer, Channels, Connected, Gap, Ping, Presence, Publication)
from .errors import CommandFailed, ConnectionClosed
from .link import Link
from .link import Owner as LinkOwner

logger = logging.getLogger("pushclient")

Token = Union[str, Callable[[], str], None]
"""Who the client is, as a JWT; or what returns one, called for each connection."""

RETRY_AFTER = 5.0
"""Seconds after which a channel is tried again that the server could not let the client into."""

TOKEN_EXPIRED = 109
"""The error for a token that has to be replaced."""

COMING_BACK = Disconnect(4000, "coming back")
"""How to leave a connection for another one, as far as the server is concerned."""

NO_ANSWER = Disconnect(ABNORMAL.code, "the server did not answer connect")


class Owner(LinkOwner, Protocol):
    """What such a connection asks of its client; on the client's thread."""

    channels: Channels
    token: Token

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
        self._answer_by = float("inf")
        self._again_at = float("inf")
        self._futures: dict[int, Future[Any]] = {}
        self._futures_lock = threading.Lock()
        self._is_over_for_calls = False

    # any thread

    def command(self, name: str, request: dict[str, Any]) -> "Future[Any]":
        """Send a command; return what will have its result.

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

    def leave(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        with self._channels.lock:
            text = self._channels.leave(channel)
            if self._turn == self._channels.turn:
                self._say(text)

    def _say(self, text: str) -> None:
        """Queue a frame, if there is something to be said; a lost connection shows in reading."""
        if text:
            self._try_write(frame(OPCODE_TEXT, text.encode("utf-8"), os.urandom(MASK_SIZE)))

    # the client's thread

    def opened(self) -> None:
        """Say who the client is."""
        self._answer_by = time.monotonic() + self._timeout
        token = self._client.token
        shown = (token() if callable(token) else token) or ""
        with self._channels.lock:
            self._say(self._channels.begin(shown))
            self._turn = self._channels.turn

    def closed(self, code: int, reason: str | None = None) -> None:
        """Tell those who wait for answers that none will come."""
        with self._futures_lock:
            self._is_over_for_calls = True
            futures, self._futures = list(self._futures.values()), {}
        for future in futures:
            future.set_exception(ConnectionClosed("the connection was lost before the answer: "
                                                  "the command may or may not have been run"))

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
            self._enter_again(event)
        elif isinstance(event, Answer):
            self._answer(event)
        elif isinstance(event, CommandFailed) and not self._is_known:
            self._refused(event)
        elif isinstance(event, CommandFailed) and not event.code:
            self.fail(event)
        else:
            self._client.link_told(event)

    def _enter_again(self, event: Again) -> None:
        if event.at_once:
            self.enter()
        else:
            logger.info("channel %r: not now; again in %g s", event.channel, RETRY_AFTER)
            self._again_at = min(self._again_at, time.monotonic() + RETRY_AFTER)

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
            self._note_end(NO_ANSWER)
            return True
        if now >= self._again_at:
            self._again_at = float("inf")
            self.enter()
        return super()._is_over()

    def _seconds_to_wait(self) -> float | None:
        seconds = super()._seconds_to_wait()
        due = min(self._again_at, float("inf") if self._is_known else self._answer_by)
        if due == float("inf"):
            return seconds
        left = max(0.0, due - time.monotonic())
        return left if seconds is None else min(left, seconds)
