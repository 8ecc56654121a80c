"""pushclient in channels, against the real server."""
from __future__ import annotations

import subprocess
import threading
import time

import cherrypy
import jwt
import pytest

from pushclient import (ChannelLost, CommandFailed, ConnectionClosed, Disconnected, InvalidSetting,
                        NotConnected, PushClient, PushError, QueueFull)
from pushserver import CentrifugeConnection, ChannelRule, Tokens
from pushserver.wire.frames import OPCODE_TEXT, frame
from tests import cut_connections
from tests.support.programs import program
from tests.support.scripted_server import Server
from tests.support.site import entered, lose, running_site
from tests.support.waiting import PATIENCE, wait_until

KEY = "k" * 32
RULES = (
    ChannelRule("news:", history=10, publish="anyone", see_history="anyone", see_presence="anyone",
                join_leave=True),
    ChannelRule("many:", history=2000),
    ChannelRule("none:"))


class Handler(CentrifugeConnection):
    """A site's handler."""

    heard: list = []

    def connecting(self, data):
        if self.user_id == "guest":
            self.subscribe("news:guests")

    def rpc(self, method, data):
        if method == "double":
            return 2 * data
        return super().rpc(method, data)

    def message(self, data):
        self.heard.append(data)


def root():
    class Root:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Handler, trust_id=True)
        def channels(self, Id=None):
            """Let everybody in who says who they are."""

        @cherrypy.expose
        @cherrypy.tools.push(trust_id=True)
        def websocket(self, Id):
            """Speak plainly."""
    return Root()


@pytest.fixture(scope="module")
def site():
    with running_site(root(), plugin={"channels": RULES, "tokens": Tokens(KEY)}) as site:
        yield site


@pytest.fixture
def person(site, start_client):
    """Start clients of the site; they are closed at the end."""
    return lambda *channels, Id="42", path="/channels", since=None, **options: start_client(
        site.url(path), Id=Id, channels=since or channels, **options)


@pytest.fixture
def name(request):
    """A channel of this test's own."""
    return f"news:{request.node.name}"


def test_publications_come_by_iterating_in_order(site, person, name):
    client = person(name, "none:b")
    entered(site, name, "none:b")
    for number in range(5):
        site.push.publish(name, {"n": number})
    site.push.publish("none:b", "text")
    found = [client.receive(PATIENCE) for _ in range(6)]
    assert [(one.channel, one.data, one.offset) for one in found] == \
        [(name, {"n": number}, number + 1) for number in range(5)] + [("none:b", "text", 0)]
    assert client.position(name) == (5, found[0].epoch)


@pytest.mark.parametrize("call", [
    lambda client, name: client.rpc("double", 21) == 42,
    lambda client, name: client.publish("news:elsewhere", "x") is None,
    lambda client, name: "42" in {one["user"] for one in client.presence(name).values()},
    lambda client, name: len(client.history(name)) == 10], ids=["rpc", "publish", "presence",
                                                                "history"])
def test_a_full_queue_keeps_no_answer_from_who_iterates(site, person, request, call):
    name = f"news:full-{request.node.callspec.id}"
    client = person(name, max_queue=2)
    entered(site, name)
    for number in range(50):
        site.push.publish(name, number)
    wait_until(lambda: len(client._inbox) == 2)
    found = []
    for publication in client:
        found.append(publication.data)
        assert call(client, name)
        if len(found) == 50:
            break
    assert found == list(range(50))


def test_behind_the_answer_a_full_queue_stops_reading_again(site, person, name):
    client = person(name, max_queue=2)
    entered(site, name)
    for number in range(10):
        site.push.publish(name, number)
    wait_until(lambda: len(client._inbox) == 2)
    assert client.rpc("double", 1) == 2
    assert len(client._inbox) == 10
    for number in range(10, 20):
        site.push.publish(name, number)
    assert site.push.send("42", "last") == 1
    assert [client.receive(PATIENCE).data for _ in range(9)] == list(range(9))
    wait_until(lambda: len(client._inbox) == 2)
    assert [client.receive(PATIENCE).data for _ in range(12)] == [*range(9, 20), "last"]


