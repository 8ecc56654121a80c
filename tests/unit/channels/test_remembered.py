"""The positions that are kept of channels with empty histories."""
from __future__ import annotations

import pytest

from pushserver.channels.remembered import NAME_OVERHEAD, Ended, Remembered

SOME = Ended(0, 7)


@pytest.fixture
def of_eight():
    """Return one that has room for eight channels with short names."""
    return Remembered(8 * (NAME_OVERHEAD + 60))


def test_a_channel_is_remembered_until_it_is_taken(of_eight):
    assert not of_eight.put("a", SOME)
    assert of_eight.find("a") == of_eight.take("a") == SOME
    assert of_eight.find("a") is of_eight.take("a") is None
    assert (len(of_eight), of_eight.bytes) == (0, 0)


def test_the_older_half_is_dropped_at_once_when_the_newer_is_full(of_eight):
    dropped = [list(of_eight.put(str(number), SOME)) for number in range(12)]
    assert [names for names in dropped if names] == [["0", "1", "2", "3"]]
    assert len(of_eight) == 8


@pytest.mark.parametrize("length", [1, 255])
@pytest.mark.parametrize("letter", ["x", "\N{SNOWMAN}", "\N{PILE OF POO}"])
def test_it_takes_no_more_than_it_may_whatever_the_names(length, letter):
    remembered, size = Remembered(100_000), 0
    for number in range(2000):
        remembered.put(f"{number}" + letter * (length - 4), SOME)
        size = max(size, remembered.bytes)
        if number % 3 == 0:
            remembered.take(f"{number}" + letter * (length - 4))
    assert 40_000 < size <= 100_000
