"""The opening handshake: who is let in, how the others are told why not."""
from __future__ import annotations

import contextlib
import logging
import threading
from urllib.parse import quote
from wsgiref.simple_server import WSGIRequestHandler, make_server

import cherrypy
import pytest

from pushserver import Connection
from pushserver.handshake import accept_key
from tests.support import (Client, Echo, Recorder, Refused, Root, masked_frame, recorder,
                           running_site, wait_until)

CLOSE = b"\x03\xe8"
"""The payload of a close frame with 1000."""


def refusal(site, path="/websocket?Id=42", **options):
    """Return how a handshake was refused, having checked what holds for every refusal."""
    opened = len(site.push)
    with site.socket() as client:
        with pytest.raises(Refused) as caught:
            client.handshake(path, **options)
        refused = caught.value
        check_plain_text(refused)
        assert len(site.push) == opened
        site.push.broadcast("not for those that were refused")
        assert client.at_end() and client.buffer == b""
    return refused


def check_plain_text(refused):
    """Check that an answer is one line that a program can show, and nothing of a 101."""
    text = refused.body.decode("utf-8")
    assert refused.headers["Content-Type"] == "text/plain;charset=utf-8"
    assert text.endswith("\n") and text.count("\n") == 1 and len(text) > 10
    assert "Traceback" not in text and "<" not in text
    assert "Sec-WebSocket-Accept" not in refused.headers
    if refused.status != 426:
        assert refused.headers["Connection"] == "close"
        assert "Upgrade" not in refused.headers


def accepted(site, path="/websocket?Id=42", **options):
    """Shake hands, close, and return the answer's headers."""
    with site.socket() as client:
        headers = client.handshake(path, **options)
        assert client.hang_up() == 1000
        return headers


def hook(point, action, *, path="/", priority=50, **config):
    """Return a configuration with a hook, as a tool of the site would attach it."""
    def run():
        return action()
    run.priority = priority
    return {path: {f"hooks.{point}": run, **config}}


def raising(error):
    """Return a function that raises, once for a request."""
    def fail():
        request = cherrypy.serving.request
        if not getattr(request, "has_failed", False):
            request.has_failed = True
            raise error
    return fail


# What a request has to look like


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "NONSENSE"])
def test_another_method_than_get_is_answered_405_with_what_is_allowed(method):
    with running_site() as site:
        refused = refusal(site, method=method)
        assert refused.status == 405
        assert refused.headers["Allow"] == "GET"
        assert b"GET" in refused.body


def test_head_is_answered_405_without_a_body():
    with running_site() as site, site.socket() as client:
        client.sock.sendall(client.request(method="HEAD", headers={"Connection": "close"}))
        while client._more():
            pass
        assert client.buffer.startswith(b"HTTP/1.1 405 ")
        assert client.buffer.endswith(b"\r\n\r\n")


def test_a_post_with_a_body_is_answered_405():
    with running_site() as site:
        assert refusal(site, method="POST", headers={"Content-Length": "5"},
                       behind=b"a=1&b").status == 405


@pytest.mark.parametrize("headers", [
    {"Upgrade": None}, {"Upgrade": "h2c"}, {"Upgrade": ""}, {"Upgrade": "not-websocket"},
    {"Sec-WebSocket-Version": None}, {"Sec-WebSocket-Version": "8"},
    {"Sec-WebSocket-Version": "14"}, {"Sec-WebSocket-Version": "thirteen"},
], ids=str)
def test_what_is_not_a_websocket_handshake_is_answered_426_with_what_to_upgrade_to(headers):
    with running_site() as site:
        refused = refusal(site, headers=headers)
        assert refused.status == 426
        assert refused.headers["Upgrade"] == "websocket"
        assert refused.headers["Connection"] == "Upgrade"
        assert refused.headers["Sec-WebSocket-Version"] == "13"


def test_http_1_0_is_answered_426():
    with running_site() as site:
        refused = refusal(site, version="HTTP/1.0")
        assert refused.status == 426
        assert b"HTTP/1.1" in refused.body


