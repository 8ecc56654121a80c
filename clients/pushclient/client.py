"""The client: what a program calls, and how the parts fit together.

``Reconnector`` goes from one connection to the next; a ``PlainLink`` or a ``ChannelLink`` handles
each. ``Dispatcher`` takes messages to the program, ``Calls`` takes commands to the server.
"""
from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Callable, Iterator, Sequence

from pushserver.channels.publication import Position
from pushserver.wire.disconnects import NORMAL, checked_disconnect
from pushserver.wire.payloads import encode_payload

from . import forks, options
from .callbacks import Callbacks
from .centrifuge.answers import Answers
from .centrifuge.calls import Calls
from .centrifuge.events import Gap, Presence, Publication, size_of
from .centrifuge.link import ChannelLink
from .centrifuge.protocol import ChannelProtocol
from .centrifuge.subscription import ChannelsOption, Since
from .centrifuge.tokens import ChannelToken, Token, TokenCalls, checked_token
from .dispatch import Dispatcher
from .errors import ChannelLost, ConnectionClosed, InvalidSetting
from .inbox import Inbox, Value
from .reconnect import OPEN, ClientLink, Reconnector
from .websocket import handshake
from .websocket.credentials import Credentials
from .websocket.link import PlainLink
from .websocket.proxy import ProxyOption, find_proxy
from .websocket.request import Request
from .websocket.url import Address, parse_url


