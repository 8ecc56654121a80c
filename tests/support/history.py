"""What the tests of histories share: a clock that stands still, and a look at a page."""
from __future__ import annotations


class FakeClock:
    """Return the time that a test has set in ``now``."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def offsets(page):
    """Return the offsets of a page's publications."""
    return [publication.offset for publication in page.publications]
