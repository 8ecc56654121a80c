"""The rules of 2048."""
from random import Random

import pytest

from tests.support import site  # noqa: F401  the package of the demos needs its tool

from pushserver.demo.board import DOWN, EMPTY, LEFT, RIGHT, UP, Board, is_over, moved, slide
from pushserver.demo.board import with_tile
from pushserver.demo.boards import Boards

FULL = ((2, 4, 2, 4), (4, 2, 4, 2), (2, 4, 2, 4), (4, 2, 4, 2))


@pytest.mark.parametrize("row, slid, points", [
    ((0, 0, 0, 0), (0, 0, 0, 0), 0),
    ((0, 0, 0, 2), (2, 0, 0, 0), 0),
    ((2, 4, 8, 16), (2, 4, 8, 16), 0),
    ((2, 2, 0, 0), (4, 0, 0, 0), 4),
    ((2, 0, 0, 2), (4, 0, 0, 0), 4),
    ((2, 2, 2, 0), (4, 2, 0, 0), 4),
    ((2, 2, 2, 2), (4, 4, 0, 0), 8),
    ((4, 4, 8, 0), (8, 8, 0, 0), 8),
    ((2, 2, 4, 4), (4, 8, 0, 0), 12),
    ((4, 2, 2, 0), (4, 4, 0, 0), 4),
    ((1024, 1024, 0, 4), (2048, 4, 0, 0), 2048),
])
def test_a_row_slides_and_equal_neighbours_join_once(row, slid, points):
    assert slide(row) == (slid, points)


CORNER = ((2, 0, 0, 2), (0, 0, 0, 0), (0, 0, 0, 0), (2, 0, 0, 4))


@pytest.mark.parametrize("direction, after, points", [
    (UP, ((4, 0, 0, 2), (0, 0, 0, 4), (0,) * 4, (0,) * 4), 4),
    (DOWN, ((0,) * 4, (0,) * 4, (0, 0, 0, 2), (4, 0, 0, 4)), 4),
    (LEFT, ((4, 0, 0, 0), (0,) * 4, (0,) * 4, (2, 4, 0, 0)), 4),
    (RIGHT, ((0, 0, 0, 4), (0,) * 4, (0,) * 4, (0, 0, 2, 4)), 4),
])
def test_directions_are_up_down_left_right_from_0_on(direction, after, points):
    assert (UP, DOWN, LEFT, RIGHT) == (0, 1, 2, 3)
    assert moved(CORNER, direction) == (after, points)


def test_of_three_equal_tiles_the_two_ahead_join():
    column = ((2, 0, 0, 0), (2, 0, 0, 0), (2, 0, 0, 0), (0,) * 4)
    assert [row[0] for row in moved(column, UP)[0]] == [4, 2, 0, 0]
    assert [row[0] for row in moved(column, DOWN)[0]] == [0, 0, 2, 4]


def test_a_new_tile_is_a_2_or_now_and_then_a_4_on_an_empty_place():
    random = Random(1)
    found = [tile for _ in range(1000) for row in with_tile(EMPTY, random) for tile in row if tile]
    assert len(found) == 1000 and set(found) == {2, 4}
    assert 50 < found.count(4) < 150
    almost = (*FULL[:3], (4, 2, 4, 0))
    assert with_tile(almost, random)[:3] == FULL[:3] and with_tile(almost, random)[3][3] in (2, 4)


def test_a_game_is_over_when_no_move_changes_anything():
    assert is_over(FULL)
    assert not is_over((*FULL[:3], (4, 2, 4, 0)))
    assert not is_over((*FULL[:3], (4, 2, 4, 4)))
    assert not is_over(((4, 4, 2, 4), *FULL[1:]))


def test_a_board_begins_with_two_tiles_and_no_points():
    board = Board()
    assert sum(tile > 0 for row in board.cells for tile in row) == 2
    assert (board.score, board.over) == (0, False)


def test_a_move_that_changes_nothing_brings_no_tile():
    board = Board(Random(1))
    board.cells = ((2, 0, 0, 0), (4, 0, 0, 0), (0,) * 4, (0,) * 4)
    assert not board.move(LEFT) and not board.move(UP)
    assert sum(map(sum, board.cells)) == 6
    assert board.move(RIGHT) and sum(map(sum, board.cells)) > 6


@pytest.mark.parametrize("seed", range(20))
def test_a_whole_game_ends_with_all_points_counted(seed):
    random = Random(seed)
    board = Board(random)
    tiles, moves = sum(map(sum, board.cells)), 0
    while not board.over:
        score, cells = board.score, board.cells
        if board.move(random.randrange(4)):
            moves += 1
            assert sum(map(sum, board.cells)) - tiles in (2, 4)
            tiles = sum(map(sum, board.cells))
        else:
            assert (board.score, board.cells) == (score, cells)
    assert is_over(board.cells) and moves > 10
    assert all(tile and tile & (tile - 1) == 0 for row in board.cells for tile in row)
    assert not any(board.move(direction) for direction in range(4))


def test_a_board_stays_while_one_window_of_its_id_is_there():
    boards = Boards(kept=0)
    assert boards.enter("ann") and not boards.enter("ann")
    board = boards.find("ann")
    boards.leave("ann")
    assert boards.find("ann") is board
    boards.leave("ann")
    assert boards.find("ann") is None and len(boards) == 0


def test_who_comes_back_finds_the_board_and_who_is_long_gone_does_not():
    boards = Boards(kept=10)
    boards.enter("ann")
    mine = boards.find("ann")
    boards.leave("ann")
    assert boards.enter("ann") and boards.find("ann") is mine
    boards.leave("ann")
    for number in range(1000):
        boards.enter(str(number))
        boards.leave(str(number))
        assert len(boards) <= 10
    assert boards.find("ann") is None and boards.find("999") is not None


def test_a_new_game_is_another_board():
    boards = Boards()
    boards.enter("ann")
    before = boards.find("ann")
    boards.renew("ann")
    assert boards.find("ann") is not before
