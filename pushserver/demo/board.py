"""The rules of 2048, without input or output."""
from __future__ import annotations

from random import Random

SIZE = 4
UP, DOWN, LEFT, RIGHT = range(4)

FOURS = 0.1
"""How often a new tile is a 4 instead of a 2."""

Row = tuple[int, ...]
Cells = tuple[Row, ...]
"""Rows from the top, 0 for an empty place."""

EMPTY: Cells = ((0,) * SIZE,) * SIZE


def slide(row: Row) -> tuple[Row, int]:
    """Move a row's tiles to the left and join equal neighbours once; return it with the points."""
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
    """Return the cells after a move, without a new tile, and the points that it scores."""
    rows = [slide(row) for row in _turned(cells, direction)]
    return (_turned(tuple(row for row, _ in rows), direction, back=True),
            sum(points for _, points in rows))


def _turned(cells: Cells, direction: int, *, back: bool = False) -> Cells:
    """Return the cells turned so that the move goes left, or turned back."""
    if direction in (UP, DOWN) and not back:
        cells = tuple(zip(*cells))
    if direction in (DOWN, RIGHT):
        cells = tuple(row[::-1] for row in cells)
    return tuple(zip(*cells)) if direction in (UP, DOWN) and back else cells


def with_tile(cells: Cells, random: Random) -> Cells:
    """Return the cells with a new tile in an empty place; there must be one."""
    places = [(y, x) for y in range(SIZE) for x in range(SIZE) if not cells[y][x]]
    place = random.choice(places)
    tile = 4 if random.random() < FOURS else 2
    return tuple(tuple(tile if (y, x) == place else cells[y][x] for x in range(SIZE))
                 for y in range(SIZE))


def is_over(cells: Cells) -> bool:
    """Tell whether no move changes anything."""
    return all(moved(cells, direction)[0] == cells for direction in (UP, DOWN, LEFT, RIGHT))


class Board:
    """One game.

    Attributes:
        cells: the tiles.
        score: the sum of all tiles made by joining.
        over: whether no move is left.
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
