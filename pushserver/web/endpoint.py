"""The HTTP side of one WebSocket address: what happens to a request, stage by stage."""
from __future__ import annotations

import html
import inspect
import logging
import sys
import uuid
from typing import Any, Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

import cherrypy

from ..connections.acceptor import Acceptor
from ..connections.connection import Connection
from ..errors import HandshakeRefused
from ..tokens import Claims, TokenInvalid
from ..wire.handshake import (accept_key, check_origin, check_request, checked_heartbeat,
                              admitted_id, choose_subprotocol)
from .socket_takeover import SocketTakeover, end_connection, warn_once

logger = logging.getLogger(__name__)

LAST = 1000
"""The priority of a hook that comes after all those of a site."""

_NOT_FOR_KEEPING = ("wsgi.input", "wsgi.errors")
"""Entries of a WSGI environment that would keep the request's objects alive."""

_NOT_OF_A_101 = ("Content-Type", "Content-Encoding", "Content-Length", "Etag", "Last-Modified",
                 "Accept-Ranges", "Vary", "Transfer-Encoding", "Keep-Alive", "Connection",
                 "Upgrade", "Sec-Websocket-Accept", "Sec-Websocket-Protocol")
"""Headers that describe a body, which a 101 does not have, and those that it gets from us."""

_FAILED: tuple[int, str, dict[str, str]] = (500, "the site could not take the connection", {})
"""How a client is refused for what is no business of its own."""


class Refusal(cherrypy.HTTPError):  # type: ignore[misc]
    """Answer with one line of plain text instead of CherryPy's error page."""

    def __init__(self, refused: HandshakeRefused) -> None:
        super().__init__(refused.status, refused.message)
        self._headers = refused.headers

    def set_response(self) -> None:
        """Turn it into the response; CherryPy calls this."""
        super().set_response()
        plain_text(self._message, self._headers)


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


