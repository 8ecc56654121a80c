// Many of the browser's clients in channels, in one Node: see channel_herd.py, which it is like.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { PushClient } from "../../clients/browser/push-channels.js";

const PATIENCE = 30_000;
const require = createRequire(import.meta.url); // finds `ws` by NODE_PATH; import does not
const { WebSocket } = require("ws");
const [url, options] = process.argv.slice(2);
const { names, channels } = JSON.parse(options);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const members = names.map((name) => {
  const member = { name, logs: Object.fromEntries(channels.map((channel) => [channel, []])),
    gaps: [], opened: 0 };
  member.client = new PushClient(url, { Id: name, channels, WebSocket });
  member.client.addEventListener("publication", ({ channel, offset, data }) =>
    member.logs[channel].push([offset, data]));
  member.client.addEventListener("gap", ({ channel }) => member.gaps.push(channel));
  member.client.addEventListener("open", () => (member.opened += 1));
  return member;
});

function faults({ logs }, expected) {
  return Object.entries(expected).flatMap(([channel, log]) => {
    const mine = logs[channel];
    const at = log.findIndex((pair, index) => String(mine[index]) !== String(pair));
    return at >= 0 ? [`${channel}: ${mine[at]} instead of ${log[at]}, which is number ${at}`]
      : mine.length > log.length ? [`${channel}: ${mine.length} instead of ${log.length}`] : [];
  });
}

createInterface({ input: process.stdin }).once("line", async (line) => {
  const expected = JSON.parse(line);
  const has = ({ logs }) => Object.entries(expected).every(
    ([channel, log]) => logs[channel].length >= log.length);
  for (const end = Date.now() + PATIENCE; Date.now() < end && !members.every(has);) {
    await wait(50);
  }
  await wait(300); // for one too many
  for (const member of members) {
    const { name, gaps, opened } = member;
    console.log(JSON.stringify({ name, wrong: faults(member, expected), gaps, opened }));
  }
  members.forEach(({ client }) => client.close());
  process.stdin.destroy();
});
