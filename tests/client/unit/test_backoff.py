from __future__ import annotations

from pushclient.backoff import (FIRST_WINDOW, LARGEST_WINDOW, LONGEST_RETRY_AFTER, SHORTEST_DELAY,
                                Backoff)


def widest(low, high):
    assert low == SHORTEST_DELAY
    return high


def test_window_doubles_from_half_a_second_to_twenty():
    backoff, windows = Backoff(widest), []
    for _ in range(9):
        backoff.failures += 1
        windows.append(backoff.next_delay())
    assert windows == [0.5, 1, 2, 4, 8, 16, 20, 20, 20]
    backoff.failures = 10 ** 9
    assert backoff.next_delay() == LARGEST_WINDOW


def test_reset_starts_again_with_the_first_window():
    backoff = Backoff(widest)
    backoff.failures = 5
    backoff.reset()
    assert backoff.next_delay() == FIRST_WINDOW


def test_delays_are_drawn_from_the_whole_window():
    backoff = Backoff()
    delays = [backoff.next_delay() for _ in range(2000)]
    assert SHORTEST_DELAY <= min(delays) < 0.07
    assert 0.48 < max(delays) <= FIRST_WINDOW
    assert len(set(delays)) > 1990


def test_retry_after_comes_below_the_jitter_and_has_an_end():
    backoff = Backoff(widest)
    assert backoff.next_delay(retry_after=5) == 5 + FIRST_WINDOW
    assert backoff.next_delay(retry_after=1e12) == LONGEST_RETRY_AFTER + FIRST_WINDOW