@pytest.mark.parametrize("headers, says", [
    ({"Connection": None}, b"Connection: Upgrade"),
    ({"Connection": "keep-alive"}, b"Connection: Upgrade"),
    ({"Connection": "not-upgrade-please"}, b"Connection: Upgrade"),
    ({"Sec-WebSocket-Key": None}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": ""}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "AAAA"}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "A" * 2000}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "\xe9" * 24}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA"}, b"Sec-WebSocket-Key"),
    ({"Content-Length": "5"}, b"without a body"),
    ({"Content-Length": "\xb2"}, b""),
], ids=str)
def test_a_malformed_header_is_answered_400_saying_which(headers, says):
    with running_site() as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake(headers=headers, behind=b"hello")
        assert refused.value.status == 400
        assert says in refused.value.body
        assert len(site.push) == 0


def test_a_chunked_body_is_answered_400():
    with running_site() as site:
        refused = refusal(site, headers={"Transfer-Encoding": "chunked"}, behind=b"0\r\n\r\n")
        assert refused.status == 400


@pytest.mark.parametrize("headers", [
    {"Upgrade": "WebSocket"}, {"Upgrade": "h2c, websocket"},
    {"Connection": "keep-alive, Upgrade"}, {"Connection": "UPGRADE"},
    {"Content-Length": "0"}, {"Sec-WebSocket-Extensions": "permessage-deflate; nonsense=;;;"},
], ids=str)
def test_what_other_clients_and_proxies_write_is_understood(headers):
    with running_site() as site:
        assert "Sec-WebSocket-Extensions" not in accepted(site, headers=headers)


def test_the_answer_is_what_rfc_6455_asks_for_and_nothing_of_a_page():
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    with running_site() as site:
        answer = accepted(site, headers={"Sec-WebSocket-Key": key})
        assert answer["Upgrade"] == "websocket"
        assert answer["Connection"] == "Upgrade"
        assert answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" == accept_key(key)
        assert "Sec-WebSocket-Accept" in answer.keys()  # letter by letter: some clients look so
        for name in ("Content-Length", "Content-Type", "Transfer-Encoding",
                     "Sec-WebSocket-Protocol"):
            assert name not in answer


@pytest.mark.parametrize("junk", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /websocket?Id=42 HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /websocket?Id=42 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    b"GET /websocket?Id=42 HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"GET /websocket?Id=\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /websocket?Id=%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    bytes(range(256)) + b"\r\n\r\n",
])
def test_junk_is_the_fault_of_the_client(junk, caplog):
    with running_site() as site, site.socket() as client:
        client.sock.sendall(junk)
        client.sock.shutdown(1)
        client.at_end()
        assert client.buffer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505 "))
        assert len(site.push) == 0
        accepted(site)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_handshake_sent_one_byte_at_a_time_is_accepted():
    with running_site() as site, site.socket() as client:
        for byte in client.request("/echo?Id=42", headers={"Origin": None}):
            client.sock.sendall(bytes([byte]))
        client.answer()
        client.text("hello")
        assert client.message() == "hello"


def test_half_a_handshake_keeps_nobody_else_out():
    with running_site() as site, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(site.socket()) for _ in range(5)]
        for number, client in enumerate(waiting):
            request = client.request("/echo?Id=late")
            middle = (number + 1) * len(request) // 7
            client.sock.sendall(request[:middle])
            client.rest = request[middle:]
        accepted(site)
        waiting.pop().close()
        waiting.pop().reset()
        for client in waiting:
            client.sock.sendall(client.rest)
            client.answer()
            client.text("at last")
            assert client.message() == "at last"


# Ids


