// push-client.js and what browsers do not say: dead connections, sleep, pages that come and go.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { begin, client, delays, end, newest, opened, page, pass, setClock, setOnline, sleep,
  sockets } from "./fakes.mjs";

beforeEach(() => begin());
afterEach(end);

// heartbeats

test("heartbeats are no messages", () => {
  const { said } = opened();
  ["", "text", "", ""].forEach((data) => newest().receive(data));
  assert.deepEqual(said, ["text"]);
});

test("a connection without heartbeats is given up, without waiting for its close", () => {
  const { client: made, said } = opened({ heartbeat: 10 });
  newest().receive("");
  pass(13.9);
  assert.equal(made.state, "open");
  pass(0.2);
  assert.deepEqual(said, ["1006", "waiting"]);
  assert.deepEqual(newest().closed, []);
  pass(0.5);
  assert.equal(sockets.length, 2);
});

test("any message keeps a connection", () => {
  const { client: made } = opened({ heartbeat: 10 });
  newest().receive("");
  for (const data of ["text", "", "text", ""]) {
    pass(13);
    newest().receive(data);
  }
  assert.equal(made.state, "open");
  pass(14.1);
  assert.equal(made.state, "waiting");
});

test("a server that knows no heartbeats may be silent, and its empty messages count", () => {
  const { client: made, said } = opened();
  newest().receive("hello");
  newest().receive("");
  pass(4000);
  assert.deepEqual([made.state, said], ["open", ["hello", ""]]);
});

test("a server that says nothing at all may be silent", () => {
  const { client: made } = opened();
  pass(4000);
  assert.equal(made.state, "open");
});

test("without heartbeats empty messages are messages", () => {
  const { client: made, said } = opened({ heartbeat: 0 });
  newest().receive("");
  pass(4000);
  assert.deepEqual([made.state, said], ["open", [""]]);
});

test("a later connection may have heartbeats too", () => {
  const { client: made, said } = opened();
  newest().receive("text");
  newest().end();
  pass(0.5);
  newest().open();
  newest().receive("");
  pass(36);
  assert.deepEqual([made.state, said.includes("")], ["connecting", false]);
});

test("a socket that closes at once when it is given up is lost once", () => {
  const { said } = client({ timeout: 1 });
  newest().close = newest().end;
  pass(1);
  assert.deepEqual(said, ["1006", "waiting"]);
});

test("each connection has to say anew that it has heartbeats", () => {
  const { client: made, said } = opened();
  newest().receive("");
  newest().end();
  pass(0.5);
  newest().open();
  newest().receive("text");
  newest().receive("");
  pass(100);
  assert.deepEqual([made.state, said.slice(-2)], ["open", ["text", ""]]);
});

// the page and its sleep

test("what comes behind a sleep keeps the connection", () => {
  const { client: made } = opened();
  newest().receive("");
  sleep(3600);
  pass(6);
  newest().receive("");
  pass(20);
  assert.equal(made.state, "open");
});

test("a connection that died in sleep is given up soon", () => {
  const { client: made } = opened();
  newest().receive("");
  sleep(3600);
  pass(7);
  assert.equal(made.state, "waiting");
});

test("a wait is over when the sleep was longer", () => {
  const { client: made } = client();
  delays(made, 6);
  newest().end();
  sleep(3600);
  pass(5);
  assert.equal(made.state, "connecting");
});

test("a clock that is set back keeps nobody waiting", () => {
  const { client: made } = client();
  delays(made, 6);
  newest().end();
  sleep(-3600);
  pass(20);
  assert.equal(made.state, "connecting");
});

test("a page that comes back looks at its connection at once", () => {
  const { tell } = page();
  const { client: made } = opened();
  newest().receive("");
  sleep(3600);
  tell("document visibilitychange");
  pass(1.9);
  assert.equal(made.state, "open");
  pass(0.2);
  assert.equal(made.state, "waiting");
});

test("a page that comes back and hears something keeps its connection", () => {
  const { tell } = page();
  const { client: made } = opened();
  newest().receive("");
  sleep(3600);
  tell("document visibilitychange");
  newest().receive("text");
  pass(30);
  assert.equal(made.state, "open");
});