class Endpoint:
    """Take one request from its first check until its socket is taken over.

    CherryPy's hooks call the methods in the order in which they appear here, on the thread that
    answers the request; the last but ``finish``, which cheroot calls when all that is around
    CherryPy is done too. The socket is handed over there, and only if the answer is still a 101;
    nothing is written before that.

    Args:
        acceptor: takes over the connection.
        handler_cls: the class of the connection.
        channels: the channels that it is in from the start.
        subprotocols: those that the site speaks.
    """

    def __init__(self, acceptor: Acceptor, *, handler_cls: type[Connection] = Connection,
                 channels: Iterable[str] = (), subprotocols: Sequence[str] = ()) -> None:
        self._acceptor = acceptor
        self._handler_cls = handler_cls
        self._channels = tuple(channels)
        self._subprotocols = subprotocols
        self._Id = ""
        self._has_id = True
        self._claims: Claims | None = None
        self._heartbeat = 0.0
        self._reserved = False
        self._subprotocol: str | None = None
        self._takeover: SocketTakeover | None = None
        self._key = ""
        self._connection: Connection | None = None
        self._confirmed = False
        self._failure: tuple[int, str, dict[str, str]] | None = None
        request = cherrypy.serving.request
        request.push_data = {}
        request.push_claims = None
        request.show_tracebacks = False
        if not request.error_page:
            request.error_page = {"default": plain_error_page}
        end_connection()

    def attach(self, hooks: Any) -> None:
        """Attach the stages to a request's hooks, each after the site's own tools."""
        hooks.attach("on_start_resource", self.check_request, priority=10)
        hooks.attach("before_request_body", self.check_client, priority=70)
        hooks.attach("before_handler", self.ignore_result, priority=LAST)
        hooks.attach("before_finalize", self.upgrade, priority=95)
        hooks.attach("after_error_response", self.tidy, priority=95)
        hooks.attach("on_end_resource", self.agree, priority=95)
        hooks.attach("on_end_request", self.confirm, priority=95)
        hooks.attach("on_end_request", self.settle, priority=99, failsafe=True)

    def check_request(self) -> None:
        """Refuse what is not an opening handshake, before its body or its query is read."""
        request = cherrypy.serving.request
        cherrypy.serving.response.stream = False  # or sessions stay locked until the very end
        with _refusing():
            check_request(request.method, request.protocol, request.headers)
            self._takeover = SocketTakeover(self.finish)
            self._key = request.headers["Sec-WebSocket-Key"]
            try:
                parse_qsl(request.query_string, errors="strict")
            except (UnicodeDecodeError, ValueError):
                raise HandshakeRefused(400, "Id is not UTF-8: percent-encode it as UTF-8") \
                    from None

    def check_client(self) -> None:
        """Refuse a bad Id or Origin; by now the proxy tool has set the site's outer address."""
        request = cherrypy.serving.request
        with _refusing():
            self._take_token(request.params)
            if "Id" in request.params or not self._Id and (
                    self._handler_cls.needs_id or _needs(request.handler, "Id")):
                self._Id = admitted_id(request.params.get("Id"))
            if "heartbeat" in request.params and not _takes(request.handler, "heartbeat"):
                heartbeat = checked_heartbeat(request.params.pop("heartbeat"))
                self._heartbeat = heartbeat if self._handler_cls.has_heartbeats else 0.0
            check_origin(request.headers.get("Origin"), request.base,
                         self._acceptor.settings.allowed_origins)
            offered = request.headers.get("Sec-WebSocket-Protocol", "")
            self._subprotocol = choose_subprotocol(offered, self._subprotocols,
                                                   self._handler_cls.refused_subprotocols)

    def _take_token(self, params: dict[str, Any]) -> None:
        """Take the client's Id from a token in the URL, if the site accepts tokens."""
        tokens = self._acceptor.tokens
        if tokens is None or "token" not in params:
            return
        token = params.pop("token")
        try:
            claims = tokens.connection(token if isinstance(token, str) else "")
        except TokenInvalid as error:
            raise HandshakeRefused(401, f"token: {error}") from None
        request = cherrypy.serving.request
        if claims.user:
            if params.get("Id", claims.user) != claims.user:
                raise HandshakeRefused(401, "token: its sub is not the Id: leave the Id out")
            self._Id = admitted_id(claims.user)
            if _takes(request.handler, "Id", among_others=True):
                params["Id"] = self._Id
        self._claims = request.push_claims = claims

    def ignore_result(self) -> None:
        """Drop what the page handler returns before anything makes a page of it."""
        request = cherrypy.serving.request
        handler = request.handler

        def without_result() -> None:
            handler()
        if handler is not None:
            request.handler = without_result

    def _name(self) -> None:
        """Use the Id that the page handler has chosen, or else the URL's.

        Without either, use the site's login, or else an anonymous Id that is unique.
        """
        request = cherrypy.serving.request
        chosen = getattr(request, "push_id", None)
        if self._Id and not chosen:
            return
        known = chosen or request.login
        self._has_id = known is not None
        self._Id = admitted_id(known) if known is not None else f"anonymous-{uuid.uuid4()}"

    def upgrade(self) -> None:
        """Turn the answer into a 101, if the page handler has run and raised nothing."""
        request, response = cherrypy.serving.request, cherrypy.serving.response
        status = str(response.status or 200)
        self.tidy()
        if request.stage != "before_finalize" or request.handler is None:
            return
        if not status.startswith("200"):
            return
        with _refusing():
            self._name()
            self._acceptor.reserve(self._Id)
        self._reserved = True
        response.status = 101
        response.body = b""

    def tidy(self) -> None:
        """Remove the blanks with which CherryPy pads error pages for old browsers."""
        request, response = cherrypy.serving.request, cherrypy.serving.response
        ours = request.error_page.get("default") is plain_error_page
        if ours and str(response.status or 200)[0] in "45":
            response.body = response.collapse_body().rstrip() + b"\n"
            response.headers.pop("Content-Length", None)

    def agree(self) -> None:
        """Make the connection, if CherryPy's finished answer is a 101."""
        if not self._reserved or self._takeover is None:
            return
        status = getattr(cherrypy.serving.response, "output_status", None) or b""
        if status.startswith(b"101"):  # no tool has changed the answer
            self._connection = self._make(self._takeover)

    def _make(self, takeover: SocketTakeover) -> Connection:
        request = cherrypy.serving.request
        environ = {key: value for key, value in request.wsgi_environ.items()
                   if key not in _NOT_FOR_KEEPING}
        chosen = [self._subprotocol] if self._subprotocol else []
        connection = self._handler_cls(takeover.socket, chosen, [], environ)
        connection.identify(Id=self._Id, user=request.login, data=request.push_data,
                            peer=(request.remote.ip, request.remote.port))
        connection.has_id = self._has_id
        connection.session = getattr(request, "push_session", None)
        connection.url_claims = self._claims
        if self._claims is not None:
            connection.info = self._claims.info
        return connection

    def confirm(self) -> None:
        """Note that none of the site's tools has failed behind the answer."""
        self._confirmed = True

    def settle(self) -> None:
        """If one has, refuse instead. Middleware decides when this is called, and whether."""
        if not self._confirmed:
            error = sys.exc_info()[1]
            status = error.code if isinstance(error, cherrypy.HTTPError) else 500
            self._failure = (status, *_FAILED[1:])

    def finish(self) -> None:
        """Give the socket to the loop, if the answer is still a 101; else undo what was begun.

        cheroot calls this, with no CherryPy around it.
        """
        takeover = self._takeover
        assert takeover is not None
        try:
            if takeover.status or takeover.is_abandoned:
                pass    # the client has another answer, or will get one
            elif takeover.answer and self._connection is not None and self._failure is None:
                self._hand_over(takeover, self._connection)
            else:
                takeover.refuse(*self._failure or _FAILED)
        except HandshakeRefused as error:
            takeover.refuse(error.status, error.message, error.headers)
        except Exception:
            logger.exception("Id %r: the connection could not be taken over", self._Id)
            takeover.refuse(*_FAILED)
        finally:
            if self._reserved:
                self._acceptor.release(self._Id)
        if self._connection is not None and not takeover.answer and not takeover.is_abandoned:
            warn_once("WSGI middleware answered a WebSocket handshake with %s in the place of "
                      "CherryPy's 101: take the push path out of it", takeover.status or "nothing")

    def _hand_over(self, takeover: SocketTakeover, connection: Connection) -> None:
        channels = connection.starts_in(self._channels)
        self._reserved = False
        self._acceptor.accept(
            connection, takeover.socket, channels=channels, early=takeover.take_early(),
            answer=self._switching(takeover.answer), heartbeat=self._heartbeat)
        takeover.detach()
        if connection.expires_itself or self._claims is None:
            return
        assert self._acceptor.tokens is not None
        seconds = self._acceptor.tokens.life(self._claims, can_refresh=False)
        if seconds is not None:
            connection.expire(seconds)

    def _switching(self, answer: bytes) -> bytes:
        """Return a 101 with its own headers, whatever the site's middleware made of them.

        They are spelled as in RFC 6455: some clients compare case.
        """
        status, *fields = answer.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
        kept = [field for field in fields
                if field.partition(":")[0].strip().title() not in _NOT_OF_A_101]
        ours = ["Upgrade: websocket", "Connection: Upgrade",
                f"Sec-WebSocket-Accept: {accept_key(self._key)}"]
        if self._subprotocol is not None:
            ours.append(f"Sec-WebSocket-Protocol: {self._subprotocol}")
        return "\r\n".join([status, *kept, *ours, "", ""]).encode("latin-1")


def _takes(handler: Any, name: str, *, among_others: bool = False) -> bool:
    """Tell whether the site's page handler has a parameter of this name, so that it is the site's.

    Args:
        handler: CherryPy's.
        name: the parameter's.
        among_others: ``**kwargs`` also counts.
    """
    parameters = _parameters(handler)
    return name in parameters or among_others and any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _needs(handler: Any, name: str) -> bool:
    """Tell whether the site's page handler cannot be called without a parameter of this name."""
    parameter = _parameters(handler).get(name)
    return parameter is not None and parameter.default is parameter.empty


def _parameters(handler: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(handler.callable).parameters
    except (AttributeError, TypeError, ValueError):  # no page handler, or not one in Python
        return {}


class _refusing:
    """Turn a ``HandshakeRefused`` into an error that CherryPy answers with."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HandshakeRefused):
            logger.debug("refused with %d: %s", error.status, error.message)
            raise Refusal(error) from None
