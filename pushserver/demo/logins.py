"""Log in under a name, which a CherryPy session remembers."""
from __future__ import annotations

from typing import NoReturn

import cherrypy
from cherrypy.lib import sessions

from .. import PushPlugin
from .pages import page

LONGEST_NAME = 40

CONFIG = {"tools.sessions.on": True, "tools.sessions.name": "demo_session",
          "tools.sessions.httponly": True, "tools.lax_cookies.on": True,
          "tools.same_origin.on": True}
"""The ``_cp_config`` of a class whose pages need to know who is logged in."""


def lax_cookies() -> None:
    """Keep the session cookie out of requests from other sites' pages."""
    for cookie in cherrypy.response.cookie.values():
        cookie["samesite"] = "Lax"


def same_origin() -> None:
    """Refuse a form sent from another site's page, even if it needs no cookie."""
    request = cherrypy.request
    if request.method == "POST" and request.headers.get("Origin", request.base) != request.base:
        raise cherrypy.HTTPError(403, "send this form from its own site")


cherrypy.tools.lax_cookies = cherrypy.Tool("before_finalize", lax_cookies, priority=95)
cherrypy.tools.same_origin = cherrypy.Tool("before_handler", same_origin)


def logged_in() -> str:
    """Return the name of whoever is logged in, or an empty one."""
    return str(cherrypy.session.get("name", ""))


def login_first() -> NoReturn:
    """Send the browser to the login page."""
    raise cherrypy.HTTPRedirect("/vote/login")


class Logins:
    """Add ``login`` and ``logout`` to the pages of a subclass."""

    _cp_config = CONFIG

    def __init__(self, push: PushPlugin) -> None:
        self.push = push

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.allow(methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def login(self, name: str = "") -> bytes:
        """Return the page, or take its form."""
        if cherrypy.request.method == "GET":
            return page("login")
        name = name.strip() if isinstance(name, str) else ""
        if not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
            raise cherrypy.HTTPError(400, f"name must have 1 to {LONGEST_NAME} characters")
        cherrypy.session.regenerate()  # so that nobody can have planted this session beforehand
        cherrypy.session["name"] = name
        raise cherrypy.HTTPRedirect(".")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.allow(methods=["POST"])  # type: ignore[untyped-decorator]
    def logout(self) -> None:
        """End the session and the connections that it let in."""
        self.push.end_session()
        cherrypy.session.clear()
        sessions.expire()
        login_first()