@pytest.mark.parametrize("query, says", [
    ("", b"missing"), ("?", b"missing"), ("?id=42", b"missing"),
    ("?Id=", b"empty"), ("?Id", b""),
    ("?Id=" + "a" * 129, b"129 characters"),
    ("?Id=" + "a" * 10_000, b"10000 characters"),
    ("?Id=" + quote("\U0001f600" * 129), b"129 characters"),
    ("?Id=%00", b"control characters"), ("?Id=a%0Ab", b"control characters"),
    ("?Id=a%0D%0ASet-Cookie:%20x", b"control characters"),
    ("?Id=%7F", b"control characters"), ("?Id=%C2%85", b"control characters"),
    ("?Id=%E2%80%A8", b"control characters"),
    ("?Id=1&Id=2", b"more than once"), ("?Id=1&Id=1", b"more than once"),
    ("?Id=%FF", b"UTF-8"), ("?Id=%ED%A0%80", b"UTF-8"), ("?Id=%C3", b"UTF-8"),
])
def test_an_id_that_cannot_be_one_is_answered_400_saying_why(query, says):
    with running_site() as site:
        refused = refusal(site, "/websocket" + query)
        assert refused.status == 400
        assert b"Id" in refused.body and says in refused.body
        assert len(refused.body) < 200


@pytest.mark.parametrize("Id", ["42", "a", "a" * 128, "\U0001f600", "\U0001f600" * 128,
                                "with space", "a+b&c=d%", "\u05d0\u200d\u05d1", "<script>",
                                "../../etc/passwd", "'; --"])
def test_any_other_text_is_an_id(Id):
    with running_site() as site:
        with site.client("/websocket?Id=" + quote(Id, safe="")) as client:
            assert site.push.ids() == [Id]
            assert site.push.send(Id, "for you") == 1
            assert client.message() == "for you"
            assert client.hang_up() == 1000


def test_a_page_handler_without_an_id_parameter_is_told_by_cherrypys_own_404():
    class Forgetful:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self):
            """Take no Id: CherryPy does not call this."""

    with running_site(Forgetful()) as site:
        assert refusal(site).status == 404


# Origins


@pytest.mark.parametrize("origin", [None, "http://{host}", "ws://{host}", "HTTP://{host}"])
def test_programs_and_the_sites_own_pages_may_connect(origin):
    with running_site() as site:
        origin = origin and origin.format(host=f"127.0.0.1:{site.port}")
        accepted(site, headers={"Origin": origin})


@pytest.mark.parametrize("origin", [
    "https://elsewhere.example", "null", "http://127.0.0.1", "https://{host}", "wss://{host}",
    "http://{host}.elsewhere.example", "http://elsewhere.example@{host}", "http://[", "{host}",
    "http://localhost:{port}", "http://{host}, http://elsewhere.example", "file://", "\xff",
    "http://{host}0", "http://127.0.0.1:99999999",
])
def test_a_page_of_another_site_may_not_connect(origin):
    with running_site() as site:
        origin = origin.format(host=f"127.0.0.1:{site.port}", port=site.port)
        refused = refusal(site, headers={"Origin": origin})
        assert refused.status == 403
        assert b"allowed_origins" in refused.body


@pytest.mark.parametrize("allowed, origin, status", [
    (["https://friend.example"], "https://friend.example", 101),
    (["https://friend.example"], "https://friend.example:443", 101),
    (["https://friend.example"], "wss://friend.example", 101),
    (["https://Friend.example:443"], "https://friend.example", 101),
    (["https://friend.example"], "http://friend.example", 403),
    (["https://friend.example"], "https://friend.example:8443", 403),
    (["https://friend.example"], "https://a.friend.example", 403),
    (["https://friend.example"], "null", 403),
    (["*"], "https://anybody.example", 101),
    (["*"], "null", 101),
])
def test_allowed_origins_may_connect(allowed, origin, status):
    with running_site(settings={"allowed_origins": allowed}) as site:
        if status == 101:
            accepted(site, headers={"Origin": origin})
        else:
            assert refusal(site, headers={"Origin": origin}).status == status


def test_behind_a_proxy_the_sites_own_origin_is_the_outer_one():
    forwarded = {"X-Forwarded-Host": "push.example.org", "X-Forwarded-Proto": "https",
                 "X-Forwarded-For": "192.0.2.7"}
    with running_site(config={"/": {"tools.proxy.on": True}}) as site:
        accepted(site, headers={**forwarded, "Origin": "https://push.example.org"})
        inner = f"http://127.0.0.1:{site.port}"
        assert refusal(site, headers={**forwarded, "Origin": inner}).status == 403
        with site.client(headers=forwarded) as client:
            assert site.push.connections("42")[0].peer_address[0] == "192.0.2.7"
            assert client.hang_up() == 1000


