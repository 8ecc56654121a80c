// A WebSocket that stays connected: for browsers, for workers, and for Node with the `ws` package.
// How to use it: docs/browser.md. Its types: push-client.d.ts.

const SHORTEST_DELAY = 50; // ms; a server that has just died is left alone this long
const PROVED_AFTER = 5000; // ms open after which the back-off starts anew, even without a message
const STEP = 5000; // ms; longer waits check the clock this often: timers stop during sleep
const JUMP = 3000; // ms; a timer or clock this late means that the page or the machine was asleep
const WAKE_GRACE = 2000; // ms for messages that came meanwhile to be delivered
const CLOSE_TIMEOUT = 5000; // ms for a server to answer a close
const DEFAULTS = { heartbeat: 25, minDelay: 0.5, maxDelay: 20, timeout: 10, protocols: [],
  binaryType: "arraybuffer" };

/** Tell whether a close code means that the client should not come back.
 * @param {number} code */
export function isFinal(code) {
  return code === 1000 || (code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999);
}

/** What a `PushClient` dispatches; the type determines the fields. */
export class PushEvent extends Event {
  /** @param {string} type
   * @param {object} [fields] */
  constructor(type, fields) {
    super(type);
    Object.assign(this, fields);
  }

  /** Return the data of a message, parsed as JSON; of a Blob, a promise of that, which is how they
   * are read. Throws a SyntaxError, or rejects with it, if it is not JSON. */
  json() {
    const { data } = /** @type {any} */ (this);
    return typeof data.text === "function" ? data.text().then(JSON.parse) : JSON.parse(typeof data === "string" ? data : new TextDecoder().decode(data));
  }
}

/** Stay connected to a WebSocket address. Dispatches `open`, `message`, `close` and `state`. */
export class PushClient extends EventTarget {
  #options;
  #url;
  #silence; // ms of silence after which a server that sends heartbeats counts as gone
  #state = "closed";
  #turn = 0; // counts changes of state
  #failures = 0;
  /** @type {number | null} */ #retryAt = null;
  /** @type {any} */ #socket = null;
  /** @type {any} */ #timer;
  /** @type {AbortController | undefined} */ #page;
  #since = 0; // when the state last changed, by our own clock
  #heardAt = 0;
  #hasReceived = false;
  #isWatched = false; // the server has shown that it sends heartbeats

