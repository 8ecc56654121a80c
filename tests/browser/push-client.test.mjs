// push-client.js without a network: node --test tests/browser
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { PushClient, isFinal } from "../../clients/browser/push-client.js";
import { FakeSocket, begin, client, delays, end, newest, opened, page, pass, sockets }
  from "./fakes.mjs";

beforeEach(() => begin());
afterEach(end);

// connecting

test("it connects at once", () => {
  const { client: made } = client();
  assert.equal(sockets.length, 1);
  assert.equal(made.state, "connecting");
  assert.equal(newest().binaryType, "arraybuffer");
});

test("it connects when told to, if it is asked not to by itself", () => {
  const { client: made, said } = client({ autoConnect: false });
  assert.deepEqual([sockets.length, made.state], [0, "closed"]);
  made.connect();
  newest().open();
  made.connect();
  assert.equal(sockets.length, 1);
  assert.deepEqual(said, ["connecting", "open", "(open)"]);
});

test("the query has the Id, the heartbeat and what else was given", () => {
  const { client: made } = client({ Id: "é &", params: { a: [1, 2], b: null, c: true } },
    "http://example.org:81/ws?x=1&a=0&Id=old#there");
  assert.equal(made.url,
    "ws://example.org:81/ws?x=1&refusals=close&a=1&a=2&c=true&Id=%C3%A9+%26&heartbeat=25");
  assert.equal(newest().url, made.url);
  assert.equal(made.Id, "é &");
});

test("without Id, heartbeat and refusals the address stays as it is", () => {
  const { client: made } = client({ heartbeat: 0, Id: undefined, params: { refusals: null } },
    "wss://example.org/ws?Id=7&refusals=close");
  assert.equal(made.url, "wss://example.org/ws?Id=7");
  assert.equal(made.Id, "7");
});

test("an address is relative to the page", () => {
  page();
  assert.equal(client({ heartbeat: 0 }, "websocket").client.url,
    "wss://example.org/app/websocket?refusals=close");
});

test("a worker's address is relative to the worker", () => {
  globalThis.location = { href: "http://example.org/js/worker.js" };
  assert.equal(client({ heartbeat: 0 }, "/ws").client.url,
    "ws://example.org/ws?refusals=close");
});

test("subprotocols are offered", () => {
  client({ protocols: ["a", "b"] });
  assert.deepEqual(newest().protocols, ["a", "b"]);
});

test("options that are undefined have their defaults", () => {
  const { client: made } = client({ heartbeat: undefined, minDelay: undefined });
  assert.equal(made.url, "ws://example.org/websocket?refusals=close&heartbeat=25");
});

test("what cannot work is said at once", () => {
  const make = (options, url = "ws://x/") => () => client(options, url);
  assert.throws(make({}, "ftp://x/"), /use ws, wss, http or https/);
  assert.throws(make({}, "relative"), TypeError);
  assert.throws(make({ minDelay: 0 }), /minDelay is 0: use 0.001 to 3600 seconds/);
  assert.throws(make({ timeout: NaN }), RangeError);
  assert.throws(make({ heartbeat: 0.5 }), /use 1 to 3600 seconds, or 0 for none/);
  assert.throws(make({ WebSocket: null }), /there is no WebSocket here/);
  assert.equal(sockets.length, 0);
});

test("a constructor that throws leaves the client closed", () => {
  const { client: made, said } = client({ autoConnect: false, WebSocket: class {
    constructor() {
      throw new SyntaxError("no such protocol");
    }
  } });
  assert.throws(() => made.connect(), /no such protocol/);
  assert.equal(made.state, "closed");
  assert.deepEqual(said, ["1006 final", "closed"]);
});

test("an attempt that takes too long is given up", () => {
  const { client: made, said } = client({ timeout: 3 });
  pass(2.9);
  assert.equal(made.state, "connecting");
  pass(0.1);
  assert.deepEqual([made.state, made.attempt], ["waiting", 1]);
  assert.ok(newest().closed);
  assert.deepEqual(said, ["1006", "waiting"]);
});

// messages

test("messages come as they are", () => {
  const { said } = opened();
  const data = new ArrayBuffer(2);
  newest().receive("text");
  newest().receive(data);
  assert.equal(said[0], "text");
  assert.equal(said[1], data);
});

test("a message can be read as JSON, be it text or binary", () => {
  const { client: made } = opened();
  const found = [];
  made.addEventListener("message", (event) => found.push(event.json()));
  newest().receive('{"a": 1}');
  newest().receive(new TextEncoder().encode('["é"]').buffer);
  assert.deepEqual(found, [{ a: 1 }, ["é"]]);
});

