"""What strangers do who mean no good, each in a process of its own."""
from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
from typing import Callable, NamedTuple

from tests.support.raw_client import shaken_hands

from .crowd import Crowd
from .flooding import CONNECT, FLOODS, HANDSHAKE, PLAIN, TALK, flooding, listed

PATIENCE = 5.0
EACH = b"stranger"
"""An Id, in place of which each connection has its own."""

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
PAGE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LONG_HEADER = b"A: " + b"a" * 15_000 + b"\r\n\r\n"
ASKING = listed(5, "history", channel="room:filled", limit=-1)
AT_A_TIME = 4
"""Attacks of a mix."""

MEMBERS = 250
"""Clients besides that are in the channel that commands are about."""

FIRST = 100_000
"""The first Id of those who connect again and again."""


def upgrade(Id=EACH.decode(), path=PLAIN):
    """Return a handshake."""
    return HANDSHAKE.format(path=path, Id=Id).encode()


def hold(port, attack):
    """Keep connections open, and make those again that are closed."""
    context, made, numbers = ssl._create_unverified_context(), {}, itertools.count()
    while True:
        begun = time.monotonic()
        while len(made) < attack.number and time.monotonic() < begun + 1:
            with contextlib.suppress(OSError):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # it reads nothing
                sock.settimeout(0.5)
                sock.connect(("127.0.0.1", port))
                if attack.in_tls:
                    sock = context.wrap_socket(sock)
                sock.sendall(attack.first.replace(EACH, b"%d" % next(numbers)))
                if attack.half:
                    sock.shutdown(socket.SHUT_WR)
                sock.setblocking(False)
                made[sock] = begun
        made = {sock: since for sock, since in made.items()
                if is_alive(sock, attack, begun - since)}
        yield max(0.0, begun + 1 - time.monotonic())


def is_alive(sock, attack, age):
    """Send again what is sent each second; close the socket if the server has, or if it is old."""
    try:
        if attack.again:
            sock.send(attack.again)
        if age < attack.lasts and (attack.in_tls or sock.recv(1, socket.MSG_PEEK)):
            return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    sock.close()
    return False


def byte_by_byte(port, attack):
    """Send the longest TLS records, a byte at a time, as fast as they are taken."""
    made = []
    while True:
        if len(made) < attack.number:
            with contextlib.suppress(OSError):
                made.append(a_long_record(port))
        for one in tuple(made):
            sock, record = one
            try:
                sock.send(record[:1])
                del record[:1]
            except BlockingIOError:
                pass
            except OSError:
                record.clear()
            if not record:
                sock.close()
                made.remove(one)
        yield 0.0


