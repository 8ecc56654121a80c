"""The CherryPy side: plugin, tool, and the way of a request to a connection."""
from . import tool as _tool  # noqa: F401  (it makes cherrypy.tools.push)
