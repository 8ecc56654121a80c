// Centrifugo's JSON protocol for push-channels.js: its beginning, and what is known of channels.

const COMING_BACK = 4000; // close codes of ours: for another connection, and for good
const REFUSED = 4500;
const TOKEN_EXPIRED = 109; // error codes of the server's
const ALREADY_SUBSCRIBED = 105;
const FIRST_RESUBSCRIBE = 2500; // unsubscribed with this code or more: subscribe again
const GONE = { code: 2000, reason: "server unsubscribe" };
const SHORTEST_DELAY = 50; // ms
const PROVED_AFTER = 5000; // ms in a channel, after which being sent out is no failure in a row
const FOREIGN = "the server does not speak Centrifugo's JSON protocol here";
const [OUT, ASKED, LATER, IN] = [0, 1, 2, 3];

/** Return what a server's answer to `connect` has, or throw why it makes no connection.
 * @param {string} line
 * @param {boolean} renews the next connection will show another token */
export function welcomed(line, renews) {
  let reply;
  try {
    reply = JSON.parse(line);
  } catch { /* as if it were something else */ }
  const { code, message, temporary } = reply?.error ?? {};
  if (code || !reply?.connect) {
    const again = temporary || code === TOKEN_EXPIRED && renews;
    throw Object.assign(new Error(code ? `connect: ${code}: ${message}` : FOREIGN),
      { closeCode: again ? COMING_BACK : REFUSED });
  }
  return reply.connect;
}

