"""The command, run as its users run it."""
from __future__ import annotations

import json
import signal
import subprocess
import time
from datetime import datetime, timezone

import pytest

from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import OPCODE_BINARY, OPCODE_TEXT, frame

from tests.support.loopback import LOOPBACK, free_port
from tests.support.programs import demo, program
from tests.support.scripted_server import Server, drain, hold
from tests.support.waiting import PATIENCE


def command(*arguments, stdin=subprocess.PIPE):
    return program("-m", "pushclient", *arguments, stdin=stdin)


def run(*arguments, stdin=""):
    with command(*arguments) as process:
        out, err = process.communicate(stdin, timeout=PATIENCE)
    return process.returncode, out, err


def pushes(*messages, code=1000):
    data = b"".join(frame(OPCODE_TEXT if isinstance(message, str) else OPCODE_BINARY,
                          message.encode() if isinstance(message, str) else message)
                    for message in messages)

    def script(peer):
        peer.answer(with_it=data)
        seen.append(peer)
        peer.close(code)
    seen = script.seen = []
    return script


def test_messages_are_printed_one_per_line_and_states_on_stderr():
    script = pushes("first", "two\nlines \x1b[31m", b"\xffbytes", "é")
    with Server(script) as server:
        status, out, err = run(server.url, "--id", "42")
    assert (status, out) == (0, "first\ntwo\\nlines \\x1b[31m\n\\xffbytes\né\n")
    assert err == "pushclient: connecting\npushclient: open\npushclient: closed\n"
    assert script.seen[0].resource == "/websocket?Id=42"


def test_count_ends_it_and_quiet_says_nothing():
    with Server(pushes("1", "2", "3")) as server:
        assert run(server.url, "--count", "2", "--quiet") == (0, "1\n2\n", "")


def test_json_has_time_data_and_latency():
    now = datetime.now(timezone.utc).isoformat()
    with Server(pushes("plain", now, b"\0\xff")) as server:
        status, out, _ = run(server.url, "--json")
    plain, timed, binary = map(json.loads, out.splitlines())
    assert status == 0
    assert plain["data"] == "plain" and "latency" not in plain
    assert abs(plain["time"] - time.time()) < PATIENCE
    assert timed["data"] == now and 0 <= timed["latency"] < PATIENCE
    assert (binary["data"], binary["binary"]) == ("AP8=", True)


def test_lines_of_stdin_are_sent():
    def script(peer):
        peer.answer()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                return
            peer.send(f"got {message.data.decode()}")
    with Server(script) as server:
        status, out, _ = run(server.url, "--count", "3", stdin="one\r\ntwo é\nwithout end")
    assert (status, out) == (0, "got one\ngot two é\ngot without end\n")


def test_it_comes_back_after_a_loss_unless_told_not_to():
    with Server(pushes("1", code=1012), pushes("2")) as server:
        status, out, err = run(server.url)
    assert (status, out) == (0, "1\n2\n")
    assert "waiting: connection closed with 1012; again in " in err
    with Server(pushes("1", code=1012), pushes("2")) as server:
        status, out, err = run(server.url, "--no-reconnect", "--quiet")
    assert (status, out, err) == (1, "1\n", "pushclient: connection closed with 1012\n")


def refuse(peer):
    peer.read_request()
    peer.sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def test_what_goes_wrong_is_one_line():
    port = free_port()
    with Server(refuse) as server:
        refused = server.url
        cases = [
            (["localhost:8888"], 2, "scheme 'localhost': use ws:// or wss://"),
            (["http://localhost/"], 2, "scheme 'http': use ws:// or wss://"),
            (["ws://localhost/", "--id", "a\nb"], 2, "Id: use 1 to 128 characters"),
            (["ws://localhost/", "--header", "none"], 2, "use 'Name: value'"),
            (["ws://localhost/", "--timeout", "0"], 2, "timeout is 0.0: use more than 0"),
            (["wss://localhost/", "--cacert", "/no/such/file"], 2, "No such file"),
            ([f"ws://{LOOPBACK}:{port}/"], 1, "Connection refused"),
            (["ws://no-such-host.invalid/"], 1, "no-such-host.invalid"),
            ([refused], 1, "the server answered 403 Forbidden")]
        for arguments, status, words in cases:
            got, out, err = run(*arguments, "--quiet")
            assert (got, out) == (status, ""), (arguments, err)
            assert words in err and err.count("\n") == 1, (arguments, err)


def test_wrong_usage_is_status_2():
    assert run()[0] == run("ws://localhost/", "--count", "0")[0] == run("--nonsense")[0] == 2


def test_header_is_sent_and_trust_is_as_told(server_certificate, authority, tmp_path):
    import ssl
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate)
    script = pushes("in")
    with Server(script, tls=context) as server:
        status, out, err = run(server.url, "--quiet")
        assert status == 1 and "certificate" in err and err.count("\n") == 1
        for trust in (["--cacert", str(tmp_path / "ca.pem")], ["--insecure"]):
            assert run(server.url, "--header", "X-Token: a:b", *trust)[:2] == (0, "in\n")
    assert script.seen[-1].header("X-Token") == "a:b"


@pytest.mark.parametrize("script", [hold, lambda peer: peer.read_request() and peer.sock.recv(1)],
                         ids=["open", "connecting"])
def test_ctrl_c_is_status_130_without_a_traceback(script):
    with Server(script) as server, command(server.url) as process:
        line = "pushclient: open\n" if script is hold else "pushclient: connecting\n"
        assert line in iter(process.stderr.readline, "")
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        out, err = process.communicate()
    assert process.returncode == 130
    assert out == "" and "Traceback" not in err


def test_reader_that_leaves_ends_it_quietly():
    with Server(pushes(*["x" * 1000] * 2000)) as server, \
            command(server.url, "--quiet", stdin=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == "x" * 1000 + "\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


def test_demo_server_pushes_the_time_to_the_command():
    with demo() as server:
        status, out, err = run(f"ws://{LOOPBACK}:{server.port}/websocket", "--id", "42",
                               "--count", "2", "--json")
    assert status == 0, err
    assert all(json.loads(line)["latency"] < 1 for line in out.splitlines())
