"""CherryPy's tools, each switched on for the whole site: push addresses and the API go on."""
from __future__ import annotations

import contextlib
import json
import logging

import cherrypy
import pytest
from cherrypy._cptree import Tree

from pushserver import ChannelRule, PushAPI
from tests.support.api_client import KEY, Api
from tests.support.raw_client import Refused
from tests.support.waiting import wait_until
from tests.support.site import Echo, Root, entered, running_site

CHOOSY = {"Accept": "application/json", "Accept-Encoding": "gzip;q=1, identity;q=0",
          "Accept-Charset": "koi8-r", "If-None-Match": "*", "Cookie": "a=b"}
"""Headers that make tools do their work, or refuse a page."""


def on(name, **options):
    """Return a configuration that switches a tool on."""
    return {f"tools.{name}.on": True,
            **{f"tools.{name}.{option}": value for option, value in options.items()}}


TOOLS = {
    "accept": on("accept", media="text/html"),
    "allow": on("allow"),
    "autovary": on("autovary"),
    "caching": on("caching"),
    "caching at once": on("caching", delay=0, antistampede_timeout=60),
    "decode": on("decode"),
    "decode strictly": on("decode", encoding="ascii"),
    "encode": on("encode"),
    "encode strictly": on("encode", encoding="ascii", errors="strict", text_only=False),
    "err_redirect": on("err_redirect", url="https://elsewhere.example/"),
    "etags": on("etags"),
    "etags of themselves": on("etags", autotags=True),
    "expires": on("expires", secs=60, force=True),
    "flatten": on("flatten"),
    "gzip": on("gzip", mime_types=["*/*"]),
    "ignore_headers": on("ignore_headers", headers=["Range", "Upgrade", "Content-Type",
                                                    "Sec-Websocket-Key"]),
    "json_in": on("json_in"),
    "json_in with a processor": on("json_in", processor=lambda entity: 1 / 0),
    "json_out": on("json_out"),
    "log_headers": on("log_headers"),
    "log_hooks": on("log_hooks"),
    "log_tracebacks": on("log_tracebacks"),
    "params": on("params"),
    "proxy": on("proxy"),
    "proxy for a base": on("proxy", base="https://example.org", local="", scheme="Front"),
    "referer": on("referer", pattern="https://elsewhere.example/.*", accept=False,
                  accept_missing=True),
    "response_headers": on("response_headers", headers=[
        ("Content-Type", "text/html"), ("Content-Length", "5"), ("X-Frame-Options", "DENY")]),
    "sessions": on("sessions"),
    "sessions locked early": on("sessions", locking="early"),
    "sessions locked by hand": on("sessions", locking="explicit"),
    "staticdir": on("staticdir", root="/", dir="nowhere"),
    "stream": {"response.stream": True},
    "stream with sessions": {**on("sessions"), "response.stream": True},
    "trailing_slash": on("trailing_slash", extra=True),
    "xmlrpc": on("xmlrpc"),
}
TOOLS["all"] = {name: value for config in TOOLS.values() for name, value in config.items()}


class Page(Root):
    """A push address that is its folder's index, and a page at the same address."""

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo, optional=True)
    def index(self, Id=None):
        return "page"


class Site(Root):
    """A site whose page handlers return what no page is made of; what they return is ignored."""

    def __init__(self):
        self.room = Page()

    @cherrypy.expose
    @cherrypy.tools.push(channels=["news"])
    def websocket(self, Id):
        return object()


@contextlib.contextmanager
def whole_site(config):
    """Configure all applications at once."""
    before = dict(cherrypy.config)
    cherrypy.config.update(config)
    try:
        yield
    finally:
        dict.clear(cherrypy.config)
        dict.update(cherrypy.config, before)
        vars(cherrypy).pop("_cache", None)


MOUNTED = {
    "an application": lambda tree, api, config: tree.mount(api, "/api"),
    "the site's configuration": lambda tree, api, config: tree.mount(api, "/api", {"/": config}),
    "an attribute": lambda tree, api, config: setattr(tree.apps[""].root, "api", api),
}
"""Ways to put the API into a site."""


@contextlib.contextmanager
def serving(config, *, mounted="an application"):
    tree = Tree()
    with whole_site(config), running_site(tree, plugin={"channels": [
            ChannelRule("news", history=100)]}) as site:
        tree.mount(Site(), "", {"/": config})
        MOUNTED[mounted](tree, PushAPI(site.push, keys=[KEY]), config)
        yield site


