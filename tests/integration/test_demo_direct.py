"""Letters from one name to another on the demo site, over their sockets."""
import pytest

from tests.support.demo_site import WRONG, Person, serving
from tests.support.raw_client import Refused

from pushserver.demo.direct import Direct
from pushserver.demo.echo import EchoPage


@pytest.fixture
def site():
    with serving(direct=Direct, echo=lambda push: EchoPage()) as site:
        yield site


def writer(site, name):
    return Person(site, "/direct/socket", f"direct.{name}")


def test_every_window_of_a_name_receives_and_nobody_else(site):
    with writer(site, "ann") as ann, writer(site, "bob") as bob, writer(site, "bob") as other, \
            writer(site, "carl") as carl:
        ann.tell({"to": "bob", "text": "hello"})
        letter = {"type": "letter", "from": "ann", "to": "bob", "text": "hello"}
        assert bob.hear() == other.hear() == letter
        assert ann.hear() == letter | {"windows": 2}
        ann.tell({"to": "carl", "text": "and you"})
        assert carl.hear()["text"] == "and you"


def test_the_senders_other_windows_see_what_was_sent(site):
    with writer(site, "ann") as ann, writer(site, "ann") as other, writer(site, "bob"):
        ann.tell({"to": "bob", "text": "hello"})
        assert ann.hear() == other.hear()


def test_who_writes_to_oneself_receives_once(site):
    with writer(site, "ann") as ann:
        ann.tell({"to": "ann", "text": "one"})
        ann.tell({"to": "ann", "text": "two"})
        assert [ann.hear()["text"] for _ in range(2)] == ["one", "two"]


def test_a_name_that_nobody_has_is_not_here(site):
    with writer(site, "ann") as ann:
        ann.tell({"to": "bob", "text": "hello"})
        assert ann.hear() == {"type": "absent", "to": "bob", "text": "hello"}
        with writer(site, "bob"):
            ann.tell({"to": " bob ", "text": "hello"})
            assert ann.hear()["windows"] == 1


def test_a_name_of_another_page_gets_no_letters(site):
    with writer(site, "ann") as ann, Person(site, "/echo", "bob") as bob:
        ann.tell({"to": "bob", "text": "hello"})
        assert ann.hear()["type"] == "absent"
        bob.tell({"text": "alone"})
        assert bob.hear()["text"] == "alone"


@pytest.mark.parametrize("Id", ["ann", "direct.", "direct. ", "Direct.ann"])
def test_an_id_without_a_name_is_refused(site, Id):
    with pytest.raises(Refused) as refused:
        Person(site, "/direct/socket", Id)
    assert refused.value.status == 400
    assert refused.value.body.endswith(b": Id must be direct. and a name\n")


@pytest.mark.parametrize("wrong", [
    *WRONG, '{"text": "x"}', '{"to": "bob"}', '{"to": 5, "text": "x"}', '{"to": " ", "text": "x"}'
], ids=lambda text: repr(text[:20]))
def test_wrong_input_gets_one_line(site, wrong):
    with writer(site, "ann") as ann:
        ann.tell(wrong)
        answer = ann.hear()
        assert answer["type"] == "error" and "\n" not in answer["text"]
        ann.tell({"to": "ann", "text": "right"})
        assert ann.hear()["text"] == "right"
