// What push-client.test.mjs puts in the place of the network, the clock and the page.
import { mock } from "node:test";
import { PushClient } from "../../clients/browser/push-client.js";

const TICK = 10; // ms

export let sockets = []; // all that were made, the newest last
let now = 0;
let steady = 0;
const realNow = Date.now;
const realSteady = performance.now;

/** A WebSocket that does what the test says. */
export class FakeSocket {
  readyState = 0;
  sent = [];
  closed = null; // arguments of close()

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    sockets.push(this);
  }

  send(data) {
    this.sent.push(data);
  }

  close(...how) {
    this.closed = how;
    this.readyState = 2;
  }

  open() {
    this.readyState = 1;
    this.onopen({});
  }

  receive(data) {
    this.onmessage({ data });
  }

  end(code = 1006, reason = "", wasClean = false) {
    this.readyState = 3;
    this.onerror({});
    this.onclose({ code, reason, wasClean });
  }
}

/** Begin a test with no sockets, a clock of its own and the widest delays. */
export function begin(random = 1) {
  sockets = [];
  now = 1_000_000;
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(Math, "random", () => random);
  Date.now = () => now;
  performance.now = () => steady;
}

export function end() {
  mock.timers.reset();
  mock.restoreAll();
  Date.now = realNow;
  performance.now = realSteady;
  for (const name of ["addEventListener", "document", "location"]) {
    delete globalThis[name];
  }
  setOnline(undefined);
}

/** Let time pass, for clock and timers alike. */
export function pass(seconds) {
  for (let left = Math.round(seconds * 1000); left > 0; left -= TICK) {
    now += Math.min(left, TICK);
    steady += Math.min(left, TICK);
    mock.timers.tick(Math.min(left, TICK));
  }
}

/** Let the clocks go on, while timers stand still; in some browsers one of them stands still too. */
export function sleep(seconds, isSteady = false) {
  now += seconds * 1000;
  steady += isSteady ? seconds * 1000 : 0;
}

/** Set the wall clock, as people, daylight saving and time servers do. */
export function setClock(seconds) {
  now += seconds * 1000;
}

/** Return a client and the events that it dispatches, as short text. */
export function client(options = {}, url = "ws://example.org/websocket") {
  const made = new PushClient(url, { WebSocket: FakeSocket, ...options });
  const said = [];
  made.addEventListener("state", (event) => said.push(event.state));
  made.addEventListener("open", () => said.push("(open)"));
  made.addEventListener("message", (event) => said.push(event.data));
  made.addEventListener("close", (event) =>
    said.push(`${event.code}${event.final ? " final" : ""}`));
  return { client: made, said };
}

/** Return a client with an open socket; its events so far are forgotten. */
export function opened(options) {
  const made = client(options);
  newest().open();
  made.said.length = 0;
  return made;
}

/** Lose the newest socket again and again; return the delays behind each loss, in ms. */
export function delays(made, count) {
  return Array.from({ length: count }, () => {
    newest().end();
    const delay = made.retryAt - Date.now();
    pass(delay / 1000);
    return delay;
  });
}

export const newest = () => sockets.at(-1);

/** Make a page: an object to dispatch its window's and its document's events on. */
export function page() {
  const target = new EventTarget();
  const listeners = new Set();
  const listen = (source) => (type, listener, options) => {
    const key = { type };
    listeners.add(key);
    options.signal.addEventListener("abort", () => listeners.delete(key));
    target.addEventListener(`${source} ${type}`, listener, options);
  };
  globalThis.addEventListener = listen("window");
  globalThis.document = { hidden: false, baseURI: "https://example.org/app/page?x",
    addEventListener: listen("document") };
  return { listeners, tell: (type) => target.dispatchEvent(new Event(type)) };
}

export function setOnline(onLine) {
  const value = onLine === undefined ? realNavigator : { value: { onLine }, configurable: true };
  value ? Object.defineProperty(globalThis, "navigator", value) : delete globalThis.navigator;
}

const realNavigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
