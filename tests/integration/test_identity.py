"""Who a client is: tokens on live connections, in URLs and for channels; sessions that end."""
from __future__ import annotations

import contextlib
import functools
import time

import cherrypy
import jwt
import pytest

from pushserver import (CentrifugeConnection, ChannelRule, Connection, ConnectionClosed,
                        Tokens)
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.raw_client import Refused
from tests.support.site import running_site
from tests.support.waiting import wait_until

SECRET = "0123456789abcdef0123456789abcdef"
RULES = (ChannelRule("private:", subscribe="token", see_presence="subscribers"),
         ChannelRule("mine:", subscribe="users"))


def token(sub="42", ttl=None, **claims):
    if ttl is not None:
        claims["exp"] = time.time() + ttl
    return jwt.encode({"sub": sub, **claims}, SECRET, algorithm="HS256")


class Anonymous(CentrifugeConnection):
    """Let everybody in."""

    anonymous = True


def root():
    """Return a site; its class is made anew, for the tool is the running site's."""
    class Connection:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def websocket(self):
            """Take tokens only: nobody can name himself."""

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def named(self, Id=None):
            """Take an Id, too."""

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def known(self):
            """Say who it is."""
            cherrypy.request.push_id = "from the page"

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def chosen(self, Id):
            """Take an Id and say something else."""
            cherrypy.request.push_id = "from the page"

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Anonymous)
        def free(self):
            """Take everybody."""

    class Site:
        connection = Connection()

        @cherrypy.expose
        @cherrypy.tools.push()
        def with_token(self):
            """Take tokens only."""
            if cherrypy.request.push_claims is None:
                raise cherrypy.HTTPError(401, "show a token")
            cherrypy.request.push_data["user"] = cherrypy.request.push_claims.user

        @cherrypy.expose
        @cherrypy.tools.push()
        def with_anything(self, **rest):
            """Take whatever there is."""
            cherrypy.request.push_data.update(rest)

        @cherrypy.expose
        @cherrypy.tools.push()
        def chosen(self, Id):
            """Take an Id and say something else."""
            cherrypy.request.push_id = "from the page"

        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(trust_id=True)
        def trusting(self, Id):
            """Accept everybody."""
            if cherrypy.serving.request.config.get("tools.sessions.on"):
                cherrypy.session["seen"] = True
                cherrypy.engine.publish("test-bind")

        @cherrypy.expose
        def login(self):
            cherrypy.session["user"] = "ann"
            return cherrypy.session.id

        @cherrypy.expose
        def logout(self):
            found = cherrypy.engine.publish("test-logout")
            cherrypy.lib.sessions.expire()
            return str(found[0])

    return Site()


@contextlib.contextmanager
def serving(site_root=None, *, grace=25.0, **options):
    tokens = options.pop("tokens", None) or Tokens(secret=SECRET, grace=grace)
    plugin = {"channels": RULES, "tokens": tokens}
    with running_site(site_root or root(), plugin=plugin, **options) as site:
        yield site


@pytest.fixture
def site():
    with serving() as site:
        yield site


def refused(site, path):
    """Return the status and the line with which a handshake is refused."""
    with pytest.raises(Refused) as caught:
        site.client(path).close()
    line = caught.value.body.decode()
    assert line.count("\n") == 1
    return caught.value.status, line


# Centrifugo's protocol

def test_a_token_says_who_the_user_is(site):
    with RawClient(site) as client:
        result = client.connect(token=token(info={"name": "Ann"}))
        assert "expires" not in result
        assert site.push.ids() == ["42"]
        site.push.send("42", "by Id")
        assert client.push() == {"message": {"data": "by Id"}}
        connection, = site.push.connections("42")
        assert (connection.user_id, connection.info) == ("42", {"name": "Ann"})


def test_a_tokens_channels_are_there_from_the_start(site):
    with RawClient(site) as client:
        assert set(client.connect(token=token(channels=["a", "private:b"]))["subs"]) == \
            {"a", "private:b"}


def test_a_token_that_is_not_taken_ends_the_connection(site):
    for bad in ("x", jwt.encode({"sub": "42"}, "y" * 32, algorithm="HS256"),
                jwt.encode({"sub": "42"}, None, algorithm="none"), token(sub="4\x002"),
                token(sub="x" * 129)):
        with RawClient(site) as client:
            client.send(client.command("connect", token=bad))
            assert client.closing() == (3500, "invalid token")


def test_an_expired_token_is_told_so_that_the_client_gets_another(site):
    with RawClient(site) as client:
        assert client.connect(token=token(ttl=-1)) == 109


