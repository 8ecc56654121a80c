"""Who is in which channel: who lingers, who takes whose place, and who is told."""
from __future__ import annotations

from functools import partial

import pytest

from pushserver.channels.presence import Info
from tests.broker.recording_node import in_threads

ANN, ANN_AGAIN, BOB = Info("1", "ann"), Info("2", "ann"), Info("3", "bob")


@pytest.fixture
def presence(node):
    return node.presence


def test_who_joins_is_there_until_it_leaves(presence):
    assert presence.join("c", ANN) and presence.join("c", BOB)
    assert presence.of("c") == {"1": ANN, "3": BOB}
    assert presence.stats("c") == (2, 2)
    assert presence.leave("c", "1") == ANN
    assert presence.of("c") == {"3": BOB} and presence.stats("c") == (1, 1)
    assert presence.leave("c", "1") is None
    assert presence.of("other") == {} and presence.stats("other") == (0, 0)
    assert presence.leave("other", "3") is None


def test_what_is_told_of_a_client_is_kept_in_full(presence):
    info = Info("1", "ann", {"name": "Ann", "age": 7}, ["x", None, 0.5])
    presence.join("c", info)
    assert presence.of("c") == {"1": info}
    assert presence.leave("c", "1") == info


def test_connections_of_a_user_are_several_clients_and_one_user(presence):
    assert presence.join("c", ANN) and not presence.join("c", ANN_AGAIN)
    assert presence.of("c") == {"1": ANN, "2": ANN_AGAIN} and presence.stats("c") == (2, 1)


def test_a_user_is_there_from_its_first_connection_to_its_last(presence):
    assert [presence.join("c", Info(client, "ann")) for client in "123"] == [True, False, False]
    assert presence.leave("c", "1") is None and presence.leave("c", "3") is None
    assert presence.join("c", BOB)
    assert not presence.join("c", Info("4", "ann"))
    assert presence.leave("c", "2") is None
    assert presence.leave("c", "4") == Info("4", "ann")
    assert presence.join("c", ANN)


def test_a_user_back_before_the_loss_was_noticed_has_neither_left_nor_come(site, presence):
    presence.join("c", ANN)
    assert not presence.join("c", ANN_AGAIN)
    assert presence.leave("c", "1", 15) is None     # its ping was never answered
    assert presence.of("c") == {"2": ANN_AGAIN} and presence.next_due() is None
    site.pass_time(60)
    assert presence.due() == []
    assert presence.leave("c", "2", 15) is None
    site.pass_time(15)
    assert presence.due() == [("c", ANN_AGAIN)]


def test_a_user_is_there_in_each_channel_by_itself(presence):
    assert presence.join("c", ANN) and presence.join("d", ANN_AGAIN)
    assert presence.leave("c", "1") == ANN and presence.leave("d", "2") == ANN_AGAIN


def test_who_is_anonymous_comes_and_leaves_alone(presence):
    first, second = Info("8", ""), Info("9", "")
    assert presence.join("c", first) and presence.join("c", second)
    assert presence.still("c", first) == first
    assert presence.leave("c", "8") == first and presence.leave("c", "9", 15) == second
    assert presence.still("c", first) is None


def test_by_whom_a_user_is_still_there_is_known(site, presence):
    assert presence.still("c", ANN) is None
    presence.join("c", ANN)
    assert presence.still("c", ANN_AGAIN) == ANN and presence.still("d", ANN) is None
    presence.join("c", ANN_AGAIN)
    presence.leave("c", "1")
    assert presence.still("c", ANN) == ANN_AGAIN and presence.still("c", BOB) is None
    presence.leave("c", "2", 15)
    assert presence.still("c", ANN) == ANN_AGAIN
    site.pass_time(15)
    presence.due()
    assert presence.still("c", ANN) is None


def test_of_clients_that_leave_at_once_the_last_is_told(presence):
    for channel in map(str, range(20)):
        for client in "1234":
            presence.join(channel, Info(client, "ann"))
        found = in_threads(*[partial(presence.leave, channel, client) for client in "1234"])
        assert sum(one is not None for one in found) == 1


def test_a_client_that_joins_again_as_another_user_is_one_client(presence):
    presence.join("c", ANN)
    assert not presence.join("c", ANN._replace(user="eve"))
    assert presence.of("c") == {"1": ANN._replace(user="eve")}
    assert presence.still("c", ANN) is None
    assert presence.leave("c", "1") == ANN._replace(user="eve")


def test_clients_whose_user_is_unknown_count_as_one_user(presence):
    for client in "789":
        assert presence.join("c", Info(client, ""))
    assert presence.stats("c") == (3, 1)


def test_joining_twice_is_joining_once_with_what_was_told_last(presence):
    assert presence.join("c", ANN)
    assert not presence.join("c", ANN._replace(channel="new"))
    assert presence.of("c") == {"1": ANN._replace(channel="new")}
    assert presence.stats("c") == (1, 1)


