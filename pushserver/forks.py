"""What takes the place of a server's parts in processes that have no connections."""
from __future__ import annotations

import logging
import sys
from typing import Any, NoReturn

from .errors import ForkedProcess

logger = logging.getLogger(__name__)


class Elsewhere:
    """Stand in for a part, or a lock, whose original lives on in the parent process.

    Every use is an error, so that the code in the process that serves needs no checks.
    """

    def refuse(self, *args: Any) -> NoReturn:
        """Raise the error.

        Raises:
            ForkedProcess: always.
        """
        raise ForkedProcess("this process was forked from the one that holds the connections: push "
                            "through its HTTP API (PushAPI), or start the server here with start()")

    __getattr__ = refuse
    __call__ = __len__ = __enter__ = refuse

    def __exit__(self, *error: object) -> None:
        """Never get here."""


ELSEWHERE: Any = Elsewhere()
"""The one that serves for all parts."""


class Unstarted:
    """Stand in for a part until the server starts: a worker process may be waiting in vain.

    What is pushed before a start is ignored. In a process of ``multiprocessing``, where the site's
    modules were imported once more but no engine runs, the first use is logged.
    """

    _is_told = False

    def __init__(self, part: Any) -> None:
        self.part = part

    def __getattr__(self, name: str) -> Any:
        if not Unstarted._is_told and _is_worker_process():
            Unstarted._is_told = True
            logger.warning("this process has not started the push server: what it pushes reaches "
                           "no one. Push through the HTTP API (PushAPI) of the process that has")
        return getattr(self.part, name)


def _is_worker_process() -> bool:
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and multiprocessing.parent_process() is not None
