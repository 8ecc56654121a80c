"""Sites written for ws4py, with nothing changed but their imports."""
from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from multiprocessing import Pipe

import cherrypy
import pytest
from ws4py.messaging import BinaryMessage, TextMessage

from pushserver import ConnectionClosed, InvalidData, InvalidSetting, MessageTooLarge, PushTool
from pushserver.ws4py import EchoWebSocket, WebSocket, WebSocketPlugin, WebSocketTool
from tests.support.handshakes import refusal
from tests.support.loopback import free_port
from tests.support.programs import ROOT, finish, program
from tests.support.raw_client import Client, Refused
from tests.support.site import Site, served
from tests.support.waiting import PATIENCE, wait_until

cherrypy.tools.websocket = TOOL = WebSocketTool()


@pytest.fixture(autouse=True)
def own_tool():
    """Have the name belong to this module: others give it to ws4py's own."""
    before = cherrypy.tools.websocket
    cherrypy.tools.websocket = TOOL
    yield
    cherrypy.tools.websocket = before


@contextlib.contextmanager
def ws4py_site(root, *, plugin=None, config=None, plugin_class=WebSocketPlugin, **settings):
    """Serve a site whose plugin is the engine's."""
    plugin = plugin or plugin_class(cherrypy.engine, **settings)
    plugin.subscribe()
    plugin.start()
    try:
        with served(root, config=config) as server:
            yield Site(cherrypy.engine, plugin, server, "127.0.0.1")
    finally:
        plugin.stop()
        plugin.unsubscribe()


# A console that streams, as Zuul's

class SaveParams(cherrypy.Tool):
    """Give the page handler what the dispatcher took from the URL."""

    def __init__(self):
        super().__init__("on_start_resource", self.keep)

    def _setup(self):
        super()._setup()
        cherrypy.request.hooks.attach("before_handler", self.put_back)

    def keep(self, restore=True):
        cherrypy.request.url_params = dict(cherrypy.request.params)

    def put_back(self):
        cherrypy.request.params.update(cherrypy.request.url_params)


cherrypy.tools.test_save_params = SaveParams()


class LogStream(WebSocket):
    """Stream a log's lines from a thread of its own, then close."""

    ended: list = []

    def __init__(self, *args, **kw):
        kw["heartbeat_freq"] = 20
        super().__init__(*args, **kw)
        self.streamer = None

    def received_message(self, message):
        if message.is_text and not self.streamer:
            request = json.loads(message.data.decode("utf-8"))
            for key in ("uuid", "logfile"):
                if key not in request:
                    return self.close(4000, f"'{key}' missing from request payload")
            self.streamer = threading.Thread(target=self.feed, args=(request["uuid"],))
            self.streamer.start()

    def feed(self, uuid):
        for number in range(200):
            self.send(f"{self.web.name}:{uuid}:{number}\n", False)
        self.close(1000, "No more data")

    def closed(self, code, reason=None):
        self.ended.append(code)
        if self.streamer:
            self.streamer.join()


class Tenant:
    def __init__(self, web):
        self.web = web

    def _cp_dispatch(self, vpath):
        cherrypy.request.params["tenant"] = vpath.pop(0)
        return self

    @cherrypy.expose
    @cherrypy.tools.test_save_params()
    @cherrypy.tools.websocket(handler_cls=LogStream)
    def console_stream(self, tenant):
        cherrypy.request.ws_handler.web = self.web


class Web:
    name = "web"

    def __init__(self):
        self.tenant = Tenant(self)


def test_a_handler_streams_with_what_the_page_handler_has_set_on_it():
    web = Web()
    plugin = WebSocketPlugin(cherrypy.engine)
    for _ in range(2):      # the same plugin, as in that project's own tests
        LogStream.ended = []
        with ws4py_site(web, plugin=plugin) as site:
            with site.client("/tenant/one/console_stream") as client:
                client.text(json.dumps({"uuid": "a", "logfile": "console.log"}))
                assert [client.message() for _ in range(200)] == \
                    [f"web:a:{number}\n" for number in range(200)]
                assert client.hang_up() == 1000
            with site.client("/tenant/one/console_stream") as client:
                client.text(json.dumps({"uuid": "a"}))
                assert client.close_code() == 4000
            wait_until(lambda: sorted(LogStream.ended) == [1000, 4000])


# Events that wait until the client is ready, as Salt's

