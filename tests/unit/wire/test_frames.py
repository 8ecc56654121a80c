"""Frames: what goes out as one frame, and that any cutting of what comes in gives the same."""
from __future__ import annotations

import gc
import json
import struct
import tracemalloc
import types
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ws4py.messaging import PingControlMessage, PongControlMessage

from pushserver.wire.disconnects import ABNORMAL, NO_STATUS, Disconnect
from pushserver.errors import InvalidData
from pushserver.wire.frames import (OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG,
                                    OPCODE_TEXT, apply_mask, close_frame, frame, without)
from pushserver.wire.payloads import encode_payload
from pushserver.wire.parser import FrameReader
from tests.support.raw_client import masked_frame
from tests.support.waiting import best_of_three

KEY = b"\x11\xf2\x33\x44"
LARGE = 1 << 20
HEADER = 14
CONTROL = 125
FIN = 0x80

from_client = st.booleans()
as_values = st.booleans()


def raw(first, payload, masked):
    return masked_frame(first, payload, mask=KEY if masked else None)


def kind(message):
    """Return what a reader's message is, as a pair that can be compared."""
    if isinstance(message, Disconnect):
        return "close", tuple(message)
    if isinstance(message, PingControlMessage):
        return "ping", message.data
    if isinstance(message, PongControlMessage):
        return "pong", message.data
    if isinstance(message, str):
        return "text", message.encode()
    if isinstance(message, bytes):
        return "binary", message
    assert message.completed
    return ("binary" if message.is_binary else "text"), message.data


def read(chunks, max_message_size=LARGE, **options):
    """Return what a reader makes of chunks, and its failure."""
    reader = FrameReader(max_message_size, **options)
    found = [kind(message) for chunk in chunks for message in reader.feed(chunk)]
    return found, reader.failure


def bytewise(stream):
    return [stream[i:i + 1] for i in range(len(stream))]


def held(reader):
    """Return how many bytes a reader and all that it refers to hold."""
    total, seen, waiting = 0, set(), [reader]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(item))
        if isinstance(item, (bytes, bytearray, str)):
            total += len(item)
        waiting.extend(gc.get_referents(item))
    return total


# Strategies

def split(data, cuts):
    """Cut data at places given as fractions; two at one place leave an empty piece."""
    places = sorted([0, len(data), *(int(cut * len(data)) for cut in cuts)])
    return [data[start:stop] for start, stop in pairwise(places)]


fractions = st.lists(st.floats(0, 1), max_size=6)
sizes = st.sampled_from([0, 1, 125, 126, 127, 300, 65535, 65536, 65537])
payloads = st.binary(max_size=40) | sizes.map(lambda size: b"\xff" * size)
texts = st.text(max_size=20).map(str.encode) | sizes.map(lambda size: b"y" * size)
controls = st.tuples(st.sampled_from(["ping", "pong"]), st.binary(max_size=CONTROL))
messages = st.tuples(st.just("text"), texts) | st.tuples(st.just("binary"), payloads)

OPCODES = {"text": OPCODE_TEXT, "binary": OPCODE_BINARY, "ping": OPCODE_PING, "pong": OPCODE_PONG}


@st.composite
def conversations(draw):
    """Draw messages in fragments with control frames between, as (what is meant, raw frames)."""
    meant, frames = [], []
    for what, payload in draw(st.lists(messages, max_size=4)):
        pieces = split(payload, draw(fractions))
        for number, piece in enumerate(pieces):
            for control, data in draw(st.lists(controls, max_size=2)):
                meant.append((control, data))
                frames.append((FIN | OPCODES[control], data))
            last = number == len(pieces) - 1
            frames.append(((FIN if last else 0) | (0 if number else OPCODES[what]), piece))
        meant.append((what, payload))
    return meant, frames


# Outgoing

@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_twice_gives_the_payload_back(payload, key):
    masked = apply_mask(payload, key)
    assert masked == bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    assert apply_mask(masked, key) == payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize("mask", [None, KEY])
