"""Tokens that say who a client is and which channels it may use: JSON Web Tokens.

PyJWT checks them. It comes with the extra ``[jwt]``, and only this file needs it.

Source: RFC 7519; Centrifugo client authentication and channel tokens.
"""
from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

from .channels.rules import checked_channel
from .errors import InvalidData, InvalidSetting, PushError
from .wire.payloads import encode_json

logger = logging.getLogger(__name__)

SHARED, PUBLIC = ("HS256",), ("RS256", "ES256")
"""Algorithms for a secret that both sides know, and for the public half of a key pair."""

SHORTEST_SECRET = 16
"""Bytes of a secret; a shorter one is too easy to guess, and a warning is logged."""

MAX_TOKEN = 8192
"""Characters of the longest token."""

MAX_TTL = 365 * 24 * 3600
"""Most seconds for which a token is valid, whatever it says."""


class TokenInvalid(PushError):
    """A token is refused; the message says why, in one line that is not for the client."""


class TokenExpired(TokenInvalid):
    """A token has expired or is not valid yet; its client should get another one."""


@dataclass(frozen=True)
class Claims:
    """What a token says.

    Attributes:
        user: its ``sub``; empty: anonymous.
        expires: its ``exp``, in seconds since 1970, or None.
        info: its ``info``: what others are told about the client.
        channel: the channel that it is for; empty: it is for a connection.
        channels: the channels that the connection is in from the start.
    """

    user: str
    expires: float | None = None
    info: Any = None
    channel: str = ""
    channels: tuple[str, ...] = ()

    def ttl(self, now: float) -> float | None:
        """Return the seconds for which it is still valid, None if it does not expire."""
        return None if self.expires is None else min(self.expires - now, MAX_TTL)