class Synchronizing(WebSocket):
    """Tell the other side of a pipe when the client is ready."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pipe = None
        self.opts = None

    def received_message(self, message):
        if message.data.decode("utf-8") == "websocket client ready":
            self.pipe.send(message)
        self.send("server received message", False)


class Events:
    """Send events to each client from a job that its request starts."""

    exposed = True
    _cp_config = {"tools.websocket.on": True, "tools.websocket.handler_cls": Synchronizing}

    def __init__(self, start):
        self.start = start

    def GET(self, token=None, **kwargs):
        if token != "secret":
            raise cherrypy.HTTPError(401)
        handler = cherrypy.request.ws_handler

        def event_stream(handler, pipe):
            pipe.recv()     # the client is ready
            for number in range(3):
                handler.send(f"data: {json.dumps({'tag': number})}\n\n", False)

        parent, child = Pipe()
        handler.pipe = parent
        handler.opts = {}
        self.start(event_stream, (handler, child))


def in_thread(target, args):
    threading.Thread(target=target, args=args, daemon=True).start()


def in_process(target, args):
    fork = multiprocessing.get_context("fork")
    processes.append(fork.Process(target=target, args=args, daemon=True))
    processes[-1].start()


processes: list = []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("start", [in_thread, in_process])
def test_events_come_from_a_job_that_the_page_handler_has_started(start):
    class Root:
        ws = Events(start)

    config = {"/": {"request.dispatch": cherrypy.dispatch.MethodDispatcher()}}
    with ws4py_site(Root(), config=config) as site:
        assert refusal(site, "/ws?token=guessed").status == 401
        with site.client("/ws?token=secret&format_events=1") as client:
            client.text("websocket client ready")
            came = sorted(client.message() for _ in range(4))
            assert came[:3] == [f'data: {{"tag": {number}}}\n\n' for number in range(3)]
            assert came[3] == "server received message"
    while processes:
        processes.pop().join()


def until_it_ends(handler, pipe):
    """Send from a forked process for as long as that works; tell how it ended."""
    count = 0
    try:
        while True:
            handler.send(f"{os.getpid()} {count}")
            count += 1
    except ConnectionClosed:
        pipe.send(count)


def too_much(handler, pipe):
    """Send what does not fit, then close."""
    handler.send("x" * 100_000)
    try:
        handler.send("x" * 5_000_000)
    except MessageTooLarge:
        handler.send(b"\xff", True)
        handler.ping("p")
        handler.close(4001, "from a child")


@contextlib.contextmanager
def forking(target):
    """Serve a site whose page handler forks a process; yield it and the process's pipe."""
    ours, theirs = Pipe()

    class Root:
        @cherrypy.expose
        @cherrypy.tools.websocket()
        def ws(self):
            in_process(target, (cherrypy.request.ws_handler, theirs))

    with ws4py_site(Root(), max_outbox=1 << 24) as site:
        yield site, ours
    while processes:
        processes.pop().join()
    ours.close()
    theirs.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_learns_that_its_client_has_left():
    with forking(until_it_ends) as (site, pipe):
        with site.client("/ws") as client:
            first, _ = client.message().split()
            for number in range(1, 200):
                assert client.message() == f"{first} {number}"
            assert client.hang_up() == 1000
        assert pipe.poll(PATIENCE) and pipe.recv() >= 200


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_several_forked_processes_send_to_one_client_each():
    with forking(until_it_ends) as (site, pipe), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.client("/ws")) for _ in range(3)]
        assert len({client.message().split()[0] for client in clients}) == 3
        for client in clients:
            assert client.hang_up() == 1000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_can_do_what_the_handler_can():
    with forking(too_much) as (site, _), site.client("/ws") as client:
        assert client.message() == "x" * 100_000
        assert client.message() == b"\xff"
        assert client.frame() == (0x89, b"p")
        assert client.close_code() == 4001


# The chat of many tutorials

class ChatWebSocketHandler(WebSocket):
    def received_message(self, m):
        cherrypy.engine.publish("websocket-broadcast", m)

    def closed(self, code, reason="A client left the room without a proper explanation."):
        cherrypy.engine.publish("websocket-broadcast", TextMessage(reason))


class ChatRoot:
    @cherrypy.expose
    def index(self):
        return "page"

    @cherrypy.expose
    def ws(self):
        cherrypy.log("Handler created: %s" % repr(cherrypy.request.ws_handler))


CHAT = {"/ws": {"tools.websocket.on": True, "tools.websocket.handler_cls": ChatWebSocketHandler,
                "tools.websocket.protocols": ["chat"], "tools.websocket.extensions": None,
                "tools.websocket.version": (13,)}}


