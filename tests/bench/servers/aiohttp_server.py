"""aiohttp, pushed to on its asyncio loop.

A short message is awaited connection by connection, which is the cheapest; a long one at all
connections together, because else the first that does not read would hold up the rest.
"""
from __future__ import annotations

import asyncio
import importlib.metadata

from aiohttp import WSMsgType, web

from .control import BACKLOG, Groups, LoopControl, options, tls_context

SHORT = 1024

groups = Groups()


async def kept(request):
    """Keep a connection in its group."""
    connection = web.WebSocketResponse(compress=False)
    await connection.prepare(request)
    Id = request.query["Id"]
    groups.add(request.path, Id, connection)
    try:
        async for _ in connection:
            pass
    finally:
        groups.remove(Id, connection)
    return connection


async def echo(request):
    """Send back what comes."""
    connection = web.WebSocketResponse(compress=False)
    await connection.prepare(request)
    async for message in connection:
        if message.type == WSMsgType.TEXT:
            await connection.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await connection.send_bytes(message.data)
    return connection


class Server:
    """See ``control``."""

    def __init__(self):
        self._tasks = set()

    def push(self, group, text):
        connections = list(groups.groups[group])
        if len(text) <= SHORT:
            return self._one_by_one(connections, text)
        task = asyncio.ensure_future(self._together(connections, text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one_by_one(self, connections, text):
        for connection in connections:
            try:
                await connection.send_str(text)
            except ConnectionError:
                pass

    async def _together(self, connections, text):
        await asyncio.gather(*(connection.send_str(text) for connection in connections),
                             return_exceptions=True)

    def send(self, Id, text):
        return groups.by_id[Id].send_str(text)

    def ids(self):
        return list(groups.by_id)

    def versions(self):
        return {"aiohttp": importlib.metadata.version("aiohttp")}


async def main():
    command = options()
    app = web.Application()
    app.add_routes([web.get("/all", kept), web.get("/a", kept), web.get("/b", kept),
                    web.get("/echo", echo)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG,
                       ssl_context=tls_context(command.tls))
    await site.start()
    control = LoopControl(Server())
    control.ready(runner.addresses[0][1])
    await control.run()


if __name__ == "__main__":
    asyncio.run(main())
