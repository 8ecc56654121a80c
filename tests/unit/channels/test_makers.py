"""Whose history goes first."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushserver.channels.makers import Makers


def test_the_oldest_of_who_has_most_goes_first():
    makers = Makers()
    for now, (maker, channel) in enumerate((("ann", "a"), ("bob", "b"), ("bob", "c"))):
        makers.add(maker, channel, now)
    assert makers.first() == ("b", 1)
    makers.remove("bob", "b")
    assert makers.first() == ("a", 0)


def test_a_channel_that_was_used_goes_after_the_others_of_its_maker():
    makers = Makers()
    for now, channel in enumerate("abc"):
        makers.add("ann", channel, now)
    makers.used("ann", "a", 7)
    assert makers.first() == ("b", 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans())))
def test_it_always_names_one_of_who_has_most(steps):
    makers, model = Makers(), {}
    for now, (maker, channel, adds) in enumerate(steps):
        mine, name = model.setdefault(str(maker), []), f"{maker}:{channel}"
        if adds and name not in mine:
            mine.append(name)
            makers.add(str(maker), name, now)
        elif not adds and name in mine:
            mine.remove(name)
            makers.remove(str(maker), name)
        assert len(makers) == sum(map(len, model.values()))
        most = max(map(len, model.values()))
        first = makers.first()
        if not most:
            assert first is None
        else:
            assert first[0] in [mine[0] for mine in model.values() if len(mine) == most]
