"""Clients that others wrote read the demo site's ticks."""
import re

import pytest

from tests.support.programs import demo
from tests.support.third_party_clients import READERS

TICK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the peers' own making
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", READERS)
def test_reads_ticks(name):
    with demo("--interval", "0.2") as process:
        found = READERS[name](f"ws://127.0.0.1:{process.port}/websocket?Id=42", 5)
    texts = [text for text, _ in found]
    assert len(texts) == 5 and all(TICK.fullmatch(text) for text in texts)
    assert texts == sorted(set(texts))
