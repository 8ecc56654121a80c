// Channels: a PushClient that speaks Centrifugo's protocol and resumes where it was lost.
// How to use it: docs/browser.md. Its types: push-channels.d.ts.

import { PushClient as PlainClient, PushEvent, isFinal } from "./push-client.js";
import { ProtocolSocket, Subscriptions, checkedConnect } from "./push-protocol.js";

export { PushEvent, isFinal };

const LONGEST_TIMER = 2 ** 31 - 1; // ms
const DENIED = { code: 103, reason: "permission denied: the token function returned none" };

/** The error with which the server answered a command. */
export class ChannelError extends Error {
  /** @param {{ code: number, message?: string, temporary?: boolean }} error */
  constructor({ code, message = "", temporary = false }) {
    super(`${code}: ${message}`);
    this.name = "ChannelError";
    this.code = code;
    this.reason = message;
    this.temporary = temporary;
  }
}

/** Stay connected, and in channels. Dispatches `publication`, `gap`, `subscribed`, `lost`, `retry`,
 * `join` and `leave` besides `open`, `message`, `close` and `state`. */
export class PushClient extends PlainClient {
  #subscriptions;
  /** @type {Map<number, any>} */ #calls = new Map(); // commands that wait for an answer, by number
  #number = 0;
  #client = "";
  #timeout; // ms that a token function may take
  /** @type {Map<string, any>} */ #timers = new Map(); // one for each channel; "": the connection's

  /** @param {string | URL} url of a server that speaks the protocol
   * @param {import("./push-channels.js").ChannelOptions} [options] */
  constructor(url, options = {}) {
    const { channels = [], token, WebSocket = globalThis.WebSocket, ...rest } = options;
    if (typeof channels === "string") {
      throw new TypeError("channels is text: use an array of names");
    }
    const subscriptions = new Subscriptions({ token, ...rest });
    const renews = typeof token === "function";
    const steps = { token: async () => renews ? token() : token,
      hello: (/** @type {string | null | undefined} */ shown) => this.#hello(shown),
      welcome: (/** @type {string} */ line) => checkedConnect(line, renews),
      enter: (/** @type {any} */ result) => {
        this.#client = result.client;
        this.#report(this.#subscriptions.connected(result));
        this.#enter();
      },
      answered: (/** @type {string} */ line) => this.#answered(JSON.parse(line)),
      heartbeat: rest.heartbeat ?? 25 };
    super(url, { ...rest, autoConnect: false, WebSocket: WebSocket && /** @type {any} */ (
      function connect(/** @type {any} */ ...where) {
        return new ProtocolSocket(new /** @type {any} */ (WebSocket)(...where), steps);
      }) });
    this.#subscriptions = subscriptions;
    this.#timeout = 1000 * (rest.timeout ?? 10);
    for (const [name, wish] of Array.isArray(channels) ? channels.map((each) => [each])
      : Object.entries(channels)) {
      this.subscribe(name, wish);
    }
    if (rest.autoConnect !== false) {
      this.connect();
    }
  }

