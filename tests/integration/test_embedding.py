"""Where a site can put its push addresses, and what it can have around them."""
from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlencode

import cherrypy
import pytest
from cherrypy._cptree import Tree
from cherrypy.lib import cpstats
from cherrypy.process.wspbus import Bus

import pushserver
from pushserver import Connection, PushPlugin, PushTool
from tests.support import (PATIENCE, Client, Echo, Refused, Root, free_port, masked_frame,
                           recorder, running_site, served, wait_until)

README = Path(__file__).parents[2] / "README.md"

PACKAGES = str(Path(pushserver.__file__).parents[1])


def echoes(site, path, **options):
    """Tell whether an address echoes."""
    with site.client(path, **options) as client:
        client.text("hello")
        return client.message() == "hello" and client.hang_up() == 1000


# Anywhere in the site


@pytest.mark.parametrize("script_name", ["", "/live", "/a/b/c"])
def test_a_site_may_be_mounted_anywhere(script_name):
    with running_site(script_name=script_name) as site:
        assert echoes(site, f"{script_name}/echo?Id=1")


def test_several_applications_may_share_one_plugin():
    tree = Tree()
    tree.mount(Root(), "")
    tree.mount(Root(), "/shop")
    tree.mount(Root(), "/shop/admin")
    with running_site(tree) as site, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.client(f"{mounted}/websocket?Id={mounted}"))
                   for mounted in ("", "/shop", "/shop/admin") if mounted]
        assert site.push.ids() == ["/shop", "/shop/admin"]
        assert echoes(site, "/echo?Id=1")
        site.push.broadcast("to all")
        assert {client.message() for client in clients} == {"to all"}


def test_several_addresses_of_one_plugin_may_have_handlers_of_their_own():
    one, two = recorder(), recorder()

    class Rooms:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=one, channels=["one"])
        def first(self, Id):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=two, channels=["two"])
        def second(self, Id):
            """Accept everybody."""

    root = Root()
    root.rooms = Rooms()
    with running_site(root) as site, site.client("/rooms/first?Id=1") as first, \
            site.client("/rooms/second?Id=1") as second:
        site.push.publish("one", "to one")
        site.push.publish("two", "to two")
        assert site.push.send("1", "to both") == 2
        assert [first.message(), first.message()] == ["to one", "to both"]
        assert [second.message(), second.message()] == ["to two", "to both"]
        wait_until(lambda: one.log and two.log)
        assert [type(connection) for connection in site.push.connections("1")] == [one, two]


def test_two_tools_of_one_plugin_and_two_plugins_of_one_engine_live_side_by_side():
    bus = Bus()
    plugins = [PushPlugin(bus), PushPlugin(bus)]
    tools = [PushTool(plugins[0]), PushTool(plugins[0]), PushTool(plugins[1])]
    with contextlib.ExitStack() as stack:
        for number, tool in enumerate(tools):
            setattr(cherrypy.tools, f"push{number}", tool)
            stack.callback(delattr, cherrypy.tools, f"push{number}")

        class Site:
            @cherrypy.expose
            @cherrypy.tools.push0()
            def a(self, Id):
                """Accept everybody."""

            @cherrypy.expose
            @cherrypy.tools.push1(handler_cls=Echo)
            def b(self, Id):
                """Accept everybody."""

            @cherrypy.expose
            @cherrypy.tools.push2()
            def c(self, Id):
                """Accept everybody."""

        for plugin in plugins:
            plugin.start()
            stack.callback(plugin.stop)
        server = stack.enter_context(served(Site()))
        clients = []
        for path in "abc":
            client = stack.enter_context(Client(server.socket.getsockname()))
            client.handshake(f"/{path}?Id={path}")
            clients.append(client)
        assert [plugin.ids() for plugin in plugins] == [["a", "b"], ["c"]]
        plugins[1].broadcast("to c")
        plugins[0].broadcast("to a and b")
        assert [client.message() for client in clients] == ["to a and b", "to a and b", "to c"]
        for client in clients:
            client.send(0x88)


