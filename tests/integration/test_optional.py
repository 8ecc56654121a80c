"""One address that is a page and a WebSocket: ``cherrypy.tools.push(optional=True)``."""
import http.client

import cherrypy
import pytest

from tests.support.raw_client import Refused
from tests.support.site import Echo, running_site


class Root:
    """An address of both kinds, and one that is a WebSocket only."""

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo, optional=True)
    def both(self, Id="", word=""):
        cherrypy.request.push_data["word"] = word
        if word == "forbidden":
            raise cherrypy.HTTPError(403, "not that word")
        return f"{cherrypy.request.method} {Id or 'nobody'}"

    @cherrypy.expose
    @cherrypy.tools.push()
    def socket(self, Id):
        """Accept everybody."""


@pytest.fixture(scope="module")
def site():
    with running_site(Root()) as site:
        yield site


def ask(site, path, method="GET", headers=None, body=None):
    """Return the whole answer to an ordinary request, and its body."""
    connection = http.client.HTTPConnection(*site.address, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_a_browser_gets_the_page(site):
    answer, body = ask(site, "/both")
    assert (answer.status, body) == (200, b"GET nobody")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Upgrade" not in answer.headers


def test_a_websocket_client_gets_a_websocket(site):
    with site.client("/both?Id=42") as client:
        client.text("hello")
        assert client.message() == "hello"
        assert [connection.Id for connection in site.push.connections()] == ["42"]
        assert client.hang_up() == 1000


def test_what_the_handler_returns_is_no_part_of_a_handshake(site):
    with site.socket() as client:
        headers = client.handshake("/both?Id=42")
        assert headers["Upgrade"] == "websocket" and "Content-Length" not in headers
        client.text("first")
        assert client.message() == "first"


@pytest.mark.parametrize("method, expected", [
    ("GET", b"GET 7"), ("POST", b"POST 7"), ("PUT", b"PUT 7"), ("HEAD", b"")])
def test_every_method_is_the_pages(site, method, expected):
    answer, body = ask(site, "/both?Id=7", method)
    assert (answer.status, body) == (200, expected)


def test_a_form_can_be_sent_to_the_page(site):
    answer, body = ask(site, "/both", "POST", body="Id=form",
                       headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, body) == (200, b"POST form")


@pytest.mark.parametrize("headers", [
    {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}, {"Upgrade": ""},
    {"Origin": "http://elsewhere.example"}, {"Connection": "keep-alive"}], ids=str)
def test_what_asks_for_no_websocket_is_an_ordinary_request(site, headers):
    answer, body = ask(site, "/both", headers=headers)
    assert (answer.status, body) == (200, b"GET nobody")


def test_an_ordinary_connection_is_kept_alive(site):
    connection = http.client.HTTPConnection(*site.address, timeout=10)
    try:
        for _ in range(3):
            connection.request("GET", "/both")
            assert connection.getresponse().read() == b"GET nobody"
            port = connection.sock.getsockname()[1]
        assert connection.sock.getsockname()[1] == port
    finally:
        connection.close()


@pytest.mark.parametrize("options, status", [
    ({"headers": {"Sec-WebSocket-Key": "bad"}}, 400),
    ({"headers": {"Sec-WebSocket-Key": None}}, 400),
    ({"headers": {"Connection": "close"}}, 400),
    ({"headers": {"Sec-WebSocket-Version": "8"}}, 426),
    ({"headers": {"Upgrade": None}}, 426),
    ({"headers": {"Origin": "http://elsewhere.example"}}, 403),
    ({"method": "POST"}, 405),
    ({"version": "HTTP/1.0"}, 426),
    ({"path": "/both"}, 400),
    ({"path": "/both?Id=42&word=forbidden"}, 403)], ids=str)
def test_a_handshake_that_is_not_good_is_refused_as_everywhere(site, options, status):
    with site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake(options.pop("path", "/both?Id=42"), **options)
        assert refused.value.status == status
        assert refused.value.headers["Content-Type"] == "text/plain;charset=utf-8"
        assert refused.value.body.count(b"\n") == 1


def test_an_error_of_the_page_is_told_as_the_sites_own(site):
    answer, body = ask(site, "/both?word=forbidden")
    assert answer.status == 403
    assert answer.headers["Content-Type"].startswith("text/html")


def test_without_the_option_the_page_is_answered_426(site):
    answer, body = ask(site, "/socket?Id=42")
    assert answer.status == 426 and answer.headers["Upgrade"] == "websocket"


def test_the_option_can_be_set_in_the_configuration(site):
    with running_site(Root(), config={"/socket": {"tools.push.optional": True}}) as other:
        answer, _ = ask(other, "/socket?Id=42")
        assert answer.status == 200
