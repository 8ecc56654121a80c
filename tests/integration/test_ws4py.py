"""Sites of ws4py move over by their imports: each is written for ws4py but for those lines."""
from __future__ import annotations

import contextlib
import json
import struct
import urllib.request
from pathlib import Path

import cherrypy
import pytest
from ws4py.messaging import TextMessage

from pushserver import ConnectionClosed, InvalidSetting, PushPlugin, PushTool
from pushserver.web.tool import subscribed
from pushserver.ws4py import EchoWebSocket, WebSocket, WebSocketPlugin, WebSocketTool
from tests.support.loopback import free_port
from tests.support.programs import finish, program
from tests.support.raw_client import Client, Refused
from tests.support.site import served
from tests.support.waiting import PATIENCE, wait_until

IMPORTS = """\
import json, sys, threading
import cherrypy
from ws4py.messaging import TextMessage
from pushserver.ws4py import WebSocketPlugin, WebSocketTool, WebSocket
cherrypy.config.update({"server.socket_port": int(sys.argv[1]), "engine.autoreload.on": False})
"""

CHAT = IMPORTS + """
WebSocketPlugin(cherrypy.engine).subscribe()
cherrypy.tools.websocket = WebSocketTool()

class ChatWebSocketHandler(WebSocket):
    def received_message(self, m):
        cherrypy.engine.publish("websocket-broadcast", m)

    def closed(self, code, reason="A client left the room without a proper explanation."):
        cherrypy.engine.publish("websocket-broadcast", TextMessage(reason))

class Root:
    @cherrypy.expose
    def index(self):
        return "the page"

    @cherrypy.expose
    def ws(self):
        cherrypy.log("Handler created: %s" % repr(cherrypy.request.ws_handler))

cherrypy.quickstart(Root(), "/", config={
    "/ws": {"tools.websocket.on": True, "tools.websocket.handler_cls": ChatWebSocketHandler}})
"""

LOG_STREAM = IMPORTS + """
plugin = WebSocketPlugin(cherrypy.engine)
cherrypy.tools.websocket = WebSocketTool()

class LogStream(WebSocket):
    def __init__(self, *args, **kw):
        kw["heartbeat_freq"] = 20
        super().__init__(*args, **kw)
        self.streamer = None

    def received_message(self, message):
        if not message.is_text or self.streamer:
            return
        request = json.loads(message.data.decode("utf-8"))
        if "uuid" not in request:
            return self.close(4000, "'uuid' missing from request payload")
        self.streamer = threading.Thread(target=self.feed, args=(request["uuid"],))
        self.streamer.start()

    def feed(self, uuid):
        for number in range(50):
            self.send(f"{self.web.name} {uuid} {number}\\n", False)
        self.close(1000, "No more data")

class Web:
    name = "web"

class Api:
    def __init__(self, web):
        self.web = web

    @cherrypy.expose
    @cherrypy.tools.websocket(handler_cls=LogStream)
    def console_stream(self, tenant):
        cherrypy.request.ws_handler.web = self.web

for _ in range(2):
    plugin.subscribe()
    cherrypy.tree.mount(Api(Web()), "/")
    cherrypy.engine.signals.subscribe()
    cherrypy.engine.start()
    cherrypy.engine.block() if _ else cherrypy.engine.stop()
    cherrypy.server.httpserver = None
    plugin.unsubscribe()
"""

EVENTS = IMPORTS + """
from multiprocessing import Pipe

cherrypy.tools.websocket = WebSocketTool()
WebSocketPlugin(cherrypy.engine).subscribe()

class SynchronizingWebsocket(WebSocket):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pipe = None
        self.opts = None

    def received_message(self, message):
        if message.data.decode("utf-8") == "websocket client ready":
            self.pipe.send(message.data)
        self.send("server received message", False)

class WebsocketEndpoint:
    exposed = True

    def GET(self, token=None, **kwargs):
        if token != "good":
            raise cherrypy.HTTPError(401)
        handler = cherrypy.request.ws_handler

        def event_stream(handler, pipe):
            pipe.recv()
            for number in range(3):
                data = json.dumps({"n": number, **handler.opts})
                handler.send("data: {}\\n\\n".format(data), False)

        parent_pipe, child_pipe = Pipe()
        handler.pipe = parent_pipe
        handler.opts = {"format": "events" if "format_events" in kwargs else "raw"}
        threading.Thread(target=event_stream, args=(handler, child_pipe), daemon=True).start()

cherrypy.quickstart(WebsocketEndpoint(), "/ws", {"/": {
    "request.dispatch": cherrypy.dispatch.MethodDispatcher(),
    "tools.websocket.on": True, "tools.websocket.handler_cls": SynchronizingWebsocket}})
"""


