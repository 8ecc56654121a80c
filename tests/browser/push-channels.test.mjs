// push-channels.js without a network.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { ChannelError, PushClient } from "../../clients/browser/push-channels.js";
import { FakeSocket, begin, end, newest, pass, sockets } from "./fakes.mjs";

beforeEach(() => begin());
afterEach(end);

const soon = () => new Promise((done) => setImmediate(done));
const FIELDS = { state: ["state"], open: [], close: ["code", "final"], message: ["data"],
  publication: ["channel", "data", "offset"], gap: ["channel"],
  subscribed: ["channel", "recovered"], lost: ["channel", "code", "reason"],
  join: ["channel", "info"], leave: ["channel", "info"] };

/** Return a client, and what it says as short text. */
function client(options = {}) {
  const made = new PushClient("ws://example.org/connection/websocket",
    { WebSocket: FakeSocket, channels: ["a"], ...options });
  const said = [];
  for (const [type, fields] of Object.entries(FIELDS)) {
    made.addEventListener(type, (event) =>
      said.push([type, ...fields.map((field) => JSON.stringify(event[field]))].join(" ")));
  }
  return { client: made, said };
}

const sent = () => newest().sent.flatMap((text) => text.split("\n")).map((line) => JSON.parse(line));
const last = () => sent().at(-1);
const say = (...lines) => newest().receive(lines.map((line) => JSON.stringify(line)).join("\n"));
const publish = (offset, channel = "a") =>
  say({ push: { channel, pub: { data: `#${offset}`, offset } } });

/** Open the newest socket and answer `connect`. */
async function connect(result = {}) {
  newest().open();
  await soon();
  const { id } = last();
  say({ id, connect: { client: "me", ...result } });
}

/** Answer the newest command. */
const answer = (name, result) => say({ id: last().id, [name]: result });

/** Return a client that is in channel a, at offset 4; what it has said so far is forgotten. */
async function entered(options) {
  const made = client(options);
  await connect();
  answer("subscribe", { epoch: "e", offset: 4 });
  made.said.length = 0;
  return made;
}

/** Lose the socket and connect anew. */
async function again(result) {
  newest().end();
  pass(1);
  await connect(result);
}

test("it is open once the server has answered connect, and then subscribes", async () => {
  const { client: made, said } = client();
  newest().open();
  await soon();
  assert.equal(made.state, "connecting");
  assert.deepEqual(sent(), [{ id: 1, connect: { name: "push-channels.js", subs: {} } }]);
  say({ id: 1, connect: { client: "me" } });
  assert.deepEqual([made.state, made.client], ["open", "me"]);
  assert.deepEqual(last(), { id: 2, subscribe: { channel: "a" } });
  answer("subscribe", { epoch: "e", offset: 4 });
  publish(5);
  assert.deepEqual(said, ['state "open"', "open", 'subscribed "a" false',
    'publication "a" "#5" 5']);
  assert.deepEqual(made.position("a"), { offset: 5, epoch: "e" });
});

test("a channel goes on behind what was seen", async () => {
  const { said } = await entered();
  publish(5);
  await again();
  assert.deepEqual(last().subscribe, { channel: "a", recover: true, offset: 5, epoch: "e" });
  said.length = 0;
  answer("subscribe", { epoch: "e", offset: 5, recovered: true,
    publications: [{ data: "six", offset: 6 }] });
  publish(7);
  assert.deepEqual(said, ['subscribed "a" true', 'publication "a" "six" 6',
    'publication "a" "#7" 7']);
});

test("a publication that is not remembered does not move the position", async () => {
  const { client: made, said } = await entered();
  publish(5);
  say({ push: { channel: "a", pub: { data: "passing" } } });
  assert.equal(said.at(-1), 'publication "a" "passing" 0');
  assert.deepEqual(made.position("a"), { offset: 5, epoch: "e" });
  await again();
  assert.deepEqual(last().subscribe, { channel: "a", recover: true, offset: 5, epoch: "e" });
});

for (const [why, result] of [["another epoch", { epoch: "f", offset: 1 }], ["no memory", {}],
  ["too much", { epoch: "e", offset: 900, recovered: false }]]) {
  test(`a gap is told: ${why}`, async () => {
    const { said } = await entered();
    await again();
    said.length = 0;
    answer("subscribe", result);
    assert.deepEqual(said, ['gap "a"', 'subscribed "a" false']);
  });
}

test("a channel without memory is not asked for what was missed", async () => {
  client();
  await connect();
  answer("subscribe", {});
  await again();
  assert.deepEqual(last().subscribe, { channel: "a" });
});

