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
from .sessions import SessionLife
from .socket_takeover import SocketTakeover, current_request, end_connection

logger = logging.getLogger(__name__)

_NOT_FOR_KEEPING = ("wsgi.input", "wsgi.errors")
"""Entries of a WSGI environment that would keep the request's objects alive."""

_OF_A_PAGE = ("Content-Type", "Content-Encoding", "Content-Length", "Etag", "Last-Modified",
              "Accept-Ranges", "Vary", "Connection")
"""Headers that describe a body, which a 101 does not have, and ``Connection``."""


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
    answers the request. The socket is handed over at the very end, and only if the answer is a
    101; nothing is written before that.

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
        self._held = False
        self._done = False
        self._refused: HandshakeRefused | None = None
        self._began = acceptor.moment
        request = cherrypy.serving.request
        request.push_data = {}
        request.push_claims = None
        request.show_tracebacks = False
        if not request.error_page:
            request.error_page = {"default": plain_error_page}
        if current_request() is not None:  # other servers do not let a site set this
            cherrypy.serving.response.headers["Connection"] = "close"

    def attach(self, hooks: Any) -> None:
        """Attach the stages to a request's hooks, each after the site's own tools."""
        hooks.attach("on_start_resource", self.check_request, priority=10)
        hooks.attach("before_request_body", self.check_client, priority=70)
        hooks.attach("before_finalize", self.upgrade, priority=95)
        hooks.attach("after_error_response", self.tidy, priority=95)
        hooks.attach("on_end_resource", self.hold_back, priority=95)
        hooks.attach("on_end_request", self.hand_over, priority=95)
        hooks.attach("on_end_request", self.settle, priority=99, failsafe=True)

    def check_request(self) -> None:
        """Refuse what is not an opening handshake, before its body or its query is read."""
        request = cherrypy.serving.request
        with _refusing():
            check_request(request.method, request.protocol, request.headers)
            self._takeover = SocketTakeover()
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

    def hold_back(self) -> None:
        """Keep the finished answer from being sent before the server knows the connection."""
        response = cherrypy.serving.response
        if self._takeover is None or not self._reserved:
            return
        if not (getattr(response, "output_status", None) or b"").startswith(b"101"):
            return  # some tool has changed the answer
        self._takeover.hold_back()
        self._held = True
        response.header_list = [(name, value) for name, value in response.header_list
                                if name.decode("latin-1").title() not in _OF_A_PAGE]
        response.header_list += self._switching()

    def _switching(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of a 101, spelled as in RFC 6455: some clients compare case."""
        key = cherrypy.serving.request.headers["Sec-WebSocket-Key"]
        headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"),
                   ("Sec-WebSocket-Accept", accept_key(key))]
        if self._subprotocol is not None:
            headers.append(("Sec-WebSocket-Protocol", self._subprotocol))
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def hand_over(self) -> None:
        """Give the socket to the loop; it writes the answer first."""
        takeover = self._takeover
        if takeover is None or not self._held or not takeover.is_upgrade:
            return
        connection = self._connection(takeover)
        taken = self._acceptor.taken_out(self._Id, self._began)
        channels = connection.starts_in([one for one in self._channels if one not in taken])
        try:
            self._check_token()
            self._reserved = False
            self._acceptor.accept(
                connection, takeover.socket, channels=channels, answer=takeover.answer,
                early=takeover.take_early(), heartbeat=self._heartbeat, began=self._began)
        except HandshakeRefused as refused:
            logger.debug("refused with %d: %s", refused.status, refused.message)
            self._refused = refused
            return
        self._done = True
        takeover.detach()
        self._set_ends(connection)

    def _check_token(self) -> None:
        """Refuse a token that has expired since it was checked."""
        if self._token_life() == 0:
            raise HandshakeRefused(401, "token: it has expired")

    def _token_life(self) -> float | None:
        """Return the seconds for which the URL's token is valid; None: for ever."""
        tokens = self._acceptor.tokens
        if tokens is None or self._claims is None:
            return None
        return tokens.life(self._claims, can_refresh=False)

    def _set_ends(self, connection: Connection) -> None:
        """Have the connection's rights end with its token and with its session."""
        seconds = self._token_life()
        if seconds is not None and not connection.expires_itself:
            connection.expire(seconds)
        if getattr(cherrypy.serving.request, "push_session_expires", False):
            life = SessionLife(cherrypy.serving.session)
            connection.end_with(lambda: life.left(connection.session))

    def _connection(self, takeover: SocketTakeover) -> Connection:
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

    def settle(self) -> None:
        """If the socket was not handed over after all, undo what was begun and end it."""
        if not self._done:
            end_connection()
        if self._reserved:
            self._acceptor.release(self._Id)
            self._reserved = False
        takeover = self._takeover
        if takeover is None or not self._held or self._done:
            return
        if not takeover.is_upgrade:
            takeover.write_answer()
            return
        error = self._refused or sys.exc_info()[1]
        if isinstance(error, HandshakeRefused):
            takeover.refuse(error.status, error.message, error.headers)
        else:
            status = error.code if isinstance(error, cherrypy.HTTPError) else 500
            takeover.refuse(status, "the site could not take the connection", {})


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