for (const type of ["window online", "window pageshow", "document visibilitychange"]) {
  test(`${type} ends a wait`, () => {
    const { tell } = page();
    const { client: made } = client();
    delays(made, 6);
    newest().end();
    tell(type);
    assert.equal(made.state, "connecting");
  });

  test(`${type} does no harm to an open connection or an attempt`, () => {
    const { tell } = page();
    const { client: made } = client();
    tell(type);
    assert.equal(made.state, "connecting");
    newest().open();
    newest().receive("");
    tell(type);
    pass(10);
    assert.deepEqual([made.state, sockets.length], ["open", 1]);
  });
}

test("a page that is hidden does not hurry", () => {
  const { tell } = page();
  const { client: made } = client();
  newest().end();
  document.hidden = true;
  tell("document visibilitychange");
  assert.equal(made.state, "waiting");
});

test("a network that goes is no failure of the server's", () => {
  const { tell } = page();
  const { client: made, said } = opened();
  setOnline(false);
  tell("window offline");
  assert.deepEqual(said, ["1006", "waiting"]);
  assert.deepEqual([made.attempt, made.retryAt - Date.now()], [0, 20000]);
  pass(20);
  newest().end();
  assert.deepEqual([made.attempt, made.retryAt - Date.now()], [0, 20000]);
  setOnline(true);
  tell("window online");
  newest().open();
  assert.equal(made.state, "open");
});

test("a page that leaves gives its socket up, and connects when it comes back", () => {
  const { tell } = page();
  const { client: made } = opened();
  tell("window pagehide");
  assert.deepEqual([made.state, newest().closed], ["waiting", []]);
  tell("window pageshow");
  assert.equal(made.state, "connecting");
});

test("nothing of the page is listened to when the client is closed", () => {
  const { listeners } = page();
  const { client: made } = opened();
  assert.equal(listeners.size, 5);
  newest().end(3505);
  assert.equal(listeners.size, 0);
  made.connect();
  assert.equal(listeners.size, 5);
  made.close();
  assert.equal(listeners.size, 0);
});

// a clock that is set

for (const back of [10, 3600, 366 * 86400]) {
  test(`a dead connection is noticed though the clock was set back by ${back} s`, () => {
    const { client: made } = opened({ heartbeat: 10 });
    newest().receive("");
    pass(5);
    setClock(-back);
    pass(8.9);
    assert.equal(made.state, "open");
    pass(0.2);
    assert.equal(made.state, "waiting");
  });

  test(`an attempt is given up in time though the clock was set back by ${back} s`, () => {
    const { client: made } = client({ timeout: 8 });
    pass(1);
    setClock(-back);
    pass(7);
    assert.equal(made.state, "waiting");
  });

  test(`five seconds prove a connection though the clock was set back by ${back} s`, () => {
    const { client: made } = client();
    delays(made, 3);
    newest().open();
    pass(2);
    setClock(-back);
    pass(3);
    assert.deepEqual(delays(made, 1), [500]);
  });

  test(`a wait ends in time though the clock was set back by ${back} s`, () => {
    const { client: made } = client();
    delays(made, 6);
    newest().end();
    setClock(-back);
    pass(20);
    assert.equal(made.state, "connecting");
  });
}

test("a clock that is set back again and again hides no dead connection", () => {
  const { client: made } = opened({ heartbeat: 10 });
  newest().receive("");
  for (let seconds = 0; seconds < 14; seconds += 1) {
    pass(1);
    setClock(-2);
  }
  assert.equal(made.state, "waiting");
});

for (const isSteady of [true, false]) {
  test(`a sleep is noticed where performance.now() goes on: ${isSteady}`, () => {
    const { client: made } = opened();
    newest().receive("");
    sleep(3600, isSteady);
    pass(5);
    assert.equal(made.state, "open", "what came meanwhile may be about to be delivered");
    pass(2);
    assert.equal(made.state, "waiting");
  });
}