def test_the_tool_can_be_switched_on_by_configuration():
    class Site:
        @cherrypy.expose
        def live(self, Id):
            """Accept everybody."""

        @cherrypy.expose
        def index(self):
            return "page"

    config = {"/live": {"tools.push.on": True, "tools.push.handler_cls": Echo,
                        "tools.push.channels": ["news"]}}
    with running_site(Site(), config=config) as site:
        assert echoes(site, "/live?Id=1")
        with site.client("/live?Id=1") as client:
            site.push.publish("news", "by configuration")
            assert client.message() == "by configuration"


def test_the_tool_works_with_other_dispatchers():
    class Live:
        exposed = True

        @cherrypy.tools.push(handler_cls=Echo)
        def GET(self, Id):
            """Accept everybody."""

    root = Root()
    root.live = Live()
    config = {"/live": {"request.dispatch": cherrypy.dispatch.MethodDispatcher()}}
    with running_site(root, config=config) as site:
        assert echoes(site, "/live?Id=1")


def test_a_parameter_of_the_path_reaches_the_page_handler():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def room(self, name, Id, color="none"):
            cherrypy.request.push_data.update(name=name, color=color)

    with running_site(Site()) as site, site.client("/room/blue?Id=1&color=red"):
        connection, = site.push.connections()
        assert connection.data == {"name": "blue", "color": "red"}


def test_pages_and_push_addresses_go_on_side_by_side():
    with running_site(threads=2) as site, contextlib.ExitStack() as stack:
        for number in range(20):  # many more than threads: a connection holds none
            stack.enter_context(site.client(f"/websocket?Id={number}"))
        page = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
        for _ in range(3):
            page.request("GET", "/")
            assert page.getresponse().read() == b"page"
        page.close()
        assert len(site.push) == 20


# With CherryPy's own tools


def test_cpstats_counts_handshakes_as_requests():
    before = cpstats.appstats["Total Requests"]
    with running_site(config={"/": {"tools.cpstats.on": True}}) as site:
        assert echoes(site, "/echo?Id=1")
        with pytest.raises(Refused):
            site.client("/echo")
        wait_until(lambda: cpstats.appstats["Current Requests"] == 0)
    assert cpstats.appstats["Total Requests"] == before + 2


def test_session_auth_lets_in_who_has_logged_in():
    config = {"/": {"tools.sessions.on": True, "tools.session_auth.on": True,
                    "tools.session_auth.check_username_and_password":
                        lambda username, password: None if password == "right" else "wrong"}}
    with running_site(config=config) as site:
        with pytest.raises(Refused) as refused:
            site.client()
        assert refused.value.status == 200 and b"password" in refused.value.body
        assert len(site.push) == 0
        page = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
        page.request("POST", "/do_login", urlencode({
            "username": "ada", "password": "right", "from_page": "/"}),
            {"Content-Type": "application/x-www-form-urlencoded"})
        answer = page.getresponse()
        cookie = answer.headers["Set-Cookie"].split(";")[0]
        page.close()
        with site.client(headers={"Cookie": cookie}) as client:
            assert site.push.connections()[0].user == "ada"
            assert client.hang_up() == 1000


def test_digest_authentication_refuses_strangers():
    config = {"/": {"tools.auth_digest.on": True, "tools.auth_digest.realm": "push",
                    "tools.auth_digest.key": "a565c27146791cfb",
                    "tools.auth_digest.get_ha1": cherrypy.lib.auth_digest.get_ha1_dict({})}}
    with running_site(config=config) as site:
        with pytest.raises(Refused) as refused:
            site.client()
        assert refused.value.status == 401
        assert refused.value.headers["WWW-Authenticate"].startswith("Digest ")
        assert len(site.push) == 0


# Over other sockets


