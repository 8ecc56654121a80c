"""A channel's ring: what it holds, what it gives back, and what it never guesses."""
from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserver.channels.history import History
from pushserver.channels.publication import (BINARY, JSON, NOWHERE, PUBLICATION_OVERHEAD, TEXT,
                                             Limits, Position, Publication)
from tests.support.history import FakeClock, offsets

PLENTY = 1 << 30


def history(count=10, size=PLENTY, age=0.0, clock=None):
    return History("e", Limits(count, size, age), clock or FakeClock())


def fill(ring, number, data="x"):
    for _ in range(number):
        ring.append(Publication.of(data))
    return ring


@pytest.mark.parametrize("data, kind, payload", [
    ("é", TEXT, "é".encode()), (b"\x00", BINARY, b"\x00"), ({"a": [1]}, JSON, b'{"a":[1]}')])
def test_a_publication_gives_back_what_was_published(data, kind, payload):
    publication = Publication.of(data)
    assert (publication.kind, publication.payload, publication.data) == (kind, payload, data)


def test_offsets_count_from_one_and_positions_name_their_epoch():
    ring = history()
    assert ring.position == Position(0, "e")
    assert [ring.append(Publication.of("x")) for _ in range(2)] == [(1, "e"), (2, "e")]
    assert ring.position == (2, "e")


def test_the_ring_holds_no_more_than_its_count():
    ring = fill(history(count=3), 10)
    assert offsets(ring.page(None)) == [8, 9, 10]
    assert (len(ring), ring.oldest, ring.top) == (3, 8, 10)


def test_the_ring_holds_no_more_than_its_bytes_but_the_last_whatever_its_size():
    ring = fill(history(size=3 * (PUBLICATION_OVERHEAD + 10)), 10, "x" * 10)
    assert offsets(ring.page(None)) == [8, 9, 10]
    fill(ring, 1, "x" * 10_000)
    assert offsets(ring.page(None)) == [11]


def test_what_is_too_old_is_gone_without_a_publication_in_between():
    clock = FakeClock()
    ring = history(age=5, clock=clock)
    fill(ring, 2)
    clock.now += 3
    fill(ring, 1)
    assert offsets(ring.page(None)) == [1, 2, 3]
    clock.now += 2
    assert offsets(ring.page(None)) == [3]
    clock.now += 3
    assert (offsets(ring.page(None)), ring.top) == ([], 3)
    assert len(ring) == 0


def test_what_follows_a_position_is_recovered():
    ring = fill(history(), 5)
    assert offsets(ring.since(Position(3, "e"))) == [4, 5]
    assert ring.since(Position(3, "e")).recovered
    assert ring.since(Position(5, "e")) == ([], (5, "e"), True)


def test_who_has_never_been_there_recovers_all_while_the_first_is_held():
    ring = fill(history(count=3), 3)
    assert offsets(ring.since(NOWHERE)) == [1, 2, 3]
    fill(ring, 1)
    assert ring.since(NOWHERE) == ((), (4, "e"), False)


@pytest.mark.parametrize("position", [
    Position(3, "other"), Position(3, ""), Position(0, "other"), Position(6, "e"),
    Position(-1, "e"), Position(1, "e"), None])
def test_an_unknown_position_is_not_recovered(position):
    ring = fill(history(count=3), 5)
    assert ring.since(position) == ((), (5, "e"), False)


def test_the_oldest_position_that_can_be_recovered_is_the_one_before_the_ring():
    ring = fill(history(count=3), 5)
    assert ring.since(Position(2, "e")).recovered
    assert not ring.since(Position(1, "e")).recovered


def test_more_than_the_limit_is_not_recovered_in_part():
    ring = fill(history(), 5)
    assert not ring.since(Position(0, "e"), 4).recovered
    assert offsets(ring.since(Position(1, "e"), 4)) == [2, 3, 4, 5]


def test_an_empty_history_recovers_only_its_own_position():
    ring = history()
    assert ring.since(Position(0, "e")).recovered
    assert not ring.since(Position(1, "e")).recovered


def test_a_removed_history_goes_on_counting_and_recovers_nothing_before():
    ring = fill(history(), 3)
    ring.remove()
    assert offsets(ring.page(None)) == []
    assert not ring.since(Position(2, "e")).recovered
    assert ring.since(Position(3, "e")).recovered
    fill(ring, 1)
    assert offsets(ring.since(Position(3, "e"))) == [4]


@pytest.mark.parametrize("limit, since, reverse, expected", [
    (0, None, False, []), (2, None, False, [3, 4]), (2, None, True, [7, 6]),
    (None, None, True, [7, 6, 5, 4, 3]), (2, 4, False, [5, 6]), (None, 7, False, []),
    (2, 5, True, [4, 3]), (9, 1, True, []), (9, 3, True, [])])
def test_pages_go_both_ways(limit, since, reverse, expected):
    ring = fill(history(count=5), 7)
    position = None if since is None else Position(since, "e")
    page = ring.page(limit, position, reverse)
    assert (offsets(page), page.top) == (expected, (7, "e"))


def test_a_page_behind_a_lost_position_says_so():
    ring = fill(history(count=3), 7)
    page = ring.page(None, Position(2, "e"))
    assert (offsets(page), page.recovered) == ([5, 6, 7], False)
    assert ring.page(None, Position(4, "e")).recovered
    assert ring.page(None, Position(9, "e")) == ((), (7, "e"), False)
    assert ring.page(None, Position(5, "old"), True) == ((), (7, "e"), False)


def test_limits_may_change():
    ring = fill(history(count=10), 10)
    ring.limits = Limits(2, PLENTY, 0)
    assert offsets(ring.page(None)) == [9, 10]


def test_what_is_forgotten_is_freed():
    ring = fill(history(count=100), 100)
    first = ring._ring[0]
    before = sys.getrefcount(first)
    fill(ring, 1)
    assert sys.getrefcount(first) == before - 1
    fill(ring, 10_000)
    assert len(ring._ring) < 200


@given(st.lists(st.one_of(st.just("publish"), st.just("remove"),
                          st.floats(0.1, 4).map(lambda seconds: ("wait", seconds)))),
       st.integers(1, 8), st.integers(0, 12))
def test_the_ring_is_the_end_of_the_log(steps, count, asked):
    clock = FakeClock()
    ring = history(count=count, age=5, clock=clock)
    log, removed = [], 0
    for step in steps:
        if step == "publish":
            log.append(clock.now)
            fill(ring, 1)
        elif step == "remove":
            ring.remove()
            removed = len(log)
        else:
            clock.now += step[1]
    held = [number for number, at in enumerate(log, 1) if at > clock.now - 5][-count:]
    held = [number for number in held if number > removed]
    assert offsets(ring.page(None)) == held
    page = ring.since(Position(asked, "e"))
    missed = list(range(asked + 1, len(log) + 1))
    assert page.recovered == (asked <= len(log) and missed == held[len(held) - len(missed):])
    assert offsets(page) == (missed if page.recovered else [])
    assert ring.size == sum(publication.cost for publication in ring.page(None).publications)
