"""Tokens on live connections: check them, report when they expire, and act on it."""
from __future__ import annotations

import logging
from typing import Callable

from ..errors import PushError
from ..runtime.runtime import DelayedJob
from ..tokens import Claims, TokenExpired, TokenInvalid, Tokens
from . import errors
from .session import Session

logger = logging.getLogger(__name__)


def checked_claims(session: Session, check: Callable[[Tokens], Claims],
                   refusal: PushError) -> Claims:
    """Return the claims of a token.

    Args:
        session: the client's.
        check: asks the site's ``Tokens``.
        refusal: raised if the token is not accepted.

    Raises:
        CommandError: 109: it is not valid now.
    """
    tokens = session.handle.context.tokens
    try:
        if tokens is None:
            raise TokenInvalid("the site accepts no tokens: pass PushPlugin(tokens=...)")
        return check(tokens)
    except TokenExpired:
        raise errors.token_expired() from None
    except TokenInvalid as error:
        logger.info("Id %r: a token was refused: %s", session.client.Id, error)
        raise refusal from None


def ttl(session: Session, claims: Claims) -> int | None:
    """Return the seconds that a client's token is valid, as the client is told; None: for ever."""
    tokens = session.handle.context.tokens
    seconds = None if tokens is None else claims.ttl(tokens.clock())
    return None if seconds is None else max(1, int(seconds))


def at_end(session: Session, claims: Claims, job: Callable[[], object]) -> DelayedJob | None:
    """Run a job some time after a token has expired, on the loop's thread; None if it never does.

    Raises:
        CommandError: 109: that time is over.
    """
    handle = session.handle
    tokens = handle.context.tokens
    seconds = None if tokens is None else tokens.life(claims, can_refresh=True)
    if seconds is not None and not seconds:
        raise errors.token_expired()
    return None if seconds is None else handle.at_end(seconds, job)


def expect_expiry(session: Session, claims: Claims | None) -> None:
    """Close the connection some time after its token expires, unless it has sent a new one.

    Raises:
        CommandError: 109: that time is over.
    """
    ending = None if claims is None else at_end(session, claims,
                                                lambda: session.end(errors.EXPIRED))
    session.client.keep(ending)
    session.refreshable = session.refreshable or ending is not None
