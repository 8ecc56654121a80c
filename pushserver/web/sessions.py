"""CherryPy's sessions: by what name they are known, and how long they live."""
from __future__ import annotations

import copy
import uuid
from typing import Any

import cherrypy

from ..errors import InvalidSetting

KEY = "pushserver.key"
"""The entry of a session under which ``bind_session`` leaves a name that survives a new id."""


def current_session() -> Any:
    """Return CherryPy's session of this request.

    Raises:
        InvalidSetting: there is none.
    """
    session = getattr(cherrypy.serving, "session", None)
    if session is None:
        raise InvalidSetting("there is no session: enable tools.sessions.on for this page")
    return session


def made_key(session: Any) -> str:
    """Return a session's key; if it has none, put one into it."""
    if not session.locked:  # with locking = "explicit"; CherryPy saves and unlocks it at the end
        session.acquire_lock()
    key: str = session.setdefault(KEY, uuid.uuid4().hex)
    return key


def known_key(session: Any) -> str | None:
    """Return a session's key, or None."""
    if session.loaded or session.locked:
        return session.get(KEY)  # type: ignore[no-any-return]
    session.acquire_lock()
    try:
        return session.get(KEY)  # type: ignore[no-any-return]
    finally:
        session.release_lock()


class SessionLife:
    """Tell how long a session is still kept, by reading its storage. Any thread may call it.

    Args:
        session: CherryPy's.
    """

    def __init__(self, session: Any) -> None:
        self._session = mine = copy.copy(session)
        mine.id_observers = []      # they, and the data, belong to the request
        mine._data = {}

    def __repr__(self) -> str:
        return f"<SessionLife of {type(self._session).__name__}>"

    def left(self) -> float:
        """Return the seconds for which it is still kept; 0: it has expired, or was deleted.

        This may wait for a request of the session that is in progress, as it may prolong it.
        """
        mine = self._session
        try:
            mine.locked = True      # for a look that at worst shows too little
            if found := self._left():
                return found
        except Exception:
            pass    # half written
        mine.locked = False
        mine.acquire_lock()
        try:
            return self._left()
        finally:
            mine.release_lock()

    def _left(self) -> float:
        found = self._session._load()
        if found is None:
            return 0.0
        seconds: float = (found[1] - self._session.now()).total_seconds()
        return max(0.0, seconds)
