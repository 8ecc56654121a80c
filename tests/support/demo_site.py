"""The demo site, and people who use it, for its tests."""
from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from urllib.parse import quote

from tests.support.site import running_site


@contextlib.contextmanager
def serving(plugin=None, **pages):
    """Serve demos by name, each a class that takes the plugin: ``serving(game=Game)``."""
    root = SimpleNamespace()
    with running_site(root, plugin=plugin) as site:
        for name, page in pages.items():
            setattr(root, name, page(site.push))
        site.root = root
        yield site


class Person:
    """One person's window: a socket that speaks JSON.

    Args:
        site: the running site.
        path: of the socket, without its query.
        Id: the person's; None: the page says who it is.
        query: the rest of the query.
        options: for the handshake.
    """

    def __init__(self, site, path, Id=None, query="", **options):
        named = "" if Id is None else f"?Id={quote(Id)}{query}"
        self.client = site.client(f"{path}{named}", **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()

    def leave(self):
        """Close in good order, unless already closed."""
        with contextlib.suppress(EOFError, OSError):
            self.client.hang_up()
        self.client.close()

    def tell(self, data):
        """Send text as it is, anything else as JSON."""
        self.client.text(data if isinstance(data, str) else json.dumps(data))

    def hear(self):
        """Return the next message."""
        return json.loads(self.client.message())

    def hear_of(self, kind):
        """Return the next message of a type, skipping others."""
        while True:
            message = self.hear()
            if message["type"] == kind:
                return message


WRONG = ["", "hello", "5", "null", "[]", "{}", '"text"', '{"text": 5}', '{"text": null}',
         '{"text": ""}', '{"text": " \\n "}', '{"text": "\\ud800"}', '{"text": ["x"]}',
         '{"text": "%s"}' % ("x" * 1001), "[" * 60_000, '{"a":' * 10_000, '{"text": "x"',
         '{"text": NaN}']
"""What a client could send instead of ``{"text": ...}``."""
