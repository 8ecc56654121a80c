"""What a site can set, with defaults and units."""
from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Iterable

from .errors import InvalidSetting
from .machine import memory
from .wire.origins import allowed_host, allowed_origin

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

KIB = 1024
MIB = 1024 * KIB

DUPLICATES = ("share", "replace", "reject")

_SMALLEST_RESERVE = 100
_RESERVED_SHARE = 20
_WITHOUT_FILE_LIMIT = 1_000_000

_MEMORY_SHARE = 4
_LEAST_MEMORY = 64 * MIB
_WITHOUT_MEMORY_LIMIT = 1024 * MIB


def default_max_connections() -> int:
    """Return how many connections the process's file limit allows.

    One twentieth of the descriptors, but at least 100, is left to the site for its pages, files
    and databases.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else _WITHOUT_FILE_LIMIT
    if resource and limit == resource.RLIM_INFINITY:
        limit = _WITHOUT_FILE_LIMIT
    return max(1, limit - max(_SMALLEST_RESERVE, limit // _RESERVED_SHARE))


def default_max_memory() -> int:
    """Return a quarter of the machine's memory, or of its control group's, but at least 64 MiB."""
    return max(_LEAST_MEMORY, (memory() or _WITHOUT_MEMORY_LIMIT * _MEMORY_SHARE) // _MEMORY_SHARE)


def _setting(default: Any, unit: str, text: str, *, zero: bool = False) -> Any:
    """Describe one field, both for ``Settings`` and for the command line built from it."""
    metadata = {"unit": unit, "help": text, "zero": zero}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Hold what a site can set. Immutable; every value is checked on creation.

    Attributes:
        ping_interval: seconds without traffic after which a client is pinged. 0: never.
        pong_timeout: seconds that a client has to answer a ping; any traffic counts. A ping that is
            still on its way behind other data, which the client reads, is waited for. A client for
            which answers wait must take something in that time, else it is closed with 3008.
        close_timeout: seconds that a client has to answer a close frame; 1 at most while the
            server stops.
        connect_timeout: seconds that a client of Centrifugo's protocol has to send ``connect``.
        publish_timeout: seconds that a thread of the site, publishing faster than clients read,
            waits until they have room in their outboxes; then ``Overloaded`` is raised and
            nothing is sent. Clients that read less than 256 KiB/s are not waited for: they are
            closed with 3008. 0: nobody is waited for.
        drain_timeout: seconds that all clients together have to leave when the engine stops.
        max_message_size: bytes of one inbound message; past it the connection is closed with
            1009, and nothing more is read.
        max_outbox: bytes queued for one connection after the message being written; past it the
            connection is closed with 3008. Each frame counts 64 bytes more than it has. This is
            also the largest message that ``publish`` and the like accept, as UTF-8, with its
            tags. It may become longer in a client's protocol and is still sent: in Centrifugo's
            JSON, bytes take 4/3 of their size and control characters six times as much.
        max_inbox: bytes received for one connection's handler and not yet handled; past it the
            socket is not read until the handler has caught up.
        max_memory: bytes that may be held for all clients together; 0: any number. It counts what
            waits for them (a message that waits for many counts once), what they have sent and is
            not handled, the requests' headers that connections keep, histories, and what
            publishers have queued. Past it the largest are freed: the oldest histories, and the
            connections that hold most, which are closed with 3008; a client whose messages wait
            is not read; new connections are answered 503.
        max_connections: connections of the server; past it the answer is 503.
        max_connections_per_id: connections of one Id; past it the answer is 429.
        max_channels: channels that clients may be in, and channels with a history that they may
            have made by publishing, each in total. Past the first, a client of Centrifugo's
            protocol that is in several channels already cannot enter one in which nobody is (error
            106). Past the second, the history of the oldest channel of the client whose
            channels take most memory is forgotten. The site itself is not limited.
        max_channels_per_connection: channels that one client of Centrifugo's protocol may be in,
            and channels with a history that it may publish to within a minute; past it its command
            is answered with error 106.
        duplicates: a second connection of an Id: "share" (both receive), "replace" (the older
            is closed with 3504) or "reject" (the newer is answered 429).
        retry_after: seconds that a 429 or 503 tells the client to wait.
        workers: threads that run callbacks; when all are blocked, spare ones take over.
        allowed_origins: origins besides the site's own: ``https://example.org``, for its
            subdomains ``https://*.example.org``, for apps such as ``capacitor://localhost``, for
            pages without a host ``file://`` or ``null``, which a page of any site can be made to
            send; "*": any.
        allowed_hosts: names under which browsers may see the site as its own, beside localhost
            and IP addresses: ``example.org``, for its subdomains ``*.example.org``; "*": any.
            (): any, but none on a server that listens on loopback only and sees no proxy.

    Raises:
        InvalidSetting: a value has the wrong type or is out of range.
    """

    ping_interval: float = _setting(25.0, "seconds", "without traffic before a ping; 0: never",
                                    zero=True)
    pong_timeout: float = _setting(10.0, "seconds", "to answer a ping")
    close_timeout: float = _setting(5.0, "seconds", "to answer a close frame")
    connect_timeout: float = _setting(10.0, "seconds", "to send connect in Centrifugo's protocol")
    publish_timeout: float = _setting(5.0, "seconds", "that a publisher waits for clients to "
                                                      "read; 0: it does not", zero=True)
    drain_timeout: float = _setting(5.0, "seconds", "for all clients to leave at shutdown")
    max_message_size: int = _setting(64 * KIB, "bytes", "of one inbound message")
    max_outbox: int = _setting(MIB, "bytes", "queued for one connection")
    max_inbox: int = _setting(MIB, "bytes", "received but not yet handled")
    max_memory: int = _setting(default_max_memory, "bytes", "held for all clients; 0: any number",
                               zero=True)
    max_connections: int = _setting(default_max_connections, "connections", "of the server")
    max_connections_per_id: int = _setting(16, "connections", "of one Id")
    max_channels: int = _setting(100_000, "channels", "that clients are in or have made, in total")
    max_channels_per_connection: int = _setting(128, "channels", "of one client: in, or published "
                                                                 "to within a minute")
    duplicates: str = _setting("share", "", "second connection of an Id: share, replace, reject")
    retry_after: int = _setting(5, "seconds", "that a 429 or 503 tells a client to wait")
    workers: int = _setting(4, "threads", "that run callbacks")
    allowed_origins: tuple[str, ...] = _setting((), "", "origin besides the site's own")
    allowed_hosts: tuple[str, ...] = _setting((), "", "host name of the site")

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.type in ("int", "float"):
                self._check_number(item.name, item.type == "int", item.metadata["zero"])
        if self.duplicates not in DUPLICATES:
            raise InvalidSetting(f"duplicates is {self.duplicates!r}: use {', '.join(DUPLICATES)}")
        self._check_each("allowed_origins", allowed_origin)
        self._check_each("allowed_hosts", allowed_host)

    def _check_each(self, name: str, normal: Callable[[str], str]) -> None:
        value = getattr(self, name)
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise InvalidSetting(f"{name} is {value!r}: use a list, [{value!r}]")
        object.__setattr__(self, name, tuple(map(normal, value)))

    def _check_number(self, name: str, whole: bool, zero: bool) -> None:
        value = getattr(self, name)
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            kind = "a whole number" if whole else "a number"
            raise InvalidSetting(f"{name} is {value!r}: use {kind}")
        if not math.isfinite(value) or value < 0 or value == 0 and not zero:
            least = "0 or more" if zero else "more than 0"
            raise InvalidSetting(f"{name} is {value!r}: use {least}")
