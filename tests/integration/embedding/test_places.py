"""Where a site can put its push addresses, and which of CherryPy's tools around them."""
from __future__ import annotations

import contextlib
import http.client
from urllib.parse import urlencode

import cherrypy
import pytest
from cherrypy._cptree import Tree
from cherrypy.lib import cpstats
from cherrypy.process.wspbus import Bus

from pushserver import PushAPI, PushPlugin, PushTool
from tests.support.api_client import KEY, Api
from tests.support.embedding import echoes
from tests.support.raw_client import Client, Refused
from tests.support.site import Echo, recorder, Root, running_site, served
from tests.support.waiting import PATIENCE, wait_until


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


def test_virtual_hosts_have_push_addresses_of_their_own():
    root = Root()
    root.shop = Root()
    hosts = cherrypy.dispatch.VirtualHost(**{"shop.example": "/shop"})
    with running_site(root, config={"/": {"request.dispatch": hosts}}) as site:
        for headers in ({}, {"Host": "shop.example"}):
            assert echoes(site, "/echo?Id=1", headers=headers)


def test_the_api_is_mounted_beside_a_site_with_another_dispatcher():
    tree = Tree()
    with running_site(tree) as site:
        tree.mount(Root(), "", {"/": {"request.dispatch": cherrypy.dispatch.MethodDispatcher()}})
        tree.mount(PushAPI(site.push, keys=[KEY]), "/api")
        assert Api(site.port).call("publish", channel="news", data=1) == {}
        tree.apps[""].root.exposed = True
        tree.apps[""].root.inside = PushAPI(site.push, keys=[KEY])
        with site.socket() as client:
            client.sock.sendall(client.request("/inside/publish", method="POST"))
            with pytest.raises(Refused) as refused:
                client.answer()
        assert refused.value.status == 405


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
