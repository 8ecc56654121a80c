"""Where the browser files are, in a checkout and in an installed wheel."""
from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def browser_dir() -> Path:
    """Return the folder that holds ``push-client.js`` and the demo files, for the staticdir tool.

    Raises:
        FileNotFoundError: they are not installed.
    """
    for folder in (PACKAGE / "browser", PACKAGE.parent / "clients" / "browser"):
        if (folder / "push-client.js").is_file():
            return folder
    raise FileNotFoundError("the browser files are missing: reinstall pushserver")