def test_ten_frames_in_one_tls_record_all_come_back_at_once(server_certificate, client_tls):
    texts = [f"message {number}" for number in range(10)]
    with running_site(tls=server_certificate) as site:
        with site.client("/echo?Id=1", tls=client_tls) as client:
            client.sock.sendall(b"".join(masked_frame(0x81, text.encode()) for text in texts))
            assert [client.message() for _ in texts] == texts
            assert client.hang_up() == 1000
            assert client.at_end()


def test_a_message_larger_than_a_tls_record_goes_both_ways(server_certificate, client_tls):
    with running_site(tls=server_certificate, settings={"max_message_size": 200_000}) as site:
        with site.client("/echo?Id=1", tls=client_tls) as client:
            for size in (16384, 16385, 65536, 200_000):
                client.send(0x82, os.urandom(1) * size)
                assert len(client.message()) == size


def test_frames_behind_the_handshake_in_its_tls_record_are_read(server_certificate, client_tls):
    with running_site(tls=server_certificate) as site:
        with site.socket(tls=client_tls) as client:
            client.handshake("/echo?Id=1", behind=masked_frame(0x81, b"one")
                             + masked_frame(0x82, b"2" * 30_000))
            assert client.message() == "one"
            assert client.message() == b"2" * 30_000


def test_over_tls_the_sites_own_origin_is_https(server_certificate, client_tls):
    with running_site(tls=server_certificate) as site:
        for scheme, let_in in [("https", True), ("wss", True), ("http", False), ("ws", False)]:
            headers = {"Origin": f"{scheme}://127.0.0.1:{site.port}"}
            with contextlib.nullcontext() if let_in else pytest.raises(Refused, match="403"):
                assert echoes(site, "/echo?Id=1", tls=client_tls, headers=headers)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_are_spoken(version, server_certificate, client_tls):
    client_tls.minimum_version = client_tls.maximum_version = version
    with running_site(tls=server_certificate) as site:
        assert echoes(site, "/echo?Id=1", tls=client_tls)


@pytest.mark.parametrize("end", ["close", "reset", "unwrap"])
def test_a_tls_client_that_leaves_is_gone(end, server_certificate, client_tls):
    Handler = recorder()

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Handler)
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site(), tls=server_certificate) as site:
        with site.client(tls=client_tls) as client:
            if end == "unwrap":
                client.sock.setblocking(False)
                with contextlib.suppress(ssl.SSLError):  # whether it is answered is not the point
                    client.sock.unwrap()
            else:
                getattr(client, end)()
            wait_until(lambda: len(Handler.log) == 2)
        assert len(site.push) == 0
    assert Handler.log == [("opened", "42"), ("closed", "42", 1006, "connection lost")]


def test_it_serves_on_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with running_site(host="::1") as site:
        assert echoes(site, "/echo?Id=1", headers={"Origin": f"http://[::1]:{site.port}"})
        with site.client():
            connection, = site.push.connections()
            assert connection.peer_address[0] == "::1"
            assert connection.local_address == ("::1", site.port)


def test_it_serves_on_a_unix_socket(tmp_path):
    with running_site(bind=str(tmp_path / "push.sock")) as site:
        assert echoes(site, "/echo?Id=1", headers={"Origin": "http://localhost"})
        with site.client() as client:
            connection, = site.push.connections()
            assert "Connection" in repr(connection)
            connection.peer_address, connection.local_address
            site.push.broadcast("hello")
            assert client.message() == "hello"


# Behind nginx


def nginx_of_readme(site, port, certificate):
    """Return a whole configuration around what the README says."""
    block = re.search(r"```nginx\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    cert, key = certificate
    for old, new in [
            ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;\nssl_certificate {cert};\n"
                                f"ssl_certificate_key {key};"),
            ("proxy_pass http://127.0.0.1:8080;", f"proxy_pass http://127.0.0.1:{site.port};"),
            ("proxy_read_timeout 60s;", "proxy_read_timeout 1s;")]:
        assert old in block
        block = block.replace(old, new)
    temporary = "\n".join(f"{kind}_temp_path {kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    return (f"daemon off;\n{user}\npid nginx.pid;\nworker_processes 1;\n"
            f"events {{ worker_connections 64; }}\n"
            f"http {{\naccess_log off;\n{temporary}\n{block}\n}}\n")


