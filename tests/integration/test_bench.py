"""The benchmark runs, and what it counts is right; how fast things are is no test."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.bench import attacks, rights

CLIENTS = 20
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(tmp_path, *arguments):
    """Run the command; return its output and the rows that it wrote."""
    rows = tmp_path / "rows.json"
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments, "--peers", "ours,floor",
         "--clients", str(CLIENTS), "--json", str(rows)],
        capture_output=True, text=True, timeout=90, env=ENVIRONMENT)
    assert found.returncode == 0, found.stderr
    return found.stdout, json.loads(rows.read_text())


@pytest.mark.slow
def test_tick_prints_a_row_for_each_server_and_delivers_all(tmp_path):
    output, (tick,) = run(tmp_path, "tick", "--seconds", "2")
    assert "| ours " in output and "| floor " in output and "CPU us/msg" in output
    for name in ("ours", "floor"):
        (row,) = tick["rows"][name]
        assert row["connected"] == CLIENTS and row["delivered"] == 1 and row["closed"] == 0, row
        assert 0 < row["p50"] <= row["p99"] <= row["max"]


@pytest.mark.slow
@pytest.mark.parametrize("way, state, told", [
    ("exp of ?token=", "slow handler", r"\d+"), ("disconnect", "outbox full", r"\d+"),
    ("unsubscribe_id", "catching up", r"\d+"), ("end_session", "handshake", r"\d+ \(403\)"),
    ("the rule's answer", "inbox full", r"\d+"), ("session expires", "handshake", "-")])
def test_the_end_of_a_right_is_measured(way, state, told):
    assert re.fullmatch(told, rights.measure(way, state))


def test_an_unknown_scenario_is_refused_in_one_line():
    found = subprocess.run([sys.executable, "-m", "tests.bench", "nonsense"], timeout=60,
                           capture_output=True, text=True, env=ENVIRONMENT)
    assert found.returncode == 2 and "unknown: nonsense" in found.stderr


def test_an_attack_is_measured(capsys):
    attacks.main(["200 endless heads", "--servers", "front", "--seconds", "0.3"])
    row = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\| 200 endless heads \| front \| \d+ \(\d+\) \| \d+ \| \d+ \| -?\d+ \|",
                        row)


def test_publishers_are_measured():
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.publishers", "--rates", "1,50", "--clients", "4",
         "--threads", "2", "--seconds", "1"], timeout=60, capture_output=True, text=True,
        env=ENVIRONMENT)
    rows = re.findall(r"^\| (\d+) \| 2 \| 0 \| (\d+\.\d\d) \|$", found.stdout, re.MULTILINE)
    assert [rate for rate, _ in rows] == ["1", "50"], found.stderr
    assert all(float(read) > 0 for _, read in rows)
    assert re.search(r"^4 clients left; [1-9]\d* published, 0 refused", found.stdout, re.MULTILINE)
