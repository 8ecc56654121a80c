"""The benchmark runs, and what it counts is right; how fast things are is no test."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.bench import rights
from tests.bench.honest import Stream

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


def test_a_stream_tells_what_was_lost_doubled_and_out_of_order():
    stream = Stream()
    for number in (7, 8, 11, 10, 10, 8):
        stream.take(number)
    assert (stream.missing, stream.disordered, stream.doubled) == ({9}, 1, 2)


@pytest.mark.slow
def test_everything_at_once_loses_nothing():
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.everything", "200 endless heads",
         "8 that publish to new channels", "--seconds", "10", "--clients", "20"],
        capture_output=True, text=True, timeout=90, env=ENVIRONMENT)
    rows = [line.strip("| ").split(" | ") for line in found.stdout.splitlines()]
    states = {row[1]: row for row in rows if row[0].isdigit()}
    assert list(states) == ["calm", "attacked", "settling", "calm again"], found
    assert "endless" in states["attacked"][-1] and states["calm again"][-1] == "-"
    musts = {row[0]: row[1:] for row in rows if row[1:] and row[1] in ("yes", "NO")}
    is_so, seen = musts["nothing is lost, doubled or out of order"]
    assert is_so == "yes" and int(re.search(r"(\d+) connections", seen)[1]) > 4, found
    assert musts["no honest client is closed"] == ["yes", "0"]
    assert found.returncode == any(is_so == "NO" for is_so, *_ in musts.values())


def attacked(name, seconds):
    """Return the cells of an attack's row."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.attacks", name, "--servers", "front", "--seconds",
         str(seconds)], capture_output=True, text=True, timeout=90, env=ENVIRONMENT)
    assert found.returncode == 0, found.stderr
    row = re.fullmatch(r"\| (.+) \| front \| (\d+) \(\d+\) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| "
                       r"-?\d+ \| - \|", found.stdout.splitlines()[-1])
    assert row and row[1] == name, found.stdout
    return dict(zip(("connect", "page", "push", "grown", "account"), map(int, row.groups()[1:])))


def test_an_attack_is_measured():
    attacked("200 endless heads", 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["500 kept heads of 15 KB", "8 that publish to new channels"])
def test_what_an_attack_makes_the_server_hold_is_measured(name):
    found = attacked(name, 2)
    assert found["account"] > 1 and found["grown"] > 1, found    # 1 MiB is there in calm


def test_publishers_are_measured():
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.publishers", "--rates", "1,50", "--clients", "4",
         "--threads", "2", "--seconds", "1"], timeout=60, capture_output=True, text=True,
        env=ENVIRONMENT)
    rows = re.findall(r"^\| (\d+) \| 2 \| 0 \| (\d+\.\d\d) \|$", found.stdout, re.MULTILINE)
    assert [rate for rate, _ in rows] == ["1", "50"], found.stderr
    assert all(float(read) > 0 for _, read in rows)
    assert re.search(r"^4 clients left; [1-9]\d* published, 0 refused", found.stdout, re.MULTILINE)
