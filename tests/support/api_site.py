"""A site with the HTTP API, mounted as its documentation says, for its tests."""
from __future__ import annotations

import contextlib

import cherrypy
from cherrypy._cptree import Tree

from pushserver import CentrifugeConnection, ChannelRule, PushAPI
from tests.support.api_client import KEY
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.site import Root, running_site

SECOND_KEY = "another key that is long enough".replace(" ", "-")

RULES = (ChannelRule("news:", history=10, see_presence="subscribers"),
         ChannelRule("met:", see_presence="anyone", join_leave=True))


class Anonymous(CentrifugeConnection):
    anonymous = True


def root():
    class Connection:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Anonymous)
        def websocket(self, Id=None):
            """Accept everybody."""

    class Site(Root):
        connection = Connection()
    return Site()


@contextlib.contextmanager
def serving(keys=(KEY, SECOND_KEY), **options):
    """Serve a site with the API mounted as its documentation says."""
    tree = Tree()
    with running_site(tree, plugin={"channels": RULES}, **options.pop("site", {})) as site:
        tree.mount(root(), "/")
        tree.mount(PushAPI(site.push, keys=keys, **options), "/api")
        yield site


def user(site, Id="42"):
    """Return a user's connected client, and its name."""
    client = RawClient(site, f"{PATH}?Id={Id}")
    return client, client.connect()["client"]
