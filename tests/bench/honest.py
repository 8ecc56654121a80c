"""Crowds of honest clients, which see each number that is lost, doubled or out of order."""
from __future__ import annotations

import collections
import time

from tests.support.channel_herd import Member as ChannelMember

from .crowd import CLOSE, PING, TEXT, Crowd, Member
from .servers.attacked import NEWS

NEVER = 1 << 40
"""A size that no message has."""

API = "news:api"
"""The channel into which the API publishes."""

CHANNELS = [NEWS, API]
WAITS = 0.02


class Stream:
    """The numbers that one client has received of one stream, from the first that came."""

    __slots__ = ("last", "missing", "doubled", "disordered")

    def __init__(self):
        self.last = None
        self.missing = set()
        self.doubled = self.disordered = 0

    def take(self, number):
        """Take note of a number."""
        if self.last is None:
            self.last = number
        elif number > self.last:
            self.missing.update(range(self.last + 1, number))
            self.last = number
        elif number in self.missing:
            self.missing.discard(number)
            self.disordered += 1
        else:
            self.doubled += 1


class Receiving:
    """Take what comes for many clients, and say how it went.

    A message is the name of its stream, its number, and when it was made.
    """

    def __init__(self):
        self.streams = collections.defaultdict(Stream)      # by client and name
        self.late = []

    def take(self, client, text, now):
        """Take a message; those that have no number have only to be read."""
        name, _, rest = text.partition(" ")
        if rest:
            number, stamp = rest.split()
            self.streams[client, name].take(int(number))
            self.late.append(now - float(stamp))

    def result(self):
        """Return the faults so far, the last number by name that all have got, and the lateness
        of what has come since the last time."""
        late, self.late = sorted(self.late), []
        streams = list(self.streams.items())
        last = {}
        for (_, name), stream in streams:
            last[name] = min(stream.last, last.get(name, NEVER))
        return {"lost": sum(len(stream.missing) for _, stream in streams),
                "doubled": sum(stream.doubled for _, stream in streams),
                "disordered": sum(stream.disordered for _, stream in streams),
                "streams": len(streams), "last": last, "count": len(late),
                "p50": late[len(late) // 2] if late else None,
                "p99": late[int(len(late) * 0.99)] if late else None}


class PlainMember(Member):
    """A client with what has come and is no whole frame."""

    __slots__ = ("rest",)

    def __init__(self, sock):
        super().__init__(sock)
        self.rest = b""


class PlainCrowd(Crowd):
    """Plain clients, which must never be closed."""

    member = PlainMember

    def __init__(self, port, tls):
        self.receiving = Receiving()
        super().__init__(port, tls)
        self.expect(NEVER)      # so that all that comes is walked through

    def _walk(self, member, size, now):
        data, place = member.rest + self._view[:size], 0
        while (found := frame(data, place)) is not None:
            first, payload, place = found
            if first == TEXT:
                self.receiving.take(id(member), payload.decode(), now)
            elif first == PING:
                member.sock.send(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
            elif first == CLOSE:
                member.code = int.from_bytes(payload[:2], "big")
        member.rest = data[place:]

    def result(self):
        """Return what came, and with which codes how many were closed."""
        codes = collections.Counter(member.code for member in self._members.values()
                                    if member.code is not None)
        return {**self.receiving.result(), "closed": dict(codes)}


def frame(data, place):
    """Return the first byte, the payload and the end of a frame that has come as a whole."""
    if len(data) < place + 2:
        return None
    size, begin = data[place + 1], place + 2
    if size > 125:
        begin += 2 if size == 126 else 8
        if len(data) < begin:
            return None
        size = int.from_bytes(data[place + 2:begin], "big")
    if len(data) < begin + size:
        return None
    return data[place], data[begin:begin + size], begin + size


class Follower(ChannelMember):
    """A client in channels, which may be closed, and gets all that it missed."""

    def __init__(self, url, name, receiving):
        super().__init__(url, name, CHANNELS)
        self._receiving = receiving

    def _keep(self, publication):
        self._receiving.take(self.name, publication.data, time.monotonic())


class ChannelCrowd:
    """Such clients."""

    def __init__(self, port, _):
        self._url = f"ws://127.0.0.1:{port}/talk"
        self._followers = []
        self.receiving = Receiving()

    def connect(self, count):
        """Connect clients; their names begin with ``c-``."""
        self._followers = [Follower(self._url, f"c-{number}", self.receiving)
                           for number in range(count)]
        for follower in self._followers:
            follower.client.start()

    def opened(self):
        """Return how many times clients have connected."""
        return sum(follower.opened for follower in self._followers)

    def receive(self, timeout):
        """Let the clients' own threads receive."""
        time.sleep(WAITS)

    def result(self):
        """Return what came, how many connections there were, and how many histories were lost."""
        return {**self.receiving.result(), "opened": self.opened(),
                "gaps": sum(len(follower.gaps) for follower in self._followers),
                "errors": dict(collections.Counter(
                    repr(follower.client.error) for follower in self._followers
                    if follower.client.state == "closed"))}

    def leave(self):
        """Close all."""
        for follower in self._followers:
            follower.client.close()
