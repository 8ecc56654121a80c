"""How the package is put together: who imports whom, what is documented, what mypy promises."""
from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cherrypy
import pytest

import pushserver

PACKAGE = Path(pushserver.__file__).resolve().parent
ROOT = PACKAGE.parent

MAY_IMPORT = {
    "version": "", "errors": "", "assets": "", "native": "",
    "machine": "", "wire": "errors", "forks": "errors",
    "transports": "wire",
    "runtime": "wire",
    "channels": "errors wire",
    "settings": "errors machine wire",
    "ticker": "errors wire",
    "tokens": "errors wire channels",
    "connections": "errors machine wire transports runtime channels settings tokens",
    "server": "errors forks wire runtime channels connections settings tokens ticker",
    "centrifuge": "errors version wire runtime channels connections tokens server",
    "api": "errors version wire channels connections settings server centrifuge web",
    "web": "errors wire channels connections settings tokens server centrifuge",
    "ws4py": "errors wire connections server web",
    "demo": "__init__",
    "cli": "errors version channels settings web demo",
    "__main__": "cli"}
"""For each module or folder, which others its files import: data flows one way."""

MAY_IMPORT_CHERRYPY = {"web", "api", "demo", "cli"}

ONE_FILE_IMPORTS = {"jwt": "tokens.py", "psutil": "demo/measures.py"}
"""Optional packages, each behind one file."""


def sources():
    """Return module name -> syntax tree; all files of a subpackage are one module."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        trees.setdefault(name, []).append((path, ast.parse(path.read_text("utf-8"))))
    return trees


SOURCES = sources()
MODULES = sorted(set(SOURCES) - {"__init__"})
FILES = [(path, tree) for trees in SOURCES.values() for path, tree in trees]
FILE_NAMES = [str(path.relative_to(PACKAGE)) for path, _ in FILES]


def imported(path, tree):
    """Yield what one file imports, as a full dotted name for each."""
    package = ["pushserver", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[:len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def dependencies(module):
    """Return which modules of the package one module imports; a name of the package itself is
    in ``__init__``."""
    found = set()
    for path, tree in SOURCES[module]:
        for name in imported(path, tree):
            parts = name.split(".")
            if parts[0] == "pushserver" and parts[1] != "_native":  # the extension imports nothing
                found.add(parts[1] if parts[1] in SOURCES else "__init__")
    return found - {module}


@pytest.mark.parametrize("module", MODULES)
def test_a_folder_imports_only_from_those_below_it(module):
    assert dependencies(module) == set(MAY_IMPORT[module].split())


def test_the_rules_of_import_go_in_no_circle():
    assert set(MAY_IMPORT) == set(MODULES)
    left = {module: {*MAY_IMPORT[module].split()} & {*MODULES} for module in MODULES}
    while left:
        free = [module for module, needs in left.items() if not needs & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for module in free:
            del left[module]


@pytest.mark.parametrize("module", MODULES)
def test_the_files_of_a_folder_import_each_other_in_no_circle(module):
    names = {path.with_suffix(""): tree for path, tree in SOURCES[module]
             if path.stem != "__init__"}
    left = {path: {PACKAGE.joinpath(*name.split(".")[1:][:len(path.relative_to(PACKAGE).parts)])
                   for name in imported(path.with_suffix(".py"), tree)} & {*names} - {path}
            for path, tree in names.items()}
    while left:
        free = [path for path, needs in left.items() if not needs & set(left)]
        assert free, f"a circle among {sorted(path.stem for path in left)}"
        for path in free:
            del left[path]


def test_channels_know_the_wire_only_by_the_payloads_that_are_published():
    known = {name.rsplit(".", 1)[0] for path, tree in SOURCES["channels"]
             for name in imported(path, tree) if name.startswith("pushserver.wire")}
    assert known == {"pushserver.wire.payloads"}


@pytest.mark.parametrize("path, tree", FILES, ids=FILE_NAMES)
def test_only_the_last_layers_import_cherrypy(path, tree):
    roots = {name.split(".")[0] for name in imported(path, tree)}
    if path.relative_to(PACKAGE).with_suffix("").parts[0] not in MAY_IMPORT_CHERRYPY:
        assert "cherrypy" not in roots


@pytest.mark.parametrize("path, tree", FILES, ids=FILE_NAMES)
def test_nothing_public_lacks_a_docstring(path, tree):
    assert ast.get_docstring(tree), "the module"
    nodes = [tree]
    while nodes:
        for node in nodes.pop().body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) \
                    and not node.name.startswith("_"):
                assert ast.get_docstring(node), node.name
                if isinstance(node, ast.ClassDef):
                    nodes.append(node)


@pytest.mark.parametrize("path, tree", FILES, ids=FILE_NAMES)
def test_no_except_is_bare(path, tree):
    assert all(node.type is not None for node in ast.walk(tree)
               if isinstance(node, ast.ExceptHandler))


DEMOS = [(path, tree) for path, tree in FILES if path.parent.name == "demo"]
DEMO_NAMES = [path.name for path, _ in DEMOS]
LONGEST_DEMO = 100


@pytest.mark.parametrize("path, tree", DEMOS, ids=DEMO_NAMES)
def test_a_demo_can_be_copied_because_it_uses_only_what_is_public(path, tree):
    ours = {name.split(".", 1)[1] for name in imported(path, tree)
            if name.startswith("pushserver.")}
    others = {name for name in ours if not name.startswith("demo.")}
    assert others <= set(pushserver.__all__)
    assert not re.search(r"\bpush\._|_hub|_node", path.read_text("utf-8"))


@pytest.mark.parametrize("path, tree", DEMOS, ids=DEMO_NAMES)
def test_a_demo_is_short(path, tree):
    assert len(path.read_text("utf-8").splitlines()) < LONGEST_DEMO


@pytest.mark.parametrize("package, only", ONE_FILE_IMPORTS.items(), ids=ONE_FILE_IMPORTS)
def test_an_optional_package_is_imported_in_one_file(package, only):
    assert [str(path.relative_to(PACKAGE)) for path, tree in FILES
            if package in {name.split(".")[0] for name in imported(path, tree)}] == [only]


def python(code, *options):
    """Run code in a fresh interpreter and return its output; fail if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *options, "-c", code], env=environment, timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["pushserver", "pushserver.wire.frames", "pushserver.server"])
