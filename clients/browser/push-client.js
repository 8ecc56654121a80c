// A WebSocket that stays connected: for browsers, for workers, and for Node with the package `ws`.
// docs/browser.md tells how to use it; push-client.d.ts has its types.

const SHORTEST_DELAY = 50; // ms; a server that has just died gets at least this
const PROVED_AFTER = 5000; // ms open, after which the back-off starts anew even without a message
const STEP = 5000; // ms; longer waits look at the clock so often, to notice that they were asleep
const JUMP = 3000; // ms that a timer may be late before the page must have been asleep
const WAKE_GRACE = 2000; // ms for what came while asleep to be delivered
const CLOSE_TIMEOUT = 5000; // ms for a server to answer a close; only Node needs to be told
const LOST = 1006;

/** Tell whether a close code means that a client should not come back.
 * @param {number} code */
export function isFinal(code) {
  return code === 1000 || (code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999);
}

/** What a `PushClient` dispatches; which fields it has depends on its type. */
export class PushEvent extends Event {
  /** @param {string} type
   * @param {object} [fields] */
  constructor(type, fields) {
    super(type);
    Object.assign(this, fields);
  }

  /** Return the data of a message as JSON has it; a SyntaxError if it is none.
   * @returns {any} */
  json() {
    const data = /** @type {any} */ (this).data;
    return JSON.parse(typeof data === "string" ? data : new TextDecoder().decode(data));
  }
}

/** Stay connected to a WebSocket address. Dispatches `open`, `message`, `close` and `state`. */
export class PushClient extends EventTarget {
  #options;
  #url;
  #WebSocket;
  #limit; // ms of silence after which a server that sends heartbeats is held to be gone
  #state = "closed";
  #failures = 0;
  /** @type {number | null} */
  #retryAt = null;
  /** @type {any} */
  #socket = null;
  /** @type {any} */
  #timer = 0;
  /** @type {AbortController | null} */
  #page = null;
  #turn = 0; // counts changes of state
  #openedAt = 0;
  #heardAt = 0;
  #hasReceived = false;
  #isWatched = false; // the server has said that it sends heartbeats

