"""What the demo site serves, without a browser: sockets, sources, headers, and what it leaves."""
import json
import logging
import re
import threading
import urllib.request

import pytest

from tests.support.programs import demo, finish, get
from tests.support.raw_client import Client
from tests.support.site import running_site
from tests.support.waiting import PATIENCE, wait_until
from pushserver.demo import clock, echo, logs, monitor  # behind the tool that its pages use
from pushserver.demo.sources import FILES

TICK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")

PAGES = ["/", "/?Id=42", "/monitor/", "/monitor/?Id=42", "/echo", "/echo?Id=42&heartbeat=25"]


@pytest.fixture(scope="module")
def site():
    """A running demo site that logs all it can."""
    with demo("--interval", "0.2", "--log-level", "debug") as process:
        # its log fills the pipe if nobody reads it
        reader = threading.Thread(target=lambda: process.stderr.read())
        reader.start()
        yield Address(process.port)
        process.terminate()
        reader.join()


class Address:
    """Where a demo site is."""

    def __init__(self, port):
        self.port = port

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def client(self, path):
        client = Client(("127.0.0.1", self.port))
        client.handshake(path)
        return client


# The clock


def test_the_clock_sends_programs_nothing_but_the_time(site):
    with site.client("/websocket?Id=1") as one, site.client("/websocket?Id=2"):
        assert all(TICK.fullmatch(one.message()) for _ in range(4))


def test_the_clock_tells_who_asks_how_many_are_connected(site):
    def count(client):
        while not (message := client.message()).startswith("{"):
            pass
        return json.loads(message)["connected"]

    with site.client("/websocket?Id=1&count=1") as one:
        alone = count(one)
        with site.client("/websocket?Id=2"):
            assert count(one) == alone + 1
        assert count(one) == alone


# The echo


def test_the_echo_sends_back_nothing_but_what_was_sent(site):
    with site.client("/echo?Id=1") as client:
        client.text("hello")
        assert client.message() == "hello"
        client.send(0x82, b"\x00\xff")
        assert client.message() == b"\x00\xff"


def test_the_echo_shows_who_asks_both_headers_of_its_own_handshake(site):
    with Client(("127.0.0.1", site.port)) as client:
        answer = client.handshake("/echo?Id=1&handshake=1", headers={"X-Mine": "<b>"})
        shown = json.loads(client.message())
        assert shown["request"][0] == "GET /echo?Id=1&handshake=1 HTTP/1.1"
        assert "X-Mine: <b>" in shown["request"]
        assert shown["response"][0] == "HTTP/1.1 101 Switching Protocols"
        assert shown["response"][1:] == [f"{name}: {value}" for name, value in answer.items()]
        client.text("hello")
        assert client.message() == "hello"


def test_the_echo_shows_a_header_of_any_size(site):
    with Client(("127.0.0.1", site.port)) as client:
        client.handshake("/echo?Id=1&handshake=1", headers={"X-Long": "\xe9" * 15_000})
        shown = json.loads(client.message())
        assert all(len(line) <= echo.MAX_CHARACTERS for line in shown["request"])


# The monitor


def messages(client, field):
    """Yield what has a field, of all that comes."""
    while True:
        message = json.loads(client.message())
        if field in message:
            yield message[field]


def test_the_monitor_measures_each_second(site):
    with site.client("/monitor/socket?Id=1") as client:
        message = {}
        while "cpu" not in message:
            message = json.loads(client.message())
        assert 0 <= message["cpu"] <= 100 and 0 < message["memory"] <= 100
        assert message["sent"] >= 0 and message["received"] >= 0
        assert message["connections"] >= 1 and message["tcp"] >= 1


def test_the_monitor_shows_the_log_once_and_does_not_feed_itself(site):
    mark = "/source/no-such-file-1"
    get(site.url(mark))
    with site.client("/monitor/socket?Id=1") as one, site.client("/monitor/socket?Id=2") as two:
        for client in (one, two):
            assert sum(mark in line for line in next(messages(client, "log"))) == 1
        seen, measured = [], 0
        while measured < 2:     # two seconds in which nothing happens but pushes
            message = json.loads(one.message())
            seen += message.get("log", [])
            measured += "cpu" in message
        assert len([line for line in seen if "/monitor/socket" in line]) <= 2
        assert len(seen) <= 2   # the handshakes of the two, logged behind them
        get(site.url("/source/no-such-file-2"))
        for client in (one, two):
            lines = next(lines for lines in messages(client, "log")
                         if "no-such-file-2" in lines[0])
            assert len(lines) == 1