  /** What the server calls this connection; empty before the first one. */
  get client() { return this.#client; }

  /** Subscribe to one more channel, connected or not.
   * @param {string} channel
   * @param {import("./push-channels.js").Wish} [wish] the position last seen, a token, or both */
  subscribe(channel, wish) {
    this.#subscriptions.want(channel, wish);
    this.#enter();
  }

  /** Leave a channel; nothing from it is dispatched after that.
   * @param {string} channel */
  unsubscribe(channel) {
    this.#clear(channel);
    if (this.#subscriptions.leave(channel)) {
      this.#command("unsubscribe", { channel }, () => {}, () => {});
    }
  }

  /** Publish anything that JSON can hold.
   * @param {string} channel
   * @param {unknown} data */
  async publish(channel, data) { await this.#call("publish", { channel, data }); }

  /** Call a method of the site; return its answer.
   * @param {string} method
   * @param {unknown} [data] */
  async rpc(method, data) { return (await this.#call("rpc", { method, data })).data; }

  /** Return who is in a channel: `user` and `client`, by client.
   * @param {string} channel */
  async presence(channel) { return (await this.#call("presence", { channel })).presence ?? {}; }

  /** Return what a channel remembers: `publications`, `offset` and `epoch`.
   * @param {string} channel
   * @param {{ limit?: number, reverse?: boolean, since?: object }} [options] */
  async history(channel, options) {
    const { publications = [], ...top } =
      await this.#call("history", { channel, limit: -1, ...options });
    return { offset: 0, epoch: "", ...top, publications };
  }

  /** Return the offset and epoch reached in a channel, or null.
   * @param {string} channel */
  position(channel) { return this.#subscriptions.position(channel); }

  /** Send something that belongs to no channel.
   * @param {unknown} data
   * @returns {boolean} whether an open socket took it */
  send(data) { return super.send({ send: { data } }); }

  /** Take what a plain client would dispatch: its messages are the protocol's pushes.
   * @param {any} event
   * @returns {boolean} */
  dispatchEvent(event) {
    if (event.type === "message") {
      const { push } = event.data === "" ? {} : JSON.parse(event.data);
      push && this.#report(this.#subscriptions.pushed(push));
      push?.unsubscribe && this.#enter();
      return true;
    }
    event.type === "close" && this.#forget();
    return super.dispatchEvent(event);
  }

  #forget() {
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    [...this.#timers.keys()].forEach((name) => this.#clear(name));
    calls.forEach(({ fail }) => fail(new Error("the connection was lost before the answer")));
  }

  /** @param {Iterable<any>} events */
  #report(events) {
    for (const { type, ...fields } of events) {
      const { channel, delay } = fields;
      type === "lost" && this.#clear(channel);
      if (delay !== undefined) {
        this.#later(channel, delay, () => this.#due(channel));
      }
      type !== "expires" && super.dispatchEvent(new PushEvent(type, fields));
    }
  }

  #enter() {
    for (const need of this.state === "open" ? this.#subscriptions.wanted() : []) {
      this.#pursue(need);
    }
  }

  /** @param {string} channel whose time has come; empty: the connection's token needs replacing */
  #due(channel) {
    const need = this.#subscriptions.due(channel);
    need ? this.#pursue(need) : this.#enter();
  }

  /** Send a command; if it needs a token, once that is there.
   * @param {any} need */
  #pursue({ command, channel, token, isWanted, request, done, fail }) {
    const ask = (/** @type {any} */ shown) => this.#command(command, request(shown),
      (found) => this.#report(done(found)),
      // a lost connection is not a refusal: the next one asks again
      (error) => error instanceof ChannelError && this.#report(fail(error)));
    if (typeof token !== "function") {
      ask(token);
      return;
    }
    const failed = (/** @type {any} */ error) => this.#report(
      fail({ reason: `no token: ${error?.message ?? error}`, temporary: true }));
    this.#later(channel, this.#timeout, () => failed("the function has not returned in time"));
    new Promise((made) => made(channel ? token(channel) : token())).then((shown) => {
      if (isWanted()) {
        this.#clear(channel);
        const isText = typeof shown === "string" && shown;
        const reason = `the token function returned ${typeof shown}`;
        isText || !shown ? (isText ? ask(shown) : this.#report(fail(DENIED)))
          : this.#report(fail({ ...DENIED, reason }));
      }
    }).catch(failed);
  }

  /** @param {string} name of the timer that this replaces
   * @param {number} delay
   * @param {() => void} action */
  #later(name, delay, action) {
    this.#clear(name);
    this.#timers.set(name, setTimeout(action, Math.min(delay, LONGEST_TIMER)));
  }

  /** @param {string} name */
  #clear(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  /** @param {string} name
   * @param {object} request
   * @param {(result: any) => void} done
   * @param {(error: any) => void} fail */
  #command(name, request, done, fail) {
    const id = ++this.#number;
    this.#calls.set(id, { done, fail });
    if (!super.send({ id, [name]: request })) {
      this.#calls.delete(id);
      fail(new Error(`not sent: the client is ${this.state}`));
    }
  }

  /** @param {string} name
   * @param {object} request
   * @returns {Promise<any>} */
  #call(name, request) {
    return new Promise((done, fail) => this.#command(name, request, done, fail));
  }

  /** @param {string | null | undefined} token */
  #hello(token) {
    const subs = this.#subscriptions.begin();
    return JSON.stringify({ id: ++this.#number,
      connect: { name: "push-channels.js", subs, ...(token && { token }) } });
  }

  /** @param {any} reply */
  #answered({ id, error, ...result }) {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    error ? call?.fail(new ChannelError(error)) : call?.done(Object.values(result)[0] ?? {});
  }
}