@dataclass(frozen=True)
class Tokens:
    """Check tokens. Safe from any thread. The site chooses the algorithm, never the token.

    Args:
        secret: random bytes that the site shares with the issuer of the tokens, for HS256; or
        public_key: a public key in PEM, for RS256 or ES256.
        algorithm: HS256, RS256 or ES256; optional with a secret.
        audience: what ``aud`` must contain; None: ``aud`` is not checked.
        issuer: what ``iss`` must be; None: ``iss`` is not checked.
        leeway: seconds by which clocks may differ.
        grace: seconds that a live connection has to show a new token after the old one expired.
        clock: returns seconds since 1970.

    Raises:
        InvalidSetting: there is no key, the key does not fit the algorithm, or PyJWT is missing.
    """

    secret: str | bytes | None = field(default=None, repr=False)
    public_key: str | bytes | None = field(default=None, repr=False)
    algorithm: str = ""
    audience: str | None = None
    issuer: str | None = None
    leeway: float = 0.0
    grace: float = 25.0
    clock: Callable[[], float] = time.time
    _key: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        _pyjwt()
        if (self.secret is None) == (self.public_key is None):
            raise InvalidSetting("tokens need a key: give either secret or public_key")
        if not self.algorithm and self.secret is not None:
            object.__setattr__(self, "algorithm", SHARED[0])
        fitting = SHARED if self.secret is not None else PUBLIC
        if self.algorithm not in fitting:
            raise InvalidSetting(f"algorithm is {self.algorithm!r}: use {' or '.join(fitting)}, "
                                 "to match the key")
        for name in ("leeway", "grace"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value:
                raise InvalidSetting(f"{name} is {value!r}: use seconds, 0 or more")
        object.__setattr__(self, "_key", self._checked_key())

    def _checked_key(self) -> Any:
        if self.secret is not None:
            secret = self.secret.encode() if isinstance(self.secret, str) else self.secret
            if not isinstance(secret, bytes) or not secret:
                raise InvalidSetting("secret is empty, or neither text nor bytes: use "
                                     "secrets.token_hex(32), for example")
            if len(secret) < SHORTEST_SECRET:
                logger.warning("the tokens' secret has %d bytes and can be guessed: use at least "
                               "%d random bytes", len(secret), SHORTEST_SECRET)
            return secret
        try:
            key = _pyjwt().get_algorithm_by_name(self.algorithm).prepare_key(self.public_key)
        except Exception as error:  # PyJWT and cryptography raise what they like
            raise InvalidSetting(f"public_key is not a key for {self.algorithm}: {error!s:.80}") \
                from None
        if hasattr(key, "private_numbers"):
            raise InvalidSetting("public_key is a private key: give only its public half")
        return key

    def life(self, claims: Claims, can_refresh: bool) -> float | None:
        """Return the seconds after which to end what a token opened; None: never.

        That is never before the token itself is refused: the client would only come back with it.

        Args:
            claims: what the token says.
            can_refresh: whether the client can show a new one, for which it has ``grace``.
        """
        ttl = claims.ttl(self.clock())
        if ttl is None:
            return None
        return max(0.0, ttl + max(self.leeway, self.grace if can_refresh else 0.0))

    def connection(self, token: str) -> Claims:
        """Return what a connection's token says.

        Raises:
            TokenExpired: it has expired, or is not valid yet.
            TokenInvalid: it is refused for another reason.
        """
        claims = self._claims(token)
        if claims.get("channel") is not None:
            raise TokenInvalid("it is for a channel, not for a connection")
        return Claims(_user(claims), _expires(claims), _info(claims),
                      channels=_channels(claims))

    def subscription(self, token: str, channel: str, user: str) -> Claims:
        """Return what a channel's token says; it must be for this channel and this user.

        Raises:
            TokenExpired: it has expired, or is not valid yet.
            TokenInvalid: it is refused for another reason.
        """
        claims = self._claims(token)
        if claims.get("channel") != channel:
            raise TokenInvalid("it is not for this channel")
        if _user(claims) != user:
            raise TokenInvalid("it is not for this user")
        return Claims(user, _expires(claims), _info(claims), channel)

    def _claims(self, token: str) -> Mapping[str, Any]:
        if not token or len(token) > MAX_TOKEN:
            raise TokenInvalid("it is empty or too long")
        jwt = _pyjwt()
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token, self._key, algorithms=[self.algorithm],
                audience=self.audience, issuer=self.issuer,
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False,
                         "verify_aud": self.audience is not None, "verify_sub": False,
                         "verify_jti": False, "enforce_minimum_key_length": False})
        except jwt.PyJWTError as error:
            raise TokenInvalid(f"{error!s:.120}") from None
        except Exception as error:  # malformed in a way that PyJWT does not expect
            raise TokenInvalid(f"malformed: {error!r:.120}") from None
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        """Check the times against our own clock, so that tests can set it."""
        now = self.clock()
        before = _number(claims, "nbf")
        if before is not None and before > now + self.leeway:
            raise TokenExpired("it is not valid yet: compare the clocks")
        expires = _number(claims, "exp")
        if expires is not None and expires + self.leeway <= now:
            raise TokenExpired("it has expired")


def _pyjwt() -> Any:
    """Return PyJWT, which is slow to load and optional."""
    try:
        import jwt
    except ImportError:
        raise InvalidSetting("tokens need PyJWT: install pushserver[jwt]") from None
    return jwt


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise TokenInvalid(f"its {name} is not a time")
    return float(value)


def _expires(claims: Mapping[str, Any]) -> float | None:
    return _number(claims, "exp")


def _user(claims: Mapping[str, Any]) -> str:
    user = claims.get("sub")
    if user is None:
        return ""
    if not isinstance(user, str):
        raise TokenInvalid("its sub is not text")
    return user


def _channels(claims: Mapping[str, Any]) -> tuple[str, ...]:
    channels = claims.get("channels")
    if channels is None:
        return ()
    if not isinstance(channels, list):
        raise TokenInvalid("its channels are not a list")
    try:
        return tuple(dict.fromkeys(map(checked_channel, channels)))
    except InvalidSetting as error:
        raise TokenInvalid(f"its channels: {error}") from None


def _info(claims: Mapping[str, Any]) -> Any:
    info = claims.get("info")
    try:
        encode_json(info)
    except InvalidData:
        raise TokenInvalid("its info cannot be sent as JSON") from None
    return info
