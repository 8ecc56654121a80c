"""A forked child has nothing of its parent's client, and the parent's connection stays alive."""
from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import warnings

import pytest

from pushclient import ConnectionClosed, PushClient, WebSocketClient
from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import OPCODE_TEXT, frame

from tests.support import centrifuge_site
from tests.support.programs import finish, program
from tests.support.scripted_server import Server, drain
from tests.support.site import entered, running_site
from tests.support.waiting import PATIENCE, wait_until

WHY = "this process was forked: make a new client here"
LIMIT = 5
"""Seconds after which a child counts as hanging."""


def fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: there are threads
        return os.fork()


def limit():
    """End this process, a child, if it hangs."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT)


def in_child(function):
    """Return what a function returns in a forked child, or its error in words."""
    ours, theirs = os.pipe()
    pid = fork()
    if not pid:
        limit()
        try:
            told = function()
        except BaseException as error:
            told = error_in_words(error)
        os.write(theirs, json.dumps(told).encode())
        os._exit(0)
    os.close(theirs)
    ready, _, _ = select.select([ours], [], [], LIMIT + PATIENCE)
    data = os.read(ours, 1 << 16) if ready else b""
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    assert data, f"the child was ended by signal {status & 127}"
    return json.loads(data)


def error_in_words(error):
    return f"{type(error).__name__}: {error}"


def raised(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except BaseException as error:
        return error_in_words(error)


class Echo:
    """A script that sends everything back, and notes what comes."""

    def __init__(self):
        self.got = []

    def __call__(self, peer):
        peer.answer()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                self.got.append(tuple(message))
                peer.sock.sendall(b"\x88\x00")
                return
            self.got.append(bytes(message.data).decode())
            peer.sock.sendall(frame(OPCODE_TEXT, message.data))


@pytest.fixture(params=["plain", "tls"])
def server(request, server_certificate):
    context = None
    if request.param == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*server_certificate)
    with Server(Echo(), tls=context) as server:
        server.echo = server._scripts[0]
        yield server
        assert not server.errors


@pytest.fixture
def client(server, client_tls):
    with PushClient(server.url, proxy=None, timeout=PATIENCE, ssl_context=client_tls) as client:
        client.send("before")
        assert client.receive(PATIENCE) == "before"
        yield client
        client.send("after")
        assert client.receive(PATIENCE) == "after"
        assert client.error is None
    assert server.echo.got == ["before", "after", (1000, "")]
    assert server.accepted == 1


def test_leaving_the_block_in_a_child_says_nothing(client):
    assert in_child(lambda: client.__exit__(None, None, None)) is None
    assert in_child(client.close) is None
    assert in_child(lambda: client.close(4000, "child")) is None


def test_methods_in_a_child_say_why_they_do_nothing(client):
    def use():
        return [raised(client.send, "child"), raised(client.receive), raised(client.receive, 0.1),
                raised(next, client), raised(list, client), raised(client.start)]
    words = f"ConnectionClosed: {WHY}"
    assert in_child(use) == [f"ConnectionClosed: nothing was sent: {WHY}", *[words] * 5]


def test_the_client_of_a_child_is_closed_with_the_reason(client):
    def look():
        return [client.state, error_in_words(client.error), client.subprotocol, repr(client)]
    state, error, subprotocol, text = in_child(look)
    assert (state, error, subprotocol) == ("closed", f"ConnectionClosed: {WHY}", None)
    assert "closed, 0 queued" in text


def test_a_child_ends_after_the_block_and_the_parent_goes_on(client):
    pid = fork()
    if not pid:
        limit()
        try:
            with client:
                os._exit(3)  # it cannot be entered again
        except ConnectionClosed:
            client.__exit__(None, None, None)
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4


def test_a_child_has_no_copy_of_the_sockets(client):
    def sockets():
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                pass
        return found
    ours = os.readlink(f"/proc/self/fd/{client._reconnector.link.connection.sock.fileno()}")
    waker = client._reconnector._waker
    wakers = [os.readlink(f"/proc/self/fd/{sock.fileno()}")
              for sock in (waker._receiver, waker._sender)]
    theirs = in_child(sockets)
    assert not {ours, *wakers} & set(theirs)
    assert {ours, *wakers} <= set(sockets())


@pytest.mark.parametrize("method", ["fork", "spawned from a fork"])
def test_multiprocessing(client, method):
    if method == "fork":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process = multiprocessing.get_context("fork").Process(target=client.__exit__,
                                                                  args=(None, None, None))
            process.start()
            process.join(PATIENCE)
            assert process.exitcode == 0
            process.close()
    else:
        assert in_child(lambda: subprocess.run([sys.executable, "-c", ""]).returncode) == 0


def test_other_threads_hold_locks_while_the_process_forks(server, client_tls):
    over = threading.Event()

    def send():
        while not over.is_set():
            sending.send("x" * 1000)

    def use():
        return [raised(sending.send, "child"), raised(next, sending), sending.close()]
    with PushClient(server.url, proxy=None, timeout=PATIENCE, on_message=lambda message: None,
                    ssl_context=client_tls) as sending:
        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(15):
                said, _, closed = in_child(use)
                assert said == f"ConnectionClosed: nothing was sent: {WHY}" and closed is None
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert sending.state == "open" and sending.error is None
    assert server.accepted == 1 and set(server.echo.got[:-1]) == {"x" * 1000}


def test_a_child_in_the_middle_of_an_iteration(server, client_tls):
    with PushClient(server.url, proxy=None, timeout=PATIENCE, ssl_context=client_tls) as client:
        for number in range(10):
            client.send(str(number))
        wait_until(lambda: len(client._inbox) == 10)
        seen, pids = [], []
        for message in client:
            if message == "4":
                pids.append(fork())
                if not pids[-1]:
                    limit()
                    try:
                        os._exit(len(list(client)))
                    except ConnectionClosed as error:
                        os._exit(77 if str(error) == WHY and client.error is error else 78)
            seen.append(message)
            if len(seen) == 10:
                break
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 77
    assert seen == [str(number) for number in range(10)]


def test_a_signal_handler_forks_while_the_program_waits(client):
    pids = []

    def handle(*_):
        pids.append(fork())
        if not pids[-1]:
            limit()
    before = signal.signal(signal.SIGUSR1, handle)
    threading.Timer(0.05, signal.pthread_kill,
                    (threading.get_ident(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(TimeoutError):
            client.receive(0.3)
    except ConnectionClosed as error:
        os._exit(77 if str(error) == WHY else 78)
    signal.signal(signal.SIGUSR1, before)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 77


def test_a_callback_forks_and_returns_in_the_child(server, client_tls):
    pids, seen = [], []

    def message(text):
        seen.append(text)
        if text == "fork":
            pids.append(fork())
            if not pids[-1]:
                limit()
    with PushClient(server.url, proxy=None, timeout=PATIENCE, on_message=message,
                    ssl_context=client_tls) as client:
        for text in ("fork", "one", "two"):
            client.send(text)
        wait_until(lambda: len(seen) == 3)
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0, "its thread has ended"
        client.send("three")
        wait_until(lambda: len(seen) == 4)
    assert seen == ["fork", "one", "two", "three"]
    assert server.echo.got == [*seen, (1000, "")]


@pytest.mark.parametrize("step", ["the TLS handshake", "the server's answer", "waiting"])
def test_a_client_that_connects_is_closed_in_a_child(step, client_tls):
    def script(peer):
        if step == "waiting":
            peer.sock.close()
        else:
            peer.sock.recv(1 << 16)
            came.set()
            peer.sock.recv(1)

    def use():
        return [raised(client.send, "x"), raised(next, client), client.close(), client.state]
    came = threading.Event()
    scheme = "wss" if step == "the TLS handshake" else "ws"
    with Server(script) as server:
        with PushClient(f"{scheme}://127.0.0.1:{server.port}/", proxy=None, timeout=PATIENCE,
                        ssl_context=client_tls) as client:
            wait_until(lambda: came.is_set() or client.state == "waiting")
            assert in_child(use) == [f"ConnectionClosed: nothing was sent: {WHY}",
                                     f"ConnectionClosed: {WHY}", None, "closed"]
            assert len(connected_to(server.port)) == (step != "waiting")
            assert in_child(lambda: connected_to(server.port)) == []
            assert client.state != "closed"


def connected_to(port):
    """Return the descriptors of connections to a port."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=int(name))
        except OSError:  # it is not a socket
            continue
        try:
            if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                found.append(name)
        except OSError:  # it is not connected
            pass
        finally:
            sock.detach()
    return found


