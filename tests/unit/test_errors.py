"""The exceptions: one root, the builtin kinds that a caller expects, the tree as it is drawn."""
from __future__ import annotations

import inspect
import re

import pytest

from pushserver import errors
from pushserver.errors import (ConnectionClosed, ForkedProcess, HandshakeRefused, InvalidData,
                               InvalidSetting, MessageTooLarge, PushError)


def exceptions():
    return {name: value for name, value in vars(errors).items()
            if inspect.isclass(value) and issubclass(value, BaseException)}


def test_every_exception_has_the_one_root():
    assert all(issubclass(kind, PushError) for kind in exceptions().values())


@pytest.mark.parametrize("kind, builtin", [
    (InvalidSetting, ValueError), (InvalidData, TypeError), (MessageTooLarge, ValueError),
    (ConnectionClosed, RuntimeError), (ForkedProcess, RuntimeError)])
def test_each_is_the_builtin_exception_that_a_caller_would_expect(kind, builtin):
    assert issubclass(kind, builtin)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn = re.findall(r"\+-- (\w+)(?:\s+\((\w+)\))?", errors.__doc__)
    assert {name for name, _ in drawn} == set(exceptions()) - {"PushError"}
    for name, builtin in drawn:
        bases = [base.__name__ for base in exceptions()[name].__bases__]
        assert bases == ["PushError", builtin] if builtin else bases == ["PushError"]


def test_a_refusal_carries_its_answer():
    refused = HandshakeRefused(429, "come later", {"Retry-After": "5"})
    assert (refused.status, refused.message) == (429, "come later")
    assert refused.headers == {"Retry-After": "5"}
    assert str(refused) == "come later"


def test_a_refusal_keeps_headers_of_its_own():
    headers = {"Allow": "GET"}
    HandshakeRefused(405, "use GET", headers).headers["Retry-After"] = "5"
    assert headers == {"Allow": "GET"}
    assert HandshakeRefused(400, "no").headers == {}
