// The official JavaScript client, as it comes from npm, told by lines of JSON what to do.
// node official_client.js URL OPTIONS: commands on stdin, replies and events on stdout.
"use strict";

const readline = require("node:readline");
const { Centrifuge } = require("centrifuge");
const WebSocket = require("ws");

const [, , url, given] = process.argv;
const { tokens = [], channelTokens = [], data = null } = JSON.parse(given);

function tell(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function taker(list, event) {
  return async () => {
    tell({ event });
    return list.length > 1 ? list.shift() : list[0];
  };
}

const options = { websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 100, data };
if (tokens.length) options.getToken = taker(tokens, "token");
const client = new Centrifuge(url, options);

client
  .on("connecting", ({ code, reason }) => tell({ event: "connecting", code, reason }))
  .on("connected", ({ client: name, data: answer }) =>
    tell({ event: "connected", client: name, data: answer }))
  .on("disconnected", ({ code, reason }) => tell({ event: "disconnected", code, reason }))
  .on("error", ({ error }) => tell({ event: "error", code: error.code }))
  .on("message", (found) => tell({ event: "message", data: found.data }))
  .on("subscribed", (ctx) => tell({ event: "server_subscribed", channel: ctx.channel,
    recovered: ctx.recovered, was_recovering: ctx.wasRecovering }))
  .on("unsubscribed", (ctx) => tell({ event: "server_unsubscribed", channel: ctx.channel }))
  .on("publication", (ctx) => tell({ event: "server_publication", channel: ctx.channel,
    data: ctx.data, offset: ctx.offset }));

function subscribe({ channel, token }) {
  const known = client.getSubscription(channel);
  const sub = known || client.newSubscription(channel, {
    minResubscribeDelay: 20, joinLeave: true, recoverable: true, positioned: true,
    ...(token ? { getToken: taker(channelTokens, "channel_token") } : {}),
  });
  if (!known) {
    sub.on("subscribed", (ctx) => tell({ event: "subscribed", channel, data: ctx.data,
      recoverable: ctx.recoverable, recovered: ctx.recovered, was_recovering: ctx.wasRecovering }))
      .on("unsubscribed", ({ code, reason }) =>
        tell({ event: "unsubscribed", channel, code, reason }))
      .on("publication", (ctx) => tell({ event: "publication", channel, data: ctx.data,
        offset: ctx.offset, user: ctx.info ? ctx.info.user : null, tags: ctx.tags || null }))
      .on("join", ({ info }) => tell({ event: "join", channel, user: info.user }))
      .on("leave", ({ info }) => tell({ event: "leave", channel, user: info.user }))
      .on("error", ({ error }) => tell({ event: "error", channel, code: error.code }));
  }
  sub.subscribe();
}

function publications(found) {
  return found.publications.map(({ data: payload, offset }) => ({ data: payload, offset }));
}

const commands = {
  connect: () => client.connect(),
  disconnect: () => client.disconnect(),
  subscribe,
  unsubscribe: ({ channel }) => client.getSubscription(channel).unsubscribe(),
  publish: async ({ channel, data: payload }) => { await client.publish(channel, payload); },
  rpc: async ({ method, data: payload }) => (await client.rpc(method, payload)).data,
  send: ({ data: payload }) => client.send(payload),
  presence: async ({ channel }) => (await client.presence(channel)).clients,
  presence_stats: async ({ channel }) => {
    const found = await client.presenceStats(channel);
    return { clients: found.numClients, users: found.numUsers };
  },
  history: async ({ channel, ...asked }) => {
    const found = await client.history(channel, asked);
    return { publications: publications(found), offset: found.offset, epoch: found.epoch };
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, do: name, ...asked } = JSON.parse(line);
  try {
    tell({ id, result: (await commands[name](asked)) ?? null });
  } catch (error) {
    tell({ id, error: error.code ?? String(error) });
  }
}).on("close", () => process.exit(0));
