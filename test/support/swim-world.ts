/**
 * Machines of membership and nothing else: no nodes, no sockets. Virtual time in whole milliseconds, a list of events for each; datagrams are lost and delayed
 * as the seed says, streams are only delayed; nodes die, come back, leave, stand still, are cut off from each other. Fast enough for an hour of thousands of them.
 *
 * Everything that a machine says of a member is told to `heard`, with what is true at that moment: the tests judge.
 */
import { assert, present } from "../../src/assert.ts";
import { encodeDatagram, encodeExchange, readDatagram, readExchange } from "../../src/codec/gossip-codec.ts";
import { Membership } from "../../src/protocol/membership/machine.ts";
import { MEMBERSHIP_PRESETS, type MembershipOptions } from "../../src/protocol/membership/options.ts";
import type { Datagram, Effect, Exchange, Input, MemberState, NodeId } from "../../src/protocol/membership/types.ts";
import { SimRandom } from "./sim-random.ts";

/** Of 1400 bytes that travel well, what the bus leaves after its own. */
const MAX_DATAGRAM_BYTES = 1320;
/** What the bus, UDP and IP put around each datagram; and the bus, TCP and IP around each message on a stream, with the other side's acknowledgement. */
const DATAGRAM_ENVELOPE_BYTES = 49 + 28;
const STREAM_ENVELOPE_BYTES = 29 + 2 * 52;

export interface SwimHost {
  readonly id: NodeId;
  readonly index: number;
  machine: Membership | undefined;
  /** Of the present start, or the last one. */
  start: number;
  /** It went on purpose. */
  hasLeft: boolean;
  mapVersion: number;
  /** Those with the same number reach each other. */
  side: number;
  /** Of datagrams from and to it, in thousandths, beyond what all have. */
  loss: number;
  stalledUntilMs: number;
  /** When it last came up, stood still, or was cut off: what is held of it for a while after that may be so for a reason. */
  troubledAtMs: number;
  wakeAtMs: number;
  /** What came while it stood still. */
  inbox: Parcel[];
}

type Parcel =
  | { readonly from: SwimHost; readonly to: SwimHost; readonly datagram: Datagram }
  | { readonly from: SwimHost; readonly to: SwimHost; readonly exchange: Exchange };

/** What a machine said, as it is known from outside. */
export interface Heard {
  readonly atMs: number;
  readonly observer: SwimHost;
  readonly about: SwimHost;
  /** Which start of it is meant. */
  readonly start: number;
  readonly state: MemberState;
  readonly previous: MemberState;
  readonly reason: string;
  /** That start of the member runs, neither stands still nor is cut off from the observer. */
  readonly isThere: boolean;
}

export interface SwimWorldOptions {
  readonly seed: number;
  readonly count: number;
  readonly options?: MembershipOptions;
  /** Of all datagrams, in thousandths. */
  readonly loss?: number;
  /** One way, in milliseconds: evenly from `minDelayMs` to `maxDelayMs`. */
  readonly minDelayMs?: number;
  readonly maxDelayMs?: number;
  /** Whether messages go through their bytes, which are counted; else objects go over as they are. Off is faster. */
  readonly isOnWire?: boolean;
}

export class SwimWorld {
  nowMs = 0;
  readonly hosts: SwimHost[] = [];
  readonly options: MembershipOptions;
  readonly random: SimRandom;
  loss: number;
  /** Pairs that do not reach each other, as `from>to` of their indexes. */
  readonly cuts = new Set<string>();
  readonly traffic = { datagrams: 0, datagramBytes: 0, exchanges: 0, exchangeBytes: 0, largestDatagram: 0 };
  heard: (what: Heard) => void = () => undefined;
  /** A ping that this node sends of itself, or for another. */
  pinged: (from: SwimHost, to: SwimHost) => void = () => undefined;

  readonly #seed: number;
  readonly #isOnWire: boolean;
  readonly #minDelayMs: number;
  readonly #delayRange: number;
  readonly #events = new Map<number, (() => void)[]>();
  readonly #parcels = new Map<number, Parcel[]>();
  readonly #wakes = new Map<number, SwimHost[]>();
  readonly #byId = new Map<NodeId, SwimHost>();
  #mapVersion = 1;

