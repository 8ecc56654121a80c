// Centrifugo's JSON protocol for push-channels.js: its handshake, and the state of channels.

const COMING_BACK = 4000; // our close codes: to connect again, and for good
const REFUSED = 4500;
const TOKEN_EXPIRED = 109; // the server's error codes
const ALREADY_SUBSCRIBED = 105;
const FIRST_RESUBSCRIBE = 2500; // unsubscribed with this code or a higher one: subscribe again
const GONE = { code: 2000, reason: "server unsubscribe" };
const SHORTEST_DELAY = 50; // ms
const PROVED_AFTER = 5000; // ms in a channel after which being removed is not one more failure
const FOREIGN = "the server does not speak Centrifugo's JSON protocol here";
const [OUT, ASKED, LATER, IN] = [0, 1, 2, 3];

/** Return the result in a server's answer to `connect`, or throw why it makes no connection.
 * @param {string} line
 * @param {boolean} renews the next connection will present another token */
export function checkedConnect(line, renews) {
  let reply;
  try {
    reply = JSON.parse(line);
  } catch { /* treated like any other wrong answer */ }
  const { code, message, temporary } = reply?.error ?? {};
  if (code || !reply?.connect) {
    const again = temporary || code === TOKEN_EXPIRED && renews;
    throw Object.assign(new Error(code ? `connect: ${code}: ${message}` : FOREIGN),
      { closeCode: again ? COMING_BACK : REFUSED });
  }
  return reply.connect;
}

/** A socket that opens once the server has answered `connect`, and that answers pings. */
export class ProtocolSocket {
  /** @type {any} */ #socket;
  #isKnown = false;
  /** @type {(line: string) => void} */ #answered;
  #isOver = false; // the client has abandoned it
  #beats = false; // the server's pings are frequent enough to serve as heartbeats
  /** @type {any} */ onopen;
  /** @type {any} */ onmessage;
  /** @type {any} */ onclose;
  /** @type {any} */ onerror;