def a_long_record(port):
    """Return a socket after its TLS handshake, and a record of 16 KiB to be sent."""
    sock = socket.create_connection(("127.0.0.1", port), 0.5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls, outgoing = shaken_hands(sock, ssl._create_unverified_context())
    tls.write((b"GET / HTTP/1.1\r\nHost: a\r\n" + LONG_HEADER).rjust(1 << 14))
    sock.setblocking(False)
    return sock, bytearray(outgoing.read())


def renegotiate(port, attack):
    """Ask for new handshakes in TLS 1.2 all the time; only OpenSSL's own program can do that."""
    made = []
    while True:
        while len(made) < attack.number:
            made.append(subprocess.Popen(
                ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for one in tuple(made):
            with contextlib.suppress(OSError):
                one.stdin.write(b"R\n")
                one.stdin.flush()
            if one.poll() is not None:
                made.remove(one)
                with contextlib.suppress(OSError):
                    one.stdin.close()
        yield 0.05


def storm(port, attack):
    """Connect many clients at once, drop them, and begin again."""
    crowd = Crowd(port, None)
    while True:
        crowd.connect(PLAIN, attack.number, first=FIRST, deadline=PATIENCE, idle=True)
        crowd.leave()
        yield 0.0


class Attack(NamedTuple):
    """What strangers do.

    Attributes:
        number: of connections.
        first, again: what each sends, and what it sends each second after that.
        lasts: seconds after which a connection with unread data makes way for another: the end of
            the server's would not be seen.
        half: it closes its side then.
        in_tls: it sends all that over TLS.
        tls: the site has TLS.
        how: called with the port and this in a process of its own; yields seconds to wait.
        flood: arguments of ``flooding``, instead of all that.
        broadcasts: bytes of what a thread of the site broadcasts in a loop.
        rate: times a second that it does; 0: as often as it can.
    """

    number: int = 0
    first: bytes = b""
    again: bytes = b""
    lasts: float = float("inf")
    half: bool = False
    in_tls: bool = False
    tls: bool = False
    how: Callable = hold
    flood: tuple = ()
    broadcasts: int = 0
    rate: float = 0.0

    @property
    def needs_push(self):
        """Tell whether a site without pushes has nothing that could be attacked so."""
        return bool(self.flood or self.broadcasts) or self.how is storm \
            or b"Upgrade" in self.first


ATTACKS = {
    "calm": Attack(),
    "calm, TLS": Attack(tls=True),
    "1,000 silent": Attack(1000),
    "1,000 silent, TLS": Attack(1000, tls=True),
    "500 that stop after half a ClientHello": Attack(500, HELLO, tls=True),
    "500 with TLS records of 16 KiB, byte by byte": Attack(500, tls=True, how=byte_by_byte),
    "100 that renegotiate TLS 1.2": Attack(100, tls=True, how=renegotiate),
    "500 heads, a byte a second": Attack(500, b"GET / HTTP/1.1\r\nA: ", b"a"),
    "200 heads, a byte a second, in TLS": Attack(200, b"GET / HTTP/1.1\r\nA: ", b"a", tls=True,
                                                 in_tls=True),
    "500 bodies that never come": Attack(500, b"POST /size HTTP/1.1\r\nHost: a\r\n"
                                         b"Content-Length: 1000\r\n\r\n"),
    "40 long bodies, a byte a second": Attack(40, b"POST /size HTTP/1.1\r\nHost: a\r\n"
                                              b"Content-Length: 90000\r\n\r\n", b"a"),
    "40 that read 4 MB not at all": Attack(40, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
                                           lasts=5.0),
    "40 that read a stream not at all": Attack(
        40, b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", lasts=5.0),
    "2,000 half closed": Attack(2000, half=True),
    "200 endless heads": Attack(200, b"GET / HTTP/1.1\r\nA: ", b"a" * 4000),
    "200 with pages behind an upgrade": Attack(200, upgrade() + PAGE * 5, PAGE),
    "500 kept heads of 15 KB": Attack(500, upgrade()[:-2] + LONG_HEADER),
    "300 that ask for 5 MB and read nothing": Attack(
        300, upgrade(path=TALK) + CONNECT + ASKING),
    "500 that connect again and again": Attack(500, how=storm),
    "32 floods of empty messages": Attack(flood=(*FLOODS["empty messages"], 0)),
    "8 with 1,200 presence in a frame": Attack(
        flood=(*FLOODS["1,200 presence in a frame"], MEMBERS)),
    "8 that publish to new channels": Attack(flood=(*FLOODS["publish to new channels"], 0)),
    "1 MB in a loop to 300": Attack(flood=(TALK, 0, b"", b"", MEMBERS), broadcasts=1_000_000)}


@contextlib.contextmanager
def attacking(server, port, attack, seconds):
    """Attack a port of a server for so many seconds at most, from other processes."""
    if attack.how is renegotiate and shutil.which("openssl") is None:
        raise OSError("openssl is missing")
    with contextlib.ExitStack() as stack:
        if attack.flood:
            stack.enter_context(flooding(port, *attack.flood))
        if attack.number:
            process = multiprocessing.get_context("spawn").Process(
                target=run, args=(port, attack), daemon=True)
            process.start()
            stack.callback(process.close)
            stack.callback(process.join)
            stack.callback(process.kill)
        if attack.broadcasts:
            server.order("broadcast", attack.broadcasts, seconds, attack.rate)
            stack.callback(server.answer, "done broadcast")
        yield


def run(port, attack):
    """Attack until killed, or until the parent is gone; with what others leave of the machine."""
    os.nice(10)
    parent = os.getppid()
    for pause in attack.how(port, attack):
        if os.getppid() != parent:
            return
        time.sleep(pause)


class Mix:
    """Attack a server, a few attacks at a time and then others.

    Args:
        ports: the one without TLS, and the one with it.
        attacks: by name.
        seconds: until the next change.

    Attributes:
        attacks: names of the present ones.
    """

    def __init__(self, server, ports, attacks, seconds):
        self._server, self._ports = server, ports
        self._all, self._seconds = attacks, seconds
        self._queue, self._random = [], random.Random(1)
        self._stack = contextlib.ExitStack()
        self._until = 0.0
        self.attacks = []

    def go_on(self):
        """Change the mix if it is time."""
        if time.monotonic() < self._until:
            return
        self.end()
        self._until = time.monotonic() + self._seconds
        if len(self._queue) < AT_A_TIME:
            self._queue += self._random.sample(list(self._all), len(self._all))
        self.attacks, self._queue = self._queue[:AT_A_TIME], self._queue[AT_A_TIME:]
        for name in self.attacks:
            attack = self._all[name]
            self._stack.enter_context(attacking(
                self._server, self._ports[attack.tls], attack, self._seconds))

    def end(self):
        """End the present attacks."""
        self._stack.close()