def test_without_the_proxy_tool_forwarded_headers_are_not_believed():
    with running_site() as site:
        headers = {"X-Forwarded-Host": "elsewhere.example", "X-Forwarded-Proto": "https",
                   "Origin": "https://elsewhere.example"}
        assert refusal(site, headers=headers).status == 403


# What the site says


class Raising:
    """A site whose page handler raises what it is told."""

    def __init__(self, error):
        self.error = error

    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id):
        raise self.error


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 418, 429, 500, 503])
def test_the_page_handlers_http_error_is_the_answer(status):
    with running_site(Raising(cherrypy.HTTPError(status, "members only, <b>sorry</b>"))) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == status
        assert b"members only" in refused.value.body
        assert len(site.push) == 0


def test_a_refused_client_gets_403_and_is_never_handed_over():
    log = []
    Handler = type("Handler", (Recorder,), {"log": log})

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Handler)
        def websocket(self, Id):
            raise cherrypy.HTTPError(403, "members only")

    with running_site(Site()) as site:
        refused = refusal(site, headers={"Connection": "Upgrade"})
        assert refused.status == 403
        assert log == []


def test_the_page_handlers_redirect_is_the_answer():
    with running_site(Raising(cherrypy.HTTPRedirect("https://elsewhere.example/", 303))) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == 303
        assert refused.value.headers["Location"] == "https://elsewhere.example/"
        assert len(site.push) == 0


def test_a_bug_in_the_page_handler_is_answered_500_without_its_traceback(caplog):
    with running_site(Raising(ValueError("a secret of the site"))) as site:
        refused = refusal(site)
        assert refused.status == 500
        assert b"secret" not in refused.body
    assert "a secret of the site" in caplog.text


@pytest.mark.parametrize("status", [200, 204, 301, 304, 403, 500, "403 Members only"])
def test_a_status_that_the_page_handler_sets_is_the_answer(status):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            cherrypy.response.status = status
            return "no more than this"

    with running_site(Site()) as site:
        if status == 200:
            accepted(site)
            return
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == int(str(status)[:3])
        assert len(site.push) == 0


@pytest.mark.parametrize("point", ["on_start_resource", "before_request_body", "before_handler",
                                   "before_finalize"])
@pytest.mark.parametrize("priority", [0, 50, 100])
@pytest.mark.parametrize("error, status", [
    (cherrypy.HTTPError(402, "pay first"), 402),
    (cherrypy.HTTPRedirect("https://elsewhere.example/", 302), 302),
    (ValueError("a bug of the site"), 500),
], ids=["402", "redirect", "bug"])
def test_a_tool_that_raises_before_the_answer_is_made_refuses(point, priority, error, status):
    config = hook(point, raising(error), priority=priority)
    with running_site(config=config) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == status
        assert "Sec-WebSocket-Accept" not in refused.value.headers
        assert len(site.push) == 0
        wait_until(lambda: site.push._hub._reserved == {})


@pytest.mark.parametrize("point, priority", [
    ("on_end_resource", 0), ("on_end_resource", 50), ("on_end_resource", 100),
    ("on_end_request", 0), ("on_end_request", 50), ("on_end_request", 94)])