@pytest.mark.parametrize("opcode", [OPCODE_TEXT, OPCODE_BINARY])
def test_a_frame_has_the_shortest_header_for_its_size(opcode, size, mask):
    assert frame(opcode, b"x" * size, mask) == raw(0x80 | opcode, b"x" * size, mask)


@pytest.mark.parametrize("data, opcode, payload", [
    ("text", OPCODE_TEXT, b"text"),
    ("", OPCODE_TEXT, b""),
    ("gr\u00fc\u00df \U0001f600", OPCODE_TEXT, "gr\u00fc\u00df \U0001f600".encode()),
    (b"bytes", OPCODE_BINARY, b"bytes"),
    (bytearray(b"array"), OPCODE_BINARY, b"array"),
    (memoryview(b"a-b-c")[::2], OPCODE_BINARY, b"abc"),
    ({"a": [1, None, True, 2.5]}, OPCODE_TEXT, b'{"a":[1,null,true,2.5]}'),
    ("\u00fc", OPCODE_TEXT, b"\xc3\xbc"),
    (["\u00fc"], OPCODE_TEXT, b'["\xc3\xbc"]'),
    (5, OPCODE_TEXT, b"5"),
    (None, OPCODE_TEXT, b"null")])
def test_what_a_site_sends_becomes_text_binary_or_json(data, opcode, payload):
    assert encode_payload(data) == (opcode, payload)
    assert frame(*encode_payload(data)) == raw(0x80 | opcode, payload, False)


circle = []
circle.append(circle)
deep = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize("data", [
    {1, 2}, object(), float("nan"), [float("inf")], {("a", "b"): 1}, circle, "\ud800",
    ["\udfff"], {"a": b"bytes"}, deep], ids=lambda _: "")
def test_what_neither_utf8_nor_json_can_hold_is_a_type_error(data):
    with pytest.raises(InvalidData) as error:
        frame(*encode_payload(data))
    assert isinstance(error.value, TypeError)
    assert "\n" not in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False,
                                                                       allow_infinity=False)
    | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(json_values.filter(lambda value: not isinstance(value, str)))
def test_json_comes_back_as_it_was(value):
    opcode, payload = encode_payload(value)
    assert opcode == OPCODE_TEXT
    assert json.loads(payload) == value


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("disconnect", [Disconnect(1000, ""), Disconnect(3504, "gr\u00fcn"),
                                        NO_STATUS])
def test_a_close_frame_says_what_it_was_made_of(disconnect, masked):
    data = close_frame(disconnect, KEY if masked else None)
    assert read([data], from_client=masked) == ([("close", tuple(disconnect))], None)


# Incoming

@given(conversations(), fractions, from_client, as_values)
@example(([("text", b"")], [(0x81, b"")]), [], True, False)
@example(([("text", b"")], [(0x01, b""), (0x80, b"")]), [], True, True)
def test_any_cutting_gives_the_messages_that_were_meant(conversation, cuts, from_client, as_values):
    meant, frames = conversation
    stream = b"".join(raw(first, payload, from_client) for first, payload in frames)
    options = {"from_client": from_client, "values": as_values}
    assert read([stream], **options) == (meant, None)
    assert read(split(stream, cuts), **options) == (meant, None)
    if len(stream) < 1000:
        assert read(bytewise(stream), **options) == (meant, None)


@given(conversations(), st.sampled_from([NO_STATUS, Disconnect(1000, "bye"), Disconnect(4001, "")]),
       fractions, from_client)
def test_nothing_is_read_behind_a_close_frame(conversation, closing, cuts, from_client):
    meant, frames = conversation
    stream = b"".join(raw(first, payload, from_client) for first, payload in frames)
    end = close_frame(closing, KEY if from_client else None)
    chunks = split(stream + end + stream + b"\xff\xff", cuts)
    assert read(chunks, from_client=from_client) == ([*meant, ("close", tuple(closing))], None)


