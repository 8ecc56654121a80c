"""How connections end: ``closed`` is called exactly once, whatever ends them."""
from __future__ import annotations

import contextlib
import threading

import pytest

from pushserver import ConnectionClosed
from tests.support.handlers import close_payload, handler, site_of, SMALL
from tests.support.raw_client import masked_frame, Refused
from tests.support.site import recorder, running_site
from tests.support.waiting import wait_until


def by_client_close(site, client, connection):
    assert client.hang_up(4001) == 4001


def by_client_close_without_code(site, client, connection):
    client.send(0x88)
    assert client.close_code() is None


def by_fin(site, client, connection):
    client.close()


def by_half_close(site, client, connection):
    client.sock.shutdown(1)
    assert client.at_end()


def by_reset(site, client, connection):
    client.reset()


def by_fin_within_a_frame(site, client, connection):
    client.sock.sendall(masked_frame(0x81, b"a" * 100)[:50])
    client.close()


def by_protocol_error(site, client, connection):
    client.send(0x83)
    assert client.close_code() == 1002
    assert client.at_end()


def by_protocol_error_and_reset(site, client, connection):
    client.send(0x83)
    client.reset()


def by_connection_close(site, client, connection):
    connection.close(4002, "enough")
    assert client.close_code() == 4002
    client.send(0x88, close_payload(4002))


def by_connection_close_and_silence(site, client, connection):
    connection.close(4002)
    assert client.close_code() == 4002
    assert client.at_end()


def by_connection_close_and_reset(site, client, connection):
    connection.close(4002)
    client.reset()


def by_close_from_both_sides(site, client, connection):
    client.send(0x88, close_payload(4001))
    connection.close(4002)
    assert client.close_code() in (4001, 4002)


def by_abort(site, client, connection):
    connection.close_connection()
    assert client.at_end()


def by_disconnect(site, client, connection):
    assert site.push.disconnect("42") == 1
    assert site.push.disconnect("42") == 0
    assert client.close_code() == 3505
    client.close()


def by_expiry(site, client, connection):
    connection.expire(0.01)
    assert client.close_code() == 3005
    client.send(0x88, close_payload(3005))


def by_expiry_and_silence(site, client, connection):
    connection.expire(0.01)
    assert client.close_code() == 3005
    assert client.at_end()


def by_expiry_disconnect_and_close(site, client, connection):
    connection.expire(0.01)
    site.push.disconnect("42")
    connection.close(4002)
    assert client.close_code() in (3005, 3505)
    client.close()


def by_an_error_in_the_handler(site, client, connection):
    client.text("fail")
    assert client.close_code() == 1011
    client.close()


def by_slowness(site, client, connection):
    for _ in range(20):
        site.push.broadcast("a" * 50_000)
    wait_until(lambda: len(site.push) == 0)
    client.reset()


def by_stop(site, client, connection):
    thread = threading.Thread(target=site.push.stop)
    thread.start()
    assert client.close_code() == 1001
    client.close()
    thread.join()


def by_stop_and_silence(site, client, connection):
    site.push.stop()


@pytest.mark.parametrize("end, codes", [
    (by_client_close, {4001}), (by_client_close_without_code, {1005}), (by_fin, {1006}),
    (by_half_close, {1006}), (by_reset, {1006}), (by_fin_within_a_frame, {1006}),
    (by_protocol_error, {1002}), (by_protocol_error_and_reset, {1002, 1006}),
    (by_connection_close, {4002}), (by_connection_close_and_silence, {4002}),
    (by_connection_close_and_reset, {4002, 1006}), (by_close_from_both_sides, {4001, 4002}),
    (by_abort, {1006, 1011}), (by_disconnect, {3505}), (by_an_error_in_the_handler, {1011}),
    (by_expiry, {3005}), (by_expiry_and_silence, {3005}),
    (by_expiry_disconnect_and_close, {3005, 3505}),
    (by_slowness, {3008}), (by_stop, {1001}), (by_stop_and_silence, {1001}),
], ids=lambda value: value.__name__ if callable(value) else "")
def test_closed_is_called_exactly_once(end, codes):
    def fail(self, message):
        raise ValueError("a bug of the site")

    Handler = handler(received_message=fail)
    settings = {"close_timeout": 0.2, "drain_timeout": 0.5, "max_outbox": 100_000}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL) as client:
            wait_until(lambda: Handler.log)
            connection, = site.push.connections()
            end(site, client, connection)
            wait_until(lambda: len(Handler.log) == 2)
            assert connection.terminated
            assert len(site.push) == 0 and site.push.ids() == []
            with pytest.raises(ConnectionClosed):
                connection.send("too late")
            connection.close()
            connection.close_connection()
    assert Handler.log[0] == ("opened", "42")
    assert [entry[:2] for entry in Handler.log[1:]] == [("closed", "42")]
    assert Handler.log[1][2] in codes


def test_many_connections_that_end_at_once_are_each_closed_once():
    Handler = recorder()
    with running_site(site_of(Handler)) as site:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(site.client(f"/websocket?Id={number}"))
                       for number in range(60)]
            for client in clients[::3]:
                client.reset()
            for client in clients[1::3]:
                client.send(0x88)
            stopping = threading.Thread(target=site.push.stop)
            stopping.start()
            for client in clients[2::3]:
                assert client.close_code() == 1001
                client.close()
            stopping.join()
    opened = [entry[1] for entry in Handler.log if entry[0] == "opened"]
    closed = [entry[1] for entry in Handler.log if entry[0] == "closed"]
    assert sorted(opened) == sorted(closed) == sorted(str(number) for number in range(60))


def test_those_that_are_closing_count_until_their_sockets_are_closed():
    settings = {"max_connections": 3, "close_timeout": 30, "drain_timeout": 0.5}
    with running_site(settings=settings) as site:
        clients = [site.client() for _ in range(3)]
        for client in clients:
            client.send(0x81, b"unmasked", mask=None)
            assert client.close_code() == 1002
        wait_until(lambda: len(site.push) == 0)
        with pytest.raises(Refused, match="503"):
            site.client()
        for client in clients:
            client.close()
        wait_until(lambda: not site.push._lifecycle.runtime.links)
        site.client().close()
