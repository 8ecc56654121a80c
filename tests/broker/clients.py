"""Clients of whole servers on bare sockets: plain ones and those of Centrifugo's protocol."""
from __future__ import annotations

import json
import threading
from types import SimpleNamespace

from pushserver import CentrifugeConnection, ChannelRule, Connection
from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import OPCODE_TEXT
from tests.support.centrifuge_client import RawClient
from tests.support.waiting import PATIENCE

RULES = (ChannelRule("kept:", history=1000, publish="anyone", see_history="anyone"),
         ChannelRule("here:", see_presence="anyone", linger=0),
         ChannelRule("told:", join_leave=True),
         ChannelRule("open:"))


class Talker(CentrifugeConnection):
    """A site that lets everybody in and answers ``rpc``."""

    def rpc(self, method, data):
        return data


class Echo(Connection):
    """A plain site that sends back what it gets."""

    def received_message(self, message):
        self.send(message.data)


class Blocked(Connection):
    """A plain site that handles no message before ``is_open`` is set; ``held`` has those."""

    held: list
    is_open: threading.Event

    def received_message(self, message):
        self.held.append(message)
        self.is_open.wait(2 * PATIENCE)     # longer than those wait who wait for others


class Closed(Exception):
    """The server has closed the connection of a client that expected a message."""

    def __init__(self, disconnect):
        super().__init__(disconnect)
        self.code = disconnect.code


class _Socket:
    """A peer as ``RawClient`` wants it."""

    def __init__(self, peer):
        self._peer = peer

    def text(self, text):
        self._peer.send(OPCODE_TEXT, text.encode())

    def message(self):
        message = self._peer.next()
        if isinstance(message, Disconnect):
            raise Closed(message)
        assert isinstance(message, str), f"{message} instead of a message"
        return message

    def close(self):
        self._peer.sock.close()


def talker(host, Id="1"):
    """Return a connected client of the protocol."""
    peer = host.join(Id, handler_cls=Talker)
    client = RawClient(SimpleNamespace(client=lambda path: _Socket(peer)))
    client.peer = peer
    client.connect()
    return client


def subscribed(client, channel, position=None):
    """Subscribe a client, with recovery if there is a position; return the answer."""
    since = {} if position is None else {
        "recover": True, "offset": position.offset, "epoch": position.epoch}
    return client.call("subscribe", channel=channel, recoverable=True, **since)


def offsets(client, channel, last):
    """Return the offsets of a client's publications, up to one."""
    found = []
    while not found or found[-1] != last:
        found.append(client.publication(channel)["offset"])
    return found


def up_to(peer, last):
    """Return what a plain client gets, up to a message."""
    found = []
    while not found or found[-1] != last:
        found.append(peer.next())
        assert found[-1] is not None and not isinstance(found[-1], Disconnect), found
        found[-1] = json.loads(found[-1])
    return found
