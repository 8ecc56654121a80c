"""Processes that are forked from a site's: they hold no client, push nothing, and harm nobody."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import cherrypy
import pytest

from pushserver import (CentrifugeConnection, ChannelRule, Connection, ConnectionClosed,
                        ForkedProcess, PushServer)
from tests.support.bare_server import Hosting, codes, hosting
from tests.support.centrifuge_client import RawClient
from tests.support.embedding import SERVERS, environment, listens
from tests.support.forking import fork, in_child
from tests.support.loopback import free_port
from tests.support.programs import get
from tests.support.raw_client import Client
from tests.support.site import Echo, running_site
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

PUSHES = {
    "broadcast": lambda push: push.broadcast("x"),
    "send": lambda push: push.send("42", "x"),
    "send to nobody": lambda push: push.send("nobody", "x"),
    "publish": lambda push: push.publish("news", "x"),
    "publish, remembered": lambda push: push.publish("kept", "x", key="once"),
    "disconnect": lambda push: push.disconnect("42"),
    "end_session": lambda push: push.end_session("session"),
    "subscribe_id": lambda push: push.subscribe_id("42", "other"),
    "unsubscribe_id": lambda push: push.unsubscribe_id("42", "news"),
    "history": lambda push: push.history("kept"),
    "remove_history": lambda push: push.remove_history("kept"),
    "ids": lambda push: push.ids(),
    "connections": lambda push: push.connections(),
    "connections of an Id": lambda push: push.connections("42"),
    "channels": lambda push: push.channels(),
    "presence": lambda push: push.presence("news"),
    "presence_stats": lambda push: push.presence_stats("kept"),
    "len": len}

USES = {
    "send": lambda connection: connection.send("x"),
    "send much": lambda connection: connection.send("x" * 100_000),
    "ping": lambda connection: connection.ping("x"),
    "close": lambda connection: connection.close(),
    "close_connection": lambda connection: connection.close_connection(),
    "subscribe": lambda connection: connection.subscribe("other"),
    "unsubscribe": lambda connection: connection.unsubscribe("news")}


def answers(uses, target):
    """Return the errors that say to use the HTTP API, and whatever else comes of it."""
    found = {}
    for name, use in uses.items():
        try:
            found[name] = use(target)
        except ForkedProcess as error:
            found[name] = "ForkedProcess" if "PushAPI" in str(error) else str(error)
        except Exception as error:
            found[name] = repr(error)
    return found


@pytest.fixture
def host():
    with hosting(channels=[ChannelRule("kept", history=10, see_presence="subscribers")]) as host:
        yield host


def still_works(host, *peers):
    """Push to clients and hear from them."""
    host.server.broadcast("still here")
    for peer in peers:
        while (message := peer.next()) != "still here":
            assert message is not None
        peer.connection.sent = []
        peer.connection.received_message = lambda message, peer=peer: peer.connection.sent.append(
            str(message))
        peer.send(1, b"me too")
        wait_until(lambda: peer.connection.sent == ["me too"])


def test_a_push_in_a_child_is_an_error_that_names_the_http_api(host):
    peer = host.join(channels=["news", "kept"])
    host.server.publish("kept", "before")
    assert peer.next() == "before"
    assert in_child(lambda: answers(PUSHES, host.server)) == dict.fromkeys(PUSHES, "ForkedProcess")
    still_works(host, peer)


@pytest.mark.parametrize("handler_cls", [Connection, Echo])
def test_so_is_what_a_child_does_with_a_connection(host, handler_cls):
    peer = host.join(channels=["news"], handler_cls=handler_cls)
    assert in_child(lambda: answers(USES, peer.connection)) == dict.fromkeys(USES, "ForkedProcess")
    host.server.publish("news", "in it")
    assert peer.next() == "in it"


def test_a_child_does_not_wait_for_locks_that_threads_of_its_parent_hold(host):
    peer = host.join(channels=["kept"])
    host.server.publish("kept", "before")
    server, broker = host.server, host.server._broker
    locks = [server._hub._lock, server._lifecycle._lock, server._lock, broker._lock,
             broker._fleeting, broker._channels["kept"].lock, server._housekeeping._lock,
             server._lifecycle.runtime.workers._lock]
    ticker = server.every(3600, lambda: "never")
    with contextlib.ExitStack() as stack:
        for lock in [*locks, ticker._lock]:
            stack.enter_context(lock)
        found = in_child(lambda: (answers(PUSHES, server), answers(USES, peer.connection),
                                  server.stop(), ticker.halt()))
    assert {*found[0].values(), *found[1].values()} == {"ForkedProcess"}
    still_works(host, peer)


def test_what_was_closed_before_says_so_in_a_child_too(host):
    peer = host.join()
    connection = peer.connection
    peer.close()
    peer.rest()
    wait_until(lambda: connection._handle is None)
    with pytest.raises(ConnectionClosed):
        in_child(lambda: connection.send("x"))


def open_files():
    """Return what this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):    # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return found


