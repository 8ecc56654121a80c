"""To whom things are sent: an Id, a channel, all."""
from __future__ import annotations

import threading

import cherrypy
import pytest

from pushserver import ConnectionClosed, InvalidSetting, PushPlugin
from tests.support.handlers import close_payload, site_of
from tests.support.site import recorder, running_site
from tests.support.waiting import wait_until


def test_a_send_reaches_all_connections_of_one_id_and_counts_them():
    with running_site() as site, site.client() as one, site.client() as two, \
            site.client("/websocket?Id=7") as other:
        assert site.push.send("42", "for you") == 2
        assert site.push.send("nobody", "for nobody") == 0
        site.push.broadcast("for all")
        assert [one.message(), one.message()] == ["for you", "for all"]
        assert [two.message(), two.message()] == ["for you", "for all"]
        assert other.message() == "for all"
        assert site.push.ids() == ["42", "7"]


def test_an_id_that_is_no_text_is_a_mistake_not_nobody():
    with running_site() as site:
        for call in (site.push.send, site.push.disconnect):
            with pytest.raises(InvalidSetting):
                call(42, "text")


def test_a_send_to_an_id_that_has_just_left_reaches_nobody():
    Handler = recorder()
    with running_site(site_of(Handler)) as site:
        for number in range(20):
            with site.client() as client:
                connection, = site.push.connections("42")
                client.hang_up()
                assert site.push.send("42", "late") in (0, 1)
                wait_until(lambda: site.push.send("42", "late") == 0)
                with pytest.raises(ConnectionClosed):
                    connection.send("late")
                assert site.push.connections("42") == []
    assert len(Handler.log) == 40


def test_sends_while_clients_come_and_go_disturb_nobody():
    ending = threading.Event()
    with running_site() as site, site.client("/websocket?Id=stays") as stays:
        def send():
            while not ending.wait(0.001):
                site.push.broadcast("to all")
                site.push.send("passer-by", "to you")
                site.push.publish("news", "to some")

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for _ in range(50):
                with site.client("/websocket?Id=passer-by") as client:
                    assert client.message() in ("to all", "to you")
                    client.reset()
            assert stays.message() == "to all"
        finally:
            ending.set()
            thread.join()
        wait_until(lambda: site.push.ids() == ["stays"])


def test_pushing_before_the_start_and_after_the_stop_reaches_nobody_and_raises_nothing():
    push = PushPlugin(cherrypy.process.wspbus.Bus())
    for _ in range(2):
        push.broadcast("to nobody")
        assert push.send("42", "to nobody") == 0
        push.publish("news", "to nobody")
        assert push.disconnect("42") == 0
        assert (push.ids(), push.connections(), len(push), bool(push)) == ([], [], 0, True)
        with pytest.raises(TypeError):
            push.broadcast(object())
        push.start()
        push.stop()


def test_a_connection_in_a_channel_receives_what_is_published_to_it():
    with running_site() as site, site.client("/websocket?Id=in") as inside, \
            site.client("/websocket?Id=out") as outside:
        connection, = site.push.connections("in")
        assert connection.subscribe("news") is True
        assert connection.subscribe("news") is False
        site.push.publish("news", {"number": 1})
        site.push.publish("other", {"number": 2})
        assert connection.unsubscribe("news") is True
        assert connection.unsubscribe("news") is False
        site.push.publish("news", {"number": 3})
        site.push.broadcast("end")
        assert [inside.message(), inside.message()] == ['{"number":1}', "end"]
        assert outside.message() == "end"


def test_a_connection_that_has_closed_is_in_no_channel():
    with running_site(site_of(channels=["news"])) as site, site.client() as client:
        connection, = site.push.connections()
        assert client.hang_up() == 1000
        wait_until(lambda: len(site.push) == 0)
        assert site.push._hub.members("news") == ()
        assert connection.subscribe("news") is False
        assert connection.unsubscribe("news") is False


def test_the_tool_puts_each_connection_into_its_channels():
    with running_site(site_of(channels=["news", "weather"])) as site, site.client() as client, \
            site.client("/echo?Id=42") as other:
        site.push.publish("news", "1")
        site.push.publish("weather", "2")
        site.push.publish("sports", "3")
        site.push.broadcast("end")
        assert [client.message() for _ in range(3)] == ["1", "2", "end"]
        assert other.message() == "end"


@pytest.mark.parametrize("channel", ["", "a" * 256, None, 5])
def test_what_cannot_be_a_channel_is_refused(channel):
    with running_site() as site, site.client():
        connection, = site.push.connections()
        with pytest.raises(InvalidSetting):
            site.push.publish(channel, "text")
        with pytest.raises(InvalidSetting):
            connection.subscribe(channel)


def test_disconnect_closes_all_connections_of_an_id():
    with running_site() as site, site.client() as one, site.client() as two, \
            site.client("/websocket?Id=7") as other:
        site.push.send("42", "last words")
        assert site.push.disconnect("42", code=4400, reason="moved") == 2
        assert site.push.ids() == ["7"]
        for client in (one, two):
            assert client.message() == "last words"
            assert client.frame() == (0x88, close_payload(4400, b"moved"))
        assert site.push.send("7", "not you") == 1
        assert other.message() == "not you"


@pytest.mark.parametrize("code, reason", [(1005, ""), (1006, ""), (1015, ""), (999, ""), (5000, ""),
                                          ("1000", ""), (3505, "a" * 124), (3505, "\ud800")])
def test_a_close_that_cannot_be_sent_is_refused(code, reason):
    with running_site() as site, site.client() as client:
        connection, = site.push.connections()
        with pytest.raises(InvalidSetting):
            site.push.disconnect("42", code=code, reason=reason)
        with pytest.raises(InvalidSetting):
            connection.close(code, reason)
        site.push.send("42", "still there")
        assert client.message() == "still there"