def test_a_reload_is_neither_a_leave_nor_a_join(site, presence):
    presence.join("c", ANN)
    assert presence.leave("c", "1", 15) is None
    assert presence.lingers("c", "1") and presence.of("c") == {"1": ANN}
    site.pass_time(14)
    assert presence.due() == []
    assert not presence.join("c", ANN_AGAIN)
    assert presence.of("c") == {"2": ANN_AGAIN} and presence.stats("c") == (1, 1)
    assert not presence.lingers("c", "1") and presence.channels("1") == []
    site.pass_time(60)
    assert presence.due() == [] and presence.next_due() is None


def test_a_client_that_joins_again_lingers_no_more(site, presence):
    presence.join("c", ANN)
    presence.leave("c", "1", 15)
    assert not presence.join("c", ANN)
    assert not presence.lingers("c", "1")
    site.pass_time(60)
    assert presence.due() == [] and presence.of("c") == {"1": ANN}


def test_who_does_not_come_back_has_left_after_the_linger(site, presence):
    presence.join("c", ANN)
    presence.join("c", BOB)
    assert presence.next_due() is None
    presence.leave("c", "1", 15)
    site.pass_time(5)
    presence.leave("c", "3", 15)
    assert presence.next_due() == pytest.approx(10, abs=0.5)
    site.pass_time(10)
    assert presence.next_due() == 0
    assert presence.due() == [("c", ANN)]
    assert presence.next_due() == pytest.approx(5, abs=0.5)
    site.pass_time(5)
    assert presence.due() == [("c", BOB)]
    assert presence.of("c") == {} and presence.channels("3") == []
    assert presence.due() == [] and presence.next_due() is None


def test_another_user_takes_nobodys_place_nor_does_another_channel(presence):
    presence.join("c", ANN)
    presence.leave("c", "1", 15)
    assert presence.join("c", BOB)
    assert presence.join("other", ANN_AGAIN)
    assert set(presence.of("c")) == {"1", "3"}


def test_of_a_users_clients_that_vanish_the_last_lingers(site, presence):
    presence.join("c", ANN)
    presence.join("c", ANN_AGAIN)
    presence.leave("c", "1", 15)
    assert presence.of("c") == {"2": ANN_AGAIN}
    presence.leave("c", "2", 15)
    assert presence.of("c") == {"2": ANN_AGAIN} and presence.lingers("c", "2")
    assert [presence.join("c", Info(client, "ann")) for client in "456"] == [False] * 3
    site.pass_time(15)
    assert presence.due() == [] and set(presence.of("c")) == set("456")


def test_who_is_anonymous_leaves_at_once(presence):
    nobody = Info("9", "")
    presence.join("c", nobody)
    assert presence.leave("c", "9", 15) == nobody
    assert presence.of("c") == {} and presence.next_due() is None


def test_a_second_leave_does_not_prolong_the_linger_and_one_for_good_ends_it(site, presence):
    for info in (ANN, BOB):
        presence.join("c", info)
        presence.leave("c", info.client, 15)
        assert presence.leave("c", info.client, 30) is None
    assert presence.leave("c", "1") == ANN and not presence.lingers("c", "1")
    site.pass_time(15)
    assert presence.due() == [("c", BOB)]
    site.pass_time(60)
    assert presence.due() == []


def test_the_channels_of_a_client_are_known(presence):
    presence.join("a", ANN)
    presence.join("b", ANN)
    presence.join("d", ANN)
    presence.leave("a", "1")
    presence.leave("d", "1", 15)
    assert sorted(presence.channels("1")) == ["b", "d"] and presence.channels("3") == []


@pytest.mark.parametrize("was_there", [False, True])
def test_of_clients_that_come_at_once_the_first_is_told_unless_one_lingers(presence, was_there):
    for channel in map(str, range(20)):
        if was_there:
            presence.join(channel, ANN)
            presence.leave(channel, "1", 15)
        told = in_threads(*[partial(presence.join, channel, Info(client, "ann"))
                            for client in "4567"])
        assert sum(told) == (0 if was_there else 1)
        assert set(presence.of(channel)) == set("4567")


def test_who_leaves_is_returned_once(site, presence):
    for channel in map(str, range(20)):
        presence.join(channel, ANN)
        presence.leave(channel, "1", 15)
        site.pass_time(15)
        found = in_threads(*[partial(presence.leave, channel, "1")] * 2, *[presence.due] * 2)
        assert [one for one in found if one] in ([ANN], [[(channel, ANN)]])


def test_who_was_there_is_there_after_a_stop_and_a_start(presence):
    presence.join("c", ANN)
    presence.stop()
    presence.start()
    assert presence.of("c") == {"1": ANN} and presence.channels("1") == ["c"]
    assert presence.leave("c", "1") == ANN
