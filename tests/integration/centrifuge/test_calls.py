"""Centrifugo's JSON protocol: calls, and messages without a channel."""
from __future__ import annotations

from tests.support.centrifuge_site import Handler


def test_a_call_is_answered_by_the_site(join):
    client = join()
    assert client.call("rpc", method="add", data=[1, 2]) == {"data": 3}
    assert client.call("rpc", method="unknown", data=None) == 108
    assert client.call("rpc", method="own error") == 401
    assert client.call("rpc", method="fail") == 100
    assert client.call("rpc", method="unjson") == 100
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}


def test_an_error_can_be_temporary(join):
    client = join()
    command = client.command("rpc", method="own error")
    client.send(command)
    assert client.reply(command["id"])["error"] == {"code": 401, "message": "no",
                                                    "temporary": True}


def test_a_message_reaches_the_site_without_an_answer(join):
    client = join()
    Handler.heard.clear()
    client.send({"send": {"data": {"a": 1}}})
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}
    assert Handler.heard == [{"a": 1}]
    deaf = join(path="/connection/strict")
    deaf.send({"send": {"data": 1}})
    assert deaf.closing() == (3508, "not available")


def test_the_site_sends_to_one_connection_and_closes_it(site, join):
    client = join()
    connection, = site.push.connections("42")
    connection.send({"only": "you"})
    assert client.push() == {"message": {"data": {"only": "you"}}}
    assert site.push.disconnect("42") == 1
    assert client.closing() == (3505, "disconnected by the site")
