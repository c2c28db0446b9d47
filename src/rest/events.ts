/**
 * What happens in the cluster, as it happens: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 *
 * - `start`: which cluster, and the version of its map that the stream goes on from. Also later, if this node comes to be in another cluster, or what was asked for is not
 *   remembered: whoever keeps a picture of the cluster reads it anew.
 * - `change`: an act on the map. Its id is the map's version: a stream that is asked for with the last id goes on after it.
 * - `member`: a node is held for alive, suspect, down or gone.
 * - `state`: how the cluster is, at first and whenever that changes.
 * - `health`: a check of the plugin `health` has another state.
 *
 * Whoever does not read is let go: what waits for one stream is bounded, and so are the streams, of all and of each address.
 */
import type { HealthChange } from "../contracts/health.ts";
import type { MemberChange } from "../contracts/membership.ts";
import { Problem } from "../http/problem.ts";
import { reasonInWords } from "../member-words.ts";
import { actView } from "./explanations.ts";
import type { RestSources } from "./sources.ts";
import { checkView, infoOf } from "./views.ts";

/** One that is refused for want of room may be asked for again after so many seconds. */
const RETRY_S = 10;
/** Events that may wait for one stream. */
const MAX_WAITING = 1000;
/** Acts that a stream which comes back is told of. */
const MAX_RESUMED = 500;
/** A stream on which nothing happens says that it is there, so that neither side takes the other for gone. */
const HEARTBEAT_MS = 10_000;
/** How often it is looked how the cluster is: a lease that lapses tells nobody. */
const LOOK_MS = 500;

const encoder = new TextEncoder();

/** How many streams there may be. */
export interface StreamBounds {
  readonly maxStreams: number;
  readonly maxStreamsPerAddress: number;
}

interface EventStream {
  /** The address that it was asked for from. */
  readonly from: string;
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  /** The last version of the map that it was told. */
  version: number;
  clusterId: string;
  state: string;
  readonly isStillAllowed: () => boolean;
}

export class EventStreams {
  readonly #sources: RestSources;
  readonly #bounds: StreamBounds;
  readonly #streams = new Set<EventStream>();
  #heartbeatAtMs = 0;

  constructor(sources: RestSources, bounds: StreamBounds) {
    this.#sources = sources;
    this.#bounds = bounds;
  }

  /** How long between calls of `tick`, in milliseconds. */
  static readonly tickMs = LOOK_MS;

  get count(): number {
    return this.#streams.size;
  }

  /**
   * Opens a stream.
   *
   * @param from The address that asks.
   * @param since The version of the map after which it goes on; by default the present one. One that is too far back begins anew, as the event `start` says.
   * @param isStillAllowed Asked now and then: the stream ends once it says no.
   * @throws {Problem} If there are too many.
   */
  open(from: string, since: number | undefined, isStillAllowed: () => boolean): ReadableStream<Uint8Array> {
    const { maxStreams, maxStreamsPerAddress } = this.#bounds;
    if (this.#streams.size >= maxStreams) {
      throw new Problem("unavailable", `There are ${maxStreams} event streams already (rest.maxEventStreams).`, {
        retryAfterS: RETRY_S,
      });
    }
    if ([...this.#streams].filter((stream) => stream.from === from).length >= maxStreamsPerAddress) {
      throw new Problem(
        "rate-limited",
        `This address has ${maxStreamsPerAddress} event streams already (rest.maxEventStreamsPerAddress).`,
        { retryAfterS: RETRY_S },
      );
    }
    let own: EventStream | undefined;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const version = since ?? this.#sources.topology.map.version;
          own = { from, controller, version, clusterId: "", state: "", isStillAllowed };
          this.#streams.add(own);
          this.#follow(own);
        },
        cancel: () => {
          if (own !== undefined) this.#streams.delete(own);
        },
      },
      { highWaterMark: MAX_WAITING },
    );
  }

  /** Another map is here. */
  mapChanged(): void {
    for (const stream of this.#streams) this.#follow(stream);
  }

  memberChanged({ nodeId, state, previous, reason: told }: MemberChange): void {
    const { topology, view } = this.#sources;
    const suspectedBy = view.healthOf(nodeId)?.suspectedBy ?? [];
    const reason = reasonInWords({ state, reason: told, suspectedBy }, topology.map.nodes);
    for (const stream of this.#streams) {
      this.#send(stream, "member", { node_id: nodeId, state, previous, reason });
      this.#tellState(stream);
    }
  }

  healthChanged({ check, previous }: HealthChange): void {
    for (const stream of this.#streams) this.#send(stream, "health", { previous, ...checkView(check) });
  }

  /** To be called now and then. */
  tick(nowMs: number): void {
    const isDue = nowMs - this.#heartbeatAtMs >= HEARTBEAT_MS;
    if (isDue) this.#heartbeatAtMs = nowMs;
    for (const stream of this.#streams) {
      if (!stream.isStillAllowed()) {
        // Its token was replaced.
        this.#streams.delete(stream);
        stream.controller.close();
        continue;
      }
      this.#tellState(stream);
      if (isDue) this.#write(stream, ":\n\n");
    }
  }

  /** Ends all. */
  close(): void {
    for (const { controller } of this.#streams) controller.close();
    this.#streams.clear();
  }

  /** Tells what the map has become since. */
  #follow(stream: EventStream): void {
    const { map, history } = this.#sources.topology;
    const [oldest] = history;
    // More than may wait for a stream is as good as forgotten: it would be let go before it has read any of it.
    const isTooMuch = map.version - stream.version > MAX_RESUMED;
    const isForgotten = isTooMuch || (stream.version + 1 < (oldest?.version ?? 0) && stream.version !== map.version);
    if (stream.clusterId !== map.clusterId || stream.version > map.version || isForgotten) {
      const isResumed = stream.clusterId === "" && stream.version <= map.version && !isForgotten;
      if (!isResumed) stream.version = map.version;
      stream.clusterId = map.clusterId;
      const about = { cluster_id: map.clusterId, map_version: stream.version };
      this.#send(stream, "start", about, stream.version);
    }
    // From the end: what is new is little.
    let from = history.length;
    while (from > 0 && (history[from - 1]?.version ?? 0) > stream.version) from -= 1;
    for (const act of history.slice(from)) {
      stream.version = act.version;
      this.#send(stream, "change", actView(act, map.nodes), act.version);
    }
    this.#tellState(stream);
  }

  #tellState(stream: EventStream): void {
    const { state, reasons } = infoOf(this.#sources);
    const told = JSON.stringify({ state, reasons });
    if (told === stream.state) return;
    stream.state = told;
    this.#send(stream, "state", { state, reasons });
  }

  #send(stream: EventStream, event: string, data: object, id?: number): void {
    const line = id === undefined ? "" : `id: ${id}\n`;
    this.#write(stream, `event: ${event}\n${line}data: ${JSON.stringify(data)}\n\n`);
  }

  #write(stream: EventStream, text: string): void {
    if (!this.#streams.has(stream)) return;
    if ((stream.controller.desiredSize ?? 0) > 0) {
      stream.controller.enqueue(encoder.encode(text));
      return;
    }
    // It comes back, and says where it was.
    this.#streams.delete(stream);
    stream.controller.error(new Error("what waits for this stream is too much"));
  }
}