def test_the_package_works_where_cherrypy_cannot_be_imported(module):
    python(f"import sys; sys.modules['cherrypy'] = None; import {module}; "
           "from pushserver import PushServer, Settings; PushServer(Settings())")


def test_cherrypy_is_asked_for_only_by_what_needs_it():
    assert python("import sys, pushserver; print('cherrypy' in sys.modules); "
                  "pushserver.PushPlugin; print('cherrypy' in sys.modules)") == "False\nTrue\n"


def test_all_that_is_public_is_there():
    for name in pushserver.__all__:
        assert getattr(pushserver, name) is not None
    with pytest.raises(AttributeError, match="'pushserver' has no attribute 'nothing'"):
        pushserver.nothing


def mypy(request, folder, *arguments, path=""):
    """Return where ``mypy --strict`` finds errors in a folder: file and line."""
    cache = request.config.cache.mkdir(f"mypy-{sys.version_info[0]}.{sys.version_info[1]}")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--ignore-missing-imports",
         "--no-error-summary", f"--cache-dir={cache}", *arguments], cwd=folder, timeout=110,
        env={**os.environ, "MYPYPATH": path}, capture_output=True, text=True)
    print(done.stdout + done.stderr)
    return set(re.findall(r"^([\w/]+\.py):(\d+): error", done.stdout, re.MULTILINE))


PUSH_PLUGIN = {"bus", "bind_session", "broadcast", "channels", "connections", "disconnect", "drain",
               "end_session", "every", "failure", "history", "ids", "presence", "presence_stats",
               "publish", "remove_history", "rule", "send", "settings", "start",
               "stats", "stop",
               "subscribe", "subscribe_id", "tokens", "unsubscribe", "unsubscribe_id"}


