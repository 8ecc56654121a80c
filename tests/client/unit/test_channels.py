"""The client's side of Centrifugo's protocol, without a network."""
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushclient.centrifuge.events import (Connected, Gap, Ping, Presence, Publication, Reply,
                                          Retry)
from pushclient.centrifuge.protocol import ChannelProtocol
from pushclient.centrifuge.subscription import checked_channels
from pushclient.errors import ChannelLost, CommandFailed, InvalidData, InvalidSetting


class Server:
    """What a server says, so that tests read as a talk."""

    def __init__(self, channels):
        self.channels = channels

    def say(self, *lines):
        return self.channels.receive("\n".join(map(json.dumps, lines)))

    def connect(self, **result):
        """Begin a connection; return what the client asked for, and what it makes of the answer."""
        asked = json.loads(self.channels.begin())
        events = self.say({"id": asked["id"], "connect": {"client": "me", **result}})
        return asked["connect"], events

    def asked(self):
        """Return what the client subscribes to now: its commands by channel."""
        lines = self.channels.enter().split("\n")
        return {command["subscribe"]["channel"]: command
                for command in map(json.loads, filter(None, lines))}

    def enter(self, **results):
        """Answer each subscription; return all events."""
        return [event for channel, command in self.asked().items()
                for event in self.say({"id": command["id"], "subscribe": results[channel]})]

    def publish(self, channel, offset, data="x"):
        return self.say({"push": {"channel": channel, "pub": {"data": data, "offset": offset}}})


def talk(*names, **options):
    return Server(ChannelProtocol(options or list(names)))


def seen(events):
    return [(event.channel, event.offset) for event in events if isinstance(event, Publication)]


def test_first_it_says_who_it_is_then_subscribes():
    server = talk("a", "b")
    assert server.channels.enter() == ""
    asked, events = server.connect()
    assert asked == {"name": "pushclient"} and events == [Connected("me", None)]
    assert [command["subscribe"] for command in server.asked().values()] == \
        [{"channel": "a"}, {"channel": "b"}]
    assert server.asked() == {}


def test_a_token_is_shown():
    assert json.loads(ChannelProtocol().begin("secret"))["connect"]["token"] == "secret"


def test_publications_come_with_their_place():
    server = talk("a")
    server.connect()
    assert server.enter(a={"epoch": "e", "offset": 4, "recoverable": True}) == []
    info = {"user": "ann", "client": "c"}
    push = {"push": {"channel": "a", "pub": {"data": {"n": 1}, "offset": 5, "info": info,
                                             "tags": {"t": "u"}}}}
    found, = server.say(push)
    assert found == Publication("a", {"n": 1}, 5, "e", info, {"t": "u"}, False,
                                len(json.dumps(push)))
    assert server.channels.position("a") == (5, "e")


def test_what_comes_before_the_answer_is_of_an_older_subscription():
    server = talk("a")
    server.connect()
    server.asked()
    assert server.publish("a", 1) == [] and server.publish("unknown", 1) == []


def test_a_channel_goes_on_behind_what_was_seen():
    server = talk("a")
    server.connect()
    server.enter(a={"epoch": "e", "offset": 4})
    server.publish("a", 5)
    server.connect()
    command = server.asked()["a"]
    assert command["subscribe"] == {"channel": "a", "recover": True, "offset": 5, "epoch": "e"}
    events = server.say({"id": command["id"], "subscribe": {
        "epoch": "e", "offset": 5, "recovered": True, "was_recovering": True,
        "publications": [{"data": 6, "offset": 6}, {"data": 7, "offset": 7}]}})
    assert seen(events) == [("a", 6), ("a", 7)] and len(events) == 2
    assert server.channels.position("a") == (7, "e")


def test_a_publication_that_is_not_remembered_does_not_move_the_position():
    server = talk("a")
    server.connect()
    server.enter(a={"epoch": "e", "offset": 4})
    server.publish("a", 5)
    found, = server.say({"push": {"channel": "a", "pub": {"data": "passing"}}})
    assert (found.data, found.offset) == ("passing", 0)
    assert server.channels.position("a") == (5, "e")
    server.connect()
    assert server.asked()["a"]["subscribe"]["offset"] == 5


@pytest.mark.parametrize("answer", [{"epoch": "e", "offset": 9, "was_recovering": True},
                                    {"epoch": "other", "offset": 1, "was_recovering": True}, {}])
def test_a_gap_is_told_and_the_first_publication_behind_it_says_so(answer):
    server = talk("a")
    server.connect()
    assert server.enter(a={"epoch": "e", "offset": 4}) == []
    server.connect()
    assert server.enter(a=answer) == [Gap("a")]
    first, = server.publish("a", 10)
    second, = server.publish("a", 11)
    assert first.after_gap and not second.after_gap


