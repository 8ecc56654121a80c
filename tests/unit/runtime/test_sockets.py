"""Sockets, plain and TLS: they never wait, never raise, and lose or repeat no byte."""
from __future__ import annotations

import socket
import ssl
from types import SimpleNamespace

import pytest

from pushserver.wire.disconnects import SLOW
from pushserver.wire.frames import close_frame, frame, header, OPCODE_BINARY
from pushserver.wire.payloads import encode_payload
from pushserver.wire.parser import FrameReader
from pushserver.runtime.outbox import Head, Outbox
from pushserver.runtime.sockets import (LOST, TLS_RECORD, WRITE_SIZE, NativeSocket, NativeTlsSocket,
                                        PlainSocket, TlsSocket, loop_socket)
from pushserver.wire.speedups import HAVE_NATIVE, SKIPPED, native
from tests.support.waiting import wait_until


@pytest.fixture(params=["plain", "tls"])
def ends(request):
    """A loop socket and its peer's socket."""
    ours, theirs = request.getfixturevalue("pair" if request.param == "plain" else "tls_pair")
    return loop_socket(ours), theirs


def fill(sender, data=b"x" * 1000):
    """Send until the kernel takes no more; return how many bytes it took."""
    total = 0
    while True:
        sent = sender.send(data)
        assert sent >= 0
        total += sent
        if sent < len(data):
            return total


def test_the_kind_of_the_socket_decides(pair, tls_pair):
    assert type(loop_socket(pair[0])) is (NativeSocket if HAVE_NATIVE else PlainSocket)
    assert type(loop_socket(tls_pair[0])) is (NativeTlsSocket if HAVE_NATIVE else TlsSocket)


@pytest.mark.skipif(not HAVE_NATIVE, reason="the C extension is not built, or not used")
def test_only_a_tls_socket_that_is_open_can_be_written_to_from_below(pair, tls_pair):
    assert native.tls_ready(tls_pair[0])
    assert not native.tls_ready(pair[0])
    assert not native.tls_ready("no socket")
    with ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(
            socket.socket(), do_handshake_on_connect=False, server_hostname="example.org") as new:
        assert not native.tls_ready(new)
    tls_pair[0].close()
    assert not native.tls_ready(tls_pair[0])
    items = [SimpleNamespace(direct=target) for target in (tls_pair[0], None)]
    assert native.send_many(items, b"data", 10) == [(0, LOST), (1, SKIPPED)]


@pytest.mark.skipif(not HAVE_NATIVE, reason="the C extension is not built, or not used")
def test_plain_and_tls_sockets_are_written_to_in_one_call(pair, tls_pair):
    items = [SimpleNamespace(direct=target) for target in (pair[0].fileno(), tls_pair[0], None)]
    assert native.send_many(tuple(items), b"same", 10) == [(2, SKIPPED)]
    assert native.send_each(items, [b"a", b"bc", b""], 1) == [(1, 1), (2, SKIPPED)]
    assert pair[1].recv(10) == b"samea"
    assert tls_pair[1].recv(10) + tls_pair[1].recv(10) == b"sameb"


def test_a_tcp_socket_sends_without_delay():
    with socket.create_server(("127.0.0.1", 0)) as server, \
            socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            assert loop_socket(accepted).socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getblocking() is False
        assert client.getblocking()


def test_what_is_sent_arrives(ends):
    sender, peer = ends
    assert sender.send(b"hello") == 5
    assert peer.recv(10) == b"hello"


def test_nothing_to_read_is_none_and_no_wait(ends):
    assert ends[0].receive() is None


def test_what_the_peer_sends_is_read(ends):
    sender, peer = ends
    peer.sendall(b"hello")
    assert wait_until(sender.receive) == b"hello"


def test_the_peers_end_is_empty_bytes(ends):
    sender, peer = ends
    if isinstance(peer, ssl.SSLSocket):
        peer.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            peer.unwrap()
    else:
        peer.shutdown(socket.SHUT_WR)
    assert wait_until(lambda: sender.receive() == b"")


def test_a_look_tells_what_waits_and_whether_the_peer_has_left_behind_it(ends):
    sender, peer = ends
    assert sender.look() == (False, False)
    peer.sendall(b"x" * 1000)
    assert wait_until(lambda: sender.look() == (True, False))
    wait_until(lambda: some_of(sender.socket))
    assert sender.look() == (True, False)   # of TLS, no longer in the system's buffer
    assert len(sender.receive()) == 990
    assert sender.look() == (False, False)
    peer.sendall(b"more")
    peer.close()
    assert wait_until(lambda: sender.look() == (True, True))
    sender.close()
    assert sender.look() == (True, True)