test("channels can be given with what has been seen of them", async () => {
  client({ channels: { a: { offset: 3, epoch: "e" }, b: null } });
  await connect();
  assert.deepEqual(sent().slice(1).map(({ subscribe }) => subscribe),
    [{ channel: "a", recover: true, offset: 3, epoch: "e" }, { channel: "b" }]);
});

for (const channels of ["news", ["a", "a"], [""], [5], { a: 5 }, { a: { offset: "1" } }]) {
  const text = JSON.stringify(channels);
  test(`these are no channels: ${text}`, () => {
    assert.throws(() => client({ channels }), TypeError);
    assert.equal(sockets.length, 0);
  });
}

test("pings are answered and are heartbeats; silence ends the connection", async () => {
  const { client: made, said } = client({ heartbeat: 10 });
  await connect({ ping: 10, pong: true });
  pass(13);
  newest().receive("{}");
  assert.deepEqual(last(), {});
  pass(13);
  assert.equal(made.state, "open");
  pass(1.2);
  assert.deepEqual(said.slice(-2), ["close 1006 false", 'state "waiting"']);
  assert.deepEqual(newest().closed, [4000, ""]);
});

test("a server that pings less often than heartbeats are wanted may be silent", async () => {
  const { client: made } = client({ heartbeat: 10 });
  await connect({ ping: 60 });
  pass(300);
  assert.equal(made.state, "open");
});

test("a server that does not answer connect is given up", async () => {
  const { client: made } = client({ timeout: 5 });
  newest().open();
  await soon();
  pass(5.1);
  assert.equal(made.state, "waiting");
});

for (const [text, code, state] of [
  ['{"id":1,"error":{"code":103,"message":"no"}}', 4500, "closed"],
  ['{"id":1,"error":{"code":109,"message":"token expired"}}', 4500, "closed"],
  ['{"id":1,"error":{"code":100,"message":"internal","temporary":true}}', 4000, "waiting"],
  ["Sun, 1 Jan 2026", 4500, "closed"], ["", 4500, "closed"], ["5", 4500, "closed"]]) {
  test(`connect answered with ${text}`, async () => {
    const { client: made, said } = client();
    newest().open();
    await soon();
    newest().receive(text);
    assert.equal(made.state, state);
    assert.ok(said.includes(`close ${code} ${code === 4500}`));
    assert.equal(newest().closed[0], code);
  });
}

test("a function makes a token for each connection", async () => {
  let made = 0;
  const { client: mine } = client({ token: async () => `token ${made += 1}` });
  newest().open();
  await soon();
  assert.equal(last().connect.token, "token 1");
  say({ id: last().id, error: { code: 109, message: "token expired" } });
  assert.equal(mine.state, "waiting");
  pass(1);
  newest().open();
  await soon();
  assert.equal(last().connect.token, "token 2");
});

for (const [how, giveUp] of [["given up", () => pass(5.1)], ["lost", () => newest().end()]]) {
  test(`a token that comes when its socket was ${how} leaves the next one alone`, async () => {
    const tokens = [];
    const { client: made, said } = client({ timeout: 5,
      token: () => new Promise((done) => tokens.push(done)) });
    newest().open();
    await soon();
    giveUp();
    const abandoned = newest();
    pass(1);
    newest().open();
    await soon();
    tokens[1]("second");
    await soon();
    say({ id: last().id, connect: { client: "me" } });
    answer("subscribe", { epoch: "e", offset: 4 });
    tokens[0]("first");
    await soon();
    publish(5);
    assert.notEqual(abandoned, newest());
    assert.deepEqual(abandoned.sent, []);
    assert.equal(said.at(-1), 'publication "a" "#5" 5');
    assert.equal(made.state, "open");
  });
}

test("a function that makes no token is tried again", async () => {
  const { client: made } = client({ token: () => Promise.reject(new Error("not now")) });
  newest().open();
  await soon();
  assert.equal(made.state, "waiting");
});

test("a refused channel is lost; one that cannot be had now is tried again", async () => {
  const { said } = client({ channels: ["a", "b"] });
  await connect();
  const [, first, second] = sent();
  say({ id: first.id, error: { code: 103, message: "no" } });
  say({ id: second.id, error: { code: 100, message: "not now", temporary: true } });
  assert.deepEqual(said.slice(2), ['lost "a" 103 "no"']);
  pass(5.1);
  assert.deepEqual(last().subscribe, { channel: "b" });
});

test("the server's own channels are resumed with connect", async () => {
  const { said } = client({ channels: [] });
  await connect({ subs: { its: { epoch: "e", offset: 2 } } });
  publish(3, "its");
  newest().end();
  pass(1);
  newest().open();
  await soon();
  assert.deepEqual(last().connect.subs, { its: { recover: true, offset: 3, epoch: "e" } });
  say({ id: last().id, connect: { client: "me" } });
  assert.deepEqual(said.slice(-1), ['lost "its" 2000 "server unsubscribe"']);
});

