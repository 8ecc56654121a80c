"""What a site can serve on: TLS, IPv6, a Unix socket, behind nginx."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import threading
from pathlib import Path

import cherrypy
import pytest

from tests.support.embedding import echoes, listens
from tests.support.installed import missing
from tests.support.loopback import free_port
from tests.support.programs import start
from tests.support.raw_client import Client, masked_frame, Refused
from tests.support.site import recorder, running_site
from tests.support.waiting import PATIENCE, wait_until

README = Path(__file__).parents[3] / "README.md"


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
        missing("nginx", "apt-get install nginx-light")
    port = free_port()
    (folder / "nginx.conf").write_text(nginx_of_readme(site, port, certificate))
    with (folder / "nginx.log").open("w") as log:
        process = start(program, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr",
                        stderr=log, stdout=log)
        try:
            wait_until(lambda: process.poll() is not None or listens(port), what="nginx listens")
            assert process.poll() is None, (folder / "nginx.log").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)


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
