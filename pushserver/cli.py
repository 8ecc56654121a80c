"""The command: serve the demo site and push the time."""
from __future__ import annotations

import argparse
import logging
import socket
import ssl
import sys
from dataclasses import fields
from typing import Any, NoReturn, Sequence

import cherrypy

from .channels.rules import ChannelRule
from .errors import InvalidSetting
from .settings import Settings
from .version import __version__
from .web.plugin import PushPlugin
from .web.tool import PushTool

LOG_LEVELS = ("debug", "info", "warning", "error")

HTTP_THREADS = 20
"""Threads that answer handshakes and pages."""

BACKLOG = 1024
"""Connections that may wait to be accepted: many clients come at once after a restart."""

_NAMED_OTHERWISE = ("allowed_origins", "allowed_hosts")
"""Settings whose option has a different name."""


CHANNELS = (
    ChannelRule("time", history=60, history_age=60, see_history="anyone"),
    ChannelRule("chat", history=50, history_age=0, see_history="subscribers",
                see_presence="subscribers", join_leave=True),
    ChannelRule("room:", history=50, history_age=24 * 3600, publish="subscribers",
                see_history="subscribers", see_presence="subscribers", join_leave=True))
"""The rules for the demo site's channels."""


class CannotStart(Exception):
    """The site cannot be served; the message says why in one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Return the command-line parser, with an option for each setting."""
    parser = _Parser(prog="pushserver", allow_abbrev=False,
                     description="Serve the demo site and push the time to every client.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8888, help="port; 0: any (%(default)s)")
    parser.add_argument("--interval", type=_seconds, default=1.0,
                        help="seconds between pushes of the time (%(default)s)")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, if not in the same file")
    parser.add_argument("--allowed-origin", action="append", default=[], metavar="ORIGIN",
                        help="origin besides the site's own; may be repeated")
    parser.add_argument("--allowed-host", action="append", default=[], metavar="NAME",
                        help="host name of the site; may be repeated")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="warning",
                        help="least severe level logged to stderr (%(default)s)")
    parser.add_argument("--version", action="version", version=f"pushserver {__version__}")
    group = parser.add_argument_group("settings")
    for item in fields(Settings):
        if item.name not in _NAMED_OTHERWISE:
            _add_setting(group, item, getattr(Settings(), item.name))
    return parser


def _add_setting(group: Any, item: Any, default: object) -> None:
    kinds = {"int": int, "float": float, "str": str}
    unit = item.metadata["unit"]
    text = f"{unit} {item.metadata['help']}".strip()
    group.add_argument("--" + item.name.replace("_", "-"), type=kinds[item.type],
                       default=default, metavar=unit.upper()[:1] or "TEXT",
                       help=f"{text} ({default})")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: use 0 to 65535")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0 < seconds < float("inf"):
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not an interval: use seconds above 0")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal arrives; return the exit status.

    Returns:
        0 after Ctrl-C or SIGTERM, 1 if the site cannot be served or its push server died. Wrong
        arguments end the process with status 2.
    """
    command = parser()
    options = command.parse_args(arguments)
    log_to_stderr(options.log_level.upper())
    try:
        settings = Settings(**{item.name: getattr(options, item.name) for item in fields(Settings)
                               if item.name not in _NAMED_OTHERWISE},
                            allowed_origins=tuple(options.allowed_origin),
                            allowed_hosts=tuple(options.allowed_host))
    except InvalidSetting as error:
        command.error(str(error))
    try:
        check_tls(options.tls_cert, options.tls_key)
        check_address(options.host, options.port)
    except CannotStart as error:
        print(f"pushserver: {error}", file=sys.stderr)
        return 1
    return serve(options, settings)


def log_to_stderr(level: str) -> None:
    """Log to stderr; the handler gets the level too, because CherryPy's loggers set their own."""
    handler = logging.StreamHandler()
    handler.setLevel(level)
    logging.basicConfig(level=level, handlers=[handler],
                        format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def check_tls(certificate: str | None, key: str | None) -> None:
    """Check that the certificate and the key can be read and belong together.

    Raises:
        CannotStart: they do not, or only a key is given.
    """
    if not certificate:
        if key:
            raise CannotStart("--tls-key needs --tls-cert: give both")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key,
                                                                _no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise CannotStart(f"cannot use certificate {certificate!r} with key "
                          f"{key or certificate!r}: {error}") from None


def _no_password() -> NoReturn:
    raise ValueError("the key has a password: use one without")


def check_address(host: str, port: int) -> None:
    """Check that the server can listen on the address.

    Raises:
        CannotStart: it cannot; the message says why.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                      flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(1)
    except OSError as error:
        raise CannotStart(f"cannot listen on {host} port {port}: {error.strerror or error}"
                          ) from None


def serve(options: argparse.Namespace, settings: Settings) -> int:
    """Run the site with CherryPy's engine until it stops; return the exit status."""
    engine = cherrypy.engine
    push = PushPlugin(engine, channels=CHANNELS, **{item.name: getattr(settings, item.name)
                                                    for item in fields(Settings)})
    push.subscribe()
    cherrypy.tools.push = PushTool(push)
    from . import demo  # its pages use the tool when they are defined
    configure(options)
    cherrypy.tree.mount(demo.build(push, options.interval), "/", demo.config())
    engine.signals.subscribe()
    engine.start()
    print(f"Open {address(options)}", flush=True)
    engine.block()
    return 1 if push.failure else 0


def configure(options: argparse.Namespace) -> None:
    """Configure CherryPy's server for many clients and a quiet console."""
    cherrypy.config.update({
        "server.socket_host": options.host, "server.socket_port": options.port,
        "server.thread_pool": HTTP_THREADS, "server.socket_queue_size": BACKLOG,
        "server.instance": "pushserver.PushFront",
        "engine.autoreload.on": False, "checker.on": False, "log.screen": False,
        "request.show_tracebacks": False})
    if options.tls_cert:
        cherrypy.config.update({"server.ssl_module": "builtin",
                                "server.ssl_certificate": options.tls_cert,
                                "server.ssl_private_key": options.tls_key or options.tls_cert})


def address(options: argparse.Namespace) -> str:
    """Return the URL to open in a browser; the server must be listening."""
    port = cherrypy.server.httpserver.socket.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{'https' if options.tls_cert else 'http'}://{host}:{port}/"
