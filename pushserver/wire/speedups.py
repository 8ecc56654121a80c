"""The optional C extension, or None where it was not built.

``PUSHSERVER_PURE=1`` in the environment turns it off, for tests and comparisons.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = ["HAVE_NATIVE", "SKIPPED", "native"]

if TYPE_CHECKING:
    from .. import _native as native
    HAVE_NATIVE = True
else:
    native = None
    if not os.environ.get("PUSHSERVER_PURE"):
        try:
            from .. import _native as native
        except ImportError:
            pass
    HAVE_NATIVE = native is not None

SKIPPED = -2
"""What ``send_many`` and ``send_each`` return for a target that is None."""
