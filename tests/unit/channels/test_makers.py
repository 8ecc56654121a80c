"""Whose history goes first."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushserver.channels.makers import PRECISION, Makers


def test_the_oldest_of_who_takes_most_goes_first():
    makers = Makers()
    for now, (maker, channel) in enumerate((("ann", "a"), ("bob", "b"), ("bob", "c"))):
        makers.add(maker, channel, 1000, now)
    assert makers.first() == ("b", 1)
    makers.remove("bob", "b", 1000)
    assert makers.first() == ("a", 0)
    makers.grow("bob", 500)
    assert makers.first() == ("c", 2)


def test_a_channel_that_was_used_goes_after_the_others_of_its_maker():
    makers = Makers()
    for now, channel in enumerate("abc"):
        makers.add("ann", channel, 1, now)
    makers.used("ann", "a", 7)
    assert makers.first() == ("b", 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 1 << 40))))
def test_it_names_the_oldest_of_one_who_takes_about_as_much_as_any(steps):
    makers, model = Makers(), {}
    for now, (maker, channel, size) in enumerate(steps):
        mine, name = model.setdefault(str(maker), {}), f"{maker}:{channel}"
        if name in mine:
            makers.remove(str(maker), name, mine.pop(name))
        else:
            mine[name] = size
            makers.add(str(maker), name, size, now)
        assert len(makers) == sum(map(len, model.values()))
        most = max(sum(mine.values()) for mine in model.values())
        first = makers.first()
        assert (first is None) == (not most)
        if first is not None:
            mine = model[first[0][0]]
            assert sum(mine.values()) > most * (1 - 2 ** (1 - PRECISION))
            assert first[0] == next(iter(mine))


def test_nothing_is_kept_of_who_has_no_channels():
    makers = Makers()
    for number in range(50):
        makers.add(str(number), "c", 10 * number + 1, 0)
        makers.grow(str(number), 5)
        makers.remove(str(number), "c", 10 * number + 6)
    assert not (makers._channels or makers._bytes or makers._by_weight or len(makers))
