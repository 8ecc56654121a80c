"""The HTTP side of one WebSocket address: what happens to a request, stage by stage."""
from __future__ import annotations

import logging
import sys
from typing import Any, Iterable, Sequence
from urllib.parse import parse_qsl

import cherrypy

from ..connections.acceptor import Acceptor
from ..connections.connection import Connection
from ..errors import HandshakeRefused
from ..wire.frames import close_frame
from ..wire.handshake import (accept_key, asks_for_close, check_head, check_request,
                              checked_heartbeat, choose_subprotocol, first_subprotocol,
                              refusal_disconnect)
from ..wire.origins import ANY, check_origin, site_origins
from .identity import TOKEN_REFUSED, Identity, takes
from .refusals import RefusalLog, plain_error_page, refusal_of, refusing
from .sessions import SessionLife
from .socket_takeover import SWITCHING, SocketTakeover, end_connection, warn_once

logger = logging.getLogger(__name__)

LAST = 1000
"""The priority of a hook that comes after all those of a site."""

_NOT_FOR_KEEPING = ("wsgi.input", "wsgi.errors")
"""Entries of a WSGI environment that would keep the request's objects alive."""

_NOT_OF_A_101 = ("Content-Type", "Content-Encoding", "Content-Length", "Etag", "Last-Modified",
                 "Accept-Ranges", "Vary", "Transfer-Encoding", "Keep-Alive", "Connection",
                 "Upgrade", "Sec-Websocket-Accept", "Sec-Websocket-Protocol")
"""Headers that describe a body, which a 101 does not have, and those that it gets from us."""

_FROM_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
                 "X-Real-Ip", "Via")
