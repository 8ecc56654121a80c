"""The programs that play the demo site's game, in Python and in Node, as a user runs them."""
import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support.demo_site import Person, serving
from tests.support.installed import node
from tests.support.loopback import free_port
from tests.support.programs import ROOT, started
from tests.support.scripted_server import Server
from tests.support.waiting import PATIENCE

from pushserver.demo.board import is_over
from pushserver.demo.game import Game

PROGRAMS = ["game_player.py", "game_player.mjs"]
END = re.compile(r"watch it at (\S+)\nconnected\n((?:(?: +\d+){4}\n){4})score (\d+)\n")


def player(name, *arguments):
    """Run one of the players; the Python one finds the packages as in a checkout."""
    return started(node("ws") if name.endswith(".mjs") else sys.executable,
                   str(ROOT / "clients" / name), *arguments, stderr=subprocess.PIPE,
                   env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture
def run():
    """Start players that are gone after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(player(*arguments))


@pytest.fixture
def site():
    with serving(game=Game) as site:
        yield site


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_player_plays_whole_games(site, run, name):
    address = site.url("/game/socket?Id=robot")
    for _ in range(2):  # the second begins where the first has left its board
        player = run(name, address)
        out, err = player.communicate(timeout=3 * PATIENCE)
        assert (player.returncode, err) == (0, ""), out
        played = END.fullmatch(out)
        assert played, out
        board = tuple(tuple(map(int, row.split())) for row in played[2].splitlines())
        assert is_over(board) and int(played[3]) > 0
        assert played[1] == site.url("/game/?watch=robot", "http")
        with Person(site, "/game/socket", "somebody", "&watch=robot") as watcher:
            assert watcher.hear() == {"board": [*map(list, board)], "score": int(played[3]),
                                      "over": True}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_player_that_may_not_move_says_why_and_ends(site, run, name):
    with Person(site, "/game/socket", "ann") as ann:
        ann.hear()
        player = run(name, site.url("/game/socket?Id=robot&watch=ann"))
        _, err = player.communicate(timeout=PATIENCE)
    assert (player.returncode, err) == (1, "you are watching ann: only they can move\n")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_player_leaves_in_good_order_at_ctrl_c(run, name):
    ends = []

    def silent(peer):
        peer.answer()
        ends.append(peer.receive())
    with Server(silent) as server:
        player = run(name, server.url)
        assert [player.stdout.readline() for _ in range(2)][1] == "connected\n"
        player.send_signal(signal.SIGINT)
        out, err = player.communicate(timeout=PATIENCE)
    assert (out, err) == ("", "") and player.returncode == 1
    assert [code for code, _ in ends] == [1000]


def test_the_python_player_says_in_one_line_that_nobody_is_there(run):
    player = run("game_player.py", f"ws://127.0.0.1:{free_port()}/game/socket?Id=robot")
    out, err = player.communicate(timeout=PATIENCE)
    assert player.returncode == 1
    assert err.startswith("game_player: ") and err.count("\n") == 1


def test_a_player_is_short():
    for name in PROGRAMS:
        assert len((ROOT / "clients" / name).read_text("utf-8").splitlines()) < 60