@pytest.mark.parametrize("error", [cherrypy.HTTPError(402, "pay first"), ValueError("a bug")],
                         ids=["402", "bug"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tool_that_raises_at_the_very_end_refuses_too(point, priority, error, capfd):
    config = hook(point, raising(error), priority=priority)
    with running_site(config=config) as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake()
        assert refused.value.status in (402, 500)
        check_plain_text(refused.value)
        assert len(site.push) == 0
        site.push.broadcast("for members only")
        assert client.at_end() and client.buffer == b""
        assert site.push._hub._reserved == {}


def test_a_tool_that_answers_in_the_handlers_place_refuses():
    """As CherryPy's session_auth does with its login screen."""
    def login_screen():
        cherrypy.request.handler = None
        cherrypy.response.body = b"log in first"

    with running_site(config=hook("before_handler", login_screen)) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == 200
        assert refused.value.body == b"log in first"
        assert len(site.push) == 0


def test_a_tool_that_wraps_the_handler_is_no_hindrance():
    """As CherryPy's json_out does."""
    called = []

    def wrap():
        inner = cherrypy.request.handler

        def outer(*args, **kwargs):
            called.append(True)
            return inner(*args, **kwargs)
        cherrypy.request.handler = outer

    with running_site(config=hook("before_handler", wrap)) as site:
        accepted(site)
        assert called


def test_basic_authentication_says_who_the_connection_is():
    checked = cherrypy.lib.auth_basic.checkpassword_dict({"ada": "lovelace"})
    config = {"/": {"tools.auth_basic.on": True, "tools.auth_basic.realm": "push",
                    "tools.auth_basic.checkpassword": checked}}
    with running_site(config=config) as site:
        refused = refusal(site)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        headers = {"Authorization": "Basic YWRhOmxvdmVsYWNl"}
        with site.client(headers=headers) as client:
            assert site.push.connections("42")[0].user == "ada"
            assert client.hang_up() == 1000


def test_the_page_handler_can_leave_something_for_the_connection():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            cherrypy.request.push_data["room"] = "blue"
            return "unused"

    with running_site(Site()) as site, site.client("/websocket?Id=7") as client:
        connection, = site.push.connections()
        assert connection.data == {"room": "blue"}
        assert connection.Id == "7"
        assert connection.user is None
        assert connection.environ["QUERY_STRING"] == "Id=7"
        assert connection.peer_address == client.sock.getsockname()
        assert connection.local_address[1] == site.port
        assert client.hang_up() == 1000


def test_connections_do_not_share_what_a_page_handler_left():
    with running_site() as site, site.client() as one, site.client() as two:
        first, second = site.push.connections()
        first.data["room"] = "blue"
        assert second.data == {}
        assert one.hang_up() == two.hang_up() == 1000


@pytest.mark.parametrize("config", [
    {"tools.gzip.on": True, "tools.gzip.mime_types": ["text/*", "application/*"]},
    {"tools.encode.on": True, "tools.encode.encoding": "utf-8"},
    {"tools.json_out.on": True},
    {"tools.sessions.on": True},
    {"tools.caching.on": True},
    {"tools.etags.on": True, "tools.etags.autotags": True},
    {"tools.response_headers.on": True,
     "tools.response_headers.headers": [("X-Site", "ours"), ("Content-Type", "text/html")]},
    {"tools.trailing_slash.on": True},
    {"tools.expires.on": True, "tools.expires.secs": 60},
    {"tools.log_headers.on": True, "tools.log_hooks.on": True},
    {"tools.autovary.on": True},
    {"tools.flatten.on": True},
    {"tools.decode.on": True},
    {"response.stream": True},
    {"tools.gzip.on": True, "tools.encode.on": True, "tools.json_out.on": True,
     "tools.sessions.on": True, "tools.caching.on": True, "tools.proxy.on": True},
], ids=lambda config: "+".join(name.split(".")[1] for name in config if name.endswith(".on"))
   or "stream")
def test_tools_that_work_on_pages_do_not_disturb(config):
    with running_site(config={"/": config}) as site:
        for number in range(3):
            with site.client("/echo?Id=1", headers={"Accept-Encoding": "gzip"}) as client:
                client.text(f"hello {number}")
                assert client.message() == f"hello {number}"
                assert client.hang_up() == 1000


def test_a_session_reaches_the_page_handler_and_its_cookie_the_client():
    class Site(Root):
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            cherrypy.session["visits"] = cherrypy.session.get("visits", 0) + 1
            cherrypy.request.push_data["visits"] = cherrypy.session["visits"]

    with running_site(Site(), config={"/": {"tools.sessions.on": True}}) as site:
        with site.socket() as client:
            cookie = client.handshake()["Set-Cookie"].split(";")[0]
            assert client.hang_up() == 1000
        wait_until(lambda: len(site.push) == 0)
        with site.client(headers={"Cookie": cookie}) as client:
            assert site.push.connections()[0].data == {"visits": 2}
            assert client.hang_up() == 1000


# Subprotocols


@pytest.mark.parametrize("supported, offered, chosen", [
    (["chat"], "chat", "chat"),
    (["chat", "news"], "news, chat", "news"),
    (["chat", "news"], "other,  chat ,news", "chat"),
    (["chat"], "other", None),
    (["chat"], "CHAT", None),
    (["chat"], None, None),
    (["chat"], ", ,", None),
    ([], "chat", None),
])
def test_the_first_subprotocol_that_both_speak_is_chosen(supported, offered, chosen):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(subprotocols=supported)
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site, site.socket() as client:
        answer = client.handshake(headers={"Sec-WebSocket-Protocol": offered})
        assert answer["Sec-WebSocket-Protocol"] == chosen
        assert site.push.connections()[0].protocols == ([chosen] if chosen else [])
        assert client.hang_up() == 1000


# What comes with the handshake


def test_frames_in_the_packet_of_the_handshake_are_read():
    with running_site() as site, site.socket() as client:
        client.handshake("/echo?Id=1", behind=masked_frame(0x81, b"one") + masked_frame(0x82, b"2")
                         + masked_frame(0x89, b"ping") + masked_frame(0x81, b"three")[:4])
        assert sorted(client.frame() for _ in range(3)) == [
            (0x81, b"one"), (0x82, b"2"), (0x8A, b"ping")]
        client.sock.sendall(masked_frame(0x81, b"three")[4:])
        assert client.message() == "three"


def test_a_large_message_in_the_packet_of_the_handshake_is_read():
    message = "a" * 60_000
    with running_site() as site, site.socket() as client:
        client.handshake("/echo?Id=1", behind=masked_frame(0x81, message.encode()))
        assert client.message() == message


def test_a_close_in_the_packet_of_the_handshake_is_answered():
    Handler = recorder()

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Handler)
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site, site.socket() as client:
        client.handshake(behind=masked_frame(0x88, CLOSE))
        assert client.close_code() == 1000
        assert client.at_end()
        wait_until(lambda: len(Handler.log) == 2)
        assert Handler.log == [("opened", "42"), ("closed", "42", 1000, "")]


def test_frames_behind_a_refused_handshake_are_not_read():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Echo)
        def websocket(self, Id):
            raise cherrypy.HTTPError(403)

    with running_site(Site()) as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake(behind=masked_frame(0x81, b"hello"))
        assert refused.value.status == 403
        client.at_end()
        assert b"hello" not in client.buffer