@contextlib.contextmanager
def running(source, tmp_path, starts=1):
    """Run a site; yield its port once its engine has started so often."""
    Path(tmp_path, "moved.py").write_text(source)
    port = free_port()
    with program("moved.py", str(port), cwd=tmp_path) as process:
        lines = iter(process.stderr.readline, "")
        for _ in range(starts):
            assert any("Bus STARTED" in line for line in lines)
        yield port
        status, _, log = finish(process)
        assert status == 0 and "Traceback" not in log, log


def connected(port, path, **options):
    client = Client(("127.0.0.1", port))
    client.handshake(path, **options)
    return client


def test_a_chat_moves_over(tmp_path):
    with running(CHAT, tmp_path) as port:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE)
        with page, connected(port, "/ws") as ann, connected(port, "/ws") as bob:
            assert page.read() == b"the page"
            ann.text("hello")
            assert ann.message() == bob.message() == "hello"
            bob.send(0x82, b"\xff\x00")
            assert ann.message() == bob.message() == b"\xff\x00"
            bob.hang_up()
            assert ann.message() == ""       # the reason, of which there was none


def test_a_stream_of_a_log_moves_over(tmp_path):
    with running(LOG_STREAM, tmp_path, starts=2) as port:
        with connected(port, "/console_stream?tenant=t") as client:
            client.text(json.dumps({"uuid": "u1"}))
            assert [client.message() for _ in range(50)] == \
                [f"web u1 {number}\n" for number in range(50)]
            assert client.frame() == (0x88, struct.pack("!H", 1000) + b"No more data")
        with connected(port, "/console_stream?tenant=t") as client:
            client.text("{}")
            assert client.close_code() == 4000


def test_a_stream_of_events_moves_over(tmp_path):
    with running(EVENTS, tmp_path) as port:
        with connected(port, "/ws?token=good&format_events=1") as client:
            client.text("websocket client ready")
            got = {client.message() for _ in range(4)}
            assert got == {"server received message",
                           *('data: {"n": %d, "format": "events"}\n\n' % n for n in range(3))}


# In this process: what sites do with the handler, the tool and the manager

@contextlib.contextmanager
def moved(root, **options):
    """Serve a site whose plugin is subscribed to CherryPy's engine, but started by itself."""
    plugin = WebSocketPlugin(cherrypy.engine, **options)
    plugin.subscribe()
    PushPlugin.start(plugin)
    try:
        with served(root) as server:
            plugin.port = server.socket.getsockname()[1]
            yield plugin
    finally:
        plugin.stop()
        plugin.unsubscribe()


def site(handler_cls=WebSocket, **options):
    kept = []
    tool = cherrypy.tools.websocket = WebSocketTool()

    class Site:
        handlers = kept

        @cherrypy.expose
        @tool(handler_cls=handler_cls, **options)
        def ws(self):
            handler = cherrypy.request.ws_handler
            handler.room = "blue"
            kept.append(handler)

        @cherrypy.expose
        @tool(handler_cls=handler_cls, **options)
        def refuses(self):
            kept.append(cherrypy.request.ws_handler)
            raise cherrypy.HTTPError(403)

        @cherrypy.expose
        @tool(handler_cls=handler_cls, **options)
        def hasty(self):
            cherrypy.request.ws_handler.send("too early")

    return Site()


def test_the_page_handler_can_keep_the_connection_and_set_attributes():
    class Roomy(WebSocket):
        def opened(self):
            self.send(self.room)

    root = site(Roomy)
    with moved(root) as plugin, connected(plugin.port, "/ws") as client:
        assert client.message() == "blue"
        handler, = root.handlers
        assert [handler] == list(plugin.manager) and handler in plugin.manager
        handler.send("later", False)
        assert client.message() == "later"