almost_text = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=6).map(str.encode),
    st.builds(lambda text, place, byte: text[:place] + bytes([byte]) + text[place:],
              st.text(max_size=6).map(str.encode), st.integers(0, 12), st.integers(128, 255)),
    st.text(alphabet="a\u00fc\u20ac\U0001f600\ud800\udfff", max_size=4).map(
        lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(min_size=1, max_size=4).map(lambda text: text.encode()[:-1]))


def is_text(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(almost_text, fractions, fractions, from_client, as_values)
@example(b"a\xc3", [0.5], [], True, False)
@example(b"a\xc3", [1.0], [], True, False)
@example(b"\xed\xa0\x80", [0.4], [], False, True)
@example(b"\xf4\x90\x80\x80", [], [], True, True)
def test_text_is_taken_exactly_when_python_can_decode_it(payload, fragments, cuts, from_client,
                                                         as_values):
    pieces = split(payload, fragments)
    last = len(pieces) - 1
    stream = b"".join(raw((FIN if i == last else 0) | (0 if i else OPCODE_TEXT), piece, from_client)
                      for i, piece in enumerate(pieces))
    for chunks in ([stream], split(stream, cuts), bytewise(stream)):
        found, failure = read(chunks, from_client=from_client, values=as_values)
        if is_text(payload):
            assert (found, failure) == ([("text", payload)], None)
        else:
            assert found == [] and failure.code == 1007


@given(almost_text)
def test_invalid_text_fails_with_the_byte_that_makes_it_invalid(payload):
    reader = FrameReader(LARGE)
    reader.feed(masked_header(OPCODE_TEXT, 100))   # not the last frame: its end is open
    failed_at = None
    for place, byte in enumerate(apply_mask(payload, KEY)):
        reader.feed(bytes([byte]))
        if reader.failure is not None:
            failed_at = place
            break
    assert failed_at == first_bad_byte(payload)


def first_bad_byte(payload):
    """Return the place of the first byte after which no byte could make text of it.

    Python's decoder takes all three bytes of a surrogate before it says that it is none.
    """
    for end in range(1, len(payload) + 1):
        try:
            payload[:end].decode()
        except UnicodeDecodeError as error:
            surrogate = payload[error.start] == 0xED and end - error.start == 2 \
                and payload[end - 1] in range(0xA0, 0xC0)
            if error.reason != "unexpected end of data" and not surrogate:
                return end - 1
    return None


def masked_header(first, size, bit=0x80):
    if size < 126:
        head = bytes([first, bit | size])
    elif size <= 0xFFFF:
        head = bytes([first, bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, bit | 127]) + struct.pack("!Q", size)
    return head + (KEY if bit else b"")


@pytest.mark.parametrize("most", [10, 125, 126, 1000, 70000])
@pytest.mark.parametrize("from_client, values", [(True, False), (False, False), (False, True)])
def test_a_message_of_the_largest_size_is_read_and_one_byte_more_is_not(most, from_client, values):
    options = {"from_client": from_client, "values": values}
    fits = raw(0x82, b"x" * most, from_client)
    assert read([fits], most, **options) == ([("binary", b"x" * most)], None)
    found, failure = read([raw(0x82, b"x" * (most + 1), from_client)], most, **options)
    assert found == [] and failure.code == 1009 and str(most) in failure.reason


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 100), from_client)
def test_fragments_are_too_large_with_the_header_that_makes_them_so(sizes, most, from_client):
    reader = FrameReader(most, from_client=from_client)
    total = 0
    for number, size in enumerate(sizes):
        total += size
        head = masked_header(0 if number else OPCODE_BINARY, size, 0x80 if from_client else 0)
        reader.feed(head)
        assert (reader.failure is not None) == (total > most)
        if total > most:
            assert reader.failure.code == 1009
            return
        reader.feed(b"x" * size)


@pytest.mark.parametrize("size", [1001, 65536, 1 << 40, (1 << 63) - 1])
def test_an_oversize_message_fails_before_its_first_byte_is_held(size):
    reader = FrameReader(1000)
    head = masked_header(0x82, size)
    for byte in head[:-len(KEY)]:
        assert reader.failure is None
        reader.feed(bytes([byte]))
    assert reader.failure.code == 1009
    assert reader.feed(b"x" * 100_000) == []
    assert held(reader) < 200