/** A socket that is open once the server has answered `connect`, and that answers pings. */
export class Greeter {
  /** @type {any} */ #socket;
  #isKnown = false;
  /** @type {(line: string) => void} */ #answered;
  #isOver = false; // the client has given it up
  #beats = false; // the server's pings come often enough to be heartbeats
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
      if (this.#isOver) { // a token function may fail after that: nobody is to hear it
        return;
      }
      socket.onclose = socket.onmessage = null;
      socket.close(closeCode);
      this.onclose({ code: closeCode, reason: message, wasClean: false });
    };
    socket.onopen = () => token().then((shown) => { // given up meanwhile, it is not to begin
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

  /** @param {string} text */
  send(text) { this.#socket.send(text); }

  close(code = COMING_BACK, reason = "") {
    this.#isOver = true;
    this.#socket.close(code, reason);
  }

  /** @param {string} line */
  #take(line) {
    if (line.startsWith('{"push"')) {
      this.onmessage({ data: line }); // this proves a connection, which answers do not
    } else {
      line === "{}" ? this.readyState === 1 && this.#socket.send(line) : this.#answered(line);
      this.#beats && this.onmessage({ data: "" });
    }
  }
}

/** What a client knows of its channels, over all its connections. Says what there is to dispatch:
 * objects with `type` and fields. */
export class Places {
  /** @type {Map<string, any>} */ #places = new Map();
  /** @type {any} */ #mine; // the connection's own, with its token
  #options;

  /** @param {{ token?: any, minDelay?: number, maxDelay?: number }} options */
  constructor({ token, ...options }) {
    this.#mine = { token, state: OUT };
    this.#options = options;
  }

  /** @param {string} channel
   * @param {any} [wish] what has been seen of it, its token, or both */
  want(channel, wish) {
    if (typeof channel !== "string" || !channel || this.#places.has(channel)) {
      throw new TypeError(`channel is ${channel}: use text, and each channel once`);
    }
    const { token, ...since } = /string|function/.test(typeof wish) ? { token: wish } : wish ?? {};
    const seen = typeof (wish ?? {}) !== "object" && wish !== token || Object.keys(since).length > 0;
    if (seen && !(Number.isInteger(since.offset) && typeof since.epoch === "string")) {
      throw new TypeError(`position of ${channel} is ${wish}: use { offset, epoch }, or null`);
    }
    if (token === "" || !/string|function|undefined/.test(typeof (token ?? undefined))) {
      throw new TypeError(`token of ${channel} is no text: use that, or a function that returns it`);
    }
    this.#places.set(channel, { state: OUT, isOurs: true, offset: 0, epoch: "", ...since, token,
      failures: 0, resumes: seen, canAsk: seen });
  }

  /** @param {string} channel
   * @returns {boolean} whether the server has to be told */
  leave(channel) {
    const state = this.#places.get(channel)?.state;
    this.#places.delete(channel);
    return state === ASKED || state === IN;
  }

  /** @param {string} channel */
  position(channel) {
    const { offset, epoch } = this.#places.get(channel) ?? {};
    return epoch ? { offset, epoch } : null;
  }

  /** Begin a connection: return `subs` of its `connect`. */
  begin() {
    const known = [...this.#places].filter(([, place]) => place.byServer);
    for (const place of [this.#mine, ...this.#places.values()]) {
      Object.assign(place, { state: OUT, ask: null, failures: 0, refusals: 0 });
    }
    return Object.fromEntries(known.map(([channel, place]) => [channel, resuming(place)]));
  }

  /** Go through what is to be asked for: a command with a token or what makes one, and what tells
   * the events of its answer. */
  *wanted() {
    for (const [channel, place] of [...this.#places]) {
      if (place.state === OUT && place.isOurs && this.#places.get(channel) === place) {
        place.state = ASKED;
        yield this.#need("subscribe", channel, place,
          (found) => this.#entered(channel, place, found),
          (error) => this.#refused(channel, place, error));
      }
    }
  }

  /** Take note that a channel's time has come, or that of the connection's token (""): return a
   * command with a new token, or null.
   * @param {string} channel */
  due(channel) {
    const place = channel ? this.#places.get(channel) : this.#mine;
    if (place?.state !== IN) {
      place && (place.state = place.state === LATER ? OUT : place.state);
      return null;
    }
    return this.#need(channel ? "sub_refresh" : "refresh", channel, place, (found) => {
      place.refusals = 0;
      return this.#expiring(channel, place, found);
    }, (error) => this.#retrying(channel, place, error)); // the token before it still holds
  }

  /** @param {string} command
   * @param {string} channel
   * @param {any} place
   * @param {(found: any) => Iterable<any>} done
   * @param {(error: any) => Iterable<any>} fail */
  #need(command, channel, place, done, fail) {
    const { state } = place;
    const ask = place.ask = {};
    const isWanted = () => place.ask === ask && place.state === state &&
      (place === this.#mine || this.#places.get(channel) === place);
    return { command, channel, token: place.token, isWanted,
      request: (/** @type {any} */ token) => ({ ...(channel && { channel }),
        ...(state === ASKED && resuming(place)), ...(token && { token }) }),
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
    for (const [channel, place] of [...this.#places]) {
      if (place.byServer && !(channel in subs)) {
        place.byServer = false;
        yield* place.isOurs ? [] : this.#lost(channel, GONE);
      }
    }
  }

  /** Take what no command has asked for.
   * @param {any} push */
  *pushed({ channel = "", pub, join, leave, message, subscribe, unsubscribe }) {
    const place = this.#places.get(channel);
    if (pub && place?.state === IN) {
      yield this.#published(channel, place, pub);
    } else if (join || leave) {
      yield { type: join ? "join" : "leave", channel, info: (join ?? leave).info };
    } else if (message) {
      yield { type: "message", data: message.data };
    } else if (subscribe) {
      yield* this.#enteredByServer(channel, subscribe);
    } else if (unsubscribe && place) {
      const again = unsubscribe.code >= FIRST_RESUBSCRIBE && place.isOurs;
      yield* again ? this.#sentOut(channel, place, unsubscribe) : this.#lost(channel, unsubscribe);
    }
  }

  /** @param {string} channel
   * @param {any} found */
  *#enteredByServer(channel, found) {
    const place = this.#places.get(channel) ?? {};
    place.byServer = true;
    this.#places.set(channel, place);
    yield* this.#entered(channel, place, found);
  }

  /** @param {string} channel
   * @param {any} place
   * @param {any} found */
  *#entered(channel, place, { recovered = false, offset = 0, epoch = "", publications = [],
    ...rest }) {
    const isGap = place.resumes && !recovered;
    Object.assign(place, { state: IN, resumes: true, canAsk: !!epoch, offset, epoch,
      enteredAt: Date.now(), refusals: 0 });
    if (isGap) {
      yield { type: "gap", channel };
    }
    yield* this.#expiring(channel, place, rest);
    yield { type: "subscribed", channel, recovered, offset, epoch };
    for (const publication of publications) {
      if (this.#places.get(channel) === place) { // a listener may have left it
        yield this.#published(channel, place, publication);
      }
    }
  }

  /** @param {string} channel
   * @param {any} place
   * @param {any} publication */
  #published(channel, place, { data, offset = 0, info, tags }) {
    place.offset = offset || place.offset; // what is not remembered has none, and moves nothing
    return { type: "publication", channel, data, offset, epoch: place.epoch, info, tags };
  }

  /** @param {string} channel
   * @param {any} place
   * @param {any} error */
  *#refused(channel, place, error) {
    const { code, reason, temporary } = error;
    const again = temporary || code === TOKEN_EXPIRED && typeof place.token === "function";
    place.state = code === ALREADY_SUBSCRIBED ? IN : LATER;
    if (place.state === LATER) {
      yield* again ? this.#retrying(channel, place, error) : this.#lost(channel, { code, reason });
    }
  }

  /** Be out of a channel for a moment; soon after coming in, for longer each time.
   * @param {string} channel
   * @param {any} place
   * @param {{ code: number, reason: string }} why */
  *#sentOut(channel, place, why) {
    place.failures = Date.now() - place.enteredAt >= PROVED_AFTER ? 0 : place.failures;
    place.state = place.failures ? LATER : OUT;
    yield* place.failures ? this.#retrying(channel, place, why) : [];
    place.failures ||= 1;
  }

  /** @param {string} channel
   * @param {any} place
   * @param {{ code?: number, reason: string }} why */
  #retrying(channel, place, { code, reason: why }) {
    const key = place.state === IN ? "refusals" : "failures";
    place[key] = (place[key] ?? 0) + 1;
    const { minDelay = 0.5, maxDelay = 20 } = this.#options;
    const most = 1000 * Math.min(maxDelay, minDelay * 2 ** (place[key] - 1));
    const delay = Math.round(SHORTEST_DELAY + Math.random() * Math.max(0, most - SHORTEST_DELAY));
    const reason = code ? `${code}: ${why}` : why;
    return [{ type: "retry", channel, reason, delay }];
  }

  /** Say when to have another token, if this one expires and there will be one.
   * @param {string} channel
   * @param {any} place
   * @param {{ expires?: boolean, ttl?: number }} found */
  #expiring(channel, { token }, { expires, ttl = 0 }) {
    const delay = 1000 * Math.max(1, ttl) * (0.8 + 0.1 * Math.random());
    return expires && typeof token === "function" ? [{ type: "expires", channel, delay }] : [];
  }

  /** @param {string} channel
   * @param {{ code: number, reason: string }} why */
  *#lost(channel, { code, reason }) {
    this.#places.delete(channel);
    yield { type: "lost", channel, code, reason };
  }
}

/** @param {{ canAsk: boolean, offset: number, epoch: string }} place */
function resuming({ canAsk, offset, epoch }) {
  return canAsk ? { recover: true, offset, epoch } : {};
}
