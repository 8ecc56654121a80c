"""Play a whole game of 2048 on the demo site: ``python clients/game_player.py [URL]``.

Open the address that it prints to watch it play.
"""
from __future__ import annotations

import json
import sys
from typing import Any

from pushclient import PushError, WebSocketClient

URL = "ws://127.0.0.1:8888/game/socket?Id=python"
UP, DOWN, LEFT, RIGHT = range(4)
LIKED = (DOWN, LEFT, RIGHT, UP)
"""The moves, the one to try first at the front."""


class GamePlayer(WebSocketClient):
    """Answer each board with a move until the game is over."""

    board: Any = None
    tried = 0
    over = False

    def opened(self) -> None:
        """Say so; the first board comes unasked."""
        print("connected", flush=True)

    def received_message(self, message: Any) -> None:
        """Try the next move if the last one changed nothing, else the one it likes most."""
        game = json.loads(str(message))
        if "error" in game:
            print(game["error"], file=sys.stderr)
            self.close()
        elif game["over"] and self.board is None:
            self.send("new")  # the last game under this Id has ended
        elif game["over"]:
            self.over = True
            print("\n".join(" ".join(f"{tile:5}" for tile in row) for row in game["board"]))
            print("score", game["score"], flush=True)
            self.close()
        else:
            self.tried = self.tried + 1 if game["board"] == self.board else 0
            self.board = game["board"]
            self.send(str(LIKED[self.tried % len(LIKED)]))


if __name__ == "__main__":
    try:
        player = GamePlayer(sys.argv[1] if len(sys.argv) > 1 else URL)
        print(f"watch it at {player.url.replace('ws', 'http', 1).replace('socket?Id', '?watch')}")
        player.connect()
        player.run_forever()
    except PushError as error:
        sys.exit(f"game_player: {error}")
    except KeyboardInterrupt:
        player.close()
    sys.exit(not player.over)
