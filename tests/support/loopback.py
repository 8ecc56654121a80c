"""This machine's own address, and free ports on it."""
from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def free_port(host="127.0.0.1"):
    """Return a port that nothing listens on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]