def inode(sock):
    return os.readlink(f"/proc/self/fd/{sock.fileno()}")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_a_child_holds_neither_sockets_nor_the_selector(host):
    peers = [host.join() for _ in range(3)]
    sockets = {inode(peer.connection.sock) for peer in peers}
    loop = host.server._lifecycle.runtime.loop
    sockets |= {inode(loop._wake_in), inode(loop._wake_out)}
    here = in_child(open_files)
    assert not here & sockets
    assert not any("eventpoll" in link for link in here)
    still_works(host, *peers)


def test_a_child_computes_at_pythons_usual_pace(host):
    interval = sys.getswitchinterval()
    host.server._lifecycle.runtime.loop._switch_interval.shorten()
    assert in_child(sys.getswitchinterval) == interval
    host.server.broadcast("so that the loop has work, and restores it")
    wait_until(lambda: sys.getswitchinterval() == interval)


@pytest.mark.parametrize("end", ["stop", "drain", "close the socket", "stop a ticker", "collect"])
def test_what_a_child_does_harms_no_client(host, end):
    peers = [host.join(str(number)) for number in range(3)]
    ticker = host.server.every(3600, lambda: "never")

    def run():
        import gc
        {"stop": host.server.stop, "drain": host.server.drain, "stop a ticker": ticker.stop,
         "close the socket": lambda: [peer.connection.sock.close() for peer in peers],
         "collect": lambda: (peers.clear(), gc.collect())}[end]()

    in_child(run)
    still_works(host, *peers)