def test_a_chat_broadcasts_over_the_bus():
    with ws4py_site(ChatRoot(), config=CHAT) as site:
        with site.client("/ws") as ann, site.client("/ws") as bob:
            ann.text("hello")
            assert ann.message() == bob.message() == "hello"
            ann.send(0x82, b"\xff")
            assert ann.message() == bob.message() == b"\xff"
            site.bus.publish("websocket-broadcast", "to all", False)
            site.bus.publish("websocket-broadcast", b"bytes are text")
            site.bus.publish("websocket-broadcast", b"\xfe", True)
            site.bus.publish("websocket-broadcast", message=BinaryMessage(b"\xfd"))
            for one in (ann, bob):
                assert [one.message() for _ in range(4)] == ["to all", "bytes are text", b"\xfe",
                                                             b"\xfd"]
            ann.hang_up()
            assert bob.message() == ""      # the reason that it gave


def test_a_subprotocol_is_agreed_upon():
    with ws4py_site(ChatRoot(), config=CHAT) as site:
        with site.socket() as client:
            headers = client.handshake("/ws", headers={"Sec-WebSocket-Protocol": "other, chat"})
            assert headers["Sec-WebSocket-Protocol"] == "chat"
        assert site.socket().handshake("/ws")["Sec-WebSocket-Protocol"] is None


# A plugin of the site's own, which knows its clients by name

class RoomPlugin(WebSocketPlugin):
    def __init__(self, bus):
        WebSocketPlugin.__init__(self, bus)
        self.clients = {}

    def start(self):
        WebSocketPlugin.start(self)
        self.bus.subscribe("test-add-client", self.add_client)
        self.bus.subscribe("test-get-client", self.get_client)

    def stop(self):
        WebSocketPlugin.stop(self)
        self.bus.unsubscribe("test-add-client", self.add_client)
        self.bus.unsubscribe("test-get-client", self.get_client)

    def add_client(self, name, websocket):
        self.clients[name] = websocket

    def get_client(self, name):
        return self.clients[name]


class Named(WebSocket):
    def opened(self):
        cherrypy.engine.publish("test-add-client", self.username, self)


class Room:
    @cherrypy.expose
    @cherrypy.tools.websocket(handler_cls=Named)
    def ws(self, username):
        cherrypy.request.ws_handler.username = username

    @cherrypy.expose
    def echo(self, username, message):
        cherrypy.engine.publish("test-get-client", username).pop().send(message)


def test_a_plugin_of_the_sites_own_keeps_its_handlers():
    with ws4py_site(Room(), plugin_class=RoomPlugin) as site, \
            site.client("/ws?username=ann") as ann:
        wait_until(lambda: "ann" in site.push.clients)
        with contextlib.suppress(EOFError, ConnectionResetError), site.socket() as page:
            page.sock.sendall(b"GET /echo?username=ann&message=hello HTTP/1.1\r\nHost: x\r\n"
                              b"Connection: close\r\n\r\n")
            page.at_end()
        assert ann.message() == "hello"


def test_the_manager_knows_all_connections():
    with ws4py_site(ChatRoot(), config=CHAT) as site:
        manager = site.push.manager
        assert len(manager) == 0 and list(manager) == []
        with site.client("/ws") as ann, site.client("/ws") as bob:
            wait_until(lambda: len(manager) == 2)
            first, second = manager
            assert first in manager and object() not in manager
            manager.broadcast("to all")
            manager.broadcast(b"\xff", binary=True)
            for one in (ann, bob):
                assert [one.message(), one.message()] == ["to all", b"\xff"]
            second.send("to one")
            assert bob.message() == "to one"
            manager.close_all()
            assert ann.close_code() == bob.close_code() == 1001
        wait_until(lambda: first not in manager)


def test_broadcasting_says_what_it_cannot_send():
    from ws4py.messaging import PingControlMessage
    plugin = WebSocketPlugin(cherrypy.engine)
    for data in (b"\xff", PingControlMessage("x"), object()):
        with pytest.raises(InvalidData):
            plugin.broadcast(data)


