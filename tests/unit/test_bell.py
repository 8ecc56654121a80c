"""Bells: rung from anywhere, seen by a selector, and harmless once closed."""
from __future__ import annotations

import os
import selectors

import pytest

from pushserver.bell import EventBell, SocketBell, new_bell


@pytest.fixture(params=[EventBell, SocketBell])
def bell(request):
    if request.param is EventBell and not hasattr(os, "eventfd"):
        pytest.skip("this system has no eventfd")
    bell = request.param()
    yield bell
    bell.close()


def rings(bell):
    with selectors.DefaultSelector() as selector:
        selector.register(bell, selectors.EVENT_READ)
        return bool(selector.select(0))


def test_a_ring_is_seen_until_it_is_hushed(bell):
    assert not rings(bell)
    bell.ring()
    assert rings(bell)
    bell.hush()
    assert not rings(bell)


def test_many_rings_are_hushed_at_once(bell):
    for _ in range(1000):
        bell.ring()
    bell.hush()
    assert not rings(bell)


def test_a_bell_that_nobody_hushes_can_be_rung_for_ever(bell):
    for _ in range(100_000):
        bell.ring()
    assert rings(bell)


def test_a_closed_bell_is_rung_in_silence(bell):
    bell.close()
    bell.ring()


def test_linux_has_the_bell_that_keeps_threads_where_they_are():
    bell = new_bell()
    bell.close()
    assert isinstance(bell, EventBell if hasattr(os, "eventfd") else SocketBell)