def test_an_answer_behind_more_than_is_kept_is_given_up_and_no_message_is(site, person, name):
    """The server answers once it has published far more than the queue takes."""
    channel, total = "many:" + name, 18
    client = person(channel, max_queue=2)
    entered(site, channel)
    big, given_up, sent = "x" * 900_000, threading.Event(), []

    def flood():
        for number in range(total):
            if given_up.is_set():
                return      # all at once would be more than the server queues
            site.push.publish(channel, [number, big])
            sent.append(number)
            wait_until(lambda: given_up.is_set() or len(client._inbox) > min(number, 15))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        with pytest.raises(QueueFull, match="the command may or may not have been run"):
            while True:
                client.rpc("double", 1)
    finally:
        given_up.set()
        thread.join()
        found = [client.receive(PATIENCE).data[0] for _ in sent]
    assert found == sent
    assert client.rpc("double", 2) == 4
    assert client.state == "open"


def test_publications_come_by_callback_and_so_do_messages(site, person, name):
    found, come = [], threading.Event()
    person(name, on_message=lambda one: (found.append((one.channel, one.data)), come.set()))
    entered(site, name)
    site.push.publish(name, 1)
    assert site.push.send("42", {"to": "you"}) == 1
    wait_until(lambda: len(found) == 2)
    assert found == [(name, 1), ("", {"to": "you"})]


def test_what_was_missed_comes_behind_a_lost_connection(site, person, name):
    gaps = []
    client = person(name, on_gap=gaps.append)
    entered(site, name)
    site.push.publish(name, "before")
    lose(site)
    for number in range(10):
        site.push.publish(name, number)
    entered(site, name)
    site.push.publish(name, "after")
    assert [client.receive(PATIENCE).data for _ in range(12)] == ["before", *range(10), "after"]
    assert gaps == []


@pytest.mark.parametrize("channel", ["news:gap", "none:gap"])
def test_what_is_lost_for_good_is_told(site, person, channel):
    gaps = []
    client = person(channel, on_gap=lambda gap: gaps.append(gap.channel))
    entered(site, channel)
    lose(site)
    for number in range(11):
        site.push.publish(channel, number)
    wait_until(lambda: gaps == [channel])
    site.push.publish(channel, "after")
    site.push.publish(channel, "more")
    found = [client.receive(PATIENCE) for _ in range(2)]
    assert [(one.data, one.after_gap) for one in found] == [("after", True), ("more", False)]


def test_another_program_goes_on_where_one_has_ended(site, person, name):
    with PushClient(site.url("/channels"), Id="41", proxy=None, channels=[name]) as client:
        entered(site, name)
        site.push.publish(name, "seen")
        client.receive(PATIENCE)
        position = client.position(name)
    site.push.publish(name, "missed")
    assert person(since={name: position}).receive(PATIENCE).data == "missed"


def test_a_refused_channel_ends_the_client_with_a_line_that_says_why(person):
    client = person("news:ok", "secret")
    with pytest.raises(ChannelLost, match="^103: permission denied: channel 'secret'$") as lost:
        for _ in client:
            pass
    assert lost.value.channel == "secret" and client.error is lost.value
    assert client.state == "closed"


def test_with_on_lost_the_other_channels_go_on(site, person, name):
    lost = []
    client = person(name, "secret", on_lost=lost.append)
    entered(site, name)
    wait_until(lambda: [one.channel for one in lost] == ["secret"])
    site.push.publish(name, 1)
    assert client.receive(PATIENCE).data == 1
    assert site.push.unsubscribe_id("42", name) == 1
    wait_until(lambda: [(one.channel, one.code) for one in lost[1:]] == [(name, 2000)])
    assert client.state == "open"


def test_channels_are_entered_and_left_at_run_time(site, person, name):
    client = person()
    other = name + " other"
    client.subscribe(name)
    client.subscribe(other)
    entered(site, name, other)
    client.unsubscribe(name)
    wait_until(lambda: name not in site.push.channels())
    site.push.publish(name, "unheard")
    site.push.publish(other, "heard")
    assert client.receive(PATIENCE).data == "heard"
    lose(site)
    entered(site, other)
    assert name not in site.push.channels()
    with pytest.raises(InvalidSetting, match="already subscribed to"):
        client.subscribe(other)


def test_the_server_s_own_channels_resume_too(site, person):
    client = person(Id="guest")
    entered(site, "news:guests")
    site.push.publish("news:guests", 1)
    assert client.receive(PATIENCE).data == 1
    lose(site, "guest")
    site.push.publish("news:guests", 2)
    assert client.receive(PATIENCE).data == 2


