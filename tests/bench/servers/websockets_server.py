"""websockets and its ``broadcast``, on its asyncio loop."""
from __future__ import annotations

import asyncio
import importlib.metadata

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

from .control import BACKLOG, Groups, LoopControl, options, split_target, tls_context

groups = Groups()


async def handler(connection):
    """Echo, or keep a connection in its group."""
    path, Id = split_target(connection.request.path)
    if path == "/echo":
        async for message in connection:
            await connection.send(message)
        return
    groups.add(path, Id, connection)
    try:
        await connection.wait_closed()
    finally:
        groups.remove(Id, connection)


class Server:
    """See ``control``."""

    def push(self, group, text):
        broadcast(groups.groups[group], text)

    def send(self, Id, text):
        return self._send(groups.by_id[Id], text)

    async def _send(self, connection, text):
        try:
            await connection.send(text)
        except ConnectionClosed:
            pass

    def ids(self):
        return list(groups.by_id)

    def versions(self):
        return {"websockets": importlib.metadata.version("websockets")}


async def main():
    command = options()
    server = await serve(handler, "127.0.0.1", 0, backlog=BACKLOG, compression=None,
                         ssl=tls_context(command.tls))
    control = LoopControl(Server())
    control.ready(server.sockets[0].getsockname()[1])
    await control.run()
    server.close(close_connections=False)


if __name__ == "__main__":
    asyncio.run(main())
