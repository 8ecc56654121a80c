"""Messages that a client receives per second of CPU, beside other threaded clients.

``python -m tests.bench.client_receive``: a server in a process of its own writes the same bytes to
each client as fast as TCP takes them; each client, in a fresh process, counts what it delivers to
its user and reports the CPU time that took, kernel included. The clients take turns; the median of
the rounds is shown.
"""
from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import socket
import statistics
import sys
import threading
from importlib.metadata import version
from typing import Any, Callable

from pushserver.wire.frames import OPCODE_BINARY, OPCODE_TEXT, frame
from pushserver.wire.handshake import accept_key

CASES = ((32, 300_000), (64 * 1024, 4_000))
SLOW_TEXT = 64 * 1024
SLOW_SHARE = 20
"""ws4py and websocket-client check text byte by byte: of large ones they get one twentieth."""

BATCH = 256 * 1024
ROUNDS = 5
START = "start"


def serve(size: int, number: int, opcode: int, ready: Any) -> None:
    """Write so many messages to each client that connects."""
    message = frame(opcode, b"x" * size)
    in_batch = max(1, BATCH // len(message))
    batch = message * in_batch
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready.put(listener.getsockname()[1])
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=write, args=(sock, batch, in_batch, message, number),
                             daemon=True).start()


def write(sock: socket.socket, batch: bytes, in_batch: int, message: bytes, number: int) -> None:
    with sock:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += sock.recv(4096)
        key = request[request.lower().index(b"sec-websocket-key: ") + 19:].split(b"\r\n")[0]
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                     + accept_key(key.decode()).encode() + b"\r\n\r\n")
        sock.recv(4096)  # the client says when: plain ws4py loses what comes with the answer
        try:
            for _ in range(number // in_batch):
                sock.sendall(batch)
            sock.sendall(message * (number % in_batch))
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass


def pushclient_iterating(url: str, number: int) -> None:
    from pushclient import PushClient
    with PushClient(url, proxy=None, close_timeout=0.1) as client:
        client.send(START)
        for got, _ in enumerate(client, 1):
            if got == number:
                break


def pushclient_callback(url: str, number: int) -> None:
    from pushclient import PushClient
    done, counted = threading.Event(), Counter(number)
    client = PushClient(url, proxy=None, close_timeout=0.1,
                        on_message=lambda _: counted.count() and done.set())
    with client:
        client.send(START)
        done.wait()


def pushclient_single(url: str, number: int) -> None:
    from pushclient import WebSocketClient
    run_ws4py_style(WebSocketClient, url, number)


def plain_ws4py(url: str, number: int) -> None:
    from ws4py.client.threadedclient import WebSocketClient
    run_ws4py_style(WebSocketClient, url, number)


def run_ws4py_style(kind: type[Any], url: str, number: int) -> None:
    done, counted = threading.Event(), Counter(number)

    class Counting(kind):  # type: ignore[misc]
        def received_message(self, message: Any) -> None:
            counted.count() and done.set()
    client = Counting(url)
    client.connect()
    client.send(START)
    done.wait()
    client.close_connection()


def websocket_client(url: str, number: int) -> None:
    import websocket
    connection = websocket.create_connection(url)
    connection.send(START)
    for _ in range(number):
        connection.recv()
    connection.shutdown()


def websocket_client_unchecked(url: str, number: int) -> None:
    import websocket
    connection = websocket.create_connection(url, skip_utf8_validation=True)
    connection.send(START)
    for _ in range(number):
        connection.recv()
    connection.shutdown()


def websocket_client_app(url: str, number: int) -> None:
    import websocket
    counted = Counter(number)
    app = websocket.WebSocketApp(url, on_open=lambda app: app.send(START),
                                 on_message=lambda app, _: counted.count() and app.close())
    app.run_forever()


def websockets_sync(url: str, number: int) -> None:
    from websockets.sync.client import connect
    connection = connect(url, compression=None, proxy=None, close_timeout=0.1)
    connection.send(START)
    for _ in range(number):
        connection.recv()
    connection.close()


class Counter:
    """Count to a number."""

    def __init__(self, number: int) -> None:
        self._left = number

    def count(self) -> bool:
        self._left -= 1
        return not self._left


CLIENTS: dict[str, Callable[[str, int], None]] = {
    "pushclient, iterating": pushclient_iterating,
    "pushclient, on_message": pushclient_callback,
    "pushclient.WebSocketClient": pushclient_single,
    f"websocket-client {version('websocket-client')}, recv": websocket_client,
    f"websocket-client {version('websocket-client')}, recv, UTF-8 unchecked":
        websocket_client_unchecked,
    f"websocket-client {version('websocket-client')}, WebSocketApp": websocket_client_app,
    f"websockets {version('websockets')}, sync": websockets_sync,
    f"ws4py {version('ws4py')}, threaded": plain_ws4py,
}


def measure(receive: Callable[[str, int], None], url: str, number: int, result: Any) -> None:
    """Put the messages per second of CPU of one run into ``result``."""
    receive(url, 10)  # what is imported and built once does not count
    before = cpu()
    receive(url, number)
    result.put(number / (cpu() - before))


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    multiprocessing.set_start_method("spawn")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
          f"median of {rounds} rounds\n")
    columns = {}
    for size, number in CASES:
        for opcode, kind in ((OPCODE_TEXT, "text"), (OPCODE_BINARY, "binary")):
            columns[f"{size} bytes, {kind}"] = column(size, number, opcode, rounds)
    print(f"| messages per second of CPU | {' | '.join(columns)} |")
    print("| --- " * (len(columns) + 1) + "|")
    for name in CLIENTS:
        print(f"| {name} | " + " | ".join(f"{values[name]:,.0f}" for values in columns.values())
              + " |")


def column(size: int, number: int, opcode: int, rounds: int) -> dict[str, float]:
    """Return each client's median for one kind of message."""
    ready = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(size, number, opcode, ready), daemon=True)
    server.start()
    url = f"ws://127.0.0.1:{ready.get()}/"
    slow = size >= SLOW_TEXT and opcode == OPCODE_TEXT
    results: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(rounds):
        for name, receive in CLIENTS.items():
            result = multiprocessing.Queue()
            share = SLOW_SHARE if slow and not name.startswith("push") else 1
            process = multiprocessing.Process(target=measure,
                                              args=(receive, url, number // share, result))
            process.start()
            results[name].append(result.get(timeout=120))
            process.join()
            print(f"{size} {name}: {results[name][-1]:,.0f}", file=sys.stderr)
    server.kill()
    server.join()
    return {name: statistics.median(values) for name, values in results.items()}


if __name__ == "__main__":
    main()