def test_a_connection_that_was_refused_or_has_ended_sends_nothing_and_holds_no_socket():
    root = site()
    with moved(root) as plugin:
        with pytest.raises(Refused, match="403"):
            connected(plugin.port, "/refuses")
        with connected(plugin.port, "/ws") as client:
            client.hang_up()
        refused, ended = root.handlers
        for handler in (refused, ended):
            wait_until(lambda one=handler: one.sock is None)
            with pytest.raises(ConnectionClosed, match="is closed"):
                handler.send("nobody gets this")


def test_a_page_handler_that_sends_at_once_is_told_when_it_can(caplog):
    with moved(site()) as plugin, pytest.raises(Refused) as caught:
        connected(plugin.port, "/hasty")
    assert caught.value.status == 500
    assert "the connection is not open yet: send in opened(), or later" in caplog.text


def test_the_bus_and_the_manager_send_to_all():
    with moved(site()) as plugin, connected(plugin.port, "/ws") as one, \
            connected(plugin.port, "/ws") as two:
        wait_until(lambda: len(plugin.manager) == 2)
        for message, binary, arrives in (
                ("text", False, "text"), (b"bytes are text", False, "bytes are text"),
                (b"\x00", True, b"\x00"), (TextMessage("a message"), False, "a message")):
            cherrypy.engine.publish("websocket-broadcast", message, binary)
            plugin.manager.broadcast(message, binary)
            assert [one.message(), one.message(), two.message()] == [arrives] * 3
            two.message()
        assert sorted(plugin.manager.websockets.values(), key=id) == \
            sorted(plugin.manager, key=id)
        plugin.manager.close_all(4000, "all of you")
        assert one.close_code() == two.close_code() == 4000


@pytest.mark.parametrize("how", ["class", "tool", "constructor"])
def test_a_handlers_heartbeat_pings_its_client(how):
    class Beating(WebSocket):
        if how == "class":
            heartbeat_freq = 0.1

        def __init__(self, *args, **options):
            super().__init__(*args, **options, **(
                {"heartbeat_freq": 0.1} if how == "constructor" else {}))

    options = {"heartbeat_freq": 0.1} if how == "tool" else {}
    with moved(site(Beating, **options)) as plugin, connected(plugin.port, "/ws") as client:
        assert client.frame()[0] == 0x89
        client.send(0x8A)
        assert client.frame()[0] == 0x89


def test_the_options_of_ws4pys_tool_are_taken():
    root = site(EchoWebSocket, protocols=["chat"], extensions=["none"], version=(13,))
    with moved(root) as plugin:
        client = Client(("127.0.0.1", plugin.port))
        with client:
            client.handshake("/ws", headers={"Sec-WebSocket-Protocol": "other, chat"})
            client.text("there and back")
            assert client.message() == "there and back"
            assert root.handlers[0].protocols == ["chat"]


def test_a_tool_finds_the_plugin_that_is_subscribed_when_it_is_needed():
    with pytest.raises(InvalidSetting, match="no push plugin: call PushPlugin"):
        subscribed()
    first, second = PushPlugin(cherrypy.engine), PushPlugin(cherrypy.engine)
    first.subscribe()
    try:
        assert subscribed() is first
        second.subscribe()
        with pytest.raises(InvalidSetting, match="several push plugins"):
            subscribed()
    finally:
        first.unsubscribe()
        second.unsubscribe()


def test_a_module_can_use_the_tool_before_the_site_has_made_its_own(tmp_path):
    source = ("import cherrypy, pushserver.web\n"
              "class Site:\n"
              "    @cherrypy.expose\n"
              "    @cherrypy.tools.push()\n"
              "    def ws(self, Id): pass\n"
              "from pushserver import PushPlugin, PushTool\n"
              "import sys\n"
              "cherrypy.config.update({'server.socket_port': int(sys.argv[1])})\n"
              "push = PushPlugin(cherrypy.engine)\n"
              "push.subscribe()\n")
    for own in ("", "cherrypy.tools.push = PushTool(push)\n"):
        with running(source + own + "cherrypy.quickstart(Site())\n", tmp_path) as port:
            connected(port, "/ws?Id=1").close()


def test_a_handler_class_of_ws4pys_own_is_refused_with_what_to_use():
    from ws4py.websocket import WebSocket as Original
    for tool in (WebSocketTool(), PushTool()):
        with pytest.raises(InvalidSetting, match="use a subclass of pushserver.Connection"):
            tool(handler_cls=Original)