def test_a_channel_without_memory_is_not_asked_for_what_was_missed():
    server = talk("a")
    server.connect()
    server.enter(a={})
    server.connect()
    assert server.asked()["a"]["subscribe"] == {"channel": "a"}


@pytest.mark.parametrize("since, request_", [
    ((7, "e"), {"recover": True, "offset": 7, "epoch": "e"}),
    ((0, ""), {"recover": True, "offset": 0, "epoch": ""}), ((7, ""), {}), (None, {})])
def test_a_channel_can_go_on_where_another_program_left_it(since, request_):
    server = talk(a=since)
    server.connect()
    command = server.asked()["a"]
    assert command["subscribe"] == {"channel": "a", **request_}
    events = server.say({"id": command["id"], "subscribe": {"epoch": "e", "offset": 9}})
    assert events == ([] if since is None else [Gap("a")])


def test_channels_of_the_server_s_are_resumed_with_connect():
    server = talk("mine")
    _, events = server.connect(subs={"its": {"epoch": "e", "offset": 2}})
    assert events == [Connected("me", None)] and server.channels.subscribed() == ["its"]
    assert list(server.asked()) == ["mine"]
    server.publish("its", 3)
    asked, events = server.connect(subs={"its": {
        "epoch": "e", "offset": 3, "recovered": True, "publications": [{"data": 4, "offset": 4}]}})
    assert asked["subs"] == {"its": {"recover": True, "offset": 3, "epoch": "e"}}
    assert seen(events) == [("its", 4)]
    _, events = server.connect()
    assert [type(event) for event in events] == [Connected, ChannelLost]


def test_a_channel_that_both_want_is_the_server_s_to_resume():
    server = talk("a")
    server.connect(subs={"a": {"epoch": "e", "offset": 2}})
    assert server.asked() == {}
    asked, _ = server.connect(subs={"a": {"epoch": "e", "offset": 2, "recovered": True}})
    assert "a" in asked["subs"]
    assert server.connect()[1] == [Connected("me", None)] and "a" in server.asked()


def test_the_server_subscribes_and_unsubscribes_later():
    server = talk()
    server.connect()
    assert server.say({"push": {"channel": "a", "subscribe": {"epoch": "e", "offset": 1}}}) == []
    assert seen(server.publish("a", 2)) == [("a", 2)]
    lost, = server.say({"push": {"channel": "a", "unsubscribe": {"code": 2000, "reason": "bye"}}})
    assert (lost.channel, lost.code, str(lost)) == ("a", 2000, "2000: bye: channel 'a'")
    assert server.publish("a", 3) == []


def test_an_unsubscription_of_2500_or_more_means_again():
    server = talk("a")
    server.connect()
    server.enter(a={"epoch": "e", "offset": 4})
    assert server.say({"push": {"channel": "a", "unsubscribe": {"code": 2500}}}) == \
        [Retry("a", 0, "2500: ")]
    assert server.asked()["a"]["subscribe"]["offset"] == 4


def test_refusals_are_final_unless_time_may_help():
    server = talk("a", "b", "c")
    server.connect()
    asked = server.asked()
    lost, = server.say({"id": asked["a"]["id"], "error": {"code": 103, "message": "no"}})
    assert lost.channel == "a" and str(lost) == "103: no: channel 'a'"
    assert server.say({"id": asked["b"]["id"], "error": {
        "code": 100, "message": "internal", "temporary": True}}) == [Retry("b", 1, "100: internal")]
    assert server.say({"id": asked["c"]["id"], "error": {"code": 105, "message": "in"}}) == []
    assert server.channels.subscribed() == ["c"] and server.asked() == {}
    assert server.channels.due("b") == [] and list(server.asked()) == ["b"]


def test_connect_may_be_refused():
    server = talk("a")
    asked = json.loads(server.channels.begin())
    error, = server.say({"id": asked["id"], "error": {"code": 109, "message": "token expired"}})
    assert type(error) is CommandFailed and (error.code, error.temporary) == (109, False)


def test_channels_come_and_go_at_run_time():
    server = talk("a")
    server.channels.subscribe("b")
    server.connect()
    server.enter(a={}, b={})
    server.channels.subscribe("c", (3, "e"))
    assert server.asked()["c"]["subscribe"]["offset"] == 3
    assert json.loads(server.channels.unsubscribe("a"))["unsubscribe"] == {"channel": "a"}
    assert server.publish("a", 1) == [] and server.channels.unsubscribe("a") == ""
    with pytest.raises(InvalidSetting, match="'b' is already subscribed to"):
        server.channels.subscribe("b")


