"""What a channel remembers: pages, what is recovered from which position, limits, epochs."""
from __future__ import annotations

import pytest

from pushserver.channels.publication import (NOWHERE, PUBLICATION_OVERHEAD, Limits, Position,
                                             Publication)
from tests.broker.recording_node import KEEP
from tests.support.history import offsets

LAST_THREE = Limits(3, 1 << 20, 60.0)
DAY = 24 * 3600.0


@pytest.fixture
def epoch(node):
    """Return the epoch of a channel that holds 3, 4 and 5 of five publications."""
    for _ in range(5):
        position = node.publish(limits=LAST_THREE)
    return position.epoch


@pytest.mark.parametrize("limit, since, reverse, found, recovered", [
    (None, None, False, [3, 4, 5], False), (2, None, False, [3, 4], False),
    (0, None, False, [], False), (9, None, False, [3, 4, 5], False),
    (None, 3, False, [4, 5], True), (1, 3, False, [4], True), (0, 3, False, [], True),
    (None, 2, False, [3, 4, 5], True), (None, 1, False, [3, 4, 5], False),
    (None, 5, False, [], True), (None, 6, False, [], False),
    (None, None, True, [5, 4, 3], False), (2, None, True, [5, 4], False),
    (None, 5, True, [4, 3], True), (1, 5, True, [4], True), (None, 3, True, [], True),
    (None, 6, True, [], False)])
def test_a_history_is_read_in_pages(node, epoch, limit, since, reverse, found, recovered):
    page = node.broker.history("c", LAST_THREE, limit,
                               None if since is None else Position(since, epoch), reverse)
    assert (offsets(page), page.top, page.recovered) == (found, Position(5, epoch), recovered)


@pytest.mark.parametrize("since, limit, found", [
    (5, None, []), (4, None, [5]), (2, None, [3, 4, 5]), (2, 3, [3, 4, 5]), (5, 0, []),
    (2, 2, None), (1, None, None), (0, None, None), (6, None, None)])
def test_what_came_after_a_position_is_recovered_in_full_or_not_at_all(
        node, epoch, since, limit, found):
    page = node.broker.recover("c", LAST_THREE, Position(since, epoch), limit)
    assert (offsets(page), page.recovered) == (found or [], found is not None)
    assert page.top == (5, epoch)


def test_who_was_nowhere_recovers_all_where_all_is_held(node, epoch):
    assert not node.broker.recover("c", LAST_THREE, NOWHERE).recovered
    assert not node.broker.recover("c", LAST_THREE, None).recovered
    position = node.publish("b")
    page = node.broker.recover("b", KEEP, NOWHERE)
    assert (offsets(page), page.top, page.recovered) == ([1], position, True)
    page = node.broker.recover("b", KEEP, None)
    assert (offsets(page), page.top, page.recovered) == ([], position, False)


@pytest.mark.parametrize("offset", [0, 1, 4, 5, 6])
def test_a_position_of_another_epoch_is_never_recovered(node, epoch, offset):
    other = node.publish("b").epoch + "x"
    for strange in (other, epoch[:-1], "x" if offset == 0 else ""):
        page = node.broker.recover("c", LAST_THREE, Position(offset, strange))
        assert (offsets(page), page.top, page.recovered) == ([], Position(5, epoch), False)
        for reverse in (False, True):
            page = node.broker.history("c", LAST_THREE, None, Position(offset, strange), reverse)
            assert (offsets(page), page.recovered) == ([], False)


def test_a_channel_without_a_publication_is_empty(node):
    top = node.broker.history("c", KEEP, None).top
    assert top.offset == 0 and top.epoch
    for since, recovered in ((None, False), (NOWHERE, True), (top, True),
                             (Position(1, top.epoch), False), (Position(0, "other"), False)):
        page = node.broker.recover("c", KEEP, since)
        assert (offsets(page), page.top, page.recovered) == ([], top, recovered)