class Noisy:
    """A push server that logs each time that it is told to push."""

    def __init__(self):
        self.pushed = []

    def publish(self, channel, data):
        logging.getLogger("noisy").warning("pushing")
        self.pushed.append(data)


@pytest.fixture
def noisy():
    """A log that goes to a noisy server; returns logger and server."""
    push, logger = Noisy(), logging.getLogger("noisy")
    handler = logs.LogPush(push)
    logger.addHandler(handler)
    yield logger, push
    logger.removeHandler(handler)


def test_what_pushing_the_log_logs_is_left_out(noisy):
    logger, push = noisy
    logger.warning("one")
    logger.warning("two")
    assert [data["log"][0].split(": ")[1] for data in push.pushed] == ["one", "two"]


def test_a_record_is_cut_and_always_text(noisy):
    logger, push = noisy
    logger.warning("%s", "\ud800" + "x" * 5000)
    line, = push.pushed[0]["log"]
    assert len(line) == logs.MAX_LINE and "?x" in line
    assert line.encode("utf-8")


def tickers():
    return [thread for thread in threading.enumerate() if thread.name == "pushserver-ticker"]


def test_nothing_is_measured_while_nobody_watches():
    class Root:
        """Nothing but a monitor."""

    with running_site(Root()) as site:
        Root.monitor = monitor.Monitor(site.push)
        assert tickers() == []
        with site.client("/monitor/socket?Id=1") as one, site.client("/monitor/socket?Id=2"):
            next(messages(one, "cpu"))
            assert len(tickers()) == 1
            assert one.hang_up() == 1000
            assert len(tickers()) == 1
        wait_until(lambda: tickers() == [])
        with site.client("/monitor/socket?Id=3") as again:
            next(messages(again, "cpu"))


def test_without_psutil_the_monitor_says_what_to_install_and_all_else_works():
    with demo("--interval", "0.2", without="psutil") as process:
        site = Address(process.port)
        with site.client("/monitor/socket?Id=1") as client:
            text = next(messages(client, "install"))
            assert "pip install psutil" in text and "\n" not in text
            assert next(messages(client, "log")) is not None
            get(site.url("/source/nothing"))
            assert "/source/nothing" in next(lines for lines in messages(client, "log")
                                             if "nothing" in lines[0])[0]
        with site.client("/websocket?Id=1") as client:
            assert TICK.fullmatch(client.message())
        assert finish(process) == (0, "", "")


# What all pages have


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_from_elsewhere_and_has_no_script_in_it(site, path):
    with urllib.request.urlopen(site.url(path), timeout=PATIENCE) as answer:
        text = answer.read().decode()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert answer.headers["Content-Type"] == "text/html;charset=utf-8"
    assert not re.search(r"https?://|<script>|\sstyle=|\son\w+=", text)
    for address in re.findall(r'(?:src|href)="(/[^"]*)"', text):
        assert get(site.url(address))[0] == 200, address


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_source_of_each_demo_is_plain_text(site, name):
    with urllib.request.urlopen(site.url(f"/source/{name}"), timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"] == "text/plain;charset=utf-8"
        assert answer.read() == FILES[name].read_bytes()


@pytest.mark.parametrize("name", [
    "", "cli", "clock.py", "../cli", "..%2Fcli", "%2Fetc%2Fpasswd", "clock/x", "__pycache__",
    "%00", "%ff", "clock?name=cli"])
def test_no_other_file_is_shown(site, name):
    status, body = get(site.url(f"/source/{name}"))
    assert status in (400, 404) and b"Traceback" not in body


def test_the_demos_are_those_of_the_site():
    assert {clock.__name__, echo.__name__, monitor.__name__} <= {
        f"pushserver.demo.{name}" for name in FILES}
