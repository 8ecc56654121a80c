"""The command: print what a server pushes, and send what is typed or piped."""
from __future__ import annotations

import argparse
import os
import signal
import ssl
import sys
import threading
from typing import Any, Sequence

from pushserver.version import __version__

from . import printing
from .centrifuge.events import Gap
from .client import PushClient
from .errors import CommandFailed, ConnectionClosed, InvalidSetting, NotConnected, PushError
from .inbox import Value
from .options import TIMEOUT
from .reconnect import CLOSED, OPEN, WAITING
from .websocket.tls import make_context

SUCCESS = 0
NOT_CONNECTED = 1
USAGE = 2
INTERRUPTED = 128 + signal.SIGINT

CLOSE_TIMEOUT = 2.0
"""Seconds that the server has to answer the close: short, for a user at a terminal."""

STDIN = 0
CHUNK = 64 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return Command(options).run()
    except InvalidSetting as error:
        _say(str(error))
        return USAGE
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS
    except KeyboardInterrupt:
        return INTERRUPTED


class Command:
    """One run of the command.

    The first connection has to work, so that a wrong URL ends it at once; after that, a lost
    connection is made again.

    Args:
        options: those of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._was_open = False
        self._given_up: BaseException | None = None
        self._printed = 0
        self._client = PushClient(
            options.url, Id=options.id, headers=[_header(line) for line in options.header],
            timeout=options.timeout, close_timeout=CLOSE_TIMEOUT,
            ssl_context=_context(options), on_state=self._changed,
            channels=options.channel or None, token=options.token,
            on_gap=self._missed if options.channel else None)

    def run(self) -> int:
        """Print messages until ``--count`` or the end is reached; return the exit status."""
        with self._client:
            threading.Thread(target=self._send_lines, name="pushclient stdin", daemon=True).start()
            try:
                for message in self._client:
                    self._print(message)
                    if self._printed == self._options.count:
                        return SUCCESS
            except PushError as error:
                self._given_up = error
        return self._status()

    def _print(self, message: Value) -> None:
        line = printing.as_json(message) if self._options.json else printing.as_line(message)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        self._printed += 1

    def _status(self) -> int:
        if self._given_up is None:
            return SUCCESS
        _say(str(self._given_up))
        return NOT_CONNECTED

    def _changed(self, state: str) -> None:
        """Say which state is new, on the client's thread."""
        client = self._client
        self._was_open |= state == OPEN
        if state == WAITING and (self._options.no_reconnect or not self._was_open):
            self._given_up = client.error
            client.close()
        elif not self._options.quiet:
            why = f": {client.error}; again in {client.delay:.1f} s" if state == WAITING else ""
            _say(state + why)

    def _missed(self, gap: Gap) -> None:
        """Say that something is missing, even with --quiet: what is printed is not all."""
        _say(f"publications of channel {gap.channel!r} may be lost")

    def _send_lines(self) -> None:
        """Send each line of stdin; at its end, keep receiving."""
        rest = b""
        while True:
            try:
                data = os.read(STDIN, CHUNK)  # not sys.stdin: its lock would block the exit
            except OSError:
                return
            *lines, rest = (rest + data).split(b"\n")
            if not data and rest:
                lines, rest = [rest], b""
            for line in lines:
                self._send(line.rstrip(b"\r").decode("utf-8", "replace"))
            if not data:
                return

    def _send(self, line: str) -> None:
        while self._client.state != CLOSED:
            try:
                if self._options.channel:
                    self._client.publish(self._options.channel[0], line)
                else:
                    self._client.send(line)
            except NotConnected:  # try again
                continue
            except (CommandFailed, ConnectionClosed, TimeoutError) as error:
                _say(f"not sent: {error}")
            return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pushclient", description="Print what a WebSocket server pushes, one message per "
        "line, and send each line of stdin. Exit status: 0 success; 1 could not connect, or the "
        "server ended it; 2 usage; 130 Ctrl-C.")
    parser.add_argument("url", metavar="URL", help="ws://, wss:// or ws+unix:///path/of/socket")
    parser.add_argument("--id", help="who you are: becomes ?Id= in the URL")
    parser.add_argument("--channel", action="append", default=[], metavar="NAME",
                        help="subscribe, and after a loss resume where it was lost; lines of stdin "
                        "are published to the first; the URL has to be one for Centrifugo's "
                        "protocol; may be given several times")
    parser.add_argument("--token", help="a JWT that says who you are; without --channel it "
                        "becomes ?token= in the URL")
    parser.add_argument("--count", type=_positive, help="end after this many messages")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS",
                        help="for each step of connecting; default: %(default)g")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line: time, "
                        "data, and latency in seconds if the message gives a time")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'",
                        help="send this header too; may be given several times")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--cacert", metavar="FILE", help="trust these certificates")
    trust.add_argument("--insecure", action="store_true", help="trust any certificate")
    parser.add_argument("--no-reconnect", action="store_true", help="end when the connection "
                        "is lost")
    parser.add_argument("--quiet", action="store_true", help="print no states to stderr")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise InvalidSetting(f"--header {line!r}: use 'Name: value'")
    return name.strip(), value.strip()


def _context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.cacert and not options.insecure:
        return None
    settings: dict[str, Any] = {"ca_certs": options.cacert}
    if options.insecure:
        settings["cert_reqs"] = ssl.CERT_NONE
    return make_context(settings)


def _say(words: str) -> None:
    print(f"pushclient: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