def test_a_broadcast_right_behind_the_handshake_reaches_the_client():
    """From the moment in which the client can read the answer, it counts."""
    with running_site() as site:
        for number in range(50):
            with site.client("/websocket?Id=%d" % number) as client:
                site.push.send(str(number), "hello")
                assert client.message() == "hello"


# Limits


def test_an_id_with_too_many_connections_is_answered_429():
    with running_site(settings={"max_connections_per_id": 2, "retry_after": 7}) as site:
        with site.client() as one, site.client() as two:
            refused = refusal(site)
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "7"
            accepted(site, "/websocket?Id=another")
            assert one.hang_up() == 1000
            wait_until(lambda: len(site.push) == 1)
            accepted(site)
            assert two.hang_up() == 1000


def test_a_server_with_too_many_connections_answers_503():
    with running_site(settings={"max_connections": 2}) as site:
        with site.client("/websocket?Id=1") as one, site.client("/websocket?Id=2"):
            refused = refusal(site, "/websocket?Id=3")
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "5"
            one.reset()
            wait_until(lambda: len(site.push._home.links) == 1)
            accepted(site, "/websocket?Id=3")


def test_many_handshakes_at_once_do_not_pass_the_limit():
    results = []
    with running_site(settings={"max_connections_per_id": 3}) as site:
        gate, leave = threading.Barrier(8), threading.Event()

        def connect():
            with site.socket() as client:
                gate.wait()
                try:
                    client.handshake()
                    results.append(101)
                except Refused as refused:
                    results.append(refused.status)
                leave.wait(10)

        threads = [threading.Thread(target=connect) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(results) == 8)
            assert sorted(results) == [101] * 3 + [429] * 5
            assert len(site.push) == 3
        finally:
            leave.set()
            for thread in threads:
                thread.join()
        wait_until(lambda: len(site.push) == 0)
        assert site.push._hub._reserved == {}


