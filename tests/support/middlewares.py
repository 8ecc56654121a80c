"""WSGI middleware of every kind that is around CherryPy sites, each as small as it can be.

``WORKING`` leave a 101 a 101, each in its own way; ``PREVENTING`` do not.
"""
from __future__ import annotations

import gzip
import threading
from wsgiref.validate import validator

PAGE_HEADERS = [("Content-Type", "text/html"), ("Content-Length", "0"), ("X-Middleware", "ours")]
"""What a middleware that knows nothing of WebSockets puts in the place of an answer's headers."""


def call_in_a_thread(function):
    """Return what a function returns on another thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


class Answer:
    """What an application answers, for a middleware that changes it before passing it on."""

    def __init__(self, app, environ):
        self.iterable = app(environ, self.start)
        self.body = b"".join(self.iterable)

    def start(self, status, headers, exc_info=None):
        self.status, self.headers = status, headers
        return lambda data: None


def passes_on(app):
    return lambda environ, start_response: app(environ, start_response)


def closes_at_the_end_of_the_iteration(app):
    """As OpenTelemetry does: the server has written nothing by then."""
    def middleware(environ, start_response):
        iterable = app(environ, start_response)
        try:
            yield from iterable
        finally:
            iterable.close()
    return middleware


def closes_before_it_returns(app):
    """As Werkzeug's profiler and New Relic do."""
    def middleware(environ, start_response):
        iterable = app(environ, start_response)
        body = list(iterable)
        iterable.close()
        return body
    return middleware


def closes_where_the_iteration_ends(app):
    """Close while ``StopIteration`` is being handled."""
    def middleware(environ, start_response):
        iterable = app(environ, start_response)
        try:
            return [next(iterable)]
        except StopIteration:
            iterable.close()
            return []
    return middleware


def closes_twice(app):
    def middleware(environ, start_response):
        iterable = app(environ, start_response)
        iterable.close()
        iterable.close()
        return []
    return middleware


def closes_on_another_thread(app):
    def middleware(environ, start_response):
        iterable = app(environ, start_response)
        call_in_a_thread(iterable.close)
        return []
    return middleware


def never_closes(app):
    return lambda environ, start_response: list(app(environ, start_response))


def closes_too_late(app):
    """Close an answer when the next request comes."""
    kept = []

    def middleware(environ, start_response):
        while kept:
            kept.pop().close()
        kept.append(app(environ, start_response))
        return list(kept[0])
    return middleware


def iterates_on_another_thread(app):
    def middleware(environ, start_response):
        iterable = app(environ, start_response)
        return call_in_a_thread(lambda: list(iterable))
    return middleware


def iterates_twice(app):
    def middleware(environ, start_response):
        iterable = app(environ, start_response)
        return list(iterable) + list(iterable)
    return middleware


def starts_late(app):
    """Call ``start_response`` behind the first item."""
    def middleware(environ, start_response):
        answer = Answer(app, environ)
        yield b""
        start_response(answer.status, answer.headers)
        yield answer.body
        answer.iterable.close()
    return middleware


def buffers(app):
    """As WebOb does: also count the body."""
    def middleware(environ, start_response):
        answer = Answer(app, environ)
        size = ("Content-Length", str(len(answer.body)))
        start_response(answer.status, [*answer.headers, size])
        return [answer.body]
    return middleware


def writes(app):
    """Use what ``start_response`` returns, as PEP 3333 allows."""
    def middleware(environ, start_response):
        answer = Answer(app, environ)
        start_response(answer.status, answer.headers)(answer.body)
        answer.iterable.close()
        return []
    return middleware


def compresses(app):
    def middleware(environ, start_response):
        answer = Answer(app, environ)
        start_response(answer.status, [*answer.headers, ("Content-Encoding", "gzip"),
                                       ("Vary", "Accept-Encoding")])
        return [gzip.compress(answer.body)]
    return middleware


def adds_to_the_body(app):
    def middleware(environ, start_response):
        yield from app(environ, start_response)
        yield b"<!-- made by -->"
    return middleware


def replaces_the_headers(app):
    def middleware(environ, start_response):
        return app(environ, lambda status, headers, exc_info=None:
                   start_response(status, PAGE_HEADERS, exc_info))
    return middleware


def keeps_connections_alive(app):
    def middleware(environ, start_response):
        return app(environ, lambda status, headers, exc_info=None: start_response(
            status, [("Connection", "Keep-Alive"), ("Transfer-Encoding", "chunked")], exc_info))
    return middleware


def catches_all(app):
    """As error reporters do."""
    def middleware(environ, start_response):
        try:
            iterable = iter(app(environ, start_response))
            while True:
                try:
                    yield next(iterable)
                except StopIteration:
                    break
        except BaseException:
            start_response("500 Sorry", PAGE_HEADERS)
            yield b""
    return middleware


def calls_twice(app):
    """As those do that try again."""
    def middleware(environ, start_response):
        Answer(app, environ)
        return app(environ, start_response)
    return middleware


def fails_to_close(app):
    class Iterable(list):
        def close(self):
            raise ValueError("a bug of the middleware")
    return lambda environ, start_response: Iterable(app(environ, start_response))


WORKING = (passes_on, validator, closes_at_the_end_of_the_iteration, closes_before_it_returns,
           closes_where_the_iteration_ends, closes_twice, closes_on_another_thread, never_closes,
           closes_too_late, iterates_on_another_thread, iterates_twice, starts_late, buffers,
           writes, compresses, adds_to_the_body, replaces_the_headers, keeps_connections_alive,
           catches_all, calls_twice, fails_to_close)


def answers_otherwise(app):
    """Know of no 101, and answer 200 in its place."""
    def middleware(environ, start_response):
        Answer(app, environ)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"done"]
    return middleware


def answers_without_an_end(app):
    """Answer with a stream in its place."""
    def middleware(environ, start_response):
        Answer(app, environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        while True:
            yield b"more " * 1000
    return middleware


def fails_before_the_start(app):
    def middleware(environ, start_response):
        Answer(app, environ)
        raise ValueError("a bug of the middleware")
    return middleware


def fails_behind_the_end(app):
    """Raise when all of the 101 has been made, but not written yet."""
    def middleware(environ, start_response):
        yield from app(environ, start_response)
        raise ValueError("a bug of the middleware")
    return middleware


def refuses_to_start(app):
    """Raise inside of ``start_response``, and so in CherryPy, which answers 500."""
    def middleware(environ, start_response):
        def start(status, headers, exc_info=None):
            if status.startswith("101"):
                raise ValueError("a bug of the middleware")
            return start_response(status, headers, exc_info)
        return app(environ, start)
    return middleware


def never_starts(app):
    def middleware(environ, start_response):
        Answer(app, environ)
        return []
    return middleware


def calls_on_another_thread(app):
    def middleware(environ, start_response):
        return call_in_a_thread(lambda: list(app(environ, start_response)))
    return middleware


PREVENTING = {answers_otherwise: 200, fails_before_the_start: 500,
              fails_behind_the_end: 500, refuses_to_start: 500, never_starts: 500,
              calls_on_another_thread: 501}
"""With the status that a client gets."""
