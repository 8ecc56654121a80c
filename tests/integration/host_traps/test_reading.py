"""What ws4py on CherryPy does wrong when it reads."""
from __future__ import annotations

import contextlib
import os
import ssl

from tests.support.raw_client import masked_frame
from tests.support.traps import close_code, MESSAGE, messages, received, site_of
from tests.support.waiting import wait_until


def test_frames_of_one_tls_record_all_come_back_at_once(host, server_certificate, client_tls):
    """#270: messages arrived one behind."""
    texts = [f"message {number}" for number in range(10)]
    with host.running(site_of(host), tls=server_certificate):
        with host.client("/echo?Id=1", tls=client_tls) as client:
            client.sock.sendall(b"".join(masked_frame(0x81, text.encode()) for text in texts))
            assert messages(client, len(texts)) == texts


def test_half_a_tls_record_keeps_nobody_else_waiting(host, server_certificate, client_tls):
    with host.running(site_of(host), tls=server_certificate):
        with host.client("/echo?Id=2", tls=client_tls) as other, \
                TlsByHand(host, client_tls) as half:
            record = half.encrypted(masked_frame(0x81, b"a" * MESSAGE))
            half.sock.sendall(record[:len(record) // 2])
            other.text("first")
            other.text("second")
            assert messages(other, 2) == ["first", "second"]


class TlsByHand:
    """A connected TLS client that decides itself which encrypted bytes it sends."""

    def __init__(self, host, context):
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._plain = host.socket()
        self.sock = self._plain.sock
        self._until_done(self._tls.do_handshake)
        self.sock.sendall(self.encrypted(self._plain.request("/echo?Id=1")))
        assert self._until_done(self._tls.read).startswith(b"HTTP/1.1 101")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._plain.close()

    def encrypted(self, data):
        self._tls.write(data)
        return self._outgoing.read()

    def _until_done(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                self.sock.sendall(self._outgoing.read())
            self._incoming.write(self.sock.recv(65536))


def test_a_header_that_claims_an_exabyte_is_refused_before_any_of_it_is_read(host):
    with host.running(site_of(host)), host.client() as client:
        client.sock.sendall(b"\x82\xff" + (2 ** 62).to_bytes(8, "big") + b"mask")
        assert close_code(client) == 1009


def test_a_message_keeps_its_data_after_the_callback(host):
    messages = []
    Handler = type("Keeper", (host.base,), {
        "received_message": lambda handler, message: messages.append(message)})
    with host.running(site_of(host, Handler)), host.client() as client:
        client.text("first")
        client.text("second")
        wait_until(lambda: len(messages) == 2, host.patience)
        assert messages[0].data == b"first"


def test_a_descriptor_over_1024_is_served(host):
    """Where there is no epoll, ws4py uses ``select``, which ends there."""
    with contextlib.ExitStack() as many, host.running(site_of(host), select=True):
        null = os.open(os.devnull, os.O_RDONLY)
        many.callback(os.close, null)
        while null < 1030:
            null = os.dup(null)
            many.callback(os.close, null)
        with host.client("/echo?Id=1") as client:
            client.text("hello")
            assert received(client) == "hello"
