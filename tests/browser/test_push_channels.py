"""push-channels.js: its types, its size, and itself in Node against the real server."""
from __future__ import annotations

import contextlib
import re
import time

import cherrypy
import jwt
import pytest

from pushserver import ChannelRule, Tokens
from tests.browser import test_push_client_live as live
from tests.browser.test_push_client import block
from tests.support.programs import ROOT
from tests.support.site import running_site
from tests.support.waiting import wait_until

FOLDER = ROOT / "clients" / "browser"
CLIENT = FOLDER / "push-channels.js"
PROTOCOL = FOLDER / "push-protocol.js"
TYPES = CLIENT.with_suffix(".d.ts")
DRIVER = ROOT / "tests" / "browser" / "push-channels-driver.mjs"
RULES = (ChannelRule("news:", history=10, publish="anyone", see_history="anyone",
                     see_presence="anyone", join_leave=True), ChannelRule("none:"))


def test_they_are_short_and_need_only_each_other():
    assert CLIENT.read_text("utf-8").count("\n") < 250
    assert PROTOCOL.read_text("utf-8").count("\n") < 350
    imports = [set(re.findall(r'from "(.*)"', path.read_text("utf-8")))
               for path in (CLIENT, PROTOCOL)]
    assert imports == [{"./push-client.js", "./push-protocol.js"}, set()]


def test_what_is_public_is_typed():
    source, text = CLIENT.read_text("utf-8"), TYPES.read_text("utf-8")
    public = set(re.findall(r"^  (?:async |get )?(\w+)\(.*\) \{", source, re.MULTILINE))
    declared = set(re.findall(r"^  (?:readonly )?(\w+)[(:]", block(text, "class PushClient"),
                              re.MULTILINE))
    assert declared - {"addEventListener", "removeEventListener"} | {"dispatchEvent"} == public
    options = set(re.findall(r"^  (\w+)\?:", block(text, "interface ChannelOptions"), re.MULTILINE))
    assert options == {"channels", "token"}


def test_events_are_typed():
    text = TYPES.read_text("utf-8")
    told = {name: set(re.findall(r"\b(\w+)(?:[,:]|$)", fields)) for name, fields in re.findall(
        r'type: "(publication|gap|subscribed|lost|retry)", ([^}]*?) }',
        PROTOCOL.read_text("utf-8"))}
    assert set(told) | {"join", "leave"} == \
        set(re.findall(r"^  (\w+):", block(text, "interface ChannelEvents"), re.MULTILINE))
    for name in ("gap", "subscribed", "lost", "retry"):
        typed = block(text, f"interface {name.title()}Event")
        assert set(re.findall(r"^  readonly (\w+):", typed, re.MULTILINE)) == told[name]


@pytest.fixture
def site():
    class Root:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def channels(self, Id):
            """Let everybody in."""
    with running_site(Root(), plugin={"channels": RULES}) as site:
        yield site


@contextlib.contextmanager
def client(site, monkeypatch, *channels):
    monkeypatch.setattr(live, "DRIVER", DRIVER)
    with live.driver(site.url("/channels"), Id="42", channels=channels) as run:
        yield run


def test_a_client_in_node_misses_nothing(site, monkeypatch):
    with client(site, monkeypatch, "news:a") as run:
        run.until("subscribed", "news:a", False)
        site.push.publish("news:a", {"n": 1})
        wait_until(lambda: run.next()[0] == "publication")
        site.push.disconnect("42", code=3001)
        for number in range(2, 6):
            site.push.publish("news:a", number)
        said = run.until("publication", "news:a", 5, 5)
        found = [one[2] for one in said if one[0] == "publication"]
        assert found == [2, 3, 4, 5]
        assert ("subscribed", "news:a", True) in said and "gap" not in {one[0] for one in said}
        run.tell("close")
        assert run.ended()[-1] == ["close", None]


