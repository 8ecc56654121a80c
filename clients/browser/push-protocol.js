// Centrifugo's JSON protocol for push-channels.js: its beginning, and what is known of channels.

const COMING_BACK = 4000; // close codes of ours: for another connection, and for good
const REFUSED = 4500;
const TOKEN_EXPIRED = 109; // error codes of the server's
const ALREADY_SUBSCRIBED = 105;
const FIRST_RESUBSCRIBE = 2500; // unsubscribed with this code or more: subscribe again
const GONE = { code: 2000, reason: "server unsubscribe" };
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
      this.terminate = () => socket.terminate();
    }
    const fail = (/** @type {any} */ { closeCode = COMING_BACK, message }) => {
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

  close(code = COMING_BACK, reason = "") { this.#socket.close(code, reason); }

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

  /** @param {string} channel
   * @param {{ offset: number, epoch: string } | null} [since] what has been seen of it */
  want(channel, since) {
    if (typeof channel !== "string" || !channel || this.#places.has(channel)) {
      throw new TypeError(`channel is ${channel}: use text, and each channel once`);
    }
    if (since && !(Number.isInteger(since.offset) && typeof since.epoch === "string")) {
      throw new TypeError(`position of ${channel} is ${since}: use { offset, epoch }, or null`);
    }
    this.#places.set(channel, { state: OUT, isOurs: true, offset: 0, epoch: "", ...since,
      resumes: !!since, canAsk: !!since });
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
    this.again(true);
    return Object.fromEntries(known.map(([channel, place]) => [channel, resuming(place)]));
  }

  /** Let channels be asked for that the server could not let the client into, or all. */
  again(all = false) {
    for (const place of this.#places.values()) {
      place.state = all || place.state === LATER ? OUT : place.state;
    }
  }

  /** Go through what is to be asked for: a request, and what tells the events of its answer. */
  *wanted() {
    for (const [channel, place] of [...this.#places]) {
      if (place.state === OUT && place.isOurs && this.#places.get(channel) === place) {
        place.state = ASKED;
        const isAsked = () => this.#places.get(channel) === place && place.state === ASKED;
        yield { request: { channel, ...resuming(place) },
          done: (/** @type {any} */ found) =>
            isAsked() ? this.#entered(channel, place, found) : [],
          fail: (/** @type {any} */ error) =>
            isAsked() ? this.#refused(channel, place, error) : [] };
      }
    }
  }

  /** Take the answer to `connect`.
   * @param {any} result */
  *connected({ subs = {} }) {
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
      place.state = OUT;
      const again = unsubscribe.code >= FIRST_RESUBSCRIBE && place.isOurs;
      yield* again ? [] : this.#lost(channel, unsubscribe);
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
  *#entered(channel, place, { recovered = false, offset = 0, epoch = "", publications = [] }) {
    const isGap = place.resumes && !recovered;
    Object.assign(place, { state: IN, resumes: true, canAsk: !!epoch, offset, epoch });
    if (isGap) {
      yield { type: "gap", channel };
    }
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
  *#refused(channel, place, { code, reason, temporary }) {
    place.state = code === ALREADY_SUBSCRIBED ? IN : LATER;
    if (place.state === LATER && !temporary) {
      yield* this.#lost(channel, { code, reason });
    }
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
