"""Who a client is: what its URL says, what a token proves, and what the page handler decides."""
from __future__ import annotations

import inspect
import uuid
from typing import Any, Mapping

import cherrypy

from ..errors import HandshakeRefused
from ..server import checked_id
from ..tokens import Claims, TokenInvalid, Tokens
from ..wire.handshake import admitted_id

TOKEN_REFUSED = "the token is not valid: get a new one"
"""Says no more than that: what a token lacks helps those who forge one."""


class Identity:
    """Find out who the client of one request is.

    What a client writes into ``?Id=`` proves nothing. It counts if the page handler has a parameter
    ``Id``, so that it can check it, and only as long as the site takes no tokens; otherwise if the
    site says that it trusts it. ``cherrypy.request.push_id``, which the page handler sets, and a
    token's ``sub`` always count; they must not differ. With a ``push_id`` of None, the page handler
    says that it knows nobody: ``?Id=`` does not count.

    Args:
        tokens: checks tokens, or None.
        handler: the page handler, as CherryPy has it before any tool has run.
        needs_id: a client that nobody knows is refused; otherwise it gets an Id of its own.
        trust_id: ``?Id=`` counts in any case.

    Attributes:
        Id: who the client is, as far as that is known; in the end it always is.
        is_known: somebody has said so; if not, the Id is made up.
        claims: the claims of the token in the URL, or None.
    """

    def __init__(self, tokens: Tokens | None, handler: Any, *, needs_id: bool,
                 trust_id: bool) -> None:
        self.Id = ""
        self.is_known = True
        self.claims: Claims | None = None
        self._tokens = tokens
        self._needs_id = needs_id
        self._trust_id = trust_id
        self._handler = handler
        self._asks_for_id = trust_id or takes(handler, "Id")

    def __repr__(self) -> str:
        return f"<Identity {self.Id!r}>"

    def read(self, request: Any) -> None:
        """Read the URL, before the page handler runs.

        Args:
            request: CherryPy's.

        Raises:
            HandshakeRefused: 400 or 401.
        """
        params, handler = request.params, self._handler
        if self._take_token(params):
            params["Id"] = self.Id
        elif "Id" in params:
            self.Id = admitted_id(params["Id"])
            missing = handler is None or isinstance(handler, cherrypy.HTTPError)
            if not self._asks_for_id and not missing:
                raise HandshakeRefused(400, "Id is not the client's to choose here: leave it out",
                                       detail="the page handler has no parameter Id; see also "
                                              "trust_id")
        elif needs(handler, "Id"):
            admitted_id(None)
        if not takes(handler, "Id", among_others=True):
            params.pop("Id", None)  # CherryPy would refuse it
        request.push_claims = self.claims

    def _take_token(self, params: dict[str, Any]) -> bool:
        """Take a token from the URL, if the site accepts tokens; tell whether it names a user."""
        if self._tokens is None or "token" not in params:
            return False
        token = params.pop("token")
        try:
            self.claims = self._tokens.connection(token if isinstance(token, str) else "")
        except TokenInvalid as error:
            raise HandshakeRefused(401, TOKEN_REFUSED, detail=str(error)) from None
        user = self.claims.user
        if not user:
            return False
        if params.get("Id", user) != user:
            raise HandshakeRefused(401, TOKEN_REFUSED, detail="its sub is not the Id")
        self.Id = admitted_id(user)
        return True

    def decide(self, request: Any) -> None:
        """Decide who the client is, after the page handler has run.

        Args:
            request: CherryPy's.

        Raises:
            HandshakeRefused: 400 or 401.
            InvalidSetting: the page handler has set a ``push_id`` that is not text.
        """
        chosen, login = getattr(request, "push_id", None), request.login
        if chosen not in (None, ""):
            self.Id = admitted_id(checked_id(chosen))
            if self.claims is not None and self.claims.user not in ("", self.Id):
                raise HandshakeRefused(401, TOKEN_REFUSED, detail="its sub is not the push_id")
        elif self.Id and (self._is_proven or not hasattr(request, "push_id")):
            self._check_named(login)    # not if the page handler has said None: nobody
        elif login is not None:
            self.Id = admitted_id(login)
        elif self._needs_id:
            self._refuse_unknown()
        else:
            self.Id, self.is_known = f"anonymous-{uuid.uuid4()}", False

    @property
    def _is_proven(self) -> bool:
        return self.claims is not None and self.claims.user == self.Id

    def _check_named(self, login: str | None) -> None:
        """Refuse an Id that only the client has named, if the site takes tokens."""
        if self._is_proven or self._tokens is None or self._trust_id or login == self.Id:
            return
        raise HandshakeRefused(401, "an Id proves nothing here: show a token",
                               detail="the site takes tokens; set cherrypy.request.push_id in the "
                                      "page handler, or trust_id for the tool")

    def _refuse_unknown(self) -> None:
        if self._asks_for_id and not self.Id:
            admitted_id(None)
        what = "log in first" if self._tokens is None else "show a token, or log in first"
        raise HandshakeRefused(401, f"nobody has said who this client is: {what}",
                               detail="set cherrypy.request.push_id in the page handler")

    def life(self) -> float | None:
        """Return the seconds for which the URL's token is valid; None: for ever."""
        if self._tokens is None or self.claims is None:
            return None
        return self._tokens.life(self.claims, can_refresh=False)


def takes(handler: Any, name: str, *, among_others: bool = False) -> bool:
    """Tell whether the site's page handler has a parameter of this name, so that it is the site's.

    Args:
        handler: CherryPy's.
        name: the parameter's.
        among_others: ``**kwargs`` also counts.
    """
    parameters = _parameters(handler)
    return name in parameters or among_others and any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def needs(handler: Any, name: str) -> bool:
    """Tell whether the site's page handler cannot be called without a parameter of this name."""
    parameter = _parameters(handler).get(name)
    return parameter is not None and parameter.default is parameter.empty


def _parameters(handler: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(getattr(handler, "callable", handler)).parameters
    except (AttributeError, TypeError, ValueError):  # no page handler, or not one in Python
        return {}