def test_without_a_class_it_is_a_silent_one_and_an_echo_is_there():
    class Root:
        @cherrypy.expose
        @cherrypy.tools.websocket()
        def silent(self):
            assert type(cherrypy.request.ws_handler) is WebSocket

        @cherrypy.expose
        @cherrypy.tools.websocket(handler_cls=EchoWebSocket)
        def echo(self):
            assert isinstance(cherrypy.request.ws_handler, EchoWebSocket)

        @cherrypy.expose
        @cherrypy.tools.websocket(on=False)
        def page(self):
            return "page"

    with ws4py_site(Root()) as site:
        site.client("/silent")
        with site.client("/echo") as client:
            client.text("back")
            assert client.message() == "back"
        assert site.socket().request("/page")


# The handler before it is open, with either tool

class Keeping(WebSocket):
    """Count what happens."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.happened = []

    def opened(self):
        self.happened.append("opened")
        self.send("opened")

    def closed(self, code, reason=None):
        self.happened.append(code)


def keeping(use, kept, tool):
    """Return a site whose page handler keeps its handlers and uses each."""
    class Root:
        @cherrypy.expose
        @tool(handler_cls=Keeping)
        def ws(self, fail=None):
            kept.append(cherrypy.request.ws_handler)
            use(cherrypy.request.ws_handler)
            if fail:
                raise cherrypy.HTTPError(403, "not for you")

    return Root()


@pytest.fixture(params=["websocket", "push"])
def tool(request):
    before = cherrypy.tools.push
    cherrypy.tools.push = PushTool()
    yield getattr(cherrypy.tools, request.param)
    cherrypy.tools.push = before


def test_what_is_sent_before_it_is_open_comes_first_and_in_order(tool):
    def use(handler):
        for number in range(50):
            handler.send(str(number))
        handler.send(b"\xff", True)
        handler.ping("p")

    with ws4py_site(keeping(use, kept := [], tool)) as site, site.client("/ws") as client:
        assert [client.message() for _ in range(51)] == [*map(str, range(50)), b"\xff"]
        assert client.frame() == (0x89, b"p")
        assert client.message() == "opened"
        kept[0].send("later")
        assert client.message() == "later"


def test_a_kept_handler_that_was_refused_is_closed(tool):
    with ws4py_site(keeping(lambda handler: handler.send("lost"), kept := [], tool)) as site:
        assert refusal(site, "/ws?fail=1").status == 403
        handler, = kept
        assert handler.terminated and handler.happened == []
        with pytest.raises(ConnectionClosed):
            handler.send("nobody gets this")
        assert not handler.subscribe("news")
        handler.close()


def test_a_handler_can_be_closed_before_it_is_open(tool):
    def use(handler):
        handler.send("goodbye")
        handler.close(4001, "no need")
        handler.send("lost")

    with ws4py_site(keeping(use, kept := [], tool)) as site, site.client("/ws") as client:
        assert client.message() == "goodbye"
        assert client.close_code() == 4001
        client.send(0x88, b"\x0f\xa1")
        wait_until(lambda: kept[0].happened[-1:] == [4001])


def test_a_handler_can_enter_channels_before_it_is_open(tool):
    def use(handler):
        assert handler.subscribe("news") and not handler.subscribe("news")
        assert handler.subscribe("other") and handler.unsubscribe("other")
        assert not handler.unsubscribe("other")

    with ws4py_site(keeping(use, [], tool)) as site, site.client("/ws") as client:
        assert site.push.channels() == {"news": 1}
        site.push.publish("news", "new")
        assert sorted([client.message(), client.message()]) == ["new", "opened"]


def test_what_waits_for_the_opening_is_limited(tool):
    raised = []

    def use(handler):
        handler.send("x" * 600)
        try:
            handler.send("y" * 600)
        except MessageTooLarge:
            raised.append(True)

    with ws4py_site(keeping(use, [], tool), max_outbox=1000) as site, site.client("/ws") as client:
        assert client.message() == "x" * 600 and client.message() == "opened"
        assert raised == [True]


def test_a_constructor_that_fails_is_the_sites_error(tool, caplog):
    class Failing(WebSocket):
        def __init__(self, *args, **kw):
            raise RuntimeError("no")

    class Root:
        @cherrypy.expose
        @tool(handler_cls=Failing)
        def ws(self):
            """Never called."""

    with ws4py_site(Root()) as site:
        assert refusal(site, "/ws").status == 500
        assert "RuntimeError: no" in caplog.text


# Heartbeats

class Beating(WebSocket):
    """Ping often, whatever else happens."""

    heartbeat_freq = 0.05


class BeatingByArgument(WebSocket):
    def __init__(self, *args, **kw):
        kw["heartbeat_freq"] = 0.05
        super().__init__(*args, **kw)


class ChattyBeating(Beating):
    def received_message(self, message):
        self.send(message)


@pytest.mark.parametrize("options", [
    {"handler_cls": Beating}, {"handler_cls": BeatingByArgument}, {"handler_cls": ChattyBeating},
    {"heartbeat_freq": 0.05}])
def test_a_heartbeat_is_a_ping_every_so_many_seconds(options):
    class Root:
        @cherrypy.expose
        @cherrypy.tools.websocket(**options)
        def ws(self):
            """Take anybody."""

    with ws4py_site(Root()) as site, site.client("/ws") as client:
        pings = 0
        while pings < 3:
            client.text("I am here")
            first, payload = client.frame()
            if first == 0x89:
                pings += 1
                client.send(0x8A, payload)


def test_without_a_heartbeat_the_settings_count():
    class Root:
        @cherrypy.expose
        @cherrypy.tools.websocket(heartbeat_freq=0)
        def ws(self):
            """Take anybody."""

    with ws4py_site(Root(), ping_interval=0.05) as site, site.client("/ws") as client:
        assert client.frame()[0] == 0x89


@pytest.mark.parametrize("options, says", [
    ({"heartbeat_freq": "2"}, "use seconds"), ({"heartbeat_freq": -1}, "use seconds"),
    ({"heartbeat_freq": True}, "use seconds"), ({"protocols": "chat"}, "use a list"),
    ({"handler_cls": WebSocket.__mro__[2]}, "from pushserver.ws4py"),
    ({"nonsense": 1}, "no option 'nonsense'")])
def test_options_that_cannot_work_are_refused_at_once(options, says):
    with pytest.raises(InvalidSetting, match=says):
        cherrypy.tools.websocket(**options)


# A tool without a plugin

def failure(server):
    """Return the status of a handshake that the site cannot take."""
    site = Site(cherrypy.engine, None, server, "127.0.0.1")
    with pytest.raises(Refused) as caught:
        site.client("/ws")
    assert b"Traceback" not in caught.value.body
    return caught.value.status


def test_a_tool_without_a_plugin_says_so_in_the_log(caplog):
    with served(ChatRoot(), config=CHAT) as server:
        assert failure(server) == 500
    assert "PushPlugin(cherrypy.engine).subscribe()" in caplog.text


def test_a_tool_that_could_belong_to_several_plugins_says_so_in_the_log(caplog):
    other = WebSocketPlugin(cherrypy.engine)
    other.subscribe()
    try:
        with ws4py_site(ChatRoot(), config=CHAT) as site:
            assert failure(site.server) == 500
    finally:
        other.unsubscribe()
    assert "several push plugins" in caplog.text


# A module of pages that is imported first

PAGES = """
import cherrypy
{before}

