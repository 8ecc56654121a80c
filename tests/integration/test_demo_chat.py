"""The chat of the demo site, over its sockets."""
import dataclasses
import threading
from urllib.parse import quote

import pytest

from tests.support.centrifuge_client import RawClient
from tests.support.demo_site import serving
from tests.support.raw_client import Refused
from tests.support.waiting import wait_until

from pushserver.cli import CHANNELS
from pushserver.demo.channels import CentrifugeSocket
from pushserver.demo.chat import CHANNEL, Chat

KEPT = 50
RULES = tuple(dataclasses.replace(rule, linger=0.2) for rule in CHANNELS)


@pytest.fixture
def site():
    with serving(plugin={"channels": RULES}, chat=lambda push: Chat(),
                 connection=lambda push: CentrifugeSocket()) as site:
        yield site


class Chatter(RawClient):
    """One window in the room."""

    def __init__(self, site, name, path="/chat/socket", **since):
        super().__init__(site, f"{path}?Id={quote(name)}")
        self.connect()
        self.entered = self.call("subscribe", channel=CHANNEL, **since)

    def say(self, text):
        """Say something; return the line's offset, or the error's code."""
        found = self.call("rpc", method="say", data={"text": text})
        return found["data"]["offset"] if isinstance(found, dict) else found

    def line(self):
        """Return the next line, passing over who comes and leaves."""
        while True:
            push = self.push()
            if "pub" in push:
                return push["pub"]

    def moved(self):
        """Return who came or left next."""
        while True:
            push = self.push()
            for what in ("join", "leave"):
                if what in push:
                    return what, push[what]["info"]["user"]

    def here(self):
        return sorted(info["user"] for info in
                      self.call("presence", channel=CHANNEL)["presence"].values())

    def history(self):
        return self.call("history", channel=CHANNEL, limit=-1)["publications"]

    def leave(self):
        """Leave in good order."""
        self.socket.hang_up()
        self.close()


def texts(publications):
    return [one["data"]["text"] for one in publications]


def test_all_see_what_one_says_with_name_and_number(site):
    with Chatter(site, "ann") as ann, Chatter(site, "bob") as bob:
        assert ann.say("hello") == 1
        line = bob.line()
        assert (line["offset"], line["data"]["name"], line["data"]["text"]) == (1, "ann", "hello")
        assert ann.line() == line


def test_who_comes_and_who_leaves_is_told_to_the_others(site):
    with Chatter(site, "ann") as ann:
        assert ann.moved() == ("join", "ann") and ann.here() == ["ann"]
        bob = Chatter(site, "bob")
        assert ann.moved() == ("join", "bob") and bob.here() == ["ann", "bob"]
        bob.leave()
        assert ann.moved() == ("leave", "bob") and ann.here() == ["ann"]


def test_of_two_windows_of_a_name_both_are_there(site):
    with Chatter(site, "ann") as ann, Chatter(site, "bob"):
        other = Chatter(site, "bob")
        assert ann.here() == ["ann", "bob", "bob"]
        other.leave()
        wait_until(lambda: ann.here() == ["ann", "bob"])


def test_who_comes_later_sees_the_last_50_lines(site):
    with Chatter(site, "ann") as ann:
        for number in range(KEPT + 20):
            ann.say(str(number))
        with Chatter(site, "bob") as bob:
            assert texts(bob.history()) == [str(number) for number in range(20, KEPT + 20)]


def test_who_comes_back_gets_what_was_said_meanwhile_once(site):
    with Chatter(site, "ann") as ann:
        lost = Chatter(site, "bob")
        ann.say("before")
        assert lost.line()["data"]["text"] == "before"
        lost.socket.reset()
        for number in range(KEPT):
            ann.say(str(number))
        epoch = lost.entered["epoch"]
        with Chatter(site, "bob", recover=True, offset=1, epoch=epoch) as bob:
            assert bob.entered["recovered"]
            assert texts(bob.entered["publications"]) == [str(n) for n in range(KEPT)]
            ann.say("after")
            assert bob.line()["data"]["text"] == "after"
        ann.say("one too many")
        with Chatter(site, "bob", recover=True, offset=1, epoch=epoch) as bob:
            assert not bob.entered.get("recovered") and "publications" not in bob.entered


def test_text_is_passed_on_to_the_letter(site):
    text = "<script>alert('x')</script> </script> \"&amp;\" \u202e \U0001f600\n"
    with Chatter(site, "<b>ann") as ann:
        ann.say(text)
        assert {**ann.line()["data"], "time": 0} == {"name": "<b>ann", "time": 0, "text": text}


WRONG = [None, "hello", 5, [], {}, {"text": 5}, {"text": None}, {"text": ""}, {"text": " \n "},
         {"text": "\ud800"}, {"text": ["x"]}, {"text": "x" * 1001}]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda data: repr(data)[:20])
def test_wrong_input_gets_one_line_and_reaches_nobody_else(site, wrong):
    with Chatter(site, "ann") as ann, Chatter(site, "bob") as bob:
        command = ann.command("rpc", method="say", data=wrong)
        ann.send(command)
        error = ann.reply(command["id"])["error"]
        assert error["code"] == 400 and error["message"] and "\n" not in error["message"]
        ann.say("right")
        assert ann.line()["data"]["text"] == bob.line()["data"]["text"] == "right"


@pytest.mark.parametrize("path", ["/chat/socket", "/connection/websocket"])
def test_nobody_says_anything_past_the_check_of_what_is_said(site, path):
    with Chatter(site, "ann", path) as ann:
        assert ann.call("publish", channel=CHANNEL, data={"name": "bob", "text": "not me"}) == 103
        assert ann.call("rpc", method="shout", data={"text": "x"}) in (104, 108)
        assert ann.history() == []


def test_who_has_no_name_does_not_come_in(site):
    with pytest.raises(Refused, match="Id") as refused:
        site.client("/chat/socket?Id=")
    assert refused.value.status == 400


def test_there_is_one_order_for_all_and_who_comes_meanwhile_misses_nothing(site):
    speakers, lines, newcomers = 4, 100, 12
    done = speakers * lines
    found = []

    def speak(name):
        with Chatter(site, name) as person:
            for number in range(lines):
                person.say(f"{name} {number}")

    def come(name):
        with Chatter(site, name) as person:
            heard = person.history()
            while not heard or heard[-1]["offset"] < done:
                line = person.line()
                if not heard or line["offset"] > heard[-1]["offset"]:
                    heard.append(line)
            found.append([(line["offset"], line["data"]["text"]) for line in heard])

    threads = [threading.Thread(target=speak, args=[f"speaker {n}"]) for n in range(speakers)]
    threads += [threading.Thread(target=come, args=[f"newcomer {n}"]) for n in range(newcomers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == newcomers
    whole = max(found, key=len)
    for heard in found:
        assert [offset for offset, _ in heard] == list(range(heard[0][0], done + 1))
        assert heard == whole[-len(heard):]


def test_windows_that_vanish_at_once_leave_nobody_behind(site):
    for _ in range(20):
        Chatter(site, "bob").socket.reset()
    with Chatter(site, "ann") as ann:
        wait_until(lambda: ann.here() == ["ann"])
