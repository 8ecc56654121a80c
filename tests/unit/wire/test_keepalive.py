from __future__ import annotations

from pushserver.wire.keepalive import KeepAliveRule


def test_ping_is_due_after_silence_and_its_answer_in_time():
    keepalive = KeepAliveRule(25, 10)
    keepalive.heard(100)
    assert not keepalive.is_due(124.9) and keepalive.seconds(120) == 5
    assert keepalive.is_due(125)
    keepalive.pinged(125)
    assert not keepalive.is_due(126) and keepalive.seconds(130) == 5
    assert not keepalive.is_overdue(134.9)
    assert keepalive.is_overdue(135) and keepalive.seconds(140) == 0


def test_any_traffic_is_an_answer():
    keepalive = KeepAliveRule(25, 10)
    keepalive.heard(0)
    keepalive.pinged(25)
    keepalive.heard(30)
    assert not keepalive.is_overdue(1000)
    assert keepalive.is_due(55)


def test_time_without_reading_does_not_count():
    keepalive = KeepAliveRule(25, 10)
    keepalive.heard(0)
    assert keepalive.is_due(500) and not keepalive.is_overdue(500)
    keepalive.pinged(500)
    assert not keepalive.is_overdue(509)


def test_zero_is_never():
    keepalive = KeepAliveRule(0, 10)
    keepalive.heard(0)
    assert not keepalive.is_due(1e9) and keepalive.seconds(5) is None
