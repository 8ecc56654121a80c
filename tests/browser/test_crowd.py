"""A crowd in the chat: everybody sees everything in one order."""
import pytest

from tests.support.programs import program

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_every_page_has_every_line_in_one_order():
    with program("-m", "tests.crowd_of_chatters", "--clients", "50", "--pages", "2",
                 "--seconds", "5") as process:
        out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, ""), out
    assert "every line once and in the same order" in out
