"""How a request that becomes no connection is answered, and what the site's log says of it."""
from __future__ import annotations

import html
import logging
import re
import threading
import time
from typing import Callable

import cherrypy

from ..errors import HandshakeRefused

logger = logging.getLogger(__name__)

QUIET = 10.0
"""Seconds after a line in the log in which refusals for the same reason are only counted."""

NOT_FOUND = "not found, or parameters that the page handler does not take"
"""Stands for the message of a 404, in which CherryPy repeats what the client has sent."""

MOST_REASONS = 20
"""Reasons that are kept apart: clients must not be able to fill the log with ever new ones."""

MOST_LOGGED = 300
"""Characters of a reason in the log."""

_NUMBER = re.compile("[0-9]+")


class Refusal(cherrypy.HTTPError):  # type: ignore[misc]
    """Answer with one line of plain text instead of CherryPy's error page."""

    def __init__(self, refused: HandshakeRefused) -> None:
        super().__init__(refused.status, refused.message)
        self._headers = refused.headers
        self.refused = refused

    def set_response(self) -> None:
        """Turn it into the response; CherryPy calls this."""
        super().set_response()
        plain_text(self._message, self._headers)


class refusing:
    """Turn a ``HandshakeRefused`` into an error that CherryPy answers with."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HandshakeRefused):
            raise Refusal(error) from None


def plain_text(message: str, headers: dict[str, str]) -> None:
    """Replace the body of CherryPy's response with one line."""
    response = cherrypy.serving.response
    response.headers.pop("Content-Length", None)
    response.headers.update({**headers, "Content-Type": "text/plain;charset=utf-8"})
    response.body = (" ".join(message.split()) + "\n").encode("utf-8")


def plain_error_page(status: str, message: str, **_: object) -> str:
    """Return an error page that a WebSocket client can show, for the site's own errors."""
    cherrypy.serving.response.headers["Content-Type"] = "text/plain;charset=utf-8"
    return f"{status}: {' '.join(html.unescape(message).split())}\n"


def refusal_of(error: BaseException | None, status: int) -> HandshakeRefused:
    """Return what refuses a request that CherryPy answers with a status.

    Args:
        error: what was raised, by us, the site or CherryPy.
        status: the answer's.
    """
    if isinstance(error, Refusal) and error.code == status:
        return error.refused
    if isinstance(error, cherrypy.HTTPRedirect) and error.status == status:
        return HandshakeRefused(status, "the site redirects this request")
    if isinstance(error, cherrypy.HTTPError) and error.code == status:
        return HandshakeRefused(status, str(error._message))
    if status >= 500:
        return HandshakeRefused(status, "the site failed: try again later")
    return HandshakeRefused(status, "the site does not take this connection")


class RefusalLog:
    """Tell the site's author why clients are refused, in one line for each reason and 10 s.

    Any thread may call it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[tuple[int, str], tuple[float, int]] = {}   # when, how many more since

    def __repr__(self) -> str:
        return f"<RefusalLog, {len(self._told)} reasons>"

    def add(self, refused: HandshakeRefused, *, Id: str, address: str) -> None:
        """Log one refusal, or count it.

        The line goes to ``logging`` at INFO; on a site that has not set a level there, to
        CherryPy's log, which shows it without any setting.

        Args:
            refused: why, and what only the log tells.
            Id: who the client is; empty: not known.
            address: the client's.
        """
        more = self._more((refused.status, _NUMBER.sub("", refused.message + refused.detail)))
        if more is None:
            return
        said = refused.message if refused.status != 404 else NOT_FOUND
        line = (f"refused with {refused.status}, address {_printable(address)}"
                f"{f', Id {Id!r}' if Id else ''}: {_printable(said)}"
                f"{f' [{_printable(refused.detail)}]' if refused.detail else ''}{more}")
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s", line)
        elif logging.getLogger("pushserver").level == logging.NOTSET:
            cherrypy.log(line, "PUSH")

    def _more(self, reason: tuple[int, str]) -> str | None:
        """Return what a line must add about those that had none; None: this one has none."""
        now = self._clock()
        with self._lock:
            if reason not in self._told and len(self._told) >= MOST_REASONS:
                self._told = {known: told for known, told in self._told.items()
                              if now - told[0] < QUIET}
                reason = reason if len(self._told) < MOST_REASONS else (reason[0], "")
            since, count = self._told.get(reason, (now - QUIET, 0))
            if now - since < QUIET:
                self._told[reason] = since, count + 1
                return None
            self._told[reason] = now, 0
        return f" (and {count} more in {now - since:.0f} s)" if count else ""


def _printable(text: str) -> str:
    """Return a text without what could look like another line of the log."""
    return "".join(character if character.isprintable() else " "
                   for character in text[:MOST_LOGGED])
