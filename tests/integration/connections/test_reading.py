"""What connections read: messages in any form, and what breaks the protocol."""
from __future__ import annotations

import contextlib
import struct

import pytest

from tests.support.handlers import close_payload, echoing, site_of
from tests.support.raw_client import masked_frame
from tests.support.site import recorder, running_site


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize("first", [0x81, 0x82], ids=["text", "binary"])
def test_a_message_of_any_size_is_read(first, size):
    with echoing() as client:
        client.send(first, b"a" * size)
        assert client.frame() == (first, b"a" * size)


def test_a_message_in_fragments_with_pings_between_is_one_message():
    with echoing() as client:
        for first, payload in [(0x01, b"one "), (0x89, b"a"), (0x00, b"two "), (0x89, b"b"),
                               (0x00, b""), (0x80, b"three")]:
            client.send(first, payload)
        assert [client.frame() for _ in range(3)] == [
            (0x8A, b"a"), (0x8A, b"b"), (0x81, b"one two three")]


def test_frames_sent_one_byte_at_a_time_are_read():
    with echoing() as client:
        for byte in masked_frame(0x01, b"one ") + masked_frame(0x80, b"two" * 50):
            client.sock.sendall(bytes([byte]))
        assert client.message() == "one " + "two" * 50


TEXT = "\u03ba\U0001f600\u05d0a".encode()


@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
def test_text_may_be_cut_anywhere_even_within_a_character(cut):
    with echoing() as client:
        client.send(0x01, TEXT[:cut])
        client.send(0x80, TEXT[cut:])
        assert client.message() == TEXT.decode()


BAD_TEXT = b"\xce\xba\xed\xa0\x80edited"


@pytest.mark.parametrize("cut", range(len(BAD_TEXT) + 1))
def test_text_that_is_not_utf_8_is_closed_with_1007_wherever_it_is_cut(cut):
    with echoing() as client:
        client.send(0x01, BAD_TEXT[:cut])
        client.sock.sendall(masked_frame(0x80, BAD_TEXT[cut:]))
        assert client.close_code() == 1007
        assert client.at_end()


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\x80", b"\xf4\x90\x80\x80", b"a\xe2\x82",
                                  b"\xed\xbf\xbf", b"\xf0\x9f\x98"])
def test_text_that_is_not_utf_8_is_closed_with_1007(text):
    with echoing() as client:
        client.send(0x81, text)
        assert client.close_code() == 1007


def test_invalid_text_is_noticed_before_its_message_ends():
    with echoing() as client:
        client.sock.sendall(masked_frame(0x01, b"fine so far \xff and") + b"\x00")
        assert client.close_code() == 1007


@pytest.mark.parametrize("frames, code", [
    (masked_frame(0xC1, b"a"), 1002), (masked_frame(0xA1, b"a"), 1002),
    (masked_frame(0x91, b"a"), 1002), (masked_frame(0xF1, b"a"), 1002),
    *((masked_frame(0x80 | opcode, b"a"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    (masked_frame(0x81, b"a", mask=None), 1002), (masked_frame(0x81, b"", mask=None), 1002),
    (masked_frame(0x89, b"a", mask=None), 1002),
    (masked_frame(0x09, b"a"), 1002), (masked_frame(0x08, b""), 1002),
    (masked_frame(0x89, b"a" * 126), 1002), (masked_frame(0x8A, b"a" * 126), 1002),
    (masked_frame(0x88, close_payload(1000) + b"a" * 124), 1002),
    (b"\x89\xff" + bytes(8) + b"mask", 1002),
    (masked_frame(0x80, b"a"), 1002), (masked_frame(0x00, b"a"), 1002),
    (masked_frame(0x01, b"a") + masked_frame(0x81, b"b"), 1002),
    (masked_frame(0x02, b"a") + masked_frame(0x02, b"b"), 1002),
    (b"\x82\xff" + struct.pack("!Q", 1 << 63), 1002),
    (b"\x82\xff" + struct.pack("!Q", 1 << 62), 1009),
    (b"\x82\xff" + struct.pack("!Q", 65537), 1009),
    (masked_frame(0x02, b"a" * 65536) + b"\x00\x81", 1009),
    (masked_frame(0x88, b"\x03"), 1002), (masked_frame(0x88, close_payload(1005)), 1002),
    (masked_frame(0x88, close_payload(1000, b"\xff")), 1007),
    (masked_frame(0x88, close_payload(1000, b"\xce")), 1007),
], ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else None)
def test_a_client_that_breaks_the_protocol_is_closed_as_rfc_6455_says(frames, code):
    Handler = recorder()
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.sock.sendall(frames)
        assert client.close_code() == code
        assert client.at_end()
    assert [entry[0] for entry in Handler.log] == ["opened", "closed"]
    assert Handler.log[1][2] == code


def test_fragments_without_an_end_are_refused_at_the_limit():
    fragment = masked_frame(0x00, b"a" * 100)
    with echoing(max_message_size=1000) as client:
        client.send(0x01, b"a" * 100)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sock.sendall(fragment)
        assert client.close_code() == 1009


def test_empty_fragments_without_an_end_take_no_memory_and_keep_nobody_waiting():
    with running_site() as site, site.client("/echo?Id=1") as client, \
            site.client("/echo?Id=2") as other:
        client.send(0x01)
        for _ in range(50):
            client.sock.sendall(masked_frame(0x00) * 1000)
            other.text("hello")
            assert other.message() == "hello"
        client.send(0x80, b"the end")
        assert client.message() == "the end"


def test_messages_before_an_error_are_answered():
    with echoing() as client:
        client.sock.sendall(masked_frame(0x81, b"one") + masked_frame(0x81, b"two")
                            + masked_frame(0x8F, b""))
        assert [client.message(), client.message()] == ["one", "two"]
        assert client.close_code() == 1002


def test_what_comes_behind_a_close_frame_is_not_read():
    Handler = recorder()
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.sock.sendall(masked_frame(0x88, close_payload(1000)) + masked_frame(0x81, b"late"))
        assert client.close_code() == 1000
        assert client.at_end()
    assert Handler.log == [("opened", "42"), ("closed", "42", 1000, "")]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012,
                                  1013, 1014, 3000, 3999, 4000, 4999])
def test_a_close_is_answered_in_kind_and_told_with_its_reason(code):
    Handler = recorder()
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.send(0x88, close_payload(code, "na\u00efve".encode()))
        assert client.close_code() == code
        assert client.at_end()
    assert Handler.log == [("opened", "42"), ("closed", "42", code, "na\u00efve")]