@given(conversations(), fractions, st.integers(0, 2000), st.binary(max_size=50), from_client)
def test_a_reader_never_holds_more_than_one_message_and_a_header(conversation, cuts, most, tail,
                                                                 from_client):
    stream = b"".join(raw(first, payload, from_client) for first, payload in conversation[1])
    reader = FrameReader(most, from_client=from_client)
    empty = held(reader)
    for chunk in split(stream + tail, [*cuts, 0.1, 0.3, 0.5, 0.7, 0.9]):
        reader.feed(chunk)
        assert held(reader) - empty <= most + HEADER + CONTROL + 100


def test_ten_million_bytes_of_fragments_are_not_kept():
    reader = FrameReader(1000)
    reader.feed(raw(OPCODE_BINARY, b"x" * 1000, True))
    for _ in range(10):
        reader.feed(raw(0, b"", True) * 1000 + raw(0x89, b"ping", True) * 1000)
    assert reader.failure is None
    assert held(reader) < 1500
    reader.feed(raw(0, b"x" * 10_000_000, True))
    assert reader.failure.code == 1009
    assert held(reader) < 1500


@pytest.mark.parametrize("first, between", [(0x01, b""), (0x02, b""), (0x02, b"ping")])
@pytest.mark.parametrize("from_client, values", [(True, False), (False, False), (False, True)])
def test_a_fragment_costs_the_same_however_much_came_before_it(first, between, from_client, values):
    tiny = raw(0, b"a", from_client) + (raw(0x89, between, from_client) if between else b"")

    def cost(before):
        reader = FrameReader(1 << 26, from_client=from_client, values=values)
        reader.feed(raw(first, b"a" * before, from_client) + tiny)
        found = best_of_three(lambda: reader.feed(tiny * 4000))
        message = reader.feed(raw(0x80, b"z", from_client))[-1]
        assert len(message if values else message.data) == before + 12_002
        return found

    assert cost(1 << 23) < 8 * cost(1)


@pytest.mark.parametrize("first", [0x01, 0x02])
@pytest.mark.parametrize("pieces", [1, 1000])
def test_fragments_of_one_byte_take_little_more_memory_than_their_bytes(first, pieces):
    reader, size = FrameReader(1 << 26), 20_000
    stream = raw(first, b"a", True) + raw(0, b"a", True) * (size - 1)
    step = len(stream) // pieces + 1
    chunks = [stream[start:start + step] for start in range(0, len(stream), step)]
    tracemalloc.start()
    try:
        for chunk in chunks:
            assert reader.feed(chunk) == []
        assert tracemalloc.get_traced_memory()[0] < 1.3 * size + 10_000
    finally:
        tracemalloc.stop()


BROKEN = {
    "reserved bit 1": [(0xC1, b"a")], "reserved bit 2": [(0xA1, b"a")],
    "reserved bit 3": [(0x91, b"a")],
    **{f"reserved opcode {opcode}": [(0x80 | opcode, b"")]
       for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented ping": [(0x09, b"a")], "fragmented close": [(0x08, b"")],
    "ping over 125 bytes": [(0x89, b"a" * 126)],
    "close over 125 bytes": [(0x88, struct.pack("!H", 1000) + b"a" * 124)],
    "continuation without a start": [(0x80, b"a")],
    "new text inside of a message": [(0x01, b"a"), (0x81, b"b")],
    "new binary inside of a message": [(0x02, b""), (0x82, b"b")],
    "close of one byte": [(0x88, b"\x03")],
    **{f"close code {code}": [(0x88, struct.pack("!H", code))]
       for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)}}


