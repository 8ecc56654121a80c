"""Tokens: where they come from, the state of each, and the threads that fetch them."""
from __future__ import annotations

import threading
from typing import Any, Callable, NamedTuple, Union

from ..errors import InvalidSetting

Token = Union[str, Callable[[], Any], None]
"""A JWT that says who the client is, or a function that returns one, called for each connection
and before a token expires."""

ChannelToken = Union[str, Callable[[str], Any], None]
"""A JWT for one channel, or a function that returns one, called with the channel's name for each
subscription and before a token expires. None: the channel needs none."""

TokenSource = Union[str, Callable[..., Any], None]
"""A token, or a function that returns one: the connection's or a channel's."""

MAX_THREADS = 8
"""How many token functions run at a time; further calls wait."""


def checked_token(token: object) -> TokenSource:
    """Return a token, a function that returns one, or None.

    Raises:
        InvalidSetting: it is something else.
    """
    if token is None or callable(token) or isinstance(token, str) and token:
        return token
    raise InvalidSetting(f"token is {'empty' if token == '' else type(token).__name__}: use text, "
                         "or a function that returns one")


def token_problem(token: Any, error: BaseException | None) -> str:
    """Return why a function gave no token; empty: what it returned is one."""
    if error is not None:
        return f"the token function failed: {error!r:.200}"
    if token is None or token == "":
        return "permission denied: the token function returned none"
    return "" if isinstance(token, str) else \
        f"the token function returned {type(token).__name__}, not text"


class TokenState:
    """The state of the token for one channel, or for the connection.

    Attributes:
        source: a JWT, a function that returns one, or None.
        ticket: that of the request whose token counts; 0: no token is expected.
        failures: how many times in a row no new token was had.
    """

    __slots__ = ("source", "ticket", "failures")

    def __init__(self, source: TokenSource = None) -> None:
        self.source = source
        self.ticket = self.failures = 0

    @property
    def is_renewable(self) -> bool:
        """Tell whether a new token can be fetched."""
        return callable(self.source)


class TokenRequest(NamedTuple):
    """A request for a token.

    Attributes:
        channel: which needs it; empty: the connection.
        ticket: tells this request from earlier and later ones.
        get: the application's function.
    """

    channel: str
    ticket: int
    get: Callable[[], Any]


TokenAnswer = Callable[[TokenRequest, Any, "BaseException | None"], None]
"""Takes what a token function returned, or what it raised."""


class TokenCalls:
    """Call token functions on threads of their own, which end when idle. For any thread.

    A function may take long, or hang. Until it returns, it is not called again for its channel,
    and what it finally returns answers the latest request. So a function that hangs costs one
    thread, not one for each attempt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[TokenRequest, TokenAnswer]] = {}
        self._running: set[str] = set()
        self._threads = 0

    def call(self, request: TokenRequest, answer: TokenAnswer) -> None:
        """Call a request's function, then ``answer`` on the same thread."""
        with self._lock:
            self._waiting[request.channel] = request, answer
            if request.channel in self._running or self._threads >= MAX_THREADS:
                return
            self._threads += 1
        threading.Thread(target=self._run, name="pushclient token", daemon=True).start()

    def forget(self) -> None:
        """Drop the requests that wait: their tokens are no longer needed."""
        with self._lock:
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._lock:
                channel = next((one for one in self._waiting if one not in self._running), None)
                if channel is None:
                    self._threads -= 1
                    return
                request, answer = self._waiting.pop(channel)
                self._running.add(channel)
            self._call(request, answer)

    def _call(self, request: TokenRequest, answer: TokenAnswer) -> None:
        token = error = None
        try:
            token = request.get()
        except BaseException as failure:  # even a SystemExit ends only this function
            error = failure
        with self._lock:
            self._running.discard(request.channel)
            request, answer = self._waiting.pop(request.channel, (request, answer))
        answer(request, token, error)
