"""The outbox: every byte comes out once and in order, and no frame is cut in two by another."""
from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pushserver.runtime.outbox import FRAME_OVERHEAD, JOINED, JOINED_AT_MOST, Head, Outbox

ROOM = 1_000_000


def drained(outbox, most=7):
    """Write all that waits, a little at a time, and return it."""
    written = b""
    while outbox.size:
        piece = bytes(outbox.peek(most))
        outbox.advance(len(piece))
        written += piece
    return written


def test_an_empty_outbox_has_nothing_to_write():
    outbox = Outbox(10)
    assert outbox.size == 0
    assert bytes(outbox.peek(100)) == b""


def test_what_was_queued_comes_out_in_order():
    outbox = Outbox(ROOM)
    for data in (b"one", b"two", b"three"):
        assert outbox.append(data)
    assert drained(outbox) == b"onetwothree"


def test_a_single_buffer_is_given_as_it_is_without_a_copy():
    outbox, data = Outbox(ROOM), b"shared by all outboxes"
    outbox.append(data)
    assert outbox.peek(100) is data


def test_small_buffers_are_joined_for_one_write():
    outbox = Outbox(ROOM)
    for _ in range(100):
        outbox.append(b"ab")
    assert bytes(outbox.peek(1000)) == b"ab" * 100
    assert bytes(outbox.peek(5)) == b"ababa"


def test_the_limit_may_be_reached_and_not_exceeded():
    outbox = Outbox(10 + FRAME_OVERHEAD)
    outbox.append(b"first")
    assert outbox.append(b"x" * 5)
    assert outbox.append(b"y" * 5)
    assert not outbox.append(b"z")
    outbox.advance(6)
    assert outbox.append(b"z")
    assert drained(outbox) == b"x" * 4 + b"y" * 5 + b"z"


def test_the_message_that_is_being_written_does_not_count():
    outbox = Outbox(10 + FRAME_OVERHEAD)
    assert outbox.append(b"x" * 250)
    outbox.advance(1)
    assert outbox.append(b"y" * 4)
    assert outbox.append(b"z" * 6)
    assert not outbox.append(b"!")
    outbox.advance(249)  # now "yyyy" is the one
    assert outbox.append(b"!" * 4)
    assert not outbox.append(b"!")
    assert drained(outbox) == b"yyyyzzzzzz!!!!"


@pytest.mark.parametrize("written", [0, 1, 4, 5])
def test_a_head_and_its_payload_are_one_message_that_is_being_written(written):
    outbox = Outbox(5)
    assert outbox.append(Head(b"head"), b"payload")
    outbox.advance(written)
    assert outbox.append(b"12345")
    assert not outbox.append(b"6")
    assert not outbox.append(Head(b"h"), b"p")
    assert drained(outbox) == b"headpayload12345"[written:]


def test_a_refused_message_leaves_no_trace():
    outbox = Outbox(5)
    outbox.append(b"12345")
    outbox.append(b"12345")
    assert not outbox.append(b"6")
    assert outbox.size == 10
    assert drained(outbox) == b"1234512345"


def test_empty_frames_fill_it_too():
    outbox, count = Outbox(10_000), 0
    while outbox.append(b"\x8a\x00"):
        count += 1
    assert 10_000 // (FRAME_OVERHEAD + 2) <= count <= 10_000 // FRAME_OVERHEAD + 1


def test_no_more_short_frames_are_joined_than_a_socket_takes_soon():
    outbox = Outbox(ROOM)
    for number in range(JOINED_AT_MOST):
        outbox.force(b"%02d" % (number % 100))
    whole = b"".join(b"%02d" % (number % 100) for number in range(JOINED_AT_MOST))
    assert outbox.peek(ROOM) == whole[:JOINED_AT_MOST]
    assert drained(outbox, 5000) == whole


def test_force_knows_no_limit():
    outbox = Outbox(3)
    outbox.force(b"12345")
    assert outbox.size == 5
    assert drained(outbox) == b"12345"


