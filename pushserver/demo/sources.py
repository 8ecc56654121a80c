"""The source code of the demos, for their pages to show."""
from __future__ import annotations

from pathlib import Path

import cherrypy

FILES = {path.stem: path for path in Path(__file__).resolve().parent.glob("*.py")}
"""The files that may be seen, by name; nothing else is ever opened."""


class Sources:
    """``/source/clock`` is the text of ``clock.py``."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def default(self, name: str = "") -> bytes:
        """Return one module of the demo site as plain text."""
        if name not in FILES:
            raise cherrypy.HTTPError(404, f"use one of {', '.join(sorted(FILES))}")
        cherrypy.response.headers["Content-Type"] = "text/plain;charset=utf-8"
        return FILES[name].read_bytes()
