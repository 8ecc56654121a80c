"""The HTTP side of one WebSocket address: what happens to a request, stage by stage."""
from __future__ import annotations

import inspect
import sys
import uuid
from typing import Any, Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

import cherrypy

from ..connections.acceptor import Acceptor
from ..connections.connection import Connection
from ..errors import HandshakeRefused
from ..tokens import Claims, TokenInvalid
from ..wire.frames import close_frame
from ..wire.handshake import (accept_key, admitted_id, asks_for_close, check_request,
                              checked_heartbeat, choose_subprotocol, first_subprotocol,
                              refusal_disconnect)
from ..wire.origins import ANY, check_origin, site_origins
from .refusals import RefusalLog, plain_error_page, refusal_of, refusing
from .socket_takeover import SocketTakeover, current_request, end_connection

_NOT_FOR_KEEPING = ("wsgi.input", "wsgi.errors")
"""Entries of a WSGI environment that would keep the request's objects alive."""

_OF_A_PAGE = ("Content-Type", "Content-Encoding", "Content-Length", "Etag", "Last-Modified",
              "Accept-Ranges", "Vary", "Connection")
"""Headers that describe a body, which a 101 does not have, and ``Connection``."""

_FROM_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
                 "X-Real-Ip", "Via")
"""Headers that a browser sends for no page, so that something in between has added them."""

