"""2048 on the demo site, over its sockets."""
import pytest

from tests.support.demo_site import Person, serving
from tests.support.raw_client import Refused
from tests.support.waiting import wait_until

from pushserver.demo.game import Game


@pytest.fixture
def site():
    with serving(game=Game) as site:
        yield site


def player(site, Id, query=""):
    return Person(site, "/game/socket", Id, query)


def tiles(state):
    return sum(tile > 0 for row in state["board"] for tile in row)


def move(person, before):
    """Make the first move that changes something; return the new state."""
    for direction in "0231":
        person.tell(direction)
        state = person.hear()
        if state["board"] != before["board"]:
            return state
    raise AssertionError("no move is left")


def test_a_board_comes_as_json_with_score_and_over(site):
    with player(site, "ann") as ann:
        state = ann.hear()
    assert sorted(state) == ["board", "over", "score"]
    assert [len(row) for row in state["board"]] == [4] * 4
    assert (tiles(state), state["score"], state["over"]) == (2, 0, False)


def test_a_move_is_answered_with_the_board_and_seen_in_all_windows_of_the_id(site):
    with player(site, "ann") as ann, player(site, "ann") as other:
        state = ann.hear()
        assert other.hear() == state
        for _ in range(10):
            state = move(ann, state)
            assert other.hear() == state


def test_a_move_that_changes_nothing_is_answered_too(site):
    with player(site, "ann") as ann:
        state, same = ann.hear(), 0
        while same < 2:
            ann.tell("2")
            state, before = ann.hear(), state
            same = same + 1 if state == before else 0


def test_each_id_has_a_board_of_its_own_that_it_finds_again(site):
    with player(site, "ann") as ann, player(site, "bob") as bob:
        bobs = bob.hear()
        anns = move(ann, ann.hear())
        bob.tell('"success"')
        assert bob.hear() == bobs
    wait_until(lambda: not site.push.ids())
    with player(site, "ann") as ann:
        assert ann.hear() == anns


def test_a_new_game_begins_anew_for_all_windows(site):
    with player(site, "ann") as ann, player(site, "ann") as other:
        state = ann.hear()
        other.hear()
        for _ in range(5):
            state = move(ann, state)
            other.hear()
        ann.tell("new")
        state = ann.hear()
        assert other.hear() == state
        assert (tiles(state), state["score"]) == (2, 0)


def test_who_watches_sees_each_board_and_cannot_move(site):
    with player(site, "ann") as ann:
        state = ann.hear()
        with player(site, "bob", "&watch=ann") as bob:
            assert bob.hear() == state
            state = move(ann, state)
            assert bob.hear() == state
            for command in ("0", "1", "2", "3", "new", '"success"'):
                bob.tell(command)
                assert bob.hear() == {"error": "you are watching ann: only they can move"}
        ann.tell('"success"')
        assert ann.hear() == state


def test_who_watches_an_id_without_a_board_sees_it_begin(site):
    with player(site, "bob", "&watch=ann") as bob:
        assert "ann has no board yet" in bob.hear()["error"]
        with player(site, "ann") as ann:
            assert bob.hear() == ann.hear()


def test_who_watches_keeps_no_board(site):
    with player(site, "bob", "&watch=ann") as bob:
        bob.hear()
    with player(site, "carl", "&watch=bob") as carl:
        assert "bob has no board yet" in carl.hear()["error"]


@pytest.mark.parametrize("wrong", ["", "4", "-1", "00", "up", "{}", "[0]", "null", "NEW", "1e0",
                                   "\u0661", "9" * 60_000, "[" * 60_000],
                         ids=lambda text: repr(text[:9]))
def test_wrong_input_gets_one_line_and_changes_nothing(site, wrong):
    with player(site, "ann") as ann:
        state = ann.hear()
        ann.tell(wrong)
        assert ann.hear() == {"error": "send 0, 1, 2 or 3 for up, down, left or right, or send new"}
        ann.client.send(0x82, b"\xff\x00")
        assert "error" in ann.hear()
        ann.tell('"success"')
        assert ann.hear() == state


@pytest.mark.parametrize("query", ["&watch=a&watch=b", "&watch=" + "x" * 129])
def test_watching_takes_one_id(site, query):
    with pytest.raises(Refused) as refused:
        player(site, "ann", query)
    assert refused.value.status == 400 and b"watch must be one Id" in refused.value.body


def test_a_whole_game_can_be_played_to_its_end(site):
    with player(site, "ann") as ann:
        state = ann.hear()
        while not state["over"]:
            state = move(ann, state)
        assert state["score"] > 0
        ann.tell("0")
        assert ann.hear() == state