def test_the_public_names_of_the_plugin_are_those_that_the_documents_name():
    plugin = pushserver.PushPlugin(cherrypy.process.wspbus.Bus())
    assert {name for name in dir(plugin) if not name.startswith("_")} == PUSH_PLUGIN
    documents = "".join(path.read_text("utf-8") for path in (
        ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    for name in PUSH_PLUGIN - {"bus"}:  # CherryPy's own
        assert re.search(rf"\b(push|plugin)\.{name}\b|`{name}(\(|`)", documents), name


SLIPS = {
    "centrifuge/commands.py": ("handle.node.publish(", "handle.node.pubish("),
    "centrifuge/subscriptions.py": ("handle.node.join(", "handle.node.jion("),
    "centrifuge/connection.py": ("handle.check_size(", "handle.check_sise("),
    "centrifuge/session.py": ("handle.put(", "handle.putt("),
    "centrifuge/expiry.py": ("handle.at_end(", "handle.at_and("),
    "connections/connection.py": ("self._handle.abort()", "self._handle.abot()"),
    "web/endpoint.py": ("self._acceptor.reserve(", "self._acceptor.reserv("),
    "api/methods.py": ("self._server.remove_history(", "self._server.remove_histroy(")}


def test_mypy_finds_a_slip_in_what_a_folder_asks_of_another(tmp_path, request):
    pytest.importorskip("mypy")
    copy = tmp_path / "pushserver"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name, (right, wrong) in SLIPS.items():
        text = (copy / name).read_text("utf-8")
        assert right in text, f"{name} has no {right}"
        (copy / name).write_text(text.replace(right, wrong, 1), "utf-8")
    found = mypy(request, tmp_path, "-p", "pushserver")
    assert {name for name, _ in found} == {f"pushserver/{name}" for name in SLIPS}


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


GOOD = '''
"""What a site writes."""
from typing import Any

import cherrypy

from pushserver import (Connection, ConnectionClosed, InvalidData, PushError, PushPlugin,
                        PushServer, PushTool, Settings, Ticker)

push = PushPlugin(cherrypy.engine, ping_interval=25, duplicates="replace")
push.subscribe()
cherrypy.tools.push = PushTool(push)
settings: Settings = Settings(max_outbox=1024, allowed_origins=("https://example.org",))
server: PushServer = push


class Chat(Connection):
    """A handler."""

    def opened(self) -> None:
        self.data["nick"] = self.user or self.Id
        joined: bool = self.subscribe("room")
        print(joined)

    def received_message(self, message: Any) -> None:
        try:
            self.send(message.data, message.is_binary)
        except ConnectionClosed:
            pass

    def closed(self, code: int, reason: str | None = None) -> None:
        push.publish("room", {"left": self.Id, "code": code})


def use() -> int:
    """Use all of it."""
    push.broadcast("text")
    push.broadcast(b"bytes")
    push.publish("news", [1, 2, 3])
    ticker: Ticker = push.every(1, lambda: "now", channel="time")
    ticker.stop()
    names: list[str] = push.ids()
    people: list[Connection] = push.connections() + push.connections("42")
    gone: int = push.disconnect("42", code=4000, reason="bye")
    assert issubclass(InvalidData, PushError)
    return push.send("42", {"order": 5}) + len(push) + gone + len(names) + len(people)
'''

BAD = '''
from pushserver import Connection, PushServer, Settings

server = PushServer(Settings())
server.send(42, "an Id is text")                            # error
text: str = server.send("42", "how many, a number")         # error
server.broadcast()                                          # error
server.publish("news")                                      # error
server.every("1", lambda: "seconds are a number")           # error
server.brodcast("a slip")                                   # error
Settings(ping_intervall=5)                                  # error
Settings().workers = 5                                      # error
Settings(workers="four")                                    # error
people: list[str] = server.connections()                    # error


class Chat(Connection):
    def closed(self, code: str, reason: str | None = None) -> None:     # error
        self.subscribe(5)                                               # error
'''


def test_mypy_accepts_what_a_site_writes_and_finds_its_slips(tmp_path, request):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    found = mypy(request, tmp_path, "--follow-imports=silent", "good.py", "bad.py", path=str(ROOT))
    expected = {("bad.py", str(number)) for number, line in enumerate(BAD.split("\n"), 1)
                if line.endswith("# error")}
    assert found == expected
