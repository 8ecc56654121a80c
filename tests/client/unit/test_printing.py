from __future__ import annotations

import json

import pytest

from pushclient import Publication
from pushclient.printing import as_json, as_line, sent_at


def test_line_stays_one_line():
    assert as_line("tab\tstays é") == "tab\tstays é"
    assert as_line("a\r\nb\x1b[0m\x00\x9b\u2028") == "a\\r\\nb\\x1b[0m\\x00\\x9b\\u2028"
    assert as_line(b"\xff\n") == "\\xff\\n"


def test_json_is_one_line_with_latency_for_times():
    assert json.loads(as_json("a\nb", 5.0)) == {"time": 5.0, "data": "a\nb"}
    assert json.loads(as_json(b"\0", 5.0)) == {"time": 5.0, "data": "AA==", "binary": True}
    assert "\n" not in as_json("a\nb")
    assert json.loads(as_json("1800000000.5", 1800000001.0))["latency"] == 0.5


@pytest.mark.parametrize("text, seconds", [
    ("1800000000", 1.8e9), ("1800000000.25", 1800000000.25), ("1800000000250", 1800000000.25),
    ("2027-01-15T08:00:00+00:00", 1.8e9), ("2027-01-15T08:00:00.500000Z", 1800000000.5),
    ('{"time": "2027-01-15T08:00:00Z", "x": 1}', 1.8e9), ('{"time": 1800000000}', 1.8e9)])
def test_times_are_recognised(text, seconds):
    assert sent_at(text) == seconds


@pytest.mark.parametrize("text", ["", "42", "nan", "inf", "1e400", "hello", "{", "{}", "[1]",
                                  '{"time": null}', '{"time": [1]}', "2027", "{" * 10000])
def test_other_texts_are_no_times(text):
    assert sent_at(text) is None


def test_publications_are_printed_with_their_channel():
    assert as_line(Publication("a", "two\nlines", 3)) == "a: two\\nlines"
    assert as_line(Publication("", {"x": "é"})) == '{"x": "é"}'
    assert json.loads(as_json(Publication("a", [1], 3), 5.0)) == \
        {"time": 5.0, "channel": "a", "offset": 3, "data": [1]}
