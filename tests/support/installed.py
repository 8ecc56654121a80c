"""What some tests need: Chromium, Node, packages. Without it they are skipped; on CI they fail."""
from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tests.support.programs import ROOT

CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-gpu",
                      "--disable-background-networking", "--disable-component-update",
                      "--disable-sync"]


def missing(what, install):
    """Skip a test that lacks something; fail it where all tests must run."""
    text = f"{what} is not installed: {install}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def needed_module(name, package):
    """Skip a test that lacks a Python package; fail it on CI."""
    if importlib.util.find_spec(name) is None:
        missing(package, f"python -m pip install {package}")


def chromium():
    """Return the path of Chromium."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or \
        missing("Chromium", "apt-get install chromium")


def node(*packages):
    """Return the path of Node, which finds these packages from anywhere in the repository."""
    for package in packages:
        node_modules(package)
    return shutil.which("node") or missing("Node", "apt-get install nodejs")


def node_modules(package):
    """Return the folder from which Node can load a package."""
    folders = [Path(path) for path in os.environ.get("NODE_PATH", "").split(os.pathsep) if path]
    for folder in [ROOT / "node_modules", *folders]:
        if (folder / package).is_dir():
            return folder
    return missing(f"the npm package {package}", f"npm install {package}")