@contextlib.contextmanager
def nginx(site, folder, certificate):
    """Run nginx in front of a site; return the port."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        assert not os.environ.get("CI"), "nginx is not installed, and CI has to run this"
        pytest.skip("nginx is not installed")
    port = free_port()
    (folder / "nginx.conf").write_text(nginx_of_readme(site, port, certificate))
    with (folder / "nginx.log").open("w") as log:
        process = subprocess.Popen([program, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"],
                                   stderr=log, stdout=log)
        try:
            wait_until(lambda: process.poll() is not None or listens(port), what="nginx listens")
            assert process.poll() is None, (folder / "nginx.log").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_it_works_behind_nginx_as_the_readme_sets_it_up(tmp_path, server_certificate, client_tls):
    with running_site(config={"/": {"tools.proxy.on": True}},
                      settings={"ping_interval": 0.2}) as site, \
            nginx(site, tmp_path, server_certificate) as port:
        outer = f"https://127.0.0.1:{port}"

        def connect(path="/websocket?Id=42", **headers):
            client = Client(("127.0.0.1", port), tls=client_tls)
            try:
                client.handshake(path, headers=headers)
            except BaseException:
                client.close()
                raise
            return client

        with connect("/echo?Id=1", Origin=outer) as client:
            for text in ("hello", "a" * 60_000):
                client.text(text)
                assert client.message() == text
            assert client.hang_up() == 1000
        with pytest.raises(Refused) as refused:
            connect(Origin=f"http://127.0.0.1:{site.port}")
        assert refused.value.status == 403 and b"allowed_origins" in refused.value.body
        with pytest.raises(Refused) as refused:
            connect("/websocket")
        assert refused.value.status == 400 and b"Id is missing" in refused.value.body
        with connect(Origin=outer) as client:
            assert site.push.connections("42")[0].peer_address[0] == "127.0.0.1"
            for _ in range(8):  # pings keep it open for longer than nginx waits for traffic
                assert client.frame() == (0x89, b"")
                client.send(0x8A)
            site.push.broadcast("still there")
            assert client.message() == "still there"
            stopping = threading.Thread(target=site.push.stop)
            stopping.start()
            while True:
                first, payload = client.frame()
                if first == 0x88:
                    break
            assert payload[:2] == b"\x03\xe9"
            client.send(0x88, payload)
            stopping.join()
            assert client.at_end()


# The life of the engine


SITE = r'''
import os, sys, threading
import cherrypy
from pushserver import Connection, PushPlugin, PushTool

push = PushPlugin(cherrypy.engine, drain_timeout=2)
push.subscribe()
cherrypy.tools.push = PushTool(push)


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # whole, whoever else speaks


class Echo(Connection):
    def received_message(self, message):
        self.send(str(message))

    def closed(self, code, reason=None):
        say("closed", self.Id, code)


class Site:
    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def websocket(self, Id):
        pass


def obey():
    for line in sys.stdin:
        getattr(cherrypy.engine, line.strip())()
        say("done", line.strip())


cherrypy.config.update({"server.socket_port": int(sys.argv[1]), "environment": "production",
                        "server.shutdown_timeout": 1, "log.screen": False})
cherrypy.engine.subscribe("start", lambda: say("ready", os.getpid()), 90)
threading.Thread(target=obey, daemon=True).start()
cherrypy.quickstart(Site())
'''


class EmbeddingSite:
    """A site in a process of its own, which obeys what it is told on its standard input."""

    def __init__(self, folder):
        self.port = free_port()
        script = folder / "site_with_push.py"
        script.write_text(SITE)
        self.errors = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(self.port)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd=folder,
            env={**os.environ, "PYTHONPATH": PACKAGES})

    def close(self):
        """End it whatever it does, and forget it."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def line(self):
        """Return the next line that the site prints; the test's own timeout ends the wait."""
        line = self.process.stdout.readline().strip()
        assert line, "the site ended: " + self.stderr()
        return line

    def ready(self):
        assert self.line() == f"ready {self.process.pid}"
        assert listens(self.port)

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def client(self, Id="42"):
        client = Client(("127.0.0.1", self.port))
        client.handshake(f"/websocket?Id={Id}")
        client.text("hello")
        assert client.message() == "hello"
        return client

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture
def embedding(tmp_path):
    site = EmbeddingSite(tmp_path)
    try:
        site.ready()
        yield site
    finally:
        site.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_gives_every_client_1001_and_ends_the_process(embedding, number):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(embedding.client(str(number))) for number in range(20)]
        embedding.process.send_signal(number)
        for client in clients:
            assert client.close_code() == 1001
        for client in clients[:-1]:
            client.send(0x88, b"\x03\xe9")
        clients[-1].reset()
        for client in clients[:-1]:
            assert client.at_end()
        assert embedding.process.wait(PATIENCE) == 0
    closed = [line.split()[1] for line in embedding.process.stdout if line.startswith("closed ")]
    assert sorted(closed) == sorted(str(number) for number in range(20))
    assert embedding.stderr() == ""


