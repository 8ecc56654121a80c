"""Which TLS context to use."""
from __future__ import annotations

import ssl
from typing import Any, Mapping

from ..errors import InvalidSetting

OPTIONS = ("certfile", "keyfile", "password", "ca_certs", "cert_reqs", "ciphers")


def make_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and its host name.

    Args:
        options: as ws4py's ``ssl_options``: ``certfile``, ``keyfile`` and ``password`` of a
            client's certificate, ``ca_certs`` to trust in place of the system's, ``ciphers``, and
            ``cert_reqs``, where only ``ssl.CERT_NONE`` turns the verification off.

    Raises:
        InvalidSetting: an option is none of these, or a file cannot be used.
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
