"""Locks that know which thread holds them, and a watch on what it does while it holds one.

While ``watching`` lasts, the locks of pushserver report each system call, each wake of another
thread and each call of a broker that a thread makes while it holds one.
"""
from __future__ import annotations

import _socket
import contextlib
import gc
import io
import select
import ssl
import sys
import threading

_real_lock, _real_rlock = threading.Lock, threading.RLock

_HELD = threading.local()

SYSTEM_MODULES = ("posix", "nt", "select", "_thread", "_ssl", "pushserver._native")
"""Modules in which any function may be a system call."""

SYSTEM_TYPES = tuple(kind for kind in (
    _socket.socket, ssl.SSLSocket, getattr(select, "epoll", None), getattr(select, "kqueue", None),
    io.FileIO, io.TextIOWrapper, io.BufferedWriter) if kind)
"""Types of which any method may be a system call."""

NO_SYSTEM_CALLS = ("get_ident", "get_native_id", "apply_mask", "blank", "fileno", "allocate_lock",
                   "daemon_threads_allowed")
"""The functions in these that are not."""


def held():
    """Return the locks that this thread holds."""
    if not hasattr(_HELD, "locks"):
        _HELD.locks = []
    return _HELD.locks


class WatchedLock:
    """A lock that notes which thread holds it by ``with``.

    If ``acquire`` and ``release`` are called, it is a doorbell: a release wakes its thread.
    """

    def __init__(self, lock, name, watch):
        self._lock, self._name, self._watch = lock, name, watch

    def __repr__(self):
        return self._name

    def __enter__(self):
        self._lock.acquire()
        held().append(self)

    def __exit__(self, *error):
        held().remove(self)
        self._lock.release()

    def acquire(self, blocking=True, timeout=-1):
        return self._lock.acquire(blocking, timeout)

    def release(self):
        self._watch.saw(f"waking the thread that waits for {self}")
        self._lock.release()

    def locked(self):
        return self._lock.locked()


class Watch:
    """What was done with a lock held: ``found`` has each call once, with the locks."""

    def __init__(self):
        self.found = set()
        self.broker_calls = set()

    def saw(self, what):
        """Note something that must not be done with a lock held."""
        if held():
            self.found.add((what, tuple(map(repr, held()))))

    def lock(self, make):
        """Return a factory of locks: watched ones for pushserver, ordinary ones for others."""
        def made():
            caller = sys._getframe(1)
            name = caller.f_globals.get("__name__", "")
            if not name.startswith("pushserver"):
                return make()
            return WatchedLock(make(), f"a lock of {name}", self)
        return made

    def profile(self, frame, event, function):
        """Check each call of a C function; see ``sys.setprofile``."""
        if event == "c_call" and getattr(_HELD, "locks", None) and _is_system_call(function):
            self.saw(f"{function.__qualname__} in {frame.f_code.co_qualname}"
                     if hasattr(frame.f_code, "co_qualname") else function.__qualname__)

    def broker(self, part):
        """Return a broker, or a part of one, whose calls are checked."""
        return _Called(part, self)


def _is_system_call(function):
    if function.__name__ in NO_SYSTEM_CALLS:
        return False
    owner = getattr(function, "__self__", None)
    return isinstance(owner, SYSTEM_TYPES) or function.__module__ in SYSTEM_MODULES \
        or (function.__module__, function.__name__) == ("time", "sleep")


class _Called:
    """Wrap a broker: no lock may be held, and the loop's thread must not call it."""

    def __init__(self, part, watch):
        self._part, self._watch = part, watch

    def __getattr__(self, name):
        value = getattr(self._part, name)
        if name in ("presence", "control"):
            return _Called(value, self._watch)

        def call(*args, **options):
            what = f"{type(self._part).__name__}.{name}"
            self._watch.broker_calls.add(what)
            self._watch.saw(what)
            if threading.current_thread().name == "pushserver-loop":
                self._watch.found.add((what, ("the loop's thread",)))
            return value(*args, **options)
        return call


@contextlib.contextmanager
def watching():
    """Watch the locks, threads and calls made in the block; yield the ``Watch``.

    What earlier tests have left is collected before: cheroot's files close sockets then.
    """
    gc.collect()
    watch = Watch()
    threading.Lock, threading.RLock = watch.lock(_real_lock), watch.lock(_real_rlock)
    before, before_all = sys.getprofile(), threading.getprofile()
    threading.setprofile(watch.profile)
    sys.setprofile(watch.profile)
    try:
        yield watch
    finally:
        sys.setprofile(before)
        threading.setprofile(before_all)
        threading.Lock, threading.RLock = _real_lock, _real_rlock
