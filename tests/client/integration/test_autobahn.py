"""The Autobahn TestSuite's fuzzing server against the client.

Runs where ``WSTEST`` names the ``wstest`` program, or the PATH has one. Elsewhere it is skipped,
on CI too, unlike all other tests that need a tool: ``wstest`` runs on Python 2.7 only, which
systems no longer have.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter

import pytest

from pushclient import ConnectFailed, WebSocketClient

from tests.support.loopback import LOOPBACK, free_port
from tests.support.programs import started
from tests.support.scripted_server import DEADLINE, until

WSTEST = os.environ.get("WSTEST") or shutil.which("wstest")
AGENT = "pushclient"
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
GOOD = {"OK", "INFORMATIONAL"}


class Echo(WebSocketClient):
    def received_message(self, message):
        self.send(message.data, message.is_binary)


class Count(WebSocketClient):
    count = 0

    def received_message(self, message):
        self.count = int(str(message))


def run(kind, url):
    client = kind(url, proxy=None)
    client.connect()
    client.run_forever()
    return client


@pytest.fixture
def fuzzing_server(tmp_path):
    if WSTEST is None:
        pytest.skip("no wstest, which CI cannot install, as it needs Python 2.7: there, "
                    "pip install autobahntestsuite==0.8.2, and set WSTEST")
    url = f"ws://{LOOPBACK}:{free_port()}"
    (tmp_path / "spec.json").write_text(json.dumps({
        "url": url, "outdir": str(tmp_path / "reports"), "cases": CASES, "exclude-cases": []}))
    with started(WSTEST, "-m", "fuzzingserver", "-s", "spec.json", cwd=tmp_path,
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        until(lambda: is_up(url), DEADLINE)
        yield url, tmp_path / "reports" / "index.json"


def is_up(url):
    try:
        return run(Count, f"{url}/getCaseCount")
    except ConnectFailed:
        return False


@pytest.mark.timeout(300)
def test_every_case_is_ok_and_every_close_clean(fuzzing_server):
    url, report = fuzzing_server
    count = run(Count, f"{url}/getCaseCount").count
    for number in range(1, count + 1):
        run(Echo, f"{url}/runCase?case={number}&agent={AGENT}")
    run(WebSocketClient, f"{url}/updateReports?agent={AGENT}")
    results = json.loads(report.read_text())[AGENT]
    print(len(results), "cases:", dict(Counter(row["behavior"] for row in results.values())),
          "closes:", dict(Counter(row["behaviorClose"] for row in results.values())))
    assert len(results) == count
    for case, row in results.items():
        assert row["behavior"] in GOOD and row["behaviorClose"] in GOOD, (case, row)
