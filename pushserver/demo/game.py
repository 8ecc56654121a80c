"""2048: the server keeps the board, the page sends the moves. Anyone can watch an Id's board."""
from __future__ import annotations

from threading import Lock
from typing import Any

import cherrypy

from .. import Connection, PushPlugin
from .boards import Boards
from .pages import page

MOVES = {b"0": 0, b"1": 1, b"2": 2, b"3": 3}  # up, down, left, right
SHOW, NEW = b'"success"', b"new"  # old clients of this game send the first one on opening


class Games:
    """Play on the boards and show them; the lock puts all moves in one order."""

    def __init__(self, push: PushPlugin) -> None:
        self._push = push
        self._lock = Lock()
        self._boards = Boards()

    def enter(self, who: Connection, Id: str) -> None:
        """Show an Id's board from now on; it is created if the Id is the window's own."""
        with self._lock:
            if who.Id == Id and self._boards.enter(Id):
                self._push.publish(f"game {Id}", self._shown(Id))  # some may be watching
            who.send(self._shown(Id))
            who.subscribe(f"game {Id}")

    def leave(self, Id: str) -> None:
        """Count a player's window out."""
        with self._lock:
            self._boards.leave(Id)

    def play(self, who: Connection, command: bytes) -> None:
        """Make a move or start over and show everyone; if nothing changes, show only the player."""
        with self._lock:
            board = self._boards.find(who.Id)
            if command == NEW:
                self._boards.renew(who.Id)
            elif command == SHOW or not (board and board.move(MOVES[command])):
                return who.send(self._shown(who.Id))
            self._push.publish(f"game {who.Id}", self._shown(who.Id))

    def _shown(self, Id: str) -> dict[str, Any]:
        board = self._boards.find(Id)
        if board is None:
            return {"error": f"{Id} has no board yet: wait until they play"}
        return {"board": board.cells, "score": board.score, "over": board.over}


class Player(Connection):
    """One window: a player's, or a spectator's if another Id is ``watched``."""

    def opened(self) -> None:
        """Show the board."""
        self.data["games"].enter(self, self.data["watched"] or self.Id)

    def received_message(self, message: Any) -> None:
        """Take 0 to 3 or ``new``; answer anything else with an error."""
        if message.data not in (*MOVES, SHOW, NEW):
            self.send({"error": "send 0, 1, 2 or 3 for up, down, left or right, or send new"})
        elif self.data["watched"]:
            self.send({"error": f"you are watching {self.data['watched']}: only they can move"})
        else:
            self.data["games"].play(self, message.data)

    def closed(self, code: int, reason: str | None = None) -> None:
        """Leave the board."""
        if not self.data["watched"]:
            self.data["games"].leave(self.Id)


class Game:
    """``/game/`` is the page, and it connects to ``/game/socket?Id=...&watch=...``."""

    def __init__(self, push: PushPlugin) -> None:
        self._games = Games(push)

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the Ids from its own URL."""
        return page("game")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Player)  # type: ignore[untyped-decorator]
    def socket(self, Id: str, watch: str = "") -> None:
        """Let everyone in."""
        if not isinstance(watch, str) or len(watch) > 128:
            raise cherrypy.HTTPError(400, "watch must be one Id")
        cherrypy.request.push_data.update(games=self._games, watched=watch != Id and watch)
