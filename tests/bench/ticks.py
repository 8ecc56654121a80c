"""Read ten ticks of the demo site with each client that others wrote, and show how late they are.

    python -m tests.bench.ticks [COUNT]
"""
from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime

from tests.support import third_party_clients
from tests.support.loopback import free_port

TICK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def main(count=10):
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "pushserver", "--port", str(port)],
                              stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline().startswith("Open http://")
        for name, read in third_party_clients.READERS.items():
            found = read(f"ws://127.0.0.1:{port}/websocket?Id=42", count)
            assert all(TICK.fullmatch(text) for text, _ in found), found
            made = [datetime.fromisoformat(text).timestamp() % 1 for text, _ in found]
            got = [(received + 0.5) % 1 - 0.5 for _, received in found]
            print(f"{name:17} {len(found)} ticks; behind the whole second when made: at most "
                  f"{max(made) * 1000:.2f} ms, when received: at most {max(got) * 1000:.2f} ms")
    finally:
        server.terminate()
        print("server's exit status:", server.wait(20))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