def test_the_first_publication_is_recovered_from_what_was_read_before_it(node):
    top = node.broker.recover("c", KEEP, None).top
    position = node.publish()
    assert position == (1, top.epoch)
    page = node.broker.recover("c", KEEP, top)
    assert (offsets(page), page.top, page.recovered) == ([1], position, True)


def test_a_history_has_at_most_so_many_bytes_but_always_the_last_publication(node):
    two = Limits(100, 2 * (PUBLICATION_OVERHEAD + 10), 60.0)
    for _ in range(4):
        node.publish(data="x" * 10, limits=two)
    assert offsets(node.broker.history("c", two, None)) == [3, 4]
    node.publish(data="x" * 10_000, limits=two)
    assert offsets(node.broker.history("c", two, None)) == [5]


def test_what_is_too_old_is_forgotten(site, node):
    first = node.publish()
    site.pass_time(40)
    second = node.publish()
    site.pass_time(21)
    assert offsets(node.broker.history("c", KEEP, None)) == [2]
    assert node.broker.recover("c", KEEP, first).recovered
    assert not node.broker.recover("c", KEEP, NOWHERE).recovered
    site.pass_time(40)
    node.broker.sweep()
    assert not node.broker.recover("c", KEEP, first).recovered
    assert node.broker.recover("c", KEEP, second).recovered
    assert node.publish() == (3, first.epoch)


def test_an_age_of_0_is_no_limit(site, node):
    for_ever = KEEP._replace(age=0.0)
    node.publish(limits=for_ever)
    site.pass_time(DAY / 2)
    node.broker.sweep()
    assert offsets(node.broker.history("c", for_ever, None)) == [1]


def test_a_removed_history_is_empty_and_goes_on(node, epoch):
    node.broker.remove_history("c")
    node.broker.remove_history("unknown")
    page = node.broker.history("c", LAST_THREE, None)
    assert (offsets(page), page.top) == ([], Position(5, epoch))
    assert not node.broker.recover("c", LAST_THREE, Position(4, epoch)).recovered
    assert node.broker.recover("c", LAST_THREE, Position(5, epoch)).recovered
    assert node.publish(limits=LAST_THREE) == (6, epoch)
    assert offsets(node.broker.history("c", LAST_THREE, None)) == [6]


def test_a_position_is_not_used_twice_however_long_nobody_publishes(site, node):
    old = node.publish()
    for _ in range(3):
        site.pass_time(2 * DAY)
        node.broker.sweep()
    told = node.broker.recover("c", KEEP, None).top
    new = node.publish()
    assert new == (2, old.epoch) or (new.offset == 1 and new.epoch != old.epoch)
    assert new == (told.offset + 1, told.epoch)
    page = node.broker.recover("c", KEEP, old)
    assert page.recovered == (new.epoch == old.epoch)


def test_what_had_to_go_for_want_of_memory_is_not_recovered_and_no_position_is_used_twice(node):
    first, old = node.publish(), node.publish()
    assert node.broker.held_bytes >= 0
    assert node.broker.evict(1 << 40) >= 0
    told = node.broker.recover("c", KEEP, first)
    assert offsets(told) in ([], [2]) and told.recovered == bool(offsets(told))
    new = node.publish()
    assert new == (told.top.offset + 1, told.top.epoch)
    assert new == (3, old.epoch) or new.epoch != old.epoch
    assert node.broker.recover("c", KEEP, old).recovered == (new.epoch == old.epoch)


def test_clients_cannot_push_a_channel_of_the_site_out(node):
    node.publish()
    for number in range(200):
        node.publish(f"c{number}", maker="ann")
    node.publish("c0")
    assert offsets(node.broker.history("c", KEEP, None)) == [1]
    assert offsets(node.broker.history("c0", KEEP, None))[-1] == 2


def test_two_sites_have_different_epochs(site, node):
    again = type(site)()
    position, other = node.publish(), again.broker.publish("c", Publication.of("x"), KEEP)
    assert position.epoch != other.epoch
    assert not again.broker.recover("c", KEEP, position).recovered
    again.close()