@pytest.mark.parametrize("frames", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("from_client, values", [(True, False), (False, False), (False, True)])
def test_a_broken_rule_is_1002_and_ends_the_reading(frames, from_client, values):
    good = raw(0x81, b"good", from_client)
    stream = good + b"".join(raw(first, payload, from_client) for first, payload in frames) + good
    for chunks in ([stream], bytewise(stream)):
        found, failure = read(chunks, from_client=from_client, values=values)
        assert found == [("text", b"good")]
        assert failure.code == 1002 and failure.reason


@pytest.mark.parametrize("from_client, values", [(True, False), (False, False), (False, True)])
def test_a_frame_masked_against_its_role_is_1002(from_client, values):
    found, failure = read([raw(0x81, b"a", not from_client)], from_client=from_client,
                          values=values)
    assert found == [] and failure.code == 1002
    assert failure.reason == ("frame not masked" if from_client else "frame masked")


def test_a_length_over_63_bits_is_1002():
    _, failure = read([bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 63) + KEY])
    assert failure.code == 1002


def test_a_close_reason_that_is_no_text_is_1007():
    _, failure = read([raw(0x88, struct.pack("!H", 1000) + b"\xff", True)])
    assert failure.code == 1007


def test_messages_before_a_failure_are_still_given():
    stream = raw(0x81, b"one", True) + raw(0x89, b"two", True) + raw(0x83, b"", True)
    found, failure = read([stream])
    assert found == [("text", b"one"), ("ping", b"two")] and failure.code == 1002


@given(st.binary(max_size=200), fractions, from_client, as_values)
def test_noise_never_raises_and_is_read_alike_however_it_is_cut(noise, cuts, from_client,
                                                                as_values):
    options = {"from_client": from_client, "values": as_values}
    whole = read([noise], 100, **options)
    assert read(split(noise, cuts), 100, **options) == whole
    assert read(bytewise(noise), 100, **options) == whole


def test_a_lost_connections_code_is_none_that_a_frame_may_carry():
    _, failure = read([frame(OPCODE_CLOSE, struct.pack("!H", ABNORMAL.code), KEY)])
    assert failure.code == 1002


def test_values_are_str_and_bytes():
    reader = FrameReader(LARGE, from_client=False, values=True)
    stream = frame(OPCODE_TEXT, "gr\u00fc\u00df".encode()) + frame(OPCODE_BINARY, b"\x00\xff") \
        + frame(OPCODE_TEXT, b"x" * 200) + frame(OPCODE_PONG, b"p")
    first, second, third, pong = reader.feed(stream)
    assert (first, second, third) == ("gr\u00fc\u00df", b"\x00\xff", "x" * 200)
    assert pong.data == b"p"


@given(st.lists(st.tuples(st.sampled_from([b"in", b"out"]),
                          st.sampled_from([0, 1, 122, 123, 124, 125, 65_532, 65_533, 70_000]))))
def test_frames_are_taken_out_by_how_their_payloads_begin(sizes):
    frames = [frame(OPCODE_TEXT, start + b"x" * size) for start, size in sizes]
    left = [data for data, (start, _) in zip(frames, sizes) if start == b"in"]
    assert without((b"out", b"nothing"), b"".join(frames)) == b"".join(left)
    assert without((b"not",), b"".join(frames)) == b"".join(frames)


def test_only_frames_are_taken_out():
    answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    assert without((b"out",), answer + frame(OPCODE_TEXT, b"out")).startswith(answer)
    assert without((b"out",), b"") == b""


@pytest.mark.parametrize("stream, size", [
    (masked_frame(0x81, b"x" * 100) * 50, 1 << 20), (masked_frame(0x02) + masked_frame(0) * 50, 1),
    (masked_frame(0x89) * 50, 6), (masked_frame(0x82, b"x" * 400), 4)])
def test_what_a_client_makes_a_server_do_is_counted(stream, size):
    reader, reads = FrameReader(LARGE), [stream[at:at + size] for at in range(0, len(stream), size)]
    for data in reads:
        reader.feed(data)
    assert reader.failure is None
    wanted = max(50, len(reads) * 4 // 5)
    assert wanted <= reader.frames <= wanted * 2
