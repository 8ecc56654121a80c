"""How messages get from the client's thread to the application."""
from __future__ import annotations

import threading
from typing import Any, Callable, Iterator, Sequence

from .errors import ConnectionClosed, InvalidSetting, PushError
from .inbox import Inbox, Value
from .websocket.link import Link


class Receiving:
    """The methods of ``PushClient`` that hand messages on."""

    error: PushError | None
    _on_message: Callable[[Any], object] | None
    _inbox: Inbox
    _thread: threading.Thread | None
    _link: Link | None
    _closing: bool
    _callers: int

    def _call(self, callback: Callable[[Any], object], argument: Any) -> None:
        raise NotImplementedError

    def receive(self, timeout: float | None = None) -> Value:
        """Return the next message, waiting for it.

        Args:
            timeout: seconds to wait; None for as long as it takes.

        Raises:
            TimeoutError: none came in time.
            PushError: none will come: the error that ended the client, or ``ConnectionClosed``.
        """
        self._check_may_wait()
        value = self._inbox.get(timeout)
        if value is None:
            raise self.error or ConnectionClosed("the client is closed")
        return value

    def __iter__(self) -> Iterator[Value]:
        self._check_may_wait()
        return self

    def __next__(self) -> Value:
        value = self._inbox.get()
        if value is not None:
            return value
        if self.error is not None:
            raise self.error
        raise StopIteration

    def _check_may_wait(self) -> None:
        if self._on_message is not None:
            raise InvalidSetting("on_message gets the messages: leave it out to iterate")
        if self._thread is None and not self._closing:
            raise ConnectionClosed("not started: use the client in a with block or call start()")
        if self._thread is threading.current_thread():
            raise ConnectionClosed("a callback cannot wait for a message: use on_message")

    # what the link tells; the client's thread

    def link_received(self, values: Sequence[Value]) -> None:
        """Queue messages, or hand them to ``on_message``; those behind ``close()`` are dropped."""
        if self._on_message is None and not self._closing:
            self._store(values)
        if self._on_message is None:
            return
        for value in values:
            if self._closing:
                break
            self._call(self._on_message, value)

    def _store(self, values: Sequence[Value]) -> None:
        """Queue messages; while there is no room, read nothing, so that TCP slows the server.

        Whoever waits for an answer needs what comes behind them: ``WAITED_FOR`` times as many are
        taken for that. Past it the answer is given up, and not one message.
        """
        rest = self._inbox.put(values)
        while rest and not self._closing:
            link = self._link
            if self._callers:
                rest = self._inbox.put(rest, waited=True)
                if rest and link is not None:
                    link.give_up_calls()
            if rest and link is not None and not self._inbox.has_room:
                link.wait_without_reading()
            if rest and self._inbox.has_room:
                rest = self._inbox.put(rest)
        if rest:
            self._inbox.put_all(rest)  # the last ones: nothing more is read
