"""Clients written by others, each reading a number of messages from an address.

Each function takes the address and the number and returns a list of (message, seconds since 1970
at its receipt).
"""
from __future__ import annotations

import asyncio
import json
import subprocess
import time

from tests.support.installed import CHROMIUM_ARGUMENTS, chromium, node, node_modules

TIMEOUT = 60.0


def websockets(url, count):
    from websockets.sync.client import connect
    with connect(url) as connection:
        return [(connection.recv(TIMEOUT), time.time()) for _ in range(count)]


def websocket_client(url, count):
    import websocket
    connection = websocket.create_connection(url, timeout=TIMEOUT)
    try:
        return [(connection.recv(), time.time()) for _ in range(count)]
    finally:
        connection.close()


def tornado(url, count):
    from tornado.websocket import websocket_connect

    async def read():
        connection = await websocket_connect(url)
        found = [(await connection.read_message(), time.time()) for _ in range(count)]
        connection.close()
        await connection.read_message()
        return found
    return asyncio.run(asyncio.wait_for(read(), TIMEOUT))


def aiohttp(url, count):
    import aiohttp

    async def read():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url) as connection:
                return [(await connection.receive_str(), time.time()) for _ in range(count)]
    return asyncio.run(asyncio.wait_for(read(), TIMEOUT))


def ws4py(url, count):
    from ws4py.client.threadedclient import WebSocketClient
    found = []

    class Reader(WebSocketClient):
        def received_message(self, message):
            found.append((str(message), time.time()))
            if len(found) == count:
                self.close()

    client = Reader(url)
    client.connect()
    client._th.join(TIMEOUT)
    return found


NODE_READER = """
const {createRequire} = require("node:module");
const WebSocket = createRequire(process.argv[1] + "/")("ws");
const found = [], socket = new WebSocket(process.argv[2]);
socket.on("message", (data) => {
  found.push([data.toString(), Date.now() / 1000]);
  if (found.length === Number(process.argv[3])) socket.close();
});
socket.on("close", () => console.log(JSON.stringify(found)));
"""


def node_ws(url, count):
    script = [node(), "-e", NODE_READER, str(node_modules("ws").parent), url, str(count)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    return [tuple(item) for item in json.loads(done.stdout)]


CHROMIUM_READER = """
([url, count]) => new Promise((resolve, reject) => {
  const found = [], socket = new WebSocket(url);
  socket.onerror = () => reject(new Error("no connection"));
  socket.onmessage = (event) => {
    found.push([event.data, Date.now() / 1000]);
    if (found.length === count) { socket.close(); resolve(found); }
  };
})
"""


def in_chromium(url, count):
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        page.goto(url.replace("ws", "http", 1).split("/websocket")[0] + "/")
        found = page.evaluate(CHROMIUM_READER, [url, count])
        browser.close()
    return [tuple(item) for item in found]


READERS = {"websockets": websockets, "websocket-client": websocket_client, "Tornado": tornado,
           "aiohttp": aiohttp, "ws4py": ws4py, "Node ws": node_ws, "Chromium": in_chromium}
