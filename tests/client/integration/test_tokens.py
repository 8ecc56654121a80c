"""pushclient's tokens, with real ones that expire, against the real server."""
from __future__ import annotations

import threading
import time

import cherrypy
import jwt
import pytest

from pushclient import ChannelLost, CommandFailed, Disconnected, InvalidSetting, PushClient
from pushserver import ChannelRule, Tokens
from tests.support.site import entered, lose, running_site
from tests.support.waiting import PATIENCE, wait_until

KEY = "k" * 32
RULES = (ChannelRule("private:", subscribe="token", history=100), ChannelRule("news:", history=100))
GRACE = 0.5


def root():
    class Root:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def channels(self):
            """Take tokens only."""
    return Root()


@pytest.fixture(scope="module")
def site():
    with running_site(root(), plugin={"channels": RULES, "tokens": Tokens(KEY, grace=GRACE)}
                      ) as site:
        yield site


def token(user="ann", seconds=60.0, **claims):
    return jwt.encode({"sub": user, "exp": time.time() + seconds, **claims}, KEY, "HS256")


class Maker:
    """A token function that notes its calls: all tokens are good for ``seconds``."""

    def __init__(self, *odd, user="ann", seconds=60.0, for_channel=True):
        self.odd, self.user, self.seconds = list(odd), user, seconds
        self.for_channel = for_channel
        self.asked, self.threads = [], set()

    def __call__(self, *channel):
        self.asked.append(channel)
        self.threads.add(threading.current_thread().name)
        if self.odd:
            next_one = self.odd.pop(0)
            if isinstance(next_one, Exception):
                raise next_one
            return next_one() if callable(next_one) else next_one
        return token(self.user, self.seconds, **({"channel": channel[0]} if channel else {}))


@pytest.fixture
def person(site, start_client):
    """Start clients of the site, or of another; they are closed at the end."""
    return lambda channels, where=site, **options: start_client(
        where.url("/channels"), channels=channels, **{"token": token(), **options})


@pytest.fixture
def name(request):
    """A private channel of this test's own."""
    return f"private:{request.node.name}"


def test_a_private_channel_takes_a_token_or_a_function_for_each_subscription(site, person, name):
    get, other = Maker(), name + " too"
    client = person({name: get, other: token(channel=other), "news:x": None})
    entered(site, name, other, "news:x")
    lose(site, "ann")
    site.push.publish(name, "missed")
    assert client.receive(PATIENCE).data == "missed"
    assert get.asked == [(name,), (name,)]
    assert get.threads == {"pushclient token"}


def test_a_position_and_a_token_go_together(site, person, name):
    site.push.publish(name, "seen")
    seen = site.push.history(name).top
    site.push.publish(name, "missed")
    client = person({name: {"since": seen, "token": Maker()}})
    assert client.receive(PATIENCE).data == "missed"
    late = name + " late"
    client.subscribe(late, (0, ""), token=Maker())
    entered(site, late)


@pytest.mark.parametrize("refused", [lambda: token(channel="private:other"), lambda: "no token",
                                     lambda: token("bob", channel="private:a"), "", None, 5])
def test_a_refused_token_loses_its_channel_and_nothing_else(site, person, name, refused):
    lost = []
    client = person({name: Maker(*[refused] * 9), "news:y": None}, on_lost=lost.append)
    wait_until(lambda: lost)
    assert [(type(one), one.channel, one.code) for one in lost] == [(ChannelLost, name, 103)]
    entered(site, "news:y")
    site.push.publish("news:y", 1)
    assert client.receive(PATIENCE).data == 1


def test_a_refused_token_ends_a_client_that_does_not_listen(person, name):
    client = person({name: Maker(None)})
    with pytest.raises(ChannelLost, match="^103: permission denied: the token function returned "
                                          "none: "):
        client.receive(PATIENCE)


def test_a_function_that_raises_is_asked_again_and_disturbs_nothing(site, person, name, caplog):
    get = Maker(OSError("not now"), OSError("nor now"))
    client = person({name: get, "news:z": None})
    entered(site, "news:z", name)
    assert len(get.asked) == 3 and client.state == "open"
    assert caplog.text.count(f"channel '{name}': the token function failed") == 2
    assert "OSError: not now" in caplog.text


def test_a_function_that_hangs_holds_up_its_own_channel_only(site, person, name):
    go_on = threading.Event()
    get = Maker(go_on.wait)
    try:
        client = person({name: get, "news:h": None}, timeout=0.3)
        entered(site, "news:h")
        lose(site, "ann")
        entered(site, "news:h")
        site.push.publish("news:h", 1)
        assert client.receive(PATIENCE).data == 1
        wait_until(lambda: client._calls._protocol._subscriptions[name].failures >= 2)
        assert get.asked == [(name,)]  # and no second call beside one that hangs
    finally:
        go_on.set()


def test_what_a_function_returns_late_is_taken(site, person, name):
    go_on = threading.Event()
    get = Maker(lambda: (go_on.wait(), token(channel=name))[1])
    try:
        client = person({name: get}, timeout=0.2)
        wait_until(lambda: client._calls._protocol._subscriptions[name].failures >= 2)
    finally:
        go_on.set()
    entered(site, name)
    assert len(get.asked) <= 2


def test_an_expired_token_is_replaced_by_the_functions_next(site, person, name):
    get = Maker(lambda: token(seconds=-1, channel=name))
    person({name: get})
    entered(site, name)
    assert len(get.asked) == 2