@pytest.mark.parametrize("channel", ["news:b", "none:b"])
def test_a_client_in_node_is_told_of_a_gap(site, monkeypatch, channel):
    with client(site, monkeypatch, channel) as run:
        run.until("subscribed", channel, False)
        site.push.disconnect("42", code=3001)
        wait_until(lambda: not site.push.connections("42"))
        for number in range(11):
            site.push.publish(channel, number)
        run.until("gap", channel)


def test_a_client_in_node_calls_the_server(site, monkeypatch):
    with client(site, monkeypatch, "news:c", "refused") as run:
        run.until("lost", "refused", 103, "permission denied")
        run.tell("publish", "news:c", "mine")
        said = run.until("publish", None)
        assert ("publication", "news:c", "mine", 1) in said
        run.tell("publish", "none:c", 1)
        run.until("publish", "ChannelError", "103: permission denied", 103)
        run.tell("presence", "news:c")
        kind, found = run.next()
        assert kind == "presence" and [info["user"] for info in found.values()] == ["42"]


# tokens, real ones

KEY = "k" * 32


def token(seconds=60.0, **claims):
    return jwt.encode({"sub": "ann", "exp": time.time() + seconds, **claims}, KEY, "HS256")


@contextlib.contextmanager
def asking(monkeypatch, *channels, **settings):
    """A site that takes tokens only, and a client that asks the test for each."""
    class Root:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def channels(self):
            """Take tokens only."""
    monkeypatch.setattr(live, "DRIVER", DRIVER)
    rules = (ChannelRule("private:", subscribe="token", history=10),)
    with running_site(Root(), settings=settings,
                      plugin={"channels": rules, "tokens": Tokens(KEY, grace=0.5)}) as site, \
            live.driver(site.url("/channels"), channels={}, asks=["", *channels]) as run:
        yield site, run


@pytest.mark.parametrize("duplicates", ["share", "replace"])
def test_a_client_in_node_refreshes_its_tokens(monkeypatch, duplicates):
    channel = "private:a"
    with asking(monkeypatch, channel, duplicates=duplicates) as (site, run):
        run.until("token", "")
        run.tell("give", token(1))
        run.until("token", channel)
        run.tell("give", token(1, channel=channel))
        run.until("subscribed", channel, False)
        connection, = site.push.connections("ann")
        for _ in range(4):  # longer than both and their grace
            asked = next(one[1] for one in iter(run.next, None) if one[0] == "token")
            run.tell("give", token(1, **({"channel": asked} if asked else {})))
        site.push.publish(channel, "still in")
        said = run.until("publication", channel, "still in", 1)
        assert {one[0] for one in said} <= {"token", "publication"}
        assert site.push.connections("ann") == [connection]


def test_a_client_in_node_comes_back_with_another_token(monkeypatch):
    channel = "private:a"
    with asking(monkeypatch, channel) as (site, run):
        run.until("token", "")
        run.tell("give", token(1))
        run.until("token", channel)
        run.tell("give", token(60, channel=channel))
        run.until("subscribed", channel, False)
        run.until("close", 3005, "connection expired", False)  # nobody has given another
        site.push.publish(channel, "missed")
        said = run.until("token", "")
        run.tell("give", token(60))  # for the refresh, whose connection has gone
        run.tell("give", token(60))
        run.until("token", channel)
        run.tell("give", token(60, channel=channel))
        run.until("publication", channel, "missed", 1)
        assert "lost" not in {one[0] for one in said}


def test_a_refused_token_loses_its_channel_in_node_and_nothing_else(monkeypatch):
    with asking(monkeypatch, "private:a", "private:b") as (site, run):
        run.until("token", "")
        run.tell("give", token())
        run.until("token", "private:b")
        run.tell("give", token(channel="private:other"))
        run.tell("give", token(channel="private:b"))
        said = run.until("subscribed", "private:b", False)
        assert ("lost", "private:a", 103, "permission denied") in said
        assert site.push.channels() == {"private:b": 1}