@pytest.mark.parametrize("encrypted", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("how", ["abort", "close", "disconnect", "stop", "peer"])
def test_a_connection_ends_although_another_process_has_a_copy_of_it(
        how, encrypted, server_certificate, client_tls):
    """As with a child that Python does not know of; ``dup`` keeps the socket as that would."""
    with running_site(settings={"close_timeout": 0.2}, tls=server_certificate if encrypted
                      else None) as site:
        client = site.client(tls=client_tls if encrypted else None)
        connection, = wait_until(lambda: site.push.connections())
        copy = os.dup(connection.sock.fileno())
        try:
            site.push.broadcast("x" * 100_000)
            if how == "peer":
                assert client.hang_up() == 1000
            else:
                stopping = threading.Thread(target={
                    "abort": connection.close_connection, "stop": site.push.stop,
                    "close": lambda: connection.close(4000),
                    "disconnect": lambda: site.push.disconnect("42")}[how])
                stopping.start()
                if how != "abort":
                    assert client.message() == "x" * 100_000
                    assert client.close_code() in (1001, 4000, 3505)
                stopping.join()
            assert client.at_end()
        finally:
            os.close(copy)


def test_sockets_that_the_server_has_taken_over_are_not_inherited_by_programs(
        server_certificate, client_tls):
    for tls in (None, server_certificate):
        with running_site(tls=tls) as site, site.client(tls=tls and client_tls):
            connection, = wait_until(lambda: site.push.connections())
            assert not os.get_inheritable(connection.sock.fileno())
            loop = site.push._lifecycle.runtime.loop
            assert not os.get_inheritable(loop._wake_out.fileno())


def serve_one(server):
    """Start a server in this process, connect a client and push to it; return what it got."""
    server.start()
    ticker = server.every(0.05, lambda: "tick")
    clients = Hosting(server)
    try:
        peer = clients.join("child's")
        server.broadcast("from the child")
        found = [peer.next()]
        while not {"tick", "from the child"} <= set(found):
            found.append(peer.next())
        ids = server.ids()
        ticker.stop()
    finally:
        clients.close()
    return found, ids, len(server), repr(server)


def test_a_child_may_start_a_server_of_its_own(host):
    peer = host.join()
    host.server.every(3600, lambda: "never")
    found, ids, left, text = in_child(lambda: serve_one(host.server))
    assert "from the child" in found and ids == ["child's"]
    assert (left, text) == (0, "<PushServer stopped, 0 connections>")
    assert in_child(lambda: repr(host.server)) == "<PushServer of another process>"
    still_works(host, peer)


def test_children_of_a_process_that_never_started_it_start_it_each():
    server = PushServer()
    for _ in range(2):
        found, ids, left, _ = in_child(lambda: serve_one(server))
        assert "from the child" in found and ids == ["child's"] and left == 0


def test_a_child_of_a_stopped_server_is_as_its_parent(host):
    host.server.stop()
    assert in_child(lambda: (host.server.send("42", "x"), host.server.ids())) == (0, [])
    found, _, _, _ = in_child(lambda: serve_one(host.server))
    assert "from the child" in found


def test_a_childs_child_knows_it_too(host):
    peer = host.join()
    found = in_child(lambda: in_child(lambda: answers(PUSHES, host.server)))
    assert found == dict.fromkeys(PUSHES, "ForkedProcess")
    still_works(host, peer)


def test_a_callback_that_forks_ends_in_the_child_and_goes_on_in_the_parent(host):
    reader, writer = os.pipe()

    class Forking(Connection):
        def received_message(self, message):
            child = fork()
            if not child:
                try:
                    self.send("from the child")
                except ForkedProcess:
                    os.write(writer, b"refused")
                return
            os.waitpid(child, 0)
            self.send("from the parent")

        def closed(self, code, reason=None):
            os.write(writer, b" closed")

    with os.fdopen(reader, "rb") as pipe:
        peer = host.join(handler_cls=Forking)
        peer.send(1, b"fork")
        assert peer.next() == "from the parent"
        peer.close()
        assert codes(peer.rest()) == [1000]
        wait_until(lambda: not host.server.ids())
        host.server.stop()
        os.close(writer)
        assert pipe.read() == b"refused closed"


def test_a_child_of_a_site_with_all_kinds_of_connections(server_certificate, client_tls):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def connection(self, Id):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Echo)
        def echo(self, Id):
            """Accept everybody."""

    with running_site(Site(), tls=server_certificate) as site, \
            site.client("/echo?Id=1", tls=client_tls) as plain, \
            RawClient(site, "/connection?Id=2", tls=client_tls) as rich:
        rich.connect()
        rich_one, = wait_until(lambda: site.push.connections("2"))
        assert isinstance(rich_one, CentrifugeConnection)
        uses = {name: USES[name] for name in ("send", "close", "subscribe", "unsubscribe")}
        found = in_child(lambda: answers(uses, rich_one))
        assert found == dict.fromkeys(uses, "ForkedProcess")
        plain.text("hello")
        assert plain.message() == "hello"
        site.push.send("2", "hello")
        assert rich.next()["push"]["message"]["data"] == "hello"
        assert plain.hang_up() == 1000
        assert plain.at_end()


# Real programs