def test_a_vanished_peer_is_lost_for_writing_and_at_its_end_for_reading(ends):
    sender, peer = ends
    peer.close()
    assert wait_until(lambda: sender.send(b"x" * 1000) == LOST)
    assert wait_until(lambda: sender.receive() == b"")


def test_a_socket_that_was_closed_here_raises_nothing(ends):
    sender, _ = ends
    sender.close()
    sender.close()
    assert sender.send(b"x") == LOST
    assert sender.receive() == b""
    assert not sender.has_pending()
    sender.finish()


def test_a_full_kernel_takes_nothing_and_the_send_does_not_wait(ends):
    sender, _ = ends
    fill(sender)
    assert sender.send(b"x" * 1000) == 0


def test_after_finishing_the_peer_can_still_be_read(ends):
    sender, peer = ends
    sender.send(b"last")
    sender.finish()
    assert peer.recv(10) == b"last"
    assert peer.recv(10) == b""


def test_reading_goes_on_after_a_plain_socket_has_finished(pair):
    sender = loop_socket(pair[0])
    sender.finish()
    pair[1].sendall(b"still here")
    assert wait_until(sender.receive) == b"still here"


def test_only_tls_can_hold_bytes_that_the_selector_cannot_see(pair, tls_pair):
    plain, tls = loop_socket(pair[0]), loop_socket(tls_pair[0])
    pair[1].sendall(b"x")
    assert not plain.has_pending()
    tls_pair[1].sendall(b"x" * 1000)
    wait_until(lambda: some_of(tls.socket))
    assert tls.has_pending()


def some_of(sock):
    """Return ten bytes, None if there are none yet."""
    try:
        return sock.recv(10)
    except ssl.SSLWantReadError:
        return None


def flow(sender, peer, outbox, more):
    """Write an outbox through a socket that is often full, adding to it after each refusal."""
    arrived = bytearray()
    peer.settimeout(None)
    peer.setblocking(False)
    while outbox.size or more:
        taken = sender.send(outbox.peek(WRITE_SIZE))
        assert taken >= 0
        outbox.advance(taken)
        if more:
            outbox.force(more.pop(0))
        if not taken or not more:
            arrived += emptied(peer)
    while data := emptied(peer):
        arrived += data
    return bytes(arrived)


def emptied(peer):
    """Return what can be read now."""
    found = b""
    try:
        while data := peer.recv(1 << 20):
            found += data
    except (BlockingIOError, ssl.SSLWantReadError):
        pass
    return found


@pytest.mark.parametrize("size", [1, 1000, TLS_RECORD - 1, TLS_RECORD + 1, 300_000])
def test_every_byte_arrives_once_though_the_outbox_grows_between_refusals(ends, size):
    sender, peer = ends
    count = max(20, 2_000_000 // max(size, 2000))
    frames = [bytes([i % 251]) * size for i in range(count)]
    assert flow(sender, peer, Outbox(1), frames[:]) == b"".join(frames)


@pytest.mark.parametrize("size", [20, 5000, TLS_RECORD - 4, TLS_RECORD + 1, 100_000])
@pytest.mark.parametrize("pause", [0, 30_000])
@pytest.mark.parametrize("apart", [False, True])
def test_a_close_behind_what_was_dropped_is_read_as_whole_frames(ends, size, pause, apart):
    sender, peer = ends
    outbox, count = Outbox(1), 4_000_000 // size
    for number in range(count):
        payload = b"%06d" % number + b"x" * (size - 6)
        if apart:
            outbox.force(Head(header(OPCODE_BINARY, size)))
            outbox.force(payload)
        else:
            outbox.force(frame(*encode_payload(payload)))
    arrived = bytearray()
    write_until_refused(sender, outbox)
    if pause:
        arrived += peer.recv(pause)
        write_until_refused(sender, outbox)
    outbox.drop_unsent(sender.pinned)
    assert outbox.size <= sender.pinned + 2 * size + 20
    outbox.force(close_frame(SLOW))
    arrived += flow(sender, peer, outbox, [])
    reader = FrameReader(1 << 20, from_client=False, values=True)
    *messages, closing = reader.feed(bytes(arrived))
    assert reader.failure is None
    assert closing == SLOW
    assert [int(message[:6]) for message in messages] == list(range(len(messages)))
    assert len(messages) < count


def write_until_refused(sender, outbox):
    while outbox.size:
        taken = sender.send(outbox.peek(WRITE_SIZE))
        assert taken >= 0
        outbox.advance(taken)
        if not taken:
            return
    raise AssertionError("the socket takes all")
