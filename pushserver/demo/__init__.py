"""The site that ``python -m pushserver`` serves; each page is a small module to copy from."""
from __future__ import annotations

from typing import Any

from .. import PushPlugin
from ..assets import browser_dir
from .channels import Connection
from .clock import Clock
from .echo import EchoPage


class Site(Clock, EchoPage):
    """The demo site: ``/`` shows the time arriving, ``/echo`` sends back what it gets."""

    connection = Connection()


def config() -> dict[str, dict[str, Any]]:
    """Return the site's CherryPy configuration: the browser files under ``/browser``."""
    return {"/browser": {"tools.staticdir.on": True, "tools.staticdir.dir": str(browser_dir())}}


def build(push: PushPlugin, interval: float) -> Site:
    """Return the demo site, with its tickers added to the plugin.

    Args:
        push: the plugin, to be started with the engine.
        interval: seconds between two pushes of the time.
    """
    site = Site()
    site.start_clock(push, interval)
    return site
