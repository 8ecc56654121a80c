"""A client of Centrifugo's JSON protocol that can send anything."""
from __future__ import annotations

import json

PATH = "/connection/websocket"


class RawClient:
    """Send commands, return replies and pushes in the order in which they come; answer pings.

    Args:
        site: a running ``tests.support.site.Site``.
        path: of an address that speaks the protocol.
    """

    def __init__(self, site, path=PATH, **options):
        self.socket = site.client(path, **options)
        self._number = 0
        self._waiting = []
        self.pushes = []
        self.pings = 0
        self.answers_pings = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, *commands):
        """Send commands in one frame."""
        self.socket.text("\n".join(json.dumps(command) for command in commands))

    def text(self, text):
        self.socket.text(text)

    def command(self, name, **request):
        """Return a command with the next number."""
        self._number += 1
        return {"id": self._number, name: request}

    def call(self, name, **request):
        """Send a command; return its result, or the error's code."""
        command = self.command(name, **request)
        self.send(command)
        reply = self.reply(command["id"])
        return reply["error"]["code"] if "error" in reply else reply[name]

    def connect(self, **request):
        """Send ``connect`` and return its result."""
        return self.call("connect", **request)

    def next(self):
        """Return the next reply or push."""
        while True:
            while not self._waiting:
                lines = self.socket.message().strip().split("\n")
                self._waiting += [json.loads(line) for line in lines]
            found = self._waiting.pop(0)
            if found:
                return found
            self.pings += 1
            if self.answers_pings:
                self.send({})

    def reply(self, number):
        """Return the reply to a command; keep pushes that come before it."""
        while True:
            found = self.next()
            if found.get("id") == number:
                return found
            self.pushes.append(found["push"])

    def push(self):
        """Return the next push."""
        if self.pushes:
            return self.pushes.pop(0)
        return self.next()["push"]

    def publication(self, channel):
        """Return the next publication, which must belong to this channel."""
        push = self.push()
        assert push["channel"] == channel, push
        return push["pub"]

    def close_code(self):
        return self.socket.close_code()

    def closing(self):
        """Read up to the close frame and return its code and reason."""
        while True:
            first, payload = self.socket.frame()
            if first == 0x88:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()
