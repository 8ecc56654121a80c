"""What the documents point to is there: their links, and the files that they name."""
from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [path.name for path in DOCUMENTS]

PATHS = [f"/{path.relative_to(ROOT)}{'/' * path.is_dir()}"
         for folder in ("pushserver", "clients", "tests", "docs")
         for path in (ROOT / folder).rglob("*")]
PATHS += [f"/{path.name}{'/' * path.is_dir()}" for path in ROOT.iterdir()]

ENDINGS = "py|pyi|js|mjs|d.ts|c|h|md|cfg".replace(".", r"\.")


def anchors(path):
    """Return the anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_files_that_are_named_are_there(path):
    """Names may leave out the beginning of a path, and have a ``*`` in them."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for name in re.findall(rf"`((?:[\w*-]+/)*[\w*-][\w.*-]*(?:\.(?:{ENDINGS})|[\w-]/))`", text):
        assert any(fnmatch(known, f"*/{name}") for known in PATHS), name
