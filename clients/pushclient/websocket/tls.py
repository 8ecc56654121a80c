"""TLS: which context a connection uses, and the handshake."""
from __future__ import annotations

import socket
import ssl
from typing import Any, Mapping

from ..errors import CertificateRefused, InvalidSetting, TlsFailed
from ..forks import closed_in_children
from .waker import READ, WRITE, StepDeadline

OPTIONS = ("certfile", "keyfile", "password", "ca_certs", "cert_reqs", "ciphers")


def make_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and its host name.

    Args:
        options: as ws4py's ``ssl_options``: ``certfile``, ``keyfile`` and ``password`` of a client
            certificate, ``ca_certs`` to trust instead of the system's, ``ciphers``, and
            ``cert_reqs``, which turns verification off only if it is ``ssl.CERT_NONE``.

    Raises:
        InvalidSetting: an option is not one of these, or a file cannot be used.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidSetting(f"ssl_options: {unknown[0]} is unknown, use {', '.join(OPTIONS)} or "
                             "ssl_context")
    try:
        context = ssl.create_default_context(cafile=options.get("ca_certs"))
        if options.get("certfile"):
            context.load_cert_chain(options["certfile"], options.get("keyfile"),
                                    options.get("password"))
        if options.get("ciphers"):
            context.set_ciphers(options["ciphers"])
    except OSError as error:
        raise InvalidSetting(f"ssl_options: {error.strerror or error}") from None
    if options.get("cert_reqs", ssl.CERT_REQUIRED) == ssl.CERT_NONE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def start_tls(sock: socket.socket, context: ssl.SSLContext, host: str, deadline: StepDeadline
              ) -> ssl.SSLSocket:
    """Return a socket that has done the TLS handshake; it replaces the one given.

    Raises:
        CertificateRefused: the server's certificate cannot be trusted.
        TlsFailed: there is no TLS with this server.
        ConnectTimeout, Interrupted: see ``StepDeadline.wait``.
    """
    deadline.begin("the TLS handshake")
    try:
        wrapped = closed_in_children(
            context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False))
    except (OSError, ValueError) as error:
        raise TlsFailed(f"no TLS with {host}: {error}") from None
    try:
        _shake_hands(wrapped, host, deadline)
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def _shake_hands(sock: ssl.SSLSocket, host: str, deadline: StepDeadline) -> None:
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            deadline.wait({sock: READ})
        except ssl.SSLWantWriteError:
            deadline.wait({sock: WRITE})
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(f"the certificate of {host} was refused: "
                                     f"{error.verify_message}") from None
        except (OSError, ValueError) as error:
            raise TlsFailed(f"no TLS with {host}: {getattr(error, 'strerror', '') or error}"
                            ) from None
