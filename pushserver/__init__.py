"""Push for CherryPy sites: any thread of the site pushes to browsers and Python clients.

The parts that need CherryPy load when they are first used, so that pushclient can share the wire
code without it.
"""
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .assets import browser_dir
from .connection import Connection
from .disconnects import Disconnect
from .errors import (ConnectionClosed, HandshakeRefused, InvalidData, InvalidSetting,
                     MessageTooLarge, PushError)
from .server import PushServer
from .settings import Settings
from .ticker import Ticker
from .version import __version__

if TYPE_CHECKING:
    from .plugin import PushPlugin
    from .tool import PushTool

__all__ = ["Connection", "ConnectionClosed", "Disconnect", "HandshakeRefused", "InvalidData",
           "InvalidSetting", "MessageTooLarge", "PushError", "PushPlugin", "PushServer",
           "PushTool", "Settings", "Ticker", "__version__", "browser_dir"]

_NEED_CHERRYPY = {"PushPlugin": ".plugin", "PushTool": ".tool"}


def __getattr__(name: str) -> Any:
    if name in _NEED_CHERRYPY:
        return getattr(import_module(_NEED_CHERRYPY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
