/** A WebSocket that stays connected: for browsers, for workers, and for Node with `ws`. */

export type PushState = "connecting" | "open" | "waiting" | "closed";

export interface PushClientOptions {
  /** Who the client is; becomes `?Id=`. */
  Id?: string;
  /** Further query parameters; one for each item of an array; null and undefined are left out. */
  params?: Record<string, unknown>;
  /** Subprotocols to offer. */
  protocols?: string | string[];
  /** Connect on construction, without a call of `connect()`. Default: true. */
  autoConnect?: boolean;
  /** Seconds, 1 to 3600, between the server's heartbeats. 0: none. Default: 25. */
  heartbeat?: number;
  /** Seconds: the longest that the first delay can be. Default: 0.5. */
  minDelay?: number;
  /** Seconds: the longest that any delay can be. Default: 20. */
  maxDelay?: number;
  /** Seconds for one attempt to connect. Default: 10. */
  timeout?: number;
  /** What binary messages arrive as. Default: "arraybuffer". */
  binaryType?: BinaryType;
  /** The constructor for sockets, for example `WebSocket` from the `ws` package. */
  WebSocket?: new (url: any, protocols?: any) => any;
}

export class PushEvent<Type extends string = string> extends Event {
  constructor(type: Type, fields?: object);
  readonly type: Type;
  /** Return the data of a message, parsed as JSON; of a Blob, a promise of that. Throws a
   * SyntaxError, or rejects with it, if it is not JSON. */
  json(): any;
}

export interface PushMessageEvent extends PushEvent<"message"> {
  /** Text, or binary data as `binaryType` says. */
  readonly data: any;
}

export interface PushCloseEvent extends PushEvent<"close"> {
  /** The close code: 1006 if the connection was lost or never made, 4000 to 4799 if refused. */
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
  /** Whether the client stays closed. */
  readonly final: boolean;
}

export interface PushStateEvent extends PushEvent<"state"> {
  readonly state: PushState;
  /** Milliseconds to the next attempt; 0 unless waiting. */
  readonly delay: number;
}

export interface PushClientEvents {
  open: PushEvent<"open">;
  message: PushMessageEvent;
  close: PushCloseEvent;
  state: PushStateEvent;
}

/** Tell whether a close code means that the client should not come back. */
export function isFinal(code: number): boolean;

/** Stay connected to a WebSocket address. */
export class PushClient extends EventTarget {
  constructor(url: string | URL, options?: PushClientOptions);
  readonly state: PushState;
  /** The address to connect to, with the whole query. */
  readonly url: string;
  /** The Id in that address, or null. */
  readonly Id: string | null;
  /** How many attempts have failed since a connection last proved itself. */
  readonly attempt: number;
  /** When the next attempt is due, in ms since 1970; null unless waiting. */
  readonly retryAt: number | null;
  /** Bytes that `send` took and the network has not; 0 unless open. */
  readonly bufferedAmount: number;
  /** Connect: at once if waiting, anew if closed. Does nothing if connecting or open. */
  connect(): void;
  /** Send text or binary data as it is, and anything else as JSON.
   * True: an open socket took it. False: not open; nothing was sent or queued. */
  send(data: unknown): boolean;
  /** Close for good; nothing more is delivered. Does nothing if closed.
   * @param code 1000, or 3000 to 4999. Default: 1000.
   * @param reason at most 123 bytes of UTF-8. */
  close(code?: number, reason?: string): void;

  addEventListener<Type extends keyof PushClientEvents>(type: Type,
    listener: (this: PushClient, event: PushClientEvents[Type]) => void,
    options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions): void;
  removeEventListener<Type extends keyof PushClientEvents>(type: Type,
    listener: (this: PushClient, event: PushClientEvents[Type]) => void,
    options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions): void;
}
