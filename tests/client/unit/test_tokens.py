"""The client's tokens without a network: when one is needed, and what comes of it."""
from __future__ import annotations

import json
import threading

import pytest

from pushclient.centrifuge.events import Connected, Retry, TokenExpiry
from pushclient.centrifuge.protocol import TOO_SLOW, ChannelProtocol
from pushclient.centrifuge.schedule import Schedule
from pushclient.centrifuge.tokens import MAX_THREADS, TokenCalls, TokenRequest
from pushclient.errors import ChannelLost
from pushclient.websocket.waker import NEVER
from tests.support.waiting import PATIENCE, wait_until


class Talk:
    """A client's channels, connected, and a server that says what the test wants."""

    def __init__(self, token=None, **channels):
        self.now = 0.0
        self.channels = ChannelProtocol(channels, token, lambda: self.now)

    def say(self, line):
        return self.channels.receive(json.dumps(line))

    def connect(self, **result):
        asked = json.loads(self.channels.begin())
        events = self.say({"id": asked["id"], "connect": {"client": "me", **result}})
        self.channels.enter()
        return events

    def need(self):
        found, = self.channels.take_requests()
        return found

    def give(self, need, token="t"):
        text = self.channels.token_came(need, token)
        return text and json.loads(text)

    def answer(self, asked, **result):
        name = next(key for key in asked if key != "id")
        return self.say({"id": asked["id"], **(result if "error" in result else {name: result})})


def get(channel):
    return f"token of {channel}"


def entered(**result):
    talk = Talk(a=get)
    talk.connect()
    talk.answer(talk.give(talk.need()), **result)
    return talk


def test_a_channel_with_a_function_waits_for_its_token():
    talk = Talk(a=get, b="fixed")
    asked = json.loads(talk.channels.begin())
    talk.say({"id": asked["id"], "connect": {"client": "me"}})
    assert json.loads(talk.channels.enter())["subscribe"] == {"channel": "b", "token": "fixed"}
    need = talk.need()
    assert (need.channel, need.get()) == ("a", "token of a")
    assert talk.give(need)["subscribe"] == {"channel": "a", "token": "t"}
    assert talk.give(need) == "" and talk.channels.take_requests() == []


def test_what_expires_is_told_only_where_there_will_be_another():
    talk = Talk(token=lambda: "mine", a=get, b="fixed")
    assert talk.connect(expires=True, ttl=30) == [Connected("me", None), TokenExpiry("", 30.0)]
    need = talk.need()
    assert talk.answer(talk.give(need), expires=True, ttl=0) == [TokenExpiry("a", 1.0)]
    assert Talk(token="fixed").connect(expires=True, ttl=30) == [Connected("me", None)]


def test_a_token_is_refreshed_when_its_time_has_come():
    talk = entered(expires=True, ttl=30)
    assert talk.channels.due("a") == []
    asked = talk.give(talk.need(), "new")
    assert asked["sub_refresh"] == {"channel": "a", "token": "new"}
    assert talk.answer(asked, expires=True, ttl=60) == [TokenExpiry("a", 60.0)]
    mine = Talk(token=lambda: "mine")
    mine.connect()
    assert mine.channels.due("") == []
    asked = mine.give(mine.need(), "new")
    assert asked["refresh"] == {"token": "new"}
    assert mine.answer(asked, error={"code": 109, "message": "expired"}) == \
        [Retry("", 1, "109: expired")]


def test_a_refresh_that_fails_leaves_the_channel_in():
    talk = entered()
    for failures in (1, 2):
        talk.channels.due("a")
        assert talk.channels.token_failed(talk.need(), "no", for_good=True) == \
            [Retry("a", failures, "no")]
    talk.channels.due("a")
    need = talk.need()
    assert talk.channels.due("a") == [Retry("a", 3, TOO_SLOW)] and talk.give(need) == ""
    assert talk.channels.subscribed() == ["a"]


def test_a_function_that_fails_is_asked_again_after_a_while():
    talk = Talk(a=get)
    talk.connect()
    for failures in (1, 2):
        assert talk.channels.token_failed(talk.need(), "no") == [Retry("a", failures, "no")]
        assert talk.channels.enter() == "" and talk.channels.take_requests() == []
        talk.channels.due("a")
        talk.channels.enter()
    lost, = talk.channels.token_failed(talk.need(), "no", for_good=True)
    assert type(lost) is ChannelLost and (lost.channel, lost.code) == ("a", 103)