def test_a_client_made_before_the_fork_may_start_in_the_child(server, client_tls):
    client = PushClient(server.url, proxy=None, timeout=PATIENCE, ssl_context=client_tls)

    def use():
        with client:
            client.send("child")
            return client.receive(LIMIT)
    assert in_child(use) == "child"
    assert use() == "child"
    assert server.echo.got == ["child", (1000, "")] * 2


def test_a_child_makes_a_client_of_its_own(client, client_tls):
    def use():
        with PushClient(own.url, proxy=None, timeout=LIMIT, ssl_context=client_tls) as mine:
            mine.send("child")
            return mine.receive(LIMIT)
    with Server(Echo()) as own:
        assert in_child(use) == "child"


def test_a_client_that_is_closed_stays_as_it_was(server, client_tls):
    with PushClient(server.url, proxy=None, timeout=PATIENCE, ssl_context=client_tls) as client:
        wait_until(lambda: client.state == "open")
    assert in_child(lambda: [client.state, client.error, list(client)]) == ["closed", None, []]
    assert in_child(lambda: raised(client.start)).endswith("make another one")


@contextlib.contextmanager
def channels(**options):
    """Yield a site and a client in one of its channels."""
    with running_site(centrifuge_site.root(), plugin={"channels": centrifuge_site.RULES}) as site:
        with PushClient(site.url("/connection/websocket"), Id="42", proxy=None, timeout=PATIENCE,
                        channels=["news:a"], **options) as client:
            entered(site, "news:a")
            yield site, client


