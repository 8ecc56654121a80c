"""Echo servers written by others, each in a process of its own.

    python -m tests.support.third_party_servers NAME

Each prints its port, then the close code of each connection. The text "close" makes it close with
1000 and the reason "server".
"""
from __future__ import annotations

import asyncio
import sys

from tests.support.loopback import LOOPBACK

MAX = 1 << 22


def told(line: object) -> None:
    print(line, flush=True)


async def websockets() -> None:
    from websockets.asyncio.server import serve
    from websockets.exceptions import ConnectionClosed

    async def echo(connection):
        try:
            async for message in connection:
                if message == "close":
                    await connection.close(1000, "server")
                else:
                    await connection.send(message)
        except ConnectionClosed:
            pass
        told(connection.close_code)
    async with serve(echo, LOOPBACK, 0, max_size=MAX) as server:
        told(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()


async def tornado() -> None:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application
    from tornado.websocket import WebSocketHandler

    class Echo(WebSocketHandler):
        def on_message(self, message):
            if message == "close":
                self.close(1000, "server")
            else:
                self.write_message(message, binary=isinstance(message, bytes))

        def on_close(self):
            told(self.close_code)
    sockets = bind_sockets(0, LOOPBACK)
    HTTPServer(Application([("/", Echo)], websocket_max_message_size=MAX)).add_sockets(sockets)
    told(sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def aiohttp() -> None:
    from aiohttp import WSMsgType, web

    async def echo(request):
        connection = web.WebSocketResponse(max_msg_size=MAX)
        await connection.prepare(request)
        async for message in connection:
            if message.data == "close":
                await connection.close(code=1000, message=b"server")
            elif message.type == WSMsgType.TEXT:
                await connection.send_str(message.data)
            else:
                await connection.send_bytes(message.data)
        told(connection.close_code)
        return connection
    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    told(site._server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"websockets": websockets, "tornado": tornado, "aiohttp": aiohttp}[sys.argv[1]]())