test("a message that is a Blob can be read as JSON too, with await", async () => {
  const { client: made } = opened({ binaryType: "blob" });
  const found = [];
  made.addEventListener("message", (event) => found.push(event.json()));
  assert.equal(newest().binaryType, "blob");
  newest().receive('{"a": 1}');
  newest().receive(new Blob(['["é"]']));
  newest().receive(new Blob(["5", "0"], { type: "application/json" }));
  newest().receive(new File(["null"], "name.json"));
  assert.deepEqual(found[0], { a: 1 }, "text needs no await");
  assert.deepEqual(await Promise.all(found), [{ a: 1 }, ["é"], 50, null]);
});

for (const data of ["no JSON", new TextEncoder().encode("{").buffer, ""]) {
  test(`what is no JSON is a SyntaxError, be it a Blob or not: ${data}`, async () => {
    const { client: made } = opened({ binaryType: "blob", heartbeat: 0 });
    const found = [];
    made.addEventListener("message", (event) => found.push(() => event.json()));
    newest().receive(data);
    newest().receive(new Blob([data]));
    assert.throws(found[0], SyntaxError);
    await assert.rejects(found[1], SyntaxError);
  });
}

test("what the network has not taken yet can be seen", () => {
  const { client: made } = client();
  assert.equal(made.bufferedAmount, 0);
  newest().open();
  newest().bufferedAmount = 0;
  assert.equal(made.bufferedAmount, 0);
  newest().bufferedAmount = 200e6;
  assert.equal(made.bufferedAmount, 200e6);
  newest().end();
  assert.equal(made.bufferedAmount, 0, "lost with its socket");
  made.close();
  assert.equal(made.bufferedAmount, 0);
});

test("text and binary data are sent as they are", () => {
  const { client: made } = opened();
  const all = ["text", "", new ArrayBuffer(1), new Uint8Array(2), new DataView(new ArrayBuffer(1)),
    new Blob(["x"])];
  all.forEach((data) => assert.equal(made.send(data), true));
  all.forEach((data, index) => assert.equal(newest().sent[index], data));
});

test("anything else is sent as JSON", () => {
  const { client: made } = opened();
  [{ a: "é" }, [1], 5, null, true].forEach((data) => made.send(data));
  assert.deepEqual(newest().sent, ['{"a":"é"}', "[1]", "5", "null", "true"]);
  assert.throws(() => made.send(undefined), /JSON cannot hold undefined/);
  assert.throws(() => made.send(() => {}), TypeError);
});

test("nothing is sent or queued while it is not open", () => {
  const { client: made } = client();
  assert.equal(made.send("early"), false);
  newest().open();
  newest().readyState = 2;
  assert.equal(made.send("closing"), false);
  newest().end();
  assert.equal(made.send("waiting"), false);
  made.close();
  assert.equal(made.send("closed"), false);
  assert.deepEqual(newest().sent, []);
});

// coming back, or not

for (const code of [1000, 3500, 3504, 3505, 3999, 4500, 4999]) {
  test(`close code ${code} is final`, () => {
    const { client: made, said } = opened();
    newest().end(code, "why", true);
    pass(60);
    assert.deepEqual(said, [`${code} final`, "closed"]);
    assert.deepEqual([made.state, made.retryAt, sockets.length], ["closed", null, 1]);
    assert.equal(isFinal(code), true);
  });
}

for (const code of [1001, 1002, 1005, 1006, 1011, 1012, 1013, 3000, 3008, 3499, 4000, 4499]) {
  test(`after close code ${code} it comes back`, () => {
    const { said } = opened();
    newest().end(code);
    pass(0.5);
    assert.deepEqual(said, [`${code}`, "waiting", "connecting"]);
    assert.equal(sockets.length, 2);
    assert.equal(isFinal(code), false);
  });
}