TOKEN_REFUSED = "the token is not valid: get a new one"
"""Says no more than that: what a token lacks helps those who forge one."""


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
        log: told about refusals.
    """

    def __init__(self, acceptor: Acceptor, *, handler_cls: type[Connection] = Connection,
                 channels: Iterable[str] = (), subprotocols: Sequence[str] = (),
                 log: RefusalLog) -> None:
        self._acceptor = acceptor
        self._log = log
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
        self._origin_passed = False
        self._told = False
        request = cherrypy.serving.request
        self._is_refusals_ours = not _takes(request.handler, "refusals")     # before tools wrap it
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
        hooks.attach("on_end_resource", self.tell, priority=99)
        hooks.attach("after_error_response", self.tell, priority=99)
        hooks.attach("on_end_request", self.hand_over, priority=95)
        hooks.attach("on_end_request", self.settle, priority=99, failsafe=True)

    def check_request(self) -> None:
        """Refuse what is not an opening handshake, before its body or its query is read."""
        request = cherrypy.serving.request
        with refusing():
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
        with refusing():
            if "refusals" in request.params and self._is_refusals_ours:
                asks_for_close(request.params.pop("refusals"))
            self._take_token(request.params)
            if "Id" in request.params or not self._Id and (
                    self._handler_cls.needs_id or _needs(request.handler, "Id")):
                self._Id = admitted_id(request.params.get("Id"))
            if "heartbeat" in request.params and not _takes(request.handler, "heartbeat"):
                heartbeat = checked_heartbeat(request.params.pop("heartbeat"))
                self._heartbeat = heartbeat if self._handler_cls.has_heartbeats else 0.0
            self._check_origin()
            offered = request.headers.get("Sec-WebSocket-Protocol", "")
            self._subprotocol = choose_subprotocol(offered, self._subprotocols,
                                                   self._handler_cls.refused_subprotocols)

    def _check_origin(self) -> None:
        """Refuse a page that is neither the site's nor an allowed one."""
        request, settings = cherrypy.serving.request, self._acceptor.settings
        proxy = request.toolmaps.get("tools", {}).get("proxy", {})
        is_on = proxy.get("on", False)
        hosts = settings.allowed_hosts
        if not hosts and (is_on or any(map(request.headers.get, _FROM_PROXIES)) or not
                          (self._takeover and self._takeover.listens_on_loopback)):
            hosts = (ANY,)
        sites = site_origins(request.base, request.headers, proxy if is_on else None)
        check_origin(request.headers.get("Origin"), sites, settings.allowed_origins, hosts=hosts)
        self._origin_passed = True

    def _take_token(self, params: dict[str, Any]) -> None:
        """Take the client's Id from a token in the URL, if the site accepts tokens."""
        tokens = self._acceptor.tokens
        if tokens is None or "token" not in params:
            return
        token = params.pop("token")
        try:
            claims = tokens.connection(token if isinstance(token, str) else "")
        except TokenInvalid as error:
            raise HandshakeRefused(401, TOKEN_REFUSED, detail=str(error)) from None
        request = cherrypy.serving.request
        if claims.user:
            if params.get("Id", claims.user) != claims.user:
                raise HandshakeRefused(401, TOKEN_REFUSED, detail="its sub is not the Id")
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
        self._refused = None
        with refusing():
            self._name()
            self._acceptor.reserve(self._Id)
        self._reserved = True
        response.status = 101
        response.body = b""

    def tidy(self) -> None:
        """Note why there is no connection; remove the blanks of CherryPy's error pages."""
        request, response = cherrypy.serving.request, cherrypy.serving.response
        code = int(str(response.status or 200)[:3])
        self._refused = refusal_of(sys.exc_info()[1], code)
        ours = request.error_page.get("default") is plain_error_page
        if ours and str(response.status or 200)[0] in "45":
            response.body = response.collapse_body().rstrip() + b"\n"
            response.headers.pop("Content-Length", None)

    def tell(self) -> None:
        """Tell a page why it is refused: browsers show it a close frame, but no HTTP answer."""
        if self._refused is None or not self._wants_close_frame(self._refused):
            return
        response = cherrypy.serving.response
        for name in _OF_A_PAGE:
            response.headers.pop(name, None)
        offered = cherrypy.serving.request.headers.get("Sec-WebSocket-Protocol", "")
        protocol = self._subprotocol or first_subprotocol(offered)
        response.headers.update((name.decode("latin-1"), value.decode("latin-1"))
                                for name, value in self._switching(protocol))
        response.status = 101
        response.stream = True      # or CherryPy would take the body away
        response.body = [self._close_frame(self._refused)]
        response.finalize()
        self._told = True

    def _wants_close_frame(self, refused: HandshakeRefused) -> bool:
        """Tell whether this is a handshake that asks for one, by a page that may read why."""
        request = cherrypy.serving.request
        asked = [value for name, value in parse_qsl(request.query_string, errors="replace")
                 if name == "refusals"]
        if asked != ["close"] or not self._is_refusals_ours:
            return False
        if self._takeover is None and not self._is_handshake():
            return False
        try:
            if not self._origin_passed:
                self._check_origin()
        except HandshakeRefused as error:
            return error.message == refused.message     # what the site says is not for others
        return True

    def _is_handshake(self) -> bool:
        """Check what a tool of the site that was faster has kept us from checking."""
        request = cherrypy.serving.request
        try:
            check_request(request.method, request.protocol, request.headers)
            self._takeover = SocketTakeover()
        except HandshakeRefused:
            return False
        return True

    @staticmethod
    def _close_frame(refused: HandshakeRefused) -> bytes:
        return close_frame(refusal_disconnect(refused.status, refused.message))

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
        response.header_list += self._switching(self._subprotocol)

    @staticmethod
    def _switching(subprotocol: str | None) -> list[tuple[bytes, bytes]]:
        """Return the headers of a 101, spelled as in RFC 6455: some clients compare case."""
        key = cherrypy.serving.request.headers["Sec-WebSocket-Key"]
        headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"),
                   ("Sec-WebSocket-Accept", accept_key(key))]
        if subprotocol is not None:
            headers.append(("Sec-WebSocket-Protocol", subprotocol))
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def hand_over(self) -> None:
        """Give the socket to the loop; it writes the answer first."""
        takeover = self._takeover
        if takeover is None or not self._held or self._told or not takeover.is_upgrade:
            return
        connection = self._connection(takeover)
        channels = connection.starts_in(self._channels)
        self._reserved = False
        self._acceptor.accept(
            connection, takeover.socket, channels=channels, answer=takeover.answer,
            early=takeover.take_early(), heartbeat=self._heartbeat)
        self._done = True
        takeover.detach()
        if connection.expires_itself or self._claims is None:
            return
        assert self._acceptor.tokens is not None
        seconds = self._acceptor.tokens.life(self._claims, can_refresh=False)
        if seconds is not None:
            connection.expire(seconds)

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
        if self._done:
            return
        end_connection()
        if self._reserved:
            self._acceptor.release(self._Id)
            self._reserved = False
        if self._takeover is not None:
            if self._held:
                self._write_held(self._takeover)
            if self._told and self._takeover.was_answered and \
                    self._acceptor.take_leave(self._takeover.socket):
                self._takeover.detach()
        if self._refused is not None:
            self._log.add(self._refused, Id=self._Id, address=cherrypy.serving.request.remote.ip)

    def _write_held(self, takeover: SocketTakeover) -> None:
        """Write the answer that was held back, or a refusal instead of a 101."""
        if self._told or not takeover.is_upgrade:
            takeover.write_answer()
            return
        error = sys.exc_info()[1]
        if not isinstance(error, HandshakeRefused):
            status = error.code if isinstance(error, cherrypy.HTTPError) else 500
            error = HandshakeRefused(status, "the site could not take the connection",
                                     detail=type(error).__name__)
        self._refused = refused = error
        if self._wants_close_frame(refused):
            takeover.write_answer(self._close_frame(refused))
            self._told = True
        else:
            takeover.refuse(refused.status, refused.message, refused.headers)


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