def test_clocks_that_differ_a_little_keep_nobody_out(site):
    with RawClient(site) as client:
        assert client.connect(token=token(iat=time.time() + 5))["client"]
    with RawClient(site) as client:
        assert client.connect(token=token(nbf=time.time() + 5)) == 109


def test_why_a_token_is_refused_is_in_the_sites_log(site, caplog):
    caplog.set_level("INFO", "pushserver")
    with RawClient(site) as client:
        client.send(client.command("connect", token=jwt.encode({"sub": "42"}, "y" * 32)))
        assert client.closing() == (3500, "invalid token")
    with RawClient(site) as client:
        client.send(client.command("connect"))
        assert client.closing()[0] == 3500
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records
            if record.name.startswith("pushserver")] == [
        "Signature verification failed", "it sent neither a token nor an Id"]


def test_without_a_token_nobody_connects_where_nobody_can_name_himself(site):
    with RawClient(site) as client:
        client.send(client.command("connect"))
        assert client.closing() == (3500, "invalid token: none was sent")
    assert refused(site, PATH + "?Id=admin") == \
        (400, "Id is not the client's to choose here: leave it out\n")


def test_a_site_without_a_key_takes_no_token():
    with running_site(root()) as site:
        with RawClient(site, "/connection/named?Id=42") as client:
            client.send(client.command("connect", token=token()))
            assert client.closing() == (3500, "invalid token: the site accepts none")


def test_the_id_and_the_token_must_not_say_different_things(site, caplog):
    caplog.set_level("INFO", "pushserver")
    with RawClient(site, "/connection/known") as client:
        assert client.connect(token=token(sub="from the page"))["client"]
    with RawClient(site, "/connection/known") as client:
        client.send(client.command("connect", token=token()))
        assert client.closing() == (3500, "invalid token")
    assert "a token was refused: its sub is not the Id" in caplog.text


def test_the_page_handler_can_say_who_the_user_is(site):
    with RawClient(site, "/connection/known") as client:
        client.connect()
        assert site.push.ids() == ["from the page"]


def test_what_the_page_handler_says_counts_more_than_the_url(site):
    with RawClient(site, "/connection/chosen?Id=admin") as client:
        client.connect()
        assert site.push.ids() == ["from the page"]
    with site.client("/chosen?Id=admin") as client:
        assert site.push.ids() == ["from the page"]


def test_an_anonymous_client_has_no_users_rights(site):
    with RawClient(site, "/connection/free") as client:
        client.connect()
        assert client.call("subscribe", channel="mine:a") == 103


def test_an_id_has_its_limit_also_when_a_token_says_it():
    with serving(settings={"max_connections_per_id": 1}) as site:
        with RawClient(site) as first, RawClient(site) as second:
            first.connect(token=token())
            second.send(second.command("connect", token=token()))
            assert second.closing() == (3013, "too many connections of this user")
    with serving(settings={"duplicates": "replace"}) as site:
        with RawClient(site) as first, RawClient(site) as second:
            first.connect(token=token())
            second.connect(token=token())
            assert first.close_code() == 3504


def test_a_connection_ends_some_time_after_its_token():
    with serving(grace=0.1) as site:
        with RawClient(site) as client, RawClient(site) as other:
            other.connect(token=token(ttl=60))
            result = client.connect(token=token(ttl=1))
            assert result["expires"] is True and result["ttl"] == 1
            assert client.closing() == (3005, "connection expired")
            assert other.call("unsubscribe", channel="x") == {}


def test_a_refreshed_connection_goes_on():
    with serving(grace=0.3) as site:
        with RawClient(site) as client:
            client.connect(token=token(ttl=1))
            over = time.time() + 1.5     # longer than the first token and its grace
            result = client.call("refresh", token=token(ttl=60))
            assert result["expires"] is True and 58 <= result["ttl"] <= 60
            wait_until(lambda: time.time() > over)
            assert client.call("unsubscribe", channel="x") == {}
            assert "expires" not in client.call("refresh", token=token())


def test_a_refresh_must_be_good_and_of_the_same_user(site):
    for bad, code in ((token(sub="43", ttl=60), 3500), ("x", 3500), ("", 3501)):
        with RawClient(site) as client:
            client.connect(token=token(ttl=60))
            client.send(client.command("refresh", token=bad))
            assert client.closing()[0] == code
    with RawClient(site) as client:
        client.connect(token=token(ttl=60))
        assert client.call("refresh", token=token(ttl=-1)) == 109
        assert client.call("refresh", token=token(ttl=60))["expires"]


def in_url(path="/connection/named", **claims):
    return f"{path}?token={token(**claims)}"