test("the delay grows from 0.5 to 20 seconds", () => {
  const { client: made } = client();
  assert.deepEqual(delays(made, 8), [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
  assert.equal(made.attempt, 8);
});

test("the delay is drawn from 50 ms on", () => {
  mock.method(Math, "random", () => 0);
  assert.deepEqual(delays(client().client, 3), [50, 50, 50]);
});

test("the delays can be chosen", () => {
  const { client: made } = client({ minDelay: 1, maxDelay: 3 });
  assert.deepEqual(delays(made, 4), [1000, 2000, 3000, 3000]);
});

test("after a thousand losses it still waits for 20 seconds", () => {
  const { client: made } = client();
  assert.equal(delays(made, 1100).at(-1), 20000);
});

test("a state event tells the delay", () => {
  const { client: made } = client();
  const found = [];
  made.addEventListener("state", (event) => found.push([event.state, event.delay]));
  newest().end();
  assert.deepEqual(found, [["waiting", 500]]);
  assert.equal(made.retryAt, Date.now() + 500);
});

test("a message proves a connection", () => {
  const { client: made } = client();
  delays(made, 3);
  newest().open();
  assert.equal(made.attempt, 3);
  newest().receive("text");
  assert.equal(made.attempt, 0);
  newest().end();
  assert.equal(made.retryAt - Date.now(), 500);
});

test("five seconds prove a connection", () => {
  const { client: made } = client();
  delays(made, 3);
  newest().open();
  pass(5);
  assert.deepEqual(delays(made, 1), [500]);
});

test("opening alone, and a heartbeat, prove nothing", () => {
  const { client: made } = client();
  delays(made, 3);
  newest().open();
  newest().receive("");
  assert.deepEqual(delays(made, 1), [4000]);
});

test("what an old socket still says is ignored", () => {
  const { client: made, said } = client({ timeout: 1 });
  const old = newest();
  pass(1.5);
  newest().open();
  said.length = 0;
  old.open();
  old.receive("late");
  old.end(3505);
  assert.deepEqual([said, made.state], [[], "open"]);
});

test("connect() ends the wait", () => {
  const { client: made } = client();
  delays(made, 5);
  newest().end();
  made.connect();
  assert.deepEqual([made.state, made.retryAt, sockets.length], ["connecting", null, 7]);
  pass(9);
  assert.equal(sockets.length, 7);
});

// closing

test("close() is final, at once", () => {
  const { client: made, said } = opened();
  made.close(4000, "enough");
  assert.deepEqual(said, ["4000 final", "closed"]);
  assert.deepEqual(newest().closed, [4000, "enough"]);
  newest().receive("late");
  newest().end(1000);
  made.close();
  assert.deepEqual(said, ["4000 final", "closed"]);
});

test("close() ends a wait and an attempt", () => {
  for (const lose of [true, false]) {
    const { client: made, said } = client();
    lose && newest().end();
    said.length = 0;
    made.close();
    const count = sockets.length;
    pass(30);
    assert.deepEqual(said, ["1000 final", "closed"]);
    assert.equal(sockets.length, count);
  }
});

test("close codes that cannot be sent are refused, and the client stays", () => {
  const { client: made } = opened();
  for (const code of [999, 1001, 2999, 5000, 3000.5, "1000"]) {
    assert.throws(() => made.close(code), /use 1000, or 3000 to 4999/);
  }
  assert.throws(() => made.close(1000, "é".repeat(62)), /at most 123 bytes/);
  assert.equal(made.state, "open");
});

test("a closed client can connect again, with the shortest delay", () => {
  const { client: made, said } = client();
  delays(made, 3);
  newest().end(3505);
  said.length = 0;
  made.connect();
  newest().open();
  assert.deepEqual(said, ["connecting", "open", "(open)"]);
  assert.deepEqual(delays(made, 1), [500]);
});

test("a listener may close the client that is about to come back", () => {
  const { client: made, said } = opened();
  made.addEventListener("close", () => made.close());
  newest().end();
  pass(60);
  assert.deepEqual(said, ["1006", "1000 final", "closed"]);
  assert.equal(sockets.length, 1);
});

test("a listener may close the client that is opening", () => {
  const { client: made, said } = client();
  made.addEventListener("state", () => made.close());
  newest().open();
  assert.deepEqual(said, ["open", "1000 final", "closed"]);
});

test("a listener may connect a client that is closing", () => {
  const { client: made, said } = opened();
  made.addEventListener("close", () => made.connect(), { once: true });
  newest().end(3505);
  newest().open();
  assert.deepEqual(said, ["3505 final", "connecting", "open", "(open)"]);
});

test("the class can be subclassed, and its prototype is as the types say", () => {
  const names = Object.getOwnPropertyNames(PushClient.prototype).sort();
  assert.deepEqual(names, ["Id", "attempt", "bufferedAmount", "close", "connect", "constructor",
    "retryAt", "send", "state", "url"]);
  class Mine extends PushClient {}
  assert.equal(new Mine("ws://x/", { WebSocket: FakeSocket }).state, "connecting");
});