"""Headers that a browser sends for no page, so that something in between has added them."""


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
        trust_id: ``?Id=`` says who the client is, whatever else does; see ``Identity``.
        heartbeat_freq: seconds between pings; None: see ``Connection``.
        log: told about refusals.
    """

    def __init__(self, acceptor: Acceptor, *, handler_cls: type[Connection] = Connection,
                 channels: Iterable[str] = (), subprotocols: Sequence[str] = (),
                 trust_id: bool = False, heartbeat_freq: float | None = None,
                 log: RefusalLog) -> None:
        acceptor.hasten()
        self._acceptor = acceptor
        self._log = log
        self._handler_cls = handler_cls
        self._channels = tuple(channels)
        self._subprotocols = subprotocols
        request = cherrypy.serving.request
        self._handler = request.handler     # before tools wrap it
        self._identity = Identity(acceptor.tokens, self._handler, needs_id=handler_cls.needs_id,
                                  trust_id=trust_id)
        self._began = acceptor.moment
        self._heartbeat_freq = heartbeat_freq
        self._heartbeat = 0.0
        self._subprotocol: str | None = None
        self._key = ""
        self._offered = ""
        self._address = ""
        self._takeover: SocketTakeover | None = None
        self._connection: Connection | None = None
        self._life: SessionLife | None = None
        self._refused: HandshakeRefused | None = None
        self._origin_passed = False
        self._reserved = False      # a place, in the name of the client's Id
        self._agreed = False        # CherryPy's finished answer is a 101
        self._confirmed = False     # and none of the site's tools has failed since
        self._by_frame = False      # a refusal is told by a close frame
        self._logged = False
        self._is_refusals_ours = not takes(self._handler, "refusals")
        request.push_data = {}
        request.push_claims = None
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
        hooks.attach("after_error_response", self.tell, priority=99)
        hooks.attach("on_end_resource", self.tell, priority=99)
        hooks.attach("on_end_request", self.confirm, priority=95)
        hooks.attach("on_end_request", self.settle, priority=99, failsafe=True)

    def check_request(self) -> None:
        """Refuse what is not an opening handshake, before its body or its query is read."""
        request = cherrypy.serving.request
        cherrypy.serving.response.stream = False  # or sessions stay locked until the very end
        with refusing():
            self._begin(request)
            try:
                parse_qsl(request.query_string, errors="strict")
            except (UnicodeDecodeError, ValueError):
                raise HandshakeRefused(400, "Id is not UTF-8: percent-encode it as UTF-8") \
                    from None

    def _begin(self, request: Any) -> SocketTakeover:
        check_head(request.request_line, request.headers)
        check_request(request.method, request.protocol, request.headers)
        takeover = SocketTakeover()
        self._key = request.headers["Sec-WebSocket-Key"]
        self._offered = request.headers.get("Sec-WebSocket-Protocol", "")
        self._takeover = takeover
        return takeover

    def check_client(self) -> None:
        """Refuse a bad Id or Origin, and make the connection, so that the page handler knows it.

        By now the proxy tool has set the site's outer address.
        """
        request = cherrypy.serving.request
        params = request.params
        with refusing():
            if "refusals" in params and self._is_refusals_ours:
                asks_for_close(params.pop("refusals"))
            self._identity.read(request)
            if "heartbeat" in params and not takes(self._handler, "heartbeat"):
                heartbeat = checked_heartbeat(params.pop("heartbeat"))
                self._heartbeat = heartbeat if self._handler_cls.has_heartbeats else 0.0
            self._check_origin()
            self._subprotocol = choose_subprotocol(self._offered, self._subprotocols,
                                                   self._handler_cls.refused_subprotocols)
        assert self._takeover is not None
        request.ws_handler = self._connection = self._make(request, self._takeover)

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

    def _make(self, request: Any, takeover: SocketTakeover) -> Connection:
        environ = {key: value for key, value in request.wsgi_environ.items()
                   if key not in _NOT_FOR_KEEPING}
        chosen = [self._subprotocol] if self._subprotocol else []
        made = self._handler_cls(takeover.socket, chosen, [], environ)
        if self._heartbeat_freq is not None:
            made.heartbeat_freq = self._heartbeat_freq
        made.await_opening(self._acceptor.settings.max_outbox)
        return made

    def ignore_result(self) -> None:
        """Drop what the page handler returns before anything makes a page of it."""
        request = cherrypy.serving.request
        handler = request.handler

        def without_result() -> None:
            handler()
        if handler is not None:
            request.handler = without_result

    def upgrade(self) -> None:
        """Turn the answer into a 101, if the page handler has run and raised nothing."""
        request, response = cherrypy.serving.request, cherrypy.serving.response
        status = str(response.status or 200)
        self.tidy()
        if request.stage != "before_finalize" or request.handler is None:
            return
        if not status.startswith("200"):
            return
        with refusing():
            self._identity.decide(request)
            self._acceptor.reserve(self._identity.Id)
        self._reserved = True
        self._refused = None
        self._by_frame = self._wants_close_frame(None)
        assert self._takeover is not None
        self._takeover.hold_back(self.finish)
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

    def agree(self) -> None:
        """Tell the connection who its client is, if CherryPy's finished answer is a 101."""
        status = getattr(cherrypy.serving.response, "output_status", None) or b""
        if self._reserved and status.startswith(b"101"):  # no tool has changed the answer
            self._identify(cherrypy.serving.request)
            self._agreed = True

    def _identify(self, request: Any) -> None:
        connection, identity = self._connection, self._identity
        assert connection is not None
        self._address = request.remote.ip
        connection.identify(Id=identity.Id, user=request.login, data=request.push_data,
                            peer=(request.remote.ip, request.remote.port))
        connection.has_id = identity.is_known
        connection.session = getattr(request, "push_session", None)
        connection.url_claims = identity.claims
        if identity.claims is not None and connection.info is None:
            connection.info = identity.claims.info
        if getattr(request, "push_session_expires", False):
            self._life = SessionLife(cherrypy.serving.session)

    def tell(self) -> None:
        """Log a refusal, and tell a page by a close frame: browsers show it no HTTP answer."""
        if self._connection is not None and not self._agreed:
            self._connection.give_up()
        if self._refused is None or self._logged:
            return
        self._address = cherrypy.serving.request.remote.ip
        self._log_refusal(self._refused)
        if self._wants_close_frame(self._refused):
            assert self._takeover is not None
            self._by_frame = True
            self._takeover.hold_back(self.finish, all_of_it=True)

    def _wants_close_frame(self, refused: HandshakeRefused | None) -> bool:
        """Tell whether this is a handshake that asks for one, by a page that may read why."""
        request = cherrypy.serving.request
        asked = [value for name, value in parse_qsl(request.query_string, errors="replace")
                 if name == "refusals"]
        if asked != ["close"] or not self._is_refusals_ours:
            return False
        try:
            if self._takeover is None:  # a tool of the site was faster
                self._begin(request)
        except HandshakeRefused:
            return False
        try:
            if not self._origin_passed:
                self._check_origin()
        except HandshakeRefused as error:   # what the site says is not for others
            return refused is not None and error.message == refused.message
        return True

    def _log_refusal(self, refused: HandshakeRefused) -> None:
        self._logged = True
        self._log.add(refused, Id=self._identity.Id, address=self._address)

    def confirm(self) -> None:
        """Note that none of the site's tools has failed behind the answer."""
        self._confirmed = True
        if self._agreed:    # not earlier: WSGI forbids these headers
            self._show_headers(cherrypy.serving.response)

    def _show_headers(self, response: Any) -> None:
        """Let the site's last hooks see the headers that the 101 will have."""
        response.header_list = [(name, value) for name, value in response.header_list
                                if name.decode("latin-1").title() not in _NOT_OF_A_101]
        response.header_list += [(name.encode("latin-1"), value.encode("latin-1"))
                                 for name, value in self._headers(self._subprotocol)]

    def settle(self) -> None:
        """If one has, refuse instead. Middleware decides when this is called, and whether."""
        if self._agreed and not self._confirmed:
            error = sys.exc_info()[1]
            self._refused = _failed(error, getattr(error, "code", 500))

    def finish(self) -> None:
        """Give the socket to the loop, if the answer is still a 101; else undo what was begun.

        cheroot calls this, with no CherryPy around it.
        """
        takeover, connection = self._takeover, self._connection
        assert takeover is not None
        try:
            if self._agreed and takeover.answer and self._refused is None \
                    and not takeover.is_abandoned:
                assert connection is not None
                self._hand_over(takeover, connection)
                return
            refused = self._refused or _failed(None)
        except HandshakeRefused as error:
            refused = error
        except Exception as error:
            logger.exception("Id %r: the connection could not be taken over", self._identity.Id)
            if takeover.is_detached:
                return
            refused = _failed(error)
        if self._reserved:
            self._acceptor.release(self._identity.Id)
        if connection is not None:
            connection.give_up()
        if takeover.is_abandoned:
            return
        if self._agreed and not takeover.answer:
            warn_once("WSGI middleware answered a WebSocket handshake with %s in the place of "
                      "CherryPy's 101: take the push path out of it", takeover.status or "nothing")
        if not takeover.status:
            self._refuse(takeover, refused)

    def _hand_over(self, takeover: SocketTakeover, connection: Connection) -> None:
        taken = self._acceptor.taken_out(self._identity.Id, self._began)
        channels = connection.starts_in([one for one in self._channels if one not in taken])
        if self._identity.life() == 0:
            raise HandshakeRefused(401, TOKEN_REFUSED, detail="it has expired meanwhile")
        self._reserved = False
        self._acceptor.accept(
            connection, takeover.socket, channels=channels, early=takeover.take_early(),
            answer=self._switching(takeover.answer, self._subprotocol),
            heartbeat=self._heartbeat, began=self._began)
        takeover.detach()
        seconds = self._identity.life()
        if seconds is not None and not connection.expires_itself:
            connection.expire(seconds)
        life = self._life
        if life is not None:
            connection.end_with(lambda: life.left(connection.session))

    def _refuse(self, takeover: SocketTakeover, refused: HandshakeRefused) -> None:
        """Refuse behind CherryPy's back."""
        if not self._logged:
            self._log_refusal(refused)
        if not self._by_frame:
            takeover.refuse(refused.status, refused.message, refused.headers)
            return
        # browsers fail a connection that answers none of the subprotocols that they offer
        head = self._switching(
            SWITCHING + b"Switching Protocols\r\n" + takeover.answer.partition(b"\r\n")[2],
            self._subprotocol or first_subprotocol(self._offered))
        takeover.write(head + close_frame(refusal_disconnect(refused.status, refused.message)))
        if self._acceptor.take_leave(takeover.socket):
            takeover.detach()

    def _headers(self, subprotocol: str | None) -> list[tuple[str, str]]:
        """Return the headers of a 101, spelled as in RFC 6455: some clients compare case."""
        headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"),
                   ("Sec-WebSocket-Accept", accept_key(self._key))]
        if subprotocol is not None:
            headers.append(("Sec-WebSocket-Protocol", subprotocol))
        return headers

    def _switching(self, answer: bytes, subprotocol: str | None) -> bytes:
        """Return a 101 with its own headers, whatever the site's middleware made of them."""
        status, *fields = answer.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
        kept = [field for field in fields
                if field.partition(":")[0].strip().title() not in ("", *_NOT_OF_A_101)]
        ours = [f"{name}: {value}" for name, value in self._headers(subprotocol)]
        return "\r\n".join([status, *kept, *ours, "", ""]).encode("latin-1")


def _failed(error: BaseException | None, status: int = 500) -> HandshakeRefused:
    """Return how a client is refused for what is no business of its own."""
    if isinstance(error, HandshakeRefused):
        return error
    return HandshakeRefused(status, "the site could not take the connection",
                            detail=type(error).__name__ if error is not None else "")
