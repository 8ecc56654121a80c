"""What this machine, or the container on it, lets a process have; and giving back what is free."""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Iterator

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory() -> int | None:
    """Return the bytes of memory that this process may use at most; None: it cannot be found out.

    That is the machine's, or less if a control group (version 1 or 2) limits it.
    """
    return min([*_of_machine(), *_of_cgroups()], default=None)


def _of_machine() -> Iterator[int]:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    if size > 0:
        yield size


def _of_cgroups() -> Iterator[int]:
    """Return the limits of all control groups around this process.

    Inside a container, the path that the system tells may be that outside, so the top counts too.
    """
    try:
        lines = OWN_CGROUPS.read_text("ascii", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if not controllers:
            yield from _limits(CGROUPS, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits(CGROUPS / "memory", path, "memory.limit_in_bytes")


def _limits(top: Path, path: str, name: str) -> Iterator[int]:
    group = top / path.strip("/")
    for folder in (group, *group.parents):
        try:
            yield int((folder / name).read_text("ascii"))
        except (OSError, ValueError):
            pass    # there is none, or it is "max"
        if folder == top:
            return


def give_back() -> None:
    """Have the C library return free memory to the system, if it can: glibc keeps much of it.

    It takes milliseconds for each 100 MB, without the interpreter's lock.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes   # it takes memory itself, which most processes never need
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:    # else it is not glibc
        trim(0)
