"""picows, pushed to on its asyncio loop."""
from __future__ import annotations

import asyncio
import importlib.metadata

from picows import WSListener, WSMsgType, ws_create_server

from .control import BACKLOG, Groups, LoopControl, options, split_target, tls_context

groups = Groups()


class Kept(WSListener):
    """A connection in a group."""

    def __init__(self, target):
        super().__init__()
        self.path, self.Id = split_target(target)

    def on_ws_connected(self, transport):
        groups.add(self.path, self.Id, transport)

    def on_ws_disconnected(self, transport):
        groups.remove(self.Id, transport)


class Echo(WSListener):
    """Send back what comes."""

    def on_ws_frame(self, transport, frame):
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def listener(request):
    """Return who listens to a new connection."""
    target = request.path.decode() if isinstance(request.path, bytes) else request.path
    return Echo() if target.startswith("/echo") else Kept(target)


class Server:
    """See ``control``."""

    def push(self, group, text):
        data = text.encode()
        for transport in list(groups.groups[group]):
            transport.send(WSMsgType.TEXT, data)

    def send(self, Id, text):
        groups.by_id[Id].send(WSMsgType.TEXT, text.encode())

    def ids(self):
        return list(groups.by_id)

    def versions(self):
        return {"picows": importlib.metadata.version("picows")}


async def main():
    command = options()
    server = await ws_create_server(listener, "127.0.0.1", 0, backlog=BACKLOG,
                                    ssl=tls_context(command.tls))
    control = LoopControl(Server())
    control.ready(server.sockets[0].getsockname()[1])
    await control.run()


if __name__ == "__main__":
    asyncio.run(main())
