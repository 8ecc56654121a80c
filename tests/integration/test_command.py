"""``python -m pushserver``, as a user runs it."""
import contextlib
import re
import signal
import socket

import pytest

from pushserver import __version__
from tests.support.programs import demo, finish, get, program
from tests.support.raw_client import Client, Refused

TICK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def test_prints_one_line_with_the_address_to_open():
    with demo() as process:
        assert process.first_line == f"Open http://127.0.0.1:{process.port}/\n"
        status, page = get(f"http://127.0.0.1:{process.port}/")
        assert status == 200 and b"<title>pushserver" in page
        assert finish(process) == (0, "", "")


def test_pushes_the_time_in_iso_8601_on_whole_intervals():
    with demo("--interval", "0.25") as process:
        with Client(("127.0.0.1", process.port)) as client:
            client.handshake("/websocket?Id=42")
            ticks = [client.message() for _ in range(5)]
        assert all(TICK.fullmatch(tick) for tick in ticks)
        assert len(set(ticks)) == 5 and ticks == sorted(ticks)


def test_echoes():
    with demo() as process, Client(("127.0.0.1", process.port)) as client:
        client.handshake("/echo?Id=42")
        client.text("hello")
        assert client.message() == "hello"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_every_client_with_1001_and_ends_with_status_0(how):
    with demo() as process:
        clients = [Client(("127.0.0.1", process.port)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.handshake(f"/echo?Id={number}")
        process.send_signal(how)
        assert [client.close_code() for client in clients] == [1001] * 20
        for client in clients:
            client.send(0x88, b"\x03\xe9")
            client.close()
        assert finish(process, None) == (0, "", "")


def test_a_client_that_does_not_leave_delays_the_end_by_no_more_than_drain_timeout():
    with demo("--drain-timeout", "0.5") as process:
        with Client(("127.0.0.1", process.port)) as client:
            client.handshake("/websocket?Id=42")
            assert finish(process) == (0, "", "")
            assert client.close_code() == 1001


def test_serves_tls(server_certificate, client_tls):
    certificate, key = server_certificate
    with demo("--tls-cert", certificate, "--tls-key", key) as process:
        assert process.first_line.startswith("Open https://")
        with Client(("127.0.0.1", process.port), tls=client_tls) as client:
            client.handshake("/echo?Id=42")
            client.text("hello")
            assert client.message() == "hello"


def test_settings_are_options():
    options = ["--max-connections-per-id", "1", "--allowed-origin", "https://example.org"]
    with demo(*options) as process:
        with Client(("127.0.0.1", process.port)) as first:
            first.handshake("/websocket?Id=42", headers={"Origin": "https://example.org"})
            with Client(("127.0.0.1", process.port)) as second:
                with pytest.raises(Exception, match="429"):
                    second.handshake("/websocket?Id=42")


@pytest.mark.parametrize("options, host, status", [
    ([], "evil.example", 403), (["--allowed-host", "*.example"], "site.example", 101)])
def test_the_demo_is_not_the_site_of_every_name_that_resolves_to_it(options, host, status):
    with demo(*options) as process, Client(("127.0.0.1", process.port)) as client:
        with contextlib.nullcontext() if status == 101 else pytest.raises(Refused, match="403"):
            client.handshake("/websocket?Id=42", headers={
                "Host": f"{host}:{process.port}", "Origin": f"http://{host}:{process.port}"})


def test_says_its_version():
    with program("-m", "pushserver", "--version") as process:
        assert finish(process, None) == (0, f"pushserver {__version__}\n", "")


@pytest.mark.parametrize("options, status, words", [
    (["--port", "99999"], 2, "use 0 to 65535"),
    (["--interval", "0"], 2, "use seconds above 0"),
    (["--interval", "nan"], 2, "use seconds above 0"),
    (["--ping-interval", "-1"], 2, "ping_interval is -1.0"),
    (["--workers", "many"], 2, "--workers"),
    (["--duplicates", "merge"], 2, "share, replace, reject"),
    (["--allowed-origin", "example.org"], 2, "scheme://host"),
    (["--allowed-origin", "https://*"], 2, "scheme://*.host"),
    (["--allowed-host", "http://example.org"], 2, "*.example.org"),
    (["--no-such-option"], 2, "--no-such-option"),
    (["--tls-cert", "missing.pem"], 1, "missing.pem"),
    (["--tls-cert", "README.md"], 1, "README.md"),
    (["--tls-key", "README.md"], 1, "--tls-cert"),
    (["--host", "192.0.2.1"], 1, "192.0.2.1"),
])
def test_a_bad_value_is_one_line_on_stderr(options, status, words):
    with program("-m", "pushserver", *options) as process:
        returned, out, err = finish(process, None)
    assert (returned, out, err.count("\n")) == (status, "", 1), err
    assert words in err


def test_a_port_in_use_is_one_line_on_stderr():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with program("-m", "pushserver", "--port", str(port)) as process:
            status, out, err = finish(process, None)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"port {port}" in err and "in use" in err


def test_speaks_centrifugos_protocol_and_remembers_the_time():
    with demo("--interval", "0.1") as process:
        with Client(("127.0.0.1", process.port)) as client:
            client.handshake("/connection/websocket?Id=42")
            client.text('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"time"}}')
            replies = "\n".join([client.message(), client.message()])
            assert '"recoverable":true' in replies and '"pong":true' in replies
