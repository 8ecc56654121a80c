"""How messages get from the client's thread to the application."""
from __future__ import annotations

from typing import Sequence

from .callbacks import Callbacks
from .centrifuge.answers import Answers
from .inbox import Inbox, Value
from .websocket.connection import Connection


class Dispatcher:
    """Pass messages to ``on_message``, or queue them to be iterated over.

    Args:
        callbacks: hold ``on_message``.
        inbox: the queue.
        answers: to the application's commands, each after the messages sent before it; or None.
    """

    def __init__(self, callbacks: Callbacks, inbox: Inbox, answers: Answers | None) -> None:
        self._callbacks = callbacks
        self._inbox = inbox
        self._answers = answers
        self._is_stopped = False

    def stop(self) -> None:
        """Start no further delivery: the client is closing. For any thread."""
        self._is_stopped = True

    def deliver(self, messages: Sequence[Value], connection: Connection) -> None:
        """Queue messages, or pass them to ``on_message``; on the client's thread."""
        on_message, call = self._callbacks.on_message, self._callbacks.call
        if on_message is None:
            self._store(messages, connection)
            return
        for message in messages:
            if self._is_stopped:
                break
            call(on_message, message)

    def _store(self, messages: Sequence[Value], connection: Connection) -> None:
        """Queue messages; while there is no room, read nothing, so that TCP slows the server down.

        While a thread waits for an answer, which comes after them, far more are taken. If there is
        no room even for these, the answer is given up, but no message is lost.
        """
        if self._is_stopped:
            return
        rest = self._inbox.put(messages)
        while rest and not self._is_stopped:
            if self._answers is not None and self._answers.are_awaited:
                rest = self._inbox.put(rest, awaited=True)
                if rest:
                    self._answers.give_up()
            if rest and not self._inbox.has_room:
                connection.wait_without_reading()
            if rest and self._inbox.has_room:
                rest = self._inbox.put(rest)
        if rest:
            self._inbox.put_all(rest)  # the last ones: nothing more will be read
