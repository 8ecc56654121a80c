"""What the HTTP servers of an engine need at a stop; only this file knows cheroot's threads."""
from __future__ import annotations

import threading
from queue import Empty
from typing import Any, Iterator

from cheroot.workers import threadpool
from cherrypy.process.servers import ServerAdapter

END = getattr(threadpool, "_SHUTDOWNREQUEST", None)


class Forwarding:
    """Stand in for an object: what a subclass does not have itself is the object's."""

    def __init__(self, original: Any) -> None:
        object.__setattr__(self, "original", original)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.original, name, value)


class _Ended(Forwarding):
    """A thread's server that has no more requests for it."""

    @property
    def requests(self) -> _Ended:
        """Return what stands in for the pool."""
        return self

    def get(self) -> object:
        """Return the request to end, in place of the pool."""
        return END


def end_after_page() -> None:
    """Have this thread end after its page, if the page handler has stopped the HTTP server.

    A pool ends by one request to end for each of its threads. This one would take its own only
    after the page, so a start in between hands that to a new thread, which ends at once, and the
    pool waits for ever for it to begin.
    """
    thread = threading.current_thread()
    if END is None or not isinstance(thread, threadpool.WorkerThread) or thread.server.ready \
            or isinstance(thread.server, _Ended):
        return
    pool = thread.server.requests
    thread.server = _Ended(thread.server)
    try:
        while True:
            left = pool._queue.get_nowait()
            if left is not END:
                left.close()    # a client that came too late
    except (AttributeError, Empty):
        pass


def leave_to_parent(bus: Any) -> None:
    """Have an engine's stop leave its HTTP servers alone, in a process that was forked from theirs.

    Their threads are not here, and waiting for them would have no end.
    """
    for adapter in adapters(bus):
        adapter.running = False


def adapters(bus: Any) -> Iterator[ServerAdapter]:
    """Yield those of an engine's listeners that run HTTP servers."""
    for listener in tuple(bus.listeners.get("stop", ())):
        adapter = getattr(listener, "__self__", None)
        if isinstance(adapter, ServerAdapter):
            yield adapter
