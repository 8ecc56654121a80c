"""Read ten ticks of the demo site with each client that others wrote, and show how late they are.

    python -m tests.bench.ticks [COUNT]
"""
from __future__ import annotations

import re
import sys
from datetime import datetime

from tests.support.programs import demo, finish
from tests.support.third_party_clients import READERS

TICK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def main(count=10):
    with demo() as server:
        assert server.first_line.startswith("Open http://")
        for name, read in READERS.items():
            found = read(f"ws://127.0.0.1:{server.port}/websocket?Id=42", count)
            assert all(TICK.fullmatch(text) for text, _ in found), found
            made = [datetime.fromisoformat(text).timestamp() % 1 for text, _ in found]
            got = [(received + 0.5) % 1 - 0.5 for _, received in found]
            print(f"{name:17} {len(found)} ticks; behind the whole second when made: at most "
                  f"{max(made) * 1000:.2f} ms, when received: at most {max(got) * 1000:.2f} ms")
        print("server's exit status, stdout and stderr:", *finish(server))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
