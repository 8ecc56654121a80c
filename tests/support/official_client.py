"""The official Python client, as it comes from PyPI, controlled by lines of JSON.

``python -m tests.support.official_client URL OPTIONS``: commands on stdin, replies and events on
stdout.
"""
from __future__ import annotations

import asyncio
import json
import sys

from centrifuge import (CentrifugeError, Client, ClientEventHandler, StreamPosition,
                        SubscriptionEventHandler)


def tell(**line):
    print(json.dumps(line), flush=True)


def taker(tokens, event):
    async def take(*_):
        tell(event=event)
        return tokens.pop(0) if len(tokens) > 1 else tokens[0]
    return take


class Events(ClientEventHandler):
    async def on_connecting(self, ctx):
        tell(event="connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx):
        tell(event="connected", client=ctx.client, data=ctx.data)

    async def on_disconnected(self, ctx):
        tell(event="disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx):
        tell(event="error", code=ctx.code)

    async def on_subscribed(self, ctx):
        tell(event="server_subscribed", channel=ctx.channel, recovered=ctx.recovered,
             was_recovering=ctx.was_recovering)

    async def on_unsubscribed(self, ctx):
        tell(event="server_unsubscribed", channel=ctx.channel)

    async def on_publication(self, ctx):
        tell(event="server_publication", channel=ctx.channel, data=ctx.pub.data,
             offset=ctx.pub.offset)


class SubscriptionEvents(SubscriptionEventHandler):
    def __init__(self, channel):
        self.channel = channel

    def tell(self, event, **line):
        tell(event=event, channel=self.channel, **line)

    async def on_subscribed(self, ctx):
        self.tell("subscribed", data=ctx.data, recoverable=ctx.recoverable,
                  recovered=ctx.recovered, was_recovering=ctx.was_recovering)

    async def on_unsubscribed(self, ctx):
        self.tell("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx):
        self.tell("publication", data=ctx.pub.data, offset=ctx.pub.offset,
                  user=ctx.pub.info.user if ctx.pub.info else None, tags=ctx.pub.tags or None)

    async def on_join(self, ctx):
        self.tell("join", user=ctx.info.user)

    async def on_leave(self, ctx):
        self.tell("leave", user=ctx.info.user)

    async def on_error(self, ctx):
        self.tell("error", code=ctx.code)


class Commands:
    def __init__(self, client, channel_tokens):
        self.client = client
        self.channel_tokens = channel_tokens

    async def connect(self):
        await self.client.connect()

    async def disconnect(self):
        await self.client.disconnect()

    async def subscribe(self, channel, token=False):
        known = self.client.get_subscription(channel)
        if known is None:
            options = {"get_token": taker(self.channel_tokens, "channel_token")} if token else {}
            known = self.client.new_subscription(
                channel, SubscriptionEvents(channel), min_resubscribe_delay=0.02, join_leave=True,
                recoverable=True, positioned=True, **options)
        await known.subscribe()

    async def unsubscribe(self, channel):
        await self.client.get_subscription(channel).unsubscribe()

    async def publish(self, channel, data):
        await self.client.publish(channel, data)

    async def rpc(self, method, data):
        return (await self.client.rpc(method, data)).data

    async def presence(self, channel):
        found = await self.client.presence(channel)
        return {name: {"client": info.client, "user": info.user}
                for name, info in found.clients.items()}

    async def presence_stats(self, channel):
        found = await self.client.presence_stats(channel)
        return {"clients": found.num_clients, "users": found.num_users}

    async def history(self, channel, limit=0, since=None, reverse=False):
        position = None if since is None else StreamPosition(**since)
        found = await self.client.history(channel, limit=limit, since=position, reverse=reverse)
        return {"publications": [{"data": one.data, "offset": one.offset}
                                 for one in found.publications],
                "offset": found.offset, "epoch": found.epoch}


async def main(url, options):
    tokens = options.get("tokens") or []
    client = Client(url, Events(), get_token=taker(tokens, "token") if tokens else None,
                    min_reconnect_delay=0.02, max_reconnect_delay=0.1, data=options.get("data"),
                    proxy=None)
    commands = Commands(client, options.get("channelTokens") or [])
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def run(number, name, asked):
        try:
            tell(id=number, result=await getattr(commands, name)(**asked))
        except CentrifugeError as error:
            tell(id=number, error=getattr(error, "code", repr(error)))

    running = set()
    while line := await reader.readline():
        asked = json.loads(line)
        running.add(asyncio.ensure_future(run(asked.pop("id"), asked.pop("do"), asked)))
    await client.disconnect()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
