"""How pushclient is put together: who imports whom, and what importing it loads."""
from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pushclient

PACKAGE = Path(pushclient.__file__).resolve().parent

MAY_IMPORT = {
    "backoff": "",
    "bell": "",
    "errors": "",
    "forks": "",
    "options": "errors",
    "websocket": "bell errors forks options",
    "centrifuge": "backoff errors options websocket",
    "inbox": "bell centrifuge",
    "printing": "centrifuge inbox",
    "callbacks": "centrifuge errors inbox",
    "dispatch": "callbacks centrifuge inbox websocket",
    "reconnect": "backoff bell callbacks errors forks websocket",
    "client": "callbacks centrifuge dispatch errors forks inbox options reconnect websocket",
    "__main__": "centrifuge client errors inbox options printing reconnect websocket"}
"""For each module or folder, which others its files import: data flows one way."""

LOADED = """
    pushserver
    pushserver._native
    pushserver.channels
    pushserver.channels.publication
    pushserver.channels.rules
    pushserver.errors
    pushserver.version
    pushserver.wire
    pushserver.wire.disconnects
    pushserver.wire.frames
    pushserver.wire.handshake
    pushserver.wire.keepalive
    pushserver.wire.parser
    pushserver.wire.payloads
    pushserver.wire.speedups"""
"""What ``import pushclient`` loads of pushserver: no server, and no CherryPy."""

FILES = {path.relative_to(PACKAGE).with_suffix("").parts: ast.parse(path.read_text("utf-8"))
         for path in sorted(PACKAGE.rglob("*.py"))}
NAMES = sorted({parts[0] for parts in FILES} - {"__init__"})


def imported(parts):
    """Return what one file imports of pushclient, as the parts of dotted names."""
    found = []
    for node in ast.walk(FILES[parts]):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = (*parts[:len(parts) - node.level], *(node.module or "").split("."))
            found += [tuple(filter(None, (*start, alias.name))) for alias in node.names]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_imports_only_from_those_below_it(name):
    files = [parts for parts in FILES if parts[0] == name]
    found = {one[0] for parts in files for one in imported(parts)} - {name}
    assert found == set(MAY_IMPORT[name].split())
    assert list(MAY_IMPORT).index(name) > max(
        (list(MAY_IMPORT).index(one) for one in found), default=-1)


def test_the_files_import_each_other_in_no_circle():
    left = {parts: {one[:length] for one in imported(parts) for length in (1, 2)
                    if one[:length] in FILES} for parts in FILES if parts[-1] != "__init__"}
    while left:
        free = [parts for parts, needs in left.items() if not needs & set(left)]
        assert free, f"a circle among {sorted('.'.join(parts) for parts in left)}"
        for parts in free:
            del left[parts]


def test_importing_it_loads_what_it_uses_of_pushserver():
    program = ("import sys, pushclient\n"
               "print(*[name for name in sys.modules if name.split('.')[0] == 'pushserver'])\n")
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True,
                            text=True).stdout.split()
    known = set(LOADED.split())
    assert sorted({*loaded} - known) == [], "more is loaded than before"
    assert sorted(known - {*loaded}) in ([], ["pushserver._native"]), "less: mend the list"


@pytest.mark.parametrize("tree", FILES.values(), ids=[".".join(parts) for parts in FILES])
def test_nothing_public_lacks_a_docstring(tree):
    assert ast.get_docstring(tree), "the module"
    nodes = [tree]
    while nodes:
        for node in nodes.pop().body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), node.name
                if isinstance(node, ast.ClassDef):
                    nodes.append(node)
