"""Rules: which holds for which channel, and what cannot be one."""
from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, strategies as st

from pushserver.channels.rules import DEFAULT, ChannelRule, ChannelRules, checked_channel
from pushserver.errors import InvalidSetting
from pushserver.channels.publication import Limits


def test_the_first_rule_that_matches_holds():
    news, rooms, rest = ChannelRule("news:"), ChannelRule("room:*:talk"), ChannelRule("")
    channels = ChannelRules([news, rooms, rest])
    assert channels.rule("news:") is channels.rule("news:today") is news
    assert channels.rule("room:5:talk") is channels.rule("room:a:b:talk") is rooms
    assert channels.rule("room:5:talks") is channels.rule("old news:") is rest


@pytest.mark.parametrize("match, channel, expected", [
    ("a.c", "abc", False), ("a.c", "a.cd", True), ("*", "x\ny", True), ("a*", "b", False),
    ("*:end", "x:end", True), ("*:end", "x:end:", False)])
def test_a_pattern_is_for_the_whole_name_and_a_prefix_for_its_beginning(match, channel, expected):
    assert ChannelRule(match).matches(channel) == expected


@given(st.text("a*\n", max_size=8), st.text("ab\n", max_size=10))
def test_a_pattern_matches_as_a_regular_expression_would(match, channel):
    expression = ".*".join(map(re.escape, match.split("*"))) + ("" if "*" in match else ".*")
    expected = re.fullmatch(expression, channel, re.DOTALL) is not None
    assert ChannelRule(match).matches(channel) == expected


@pytest.mark.parametrize("match", [
    "*a" * 4 + "*b", "*a" * 127, "a*" * 127, "*" * 255, "*aab" * 60, "*" + "a" * 120 + "*b*"])
@pytest.mark.parametrize("channel", ["a" * 255, "a" * 254 + "b", "aab" * 85, "ab" * 127])
def test_no_pattern_and_no_name_take_long(match, channel):
    """With a regular expression, most of these would never end."""
    parts, rest = [part for part in match.split("*") if part], channel
    for part in parts:
        _, found, rest = rest.partition(part)
        if not found:
            break
    else:
        found = "found"
    ends = channel.startswith(match.split("*")[0]) and channel.endswith(match.split("*")[-1])
    assert ChannelRule(match).matches(channel) == (bool(found) and ends)


def test_without_a_rule_nothing_is_remembered_and_clients_may_nothing():
    rule = ChannelRules().rule("anything")
    assert rule is DEFAULT
    assert rule.limits.publications == 0
    assert (rule.subscribe, rule.publish, rule.see_presence, rule.see_history) == ("nobody",) * 4
    assert not rule.keeps_presence and not rule.join_leave


def test_a_rule_gives_limits_and_says_whether_presence_is_kept():
    rule = ChannelRule("a", history=5, history_bytes=1000, history_age=60)
    assert rule.limits == Limits(5, 1000, 60)
    assert ChannelRule("a", join_leave=True).keeps_presence
    assert ChannelRule("a", see_presence="subscribers").keeps_presence


def test_a_rule_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ChannelRule("a").history = 5


@pytest.mark.parametrize("options, message", [
    ({"match": 5}, "match is 5"), ({"match": "x" * 256}, "match is"),
    ({"history": -1}, "history is -1: use 0 or more"), ({"history": 1.5}, "use a whole number"),
    ({"history": True}, "use a whole number"), ({"history_age": float("inf")}, "0 or more"),
    ({"history_age": "5"}, "use a number"), ({"linger": -1}, "linger is -1"),
    ({"history_bytes": None}, "history_bytes is None"), ({"join_leave": 1}, "True or False"),
    ({"subscribe": "everyone"}, "nobody, users, anyone, token, or a function"),
    ({"subscribe": "subscribers"}, "subscribe is 'subscribers'"),
    ({"publish": "token"}, "publish is 'token'"), ({"publish": "resuming"}, "publish is"),
    ({"subscribe": "resuming"}, "subscribe is"), ({"see_presence": "resuming"}, "see_presence is"),
    ({"see_history": "token"}, "nobody, resuming, subscribers, users, anyone, or a function"),
    ({"see_history": None}, "see_history is None")])
def test_what_cannot_be_a_rule_is_a_clear_error(options, message):
    with pytest.raises(InvalidSetting, match=message) as caught:
        ChannelRule(**{"match": "a", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rules, message", [
    ("news:", "use a list"), (ChannelRule("a"), "use a list"), (5, "use a list"),
    (["news:"], "use ChannelRule"), ([ChannelRule("a"), ChannelRule("a")], "two rules for 'a'")])
def test_what_are_no_rules_is_a_clear_error(rules, message):
    with pytest.raises(InvalidSetting, match=message):
        ChannelRules(rules)


@pytest.mark.parametrize("channel", ["", "x" * 256, 5, None, b"news"])
def test_a_channel_is_text_of_1_to_255_characters(channel):
    with pytest.raises(InvalidSetting, match="1 to 255"):
        checked_channel(channel)


def test_a_channel_is_text_that_utf_8_can_hold():
    assert checked_channel("chat \U0001f600") == "chat \U0001f600"
    with pytest.raises(InvalidSetting, match="half of a surrogate pair"):
        checked_channel("chat\ud800")
