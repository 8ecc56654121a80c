"""Push for CherryPy sites: any thread of the site pushes to browsers and Python clients.

Each name is loaded when it is first used, so that a program that needs only a part, as pushclient
does, loads neither CherryPy nor the server.
"""
from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api.http import PushAPI
    from .assets import browser_dir
    from .centrifuge import CentrifugeConnection, CloseConnection, CommandError
    from .channels.publication import Page, Position, Publication
    from .channels.presence import Info, Stats
    from .channels.rules import ChannelRule
    from .connections.connection import Connection
    from .errors import (ConnectionClosed, ForkedProcess, HandshakeRefused, InvalidData,
                         InvalidSetting, MessageTooLarge, Overloaded, PushError)
    from .server import PushServer
    from .settings import Settings
    from .ticker import Ticker
    from .tokens import Tokens
    from .web.front import PushFront
    from .web.plugin import PushPlugin
    from .web.tool import PushTool
    from .wire.disconnects import Disconnect

__all__ = ["CentrifugeConnection", "ChannelRule", "CloseConnection", "CommandError", "Connection",
           "ConnectionClosed", "Disconnect", "ForkedProcess", "HandshakeRefused", "Info",
           "InvalidData", "InvalidSetting", "MessageTooLarge", "Overloaded", "Page", "Position",
           "Publication", "PushAPI", "PushError", "PushFront", "PushPlugin", "PushServer",
           "PushTool", "Settings", "Stats", "Ticker", "Tokens", "__version__", "browser_dir"]

_PUBLIC = {
    "api.http": ("PushAPI",),
    "assets": ("browser_dir",),
    "centrifuge": ("CentrifugeConnection", "CloseConnection", "CommandError"),
    "channels.publication": ("Page", "Position", "Publication"),
    "channels.presence": ("Info", "Stats"),
    "channels.rules": ("ChannelRule",),
    "connections.connection": ("Connection",),
    "errors": ("ConnectionClosed", "ForkedProcess", "HandshakeRefused", "InvalidData",
               "InvalidSetting", "MessageTooLarge", "Overloaded", "PushError"),
    "server": ("PushServer",),
    "settings": ("Settings",),
    "ticker": ("Ticker",),
    "tokens": ("Tokens",),
    "web.front": ("PushFront",),
    "web.plugin": ("PushPlugin",),
    "web.tool": ("PushTool",),
    "wire.disconnects": ("Disconnect",)}
"""The public names, by the module that defines them."""

_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if sys.modules.get("cherrypy"):  # so that a module of pages can use @cherrypy.tools.push()
        import_module(".web.tool", __name__)
    value = globals()[name] = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
