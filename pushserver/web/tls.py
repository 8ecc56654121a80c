"""Keep clients that begin no TLS from keeping all others out; only this file knows how.

cheroot does each TLS handshake on the thread that accepts, which waits up to its timeout for one
silent client. Here the thread that accepts only makes the TLS layer. The handshake is done step by
step, whenever the client has sent something; in between the connection waits with those that are
kept alive, and no thread waits for it.
"""
from __future__ import annotations

import logging
import os
import socket
import ssl
import time
import traceback
from typing import Any, NoReturn

from cheroot import errors
from cheroot.ssl.builtin import BuiltinSSLAdapter

from .http_servers import Forwarding

PENDING: dict[str, str] = {}
"""The environment of a connection whose handshake is not done; recognized by identity."""

PLAIN_HTTP = (b"The client sent a plain HTTP request, but this server only speaks HTTPS on this "
              b"port.")

UNREAD = 64 * 1024
"""Bytes of such a request that are read, so that its answer is not lost."""


class ShakesHandsLater:
    """Do the TLS handshake of an ``HTTPConnection``, whose subclass this becomes, in steps."""

    server: Any
    socket: Any
    remote_addr: str | None
    remote_port: int | None
    ssl_env: dict[str, Any]
    linger: bool
    _shake_until: float

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._shake_until = time.monotonic() + self.server.timeout

    def communicate(self) -> bool:
        """Go on with the handshake, or with what the client sends after it; see cheroot.

        Returns:
            Whether to wait for more.
        """
        if self.ssl_env is PENDING:
            self.socket.settimeout(0)
            try:
                waits = self._shake_hands()
            except ssl.SSLError as error:
                self._fail(error)
                return False
            except (OSError, ValueError) as error:
                self._lost(error)
                return False
            if waits:
                return time.monotonic() < self._shake_until
        return bool(super().communicate())  # type: ignore[misc]

    def _shake_hands(self) -> bool:
        """Take a step; tell whether something must come from the client before the next."""
        while (needs := take_step(self.socket)) is not None:
            if needs is ssl.SSLWantReadError:
                return True
            left = self._shake_until - time.monotonic()
            if left <= 0:
                raise TimeoutError("it does not read")
            self.socket.settimeout(left)
        waits = not (self.socket.pending() or _has_arrived(self.socket))
        self.socket.settimeout(self.server.timeout)
        self.ssl_env = self.server.ssl_adapter.get_environ(self.socket)
        return waits

    def _fail(self, error: ssl.SSLError) -> None:
        """Say why there is no connection, to the log and to a client of plain HTTP."""
        if error.reason != "HTTP_REQUEST":
            self._lost(error)
            return
        self._log(f"attempted to speak plain HTTP into a TCP connection configured for TLS-only "
                  f"traffic: {error!s}")
        self.linger = True      # it is closed here
        refuse_plain_http(self.socket, self.server.protocol)

    def _lost(self, error: Exception) -> None:
        self._log(f"lost — peer dropped the TLS connection suddenly, during handshake: {error!s}")

    def _log(self, message: str) -> None:
        self.server.error_log(f"Client {(self.remote_addr, self.remote_port)!s} {message}",
                              level=logging.INFO)


class Certificate:
    """Take up a new certificate when its files have changed; what is connected goes on.

    A key of another kind (RSA, EC) is used beside the old one, until a restart.

    Args:
        adapter: the server's, whose files these are.
    """

    def __init__(self, adapter: BuiltinSSLAdapter) -> None:
        self._adapter: Any = adapter
        self._stamps = self._look()

    def __repr__(self) -> str:
        return f"<Certificate {self._adapter.certificate!r}>"

    def _look(self) -> list[tuple[int, int, int]]:
        """Return what shows that the files are others; nothing if they cannot be seen."""
        try:
            found = [os.stat(path) for path in (self._adapter.certificate,
                                                self._adapter.private_key) if path]
        except OSError:
            return []
        return [(one.st_mtime_ns, one.st_ino, one.st_size) for one in found]

    def refresh(self) -> str | None:
        """Use what is in the files now if they have changed; return what to log of that."""
        stamps = self._look()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        adapter = self._adapter
        files = adapter.certificate, adapter.private_key
        password = adapter.private_key_password or _no_password
        try:
            # first a context of its own: an error would leave half of it in the one that is used
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password)
            made: Any = BuiltinSSLAdapter(
                *files, private_key_password=adapter.private_key_password)
            adapter.context.load_cert_chain(*files, password)
        except (OSError, ValueError) as error:
            return (f"the old certificate is still used: {files[0]} has changed, but cannot be "
                    f"used with its key: {error}")
        adapter._server_env = made._server_env
        return f"the certificate in {files[0]} has changed and is used from now on"


def _no_password() -> NoReturn:
    raise ValueError("the key has a password")


def begin_tls(adapter: Any, sock: socket.socket) -> ssl.SSLSocket:
    """Make the TLS layer of an accepted socket, whose handshake has yet to begin.

    Raises:
        OSError, ValueError: the client has gone.
    """
    try:
        made: ssl.SSLSocket = adapter.context.wrap_socket(sock, do_handshake_on_connect=False,
                                                          server_side=True)
    except (OSError, ValueError) as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            half_made = frame.f_locals.get("self")
            if isinstance(half_made, ssl.SSLSocket):    # it has the descriptor, and nobody has it
                half_made.close()
        raise
    return made


def take_step(sock: ssl.SSLSocket) -> type[ssl.SSLError] | None:
    """Go on with a handshake; return the exception that says what it waits for, None: it is done.

    Raises:
        OSError, ValueError: it has failed.
    """
    try:
        sock.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as needs:  # the second is rare:
        return type(needs)      # certificates that no fresh socket takes
    return None


def refuse_plain_http(sock: ssl.SSLSocket, protocol: str) -> None:
    """Answer a client that speaks HTTP without TLS, and close the connection."""
    answer = [b"%s 400 Bad Request" % protocol.encode("ascii"),
              b"Content-Length: %d" % len(PLAIN_HTTP), b"Content-Type: text/plain",
              b"Connection: close", b"", PLAIN_HTTP]
    with socket.socket(fileno=sock.detach()) as plain:
        plain.setblocking(False)
        try:
            plain.recv(UNREAD)
            plain.send(b"\r\n".join(answer))
            plain.shutdown(socket.SHUT_WR)
        except OSError:
            pass    # it has gone


def _has_arrived(sock: socket.socket) -> bool:
    """Tell whether there is something to read on a non-blocking socket, below its TLS layer."""
    try:
        socket.socket.recv(sock, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


class _Adapter(Forwarding):
    """A site's adapter, without the handshake."""

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        """Make the TLS layer of an accepted socket; see ``BuiltinSSLAdapter.wrap``."""
        try:
            return begin_tls(self.original, sock), PENDING
        except (OSError, ValueError) as error:
            sock.close()
            raise errors.FatalSSLAlert(*error.args) from error


def shake_hands_later(server: Any) -> None:
    """Take TLS handshakes off the thread of an HTTP server that accepts; safe to repeat.

    Only cheroot's own builtin adapter is changed: what a site has made itself is left alone.
    """
    adapter = getattr(server, "ssl_adapter", None)
    if getattr(type(adapter), "wrap", None) is not BuiltinSSLAdapter.wrap:
        return
    # in this order: a connection that is being accepted may meet the new class with the old wrap
    made = server.ConnectionClass
    if not issubclass(made, ShakesHandsLater):
        server.ConnectionClass = type(made.__name__, (ShakesHandsLater, made), {})
    server.ssl_adapter = _Adapter(adapter)