  constructor(given: SwimWorldOptions) {
    this.#seed = given.seed;
    this.random = new SimRandom(`swim/${given.seed}`);
    this.options = given.options ?? MEMBERSHIP_PRESETS.lan;
    this.loss = given.loss ?? 0;
    this.#minDelayMs = given.minDelayMs ?? 1;
    this.#delayRange = (given.maxDelayMs ?? 3) - this.#minDelayMs + 1;
    this.#isOnWire = given.isOnWire ?? true;
    for (let index = 0; index < given.count; index += 1) this.#start(this.#newHost());
    for (const host of this.hosts) for (const other of this.hosts) this.#introduce(host, other);
  }

  get mapVersion(): number {
    return this.#mapVersion;
  }

  get running(): readonly SwimHost[] {
    return this.hosts.filter((host) => host.machine !== undefined && !host.hasLeft);
  }

  isUp(host: SwimHost): boolean {
    return host.machine !== undefined && !host.hasLeft && host.stalledUntilMs <= this.nowMs;
  }

  run(forMs: number): void {
    const endMs = this.nowMs + forMs;
    while (this.nowMs < endMs) {
      this.nowMs += 1;
      for (const event of take(this.#events, this.nowMs)) event();
      for (const parcel of take(this.#parcels, this.nowMs)) this.#deliver(parcel);
      for (const host of take(this.#wakes, this.nowMs)) this.#wake(host);
    }
  }

  /** Runs until something holds. @returns After how many milliseconds; `undefined` if not within the bound. */
  runUntil(holds: () => boolean, withinMs: number, stepMs = 10): number | undefined {
    const beganAtMs = this.nowMs;
    while (!holds()) {
      if (this.nowMs - beganAtMs >= withinMs) return undefined;
      this.run(stepMs);
    }
    return this.nowMs - beganAtMs;
  }

  after(delayMs: number, event: () => void): void {
    put(this.#events, this.nowMs + Math.max(1, delayMs), event);
  }

  // --- what happens to nodes ---

  kill(host: SwimHost): void {
    host.machine = undefined;
    host.inbox = [];
  }

  /** Starts it again, as another start that the map gets to name. */
  restart(host: SwimHost): void {
    this.kill(host);
    this.#mapVersion += 1;
    host.start = this.#mapVersion;
    this.#start(host);
    for (const other of this.hosts) this.#introduce(host, other);
    this.#tellAll(() => (observer) => this.#introduce(observer, host));
  }

  join(): SwimHost {
    this.#mapVersion += 1;
    const host = this.#newHost();
    host.start = this.#mapVersion;
    this.#start(host);
    for (const other of this.hosts) this.#introduce(host, other);
    this.#tellAll(() => (observer) => this.#introduce(observer, host));
    return host;
  }

  leave(host: SwimHost): void {
    this.#input(host, { type: "leave" });
    host.hasLeft = true;
  }

  /** The map names it no more. */
  forget(host: SwimHost): void {
    this.kill(host);
    this.hosts.splice(this.hosts.indexOf(host), 1);
    this.#tellAll(() => (observer) => this.#input(observer, { type: "forget", id: host.id }));
  }

  stall(host: SwimHost, forMs: number): void {
    host.stalledUntilMs = this.nowMs + forMs;
    this.after(forMs, () => {
      host.troubledAtMs = this.nowMs;
      const { inbox } = host;
      host.inbox = [];
      // Its timers come before what lies in its sockets.
      this.#wake(host);
      for (const parcel of inbox) this.#deliver(parcel);
    });
  }

  linkLost(observer: SwimHost, about: SwimHost): void {
    this.#input(observer, { type: "link-lost", id: about.id });
  }

  partition(sideOf: (host: SwimHost) => number): void {
    for (const host of this.hosts) {
      host.side = sideOf(host);
      host.troubledAtMs = this.nowMs;
    }
  }

  cut(a: SwimHost, b: SwimHost): void {
    this.cuts.add(`${a.index}>${b.index}`);
    this.cuts.add(`${b.index}>${a.index}`);
  }

  /** One node has a new version of the map; others fetch it from those who have it. */
  changeMap(host: SwimHost): number {
    this.#mapVersion += 1;
    this.#setMap(host, this.#mapVersion);
    return this.#mapVersion;
  }

  // --- what is held ---

  /** What one holds of another. */
  stateOf(observer: SwimHost, about: SwimHost): MemberState | undefined {
    return observer.machine?.members.get(about.id)?.state;
  }

  /** Whether everybody who runs holds what is true of everybody. */
  get isSettled(): boolean {
    const [first] = this.running;
    return this.running.every(
      (observer) =>
        observer.machine?.members.digest === first?.machine?.members.digest &&
        this.hosts.every((about) => {
          const member = observer.machine?.members.get(about.id);
          if (member?.start !== about.start) return false;
          if (about.hasLeft) return member.state === "left";
          return member.state === (about.machine === undefined ? "down" : "alive");
        }),
    );
  }

  /** What is held that is not true, for messages. */
  explain(): string {
    const lines: string[] = [];
    for (const observer of this.running) {
      for (const about of this.hosts) {
        const member = observer.machine?.members.get(about.id);
        const isRight =
          member?.start === about.start &&
          member.state === (about.hasLeft ? "left" : about.machine === undefined ? "down" : "alive");
        if (isRight) continue;
        lines.push(
          `${observer.index} holds ${about.index} (start ${about.start}) for ${member?.state ?? "unknown"} start ${member?.start ?? "-"} refutation ${member?.refutation ?? "-"}`,
        );
      }
    }
    return lines.slice(0, 20).join("\n");
  }

  // --- the inside ---

  #newHost(): SwimHost {
    const index = this.#byId.size;
    const host: SwimHost = {
      id: new SimRandom(`id/${index}`).bytes(20).toHex(),
      index,
      machine: undefined,
      start: 1,
      hasLeft: false,
      mapVersion: 1,
      side: 0,
      loss: 0,
      stalledUntilMs: 0,
      troubledAtMs: 0,
      wakeAtMs: Number.POSITIVE_INFINITY,
      inbox: [],
    };
    this.hosts.push(host);
    this.#byId.set(host.id, host);
    return host;
  }

  #start(host: SwimHost): void {
    host.hasLeft = false;
    host.stalledUntilMs = 0;
    host.inbox = [];
    host.wakeAtMs = Number.POSITIVE_INFINITY;
    host.troubledAtMs = this.nowMs;
    host.machine = new Membership({
      id: host.id,
      start: host.start,
      random: new SimRandom(`${this.#seed}/${host.index}/${host.start}`),
      options: this.options,
      maxDatagramBytes: MAX_DATAGRAM_BYTES,
      nowMs: this.nowMs,
    });
    host.mapVersion = this.#mapVersion;
    this.#input(host, { type: "map", version: host.mapVersion });
  }

  #introduce(observer: SwimHost, about: SwimHost): void {
    this.#input(observer, { type: "introduce", id: about.id, start: about.start });
  }

  /** A change of the map reaches each node sooner or later. */
  #tellAll(change: () => (observer: SwimHost) => void): void {
    const version = this.#mapVersion;
    for (const observer of this.hosts) {
      this.after(this.random.between(1, 200), () => {
        if (observer.machine === undefined) return;
        change()(observer);
        this.#setMap(observer, version);
      });
    }
  }

  #setMap(host: SwimHost, version: number): void {
    if (host.machine === undefined || version <= host.mapVersion) return;
    host.mapVersion = version;
    this.#input(host, { type: "map", version });
  }

  #input(host: SwimHost, input: Input): void {
    const { machine } = host;
    if (machine === undefined) return;
    for (const effect of machine.step(input, this.nowMs)) this.#carryOut(host, effect);
    if (machine.wakeAtMs >= host.wakeAtMs || !Number.isFinite(machine.wakeAtMs)) return;
    host.wakeAtMs = Math.max(this.nowMs + 1, Math.ceil(machine.wakeAtMs));
    put(this.#wakes, host.wakeAtMs, host);
  }

  #wake(host: SwimHost): void {
    if (host.machine === undefined || host.stalledUntilMs > this.nowMs || host.wakeAtMs > this.nowMs) return;
    host.wakeAtMs = Number.POSITIVE_INFINITY;
    this.#input(host, { type: "time" });
  }

  #carryOut(host: SwimHost, effect: Effect): void {
    switch (effect.type) {
      case "send":
      case "exchange":
        this.#send(host, effect);
        break;
      case "member": {
        const about = present(this.#byId.get(effect.id), "members are hosts");
        const isThere = about.start === effect.start && this.isUp(about) && about.side === host.side;
        const { start, state, previous, reason } = effect;
        this.heard({ atMs: this.nowMs, observer: host, about, start, state, previous, reason, isThere });
        break;
      }
      case "newer-map": {
        // It asks the one who said so, over a stream.
        const from = this.#byId.get(effect.from);
        this.after(2 * (this.#minDelayMs + this.#delayRange - 1), () => {
          if (from?.machine !== undefined && this.#isReached(host, from)) this.#setMap(host, from.mapVersion);
        });
        break;
      }
      default:
        effect satisfies never;
    }
  }

  #send(from: SwimHost, effect: Extract<Effect, { readonly type: "send" | "exchange" }>): void {
    const to = present(this.#byId.get(effect.to), "messages go to hosts");
    const { traffic } = this;
    let parcel: Parcel;
    if (effect.type === "send") {
      let datagram = effect.message;
      traffic.datagrams += 1;
      if (this.#isOnWire) {
        const bytes = encodeDatagram(datagram);
        traffic.datagramBytes += bytes.length + DATAGRAM_ENVELOPE_BYTES;
        traffic.largestDatagram = Math.max(traffic.largestDatagram, bytes.length);
        assert(bytes.length <= MAX_DATAGRAM_BYTES, "a datagram fits");
        datagram = present(readDatagram(bytes), "what is encoded can be read");
      }
      if (datagram.type === "ping") this.pinged(from, to);
      const loss = this.loss + from.loss + to.loss;
      if (loss > 0 && this.random.below(1000) < loss) return;
      parcel = { from, to, datagram };
    } else {
      let exchange = effect.message;
      traffic.exchanges += 1;
      if (this.#isOnWire) {
        const bytes = encodeExchange(exchange);
        traffic.exchangeBytes += bytes.length + STREAM_ENVELOPE_BYTES;
        exchange = present(readExchange(bytes), "what is encoded can be read");
      }
      parcel = { from, to, exchange };
    }
    if (!this.#isReached(from, to)) return;
    put(this.#parcels, this.nowMs + this.#minDelayMs + this.random.below(this.#delayRange), parcel);
  }

  #isReached(from: SwimHost, to: SwimHost): boolean {
    return from.side === to.side && !(this.cuts.size > 0 && this.cuts.has(`${from.index}>${to.index}`));
  }

  #deliver(parcel: Parcel): void {
    const { to } = parcel;
    if (to.machine === undefined || to.side !== parcel.from.side) return;
    if (to.stalledUntilMs > this.nowMs) {
      to.inbox.push(parcel);
      return;
    }
    if ("datagram" in parcel) this.#input(to, { type: "datagram", from: parcel.from.id, message: parcel.datagram });
    else this.#input(to, { type: "exchange", from: parcel.from.id, message: parcel.exchange });
  }
}

function put<Event>(calendar: Map<number, Event[]>, atMs: number, event: Event): void {
  const events = calendar.get(atMs);
  if (events === undefined) calendar.set(atMs, [event]);
  else events.push(event);
}

function take<Event>(calendar: Map<number, Event[]>, atMs: number): readonly Event[] {
  const events = calendar.get(atMs);
  if (events === undefined) return [];
  calendar.delete(atMs);
  return events;
}