class PushClient:
    """Receive what a server pushes, across lost connections, on a thread of its own.

    Iterate over the messages, which are ``str`` or ``bytes``, or pass ``on_message``. With
    ``channels`` they are ``Publication``s, and each channel resumes where it was lost. Every
    method is safe from any thread, callbacks and signal handlers included; neither can wait for
    an answer, handlers at least when they have interrupted another call. Callbacks run on the
    client's thread, one at a time; exceptions in them are logged, and ``SystemExit`` and
    ``KeyboardInterrupt`` end the client. While one blocks, or while the queue is full, nothing is
    read: TCP then slows the server down, which may in the end disconnect the client as slow.

    In a forked child the client is closed, without a word to the server, and its methods raise
    ``ConnectionClosed``; the parent's goes on.

    A lost connection is made again after a delay drawn from a window that grows from 0.5 to 20 s.
    The client stays closed after ``close()``, a final close code (``Disconnected``), an HTTP
    status 4xx other than 408, 425 and 429 (``Refused``), ``max_attempts``, and, if no connection
    has been open yet, a response that is not a WebSocket server's or a certificate that cannot be
    trusted. Iteration then raises that error, or what a callback raised to end the program; after
    ``close()`` and a normal close by the server (1000) it just ends.

    The methods that ask the server for something (``publish``, ``rpc``, ``presence``, ``history``)
    need ``channels``. They wait for the answer, for at most ``timeout`` seconds (by default the
    client's own), and raise

    - ``CommandFailed``: the server answered with an error
    - ``NotConnected``: no connection was open in time; nothing was sent
    - ``ConnectionClosed``: the connection was lost meanwhile; the command may have been run
    - ``QueueFull``: the queue is full of messages that nobody takes, so the answer cannot be read;
      the command may have been run
    - ``TimeoutError``: no answer came in time
    - ``InvalidSetting``: the client was made without ``channels``

    Args:
        url: ``ws://``, ``wss://`` or ``ws+unix:///path/of/socket``.
        Id: who the client is, 1 to 128 characters; becomes ``?Id=`` in the URL.
        on_message: called with each message; nothing is queued then.
        on_state: called with each new state: "connecting", "open", "waiting", "closed".
        channels: names of the channels to subscribe to, or a mapping from them to the position
            last seen (offset and epoch), the token of a private channel, or both as
            ``{"since": ..., "token": ...}``. The URL has to be one for Centrifugo's protocol.
        token: a JWT that says who the client is, or a function that returns one for each
            connection. Without ``channels`` it becomes ``?token=`` in the URL. Token functions run
            on threads of their own; a channel's is called with the channel's name. With
            ``channels``, before a token expires, its function is called for a new one.
        on_gap: called with a ``Gap`` when publications of its ``channel`` may be lost for good.
        on_lost: called with a ``ChannelLost`` when the server refuses a channel or takes the
            client out of it; without ``on_lost``, that error ends the client.
        on_presence: called with a ``Presence`` when somebody joins a channel or leaves it.
        headers: further request headers, pairs or a mapping, which are read for each connection;
            or a function that returns them, called for each on a thread of its own. If it raises,
            the attempt has failed (``CredentialsFailed``).
        origin: the ``Origin`` header, as a browser would send it; None: no such header.
        subprotocols: those to offer.
        ssl_context: replaces the one that verifies against the system's certificates.
        proxy: a URL ``http://user:password@host:port``; True: as the environment says, including
            ``no_proxy``; None: no proxy.
        unix_socket: the path of a Unix socket to connect to, instead of the URL's host.
        timeout: seconds for each step of connecting, for ``send`` to find an open connection, and
            for a write to make progress.
        close_timeout: seconds that the server has to answer a close frame.
        ping_interval: seconds without traffic after which the server is pinged. 0: never.
        pong_timeout: seconds that it has to answer; any traffic counts.
        max_message_size: bytes of one inbound message; a larger one ends the connection with 1009.
        max_queue: messages that may wait to be iterated over, of large ones only as many as make
            up 1 MiB. Once it is full, nothing more is read; while a call waits for its answer, 16
            times as much is taken.
        max_attempts: attempts that may fail in a row; None: no limit.

    Attributes:
        error: why the last connection or attempt ended; once closed, the final error or None.
        delay: seconds until the next attempt, in the state "waiting".

    Raises:
        InvalidSetting: an argument has a value that cannot work.
    """

    def __init__(self, url: str, *, Id: str | None = None,
                 on_message: Callable[[Value], object] | None = None,
                 on_state: Callable[[str], object] | None = None,
                 channels: ChannelsOption | None = None, token: Token = None,
                 on_gap: Callable[[Gap], object] | None = None,
                 on_lost: Callable[[ChannelLost], object] | None = None,
                 on_presence: Callable[[Presence], object] | None = None,
                 headers: options.HeadersOption = None, origin: str | None = None,
                 subprotocols: Sequence[str] = (), ssl_context: ssl.SSLContext | None = None,
                 proxy: ProxyOption = True, unix_socket: str | None = None,
                 timeout: float = options.TIMEOUT, close_timeout: float = options.CLOSE_TIMEOUT,
                 ping_interval: float = options.PING_INTERVAL,
                 pong_timeout: float = options.PONG_TIMEOUT,
                 max_message_size: int = options.MAX_MESSAGE_SIZE,
                 max_queue: int = options.MAX_QUEUE, max_attempts: int | None = None) -> None:
        if max_attempts is not None:
            options.check_count("max_attempts", max_attempts)
        if channels is None and (on_gap or on_lost or on_presence):
            raise InvalidSetting("on_gap, on_lost and on_presence need channels=[...]")
        token = checked_token(token or None)
        address = _address(url, Id, unix_socket)
        if token and channels is None:
            address.with_parameter("token", "")  # so that a bad setting is reported at once
        find_proxy(proxy, address)  # likewise
        request = Request(address, handshake.check_subprotocols(subprotocols), proxy=proxy,
                          ssl_context=ssl_context, credentials=Credentials(
                              address.secure, headers, origin,
                              token if channels is None else None))
        connection = options.ConnectionOptions(timeout, close_timeout, ping_interval, pong_timeout,
                                               max_message_size)
        callbacks = Callbacks(f"Id {Id!r}" if Id is not None else f"{address.host}:{address.port}",
                              on_message=on_message, on_state=on_state, on_gap=on_gap,
                              on_lost=on_lost, on_presence=on_presence)
        inbox = Inbox(options.check_count("max_queue", max_queue), self._wake,
                      len if channels is None else size_of, self._check_not_nested)
        answers = None if channels is None else Answers()
        dispatcher = Dispatcher(callbacks, inbox, answers)
        self._calls: Calls | None = None
        self._reconnector: Reconnector[ClientLink]
        if answers is None:
            self._reconnector = Reconnector(
                request, lambda opened: PlainLink(connection, dispatcher.deliver, opened),
                callbacks, inbox.end, close_timeout, max_attempts)
        else:
            protocol, token_calls = ChannelProtocol(channels or (), token), TokenCalls()
            reconnector = Reconnector(
                request, lambda opened: ChannelLink(connection, dispatcher.deliver, callbacks,
                                                    protocol, token_calls, answers, opened),
                callbacks, inbox.end, close_timeout, max_attempts)
            self._calls = Calls(protocol, answers, reconnector, timeout)
            self._reconnector = reconnector
        self._callbacks, self._inbox, self._dispatcher = callbacks, inbox, dispatcher
        self._timeout = timeout
        forks.called_in_children(self._forked)

    def __repr__(self) -> str:
        return f"<PushClient {self._callbacks.label}: {self.state}, {len(self._inbox)} queued>"

    @property
    def state(self) -> str:
        """Return "connecting", "open", "waiting" or "closed"; a new client is closed."""
        return self._reconnector.state

    @property
    def error(self) -> BaseException | None:
        """Return why the last connection or attempt ended; once closed, the final error or None."""
        return self._reconnector.error

    @property
    def delay(self) -> float:
        """Return the seconds until the next attempt, in the state "waiting"."""
        return self._reconnector.delay

    @property
    def subprotocol(self) -> str | None:
        """Return the subprotocol that the server chose; None: none, or the client is not open."""
        link = self._reconnector.link
        return link.connection.subprotocol if link and self.state == OPEN else None

    # starting and closing

    def start(self) -> PushClient:
        """Start the client's thread and return at once; a second call does nothing.

        Raises:
            ConnectionClosed: the client was closed; make another.
        """
        with self._reconnector.in_call():
            self._reconnector.start()
        return self

    def close(self, code: int = NORMAL.code, reason: str = "") -> None:
        """Close the connection with a handshake and end the thread; a second call does nothing.

        Returns when the thread has ended: at once, or when the server has answered, after at most
        ``close_timeout`` and two seconds. From a callback, or a signal handler that has interrupted
        another method, it returns at once, and the thread ends after that. Messages received before
        can still be iterated over.

        Args:
            code: 1000, 1001 or 3000 to 4999.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: one of them cannot be sent.
        """
        disconnect = checked_disconnect(code, reason)
        self._dispatcher.stop()
        with self._reconnector.in_call():
            self._reconnector.close(disconnect)

    def _forked(self) -> None:
        """Close the client in a forked child; what is queued is the parent's."""
        if self._reconnector.forked():
            self._dispatcher.stop()
            self._inbox.clear()
            self._inbox.end()

    def __enter__(self) -> PushClient:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def _wake(self) -> None:
        self._reconnector.wake()

    # receiving

    def receive(self, timeout: float | None = None) -> Value:
        """Return the next message, waiting for it.

        Args:
            timeout: seconds to wait; None: for as long as it takes.

        Raises:
            TimeoutError: none came in time.
            PushError: none will come; the error that ended the client, or ``ConnectionClosed``.
        """
        self._check_may_wait()
        value = self._inbox.get(timeout)
        if value is None:
            raise self.error or ConnectionClosed("the client is closed")
        return value

    def __iter__(self) -> Iterator[Value]:
        self._check_may_wait()
        return self

    def __next__(self) -> Value:
        value = self._inbox.get()
        if value is not None:
            return value
        if self.error is not None:
            raise self.error
        raise StopIteration

    def _check_may_wait(self) -> None:
        if self._callbacks.on_message is not None:
            raise InvalidSetting("on_message takes the messages: leave it out to iterate")
        if not self._reconnector.is_started and not self._reconnector.is_closing:
            raise ConnectionClosed("not started: use the client in a with block, or call start()")
        if self._reconnector.is_own_thread:
            raise ConnectionClosed("a callback cannot wait for a message: use on_message")

    def _check_not_nested(self) -> None:
        with self._reconnector.in_call():
            if self._reconnector.is_nested:
                raise ConnectionClosed("a signal handler that has interrupted another call cannot "
                                       "wait for a message")

    # sending

    def send(self, data: Any, *, timeout: float | None = None) -> None:
        """Send one message, on the connection that is open or opens in time.

        It returns once the kernel has the message, which is no promise that it arrives. In a signal
        handler that has interrupted another call, it only queues the message.

        Args:
            data: text, a bytes-like object for a binary message, or anything that JSON can hold.
            timeout: seconds to wait for an open connection; None: the client's ``timeout``.
                Callbacks, and handlers that have interrupted another call, do not wait.

        Raises:
            InvalidData: a message cannot hold this.
            NotConnected: no connection was open in time; the message was not sent.
            ConnectionClosed: the client is closed, or the connection was lost meanwhile; then the
                message may or may not have arrived.
        """
        opcode, payload = encode_payload({"send": {"data": data}} if self._calls else data)
        with self._reconnector.in_call():
            link = self._reconnector.open_link(self._timeout if timeout is None else timeout)
            link.connection.sender.send_frame(opcode, payload,
                                              wait=not self._reconnector.is_nested)

    # channels

    def subscribe(self, channel: str, since: Since = None, *,
                  token: ChannelToken = None) -> None:
        """Subscribe to one more channel; return at once, connected or not.

        Args:
            channel: its name.
            since: the position last seen, an offset and an epoch; None: none.
            token: for a private channel, a JWT, or a function that is called with the channel's
                name and returns one.

        Raises:
            InvalidSetting: the client has it already, or an argument cannot work.
        """
        with self._channel_calls as calls:
            calls.subscribe(channel, since, token)

    def unsubscribe(self, channel: str) -> None:
        """Leave a channel; return at once. Nothing from it is delivered after that."""
        with self._channel_calls as calls:
            calls.unsubscribe(channel)

    def publish(self, channel: str, data: Any, *, timeout: float | None = None) -> None:
        """Publish anything that JSON can hold, if the server lets clients publish.

        From a callback, or a signal handler that has interrupted another call, it returns at once;
        a refusal by the server is logged.
        """
        with self._channel_calls as calls:
            calls.publish({"channel": channel, "data": data}, timeout)

    def rpc(self, method: str, data: Any = None, *, timeout: float | None = None) -> Any:
        """Call a method of the site and return its answer. Not from a callback."""
        request = {"method": method} if data is None else {"method": method, "data": data}
        return self._run("rpc", request, timeout).get("data")

    def presence(self, channel: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Return who is in a channel: ``user`` and ``client``, by client. Not from a callback."""
        result = self._run("presence", {"channel": channel}, timeout)
        found: dict[str, Any] = result.get("presence", {})
        return found

    def history(self, channel: str, limit: int = -1, since: tuple[int, str] | None = None, *,
                reverse: bool = False, timeout: float | None = None) -> list[Publication]:
        """Return what a channel remembers. Not from a callback.

        Args:
            channel: its name.
            limit: how many publications at most; -1: all.
            since: only those after this offset and epoch, or before it if reversed.
            reverse: newest first.
            timeout: see the class.
        """
        request: dict[str, Any] = {"channel": channel, "limit": limit, "reverse": reverse}
        if since is not None:
            request["since"] = {"offset": since[0], "epoch": since[1]}
        found = self._run("history", request, timeout)
        return [Publication(channel, one["data"], one.get("offset", 0), found.get("epoch", ""),
                            one.get("info"), one.get("tags"))
                for one in found.get("publications", ())]

    def _run(self, name: str, request: dict[str, Any], timeout: float | None) -> Any:
        with self._channel_calls as calls:
            return calls.run(name, request, timeout)

    def position(self, channel: str) -> Position | None:
        """Return the offset and epoch reached in a channel; None: nothing to resume from."""
        if self._calls is None:
            return None
        with self._channel_calls as calls:
            return calls.position(channel)

    @property
    @contextmanager
    def _channel_calls(self) -> Iterator[Calls]:
        if self._calls is None:
            raise InvalidSetting("this client has no channels: make it with channels=[...]")
        self._reconnector.check_process()
        with self._reconnector.in_call():
            yield self._calls


def _address(url: str, Id: str | None, unix_socket: str | None) -> Address:
    address = parse_url(url)
    if Id is not None:
        address = address.with_id(Id)
    return replace(address, unix_socket=unix_socket or address.unix_socket)