PROGRAM = r'''
import multiprocessing, os, sys, threading
import cherrypy
from cherrypy.process.plugins import Daemonizer
from pushserver import Connection, ForkedProcess, PushPlugin, PushTool

how, port = sys.argv[1], int(sys.argv[2])
asked, worked = threading.Event(), threading.Event()
push = PushPlugin(cherrypy.engine)
push.subscribe()
cherrypy.tools.push = PushTool(push)


class Echo(Connection):
    def received_message(self, message):
        self.send(str(message))


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def job(*_):
    try:
        say("pushed", push.send("42", "x"))
    except ForkedProcess as error:
        say("refused", "PushAPI" in str(error))


class Site:
    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def websocket(self, Id):
        pass

    @cherrypy.expose
    def pid(self):
        return str(os.getpid())

    @cherrypy.expose
    def work(self):
        if how in ("fork", "spawn", "forkserver"):
            process = multiprocessing.get_context(how).Process(target=job)
            process.start()
            process.join()
        elif how == "pool":
            pool = multiprocessing.get_context("fork").Pool(2)
            pool.map(job, range(2))
            pool.close()
            pool.join()
        else:
            asked.set()
            worked.wait(10)
        return "worked"


def in_main():
    """Fork on the main thread, when a page has asked for it; the child ends as ``how`` says."""
    if asked.is_set():
        asked.clear()
        child = os.fork()
        if not child:
            job()
            if how == "os.fork, engine.exit":
                cherrypy.engine.exit()
                say("engine", cherrypy.engine.state)
            if how == "os.fork, sys.exit":
                sys.exit(0)
            os._exit(0)
        say("child ended with", os.waitpid(child, 0)[1])
        worked.set()


def main():
    cherrypy.config.update({"server.socket_port": port, "engine.autoreload.on": False,
                            "server.shutdown_timeout": 1, "log.screen": False,
                            "server.instance": os.environ.get("SITE_SERVER"),
                            "checker.on": False})
    if how == "daemon":
        Daemonizer(cherrypy.engine).subscribe()
    cherrypy.tree.mount(Site())
    cherrypy.engine.signals.subscribe()
    cherrypy.engine.subscribe("start", lambda: say("ready", os.getpid()), 90)
    cherrypy.engine.subscribe("main", in_main)
    if how == "prefork":
        workers = []
        for number in range(2):
            worker = os.fork()
            if not worker:
                cherrypy.config.update({"server.socket_port": int(sys.argv[2 + number])})
                break
            workers.append(worker)
        else:
            for worker in workers:
                os.waitpid(worker, 0)
            return
    cherrypy.engine.start()
    cherrypy.engine.block()


if __name__ == "__main__":
    main()
'''


@contextlib.contextmanager
def program(folder, how, *ports, server=None):
    script = folder / "forking_site.py"
    script.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(script), how, *map(str, ports)], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment(server))
    try:
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def echoes(port, path="/websocket?Id=42"):
    """Return a client that has had an answer."""
    client = Client(("127.0.0.1", port))
    client.handshake(path)
    client.text("hello")
    assert client.message() == "hello"
    return client


def stop(pid):
    """End a program that is no child of this one, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


REFUSED = ["refused True"]
WARNED = ["this process has not started the push server", "pushed 0"]


@pytest.mark.parametrize("server", SERVERS, ids=["cheroot", "front"])
@pytest.mark.parametrize("how, said", [
    ("fork", REFUSED), ("pool", REFUSED), ("spawn", WARNED), ("forkserver", WARNED),
    ("os.fork, _exit", REFUSED), ("os.fork, sys.exit", REFUSED),
    ("os.fork, engine.exit", [*REFUSED, "engine states.EXITING"])])
def test_a_sites_workers_push_nothing_and_harm_nobody(how, said, tmp_path, server):
    port = free_port()
    with program(tmp_path, how, port, server=server) as process:
        assert process.stdout.readline().startswith("ready")
        with echoes(port) as client:
            assert get(f"http://127.0.0.1:{port}/work") == (200, b"worked")
            client.text("still here")
            assert client.message() == "still here"
            assert client.hang_up() == 1000
            assert client.at_end()
        process.terminate()
        rest = process.stdout.read()
        assert process.wait(PATIENCE) == 0
    for line in said:
        assert line in rest
    assert "Traceback" not in rest
    if how.startswith("os.fork"):
        assert "child ended with 0" in rest


@pytest.mark.parametrize("server", SERVERS, ids=["cheroot", "front"])
def test_a_daemon_serves_after_it_has_forked(tmp_path, server):
    port = free_port()
    with program(tmp_path, "daemon", port, server=server) as process:
        wait_until(lambda: process.poll() is not None)
        wait_until(lambda: listens(port))
        with echoes(port) as client:
            pid = int(get(f"http://127.0.0.1:{port}/pid")[1])
            stop(pid)
            assert client.close_code() == 1001


def test_workers_that_were_forked_before_the_start_serve_each_their_own_clients(tmp_path):
    ports = [free_port(), free_port()]
    with program(tmp_path, "prefork", *ports) as process:
        pids = [int(process.stdout.readline().split()[1]) for _ in ports]
        try:
            for port in ports:
                with echoes(port) as client:
                    assert client.hang_up() == 1000
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
