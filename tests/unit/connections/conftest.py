"""Fixtures of the tests of connections."""
from __future__ import annotations

import threading

import pytest


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()