class Root:
    @cherrypy.expose
    @cherrypy.tools.push()
    def ws(self):
        cherrypy.request.push_id = "ann"
"""

MAIN = """
import cherrypy
from pages import Root
from pushserver import PushPlugin, PushTool

push = PushPlugin(cherrypy.engine)
push.subscribe()
{own}
cherrypy.config.update({{"server.socket_port": {port}, "engine.autoreload.on": False}})
cherrypy.quickstart(Root())
"""


@pytest.mark.parametrize("before", ["from pushserver import Connection",
                                    "import pushserver.web.tool",
                                    "from pushserver import PushTool, ChannelRule"])
@pytest.mark.parametrize("own", ["", "cherrypy.tools.push = PushTool(push)"])
def test_pages_can_be_imported_before_the_tool_is_made(tmp_path, before, own):
    port = free_port()
    (tmp_path / "pages.py").write_text(PAGES.format(before=before))
    (tmp_path / "main.py").write_text(MAIN.format(own=own, port=port))
    with program("main.py", cwd=tmp_path) as process:
        while "Bus STARTED" not in process.stderr.readline():
            assert process.poll() is None
        with Client(("127.0.0.1", port)) as client:
            client.handshake("/ws")
            assert client.hang_up() == 1000
        status, _, err = finish(process)
        assert status == 0, err


OWN_TOOL = """
import cherrypy
cherrypy.tools.push = mine = cherrypy.Tool("on_start_resource", lambda: None)
from pushserver import PushPlugin
assert cherrypy.tools.push is mine
"""


def test_a_tool_of_the_sites_own_is_left_alone():
    done = subprocess.run([sys.executable, "-c", OWN_TOOL], timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