@pytest.mark.parametrize("headers", [{}, CHOOSY], ids=["plain", "choosy"])
@pytest.mark.parametrize("config", TOOLS.values(), ids=TOOLS)
def test_a_push_address_works_with_a_tool_on_for_the_whole_site(config, headers, caplog):
    with serving(config) as site:
        for number in range(3):
            for path in ("/websocket?Id=1", "/room?Id=1", "/room/?Id=1"):
                with site.client(path, headers=headers) as client:
                    assert site.push.send("1", f"hello {number}") == 1
                    assert client.message() == f"hello {number}"
                    assert client.hang_up() == 1000
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def publish(site, data, query="", **headers):
    """Return the status, headers and content of the API's answer."""
    status, answered, body = Api(site.port).request(f"publish{query}", json.dumps(
        {"channel": "news", "data": data}), Content_Type="application/json",
        **{name.replace("-", "_"): value for name, value in headers.items()})
    return status, answered, body


@pytest.mark.parametrize("mounted", ["an application", "an attribute"])
@pytest.mark.parametrize("headers", [{}, CHOOSY], ids=["plain", "choosy"])
@pytest.mark.parametrize("config", TOOLS.values(), ids=TOOLS)
def test_the_api_works_with_a_tool_on_for_the_whole_site(config, headers, mounted):
    with serving(config, mounted=mounted) as site, site.client() as client:
        entered(site, "news")
        for number, query in enumerate(["", "?path=1&_=2"]):
            status, answered, body = publish(site, f"number {number}", query, **headers)
            assert (status, answered["Content-Type"]) == (200, "application/json")
            assert answered["Content-Encoding"] is None
            assert json.loads(body)["result"]["offset"] == number + 1
            assert client.message() == f"number {number}"
        status, _, body = Api(site.port).request("publish", b"{")
        assert status == 400 and "not JSON" in json.loads(body)["error"]["message"]
        assert Api(site.port).error("publish", channel="news")[0] == 107
        assert Api(site.port, key="wrong").status("publish", b"{}")[0] == 401
        assert Api(site.port).status("nothing", b"{}")[0] == 404
        assert Api(site.port).status("info", method="GET")[0] == 405


@pytest.mark.parametrize("headers", [{}, CHOOSY], ids=["plain", "choosy"])
@pytest.mark.parametrize("config", TOOLS.values(), ids=TOOLS)
def test_a_tool_that_is_on_for_the_api_itself_refuses_a_call_or_leaves_it_alone(config, headers):
    with serving(config, mounted="the site's configuration") as site:
        status, _, body = publish(site, "hello", "?path=1&_=2", **headers)
        done = len(site.push.history("news").publications)
        assert done == (1 if status == 200 else 0), body


class Angry:
    """Tools of a site that cannot cope with what is no page."""

    @staticmethod
    def template(handler, *args, **kwargs):
        return "<p>{name}</p>".format(**handler(*args, **kwargs))

    @staticmethod
    def minify():
        body = cherrypy.response.collapse_body()
        cherrypy.response.body = body[body.index(b"<p>"):]

    @staticmethod
    def typed():
        cherrypy.response.headers["Content-Type"].index("text/html")


@pytest.mark.parametrize("tool", [
    cherrypy._cptools.HandlerWrapperTool(Angry.template),
    cherrypy.Tool("before_finalize", Angry.minify),
    cherrypy.Tool("before_finalize", Angry.minify, priority=100),
    cherrypy.Tool("before_finalize", Angry.typed, priority=90),
    cherrypy.Tool("on_end_resource", Angry.typed)], ids=lambda tool: tool.callable.__name__)
def test_a_tool_of_the_site_that_fails_does_so_before_a_call_of_the_api(tool, monkeypatch):
    monkeypatch.setattr(cherrypy.tools, "angry", tool, raising=False)
    with serving(on("angry")) as site:
        status, _, body = publish(site, "hello")
        done = len(site.push.history("news").publications)
        assert done == (1 if status == 200 else 0), body


DECIDING = {
    "referer": (on("referer", pattern="https://elsewhere.example/.*"), 403),
    "auth_basic": (on("auth_basic", realm="site", checkpassword=lambda *_: False), 401),
    "redirect": (on("redirect", url="https://elsewhere.example/", internal=False), 303),
    "session_auth": ({**on("sessions"), **on("session_auth")}, 200),
}
"""Tools that let nobody in, and what they answer."""