def test_several_connections_share_an_id_and_all_receive():
    with running_site() as site, site.client() as one, site.client() as two:
        assert site.push.send("42", "for both") == 2
        assert one.message() == two.message() == "for both"
        assert site.push.ids() == ["42"]
        assert len(site.push) == len(site.push.connections("42")) == 2


def test_the_newer_connection_replaces_the_older():
    with running_site(settings={"duplicates": "replace"}) as site:
        with site.client() as older, site.client() as newer:
            assert older.close_code() == 3504
            assert site.push.send("42", "for the newer") == 1
            assert newer.message() == "for the newer"
            older.send(0x88, (3504).to_bytes(2, "big"))
            assert older.at_end()


def test_the_older_connection_keeps_the_newer_out():
    with running_site(settings={"duplicates": "reject"}) as site:
        with site.client() as older:
            refused = refusal(site)
            assert refused.status == 429
            assert "Retry-After" in refused.headers
            older.message_of = site.push.send("42", "still here")
            assert older.message() in ("not for those that were refused", "still here")
            assert older.hang_up() == 1000
        wait_until(lambda: len(site.push) == 0)
        accepted(site)


def test_a_server_that_drains_answers_503():
    with running_site() as site:
        site.push.drain()
        refused = refusal(site)
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "5"


def test_a_server_that_has_not_started_answers_503():
    with running_site() as site:
        site.push.stop()
        assert refusal(site).status == 503
        site.push.start()
        accepted(site)


def test_a_stop_during_the_page_handler_is_answered_503():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            site.push.stop()

    with running_site(Site()) as site:
        assert refusal(site).status == 503


def test_a_stop_behind_the_page_handler_is_answered_503():
    """The place was reserved already."""
    def stop():
        site.push.stop()

    with running_site(config=hook("on_end_resource", stop)) as site:
        refused = refusal(site)
        assert refused.status == 503


# Elsewhere


def test_a_page_without_the_tool_is_a_page():
    with running_site() as site, site.socket() as client:
        with pytest.raises(Refused) as page:
            client.handshake("/")
        assert (page.value.status, page.value.body) == (200, b"page")


def test_several_pages_and_then_a_handshake_on_one_socket():
    with running_site() as site, site.socket() as client:
        for _ in range(3):
            with pytest.raises(Refused):
                client.handshake("/", headers={"Connection": "keep-alive"})
        client.handshake("/echo?Id=1")
        client.text("hello")
        assert client.message() == "hello"


def test_another_http_server_than_cherrypys_is_told_what_push_needs():
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            """Say nothing."""

    app = cherrypy.Application(Root(), "")
    with running_site(), make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with Client(server.server_address) as client, pytest.raises(Refused) as refused:
            client.handshake()
        thread.join()
    assert refused.value.status == 501
    assert b"cheroot" in refused.value.body


def test_what_clients_send_is_not_in_the_log_of_the_site(caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with running_site() as site:
        refusal(site, "/websocket?Id=secret%00", headers={"Origin": "https://secret.example"})
        with site.client("/echo?Id=1") as client:
            client.text("secret")
            assert client.message() == "secret"
            client.send(0xF1, b"secret")
            assert client.close_code() == 1002
    assert "secret" not in "".join(record.getMessage() for record in caplog.records
                                   if record.name.startswith("pushserver"))


def test_a_handler_class_that_cannot_be_made_is_answered_500(caplog):
    class Broken(Connection):
        def __init__(self, *args, **kwargs):
            raise ValueError("a bug of the site")

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Broken)
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site:
        refused = refusal(site)
        assert refused.status == 500
        assert b"bug" not in refused.body
        assert site.push._hub._reserved == {}
    assert "a bug of the site" in caplog.text
