"""What ws4py on CherryPy does wrong while connections and the engine live, and at their end."""
from __future__ import annotations

import contextlib
import logging

import pytest

from tests.support.traps import close_code, frames, in_background, messages, received, site_of
from tests.support.waiting import wait_until


def test_a_silent_client_is_pinged(host):
    """#148: under CherryPy the heartbeat never started, and it would have sent pongs."""
    with host.running(site_of(host), heartbeat=0.1), host.client() as client:
        assert [first for first, _ in frames(client, 1)] == [0x89]


def test_a_client_that_answers_no_ping_is_gone(host):
    Handler = host.recorder()
    with host.running(site_of(host, Handler), heartbeat=0.1), host.client():
        with contextlib.suppress(AssertionError):
            wait_until(lambda: ("closed", 1006) in Handler.log, host.patience)
        assert Handler.log == [("opened",), ("closed", 1006)]
        assert host.count() == 0


@pytest.mark.parametrize("callback", ["received_message", "closed"])
def test_a_callback_that_raises_harms_no_other_connection(host, callback, caplog):
    """An error in ``closed`` ended the thread that served all."""
    def fail(*args):
        raise ValueError("a bug of the site")

    Handler = type("Handler", (host.base,), {callback: fail})
    with host.running(site_of(host, Handler)):
        with host.client("/echo?Id=other") as other, host.client() as client:
            client.text("anything")
            with contextlib.suppress(OSError, EOFError):
                client.hang_up()
            other.text("still there")
            assert received(other) == "still there"
            wait_until(lambda: any(record.exc_info for record in caplog.records), host.patience,
                       "a traceback in the log")


def test_a_handler_that_sends_on_the_socket_it_has_closed_harms_no_other_connection(host):
    def received_message(handler, message):
        handler.close_connection()
        handler.send("too late")

    Handler = type("Handler", (host.base,), {"received_message": received_message})
    with host.running(site_of(host, Handler)):
        with host.client("/echo?Id=other") as other, host.client() as client:
            client.text("close it")
            assert client.at_end()
            other.text("still there")
            assert received(other) == "still there"


def test_an_error_in_a_handler_closes_with_1011_and_leaves_a_traceback(host, caplog):
    """#234: it left one line and a connection that ended without a word."""
    def received_message(handler, message):
        raise ValueError("a bug of the site")

    Handler = type("Handler", (host.base,), {"received_message": received_message})
    with host.running(site_of(host, Handler)), host.client() as client:
        client.text("anything")
        assert close_code(client) == 1011
    assert [str(record.exc_info[1]) for record in caplog.records
            if record.levelno >= logging.ERROR] == ["a bug of the site"]


def test_a_close_by_the_server_is_told_to_the_handler_and_ends_the_socket(host):
    Handler = host.recorder()
    Handler.received_message = lambda handler, message: handler.close(4321, "enough")
    with host.running(site_of(host, Handler)), host.client() as client:
        client.text("anything")
        assert close_code(client) == 4321
        client.send(0x88, (4321).to_bytes(2, "big"))
        assert client.at_end()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(Handler.log) == 2, host.patience)
        assert Handler.log == [("opened",), ("closed", 4321)]


@pytest.mark.parametrize("sent, answered, told", [
    (b"", None, 1005),
    (b"\x03", 1002, 1002),
    ((1012).to_bytes(2, "big"), 1012, 1012),
    ((1013).to_bytes(2, "big"), 1013, 1013),
    ((1014).to_bytes(2, "big"), 1014, 1014),
    *(((code).to_bytes(2, "big"), 1002, 1002)
      for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)),
], ids=str)
def test_a_close_frame_is_answered_as_rfc_6455_says(host, sent, answered, told):
    Handler = host.recorder()
    with host.running(site_of(host, Handler)), host.client() as client:
        client.send(0x88, sent)
        assert close_code(client) == answered
        client.close()
        wait_until(lambda: len(Handler.log) == 2, host.patience)
        assert Handler.log[-1] == ("closed", told)


def test_the_engine_can_stop_and_start_again(host):
    """#166: threads could only be started once."""
    with host.running(site_of(host)):
        for number in range(3):
            host.stop()
            host.start()
            with host.client(f"/echo?Id={number}") as client:
                client.text("hello")
                assert received(client) == "hello"


def test_a_stop_waits_for_the_closing_handshakes(host):
    Handler = host.recorder()
    with host.running(site_of(host, Handler)), host.client() as client:
        wait_until(lambda: Handler.log)
        with in_background(host.stop) as stopping:
            assert close_code(client) == 1001
            assert stopping.is_alive()
            client.send(0x88, (1001).to_bytes(2, "big"))
            assert client.at_end()
            stopping.join(host.patience)
            assert Handler.log == [("opened",), ("closed", 1001)]


def test_clients_are_told_to_leave_before_the_http_server_stops(host):
    http_server_stops = 25
    with host.running(site_of(host)) as site, host.client() as client:
        wait_until(lambda: host.count() == 1)
        told = []

        def leave():
            told.append(close_code(client))
            client.close()

        site.bus.subscribe("stop", leave, http_server_stops)
        host.stop()
        assert told == [1001]


def test_the_engine_stops_when_the_thread_that_serves_the_sockets_dies(host, caplog):
    with host.running(site_of(host)) as site, host.client():
        host.kill()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: site.bus.state == site.bus.states.EXITING, host.patience)
        assert site.bus.state == site.bus.states.EXITING
        assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError
                   for record in caplog.records)


def test_a_ticker_goes_on_after_an_error(host):
    """CherryPy's Monitor, which a site would use with ws4py, ends at the first one."""
    results = iter([ValueError("not now"), "tick", "tock"])

    def make():
        result = next(results, "done")
        if isinstance(result, ValueError):
            raise result
        return result

    with host.running(site_of(host)), host.client() as client:
        host.every(0.05, make)
        assert messages(client, 2) == ["tick", "tock"]