def test_a_signal_ends_the_process_though_no_client_says_goodbye(embedding):
    with embedding.client() as client:
        embedding.process.send_signal(signal.SIGTERM)
        assert embedding.process.wait(PATIENCE) == 0
        assert client.close_code() == 1001
        assert client.at_end()
    assert embedding.stderr() == ""


def test_the_engine_stops_and_starts_again_in_one_process(embedding):
    found = []
    for _ in range(4):
        with embedding.client() as client:
            embedding.tell("stop")
            assert client.close_code() == 1001
            client.send(0x88, b"\x03\xe9")
            assert embedding.line() == "closed 42 1001"
            assert embedding.line() == "done stop"
        assert not listens(embedding.port)
        found.append(embedding.descriptors())
        embedding.tell("start")
        embedding.ready()
        assert embedding.line() == "done start"
    assert len(set(found[1:])) == 1, f"descriptors: {found}"
    assert embedding.stderr() == ""


def test_a_graceful_reload_keeps_the_connections(embedding):
    with embedding.client() as client:
        for number in range(3):
            embedding.tell("graceful")
            assert embedding.line() == "done graceful"
            client.text(str(number))
            assert client.message() == str(number)
        assert client.hang_up() == 1000


def test_a_restart_gives_every_client_1001_and_leaves_nothing_behind(embedding):
    """CherryPy's autoreloader does this too: it replaces the program within the process."""
    found = []
    for _ in range(2):
        with embedding.client() as client:
            found.append(embedding.descriptors())
            embedding.tell("restart")
            assert client.close_code() == 1001
            client.send(0x88, b"\x03\xe9")
            assert client.at_end()
        lines = [embedding.line()]
        while lines[-1] != f"ready {embedding.process.pid}":
            lines.append(embedding.line())
        assert lines[0] == "closed 42 1001"
    with embedding.client():
        found.append(embedding.descriptors())
    assert len(set(found)) == 1, f"descriptors: {found}"
    assert embedding.stderr() == ""


def test_a_plugin_starts_and_stops_any_number_of_times():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=type("Kept", (Connection,), {}))
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site:
        for number in range(10):
            with site.client() as client:
                site.push.send("42", str(number))
                assert client.message() == str(number)
                stopping = threading.Thread(target=site.push.stop)
                stopping.start()
                assert client.close_code() == 1001
                client.send(0x88, b"\x03\xe9")
                stopping.join()
            assert len(site.push) == 0
            site.push.stop()
            site.push.start()
            site.push.start()


def test_starts_and_stops_from_several_threads_leave_it_running():
    with running_site() as site:
        def cycle():
            for _ in range(5):
                site.push.stop()
                site.push.start()

        threads = [threading.Thread(target=cycle) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert echoes(site, "/echo?Id=1")
