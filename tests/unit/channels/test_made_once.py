"""What is made of a channel's presence: once until it changes, and not too much of it."""
from __future__ import annotations

from pushserver.channels.made_once import MadeOnce
from pushserver.channels.memory_presence import MemoryPresence
from pushserver.channels.presence import Info, Stats

ANN, BOB = Info("1", "ann"), Info("2", "bob")


def names(made):
    """Return a function that makes bytes, and notes that it has."""
    def make(found):
        made.append(sorted(found))
        return "".join(sorted(found)).encode()

    return make


def test_it_is_made_again_only_when_somebody_has_come_or_gone():
    presence, once, made = MemoryPresence(), MadeOnce(), []
    make = names(made)

    def ask():
        return once.of("c", presence.of("c"), make)

    presence.join("c", ANN)
    assert [ask(), ask()] == [b"1", b"1"] and len(made) == 1
    presence.join("other", BOB)
    assert ask() == b"1" and len(made) == 1
    presence.join("c", BOB)
    assert [ask(), ask()] == [b"12", b"12"] and len(made) == 2
    presence.leave("c", "1")
    assert ask() == b"2"
    presence.join("c", BOB._replace(connection="more"))
    ask()
    assert len(made) == 4


def test_a_presence_that_returns_another_object_each_time_is_made_each_time():
    once, made = MadeOnce(), []
    make = names(made)
    assert [once.of("c", {"1": ANN}, make) for _ in range(3)] == [b"1"] * 3
    assert len(made) == 3


def test_each_way_to_make_it_has_its_own():
    once, found = MadeOnce(), {"1": ANN}
    assert once.of("c", found, lambda _: b"a") == b"a"
    assert once.of("c", found, lambda _: b"b") == b"b"


def test_what_was_not_asked_for_longest_goes_first_and_what_is_too_large_is_not_kept():
    once, made = MadeOnce(100), []

    def make(found):
        made.append(found)
        return b"x" * 40

    channels = [{}, {}, {}]
    once.of("a", channels[0], make), once.of("b", channels[1], make)
    once.of("a", channels[0], make)
    once.of("c", channels[2], make)
    once.of("a", channels[0], make)
    assert len(made) == 3 and repr(once) == "<MadeOnce 80 bytes of 2 channels>"
    once.of("b", channels[1], make)
    assert len(made) == 4
    assert once.of("d", {}, lambda _: b"x" * 101) == b"x" * 101
    assert repr(once) == "<MadeOnce 0 bytes of 0 channels>"


def test_stats_are_those_of_all_who_are_there_through_every_change():
    presence = MemoryPresence()
    infos = [Info(str(number), ("ann", "bob", "")[number % 3]) for number in range(30)]
    for info in infos + infos[:5]:
        presence.join("c", info)
        assert presence.stats("c") == counted(presence)
    presence.join("c", Info("0", "eve"))    # the same client as another user
    presence.leave("c", "1", 15)
    for info in infos[::2] + infos[1::2]:
        presence.leave("c", info.client)
        assert presence.stats("c") == counted(presence)
    assert presence.stats("c") == Stats(0, 0) and not presence._channels


def counted(presence):
    clients = presence.of("c").values()
    return Stats(len(clients), len({info.user for info in clients}))
