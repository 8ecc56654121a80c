"""The numbers in docs/limits.md are the code's."""
from __future__ import annotations

import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from pushserver import settings
from pushserver.settings import Settings, default_max_connections, default_max_memory

LIMITS = Path(__file__).resolve().parents[2] / "docs" / "limits.md"
UNITS = {"KiB": 1024, "MiB": 1024 ** 2}
ROWS = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", LIMITS.read_text("utf-8"), re.MULTILINE)
SETTINGS = [item.name for item in fields(Settings) if item.type in ("int", "float")]


def number(told):
    """Return what a cell says: a number, and perhaps ``KiB`` or ``MiB``."""
    value, _, unit = told.strip().partition(" ")
    return float(value.replace(",", "")) * UNITS.get(unit, 1)


def in_code(name):
    """Return a setting's default, or the constant ``module.NAME`` of ``pushserver``."""
    module, _, constant = name.rpartition(".")
    if not module:
        return getattr(Settings(), name)
    return getattr(importlib.import_module(f"pushserver.{module}"), constant)


@pytest.mark.parametrize("name, told", ROWS, ids=[name for name, _ in ROWS])
def test_the_document_tells_what_the_code_has(name, told):
    by_machine = {"max_connections": ("by the file limit", default_max_connections),
                  "max_memory": ("by the machine's memory", default_max_memory)}
    if name in by_machine:
        words, default = by_machine[name]
        assert told == words and in_code(name) == default()
    else:
        assert number(told) == in_code(name)


def test_each_setting_with_a_number_is_in_the_document():
    assert set(SETTINGS) <= {name for name, _ in ROWS}


def test_the_file_limits_told_are_enough(monkeypatch):
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \|", LIMITS.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 3
    for clients, files in rows:
        monkeypatch.setattr(settings.resource, "getrlimit", lambda _: (int(number(files)), 0))
        assert default_max_connections() >= number(clients)
