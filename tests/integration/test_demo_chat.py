"""The chat of the demo site, over its sockets."""
import threading

import pytest

from tests.people import WRONG, Person, serving
from tests.support import wait_until

from pushserver.demo.chat import KEPT, Chat


@pytest.fixture
def site():
    with serving(chat=Chat) as site:
        yield site


def chatter(site, name):
    return Person(site, "/chat/socket", name)


def texts(lines):
    return [(line["name"], line["text"]) for line in lines]


def test_all_see_what_one_says_with_name_and_number(site):
    with chatter(site, "ann") as ann, chatter(site, "bob") as bob:
        ann.tell({"text": "hello"})
        said = bob.hear_of("said")
        assert (said["n"], said["name"], said["text"]) == (1, "ann", "hello")
        assert ann.hear_of("said") == said


def test_who_comes_and_who_leaves_is_told_to_the_others(site):
    with chatter(site, "ann") as ann:
        assert ann.hear()["here"] == ["ann"]
        with chatter(site, "bob") as bob:
            assert ann.hear() == {"type": "came", "name": "bob"}
            assert bob.hear()["here"] == ["ann", "bob"]
        assert ann.hear() == {"type": "left", "name": "bob"}


def test_of_two_windows_of_a_name_the_first_comes_and_the_last_leaves(site):
    with chatter(site, "ann") as ann:
        ann.hear()
        first = chatter(site, "bob")
        assert ann.hear()["type"] == "came"
        with chatter(site, "bob") as second:
            assert second.hear()["here"] == ["ann", "bob"]
            first.leave()
            wait_until(lambda: len(site.push.connections("bob")) == 1)
            second.tell({"text": "still here"})
            assert ann.hear()["type"] == "said"
        assert ann.hear()["type"] == "left"


def test_who_comes_later_sees_the_last_50_lines(site):
    with chatter(site, "ann") as ann:
        for number in range(KEPT + 20):
            ann.tell({"text": str(number)})
        for number in range(KEPT + 20):
            assert ann.hear_of("said")["text"] == str(number)
        with chatter(site, "bob") as bob:
            history = bob.hear()
    assert texts(history["lines"]) == [("ann", str(n)) for n in range(20, KEPT + 20)]
    assert KEPT == 50


def test_lines_without_echo_come_back_as_a_number_only(site):
    with chatter(site, "ann") as ann, chatter(site, "ann") as other, chatter(site, "bob") as bob:
        ann.tell({"text": "one", "echo": False})
        ann.tell({"text": "two"})
        sent = ann.hear_of("sent")
        assert sent["n"] == 1 and "text" not in sent
        assert ann.hear()["text"] == "two"
        for reader in (other, bob):
            assert [reader.hear_of("said")["text"] for _ in range(2)] == ["one", "two"]


def test_text_is_passed_on_to_the_letter(site):
    text = "<script>alert('x')</script> </script> \"&amp;\" \u202e \U0001f600\n"
    with chatter(site, "<b>ann") as ann:
        ann.tell({"text": text})
        said = ann.hear_of("said")
    assert (said["name"], said["text"]) == ("<b>ann", text)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda text: repr(text[:20]))
def test_wrong_input_gets_one_line_and_reaches_nobody_else(site, wrong):
    with chatter(site, "ann") as ann, chatter(site, "bob") as bob:
        ann.tell(wrong)
        error = ann.hear_of("error")["text"]
        assert error and "\n" not in error
        ann.tell({"text": "right"})
        assert ann.hear_of("said")["text"] == bob.hear_of("said")["text"] == "right"


def test_bytes_that_are_not_utf_8_are_wrong_input_too(site):
    with chatter(site, "ann") as ann:
        ann.client.send(0x82, b"\xff\xfe{")
        assert "JSON" in ann.hear_of("error")["text"]


def test_there_is_one_order_for_all_and_who_comes_meanwhile_misses_nothing(site):
    speakers, lines, newcomers = 4, 150, 12
    done = speakers * lines
    found = []

    def speak(name):
        with chatter(site, name) as person:
            for number in range(lines):
                person.tell({"text": f"{name} {number}", "echo": number % 3 > 0})
            heard = {}
            while len(heard) < done:
                message = person.hear()
                if message["type"] == "history":
                    heard.update({line["n"]: line["text"] for line in message["lines"]})
                if message["type"] in ("said", "sent"):
                    assert message["n"] == max(heard, default=message["n"] - 1) + 1
                    heard[message["n"]] = message.get("text")

    def come(name):
        with chatter(site, name) as person:
            heard = person.hear()["lines"]
            while not heard or heard[-1]["n"] < done:
                heard.append(person.hear_of("said"))
            found.append(heard)

    threads = [threading.Thread(target=speak, args=[f"speaker {n}"]) for n in range(speakers)]
    for thread in threads:
        thread.start()
    for number in range(newcomers):
        threads.append(threading.Thread(target=come, args=[f"newcomer {number}"]))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    assert len(found) == newcomers
    whole = max(found, key=len)
    for heard in found:
        assert [line["n"] for line in heard] == list(range(heard[0]["n"], done + 1))
        assert heard == whole[-len(heard):]


def here(site, name):
    with chatter(site, name) as person:
        return person.hear()["here"]


def test_windows_that_vanish_at_once_leave_nobody_behind(site):
    for _ in range(20):
        chatter(site, "bob").client.reset()
    wait_until(lambda: here(site, "ann") == ["ann"])
