"""A vote for users who have logged in with a CherryPy session; every page shows the count live."""
from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Any

import cherrypy

from .. import Connection, PushPlugin
from .logins import CONFIG, Logins, logged_in, login_first
from .pages import page

CHANNEL = "vote"
CANDIDATES = {"1": "Tea", "2": "Coffee", "3": "Water"}
MAX_VOTERS = 10_000
NOTICE = "Your order is ready: please collect it."


class Poll:
    """One vote for each name, which can be changed. Safe from any thread."""

    def __init__(self, push: PushPlugin) -> None:
        self._push = push
        self._lock = Lock()
        self._votes: dict[str, str] = {}

    def enter(self, who: Connection) -> None:
        """Show a window the counts and its own vote, from now on."""
        with self._lock:
            who.subscribe(CHANNEL)
            who.subscribe(f"{CHANNEL} of {who.user}")
            who.send(self._counts())
            who.send({"type": "mine", "name": who.user, "vote": self._votes.get(str(who.user))})

    def vote(self, name: str, candidate: str) -> bool:
        """Count a vote instead of the name's previous one; False if there are too many names."""
        with self._lock:
            if name not in self._votes and len(self._votes) >= MAX_VOTERS:
                return False
            self._votes[name] = candidate
            self._push.publish(CHANNEL, self._counts())
            mine = {"type": "mine", "name": name, "vote": candidate}
            self._push.publish(f"{CHANNEL} of {name}", mine)
            return True

    def _counts(self) -> dict[str, Any]:
        counts = Counter(self._votes.values())
        return {"type": "vote", "candidates": {
            key: {"name": name, "count": counts[key]} for key, name in CANDIDATES.items()}}


class Voter(Connection):
    """One window of a user who has logged in."""

    def opened(self) -> None:
        """Show the counts."""
        self.data["poll"].enter(self)

    def received_message(self, message: Any) -> None:
        """Take a candidate's key."""
        candidate = message.data.decode("utf-8", "replace")
        if candidate not in CANDIDATES:
            self.send({"type": "error", "text": f"send one of {', '.join(CANDIDATES)}"})
        elif not self.data["poll"].vote(str(self.user), candidate):
            self.send({"type": "error", "text": "there are too many voters already"})


class Vote(Logins):
    """``/vote/`` is the page, and it connects to ``/vote/socket``; both need a login."""

    def __init__(self, push: PushPlugin) -> None:
        super().__init__(push)
        self._poll = Poll(push)

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self) -> bytes:
        """Return the page to users who have logged in."""
        return page("vote") if logged_in() else login_first()

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Voter)  # type: ignore[untyped-decorator]
    def socket(self) -> None:
        """Let in users who have logged in, and nobody else."""
        cherrypy.request.login = logged_in()
        if not cherrypy.request.login:
            raise cherrypy.HTTPError(403, "log in first")
        cherrypy.request.push_id = f"{CHANNEL}.{logged_in()}"
        cherrypy.request.push_data["poll"] = self._poll
        self.push.bind_session()

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.config(**CONFIG)  # type: ignore[untyped-decorator]
    @cherrypy.tools.allow(methods=["POST"])  # type: ignore[untyped-decorator]
    def notify(self) -> str:
        """Alert everyone on the page; the site also has this as ``/notify``."""
        who = logged_in() or login_first()
        self.push.publish(CHANNEL, {"type": "alert", "from": who, "data": NOTICE})
        return "sent"