  /** @param {string | URL} url absolute, or relative to the page; http becomes ws
   * @param {import("./push-client.js").PushClientOptions} [options] */
  constructor(url, options = {}) {
    super();
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const all = /** @type {any} */ ({ WebSocket: globalThis.WebSocket, ...DEFAULTS,
      ...Object.fromEntries(given) });
    for (const name of ["minDelay", "maxDelay", "timeout", "heartbeat"]) {
      const [least, or] = name === "heartbeat" ? [1, ", or 0 for none"] : [0.001, ""];
      if (!(all[name] >= least && all[name] <= 3600 || or && all[name] === 0)) {
        throw new RangeError(`${name} is ${all[name]}: use ${least} to 3600 seconds${or}`);
      }
    }
    if (typeof all.WebSocket !== "function") {
      throw new TypeError("there is no WebSocket here: pass one as options.WebSocket");
    }
    this.#options = all;
    this.#silence = 1000 * (all.heartbeat + Math.min(10, Math.max(2, 0.4 * all.heartbeat)));
    this.#url = address(url, { refusals: "close", ...all.params, // so that a page sees the reason
      ...(all.Id !== undefined && { Id: all.Id }),
      ...(all.heartbeat && { heartbeat: all.heartbeat }) });
    if (all.autoConnect !== false) {
      this.connect();
    }
  }

  /** "connecting", "open", "waiting" for the next attempt, or "closed" for good. */
  get state() { return this.#state; }

  /** The address to connect to, with the whole query. */
  get url() { return this.#url.href; }

  /** The Id in that address, or null. */
  get Id() { return this.#url.searchParams.get("Id"); }

  /** How many attempts have failed since a connection last proved itself. */
  get attempt() { return this.#failures; }

  /** When the next attempt is due, in ms since 1970; null unless waiting. */
  get retryAt() { return this.#retryAt; }

  /** Bytes that `send` took and the network has not; 0 unless open. */
  get bufferedAmount() { return this.#state === "open" ? this.#socket.bufferedAmount : 0; }

  /** Connect: at once if waiting, anew if closed. Does nothing if connecting or open. */
  connect() {
    if (this.#state === "closed") {
      this.#failures = 0;
      this.#watchPage();
      this.#connect();
    } else if (this.#state === "waiting") {
      this.#connect();
    }
  }

  /** Send text or binary data as it is, and anything else as JSON.
   * @param {unknown} data
   * @returns {boolean} true: an open socket took it. False: not open; nothing sent or queued. */
  send(data) {
    const kind = Object.prototype.toString.call(data); // those of another frame fail instanceof
    const isBinary = ArrayBuffer.isView(data) || /ArrayBuffer|Blob|File/.test(kind);
    const payload = typeof data === "string" || isBinary ? data : JSON.stringify(data);
    if (payload === undefined) {
      throw new TypeError(`JSON cannot hold ${typeof data}: send text, binary data or JSON`);
    }
    if (this.#state !== "open" || this.#socket.readyState !== 1) {
      return false;
    }
    this.#socket.send(payload);
    return true;
  }

  /** Close for good; nothing more is delivered. Does nothing if closed.
   * @param {number} [code] 1000, or 3000 to 4999
   * @param {string} [reason] at most 123 bytes of UTF-8 */
  close(code = 1000, reason = "") {
    if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) {
      throw new RangeError(`close code is ${code}: use 1000, or 3000 to 4999`);
    }
    if (new TextEncoder().encode(reason).length > 123) {
      throw new RangeError("close reason is too long: use at most 123 bytes of UTF-8");
    }
    if (this.#state !== "closed") {
      const socket = this.#become("closed");
      socket?.close(code, reason);
      if (socket?.terminate) { // from `ws`, which waits long; browsers end by themselves
        const timer = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT);
        socket.onclose = () => clearTimeout(timer);
      }
      this.#report("close", { code, reason, wasClean: true, final: true });
    }
  }

  #connect() {
    this.#become("connecting");
    let /** @type {any} */ socket;
    try {
      socket = new this.#options.WebSocket(this.#url.href, this.#options.protocols);
    } catch (error) { // these settings can never work
      this.#become("closed");
      this.#report("close", { code: 1006, reason: String(error), wasClean: false, final: true });
      throw error;
    }
    this.#socket = socket;
    this.#hasReceived = this.#isWatched = false;
    socket.binaryType = this.#options.binaryType;
    const isOurs = () => socket === this.#socket; // abandoned sockets may still fire events
    socket.onopen = () => isOurs() && this.#become("open", socket) && this.#report("open");
    socket.onmessage = (/** @type {any} */ event) => isOurs() && this.#received(event.data);
    socket.onclose = (/** @type {any} */ event) => isOurs() && this.#lost(event);
    socket.onerror = () => {}; // `ws` throws errors without a listener; a close follows
    this.#after(this.#options.timeout * 1000, () => this.#drop("no answer in time"));
    this.#report();
  }

  /** @param {unknown} data */
  #received(data) {
    this.#heardAt = clock();
    if (data === "" && this.#options.heartbeat && (this.#isWatched || !this.#hasReceived)) {
      this.#isWatched = true; // a server with heartbeats begins with one; others are not watched
      this.#check(false);
      return;
    }
    this.#hasReceived = true;
    this.#failures = 0;
    this.dispatchEvent(new PushEvent("message", { data }));
  }

  /** Drop a connection that has been silent for too long; otherwise check again later.
   * @param {boolean} wasAsleep messages that came meanwhile may be about to be delivered */
  #check(wasAsleep) {
    const left = this.#silence - (clock() - this.#heardAt);
    if (left > 0 || wasAsleep) {
      this.#after(left > 0 ? left : WAKE_GRACE, (asleep) => this.#check(asleep));
    } else {
      this.#drop("no heartbeat");
    }
  }

  /** Abandon a socket without waiting for its close event, which may never come.
   * @param {string} reason
   * @param {boolean} [paused] */
  #drop(reason, paused) {
    const socket = this.#socket;
    this.#socket = null;
    socket.terminate ? socket.terminate() : socket.close();
    this.#lost({ code: 1006, reason, wasClean: false }, paused);
  }

  /** @param {{ code: number, reason: string, wasClean: boolean }} event
   * @param {boolean} [paused] not the server's fault, and an event will end the wait */
  #lost({ code, reason, wasClean }, paused = globalThis.navigator?.onLine === false) {
    const final = isFinal(code);
    const proved = this.#state === "open" &&
      (this.#hasReceived || clock() - this.#since >= PROVED_AFTER);
    this.#failures = proved ? 0 : this.#failures + (paused || final ? 0 : 1);
    this.#become(final ? "closed" : "waiting");
    if (!final) {
      const { minDelay, maxDelay } = this.#options;
      const most = 1000 * Math.min(maxDelay, minDelay * 2 ** Math.max(0, this.#failures - 1));
      const delay = Math.round(paused ? 1000 * maxDelay
        : SHORTEST_DELAY + Math.random() * Math.max(0, most - SHORTEST_DELAY));
      this.#retryAt = Date.now() + delay;
      this.#after(delay, () => this.#connect());
    }
    this.#report("close", { code, reason, wasClean, final });
  }

  /** Change the state and end the current wait. Return the socket that is no longer ours.
   * @param {string} state */
  #become(state, socket = null) {
    const old = this.#socket;
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#state = state;
    this.#since = clock();
    this.#socket = socket;
    this.#retryAt = null;
    if (state === "closed") {
      this.#page?.abort();
    }
    return old;
  }

  /** Report a change of state, unless a listener has caused another one meanwhile.
   * @param {string} [type] another event to dispatch
   * @param {object} [fields] */
  #report(type, fields) {
    const turn = this.#turn;
    const delay = this.#retryAt ? Math.max(0, this.#retryAt - Date.now()) : 0;
    const events = [new PushEvent("state", { state: this.#state, delay })];
    type && events.push(new PushEvent(type, fields));
    for (const event of type === "close" ? events.reverse() : events) {
      turn === this.#turn && this.dispatchEvent(event);
    }
  }

  /** Call something after a delay by our own clock, which goes on during sleep.
   * @param {number} delay
   * @param {(wasAsleep: boolean) => void} action */
  #after(delay, action) {
    clearTimeout(this.#timer);
    const begun = clock();
    const step = Math.min(STEP, delay);
    this.#timer = setTimeout(() => {
      const passed = Math.max(step, clock() - begun);
      passed < delay ? this.#after(delay - passed, action) : action(passed - step > JUMP);
    }, step);
  }

  /** Watch the page, if there is one: the network comes and goes, the page sleeps and wakes. */
  #watchPage() {
    this.#page = new AbortController();
    /** @type {(target: any, type: string, listener: () => void) => void} */
    const on = (target, type, listener) =>
      target?.addEventListener?.(type, listener, { signal: this.#page?.signal });
    const pause = (/** @type {string} */ why) => this.#socket && this.#drop(why, true);
    const wake = () => {
      if (this.#state === "waiting") {
        this.#connect();
      } else if (this.#isWatched && this.#state === "open") {
        this.#check(true);
      }
    };
    on(globalThis, "online", wake);
    on(globalThis, "offline", () => pause("offline"));
    on(globalThis, "pageshow", wake); // browsers cache no page that has an open socket
    on(globalThis, "pagehide", () => pause("page hidden"));
    on(globalThis.document, "visibilitychange", () => document.hidden || wake());
  }
}

let [ahead, slept] = [Date.now() - performance.now(), 0];

/** Return a time in ms that goes on during sleep, when `performance.now()` may stand still, and that
 * nobody sets back, as `Date.now()` may be. */
function clock() {
  const steady = performance.now();
  const more = Date.now() - steady - ahead;
  ahead += more;
  slept += more > JUMP ? more : 0;
  return steady + slept;
}

/** @param {string | URL} url
 * @param {Record<string, any>} params */
function address(url, params) {
  const found = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  found.protocol = found.protocol.replace("http", "ws");
  if (!/^wss?:$/.test(found.protocol)) {
    throw new TypeError(`url is ${found.href}: use ws, wss, http or https`);
  }
  found.hash = "";
  for (const [name, value] of Object.entries(params)) {
    found.searchParams.delete(name);
    for (const each of [value ?? []].flat()) {
      found.searchParams.append(name, String(each));
    }
  }
  return found;
}
