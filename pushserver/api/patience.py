"""How long, and how much, one request with many commands may go on."""
from __future__ import annotations

import time
from typing import Callable, Iterable, Iterator, TypeVar

T = TypeVar("T")

MAX_SECONDS = 10.0
"""Seconds for the commands of one request; those that are left then are answered with an error."""

MAX_ANSWERS = 64 * 1024 * 1024
"""Bytes of their answers, likewise."""

GIVE_WAY = 0.005
PAUSE = 0.0005
"""Seconds after which a request gives way to all other threads, and for how long."""

Clock = Callable[[], float]


def answers(commands: Iterable[T], answer: Callable[[T], bytes], refuse: Callable[[T], bytes], *,
            clock: Clock = time.monotonic, sleep: Callable[[float], object] = time.sleep
            ) -> Iterator[bytes]:
    """Answer commands one after another, as long as they take neither too long nor too much.

    Args:
        commands: what to answer, in order.
        answer: answers one.
        refuse: answers one that is not carried out because those before it took all.
        clock: returns seconds that never go back.
        sleep: lets all other threads run.
    """
    now = clock()
    end, turn, left = now + MAX_SECONDS, now + GIVE_WAY, MAX_ANSWERS
    for command in commands:
        if now > end or left <= 0:
            yield refuse(command)
            continue
        found = answer(command)
        left -= len(found)
        yield found
        now = clock()
        if now > turn:
            sleep(PAUSE)
            now = clock()
            turn = now + GIVE_WAY