def test_what_a_client_may_do_it_does_and_what_not_is_an_error(site, person, name):
    client = person(name)
    entered(site, name)
    client.publish(name, {"from": "client"})
    mine = client.receive(PATIENCE)
    assert mine.data == {"from": "client"} and mine.info["user"] == "42"
    assert [one.data for one in client.history(name)] == [{"from": "client"}]
    assert [info["user"] for info in client.presence(name).values()] == ["42"]
    assert client.rpc("double", 21) == 42
    with pytest.raises(CommandFailed, match="^103: permission denied$"):
        client.publish("none:b", 1)
    with pytest.raises(CommandFailed, match="^108"):
        client.rpc("unknown")
    client.send({"x": 1})
    wait_until(lambda: Handler.heard[-1:] == [{"x": 1}])


def test_presence_is_told(site, person, name):
    moved = []
    person(name, on_presence=lambda one: moved.append((one.info["user"], one.joined)))
    entered(site, name)
    with PushClient(site.url("/channels"), Id="7", proxy=None, channels=[name]):
        entered(site, name, count=2)
    wait_until(lambda: moved == [("42", True), ("7", True), ("7", False)])


def test_a_callback_publishes_without_waiting_and_cannot_wait(site, person, name, caplog):
    found = []

    def answer(publication):
        found.append(publication.data)
        if publication.data == 1:
            client.publish(name, 2)
            client.publish("none:b", "refused")
            with pytest.raises(ConnectionClosed, match="a callback.* cannot wait"):
                client.history(name)
            found.append("told")

    client = person(name, on_message=answer)
    entered(site, name)
    site.push.publish(name, 1)
    wait_until(lambda: found == [1, "told", 2])
    wait_until(lambda: "publishing from a callback failed: 103" in caplog.text)


def test_commands_without_a_connection_or_channels_say_so(site):
    with PushClient(site.url("/websocket"), Id="42", proxy=None) as client:
        for call in (client.subscribe, client.unsubscribe, client.presence, client.history):
            with pytest.raises(InvalidSetting, match="make it with channels"):
                call("news:a")
    client = PushClient(site.url("/channels"), Id="42", channels=[])
    with pytest.raises(ConnectionClosed, match="not started"):
        client.publish("news:a", 1)
    with pytest.raises(NotConnected), \
            PushClient("ws://127.0.0.1:1", channels=[], proxy=None) as client:
        client.publish("news:a", 1, timeout=0.1)


def test_options_for_channels_need_channels():
    for option in ("on_gap", "on_lost", "on_presence"):
        with pytest.raises(InvalidSetting, match="need channels"):
            PushClient("ws://localhost/", **{option: print})
    with pytest.raises(InvalidSetting, match="token is int"):
        PushClient("ws://localhost/", channels=[], token=5)


def token(user, seconds):
    return jwt.encode({"sub": user, "exp": time.time() + seconds}, KEY, "HS256")


def test_a_token_says_who_it_is(site, person):
    person("news:t", Id=None, token=token("ann", 60))
    wait_until(lambda: site.push.connections("ann"))


def test_a_token_that_is_over_ends_the_client_unless_it_can_make_another(site, person):
    client = person(Id=None, token=token("ann", -60))
    with pytest.raises(CommandFailed, match="^109: token expired$"):
        client.receive(PATIENCE)
    made = iter([token("bea", -60), token("bea", 60)])
    client = person(Id=None, token=lambda: next(made))
    wait_until(lambda: client.state == "open")
    assert site.push.connections("bea")


def test_an_address_that_speaks_plainly_is_told_from_one_that_does_not(site, person):
    client = person("news:a", path="/websocket", Id="plain")
    wait_until(lambda: site.push.send("plain", "2026-01-01"))
    with pytest.raises(PushError, match="^the server does not speak Centrifugo's JSON protocol"):
        client.receive(PATIENCE)


def test_a_server_that_does_not_answer_is_given_up(site):
    with PushClient(site.url("/websocket"), Id="mute", channels=["a"], proxy=None, timeout=0.2,
                    max_attempts=2) as client:
        with pytest.raises(Disconnected, match="1006: the server did not answer connect"):
            client.receive(PATIENCE)


def test_pings_are_answered():
    with running_site(root(), settings={"ping_interval": 0.2, "pong_timeout": 0.2},
                      plugin={"channels": RULES}) as quick, \
            PushClient(quick.url("/channels"), Id="42", channels=["news:p"], proxy=None) as client:
        entered(quick, "news:p")
        connection, = quick.push.connections("42")
        until = time.monotonic() + 1
        wait_until(lambda: time.monotonic() > until)
        assert quick.push.connections("42") == [connection] and client.state == "open"


