"""Long payloads are read from their socket to their place, as if they had been fed."""
import socket

import pytest
from hypothesis import given, strategies as st

from pushserver.wire.parser import WORTH_PLACING, FrameReader
from pushserver.runtime.sockets import NativeSocket
from pushserver.wire.speedups import HAVE_NATIVE
from tests.support.raw_client import masked_frame

pytestmark = pytest.mark.skipif(not HAVE_NATIVE, reason="the C extension is not built, or not used")

LIMIT = 400_000
sizes = st.integers(0, 90_000) | st.integers(WORTH_PLACING - 2, WORTH_PLACING + 20)


def transmitted(data, cuts, reader):
    """Send bytes in pieces over a real socket and return what the reader makes of them."""
    ours, theirs = socket.socketpair()
    found = []
    with ours, theirs:
        ours.setblocking(False)
        sock = NativeSocket(ours)
        position = 0
        for cut in [*cuts, len(data)]:
            piece = data[position:position + cut]
            position += len(piece)
            while piece:
                theirs.setblocking(False)
                try:
                    piece = piece[theirs.send(piece):]
                except BlockingIOError:
                    pass
                found += received(sock, reader)
        assert position == len(data)
    return found


def received(sock, reader):
    found = []
    while True:
        place = reader.place()
        if place is None:
            data = sock.receive()
            if not data:
                return found
            found += reader.feed(data)
        else:
            size = sock.receive_to(*place)
            if not size:
                return found
            found += reader.placed(size)


@given(st.lists(st.tuples(sizes, st.booleans(), st.integers(1, 3)), min_size=1, max_size=4),
       st.lists(st.integers(1, 70_000), max_size=6))
def test_messages_come_out_as_they_went_in(messages, cuts):
    stream, wanted = b"", []
    for size, is_text, pieces in messages:
        payload = ("é" * (size // 2) if is_text else "\xff" * size).encode(
            "utf-8" if is_text else "latin-1")
        wanted.append((is_text, payload))
        step = max(1, -(-len(payload) // pieces))
        parts = [payload[at:at + step] for at in range(0, len(payload), step)] or [b""]
        for number, part in enumerate(parts):
            opcode = 0 if number else 1 if is_text else 2
            final = 0x80 if number == len(parts) - 1 else 0
            stream += masked_frame(final | opcode, part) + masked_frame(0x89, b"between")
    reader = FrameReader(LIMIT)
    found = [message for message in transmitted(stream, cuts, reader)
             if message.data != b"between"]
    assert reader.failure is None
    assert [(message.is_text, message.data) for message in found] == wanted
    assert all(type(message.data) is bytes for message in found)


@given(st.integers(0, 99_999), st.lists(st.integers(1, 70_000), max_size=4))
def test_invalid_text_is_found_at_any_place(at, cuts):
    payload = bytearray(b"a" * 100_000)
    payload[at] = 0xFF
    reader = FrameReader(LIMIT)
    assert transmitted(masked_frame(0x81, bytes(payload)), cuts, reader) == []
    assert reader.failure is not None and reader.failure.code == 1007
    assert reader.place() is None
