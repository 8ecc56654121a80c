"""Clients of the tests against a real site."""
from __future__ import annotations

import contextlib

import pytest

from pushclient import PushClient
from tests.support.waiting import PATIENCE


@pytest.fixture
def start_client():
    """Start clients, by their URL and options; they are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(
            PushClient(url, **{"proxy": None, "timeout": PATIENCE, **options}))
