"""The HTML of the demos: one file for each, among the browser files."""
from __future__ import annotations

import cherrypy

from .. import browser_dir


def page(name: str) -> bytes:
    """Return the page of one demo, for its page handler to return."""
    cherrypy.response.headers["Content-Type"] = "text/html;charset=utf-8"
    return (browser_dir() / f"{name}.html").read_bytes()
