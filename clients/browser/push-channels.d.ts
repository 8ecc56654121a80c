/** A PushClient with channels, which resume where they were lost: Centrifugo's JSON protocol. */

import { PushClient as PlainClient, PushClientEvents, PushClientOptions, PushEvent }
  from "./push-client.js";

export { isFinal, PushClientEvents, PushClientOptions, PushCloseEvent, PushEvent, PushMessageEvent,
  PushState, PushStateEvent } from "./push-client.js";

/** A place in a channel's history. */
export interface Position {
  offset: number;
  epoch: string;
}

/** A JWT for one channel, or a function that returns one, called with the channel's name for each
 * subscription and before a token expires. An empty one: this client gets no token. */
export type ChannelToken = string | ((channel: string) => string | null | Promise<string | null>);

/** For a channel: the position last seen, its token, both, or neither. */
export type Wish = Position | ChannelToken | (Partial<Position> & { token?: ChannelToken }) | null;

export interface ChannelOptions extends PushClientOptions {
  /** Channels to subscribe to; an object gives each its position, token or both. Default: none. */
  channels?: string[] | Record<string, Wish>;
  /** A JWT that says who the client is, or a function that returns one, called for each connection
   * and before a token expires. */
  token?: string | (() => string | null | Promise<string | null>);
}

/** Who published, came or left. */
export interface ClientInfo {
  user: string;
  client: string;
  conn_info?: any;
  chan_info?: any;
}

export interface Publication {
  /** What was published. */
  readonly data: any;
  /** Its place in the history, from 1; 0 if there is no history. */
  readonly offset: number;
  /** The client that published it; undefined: the site did. */
  readonly info?: ClientInfo;
  readonly tags?: Record<string, string>;
}

export interface PublicationEvent extends PushEvent<"publication">, Publication {
  readonly channel: string;
  /** Identifies the history that the offset counts in; empty if there is none. */
  readonly epoch: string;
}

/** What the client missed in a channel is lost. */
export interface GapEvent extends PushEvent<"gap"> {
  readonly channel: string;
}

/** The client is in a channel; dispatched each time it gets in. */
export interface SubscribedEvent extends PushEvent<"subscribed"> {
  readonly channel: string;
  /** Whether nothing is missing between what was seen before and what follows. */
  readonly recovered: boolean;
  readonly offset: number;
  readonly epoch: string;
}

/** The server has refused a channel, or has taken the client out of it, for good. */
export interface LostEvent extends PushEvent<"lost"> {
  readonly channel: string;
  readonly code: number;
  readonly reason: string;
}

/** A subscription or a token failed; the client will try again. */
export interface RetryEvent extends PushEvent<"retry"> {
  /** Empty: the connection's token could not be refreshed. */
  readonly channel: string;
  readonly reason: string;
  /** Milliseconds until it tries. */
  readonly delay: number;
}

export interface PresenceEvent<Type extends "join" | "leave"> extends PushEvent<Type> {
  readonly channel: string;
  readonly info: ClientInfo;
}

export interface ChannelEvents extends PushClientEvents {
  publication: PublicationEvent;
  gap: GapEvent;
  subscribed: SubscribedEvent;
  lost: LostEvent;
  retry: RetryEvent;
  join: PresenceEvent<"join">;
  leave: PresenceEvent<"leave">;
}

/** The error with which the server answered a command. */
export class ChannelError extends Error {
  constructor(error: { code: number; message?: string; temporary?: boolean });
  readonly code: number;
  readonly reason: string;
  /** Trying again may help. */
  readonly temporary: boolean;
}

/** Stay connected, and in channels. Promises are rejected with a `ChannelError`, or an `Error` if
 * the client is not open or the connection is lost before the answer. */
export class PushClient extends PlainClient {
  constructor(url: string | URL, options?: ChannelOptions);
  /** What the server calls this connection; empty before the first one. */
  readonly client: string;
  /** Subscribe to one more channel, connected or not. */
  subscribe(channel: string, wish?: Wish): void;
  /** Leave a channel; nothing from it is dispatched after that. */
  unsubscribe(channel: string): void;
  /** Publish anything that JSON can hold. */
  publish(channel: string, data: unknown): Promise<void>;
  /** Call a method of the site; return its answer. */
  rpc(method: string, data?: unknown): Promise<any>;
  /** Return who is in a channel, by client. */
  presence(channel: string): Promise<Record<string, ClientInfo>>;
  /** Return what a channel remembers, oldest first. */
  history(channel: string, options?: { limit?: number; reverse?: boolean; since?: Position }):
    Promise<Position & { publications: Publication[] }>;
  /** Return the position reached in a channel, or null. */
  position(channel: string): Position | null;
  /** Send something that belongs to no channel. True: an open socket took it. */
  send(data: unknown): boolean;

  addEventListener<Type extends keyof ChannelEvents>(type: Type,
    listener: (this: PushClient, event: ChannelEvents[Type]) => void,
    options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions): void;
  removeEventListener<Type extends keyof ChannelEvents>(type: Type,
    listener: (this: PushClient, event: ChannelEvents[Type]) => void,
    options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions): void;
}
