"""What the tests of the handshake share: refusals, acceptances, and hooks of other tools."""
from __future__ import annotations

import cherrypy
import pytest

from tests.support.raw_client import Refused


def refusal(site, path="/websocket?Id=42", **options):
    """Return how a handshake was refused, after the checks common to every refusal."""
    opened = len(site.push)
    with site.socket() as client:
        with pytest.raises(Refused) as caught:
            client.handshake(path, **options)
        refused = caught.value
        check_plain_text(refused)
        assert len(site.push) == opened
        site.push.broadcast("not for those that were refused")
        assert client.at_end() and client.buffer == b""
    return refused


def check_plain_text(refused):
    """Check that an answer is one line that a program can show, with no header of a 101."""
    text = refused.body.decode("utf-8")
    assert refused.headers["Content-Type"] == "text/plain;charset=utf-8"
    assert text.endswith("\n") and text.count("\n") == 1 and len(text) > 10
    assert "Traceback" not in text and "<" not in text
    assert "Sec-WebSocket-Accept" not in refused.headers
    if refused.status != 426:
        assert refused.headers["Connection"] == "close"
        assert "Upgrade" not in refused.headers


def accepted(site, path="/websocket?Id=42", **options):
    """Shake hands, close, and return the answer's headers."""
    with site.socket() as client:
        headers = client.handshake(path, **options)
        assert client.hang_up() == 1000
        return headers


def hook(point, action, *, path="/", priority=50, **config):
    """Return a configuration with a hook, as a tool of the site would attach it."""
    def run():
        return action()
    run.priority = priority
    return {path: {f"hooks.{point}": run, **config}}


def raising(error):
    """Return a function that raises, once for each request."""
    def fail():
        request = cherrypy.serving.request
        if not getattr(request, "has_failed", False):
            request.has_failed = True
            raise error
    return fail
