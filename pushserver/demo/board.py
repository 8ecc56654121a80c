"""The rules of 2048, with no input and no output."""
from __future__ import annotations

from random import Random
from typing import Callable

SIZE = 4
UP, DOWN, LEFT, RIGHT = range(4)

FOURS = 0.1
"""How often a new tile is a 4 and not a 2."""

Row = tuple[int, ...]
Cells = tuple[Row, ...]
"""Rows from the top, 0 for an empty place."""

EMPTY: Cells = ((0,) * SIZE,) * SIZE


def slide(row: Row) -> tuple[Row, int]:
    """Move a row's tiles to the left, join equal neighbours once; return it with the points."""
    tiles = [tile for tile in row if tile]
    joined: list[int] = []
    points = 0
    while tiles:
        tile = tiles.pop(0)
        if tiles and tiles[0] == tile:
            tile += tiles.pop(0)
            points += tile
        joined.append(tile)
    return (*joined, *(0,) * (len(row) - len(joined))), points


def moved(cells: Cells, direction: int) -> tuple[Cells, int]:
    """Return the cells after a move, without a new tile, and the points that it makes."""
    there, back = _TURNS[direction]
    rows = [slide(row) for row in there(cells)]
    return back(tuple(row for row, _ in rows)), sum(points for _, points in rows)


def with_tile(cells: Cells, random: Random) -> Cells:
    """Return the cells with a new tile on one of the empty places, of which there must be one."""
    places = [(y, x) for y in range(SIZE) for x in range(SIZE) if not cells[y][x]]
    place = random.choice(places)
    tile = 4 if random.random() < FOURS else 2
    return tuple(tuple(tile if (y, x) == place else cells[y][x] for x in range(SIZE))
                 for y in range(SIZE))


def is_over(cells: Cells) -> bool:
    """Tell whether no move changes anything."""
    return all(moved(cells, direction)[0] == cells for direction in _TURNS)


class Board:
    """One game.

    Attributes:
        cells: the tiles.
        score: the sum of all tiles made by joining.
        over: no move is left.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()
        self.cells = with_tile(with_tile(EMPTY, self._random), self._random)
        self.score = 0
        self.over = False

    def move(self, direction: int) -> bool:
        """Make a move; tell whether it changed anything."""
        cells, points = moved(self.cells, direction)
        if cells == self.cells:
            return False
        self.cells = with_tile(cells, self._random)
        self.score += points
        self.over = is_over(self.cells)
        return True


def _same(cells: Cells) -> Cells:
    return cells


def _mirror(cells: Cells) -> Cells:
    return tuple(row[::-1] for row in cells)


def _transpose(cells: Cells) -> Cells:
    return tuple(zip(*cells))


def _turn(cells: Cells) -> Cells:
    return _mirror(_transpose(cells))


def _turn_back(cells: Cells) -> Cells:
    return _transpose(_mirror(cells))


Turn = Callable[[Cells], Cells]

_TURNS: dict[int, tuple[Turn, Turn]] = {
    UP: (_transpose, _transpose), DOWN: (_turn, _turn_back),
    LEFT: (_same, _same), RIGHT: (_mirror, _mirror)}
"""For each direction: how to make it a move to the left, and back."""
