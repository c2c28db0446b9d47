/** Server-sent events of a node (https://html.spec.whatwg.org/multipage/server-sent-events.html), over connections that may break. */
import { type RestAccess, RestError } from "./rest-access.ts";
import { pause } from "./pause.ts";

export interface ServerEvent {
  readonly event: string;
  /** The last id that was told, by this event or one before it. */
  readonly id: string | undefined;
  readonly data: string;
}

/** Puts events together from what comes in pieces. */
export class EventParser {
  /** Of the last event that had one. */
  lastId: string | undefined;
  #rest = "";
  #event = "message";
  #data: string[] = [];
  /** Of the event that is coming in: it counts once all of that is there. */
  #id: string | undefined;

  *feed(text: string): Generator<ServerEvent> {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const raw of lines) {
      const line = raw.replace(/\r$/, "");
      if (line === "") {
        this.lastId = this.#id ?? this.lastId;
        if (this.#data.length > 0) yield { event: this.#event, id: this.lastId, data: this.#data.join("\n") };
        this.#event = "message";
        this.#data = [];
        continue;
      }
      const [, field, value = ""] = /^([a-z]+)(?:: ?(.*))?$/.exec(line) ?? [];
      if (field === "event") this.#event = value;
      else if (field === "data") this.#data.push(value);
      else if (field === "id") this.#id = value;
    }
  }

  /** What was begun belonged to a connection that is over. */
  begin(): void {
    this.#id = undefined;
    this.#rest = "";
    this.#event = "message";
    this.#data = [];
  }
}

/** A stream says that it is there every ten seconds: one that is silent for longer is cut. */
const SILENCE_MS = 30_000;
/** After a connection broke the next one is made so much later, each time twice as much. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;

export interface FollowOptions {
  /** The version of the map after which it goes on; `undefined`: the present one. */
  readonly since: string | undefined;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** A connection broke, or was not had; there will be another one. */
  readonly broken: (reason: string) => void;
  /** In milliseconds, for tests. */
  readonly firstPauseMs?: number;
}

/**
 * Follows a node's events for as long as it is wanted: where a connection breaks it goes on after the last event with an id.
 *
 * @throws {RestError} If the first connection cannot be had, or the node says no to a later one.
 */
export async function* followEvents(
  access: Pick<RestAccess, "open">,
  { since, signal, broken, firstPauseMs = FIRST_PAUSE_MS }: FollowOptions,
): AsyncGenerator<ServerEvent> {
  const parser = new EventParser();
  parser.lastId = since;
  let hasBegun = false;
  let pauseMs = firstPauseMs;
  while (!signal.aborted) {
    const connection = new AbortController();
    const stop = (): void => connection.abort();
    signal.addEventListener("abort", stop, { once: true });
    let silence = setTimeout(stop, SILENCE_MS);
    try {
      const headers: Record<string, string> = parser.lastId === undefined ? {} : { "last-event-id": parser.lastId };
      const response = await access.open("/cluster/events", connection.signal, headers);
      hasBegun = true;
      parser.begin();
      const decoder = new TextDecoder();
      for await (const bytes of response.body ?? []) {
        clearTimeout(silence);
        silence = setTimeout(stop, SILENCE_MS);
        pauseMs = firstPauseMs;
        yield* parser.feed(decoder.decode(bytes as Uint8Array, { stream: true }));
      }
      if (!signal.aborted) broken("the node has ended the stream");
    } catch (thrown) {
      // A node that is on its way up or down, or has no room, may have some later.
      const isFinal = !hasBegun || (thrown instanceof RestError && thrown.status >= 400 && thrown.status < 500);
      if (!signal.aborted && isFinal && !(thrown instanceof RestError && thrown.status === 429)) throw thrown;
      if (!signal.aborted) broken(thrown instanceof RestError ? thrown.message : "the connection broke");
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
    }
    if (signal.aborted) return;
    await pause(pauseMs, signal);
    pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
  }
}
