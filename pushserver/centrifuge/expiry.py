"""Tokens on live connections: checked, told of, and ended by."""
from __future__ import annotations

import logging
from typing import Any, Callable

from ..errors import PushError
from ..tokens import Claims, TokenExpired, TokenInvalid
from . import errors as codes
from .session import Session

logger = logging.getLogger(__name__)


def checked(session: Session, check: Callable[[Any], Claims], refusal: PushError) -> Claims:
    """Return what a token says.

    Args:
        check: asks the site's ``Tokens``.
        refusal: raised if the token is not to be taken.

    Raises:
        CommandError: 109: it is not good now.
    """
    tokens = session.server.tokens
    try:
        if tokens is None:
            raise TokenInvalid("the site takes none: give PushPlugin(tokens=...)")
        return check(tokens)
    except TokenExpired:
        raise codes.token_expired() from None
    except TokenInvalid as error:
        logger.info("Id %r: a token was refused: %s", session.connection.Id, error)
        raise refusal from None


def expiry(session: Session, claims: Claims | None) -> dict[str, Any]:
    """Return what a client is told of its token's end."""
    seconds = None if claims is None else claims.ttl(session.server.tokens.clock())
    return {} if seconds is None else {"expires": True, "ttl": max(1, int(seconds))}


def at_end(session: Session, claims: Claims | None, job: Callable[[], object]) -> Any:
    """Have something done some time after a token's end; None if it has none."""
    server = session.server
    seconds = None if claims is None else server.tokens.life(claims, can_refresh=True)
    return None if seconds is None else server.later(session.connection, seconds, job)


def expect_expiry(session: Session, claims: Claims | None) -> None:
    """End the connection some time after its token, unless it has shown a new one."""
    ending = at_end(session, claims, lambda: session.end(codes.EXPIRED))
    session.connection.keep(ending)
    session.refreshable = session.refreshable or ending is not None