def test_the_answer_to_a_subscription_that_was_given_up_is_not_that_of_the_next():
    server = talk("a")
    server.connect()
    first = server.asked()["a"]
    server.channels.unsubscribe("a")
    server.channels.subscribe("a")
    second = server.asked()["a"]
    assert server.say({"id": first["id"], "subscribe": {"epoch": "e", "offset": 1}}) == []
    assert server.publish("a", 2) == []
    assert server.say({"id": second["id"], "subscribe": {"epoch": "e", "offset": 2}}) == []
    assert seen(server.publish("a", 3)) == [("a", 3)]


def test_what_else_the_server_says():
    server = talk("a")
    info = {"user": "ann"}
    assert server.say({}) == [Ping()]
    assert server.say({"push": {"channel": "a", "join": {"info": info}}},
                      {"push": {"channel": "a", "leave": {"info": info}}}) == \
        [Presence("a", info, True), Presence("a", info, False)]
    message, = server.say({"push": {"message": {"data": 5}}})
    assert (message.channel, message.data) == ("", 5)
    assert server.say({"push": {"refresh": {}}}) == []
    number, text = server.channels.command("rpc", {"method": "add"})
    assert json.loads(text) == {"id": number, "rpc": {"method": "add"}}
    assert server.say({"id": number, "rpc": {"data": 3}}) == [Reply(number, {"data": 3}, None)]
    with pytest.raises(InvalidData):
        server.channels.command("publish", {"data": object()})


@pytest.mark.parametrize("text", ["hello", "5", "null", "[]", '{"id": 1', '{"x": 1}', '"text"',
                                  '{"push": 5}', '{"push": {"pub": 5, "channel": "a"}}', "[" * 9999,
                                  '{"id": 1, "error": {}}'])
def test_what_is_not_of_the_protocol_is_said_in_one_line(text):
    server = talk("a")
    server.connect()
    server.enter(a={})
    with pytest.raises(CommandFailed, match="^the server does not speak Centrifugo's JSON"):
        server.channels.receive(text)


@pytest.mark.parametrize("wrong", ["news", b"x", 5, [""], ["x" * 256], [5], {"a": 5},
                                   {"a": ("e", 1)}, {"a": (-1, "e")}, {"a": (True, "e")}])
def test_what_are_no_channels_is_said(wrong):
    with pytest.raises(InvalidSetting):
        checked_channels(wrong)


class History:
    """A server's memory of one channel, of a few publications, in epochs."""

    def __init__(self, kept):
        self.kept = kept
        self.restart()
        self.generation = 0

    def restart(self):
        self.top, self.generation = 0, getattr(self, "generation", 0) + 1

    @property
    def epoch(self):
        return f"e{self.generation}"

    def answer(self, request):
        found = {"epoch": self.epoch, "offset": self.top, "recoverable": True}
        if request.get("recover"):
            found["was_recovering"] = True
            if request["epoch"] == self.epoch and self.top - request["offset"] <= self.kept:
                found["recovered"] = True
                found["publications"] = [{"data": [self.generation, n], "offset": n}
                                         for n in range(request["offset"] + 1, self.top + 1)]
                found["offset"] = request["offset"]
        return found


@given(st.lists(st.sampled_from(["publish", "publish", "lose", "connect", "enter", "restart"]),
                max_size=60), st.integers(0, 5))
def test_every_publication_comes_once_in_order_or_a_gap_is_told(steps, kept):
    """Whatever is lost when: what is missing from the log is where it says so, and nowhere else."""
    history, server = History(kept), talk("a")
    state, log, begun = "lost", [], False
    published = []
    for step in [*steps, "lose", "connect", "enter", "publish"]:
        events = []
        if step == "publish":
            history.top += 1
            published.append([history.generation, history.top])
            if state == "in":
                events = server.publish("a", history.top, published[-1])
        elif step in ("lose", "restart"):
            state = "lost"
            if step == "restart":
                history.restart()
        elif step == "connect" and state == "lost":
            server.connect()
            state = "connected"
        elif step == "enter" and state == "connected":
            command = server.asked()["a"]
            if not begun:
                begun, published = True, []
            events = server.say({"id": command["id"],
                                 "subscribe": history.answer(command["subscribe"])})
            state = "in"
        log += events
    wanted = iter(published)
    for event in log:
        if isinstance(event, Publication):
            following = next(wanted)
            while following != event.data:
                assert event.after_gap, "something is missing and nobody has said so"
                following = next(wanted)
    assert list(wanted) == []
    assert sum(event.after_gap for event in log if isinstance(event, Publication)) <= \
        sum(isinstance(event, Gap) for event in log)