  /** @param {any} socket
   * @param {{ token: () => Promise<any>, hello: (token: any) => string, heartbeat: number,
   *   welcome: (line: string) => any, enter: (result: any) => void,
   *   answered: (line: string) => void }} client */
  constructor(socket, { token, hello, welcome, enter, answered, heartbeat }) {
    this.#socket = socket;
    this.#answered = answered;
    if (socket.terminate) {
      this.terminate = () => { this.#isOver = true; socket.terminate(); };
    }
    const fail = (/** @type {any} */ { closeCode = COMING_BACK, message }) => {
      if (this.#isOver) { // a token function that fails after that is ignored
        return;
      }
      socket.onclose = socket.onmessage = null;
      socket.close(closeCode);
      this.onclose({ code: closeCode, reason: message, wasClean: false });
    };
    socket.onopen = () => token().then((shown) => { // unless abandoned meanwhile
      socket.readyState === 1 && socket.send(hello(shown));
    }).catch(fail);
    socket.onclose = (/** @type {any} */ event) => this.onclose?.(event);
    socket.onerror = (/** @type {any} */ event) => this.onerror?.(event);
    socket.onmessage = (/** @type {any} */ { data }) => {
      const lines = String(data).split("\n").filter(Boolean);
      if (!this.#isKnown) {
        let result;
        try {
          result = welcome(lines.shift() ?? "");
        } catch (error) {
          return fail(error);
        }
        this.#isKnown = true;
        this.#beats = result.ping > 0 && result.ping <= heartbeat;
        this.onopen();
        this.#beats && this.onmessage({ data: "" });
        enter(result);
      }
      lines.forEach((line) => this.#take(line));
    };
  }

  get readyState() { return this.#isKnown ? this.#socket.readyState : 0; }

  get bufferedAmount() { return this.#socket.bufferedAmount; }

  /** @param {string} text */
  send(text) { this.#socket.send(text); }

  close(code = COMING_BACK, reason = "") {
    this.#isOver = true;
    this.#socket.close(code, reason);
  }

  /** @param {string} line */
  #take(line) {
    if (line.startsWith('{"push"')) {
      this.onmessage({ data: line }); // this proves the connection; answers do not
    } else {
      line === "{}" ? this.readyState === 1 && this.#socket.send(line) : this.#answered(line);
      this.#beats && this.onmessage({ data: "" });
    }
  }
}

/** The state of a client's channels, across all its connections. Returns what is to be dispatched:
 * objects with `type` and fields. */
export class Subscriptions {
  /** @type {Map<string, any>} */ #subs = new Map();
  /** @type {any} */ #mine; // the connection's own, with its token
  #options;

  /** @param {{ token?: any, minDelay?: number, maxDelay?: number }} options */
  constructor({ token, ...options }) {
    this.#mine = { token, state: OUT };
    this.#options = options;
  }

  /** @param {string} channel
   * @param {any} [wish] the position last seen, a token, or both */
  want(channel, wish) {
    if (typeof channel !== "string" || !channel || this.#subs.has(channel)) {
      throw new TypeError(`channel is ${channel}: use text, and each channel once`);
    }
    const { token, ...since } = /string|function/.test(typeof wish) ? { token: wish } : wish ?? {};
    const seen = typeof (wish ?? {}) !== "object" && wish !== token
      || Object.keys(since).length > 0;
    if (seen && !(Number.isInteger(since.offset) && typeof since.epoch === "string")) {
      throw new TypeError(`position of ${channel} is ${wish}: use { offset, epoch }, or null`);
    }
    if (token === "" || !/string|function|undefined/.test(typeof (token ?? undefined))) {
      throw new TypeError(`token of ${channel} is not text: use text or a function that gives it`);
    }
    this.#subs.set(channel, { state: OUT, isOurs: true, offset: 0, epoch: "", ...since, token,
      failures: 0, resumes: seen, canAsk: seen });
  }

  /** @param {string} channel
   * @returns {boolean} whether the server needs to know */
  leave(channel) {
    const state = this.#subs.get(channel)?.state;
    this.#subs.delete(channel);
    return state === ASKED || state === IN;
  }

  /** @param {string} channel */
  position(channel) {
    const { offset, epoch } = this.#subs.get(channel) ?? {};
    return epoch ? { offset, epoch } : null;
  }

  /** Begin a connection: return the `subs` for its `connect`. */
  begin() {
    const known = [...this.#subs].filter(([, sub]) => sub.byServer);
    for (const sub of [this.#mine, ...this.#subs.values()]) {
      Object.assign(sub, { state: OUT, ask: null, failures: 0, refusals: 0 });
    }
    return Object.fromEntries(known.map(([channel, sub]) => [channel, resuming(sub)]));
  }

  /** Yield what to ask the server for: a command with its token or token function, and callbacks
   * that return the events for its answer. */
  *wanted() {
    for (const [channel, sub] of [...this.#subs]) {
      if (sub.state === OUT && sub.isOurs && this.#subs.get(channel) === sub) {
        sub.state = ASKED;
        yield this.#need("subscribe", channel, sub,
          (found) => this.#entered(channel, sub, found),
          (error) => this.#refused(channel, sub, error));
      }
    }
  }

  /** A time has come: a channel's, or that of the connection's token (""). Return a command for a
   * new token, or null.
   * @param {string} channel */
  due(channel) {
    const sub = channel ? this.#subs.get(channel) : this.#mine;
    if (sub?.state !== IN) {
      sub && (sub.state = sub.state === LATER ? OUT : sub.state);
      return null;
    }
    return this.#need(channel ? "sub_refresh" : "refresh", channel, sub, (found) => {
      sub.refusals = 0;
      return this.#expiring(channel, sub, found);
    }, (error) => this.#retrying(channel, sub, error)); // the old token remains valid
  }

  /** @param {string} command
   * @param {string} channel
   * @param {any} sub
   * @param {(found: any) => Iterable<any>} done
   * @param {(error: any) => Iterable<any>} fail */
  #need(command, channel, sub, done, fail) {
    const { state } = sub;
    const ask = sub.ask = {};
    const isWanted = () => sub.ask === ask && sub.state === state &&
      (sub === this.#mine || this.#subs.get(channel) === sub);
    return { command, channel, token: sub.token, isWanted,
      request: (/** @type {any} */ token) => ({ ...(channel && { channel }),
        ...(state === ASKED && resuming(sub)), ...(token && { token }) }),
      done: (/** @type {any} */ found) => isWanted() ? done(found) : [],
      fail: (/** @type {any} */ error) => isWanted() ? fail(error) : [] };
  }

  /** Take the answer to `connect`.
   * @param {any} result */
  *connected({ subs = {}, ...result }) {
    this.#mine.state = IN;
    yield* this.#expiring("", this.#mine, result);
    for (const [channel, found] of Object.entries(subs)) {
      yield* this.#enteredByServer(channel, found);
    }
    for (const [channel, sub] of [...this.#subs]) {
      if (sub.byServer && !(channel in subs)) {
        sub.byServer = false;
        yield* sub.isOurs ? [] : this.#lost(channel, GONE);
      }
    }
  }

  /** Take what the server sends unasked.
   * @param {any} push */
  *pushed({ channel = "", pub, join, leave, message, subscribe, unsubscribe }) {
    const sub = this.#subs.get(channel);
    if (pub && sub?.state === IN) {
      yield this.#published(channel, sub, pub);
    } else if (join || leave) {
      yield { type: join ? "join" : "leave", channel, info: (join ?? leave).info };
    } else if (message) {
      yield { type: "message", data: message.data };
    } else if (subscribe) {
      yield* this.#enteredByServer(channel, subscribe);
    } else if (unsubscribe && sub) {
      const again = unsubscribe.code >= FIRST_RESUBSCRIBE && sub.isOurs;
      yield* again ? this.#removed(channel, sub, unsubscribe) : this.#lost(channel, unsubscribe);
    }
  }

  /** @param {string} channel
   * @param {any} found */
  *#enteredByServer(channel, found) {
    const sub = this.#subs.get(channel) ?? {};
    sub.byServer = true;
    this.#subs.set(channel, sub);
    yield* this.#entered(channel, sub, found);
  }

  /** @param {string} channel
   * @param {any} sub
   * @param {any} found */
  *#entered(channel, sub, { recovered = false, offset = 0, epoch = "", publications = [],
    ...rest }) {
    const isGap = sub.resumes && !recovered;
    Object.assign(sub, { state: IN, resumes: true, canAsk: !!epoch, offset, epoch,
      enteredAt: performance.now(), refusals: 0 });
    if (isGap) {
      yield { type: "gap", channel };
    }
    yield* this.#expiring(channel, sub, rest);
    yield { type: "subscribed", channel, recovered, offset, epoch };
    for (const publication of publications) {
      if (this.#subs.get(channel) === sub) { // a listener may have left it
        yield this.#published(channel, sub, publication);
      }
    }
  }

  /** @param {string} channel
   * @param {any} sub
   * @param {any} publication */
  #published(channel, sub, { data, offset = 0, info, tags }) {
    sub.offset = offset || sub.offset; // 0: not in the history
    return { type: "publication", channel, data, offset, epoch: sub.epoch, info, tags };
  }

  /** @param {string} channel
   * @param {any} sub
   * @param {any} error */
  *#refused(channel, sub, error) {
    const { code, reason, temporary } = error;
    const again = temporary || code === TOKEN_EXPIRED && typeof sub.token === "function";
    sub.state = code === ALREADY_SUBSCRIBED ? IN : LATER;
    if (sub.state === LATER) {
      yield* again ? this.#retrying(channel, sub, error) : this.#lost(channel, { code, reason });
    }
  }