def test_a_channels_token_that_is_text_is_over_with_109(site, person, name):
    lost = []
    client = person({name: token(seconds=1, channel=name)}, on_lost=lost.append)
    entered(site, name)
    wait_until(lambda: lost)
    assert (lost[0].channel, lost[0].code, client.state) == (name, 109, "open")


@pytest.mark.slow
def test_tokens_are_refreshed_without_losing_the_connection(site, person, name):
    mine, channels = Maker(seconds=1.5), Maker(seconds=1.5)
    states = []
    client = person({name: channels}, token=mine, on_state=states.append)
    entered(site, name)
    connection, = site.push.connections("ann")
    wait_until(lambda: len(mine.asked) >= 4 and len(channels.asked) >= 4)
    site.push.publish(name, "still in")
    assert client.receive(PATIENCE).data == "still in"
    assert site.push.connections("ann") == [connection]
    assert states == ["connecting", "open"]


def test_a_refresh_that_fails_is_tried_again(site, person, name):
    bad = (OSError("not now"), lambda: token(seconds=-1), lambda: token(seconds=-1, channel=name))
    mine = Maker(lambda: token(seconds=2), bad[0], bad[1])
    channels = Maker(lambda: token(seconds=2, channel=name), bad[0], bad[2])
    with running_site(root(), plugin={"channels": RULES, "tokens": Tokens(KEY)}) as patient:
        client = person({name: channels}, where=patient, token=mine)
        entered(patient, name)
        connection, = patient.push.connections("ann")
        wait_until(lambda: len(mine.asked) == 4 and len(channels.asked) == 4)
        patient.push.publish(name, "still in")
        assert client.receive(PATIENCE).data == "still in"
        assert patient.push.connections("ann") == [connection]
        client.close()


@pytest.mark.slow
def test_a_refresh_that_does_not_come_leads_to_3005_and_a_new_token(site, person):
    """The function fails for as long as the token and its grace last."""
    made, errors = [], []
    over = time.monotonic() + 1 + GRACE + 1

    def get():
        if made and time.monotonic() < over:
            raise OSError("not now")
        made.append(token(seconds=1))
        return made[-1]

    client = person([], token=get,
                    on_state=lambda state: errors.append(client.error))
    first, = wait_until(lambda: site.push.connections("ann"))
    wait_until(lambda: set(site.push.connections("ann")) - {first})
    assert any(isinstance(one, Disconnected) and one.code == 3005 for one in errors)
    assert any(isinstance(one, Disconnected) and "not now" in one.reason for one in errors)


def test_a_connections_token_that_is_text_is_over_with_109(site, person):
    client = person([], token=token(seconds=1))
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="^109: token expired$"):
        client.receive(PATIENCE)
    assert time.monotonic() - began >= GRACE


def test_a_refresh_for_another_user_is_final(site, person):
    client = person([], token=Maker(lambda: token(seconds=1), user="bob"))
    with pytest.raises(Disconnected, match="3500: invalid token"):
        client.receive(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("duplicates, survivors", [("replace", 1), ("share", 2)])
def test_refreshing_goes_with_duplicates(person, duplicates, survivors):
    with running_site(root(), settings={"duplicates": duplicates},
                      plugin={"channels": RULES, "tokens": Tokens(KEY, grace=GRACE)}) as site:
        channel = f"private:{duplicates}"
        gets = [Maker(seconds=1.2), Maker(seconds=1.2)]
        clients = []
        for get in gets:
            clients.append(person({channel: get}, where=site, token=get))
            wait_until(lambda: site.push.channels().get(channel) in (len(clients), 1)
                       and clients[-1].state == "open")
        wait_until(lambda: len(gets[1].asked) >= 8)
        assert len(site.push.connections("ann")) == survivors
        assert [one.state for one in clients].count("open") == survivors
        site.push.publish(channel, "end")
        assert clients[1].receive(PATIENCE).data == "end"
        if survivors == 1:
            with pytest.raises(Disconnected, match="3504"):
                clients[0].receive(PATIENCE)


def test_a_first_token_that_does_not_come_in_time_is_given_up(person):
    go_on = threading.Event()
    try:
        client = person([], token=Maker(go_on.wait), timeout=0.2, max_attempts=2)
        with pytest.raises(Disconnected, match="the token function has not returned in time"):
            client.receive(PATIENCE)
    finally:
        go_on.set()


def test_a_first_token_that_is_no_text_ends_the_client(person):
    with pytest.raises(CommandFailed, match="^the token function returned bytes, not text$"):
        person([], token=lambda: b"bytes").receive(PATIENCE)


def test_closing_waits_for_no_token(person, name):
    go_on = threading.Event()
    try:
        client = person({name: lambda channel: go_on.wait()})
        wait_until(lambda: client._calls._protocol._subscriptions[name].token.ticket)
        client.close()
        assert not client._reconnector._thread.is_alive()
    finally:
        go_on.set()


@pytest.mark.parametrize("channels", [{"a": ""}, {"a": {"token": 5}}, {"a": {"tokens": "t"}},
                                      {"a": {"since": "t"}}, {"a": {"token": b"t"}}])
def test_what_is_no_token_is_said(channels):
    with pytest.raises(InvalidSetting, match="token|position"):
        PushClient("ws://localhost/", channels=channels)