test("the server takes a client out of a channel, or has it subscribe again", async () => {
  const { said } = await entered();
  say({ push: { channel: "a", unsubscribe: { code: 2500, reason: "insufficient state" } } });
  assert.deepEqual(last().subscribe, { channel: "a", recover: true, offset: 4, epoch: "e" });
  answer("subscribe", { epoch: "e", offset: 4, recovered: true });
  say({ push: { channel: "a", unsubscribe: { code: 2000, reason: "bye" } } });
  publish(5);
  assert.deepEqual(said, ['subscribed "a" true', 'lost "a" 2000 "bye"']);
});

test("channels are entered and left at run time", async () => {
  const { client: made, said } = await entered();
  made.subscribe("b");
  assert.deepEqual(last().subscribe, { channel: "b" });
  answer("subscribe", {});
  made.unsubscribe("a");
  assert.deepEqual(last().unsubscribe, { channel: "a" });
  publish(5);
  publish(0, "b");
  assert.deepEqual(said, ['subscribed "b" false', 'publication "b" "#0" 0']);
  assert.throws(() => made.subscribe("b"), /each channel once/);
  assert.throws(() => made.subscribe(5), /use text/);
  made.close();
  made.unsubscribe("b");
});

test("the answer to a subscription that was given up is not that of the next", async () => {
  const { client: made, said } = client();
  await connect();
  const first = last();
  made.unsubscribe("a");
  made.subscribe("a");
  const second = last();
  say({ id: first.id, subscribe: { epoch: "e", offset: 1 } });
  publish(2);
  say({ id: second.id, subscribe: { epoch: "e", offset: 2 } });
  publish(3);
  assert.deepEqual(said.slice(2), ['subscribed "a" false', 'publication "a" "#3" 3']);
});

test("joins, leaves and messages are events", async () => {
  const { said } = await entered();
  say({ push: { channel: "a", join: { info: "i" } } },
    { push: { channel: "a", leave: { info: "j" } } }, { push: { message: { data: [1] } } },
    { push: { refresh: {} } });
  assert.deepEqual(said, ['join "a" "i"', 'leave "a" "j"', "message [1]"]);
});

test("calls are promises", async () => {
  const { client: made } = await entered();
  const double = made.rpc("double", 21);
  assert.deepEqual(last().rpc, { method: "double", data: 21 });
  answer("rpc", { data: 42 });
  assert.equal(await double, 42);
  const published = made.publish("b", { x: 1 });
  assert.deepEqual(last().publish, { channel: "b", data: { x: 1 } });
  say({ id: last().id, error: { code: 103, message: "permission denied" } });
  await assert.rejects(published, (error) => error instanceof ChannelError &&
    error.code === 103 && error.message === "103: permission denied");
  const presence = made.presence("a");
  answer("presence", { presence: { me: { user: "ann" } } });
  assert.deepEqual(await presence, { me: { user: "ann" } });
  const history = made.history("a", { limit: 1 });
  assert.deepEqual(last().history, { channel: "a", limit: 1 });
  answer("history", { offset: 3, epoch: "e" });
  assert.deepEqual(await history, { offset: 3, epoch: "e", publications: [] });
  assert.equal(made.send({ x: 1 }), true);
  assert.deepEqual(last(), { send: { data: { x: 1 } } });
});

test("calls that cannot be answered are refused", async () => {
  const { client: made } = await entered();
  const waiting = made.rpc("slow");
  newest().end();
  await assert.rejects(waiting, /lost before the answer/);
  await assert.rejects(made.rpc("late"), /not sent: the client is waiting/);
});

test("only what is pushed proves a connection", async () => {
  const { client: made } = client();
  for (let round = 1; round <= 3; round += 1) {
    await connect();
    answer("subscribe", { epoch: "e", offset: 4 });
    newest().end();
    assert.equal(made.attempt, round);
    pass(10);
  }
  await connect();
  answer("subscribe", { epoch: "e", offset: 4, recovered: true });
  publish(5);
  newest().end();
  assert.equal(made.attempt, 0);
});

test("closed for good it is silent, and connects anew where it was", async () => {
  const { client: made, said } = await entered();
  made.close();
  publish(5);
  assert.deepEqual(said, ["close 1000 true", 'state "closed"']);
  assert.deepEqual(newest().closed, [1000, ""]);
  const before = sockets.length;
  made.connect();
  await connect();
  assert.equal(sockets.length, before + 1);
  assert.deepEqual(last().subscribe, { channel: "a", recover: true, offset: 4, epoch: "e" });
});
