"""Code run in a forked child of the test's own process."""
from __future__ import annotations

import os
import pickle
import warnings


def fork():
    """Fork; newer Pythons warn that this process has threads, which is what the tests are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def in_child(function):
    """Run a function in a forked child and return what it returns, or raise what it raises."""
    reader, writer = os.pipe()
    child = fork()
    if not child:
        code = 1
        try:
            try:
                said = True, function()
            except BaseException as error:
                said = False, error
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(said, pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    assert os.waitpid(child, 0) == (child, 0)
    succeeded, value = pickle.loads(data)
    if not succeeded:
        raise value
    return value
