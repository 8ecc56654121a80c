"""How much memory there is: the machine's, or what control groups leave of it."""
from __future__ import annotations

import os

import pytest

from pushserver import machine

MIB = 1 << 20


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Return a function that puts other control groups in the place of this process's own."""
    def put(own, limits):
        (tmp_path / "own").write_text(own)
        for name, limit in limits.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(limit)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    return put


def whole():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_without_control_groups_it_is_the_machine_s(cgroups):
    assert machine.memory() == whole()


@pytest.mark.parametrize("own, limits", [
    ("0::/a/b\n", {"a/b/memory.max": f"{64 * MIB}\n", "a/memory.max": "max\n"}),
    ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{64 * MIB}\n"}),
    ("0::/outside\n", {"memory.max": f"{64 * MIB}\n"}),
    ("0::/\n", {"memory.max": f"{64 * MIB}\n"}),
    ("5:cpu:/x\n4:hugetlb,memory:/x\n0::/\n",
     {"memory/x/memory.limit_in_bytes": f"{64 * MIB}\n",
      "memory/memory.limit_in_bytes": "9223372036854771712\n"})])
def test_the_smallest_limit_of_a_control_group_counts(cgroups, own, limits):
    cgroups(own, limits)
    assert machine.memory() == 64 * MIB


@pytest.mark.parametrize("own", ["", "\n", "nothing\n", "0::/gone\n", "4:memory:/gone\n"])
def test_what_cannot_be_read_limits_nothing(cgroups, own):
    cgroups(own, {})
    assert machine.memory() == whole()


def test_a_system_that_tells_nothing_is_known_as_such(cgroups, monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert machine.memory() is None


def test_giving_back_works_wherever_this_runs():
    machine.give_back()


def test_where_the_c_library_cannot_nothing_happens(monkeypatch):
    import ctypes
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    machine.give_back()