  /** Leave a channel and come back at once; if that repeats soon, after ever longer delays.
   * @param {string} channel
   * @param {any} sub
   * @param {{ code: number, reason: string }} why */
  *#removed(channel, sub, why) {
    sub.failures = performance.now() - sub.enteredAt >= PROVED_AFTER ? 0 : sub.failures;
    sub.state = sub.failures ? LATER : OUT;
    yield* sub.failures ? this.#retrying(channel, sub, why) : [];
    sub.failures ||= 1;
  }

  /** @param {string} channel
   * @param {any} sub
   * @param {{ code?: number, reason: string }} why */
  #retrying(channel, sub, { code, reason: why }) {
    const key = sub.state === IN ? "refusals" : "failures";
    sub[key] = (sub[key] ?? 0) + 1;
    const { minDelay = 0.5, maxDelay = 20 } = this.#options;
    const most = 1000 * Math.min(maxDelay, minDelay * 2 ** (sub[key] - 1));
    const delay = Math.round(SHORTEST_DELAY + Math.random() * Math.max(0, most - SHORTEST_DELAY));
    const reason = code ? `${code}: ${why}` : why;
    return [{ type: "retry", channel, reason, delay }];
  }

  /** Say when to fetch a new token, if this one expires and a function returns them.
   * @param {string} channel
   * @param {any} sub
   * @param {{ expires?: boolean, ttl?: number }} found */
  #expiring(channel, { token }, { expires, ttl = 0 }) {
    const delay = 1000 * Math.max(1, ttl) * (0.8 + 0.1 * Math.random());
    return expires && typeof token === "function" ? [{ type: "expires", channel, delay }] : [];
  }

  /** @param {string} channel
   * @param {{ code: number, reason: string }} why */
  *#lost(channel, { code, reason }) {
    this.#subs.delete(channel);
    yield { type: "lost", channel, code, reason };
  }
}

/** @param {{ canAsk: boolean, offset: number, epoch: string }} sub */
function resuming({ canAsk, offset, epoch }) {
  return canAsk ? { recover: true, offset, epoch } : {};
}
