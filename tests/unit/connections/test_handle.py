"""What a connection does with its own socket: it never has to be looked up for that."""
from __future__ import annotations

import threading

from pushserver.channels.hub import Hub
from tests.support.bare_server import hosting
from tests.support.waiting import PATIENCE


def test_a_connection_takes_messages_while_it_is_given_its_id(monkeypatch):
    """Another thread may send between the hub's change of the Id and the end of ``rename``."""
    changed, go_on, rename = threading.Event(), threading.Event(), Hub.rename

    def slow(hub, member, Id):
        replaced = rename(hub, member, Id)
        changed.set()
        assert go_on.wait(PATIENCE)
        return replaced

    monkeypatch.setattr(Hub, "rename", slow)
    with hosting() as host:
        peer = host.join("anonymous")
        thread = threading.Thread(target=peer.connection.handle.rename, args=("ann",))
        thread.start()
        try:
            assert changed.wait(PATIENCE)
            peer.connection.send("meanwhile")
            assert peer.connection.subscribe("news")
            assert (peer.connection.Id, host.server.ids()) == ("ann", ["ann"])
        finally:
            go_on.set()
            thread.join()
        assert host.server.send("ann", "named") == 1
        assert (peer.next(), peer.next()) == ("meanwhile", "named")