def test_a_token_in_the_url_does_for_connect_and_ends_the_connection_as_well():
    with serving(grace=0.1) as site:
        with RawClient(site, in_url(ttl=1, info="Ann", channels=["private:a"])) as client:
            result = client.connect()
            assert result["expires"] is True and result["ttl"] == 1
            assert set(result["subs"]) == {"private:a"}
            connection, = site.push.connections("42")
            assert (connection.user_id, connection.info) == ("42", "Ann")
            assert client.closing() == (3005, "connection expired")


def test_a_connection_with_its_token_in_the_url_is_refreshed():
    with serving(grace=0.3) as site:
        with RawClient(site, in_url(ttl=1)) as client:
            client.connect()
            over = time.time() + 1.5     # longer than the first token and its grace
            assert client.call("refresh", token=token(ttl=60))["expires"] is True
            wait_until(lambda: time.time() > over)
            assert client.call("unsubscribe", channel="x") == {}


def test_a_token_in_connect_counts_more_than_the_one_in_the_url(site):
    with RawClient(site, in_url(ttl=60)) as client:
        assert "expires" not in client.connect(token=token(channels=["a"]))
    with RawClient(site, in_url()) as client:
        client.send(client.command("connect", token=token(sub="43")))
        assert client.closing() == (3500, "invalid token")


def test_a_channels_token_opens_a_private_channel(site):
    with RawClient(site) as client:
        client.connect(token=token())
        assert client.call("subscribe", channel="private:a") == 103
        assert client.call("subscribe", channel="private:a",
                           token=token(channel="private:b")) == 103
        assert client.call("subscribe", channel="private:a",
                           token=token(sub="43", channel="private:a")) == 103
        assert client.call("subscribe", channel="private:a",
                           token=token(channel="private:a", ttl=-1)) == 109
        result = client.call("subscribe", channel="private:a",
                             token=token(channel="private:a", ttl=60, info="of the channel"))
        assert result["expires"] is True and 58 <= result["ttl"] <= 60
        info, = client.call("presence", channel="private:a")["presence"].values()
        assert info["chan_info"] == "of the channel"


def test_a_subscription_ends_some_time_after_its_token_unless_refreshed():
    with serving(grace=0.1) as site:
        with RawClient(site) as client:
            client.connect(token=token())
            for channel in ("private:a", "private:b"):
                client.call("subscribe", channel=channel, token=token(channel=channel, ttl=1))
            result = client.call("sub_refresh", channel="private:a",
                                 token=token(channel="private:a", ttl=60))
            assert result["expires"] is True
            assert client.push() == {"channel": "private:b", "unsubscribe": {
                "code": 2501, "reason": "subscription expired"}}
            assert site.push.channels() == {"private:a": 1}
            assert client.call("sub_refresh", channel="private:a", token="x") == 103
            assert client.call("sub_refresh", channel="private:a") == 107
            assert client.call("sub_refresh", channel="private:b", token="x") == 103


# Plain connections

def test_a_token_in_the_url_says_who_a_plain_client_is(site):
    with site.client(f"/websocket?token={token()}") as client:
        site.push.send("42", "hello")
        assert client.message() == "hello"
    with site.client(f"/websocket?Id=42&token={token()}"):
        pass
    assert refused(site, "/websocket?Id=42") == (401, "an Id proves nothing here: show a token\n")


def test_a_token_in_the_url_names_channels_of_a_plain_client(site):
    with site.client(in_url("/with_token", channels=["private:a"])) as client:
        site.push.publish("private:a", "for a few")
        assert client.message() == "for a few"


def test_a_token_in_the_url_that_is_not_taken_is_a_401_and_only_the_log_says_why(site, caplog):
    caplog.set_level("INFO", "pushserver")
    for query, why in [("token=x", "Not enough segments"), ("token=", "empty"),
                       (f"token={token()}&token={token()}", "empty"),
                       (f"token={token(ttl=-1)}", "expired"),
                       (f"Id=43&token={token()}", "its sub is not the Id"),
                       (f"token={token(channel='a')}", "for a channel")]:
        assert refused(site, f"/websocket?{query}") == \
            (401, "the token is not valid: get a new one\n")
        wait_until(lambda: why in caplog.text, what=why)
    status, line = refused(site, f"/websocket?token={jwt.encode({}, SECRET)}")
    assert (status, "Id is missing" in line) == (400, True)


