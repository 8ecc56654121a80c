"""The site that ``python -m pushserver`` serves; each page is a small module to learn from."""
from __future__ import annotations

from typing import Any

from .. import PushPlugin, browser_dir
from .channels import CentrifugeSocket
from .chat import Chat
from .clock import ClockPage
from .direct import Direct
from .echo import EchoPage
from .game import Game
from .monitor import Monitor
from .sources import Sources
from .vote import Vote

HEADERS = [
    ("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; "
                                "frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-cache")]
"""Pages load nothing from other sites, contain no inline scripts, and show a new version at once.

Not every browser counts ws: as 'self'; the push tool refuses other origins in any case.
"""


class Site(ClockPage):
    """The demo site: the clock is its home page, and the other demos are below it."""

    def __init__(self, push: PushPlugin, interval: float) -> None:
        super().__init__(push, interval)
        self.connection = CentrifugeSocket()
        self.echo = EchoPage()
        self.chat = Chat()
        self.direct = Direct(push)
        self.vote = Vote(push)
        self.notify = self.vote.notify
        self.game = Game(push)
        self.monitor = Monitor(push)
        self.source = Sources()


def config() -> dict[str, dict[str, Any]]:
    """Return the site's CherryPy configuration, with the browser files under ``/browser``."""
    return {"/": {"tools.response_headers.on": True, "tools.response_headers.headers": HEADERS},
            "/browser": {"tools.staticdir.on": True, "tools.staticdir.dir": str(browser_dir())}}


def build(push: PushPlugin, interval: float) -> Site:
    """Return the demo site, with its tickers added to the plugin.

    Args:
        push: the plugin, which starts with the engine.
        interval: seconds between pushes of the time.
    """
    return Site(push, interval)