def test_frames_that_are_half_written_go_on_where_they_were():
    outbox = Outbox(10)
    outbox.force(b"x" * 90 + b"0123456789", cursor=90)
    assert outbox.size == 10
    assert drained(outbox) == b"0123456789"


def test_only_the_first_buffer_can_be_half_written():
    outbox = Outbox(ROOM)
    outbox.append(b"first")
    with pytest.raises(AssertionError):
        outbox.force(b"second", cursor=1)


def test_an_outbox_that_was_emptied_takes_half_written_frames_again():
    outbox = Outbox(ROOM)
    outbox.append(b"first")
    outbox.advance(5)
    outbox.force(b"second", cursor=2)
    assert drained(outbox) == b"cond"


def test_dropping_keeps_the_frame_that_has_begun():
    outbox = Outbox(ROOM)
    for data in (b"one", b"two", b"three"):
        outbox.append(data)
    outbox.advance(4)
    outbox.drop_unsent()
    outbox.force(b"close")
    assert drained(outbox) == b"woclose"


def test_dropping_takes_all_when_no_frame_has_begun():
    outbox = Outbox(ROOM)
    for data in (b"one", b"two"):
        outbox.append(data)
    outbox.advance(3)
    outbox.drop_unsent()
    assert outbox.size == 0
    assert bytes(outbox.peek(10)) == b""


def test_dropping_keeps_whole_the_frames_that_tls_was_offered():
    outbox = Outbox(ROOM)
    for data in (b"one", b"two", b"three"):
        outbox.append(data)
    outbox.drop_unsent(pinned=4)
    assert drained(outbox) == b"onetwo"


def test_a_head_and_its_payload_are_queued_together_or_not_at_all():
    outbox = Outbox(5)
    outbox.append(b"first")
    assert not outbox.append(Head(b"head"), b"payload")
    assert outbox.size == 5
    outbox.limit = 11
    assert outbox.append(Head(b"head"), b"payload")
    assert drained(outbox) == b"firstheadpayload"


def test_a_long_payload_behind_its_head_is_not_copied():
    outbox, payload = Outbox(2 * ROOM), b"p" * ROOM
    outbox.append(b"before", b"that")
    outbox.append(Head(b"head"), payload)
    outbox.append(b"behind")
    first = outbox.peek(ROOM)
    assert first == b"beforethathead" + payload[:JOINED]
    outbox.advance(len(first))
    rest = outbox.peek(ROOM)
    assert rest.obj is payload and rest == payload[JOINED:]
    outbox.advance(len(rest))
    assert outbox.peek(ROOM) == b"behind"


@pytest.mark.parametrize("written", range(1, 12))
def test_dropping_never_cuts_a_head_from_its_payload(written):
    outbox = Outbox(ROOM)
    outbox.append(Head(b"head"), b"payload")
    outbox.append(Head(b"second"), b"second")
    outbox.advance(written)
    outbox.drop_unsent()
    outbox.force(b"close")
    assert drained(outbox) == (b"headpayload"[written:] + b"close")


def test_dropping_takes_a_head_of_which_nothing_is_written_with_its_payload():
    outbox = Outbox(ROOM)
    outbox.append(b"one")
    outbox.append(Head(b"head"), b"payload")
    outbox.advance(1)
    outbox.drop_unsent()
    assert drained(outbox) == b"ne"


def test_a_head_that_tls_was_offered_keeps_its_payload():
    outbox = Outbox(ROOM)
    outbox.append(Head(b"head"), b"payload")
    outbox.append(b"more")
    outbox.drop_unsent(pinned=4)
    assert drained(outbox) == b"headpayload"


def test_an_outbox_says_how_full_it_is():
    outbox = Outbox(10)
    outbox.append(b"1234")
    assert repr(outbox) == "<Outbox 4 of 10 bytes>"


