"""Centrifugo's JSON protocol as bytes."""
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserver.centrifuge import json_codec as wire
from pushserver.centrifuge import values
from pushserver.centrifuge.errors import CloseConnection
from pushserver.channels.publication import Position, Publication
from pushserver.channels.presence import Info
from pushserver.connections.codec import encoding
from pushserver.transports.websocket import WEBSOCKET_FRAMING
from pushserver.wire.parser import FrameReader

CENTRIFUGE = encoding(wire.JSON_CONNECTED, WEBSOCKET_FRAMING)


def contents(data):
    """Return what a frame says, which must be one line."""
    text, = FrameReader(1 << 20, from_client=False, values=True).feed(data)
    assert "\n" not in text
    return json.loads(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False,
                                                                          allow_infinity=False)
                    | st.text(st.characters(exclude_categories=["Cs"])),
                    lambda inner: st.lists(inner) | st.dictionaries(
                        st.text(st.characters(exclude_categories=["Cs"])), inner)),
       st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_is_published_arrives_as_it_was(data, channel):
    publication = Publication.of(data)
    publication.offset = 5
    found = contents(CENTRIFUGE.publication(channel, publication))
    assert found == {"push": {"channel": channel, "pub": {"data": data, "offset": 5}}}
    assert contents(CENTRIFUGE.message(publication)) == {"push": {"message": {"data": data}}}


def test_publishers_tags_and_bytes_have_their_place():
    publication = Publication.of(b"\x00\xff", info=b'{"user":"1"}', tags=b'{"a":"b"}')
    assert json.loads(wire.encoded_publication(publication)) == {
        "data": "AP8=", "info": {"user": "1"}, "tags": {"a": "b"}}


def test_a_client_is_told_with_what_is_known_of_it():
    assert json.loads(wire.encoded_info(Info("c", "u"))) == {"client": "c", "user": "u"}
    assert json.loads(wire.encoded_info(Info("c", "u", {"n": 1}, 0))) == {
        "client": "c", "user": "u", "conn_info": {"n": 1}, "chan_info": 0}
    found = contents(CENTRIFUGE.presence("a\"b", Info("c", "u"), False))
    assert found == {"push": {"channel": 'a"b', "leave": {"info": {"client": "c", "user": "u"}}}}


def test_who_is_not_connected_is_told_nothing():
    assert wire.JSON_NOT_CONNECTED.message(Publication.of("x")) is None


@given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1")),
                 st.lists(st.sampled_from(['{"id":1}', "{}", "\n", "[", "1e999", "NaN", '"', "{"]))
                 .map("".join)))
def test_any_text_is_commands_or_a_bad_request(text):
    try:
        found = wire.objects(text)
    except CloseConnection as closing:
        assert closing.disconnect.code == 3501
    else:
        assert found and all(isinstance(command, dict) for command in found)


@given(st.dictionaries(st.sampled_from(["id", *wire._READERS, "other"]),
                       st.none() | st.integers() | st.text() | st.just({}) | st.booleans()))
def test_any_object_is_a_command_or_a_bad_request(command):
    for read in (wire.command_of, wire.position_of):
        try:
            read(command)
        except CloseConnection as closing:
            assert closing.disconnect.code == 3501


def test_the_first_request_of_a_command_counts():
    assert wire.command_of({"send": {"data": 1}, "rpc": {}, "connect": None}) == \
        (0, values.SendRequest(1))


@pytest.mark.parametrize("request_, expected", [
    ({}, (0, "")), ({"offset": 5, "epoch": "e"}, (5, "e")), ({"offset": (1 << 64) - 1}, None)])
def test_positions_are_read(request_, expected):
    assert wire.position_of(request_) == (expected or Position((1 << 64) - 1, ""))


@pytest.mark.parametrize("data", [
    b"\xff" * 1000, "\x00" * 1000, "\"\\\n\x7f" * 300, "\u00fc" * 1000, "\ud7ff\u2028" * 300,
    {"a": ["\x01", "\"", "\u00fc"] * 300}])
@pytest.mark.parametrize("channel", ["a", "\x00" * 255, "\U0001f600" * 255])
def test_a_publication_is_never_longer_than_it_says(data, channel):
    made = Publication.of(data, tags=b'{"a":"b"}', info=b'{"user":"1","client":"c"}')
    made.offset = wire.MAX_OFFSET
    sent = len(CENTRIFUGE.publication(channel, made))
    assert sent <= made.longest < 2 * sent + 3000
    assert len(CENTRIFUGE.message(made)) <= made.longest
