// Tokens of push-channels.js, without a network.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { PushClient } from "../../clients/browser/push-channels.js";
import { FakeSocket, begin, end, newest, pass } from "./fakes.mjs";

beforeEach(() => begin(0.5));
afterEach(end);

const soon = () => new Promise((done) => setImmediate(done));
const sent = () => newest().sent.map((line) => JSON.parse(line));
const last = () => sent().at(-1);
const say = (line) => newest().receive(JSON.stringify(line));
const answer = (name, result) => say({ id: last().id, [name]: result });
const refuse = (code, message, temporary) =>
  say({ id: last().id, error: { code, message, temporary } });

/** Return a connected client, and what it says of its channels. */
async function connected(options, result = {}) {
  const made = new PushClient("ws://example.org/", { WebSocket: FakeSocket, ...options });
  const said = [];
  for (const type of ["subscribed", "gap", "lost", "retry", "publication"]) {
    made.addEventListener(type, ({ channel, reason }) =>
      said.push([type, channel, reason].filter(Boolean).join(" ")));
  }
  await welcome(result);
  return { client: made, said };
}

async function welcome(result) {
  newest().open();
  await soon();
  say({ id: last().id, connect: { client: "me", ...result } });
  await soon();
}

/** Return a function that makes tokens "t1", "t2", ..., or throws or returns what it is given. */
function maker(...odd) {
  const get = (channel) => {
    get.asked.push(channel);
    const next = odd.shift();
    if (next instanceof Error) {
      throw next;
    }
    return next === undefined ? `t${get.asked.length}` : next;
  };
  get.asked = [];
  return get;
}

test("a channel's token is text, or made anew for each subscription", async () => {
  const get = maker();
  const { client } = await connected({ channels: { a: "fixed", b: get,
    c: { token: get, offset: 3, epoch: "e" } } });
  assert.deepEqual(sent().slice(1).map(({ subscribe }) => subscribe), [
    { channel: "a", token: "fixed" }, { channel: "b", token: "t1" },
    { channel: "c", recover: true, offset: 3, epoch: "e", token: "t2" }]);
  newest().end();
  pass(1);
  await welcome();
  assert.deepEqual(get.asked, ["b", "c", "b", "c"]);
  client.subscribe("d", get);
  await soon();
  assert.deepEqual(last().subscribe, { channel: "d", token: "t5" });
});

for (const wish of [{ token: "" }, { token: 5 }, "", true, { token: "t", offset: 5 }]) {
  const text = JSON.stringify(wish);
  test(`this is no wish for a channel: ${text}`, () => {
    assert.throws(() => new PushClient("ws://example.org/",
      { WebSocket: FakeSocket, channels: { a: wish } }), TypeError);
  });
}

test("a function that fails is asked again, ever later, and disturbs no other channel", async () => {
  const get = maker(new Error("not now"), new Error("nor now"));
  const { said } = await connected({ channels: { a: get, b: null } });
  answer("subscribe", {});
  assert.deepEqual(said, ["retry a no token: not now", "subscribed b"]);
  pass(0.25);
  await soon();
  assert.equal(get.asked.length, 1);
  pass(0.05);
  await soon();
  pass(0.5);
  await soon();
  assert.equal(get.asked.length, 2);
  pass(0.05);
  await soon();
  assert.deepEqual(last().subscribe, { channel: "a", token: "t3" });
});

for (const [what, made] of [["nothing", ""], ["null", null], ["no text", 5]]) {
  test(`a function that makes ${what} loses its channel`, async () => {
    const { said, client } = await connected({ channels: { a: maker(made) } });
    assert.match(said.join(), /^lost a (permission denied: the token function returned none|the token .*)$/);
    pass(60);
    assert.equal(sent().length, 1);
    assert.equal(client.state, "open");
  });
}

test("a function that does not return is asked again", async () => {
  const get = maker(new Promise(() => {}));
  const { said } = await connected({ channels: { a: get }, timeout: 5 });
  pass(5);
  assert.deepEqual(said, ["retry a no token: the function has not returned in time"]);
  pass(0.5);
  await soon();
  assert.deepEqual(last().subscribe, { channel: "a", token: "t2" });
});

test("an expired token is replaced by the function's next, text is final", async () => {
  const { said } = await connected({ channels: { a: maker() } });
  refuse(109, "token expired");
  assert.deepEqual(said, ["retry a 109: token expired"]);
  pass(0.5);
  await soon();
  assert.deepEqual(last().subscribe, { channel: "a", token: "t2" });
  const fixed = await connected({ channels: { a: "fixed" } });
  refuse(109, "token expired");
  assert.deepEqual(fixed.said, ["lost a token expired"]);
});