def test_what_comes_in_one_read_is_told_in_its_order():
    lines = ['{"id": 1, "connect": {"client": "x"}}', '{"id": 2, "subscribe": {}}',
             '{"push": {"channel": "a", "pub": {"data": 1}}}',
             '{"push": {"channel": "a", "join": {"info": "in"}}}',
             '{"push": {"channel": "a", "pub": {"data": 2}}}']

    def script(peer):
        peer.answer(with_it=b"".join(frame(OPCODE_TEXT, line.encode()) for line in lines))

    told = []
    with Server(script) as server, \
            PushClient(server.url, channels=["a"], on_message=lambda one: told.append(one.data),
                       on_presence=lambda one: told.append(one.info), proxy=None):
        wait_until(lambda: told == [1, "in", 2])


def test_whoever_waits_for_an_answer_hears_that_the_connection_is_lost(site, person, monkeypatch):
    monkeypatch.setattr(Handler, "rpc", lambda self, method, data: lose(site))
    with pytest.raises(ConnectionClosed, match="lost before the answer"):
        person().rpc("any")


def test_a_flood_of_losses_loses_nothing(site, person):
    client = person("many:x")
    entered(site, "many:x")
    total, over = 3000, threading.Event()

    def flood():
        for number in range(total):
            site.push.publish("many:x", number)
            time.sleep(0.0005)
        over.set()

    def disturb():
        while not over.wait(0.15):
            site.push.disconnect("42", code=3001)

    threads = [threading.Thread(target=flood), threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    found = [client.receive(PATIENCE) for _ in range(total)]
    for thread in threads:
        thread.join()
    assert [one.data for one in found] == list(range(total))
    assert [one.offset for one in found] == list(range(1, total + 1))


def test_the_command_prints_a_channel_publishes_to_it_and_says_a_gap(site, name):
    url = site.url("/channels")
    with program("-m", "pushclient", url, "--id", "cli", "--channel", name, "--count", "3",
                 stdin=subprocess.PIPE) as process:
        entered(site, name)
        print("hello", file=process.stdin, flush=True)
        wait_until(lambda: site.push.history(name).top.offset == 1)
        lose(site, "cli")
        for number in range(11):
            site.push.publish(name, number)
        entered(site, name)
        site.push.publish(name, {"x": 1})
        site.push.publish(name, "end")
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.splitlines()) == \
        (0, [f"{name}: hello", f'{name}: {{"x": 1}}', f"{name}: end"])
    assert f"pushclient: publications of channel {name!r} may be lost" in err.splitlines()


@pytest.mark.slow
def test_connections_that_are_cut_at_random_moments_miss_nothing():
    reports, numbers = cut_connections.run(clients=12, seconds=8, rate=500, lifetime=1.5)
    assert cut_connections.faults(reports, 12) == []
    assert numbers["cuts"] >= 12


def test_what_was_missed_of_many_channels_comes_whole_to_a_small_outbox(start_client):
    with running_site(root(), plugin={"channels": RULES}, settings={"max_outbox": 20_000},
                      buffers=20_000) as site:
        channels = [f"many:{number}" for number in range(20)]
        tops = {channel: [site.push.publish(channel, "x" * 1000) for _ in range(50)][-1]
                for channel in channels}
        client = start_client(site.url("/channels"), Id="42", channels={
            channel: (0, top.epoch) for channel, top in tops.items()})
        seen = {channel: [] for channel in channels}
        for message in client:
            seen[message.channel].append(message.offset)
            if len(seen[message.channel]) == 20:
                site.push.publish(message.channel, "live")
            if all(len(found) == 51 for found in seen.values()):
                break
        assert set(map(tuple, seen.values())) == {tuple(range(1, 52))}
        assert client.error is None


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("callback, happens", [
    ("on_presence", lambda site, name: None),
    ("on_lost", lambda site, name: site.push.unsubscribe_id("42", name)),
    ("on_message", lambda site, name: site.push.publish(name, 1))])
def test_exceptions_in_callbacks_that_end_programs_are_the_error(site, person, name, callback,
                                                                 happens, ending):
    def fail(_):
        raise ending
    ended = person(name, **{callback: fail})
    wait_until(lambda: ended.state == "closed" or ended.state == "open" and ended.position(name))
    happens(site, name)
    wait_until(lambda: ended.state == "closed" and ended.error is not None)
    assert ended.error is ending
