// push-channels.js as a program that the tests lead: node push-channels-driver.mjs URL [OPTIONS]
//
// OPTIONS are the client's, as JSON. It prints each event as a line of JSON and obeys lines of
// stdin: ["publish", channel, data] and so on, a method and its arguments; what a promise comes to
// is printed too. `asks` among the options names channels whose tokens it asks for, by printing
// ["token", channel] and taking ["give", token]; "" is the connection's token.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { PushClient } from "../../clients/browser/push-channels.js";

const require = createRequire(import.meta.url); // finds `ws` by NODE_PATH; import does not
const { WebSocket } = require("ws");
const [url, text = "{}"] = process.argv.slice(2);
const tell = (...what) => console.log(JSON.stringify(what));

const { asks = [], ...options } = JSON.parse(text);
const waiting = [];
const ask = (channel = "") => new Promise((done) => {
  waiting.push(done);
  tell("token", channel);
});
for (const name of asks.filter(Boolean)) {
  options.channels[name] = ask;
}
const client = new PushClient(url, { WebSocket, ...options,
  ...(asks.includes("") && { token: () => ask() }) });
const FIELDS = { open: [], close: ["code", "reason", "final"], state: ["state"], message: ["data"],
  publication: ["channel", "data", "offset"], gap: ["channel"],
  subscribed: ["channel", "recovered"], lost: ["channel", "code", "reason"],
  retry: ["channel", "reason"], join: ["channel", "info"], leave: ["channel", "info"] };
for (const [type, fields] of Object.entries(FIELDS)) {
  client.addEventListener(type, (event) => tell(type, ...fields.map((name) => event[name])));
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  const [method, ...args] = JSON.parse(line);
  if (method === "give") {
    waiting.shift()(...args);
    return;
  }
  try {
    tell(method, await client[method](...args) ?? null);
  } catch (error) {
    tell(method, error.name, error.message, error.code ?? null);
  }
});
process.stdin.unref();
