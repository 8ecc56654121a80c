"""Fields of a request: what is taken, and what each refusal says."""
from __future__ import annotations

import pytest

from pushserver.api.fields import BadField, Fields
from pushserver.channels.publication import Position


def test_what_is_not_there_is_empty():
    fields = Fields({"text": None})
    assert (fields.text("text"), fields.flag("flag"), fields.whole("whole"), fields.texts("texts"),
            fields.tags(), fields.inner("inner"), fields.position("since"), fields.data(),
            fields.has("text")) == ("", False, 0, [], {}, None, None, None, False)


def test_what_is_there_is_returned():
    fields = Fields({"channel": "é", "flag": True, "whole": -5, "texts": ["a"],
                     "tags": {"a": "b"}, "since": {"offset": 3, "epoch": "e"}, "data": [1]})
    assert fields.channel() == "é"
    assert fields.flag("flag") is True
    assert fields.whole("whole", -5) == -5
    assert fields.texts("texts") == ["a"]
    assert fields.tags() == {"a": "b"}
    assert fields.position("since") == Position(3, "e")
    assert fields.data() == [1]


def test_base64_gives_bytes():
    assert Fields({"b64data": "AP8="}).data() == b"\0\xff"


@pytest.mark.parametrize("request_", [None, [], "text", 5, True])
def test_a_request_is_an_object(request_):
    with pytest.raises(BadField, match="the request is .*: send an object"):
        Fields(request_)


@pytest.mark.parametrize("found, take, message", [
    ({"a": 5}, lambda f: f.text("a"), "a is a number: use text"),
    ({}, lambda f: f.text("a", needed=True), "a is missing: send it"),
    ({"a": "\ud800"}, lambda f: f.text("a"), "half of a surrogate pair"),
    ({"a": 0}, lambda f: f.flag("a"), "a is a number: use true or false"),
    ({"a": "5"}, lambda f: f.whole("a"), "a is text: use a whole number"),
    ({"a": 1.5}, lambda f: f.whole("a"), "a is a number: use a whole number"),
    ({"a": True}, lambda f: f.whole("a"), "a is True: use a whole number from 0"),
    ({"a": -1}, lambda f: f.whole("a"), "a is -1: use a whole number from 0"),
    ({"a": 1 << 64}, lambda f: f.whole("a"), "use a whole number from 0 to"),
    ({"a": "x"}, lambda f: f.texts("a"), "a is text: use a list of text"),
    ({"a": ["x", 5]}, lambda f: f.texts("a"), "a has an item that is not text"),
    ({"a": ["\udfff"]}, lambda f: f.texts("a"), "half of a surrogate pair"),
    ({"tags": []}, lambda f: f.tags(), "tags is a list: use an object with text values"),
    ({"tags": {"a": 1}}, lambda f: f.tags(), "tags has a value that is not text"),
    ({"tags": {"\ud800": "a"}}, lambda f: f.tags(), "half of a surrogate pair"),
    ({"channel": ""}, lambda f: f.channel(), "channel is missing"),
    ({"channel": "c" * 256}, lambda f: f.channel(), "256 characters: use 1 to 255"),
    ({"a": 5}, lambda f: f.inner("a"), "a is a number: use an object"),
    ({"a": {"ofset": 1}}, lambda f: f.position("a"), "no field 'ofset': use offset, epoch"),
    ({"a": {"offset": -1}}, lambda f: f.position("a"), "offset is -1"),
    ({"b64data": 5}, lambda f: f.data(), "b64data is a number: use base64 text"),
    ({"b64data": "?"}, lambda f: f.data(), "b64data is not base64"),
    ({"b64data": "é"}, lambda f: f.data(), "b64data is not base64"),
    ({"b64data": "AA==", "data": 1}, lambda f: f.data(), "both given: use one")])
def test_what_is_wrong_is_said(found, take, message):
    with pytest.raises(BadField, match=message):
        take(Fields(found))


def test_fields_that_nobody_looks_at_are_refused_unless_they_say_nothing():
    Fields({"a": 1, "b": None, "delta": False, "c": None}).expect(("a", "b"), ("delta",))
    with pytest.raises(BadField, match="there is no field 'c': use a, b"):
        Fields({"a": 1, "c": 0}).expect(("a", "b"))
    with pytest.raises(BadField, match="delta is not supported here: leave it out"):
        Fields({"delta": True}).expect(("a",), ("delta",))
    with pytest.raises(BadField, match="use none"):
        Fields({"a": 1}).expect(())
