"""The HTTP API for other processes, which is Centrifugo's: a page handler for a site to mount."""
from __future__ import annotations

import hmac
import logging
from typing import Any, Iterable, NoReturn

import cherrypy
from cheroot.errors import MaxSizeExceeded

from ..errors import InvalidSetting
from ..server import PushServer
from ..settings import MIB
from ..web.endpoint import LAST
from ..web.socket_takeover import end_connection
from ..web.tool import PAGE_TOOLS
from ..wire.payloads import decode_json
from .methods import (BAD_REQUEST, INTERNAL, METHODS, NOT_AVAILABLE, NOT_FOUND, TOO_MANY,
                      UNRECOVERABLE)
from .methods import MAX_COMMANDS, CallError, Methods

logger = logging.getLogger(__name__)

MAX_BODY = 8 * MIB
"""Most bytes of a request's body, unless the site says otherwise."""

SHORTEST_KEY = 16
"""Characters of a key; a shorter one is too easy to guess, and a warning is logged."""

ACCEPTED_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded")
"""Content types that a JSON body may have; the last is curl's default."""

TRANSPORT_STATUS = {INTERNAL: 500, NOT_FOUND: 404, BAD_REQUEST: 400, NOT_AVAILABLE: 400,
                    TOO_MANY: 429, UNRECOVERABLE: 416}
"""The HTTP status of each error, for callers that ask for one."""

_PATHS = tuple((method,) for method in METHODS)


