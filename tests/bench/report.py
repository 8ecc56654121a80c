"""Tables of what was measured, and what it was measured on."""
from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path

from .scenarios.base import BEST_PEER
from .servers import KINDS


def machine():
    """Return lines that say what machine and what system this is."""
    return [f"machine: {_cpu_model()}, {os.cpu_count()} cores, {_memory()} GiB; "
            f"{platform.system()} {platform.release()} {platform.machine()}; "
            f"Python {platform.python_version()}"]


def _cpu_model():
    for line in _read("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown CPU"


def _memory():
    for line in _read("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return round(int(line.split()[1]) / 1024 / 1024)
    return "?"


def _read(path):
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def versions(rows):
    """Return a line with the versions of all packages that servers have named."""
    found = {}
    for row in rows:
        found.update(row.get("versions", {}))
    return "versions: " + ", ".join(f"{name} {found[name]}" for name in sorted(found))


def median_row(rows):
    """Return one row with the medians of several runs of the same server."""
    merged = dict(rows[-1])
    for key in {key for row in rows for key in row}:
        values = [row[key] for row in rows if _is_number(row.get(key))]
        if values:
            merged[key] = statistics.median(values)
    if merged.get("steps"):
        merged["steps"] = [median_row(steps) for steps in
                           zip(*(row["steps"] for row in rows if "steps" in row))]
    return merged


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def table(scenario, rows, title=""):
    """Return a scenario's table as Markdown; ``rows`` by server. One for each step it has."""
    if not scenario.axis:
        return _table(scenario, rows, title)
    steps = max((len(row.get("steps", ())) for row in rows.values()), default=0)
    tables = []
    for number in range(steps):
        found = {name: row["steps"][number] for name, row in rows.items() if "steps" in row}
        size = next(iter(found.values()))[scenario.axis]
        tables.append(_table(scenario, found, f"{title}: {size} {scenario.axis}"))
    return "\n".join(tables)


def _table(scenario, rows, title):
    columns = [column for column in scenario.columns
               if any(_is_number(row.get(column.key)) for row in rows.values())]
    ratios = [ratio for ratio in scenario.ratios if _base(ratio, rows)]
    head = ["server", *(column.title for column in columns), *(ratio.title for ratio in ratios)]
    lines = [head]
    for name, row in rows.items():
        line = [name]
        line += [_shown(row.get(column.key), column.factor, column.digits) for column in columns]
        line += [_shown(_divided(row.get(ratio.key), _base(ratio, rows)), 1, 2)
                 for ratio in ratios]
        lines.append(line)
    notes = [f"{name}: {note}" for name, row in rows.items() for note in _notes(row)]
    return "\n".join([f"### {scenario.heading()}{title}", "", *_aligned(lines), *notes, ""])


def _base(ratio, rows):
    """Return the value that a ratio divides by, None if there is none."""
    if ratio.against != BEST_PEER:
        return rows.get(ratio.against, {}).get(ratio.key)
    values = [row[ratio.key] for name, row in rows.items()
              if KINDS[name].is_peer and _is_number(row.get(ratio.key))
              and row.get("delivered", 1) > 0.999]
    return ratio.best(values) if values else None


def _divided(value, base):
    return value / base if _is_number(value) and base else None


def _shown(value, factor, digits):
    return f"{value * factor:,.{digits}f}" if _is_number(value) else "-"


def _notes(row):
    if "error" in row:
        yield f"failed: {row['error']}"
    if row.get("failures"):
        yield "not connected: " + ", ".join(f"{count} {what}" for what, count in
                                            row["failures"].items())
    if row.get("closed"):
        yield f"{row['closed']:g} closed with {row['codes']}"
    for key in ("note", "shared"):
        if row.get(key):
            yield row[key]


def _aligned(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for number, line in enumerate([lines[0], rule, *lines[1:]]):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        yield "| " + " | ".join(cells) + " |"