  /** @param {string | URL} url absolute, or relative to the page; http and https will do
   * @param {import("./push-client.js").PushClientOptions} [options] */
  constructor(url, options = {}) {
    super();
    this.#options = { heartbeat: 25, minDelay: 0.5, maxDelay: 20, timeout: 10,
      binaryType: "arraybuffer", ...given(options) };
    const { minDelay, maxDelay, timeout, heartbeat } = this.#options;
    for (const [name, value] of Object.entries({ minDelay, maxDelay, timeout })) {
      if (!(value > 0 && value <= 3600)) {
        throw new RangeError(`${name} is ${value}: use seconds, more than 0, at most 3600`);
      }
    }
    if (heartbeat !== 0 && !(heartbeat >= 1 && heartbeat <= 3600)) {
      throw new RangeError(`heartbeat is ${heartbeat}: use 1 to 3600 seconds, or 0 for none`);
    }
    this.#limit = 1000 * (heartbeat + Math.min(10, Math.max(2, 0.4 * heartbeat)));
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (typeof this.#WebSocket !== "function") {
      throw new TypeError("there is no WebSocket here: give one as options.WebSocket");
    }
    this.#url = address(url, { ...options.params, Id: options.Id ?? options.params?.Id,
      heartbeat: heartbeat || undefined });
    if (options.autoConnect !== false) {
      this.connect();
    }
  }

  /** "connecting", "open", "waiting" for the next attempt, or "closed" for good. */
  get state() {
    return this.#state;
  }

  /** The address that is connected to, with its whole query. */
  get url() {
    return this.#url.href;
  }

  /** The Id in that address, or null. */
  get Id() {
    return this.#url.searchParams.get("Id");
  }

  /** How many attempts have failed since a connection last proved itself. */
  get attempt() {
    return this.#failures;
  }

  /** When the next attempt is due, in ms since 1970; null unless waiting. */
  get retryAt() {
    return this.#retryAt;
  }

  /** Connect: at once when waiting, anew when closed. Does nothing when connecting or open. */
  connect() {
    if (this.#state === "closed") {
      this.#failures = 0;
      this.#watchPage();
    } else if (this.#state !== "waiting") {
      return;
    }
    try {
      this.#connect();
    } catch (error) { // what was asked for cannot work, now or later
      this.#stop("closed");
      throw error;
    }
  }

  /** Send text or binary data as it is, anything else as JSON.
   * @param {unknown} data
   * @returns {boolean} true: an open socket has it. False: not open; nothing was sent or queued. */
  send(data) {
    const payload = typeof data === "string" || isBinary(data) ? data : JSON.stringify(data);
    if (payload === undefined) {
      throw new TypeError(`JSON cannot hold ${typeof data}: send text, binary data or JSON`);
    }
    if (this.#state !== "open" || this.#socket.readyState !== 1) {
      return false;
    }
    this.#socket.send(payload);
    return true;
  }

  /** Close for good; nothing that still comes is delivered. Does nothing when closed.
   * @param {number} [code] 1000, or 3000 to 4999
   * @param {string} [reason] at most 123 bytes of UTF-8 */
  close(code = 1000, reason = "") {
    if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) {
      throw new RangeError(`close code is ${code}: use 1000, or 3000 to 4999`);
    }
    if (new TextEncoder().encode(reason).length > 123) {
      throw new RangeError("close reason is too long: use at most 123 bytes of UTF-8");
    }
    if (this.#state === "closed") {
      return;
    }
    const socket = this.#stop("closed");
    if (socket) {
      socket.close(code, reason);
      endInTime(socket);
    }
    this.#tellClosed({ code, reason, wasClean: true, final: true });
  }

  #connect() {
    this.#stop("connecting");
    const socket = new this.#WebSocket(this.#url.href, this.#options.protocols ?? []);
    socket.binaryType = this.#options.binaryType;
    this.#socket = socket;
    this.#hasReceived = this.#isWatched = false;
    // an old socket may speak late; it is asked for its errors because `ws` throws them otherwise
    const ours = () => socket === this.#socket;
    socket.onopen = () => ours() && this.#opened();
    socket.onmessage = (/** @type {any} */ event) => ours() && this.#received(event.data);
    socket.onclose = (/** @type {any} */ event) => ours() && this.#lost(event);
    socket.onerror = () => {};
    this.#after(this.#options.timeout * 1000, () => this.#drop("no answer in time"));
    this.#tell("state", { state: "connecting", delay: 0 });
  }

  #opened() {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#state = "open";
    this.#openedAt = Date.now();
    const turn = this.#turn;
    this.#tell("state", { state: "open", delay: 0 });
    if (turn === this.#turn) {
      this.#tell("open");
    }
  }

  /** @param {unknown} data */
  #received(data) {
    this.#heardAt = Date.now();
    const isFirst = !this.#hasReceived && !this.#isWatched;
    if (data === "" && this.#options.heartbeat && (isFirst || this.#isWatched)) {
      if (isFirst) { // a server that knows of heartbeats begins with one; others are not watched
        this.#isWatched = true;
        this.#watch(this.#limit);
      }
      return;
    }
    this.#hasReceived = true;
    this.#failures = 0;
    this.#tell("message", { data });
  }

  /** @param {number} delay */
  #watch(delay) {
    this.#after(delay, (wasAsleep) => this.#check(wasAsleep));
  }

  /** Drop a connection that has been silent for too long.
   * @param {boolean} wasAsleep what came meanwhile is perhaps about to be delivered */
  #check(wasAsleep) {
    const silent = Math.max(0, Date.now() - this.#heardAt);
    if (silent < this.#limit) {
      this.#watch(this.#limit - silent);
    } else if (wasAsleep) {
      this.#watch(WAKE_GRACE);
    } else {
      this.#drop("no heartbeat");
    }
  }

  /** Give a socket up without waiting for its close event, which may never come.
   * @param {string} reason
   * @param {boolean} [paused] */
  #drop(reason, paused = false) {
    const socket = this.#socket;
    abandon(socket);
    this.#lost({ code: LOST, reason, wasClean: false }, paused);
  }

  /** @param {{ code: number, reason: string, wasClean: boolean }} event
   * @param {boolean} [paused] */
  #lost({ code, reason, wasClean }, paused = globalThis.navigator?.onLine === false) {
    const final = isFinal(code);
    const proved = this.#state === "open" &&
      (this.#hasReceived || Date.now() - this.#openedAt >= PROVED_AFTER);
    this.#failures = proved ? 0 : this.#failures + (paused || final ? 0 : 1);
    this.#stop(final ? "closed" : "waiting");
    const delay = final ? 0 : this.#wait(paused);
    this.#tellClosed({ code, reason, wasClean, final }, delay);
  }

  /** @param {boolean} paused something will end the wait sooner
   * @returns {number} ms */
  #wait(paused) {
    const { minDelay, maxDelay } = this.#options;
    const window = 1000 * Math.min(maxDelay, minDelay * 2 ** Math.max(0, this.#failures - 1));
    const delay = Math.round(paused ? 1000 * maxDelay
      : SHORTEST_DELAY + Math.random() * Math.max(0, window - SHORTEST_DELAY));
    this.#retryAt = Date.now() + delay;
    this.#after(delay, () => this.#retry());
    return delay;
  }

  #retry() {
    try {
      this.#connect();
    } catch (error) {
      this.#lost({ code: LOST, reason: String(error), wasClean: false });
    }
  }

  /** Let go of socket and timer, and of the page when closed; return the socket.
   * @param {string} state */
  #stop(state) {
    const socket = this.#socket;
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#socket = this.#retryAt = null;
    this.#state = state;
    if (state === "closed") {
      this.#page?.abort();
    }
    return socket;
  }

  /** Call something after a while by the wall clock, which goes on while the machine sleeps.
   * @param {number} delay
   * @param {(wasAsleep: boolean) => void} action */
  #after(delay, action) {
    clearTimeout(this.#timer);
    const begun = Date.now();
    const step = Math.min(STEP, delay);
    this.#timer = setTimeout(() => {
      const passed = Math.max(step, Date.now() - begun); // less when the clock was set back
      if (passed < delay) {
        this.#after(delay - passed, action);
      } else {
        action(passed - step > JUMP);
      }
    }, step);
  }

  #watchPage() {
    this.#page = new AbortController();
    const options = { signal: this.#page.signal };
    const wake = () => this.#wake();
    globalThis.addEventListener?.("online", wake, options);
    globalThis.addEventListener?.("offline", () => this.#pause("offline"), options);
    globalThis.addEventListener?.("pageshow", wake, options);
    // browsers keep no page with an open socket for the way back
    globalThis.addEventListener?.("pagehide", () => this.#pause("page hidden"), options);
    globalThis.document?.addEventListener("visibilitychange", () => {
      if (globalThis.document.visibilityState === "visible") {
        this.#wake();
      }
    }, options);
  }

  #wake() {
    if (this.#state === "waiting") {
      this.#retry();
    } else if (this.#state === "open" && this.#isWatched) {
      this.#check(true);
    }
  }

  /** Wait for `#wake`; that is no failure of the server's.
   * @param {string} reason */
  #pause(reason) {
    if (this.#socket) {
      this.#drop(reason, true);
    }
  }

  /** @param {object} event
   * @param {number} [delay] */
  #tellClosed(event, delay = 0) {
    const turn = this.#turn;
    this.#tell("close", event);
    if (turn === this.#turn) { // no listener has closed or connected meanwhile
      this.#tell("state", { state: this.#state, delay });
    }
  }

  /** @param {string} type
   * @param {object} [fields] */
  #tell(type, fields) {
    this.dispatchEvent(new PushEvent(type, fields));
  }
}

/** @param {object} options
 * @returns {any} */
function given(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** @param {string | URL} url
 * @param {Record<string, any>} params */
function address(url, params) {
  const found = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  found.protocol = found.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(found.protocol)) {
    throw new TypeError(`url is ${found.href}: use ws, wss, http or https`);
  }
  found.hash = "";
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null) {
      found.searchParams.delete(name);
      for (const each of Array.isArray(value) ? value : [value]) {
        found.searchParams.append(name, String(each));
      }
    }
  }
  return found;
}

/** @param {unknown} data */
function isBinary(data) {
  return ArrayBuffer.isView(data) || // by name, for those of another frame
    /Array ?Buffer|Blob|File/.test(Object.prototype.toString.call(data));
}

/** Give a socket up; only the one of `ws` can be ended without its server.
 * @param {any} socket */
function abandon(socket) {
  socket.terminate ? socket.terminate() : socket.close();
}

/** @param {any} socket */
function endInTime(socket) {
  if (socket.terminate) { // browsers see to it by themselves
    const timer = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT);
    socket.onclose = () => clearTimeout(timer);
  }
}