def test_a_page_handler_without_an_id_can_require_a_token(site):
    with site.client(f"/with_token?token={token()}"):
        connection, = site.push.connections("42")
        assert connection.data == {"user": "42"}
    assert refused(site, "/with_token?Id=42")[0] == 400
    with site.client(f"/with_token?Id=42&token={token()}"):
        pass
    assert refused(site, f"/with_token?token={token(sub='x' * 129)}")[0] == 400
    with site.client(f"/with_anything?token={token()}"):
        wait_until(lambda: [one.data for one in site.push.connections("42")] == [{"Id": "42"}])
    with RawClient(site, in_url(PATH)) as client:
        client.connect()
        assert site.push.ids() == ["42"]


def test_a_plain_connection_ends_with_its_token(site):
    with site.client(f"/websocket?token={token(ttl=0.5)}") as client:
        assert client.close_code() == 3005


# What ?Id= is worth

def decorated(handler):
    """Wrap a page handler as many sites do, so that its own parameters can be seen."""
    @functools.wraps(handler)
    def wrapper(*args, **kwargs):
        return handler(*args, **kwargs)
    return wrapper


class User(Connection):
    """Put each client into a channel of its own, as sites do."""

    def opened(self):
        self.subscribe(f"user:{self.Id}")


kept = []


def named_sites():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=User)
        def asked(self, Id):
            """Take an Id."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=User)
        @decorated
        def wrapped(self, Id):
            """Take an Id."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=User)
        def either(self, Id=None):
            """Take an Id or none."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=User)
        def others(self, **rest):
            """Take whatever there is."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=User)
        def nothing(self):
            """Take no Id."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=User, trust_id=True)
        def trusting(self):
            """Trust it, without looking at it."""

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def protocol(self, Id=None):
            """Take an Id or none."""

        @cherrypy.expose
        @cherrypy.tools.push()
        @cherrypy.config(**{"tools.known.on": True})
        def logged_in(self):
            """Know the client by the site's login."""

        @cherrypy.expose
        @cherrypy.tools.push()
        def says(self, Id=None, who="ann"):
            """Say who it is."""
            cherrypy.request.push_id = who if who != "7" else 7

        @cherrypy.expose
        @cherrypy.tools.push()
        def passes_on(self):
            """Let another page answer."""
            kept.append(cherrypy.request.ws_handler)
            raise cherrypy.InternalRedirect("/says")

        @cherrypy.expose
        @cherrypy.tools.push()
        def says_nobody(self, Id=None):
            """Know nobody, as where nobody has logged in."""
            cherrypy.request.push_id = None

        @cherrypy.expose
        @cherrypy.tools.push(trust_id=True)
        def trusts_nobody(self):
            """Know nobody, as where nobody has logged in."""
            cherrypy.request.push_id = None

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def nobody(self, Id=None):
            """Know nobody, as where nobody has logged in."""
            cherrypy.request.push_id = None

    return Site()


def know():
    cherrypy.request.login = "ann"


cherrypy.tools.known = cherrypy.Tool("before_handler", know)


@pytest.mark.parametrize("path", ["asked", "wrapped", "either", "others", "nothing", "protocol"])
def test_where_tokens_count_nobody_is_who_he_says(path):
    with serving(named_sites()) as site:
        status, line = refused(site, f"/{path}?Id=admin")
        assert status == (400 if path in ("others", "nothing") else 401)
        assert len(site.push) == 0 and "user:admin" not in site.push.channels()


@pytest.mark.parametrize("path", ["asked", "wrapped", "either", "trusting"])
def test_where_no_tokens_count_a_page_handler_that_takes_the_id_vouches_for_it(path):
    with running_site(named_sites()) as site:
        with site.client(f"/{path}?Id=ann"):
            wait_until(lambda: site.push.channels() == {"user:ann": 1})


def test_an_id_is_not_taken_behind_the_page_handlers_back():
    with running_site(named_sites()) as site:
        for path in ("others", "nothing"):
            assert refused(site, f"/{path}?Id=admin")[0] == 400
        assert site.push.ids() == []


def test_a_tool_can_trust_the_id_although_tokens_count():
    with serving(named_sites()) as site:
        with site.client("/trusting?Id=ann"):
            assert site.push.ids() == ["ann"]


@pytest.mark.parametrize("serve", [running_site, serving])
def test_what_the_page_handler_says_needs_no_id_in_the_url(serve):
    with serve(named_sites()) as site:
        for query in ("", "?Id=admin", "?who=ann"):
            with site.client(f"/says{query}"):
                assert site.push.ids() == ["ann"]
            wait_until(lambda: not len(site.push))