test("a token that is refused loses the channel", async () => {
  const { said } = await connected({ channels: { a: maker() } });
  refuse(103, "permission denied");
  assert.deepEqual(said, ["lost a permission denied"]);
});

test("a channel's token is refreshed before it expires, without leaving", async () => {
  const get = maker();
  const { said, client } = await connected({ channels: { a: get } });
  client.addEventListener("expires", () => said.push("what is for us only"));
  answer("subscribe", { expires: true, ttl: 100 });
  pass(84);
  assert.equal(get.asked.length, 1);
  pass(1.1);
  await soon();
  assert.deepEqual(last().sub_refresh, { channel: "a", token: "t2" });
  answer("sub_refresh", { expires: true, ttl: 10 });
  pass(8.6);
  await soon();
  assert.deepEqual(last().sub_refresh, { channel: "a", token: "t3" });
  answer("sub_refresh", {});
  pass(1000);
  assert.equal(get.asked.length, 3);
  assert.deepEqual(said, ["subscribed a"]);
});

test("a refresh that fails is tried again, and the channel stays", async () => {
  const get = maker("t1", new Error("not now"), "", "old");
  const { said } = await connected({ channels: { a: get } });
  answer("subscribe", { expires: true, ttl: 10 });
  for (const seconds of [8.6, 0.5, 1]) {
    pass(seconds);
    await soon();
  }
  assert.deepEqual(last().sub_refresh, { channel: "a", token: "old" });
  refuse(109, "token expired");
  pass(2);
  await soon();
  answer("sub_refresh", {});
  say({ push: { channel: "a", pub: { data: 1 } } });
  assert.deepEqual(said, ["subscribed a", "retry a no token: not now",
    "retry a 103: permission denied: the token function returned none", "retry a 109: token expired",
    "publication a"]);
});

test("the connection's token is refreshed", async () => {
  const { said, client } = await connected({ token: maker(undefined, new Error("not now")) },
    { expires: true, ttl: 100 });
  pass(85.1);
  await soon();
  assert.deepEqual(said, ["retry no token: not now"]);
  pass(0.5);
  await soon();
  assert.deepEqual(last().refresh, { token: "t3" });
  answer("refresh", { expires: true, ttl: 10 });
  pass(8.6);
  await soon();
  assert.deepEqual(last().refresh, { token: "t4" });
  assert.equal(client.state, "open");
});

test("text is not refreshed, nor by a closed client", async () => {
  await connected({ token: "fixed", channels: { a: "fixed" } }, { expires: true, ttl: 10 });
  answer("subscribe", { expires: true, ttl: 10 });
  pass(100);
  assert.equal(sent().length, 2);
  const get = maker();
  const { client } = await connected({ token: get }, { expires: true, ttl: 10 });
  client.close();
  pass(100);
  assert.equal(get.asked.length, 1);
});

test("a very long time is no short one", async () => {
  const get = maker();
  await connected({ token: get }, { expires: true, ttl: 365 * 24 * 3600 });
  pass(60);
  assert.equal(get.asked.length, 1);
});

for (const how of ["left", "lost"]) {
  test(`a token that comes for a channel that was ${how} is for nothing`, async () => {
    let give;
    const { client } = await connected({ channels: { a: () => new Promise((done) => {
      give ??= done;
    }) } });
    how === "left" ? client.unsubscribe("a") : newest().end();
    pass(1);
    how === "lost" && await welcome();
    const before = sent().length;
    give("late");
    await soon();
    assert.equal(sent().length, before);
  });
}

test("a server that sends a client out again and again is asked ever later", async () => {
  const { said } = await connected({ channels: ["a"] });
  const out = { push: { channel: "a", unsubscribe: { code: 2500, reason: "out" } } };
  for (let round = 0; round < 3; round += 1) {
    answer("subscribe", {});
    say(out);
    pass(round);
  }
  assert.deepEqual(said.filter((one) => one.startsWith("retry")),
    ["retry a 2500: out", "retry a 2500: out"]);
  answer("subscribe", {});
  pass(6);
  const before = sent().length;
  say(out);
  assert.equal(sent().length, before + 1);
});

test("a token function that fails behind close() leaves the socket its end", async () => {
  let fail;
  const ended = [];
  class Patient extends FakeSocket {
    terminate() { ended.push("terminated"); }
  }
  const made = new PushClient("ws://example.org/", { WebSocket: Patient,
    token: () => new Promise((_, no) => { fail = no; }) });
  newest().open();
  await soon();
  made.close();
  fail(new Error("late"));
  await soon();
  pass(5.1);
  assert.deepEqual(ended, ["terminated"]);
  assert.deepEqual(newest().closed, [1000, ""]);
});
