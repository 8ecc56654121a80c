"""What a client shows a server to say who it is, put together for each connection."""
from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence, Union

from ..errors import CredentialsFailed, InvalidSetting
from ..options import HeadersOption, header_pairs
from .cookies import Cookies
from .errands import Errands
from .handshake import check_headers
from .waker import StepDeadline

TokenOption = Union[str, Callable[[], Any], None]
"""A token, or a function that returns one, called for each connection."""


class Credentials:
    """Hold headers and a token, or the functions that return them, and the server's cookies.

    Args:
        secure: the connections use TLS.
        headers: pairs or a mapping, read for each connection, or a function that returns them.
        origin: the ``Origin`` header, or None.
        token: what becomes ``?token=`` in the URL, or a function that returns it, or None.

    Attributes:
        cookies: those that the server has set.

    Raises:
        InvalidSetting: they cannot work.
    """

    def __init__(self, secure: bool, headers: HeadersOption = None, origin: str | None = None,
                 token: TokenOption = None) -> None:
        if not callable(headers) and not isinstance(headers, (Mapping, Sequence)):
            headers = header_pairs(headers)
        self.cookies = Cookies(secure)
        self._headers = headers
        self._origin = origin
        self._token = token
        if not callable(headers):
            self._checked(headers)
        if not callable(token):
            _checked_token(token)

    def headers(self, errands: Errands, deadline: StepDeadline) -> list[tuple[str, str]]:
        """Return the headers for one connection.

        Raises:
            CredentialsFailed: the function failed; it may work another time.
            InvalidSetting: they cannot work.
            ConnectTimeout, Interrupted: see ``StepDeadline.wait``.
        """
        given = self._checked(_made(self._headers, "headers", errands, deadline))
        return self.cookies.added_to(given)

    def token(self, errands: Errands, deadline: StepDeadline) -> str:
        """Return the token for one connection, or ""; raise as ``headers`` does."""
        return _checked_token(_made(self._token, "token", errands, deadline))

    def _checked(self, headers: Any) -> list[tuple[str, str]]:
        pairs = header_pairs(headers)
        if self._origin is not None:
            pairs.append(("Origin", self._origin))
        return check_headers(pairs)


def _made(source: Any, name: str, errands: Errands, deadline: StepDeadline) -> Any:
    if not callable(source):
        return source
    step = f"the {name} function"

    def call() -> Any:
        try:
            return source()
        except BaseException as error:
            raise CredentialsFailed(f"{step} failed: {error!r:.200}") from error
    return errands.run(call, step, deadline)


def _checked_token(token: Any) -> str:
    if token is None or isinstance(token, str):
        return token or ""
    raise InvalidSetting(f"token is {type(token).__name__}: use text, or a function that returns "
                         "it")
