"""push-client.js: its tests for Node's own runner, one result each, and its types."""
from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from tests.support import installed
from tests.support.programs import ROOT

CLIENT = ROOT / "clients" / "browser" / "push-client.js"
TYPES = CLIENT.with_suffix(".d.ts")
TESTS = sorted((ROOT / "tests" / "browser").glob("*.test.mjs"))
TIMEOUT = 60
OLDEST_NODE = (20, 11)
"""The first whose runner can hold the clock."""

SLASHES = re.compile(r"\\(.)")


@cache
def results():
    """Run the tests and return name -> what the runner says of it, which begins with ok or not."""
    version = subprocess.check_output([installed.node(), "--version"], text=True, timeout=TIMEOUT)
    if tuple(map(int, version.strip("v\n").split(".")[:2])) < OLDEST_NODE:
        installed.missing("Node 20.11 or newer", f"this is {version.strip()}")
    command = [installed.node(), "--test", "--test-reporter=tap", *map(str, TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    found = {}
    for part in re.split(r"^ *# Subtest: ", done.stdout, flags=re.MULTILINE)[1:]:
        name, said = part.split("\n", 1)
        found[SLASHES.sub(r"\1", name)] = said.strip()
    return found, done.stdout + done.stderr


def names():
    """Return the names in the source; of those made in a loop, what stands before and behind."""
    source = "".join(path.read_text("utf-8") for path in TESTS)
    return re.findall(r'^ *test\(["`](.*)["`], ', source, re.MULTILINE)


@pytest.mark.parametrize("name", names())
def test_in_node(name):
    found, said = results()
    pattern = ".+".join(re.escape(part) for part in re.split(r"\$\{\w+\}", name))
    mine = [key for key in found if re.fullmatch(pattern, key)]
    assert mine, said
    for key in mine:
        assert found[key].startswith("ok "), f"{key}\n{found[key]}"


def test_no_test_of_node_is_left_out():
    found, said = results()
    assert f"# tests {len(found)}\n" in said and "# fail 0\n" in said, said


# what the types promise is what there is

def public_js():
    """Return the names that the class has in JavaScript."""
    return set(re.findall(r"^  (?:get )?(\w+)\(.*\) \{", CLIENT.read_text("utf-8"), re.MULTILINE))


def block(text, head):
    """Return the lines of one declaration, up to the brace that ends it."""
    return re.search(rf"^export {head}.*?\{{\n(.*?)^\}}", text, re.DOTALL | re.MULTILINE).group(1)


def test_exports_are_typed():
    pattern = r"^export (?:class|function) (\w+)"
    exported = re.findall(pattern, CLIENT.read_text("utf-8"), re.MULTILINE)
    assert sorted(exported) == sorted(re.findall(pattern, TYPES.read_text("utf-8"), re.MULTILINE))
    assert "PushClient" in exported


def test_methods_and_properties_are_typed():
    text = TYPES.read_text("utf-8")
    typed = block(text, "class PushClient") + block(text, "class PushEvent")
    declared = set(re.findall(r"^  (?:readonly )?(\w+)[(:]", typed, re.MULTILINE))
    inherited = {"type", "addEventListener", "removeEventListener"}
    assert declared - inherited == public_js()
    assert {"connect", "send", "close", "state", "url", "Id", "attempt", "retryAt",
            "bufferedAmount"} < declared


def test_options_are_typed_and_used():
    source = CLIENT.read_text("utf-8")
    declared = block(TYPES.read_text("utf-8"), "interface PushClientOptions")
    defaults = re.search(r"const DEFAULTS = \{(.*?)\};", source, re.DOTALL).group(1)
    used = set(re.findall(r"\b(?:all|#options)\.(\w+)", source))
    assert set(re.findall(r"^  (\w+)\?:", declared, re.MULTILINE)) == \
        used | set(re.findall(r"(\w+):", defaults))


def test_events_are_typed():
    source, text = CLIENT.read_text("utf-8"), TYPES.read_text("utf-8")
    events = set(re.findall(r"^  (\w+):", block(text, "interface PushClientEvents"), re.MULTILINE))
    assert events == {"open", "message", "close", "state"}
    for name, fields in [("Close", "code, reason, wasClean, final"), ("State", "state:.* delay"),
                         ("Message", "data")]:
        typed = block(text, f"interface Push{name}Event")
        assert re.findall(r"^  readonly (\w+):", typed, re.MULTILINE) == \
            re.findall(r"\w+", fields.replace(".*", ""))
        assert re.search(rf'\(("{name.lower()}", )?\{{ {fields}|"{name.lower()}", \{{ {fields}',
                         source), name


def test_it_is_short_and_needs_nothing():
    source = CLIENT.read_text("utf-8")
    assert source.count("\n") < 350
    assert not re.search(r"^\s*import |\brequire\(|await import", source, re.MULTILINE)