def test_a_token_that_comes_late_is_taken_unless_it_is_for_an_older_need():
    talk = Talk(a=get)
    talk.connect()
    need = talk.need()
    assert talk.channels.due("a") == [Retry("a", 1, TOO_SLOW)]
    assert talk.channels.token_failed(TokenRequest("a", 99, get), "other") == []
    assert talk.give(need)["subscribe"]["token"] == "t"
    talk.connect()
    assert talk.give(need) == ""
    talk.channels.unsubscribe("a")
    assert talk.give(talk.need()) == "" and talk.channels.due("a") == []


def test_being_sent_out_soon_again_and_again_is_answered_ever_later():
    talk = Talk(a=None)
    failures = []
    for stayed in (0, 1, 4.9, 5, 0):
        talk.connect() if not failures else talk.channels.due("a")
        text = talk.channels.enter() or '{"id": 2, "subscribe": {}}'
        talk.say({"id": json.loads(text)["id"], "subscribe": {}})
        talk.now += stayed
        event, = talk.say({"push": {"channel": "a", "unsubscribe": {"code": 2500}}})
        failures.append(event.failures)
    assert failures == [0, 1, 2, 0, 1]


def test_a_schedule_knows_what_comes_first():
    schedule = Schedule()
    assert schedule.next == NEVER and schedule.take(1e9) == []
    schedule.at("a", 5)
    schedule.at("b", 3)
    schedule.at("b", 7)
    assert schedule.next == 5
    schedule.drop("unknown")
    assert schedule.take(6) == ["a"] and schedule.next == 7
    schedule.drop("b")
    assert schedule.next == NEVER


class Hanging:
    """A token function that hangs until the test lets it go on."""

    def __init__(self):
        self.begun, self.go_on = 0, threading.Event()

    def __call__(self):
        self.begun += 1
        self.go_on.wait(PATIENCE)
        return "late"


def test_functions_are_called_a_few_at_a_time():
    told, calls = [], TokenCalls()
    function = Hanging()
    for number in range(3 * MAX_THREADS):
        calls.call(TokenRequest(str(number), 1, function), lambda *what: told.append(what))
    wait_until(lambda: function.begun == MAX_THREADS)
    assert calls._threads == MAX_THREADS
    function.go_on.set()
    wait_until(lambda: len(told) == 3 * MAX_THREADS)
    wait_until(lambda: not calls._threads)


def test_what_hangs_is_not_asked_twice_and_its_answer_is_for_the_last_who_asked():
    told, calls, function = [], TokenCalls(), Hanging()
    calls.call(TokenRequest("a", 1, function), lambda need, *_: told.append(("first", need.ticket)))
    wait_until(lambda: function.begun)
    calls.call(TokenRequest("a", 2, function),
               lambda need, *_: told.append(("second", need.ticket)))
    calls.call(TokenRequest("a", 3, function), lambda need, *_: told.append(("third", need.ticket)))
    function.go_on.set()
    wait_until(lambda: told)
    wait_until(lambda: not calls._threads)
    assert told == [("third", 3)] and function.begun == 1


def test_what_hangs_is_not_asked_by_another_thread_that_is_free():
    told, calls, hanging, other = [], TokenCalls(), Hanging(), Hanging()
    for name, function in (("a", hanging), ("b", other)):
        calls.call(TokenRequest(name, 1, function), lambda need, *_: told.append(need[:2]))
        wait_until(lambda: function.begun)
    calls.call(TokenRequest("a", 2, hanging), lambda need, *_: told.append(need[:2]))
    other.go_on.set()
    wait_until(lambda: told == [("b", 1)] and calls._threads == 1)
    assert hanging.begun == 1
    hanging.go_on.set()
    wait_until(lambda: told[1:] == [("a", 2)] and not calls._threads)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
def test_what_a_function_raises_is_told(error):
    def fail():
        raise error
    told, calls = [], TokenCalls()
    calls.call(TokenRequest("a", 1, fail), lambda *what: told.append(what))
    wait_until(lambda: told)
    wait_until(lambda: not calls._threads)
    assert told[0][1:] == (None, error)