class OutboxMachine(RuleBasedStateMachine):
    """Do anything to an outbox, beside a plain list of the frames that wait."""

    LIMIT = 60 + 3 * FRAME_OVERHEAD

    def __init__(self):
        super().__init__()
        self.outbox = Outbox(self.LIMIT)
        self.frames = []        # each (bytes, how many of them are written)
        self.refused = b""      # what a socket was offered and has not taken
        self.number = 0

    @property
    def waiting(self):
        return b"".join(data[written:] for data, written in self.frames)

    def new_frame(self, size):
        self.number += 1
        return bytes((self.number * 31 + i) % 256 for i in range(size))

    @rule(size=st.integers(1, 25))
    def append(self, size):
        data = self.new_frame(size)
        behind = sum(len(data) + FRAME_OVERHEAD for data, _ in self.frames[1:])
        fits = not self.frames or behind + size <= self.LIMIT
        assert self.outbox.append(data) == fits
        if fits:
            self.frames.append((data, 0))

    @rule(size=st.integers(1, 80))
    def force(self, size):
        data = self.new_frame(size)
        self.outbox.force(data)
        self.frames.append((data, 0))

    @precondition(lambda self: not self.frames)
    @rule(size=st.integers(2, 25), share=st.floats(0.1, 0.9))
    def force_half_written(self, size, share):
        data, cursor = self.new_frame(size), int(size * share)
        self.outbox.force(data, cursor)
        self.frames.append((data, cursor))

    @rule(most=st.integers(1, 50))
    def be_refused(self, most):
        most = max(most, len(self.refused))
        self.refused = bytes(self.outbox.peek(most))

    @rule(most=st.integers(1, 50), share=st.floats(0, 1))
    def write(self, most, share):
        most = max(most, len(self.refused))
        offered = bytes(self.outbox.peek(most))
        assert offered.startswith(self.refused), "a refused write is repeated with the same bytes"
        assert offered == self.waiting[:most]
        taken = int(share * len(offered))
        self.outbox.advance(taken)
        self.refused = b"" if taken else self.refused
        while taken:
            data, written = self.frames[0]
            step = min(taken, len(data) - written)
            taken -= step
            self.frames[0] = data, written + step
            if written + step == len(data):
                del self.frames[0]

    @rule()
    def drop_unsent(self):
        pinned = len(self.refused)
        self.outbox.drop_unsent(pinned)
        kept, size = [], 0
        for data, written in self.frames:
            if not written and size >= pinned:
                break
            kept.append((data, written))
            size += len(data) - written
        assert self.waiting.startswith(self.refused)
        self.frames = kept

    @rule()
    def clear_tls_pin(self):
        """Be a plain socket from here on: nothing that it refused binds."""
        self.refused = b""

    @invariant()
    def the_same_bytes_wait(self):
        assert self.outbox.size == len(self.waiting)
        assert bytes(self.outbox.peek(ROOM)) == self.waiting
        if self.refused:
            assert self.waiting.startswith(self.refused)


TestAnySequence = OutboxMachine.TestCase


@pytest.mark.parametrize("written, pinned, left", [
    (0, 0, b"aca"), (1, 0, b"bca"), (2, 0, b"ca"), (0, 1, b"abca"), (2, 1, b"bcba"), (6, 0, b"a")])
def test_what_waits_is_sifted_but_for_what_is_begun_or_pinned(written, pinned, left):
    outbox = Outbox(ROOM)
    for data in (b"ab", b"bcb", b"ba"):
        outbox.force(data)
    outbox.advance(written)
    outbox.sift(lambda data: data.replace(b"b", b""), pinned)
    assert outbox.size == len(left) and drained(outbox) == left


def test_a_long_message_is_not_sifted():
    outbox = Outbox(ROOM)
    for data in (b"x", Head(b"bH"), b"bbb", b"bb", b"y"):
        outbox.force(data)
    outbox.sift(lambda data: b"")
    assert outbox.size == 5 and drained(outbox) == b"bHbbb"