class HTTPRefusal(Exception):
    """An answer with a status other than 200; the message says in one line what to change."""

    def __init__(self, status: int, message: str, code: int = BAD_REQUEST, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = CallError(code, message)
        self.headers = headers


def _answer_last() -> None:
    """Make the call behind all of the site's tools, which then have nothing to fail on.

    After an error the caller would repeat what has been done.
    """
    request, response = cherrypy.serving.request, cherrypy.serving.response
    call = request.handler
    if isinstance(call, cherrypy.HTTPError):    # of a dispatcher, instead of a handler
        return

    def skip() -> None:
        if request.handler is not None:     # no tool has answered
            request.handler = _nothing

    def answer() -> None:
        status = getattr(response, "output_status", b"")
        if request.handler is not _nothing or not status.startswith(b"200"):
            return
        for name in ("Content-Length", "Content-Encoding", "Etag"):
            response.headers.pop(name, None)
        response.stream = False
        response.body = call()
        response.finalize()

    request.hooks.attach("before_handler", skip, priority=LAST)
    request.hooks.attach("on_end_resource", answer, priority=LAST)


def _nothing() -> None:
    """Stand in for the page handler."""


class PushAPI:
    """Let other processes push through a site, as they would through Centrifugo's HTTP API:
    ``cherrypy.tree.mount(PushAPI(push, keys=[...]), "/api")``.

    A key gives full access to every channel. A faulty call is answered with
    ``{"error": {"code": ..., "message": ...}}`` and status 200, as Centrifugo's libraries expect,
    or with an error status if the request has ``X-Centrifugo-Error-Mode: transport``.

    Args:
        push: the plugin, or a ``PushServer``.
        keys: a request must send one of them, in ``X-API-Key``; if there are none, the API is
            off.
        max_body: most bytes of a request's body.

    Raises:
        InvalidSetting: ``keys`` is not a list of printable ASCII text, a key is empty, or
            ``push`` is not a push server.
    """

    _cp_config = {"request.process_request_body": False, "request.show_tracebacks": False,
                  "hooks.on_start_resource.push_api": _answer_last,
                  **{f"tools.{name}.on": False for name in (*PAGE_TOOLS, "allow", "params")}}

    def __init__(self, push: PushServer, *, keys: Iterable[str], max_body: int = MAX_BODY) -> None:
        if not isinstance(push, PushServer):
            raise InvalidSetting(f"push is a {type(push).__name__}: use the PushPlugin, or a "
                                 "PushServer")
        self._calls = Methods(push)
        self._keys = tuple(map(_checked_key, _checked_list(keys)))
        if isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 1:
            raise InvalidSetting(f"max_body is {max_body!r:.40}: use bytes, 1 or more")
        self._max_body = max_body

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._keys)} keys>"

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def default(self, *path: str, **_: Any) -> bytes:
        """Answer a call; CherryPy calls this."""
        response = cherrypy.serving.response
        response.headers["Content-Type"] = "application/json"
        try:
            method = self._admitted(path)
            if not method:
                return self._calls.answer_all_named(self._requests())
            return b'{"result":%s}' % self._calls.answer(method, self._request()) \
                if method != "batch" else self._calls.answer(method, self._request())
        except HTTPRefusal as refusal:
            end_connection()  # part of the body may be unread
            response.status = refusal.status
            response.headers.update({name.replace("_", "-"): value
                                     for name, value in refusal.headers.items()})
            response.headers["Connection"] = "close"
            return b'{"error":%s}' % refusal.error.encoded()
        except CallError as error:
            return self._error(error)

    @staticmethod
    def _error(error: CallError) -> bytes:
        if cherrypy.serving.request.headers.get("X-Centrifugo-Error-Mode") == "transport":
            cherrypy.serving.response.status = TRANSPORT_STATUS[error.code]
            return error.encoded()
        return b'{"error":%s}' % error.encoded()

    def _admitted(self, path: tuple[str, ...]) -> str:
        """Return the method called, before reading any of the body; empty: the body names it."""
        request = cherrypy.serving.request
        if not self._keys:
            raise HTTPRefusal(403, "the HTTP API is off: give PushAPI(push, keys=[...]) keys")
        if not self._knows(_key_sent(request.headers)):
            logger.info("API: request without a valid key from %s", request.remote.ip)
            raise HTTPRefusal(401, "no valid key: send one in the X-API-Key header",
                              WWW_Authenticate="apikey")
        if (path or request.path_info.strip("/")) and path not in _PATHS:
            raise HTTPRefusal(404, f"there is no such method: use {', '.join(METHODS)}", NOT_FOUND)
        if request.method != "POST":
            raise HTTPRefusal(405, "use POST", Allow="POST")
        return path[0] if path else ""

    def _knows(self, shown: str) -> bool:
        """Compare with every key, in a time that reveals nothing about them."""
        given = shown.encode("utf-8", "replace")
        return sum([hmac.compare_digest(given, key) for key in self._keys]) > 0

    def _request(self) -> Any:
        """Return the request's decoded body; an empty one counts as an empty object."""
        body = self._text()
        return _decoded(body) if body else {}

    def _requests(self) -> list[Any]:
        """Return the lines of the request's body, each decoded."""
        lines = [line for line in self._text().split("\n") if line.strip()]
        if not 0 < len(lines) <= MAX_COMMANDS:
            raise HTTPRefusal(400, f"send 1 to {MAX_COMMANDS} lines of "
                              '{"method": "publish", "params": {...}}, or call api/publish')
        return [_decoded(line) for line in lines]

    def _text(self) -> str:
        """Return the request's body."""
        headers = cherrypy.serving.request.headers
        kind, _, options = headers.get("Content-Type", "").lower().partition(";")
        if kind.strip() and kind.strip() not in ACCEPTED_TYPES or "charset" in options and \
                "utf-8" not in options and "utf8" not in options:
            raise HTTPRefusal(415, "the body must be JSON in UTF-8: send Content-Type: "
                              "application/json")
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HTTPRefusal(415, "the body has a Content-Encoding: send it without one")
        try:
            return self._body(headers).decode("utf-8")
        except ValueError as error:
            raise HTTPRefusal(400, f"the body is not JSON: {error!s:.80}") from None

    def _body(self, headers: Any) -> bytes:
        size = headers.get("Content-Length")
        chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        if size is None and not chunked:
            return b""
        if size is not None and not size.isdecimal():
            raise HTTPRefusal(400, "Content-Length is not a number: send the body's size in bytes")
        if size is not None and int(size) > self._max_body:
            self._refuse_size()
        try:
            body: bytes = cherrypy.serving.request.rfile.read(self._max_body + 1)
        except MaxSizeExceeded:
            self._refuse_size()
        except (OSError, ValueError) as error:
            raise HTTPRefusal(400, f"the body could not be read: {error!s:.80}") from None
        if len(body) > self._max_body:
            self._refuse_size()
        if size is not None and len(body) < int(size):
            raise HTTPRefusal(400, "the body ends before its Content-Length")
        return body

    def _refuse_size(self) -> NoReturn:
        raise HTTPRefusal(413, f"the body is too large: send at most {self._max_body} bytes")


def _checked_list(keys: Any) -> list[Any]:
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise InvalidSetting("keys is not a list: use [\"...\"], or [] to switch the API off")
    return list(keys)


def _checked_key(key: Any) -> bytes:
    """Return a key as bytes. No error message reveals it."""
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable() \
            or " " in key:
        raise InvalidSetting("keys has an invalid key: use printable ASCII text without spaces, "
                             "for example secrets.token_hex(32)")
    if len(key) < SHORTEST_KEY:
        logger.warning("an API key has %d characters and can be guessed: use at least %d random "
                       "characters", len(key), SHORTEST_KEY)
    return key.encode("ascii")


def _key_sent(headers: Any) -> str:
    """Return the key that a request sends; older clients use ``Authorization: apikey``."""
    key: str = headers.get("X-API-Key", "")
    if key:
        return key
    parts = headers.get("Authorization", "").split()
    return parts[1] if len(parts) == 2 and parts[0].lower() == "apikey" else ""


def _decoded(text: str) -> Any:
    try:
        return decode_json(text)
    except (ValueError, RecursionError) as error:
        raise HTTPRefusal(400, f"the body is not JSON: {error!s:.80}") from None
