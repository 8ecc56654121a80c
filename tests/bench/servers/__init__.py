"""The servers that are measured, each a program of its own that takes orders on its stdin.

An order is one line, and so is its answer; ``control`` has them for the Python ones and ``ws.cjs``
once more for Node. Every server has the addresses ``/all``, ``/a`` and ``/b`` (a client of the
last two is in that group and in "all"), ``/echo``, and those on CherryPy ``/page`` too.

====================================== ==========================================================
order                                  answer
====================================== ==========================================================
(started)                              ``ready PORT VERSIONS``, the versions as JSON
``push GROUP COUNT RATE SIZE BURST``   ``done GROUP SECONDS`` after COUNT rounds of BURST messages
``targeted COUNT RATE``                ``done targeted SECONDS`` after COUNT messages to one Id each
``busy THREADS``                       ``busy THREADS``: so many Python threads use the CPU
``stats``                              ``stats SECONDS``, the CPU time of the process
``stop``                               none: the process ends
====================================== ==========================================================

A message begins with the ``CLOCK_MONOTONIC`` seconds of its push, as 17 characters.
"""
from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Kind(NamedTuple):
    """One server: how to start it, and what it can do."""

    module: str
    needs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    is_peer: bool = True
    tls: bool = True
    pages: bool = False
    threads: bool = True


def _python(module, *needs, **options):
    return Kind(f"tests.bench.servers.{module}", needs, **options)


PURE = (("PUSHSERVER_PURE", "1"),)

KINDS = {
    "ours": _python("ours", "cherrypy", is_peer=False, pages=True),
    "ours-pure": _python("ours", "cherrypy", environment=PURE, is_peer=False, pages=True),
    "ours-plain": _python("ours", "cherrypy", environment=PURE, arguments=("--plain",),
                          is_peer=False, pages=True),
    "floor": _python("floor", is_peer=False, tls=False),
    "picows": _python("picows_server", "picows"),
    "aiohttp": _python("aiohttp_server", "aiohttp"),
    "websockets": _python("websockets_server", "websockets"),
    "gevent": _python("gevent_server", "gevent", "geventwebsocket"),
    "ws4py": _python("ws4py_server", "cherrypy", "ws4py", pages=True),
    "tornado": _python("tornado_server", "tornado"),
    "node-ws": Kind("ws.cjs", ("ws",), threads=False),
}
"""All servers by name. "ours-pure" is ours without the C extension, "ours-plain" without anything
that it does for a busy site."""

ATTACKED = {name: _python("attacked", "cherrypy", arguments=(name,), is_peer=False, pages=True)
            for name in ("cheroot", "plain", "front", "both")}
"""Sites to attack, which are compared with each other only; see ``attacked``."""

DEFAULT = [name for name in KINDS if name not in ("ours-pure", "ours-plain")]


def _kind(name):
    return KINDS.get(name) or ATTACKED[name]


def command(name):
    """Return the command line that starts a server."""
    kind = _kind(name)
    if kind.module.endswith(".cjs"):
        return ["node", str(HERE / kind.module), *kind.arguments]
    return [sys.executable, "-m", kind.module, *kind.arguments]


def environment(name):
    """Return the environment of a server's process."""
    return {**os.environ, **dict(_kind(name).environment)}


def missing(name):
    """Return what a server needs and is not installed, or None."""
    kind = KINDS[name]
    if kind.module.endswith(".cjs"):
        return None if _node_has(kind.needs[0]) else f"Node with the package {kind.needs[0]!r}"
    return next((need for need in kind.needs if importlib.util.find_spec(need) is None), None)


def _node_has(package):
    if shutil.which("node") is None:
        return False
    return subprocess.run(["node", "-e", f"require({package!r})"], env=os.environ,
                          capture_output=True, timeout=30).returncode == 0