@pytest.mark.parametrize("serve", [running_site, serving])
@pytest.mark.parametrize("path", ["says_nobody", "trusts_nobody"])
def test_where_the_page_handler_knows_nobody_nobody_can_name_himself(path, serve):
    with serve(named_sites()) as site:
        for query in ("?Id=admin", ""):
            status, line = refused(site, f"/{path}{query}")
            assert status in (400, 401) and line
        assert len(site.push) == 0
    with serving(named_sites()) as site, site.client(f"/{path}?token={token()}"):
        assert site.push.ids() == ["42"]


@pytest.mark.parametrize("serve", [running_site, serving])
def test_in_the_protocol_too_a_page_handler_that_knows_nobody_lets_nobody_in(serve):
    with serve(named_sites()) as site, RawClient(site, "/nobody?Id=admin") as client:
        client.send(client.command("connect"))
        assert client.closing()[0] == 3500


def test_a_token_and_what_the_page_handler_says_must_not_differ():
    with serving(named_sites()) as site:
        assert refused(site, f"/says?token={token(sub='bob')}") == \
            (401, "the token is not valid: get a new one\n")
        with site.client(f"/says?token={token(sub='ann', info='of Ann')}"):
            assert site.push.connections("ann")[0].info == "of Ann"


@pytest.mark.parametrize("seconds", [[0.3], [60, 0.3], [None, 0.3]])
def test_a_page_handler_can_say_when_the_connection_ends(seconds):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(trust_id=True)
        def websocket(self):
            for one in seconds:
                cherrypy.request.ws_handler.expire(one)

    with running_site(Site()) as site, site.client() as client:
        assert client.close_code() == 3005


def test_a_request_that_is_passed_on_leaves_no_connection_behind():
    with running_site(named_sites()) as site, site.client("/passes_on"):
        assert site.push.ids() == ["ann"]
        with pytest.raises(ConnectionClosed):
            kept.pop().send("nobody gets this")


def test_an_id_is_not_taken_where_the_handler_is_no_page_handler_of_cherrypys():
    def dispatch(path):
        cherrypy.dispatch.Dispatcher()("/nothing")
        handler = (lambda Id: None) if path == "/asks" else (lambda: None)
        cherrypy.serving.request.handler = handler

    with running_site(named_sites(), config={"/": {"request.dispatch": dispatch}}) as site:
        assert refused(site, "/any?Id=admin")[0] == 400


def test_what_the_page_handler_says_is_an_id_like_any_other():
    with running_site(named_sites()) as site:
        assert refused(site, f"/says?who={'x' * 129}")[0] == 400
        assert refused(site, "/says?who=a%0Ab")[0] == 400
        assert refused(site, "/says?who=")[0] == 400     # nothing was said
        assert refused(site, "/says?who=7")[0] == 500    # the site's fault: not text
        assert site.push.ids() == []


@pytest.mark.parametrize("serve", [running_site, serving])
def test_a_login_says_who_a_client_is(serve):
    with serve(named_sites()) as site:
        with site.client("/logged_in"):
            assert site.push.ids() == ["ann"]


def test_a_client_that_nobody_knows_is_told_to_log_in():
    with running_site(named_sites()) as site:
        assert refused(site, "/nothing") == \
            (401, "nobody has said who this client is: log in first\n")
        assert refused(site, "/either")[0] == 400       # it could have named itself


# Sessions

def cookie_page(site, path, cookie=None):
    """Return a page's text and the session's cookie."""
    from http.client import HTTPConnection
    connection = HTTPConnection(site.host, site.port)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    header = answer.getheader("Set-Cookie")
    return text, header.split(";")[0] if header else cookie


def test_a_logout_closes_the_sockets_of_its_session_and_no_other():
    config = {"/": {"tools.sessions.on": True}}
    with serving(config=config) as site:
        def bind():
            site.push.bind_session()

        def logout():
            return site.push.end_session()

        cherrypy.engine.subscribe("test-bind", bind)
        cherrypy.engine.subscribe("test-logout", logout)
        try:
            _, ann = cookie_page(site, "/login")
            _, bob = cookie_page(site, "/login")
            with site.client("/trusting?Id=1", headers={"Cookie": ann}) as first, \
                    site.client("/trusting?Id=1", headers={"Cookie": ann}) as second, \
                    site.client("/trusting?Id=1", headers={"Cookie": bob}) as other:
                wait_until(lambda: len(site.push) == 3)
                assert cookie_page(site, "/logout", ann)[0] == "2"
                assert first.close_code() == second.close_code() == 3505
                site.push.broadcast("still here")
                assert other.message() == "still here"
        finally:
            cherrypy.engine.unsubscribe("test-bind", bind)
            cherrypy.engine.unsubscribe("test-logout", logout)
