"""A game's player written for ws4py's threaded client; only its import is another."""
from __future__ import annotations

import contextlib
import signal
import textwrap

import pytest

from pushserver.wire.frames import OPCODE_TEXT, frame

from tests.support.programs import program
from tests.support.scripted_server import DEADLINE, Server

PLAYER = textwrap.dedent("""
    import json
    import sys
    from pushclient import WebSocketClient

    class GamePlayer(WebSocketClient):
        def opened(self):
            print("connected", flush=True)

        def closed(self, code, reason=None):
            print("disconnected", code, flush=True)

        def received_message(self, resp):
            resp = json.loads(str(resp))
            print(resp["board"], flush=True)

    if __name__ == "__main__":
        ws = None
        try:
            ws = GamePlayer(sys.argv[1])
            ws.connect()
            ws.run_forever()
        except KeyboardInterrupt:
            ws.close()
    """)


@pytest.fixture
def player(tmp_path):
    path = tmp_path / "player.py"
    path.write_text(PLAYER)
    with contextlib.ExitStack() as stack:
        yield lambda url: stack.enter_context(program(str(path), url))


def test_player_plays_until_the_game_is_over(player):
    def game(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b'{"board": [2, 0]}'))
        peer.send('{"board": [4, 0]}')
        peer.close()
    with Server(game) as server:
        out, err = player(server.url).communicate(timeout=DEADLINE)
    assert (out, err) == ("connected\n[2, 0]\n[4, 0]\ndisconnected 1000\n", "")


def test_player_leaves_in_good_order_at_ctrl_c(player):
    ends = []

    def game(peer):
        peer.answer()
        ends.append(peer.receive())
    with Server(game) as server:
        process = player(server.url)
        assert process.stdout.readline() == "connected\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        assert process.stderr.read() == ""
    assert ends == [(1000, "")]