@pytest.mark.parametrize("config, status", DECIDING.values(), ids=DECIDING)
def test_a_tool_that_decides_who_comes_in_does_so(config, status):
    with serving({**config, **TOOLS["json_out"]}) as site:
        with pytest.raises(Refused) as refused:
            site.client()
        assert refused.value.status == status
        assert publish(site, "hello")[0] == status
        assert len(site.push) == 0 and site.push.history("news").publications == []


class Visited(Root):
    """A site that uses the session on its push address and on a page."""

    @staticmethod
    def lock():
        if cherrypy.request.config["tools.sessions.locking"] == "explicit":
            cherrypy.session.acquire_lock()

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def websocket(self, Id):
        self.lock()
        cherrypy.session["Id"] = Id

    @cherrypy.expose
    def index(self):
        self.lock()
        return cherrypy.session["Id"]


@pytest.mark.parametrize("stream", [False, True], ids=["at once", "streamed"])
@pytest.mark.parametrize("locking", ["implicit", "early", "explicit"])
def test_a_session_is_not_locked_while_a_connection_lives(locking, stream):
    config = {"/": {**on("sessions", locking=locking), "response.stream": stream}}
    with running_site(Visited(), config=config) as site, site.socket() as client:
        cookie = client.handshake()["Set-Cookie"].split(";")[0]
        with site.socket() as page, pytest.raises(Refused) as answer:
            page.handshake("/", headers={"Cookie": cookie})
        assert answer.value.status == 200
        with site.client(headers={"Cookie": cookie}) as second:
            second.text("hello")
            assert second.message() == "hello"


def test_a_page_in_the_cache_is_not_the_answer_to_a_handshake_at_its_address():
    with serving(on("caching")) as site:
        for _ in range(2):
            with site.socket() as page, pytest.raises(Refused) as answer:
                page.handshake("/room/?Id=1", headers={
                    "Upgrade": None, "Sec-WebSocket-Key": None, "Sec-WebSocket-Version": None})
            assert (answer.value.status, answer.value.body) == (200, b"page")
            with site.client("/room/?Id=1") as client:
                client.text("hello")
                assert client.message() == "hello"


def test_a_refusal_is_plain_text_whatever_tools_are_on():
    with serving(TOOLS["all"]) as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake("/websocket", headers={"Accept-Encoding": "gzip"})
        assert refused.value.status == 400 and b"Id is missing" in refused.value.body
        assert "Content-Encoding" not in refused.value.headers


class Unreadable:
    def __iter__(self):
        raise ValueError("nobody should look at this")


@pytest.mark.parametrize("result", [None, "text", b"bytes", True, 5, {"a": 1}, ["a", 1], {"a"},
                                    object(), Unreadable()], ids=lambda it: type(it).__name__)
@pytest.mark.parametrize("config", [{}, {"tools.encode.on": False}, on("json_out"),
                                    on("flatten")], ids=repr)
def test_what_a_page_handler_returns_is_of_no_interest(result, config):
    class Page:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            return result

    with running_site(Page(), config={"/": config}) as site, site.client() as client:
        wait_until(lambda: len(site.push) == 1)
        assert client.hang_up() == 1000


def test_a_tool_that_is_made_after_the_push_tool_is_set_up_is_switched_off_too():
    order = [{**on("json_out"), "tools.push.on": True}, {"tools.push.on": True, **on("json_out")}]
    for config in order:
        class Page:
            @cherrypy.expose
            def websocket(self, Id):
                return object()

        with running_site(Page(), config={"/": config}) as site, site.client() as client:
            assert client.hang_up() == 1000


class Transactions(cherrypy.Tool):
    """A tool of a site that wraps its page handlers, and must go on doing so."""

    log: list = []

    def __init__(self):
        super().__init__("before_handler", self.wrap)

    def wrap(self):
        inner = cherrypy.request.handler

        def handler():
            self.log.append("begin")
            try:
                return inner()
            finally:
                self.log.append("end")
        cherrypy.request.handler = handler


def test_a_tool_of_the_site_that_wraps_page_handlers_still_does(monkeypatch):
    tool = Transactions()
    monkeypatch.setattr(cherrypy.tools, "transactions", tool, raising=False)
    with serving(on("transactions")) as site, site.client() as client:
        assert tool.log == ["begin", "end"]
        assert client.hang_up() == 1000
