"""The limit of channels that one client publishes to."""
from __future__ import annotations

import pytest

from pushserver.centrifuge.errors import CommandError
from pushserver.centrifuge.spread import WINDOW, Spread
from tests.support.history import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def spread(clock):
    return Spread(clock)


def test_a_client_publishes_to_so_many_channels_and_no_more(spread):
    for channel in "abcabc":
        spread.add(channel, 3)
    with pytest.raises(CommandError) as caught:
        spread.add("d", 3)
    assert caught.value.code == 106
    spread.add("a", 3)


def test_a_channel_counts_for_a_minute_after_its_last_publication(spread, clock):
    for channel in "abc":
        spread.add(channel, 3)
    clock.now += WINDOW - 1
    spread.add("a", 3)
    clock.now += 1
    spread.add("d", 3)
    spread.add("e", 3)
    with pytest.raises(CommandError):
        spread.add("f", 3)      # "a" has been used since


def test_it_keeps_no_more_names_than_it_allows(spread, clock):
    for number in range(100):
        clock.now += WINDOW
        spread.add(str(number), 3)
    assert repr(spread) == "<Spread over 3 channels>"
