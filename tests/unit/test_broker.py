"""The broker of one process: what is published goes straight on."""
from __future__ import annotations

import pytest

from pushserver.broker import LocalBroker
from pushserver.errors import InvalidData


def test_a_publication_is_delivered_at_once_and_in_order():
    delivered = []
    broker = LocalBroker(lambda channel, data: delivered.append((channel, data)))
    broker.publish("news", "one")
    broker.publish("news", {"two": 2})
    assert delivered == [("news", "one"), ("news", {"two": 2})]


def test_what_cannot_be_delivered_is_an_error_of_the_publisher():
    def deliver(channel, data):
        raise InvalidData("no")

    with pytest.raises(InvalidData):
        LocalBroker(deliver).publish("news", object())
