"""CherryPy's sessions: which one a request has, and how long it is kept."""
from __future__ import annotations

import copy
from typing import Any

import cherrypy

from ..errors import InvalidSetting


def current_session() -> Any:
    """Return CherryPy's session of this request.

    Raises:
        InvalidSetting: there is none.
    """
    session = getattr(cherrypy.serving, "session", None)
    if session is None:
        raise InvalidSetting("there is no session: enable tools.sessions.on for this page")
    return session


def new_id() -> tuple[str, str] | None:
    """Return the old id and the new one of a session that this request has regenerated.

    Only the id of a session that existed: a cookie may say anything.
    """
    session = getattr(cherrypy.serving, "session", None)
    if session is None or not session.regenerated or not session.originalid or session.missing:
        return None
    return session.originalid, session.id


def prolong(session: Any) -> None:
    """Have this request put off the end of its session, as those that use its data do."""
    if not session.locked:  # by locking = "explicit"; CherryPy unlocks it at the end
        session.acquire_lock()
    if not session.loaded:
        session.load()


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

    def left(self, id: str) -> float:
        """Return the seconds for which it is still kept; 0: it has expired, or was deleted.

        This may wait for a request of the session that is in progress, as it may prolong it.

        Args:
            id: the session's, which may have changed.
        """
        mine = self._session
        mine.id = id
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