def test_calls_in_a_child_say_why_they_do_nothing():
    def use():
        return [raised(client.publish, "news:a", 1), raised(client.rpc, "add", [1]),
                raised(client.presence, "news:a"), raised(client.history, "news:a"),
                raised(client.subscribe, "news:b"), raised(client.unsubscribe, "news:a"),
                raised(client.position, "news:a"), raised(client.send, 1), client.close()]
    with channels() as (site, client):
        words = f"ConnectionClosed: {WHY}"
        assert in_child(use) == [*[words] * 7, f"ConnectionClosed: nothing was sent: {WHY}", None]
        client.publish("news:a", "still there")
        assert next(client).data == "still there"
        assert client.position("news:a").offset == 1


def test_other_threads_wait_for_answers_while_the_process_forks():
    def call():
        while not over.is_set():
            client.rpc("add", [1, 2])
    over = threading.Event()
    with channels() as (site, client):
        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                assert in_child(lambda: raised(client.rpc, "add", [1])) == \
                    f"ConnectionClosed: {WHY}"
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert client.rpc("add", [1, 2]) == 3


def test_a_single_connection_in_a_child(server, client_tls):
    class Noting(WebSocketClient):
        def received_message(self, message):
            got.append(message.data.decode())

        def closed(self, code, reason=None):
            got.append(code)
    got = []
    single = Noting(server.url, proxy=None, ssl_context=client_tls)
    single.connect()

    def use():
        said = [raised(single.send, "child"), raised(single.ping, "p"), single.close(),
                single.close_connection(), single.terminate(), single.run_forever()]
        return [*said, single.terminated, single.sock, repr(single).split(":")[0], got]
    words = f"ConnectionClosed: nothing was sent: {WHY}"
    assert in_child(use) == [words, words, None, None, None, None, True, None, "<Noting", []]
    single.send("after")
    wait_until(lambda: got == ["after"])
    single.close()
    single.run_forever()
    assert got == ["after", 1005] and server.echo.got == ["after", (1000, "")]


PROGRAM = """
import os, sys
from pushclient import PushClient, ConnectionClosed
with PushClient(sys.argv[1], proxy=None) as client:
    client.send("before")
    assert client.receive(10) == "before"
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        client.send("after")
        assert client.receive(10) == "after"
        print("parent")
    else:
        try:
            client.send("child")
        except ConnectionClosed as error:
            print(error, flush=True)
"""


def test_a_child_that_ends_as_programs_do():
    echo = Echo()
    with Server(echo) as server:
        done = subprocess.run([sys.executable, "-c", PROGRAM, server.url], capture_output=True,
                              text=True, timeout=4 * PATIENCE)
    assert done.stdout.splitlines() == [f"nothing was sent: {WHY}", "parent"], done.stderr
    assert echo.got == ["before", "after", (1000, "")] and server.accepted == 1


def test_a_client_that_the_program_keeps_to_its_end_says_nothing_there():
    source = ("import pushclient\n"
              "kept = pushclient.PushClient('ws://127.0.0.1:1/', max_attempts=1)\n"
              "kept.start(); kept.close()\n")
    with program("-c", source) as process:
        status, _, err = finish(process, None)
    assert (status, err) == (0, "")
