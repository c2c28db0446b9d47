/**
 * A group of Raft machines under a test's hand: nothing moves unless the test says so.
 *
 * Messages wait in `inFlight` until they are delivered or lost; time passes by explicit ticks; a disk is prompt (what is written is durable at once)
 * or slow (a write is durable when the test says so, and what may leave only after it waits). Chance is a list of numbers that the test gives; where
 * there is none each member draws its place in the group, so that the first is the least patient. Everything that members say and do is kept as a
 * line each, in the order in which it happens, until `takeLines`.
 */
import { present } from "../../src/assert.ts";
import { Raft } from "../../src/protocol/raft/machine.ts";
import {
  type DurableState,
  type Effect,
  type Entry,
  type Input,
  type Member,
  type Message,
  type PeerId,
  RAFT_DEFAULTS,
  type RaftOptions,
  type Snapshot,
} from "../../src/protocol/raft/types.ts";
import { tellEffect, tellMessage } from "./raft-telling.ts";

/** A message on its way. */
export interface Parcel {
  readonly from: PeerId;
  readonly to: PeerId;
  readonly message: Message;
}

type Persist = Extract<Effect, { readonly type: "persist" }>;
/** What waits for a slow disk, in order: writes, and messages that may leave only after them. */
type Pending = { readonly persist: Persist } | { readonly parcel: Parcel };

interface Host {
  readonly id: PeerId;
  machine: Raft | undefined;
  durable: DurableState;
  pending: Pending[];
  /** What the application holds. */
  applied: string[];
  draws: number[];
  /** What it draws where the test gave nothing. */
  readonly ordinal: number;
  isDiskPrompt: boolean;
}

export type RaftScriptOptions = Partial<Omit<RaftOptions, "id" | "state" | "random">>;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** The founding of a group is the snapshot at index 1, so that a member with nothing is sent it. */
const FOUNDING_INDEX = 1;

/** Bytes of a text. */
export function bytesOf(text: string): Uint8Array {
  return encoder.encode(text);
}

/** A member of a configuration. */
export function member(id: PeerId, isVoter = true): Member {
  return { id, isVoter, host: id, port: 1, zone: "", isWitness: false };
}

/** The snapshot that a group of voters starts from. */
export function founding(voters: readonly PeerId[]): Snapshot {
  return {
    index: FOUNDING_INDEX,
    term: 0,
    configuration: { members: voters.map((id) => member(id)) },
    data: bytesOf(""),
  };
}

/** Entries after the founding, one for each term that is given; the data is the term and the index. */
export function entriesOf(...terms: readonly number[]): readonly Entry[] {
  return terms.map((term, at) => {
    const index = FOUNDING_INDEX + 1 + at;
    return { index, term, data: bytesOf(`${term}.${index}`), configuration: undefined };
  });
}

/** What a disk holds after a write. */
function written(durable: DurableState, { term, votedFor, entries, snapshot }: Persist): DurableState {
  const from = entries[0]?.index ?? Number.POSITIVE_INFINITY;
  const kept = [...durable.entries.filter((entry) => entry.index < from), ...entries];
  if (snapshot === undefined) return { term, votedFor, snapshot: durable.snapshot, entries: kept };
  // The log goes on after a snapshot of itself; one of another member's log takes the place of all of it.
  const goesOn = kept.some((entry) => entry.index === snapshot.index && entry.term === snapshot.term);
  return { term, votedFor, snapshot, entries: goesOn ? kept.filter((entry) => entry.index > snapshot.index) : [] };
}

export class RaftScript {
  /** Messages on their way, the oldest first. */
  inFlight: Parcel[] = [];
  /** Each thing that happened, as a line, until it is taken. */
  readonly #lines: string[] = [];
  readonly #hosts = new Map<PeerId, Host>();
  readonly #cuts = new Set<string>();
  readonly #options: RaftScriptOptions;

  constructor(options: RaftScriptOptions = {}) {
    this.#options = options;
  }

  /** A group of voters that have just been founded. */
  static group(voters: readonly PeerId[], options: RaftScriptOptions = {}): RaftScript {
    const script = new RaftScript(options);
    for (const id of voters) script.add(id, { snapshot: founding(voters) });
    return script;
  }

  /** A group of which the first member leads, and everybody knows what is committed. */
  static led(voters: readonly PeerId[], options: RaftScriptOptions = {}): RaftScript {
    const script = RaftScript.group(voters, options);
    script.elect(present(voters[0], "a group has members"));
    return script;
  }

  get ids(): readonly PeerId[] {
    return [...this.#hosts.keys()];
  }

  /** Starts a member with what its disk holds; nothing if nothing is said. */
  add(id: PeerId, state: Partial<DurableState> = {}): Raft {
    const empty: Snapshot = { index: 0, term: 0, configuration: { members: [] }, data: bytesOf("") };
    const durable: DurableState = { term: 0, votedFor: undefined, snapshot: empty, entries: [], ...state };
    const host: Host = {
      id,
      machine: undefined,
      durable,
      pending: [],
      applied: [],
      draws: [],
      ordinal: this.#hosts.size,
      isDiskPrompt: true,
    };
    this.#hosts.set(id, host);
    return this.#start(host);
  }

  machine(id: PeerId): Raft {
    return present(this.#host(id).machine, `${id} runs`);
  }

  isUp(id: PeerId): boolean {
    return this.#host(id).machine !== undefined;
  }

  durable(id: PeerId): DurableState {
    return this.#host(id).durable;
  }

  /** What the application of a member holds. */
  applied(id: PeerId): readonly string[] {
    return this.#host(id).applied;
  }

  /** The terms of a member's log, after the founding. */
  terms(id: PeerId): readonly number[] {
    const { log } = this.machine(id);
    const terms: number[] = [];
    for (let index = FOUNDING_INDEX + 1; index <= log.lastIndex; index += 1) terms.push(log.term(index) ?? 0);
    return terms;
  }

  /** The lines that were told since the last time. */
  takeLines(): readonly string[] {
    return this.#lines.splice(0);
  }

  /** The numbers that a member draws next. */
  draw(id: PeerId, ...numbers: readonly number[]): void {
    this.#host(id).draws.push(...numbers);
  }

  /** From now on what a member writes is durable only when `persist` says so. */
  slowDisk(id: PeerId): void {
    this.#host(id).isDiskPrompt = false;
  }

  /** From now on what a member writes is durable at once; so is what waits. */
  promptDisk(id: PeerId): void {
    this.#host(id).isDiskPrompt = true;
    while (this.persist(id));
  }

  /** The oldest write that waits is done. @returns Whether there was one. */
  persist(id: PeerId): boolean {
    const host = this.#host(id);
    const first = host.pending.shift();
    if (first === undefined) return false;
    if ("persist" in first) {
      host.durable = written(host.durable, first.persist);
      this.step(id, { type: "persisted", ticket: first.persist.ticket });
    } else this.#post(first.parcel);
    for (let next = host.pending[0]; next !== undefined && "parcel" in next; next = host.pending[0]) {
      host.pending.shift();
      this.#post(next.parcel);
    }
    return true;
  }

  /** A member stops: what was not durable is gone. */
  crash(id: PeerId): void {
    const host = this.#host(id);
    host.machine = undefined;
    host.pending = [];
    this.#lines.push(`${id} is down`);
  }

  restart(id: PeerId): Raft {
    this.#lines.push(`${id} is up again`);
    return this.#start(this.#host(id));
  }

  /** Gives a member one input. @returns What it did, and what it did on word of a prompt disk. */
  step(id: PeerId, input: Input): readonly Effect[] {
    const host = this.#host(id);
    const effects = this.machine(id).step(input);
    for (const effect of effects) this.#carryOut(host, effect);
    const done: Effect[] = [...effects];
    for (const effect of effects) {
      if (effect.type !== "persist" || !host.isDiskPrompt) continue;
      done.push(...this.step(id, { type: "persisted", ticket: effect.ticket }));
    }
    return done;
  }

  tick(id: PeerId, count = 1): readonly Effect[] {
    return Array.from({ length: count }, () => this.step(id, { type: "tick" })).flat();
  }

  /** A message that the test wrote itself reaches a member. */
  hear(id: PeerId, from: PeerId, message: Message): readonly Effect[] {
    return this.step(id, { type: "message", from, message });
  }

  propose(id: PeerId, text: string): readonly Effect[] {
    return this.step(id, { type: "propose", id: 1, data: bytesOf(text) });
  }

  /** Puts what a member has applied into a snapshot. */
  compact(id: PeerId): readonly Effect[] {
    const { log } = this.machine(id);
    return this.step(id, {
      type: "compact",
      index: log.appliedIndex,
      data: bytesOf(this.#host(id).applied.join(" ")),
    });
  }

  /**
   * Ticks a member until it stands for election, and lets everybody talk until nobody has anything to say.
   *
   * @param others Who has to forget the leader of before first, so that it votes.
   */
  elect(id: PeerId, ...others: readonly PeerId[]): void {
    for (const other of others) this.tick(other, RAFT_DEFAULTS.electionTicks);
    for (let ticks = 0; ticks <= 20 && this.machine(id).role === "follower"; ticks += 1) this.tick(id);
    this.settle();
  }

  /** Nothing gets from one member to another; with one name, nothing to and from that member. */
  cut(from: PeerId, to?: PeerId): void {
    for (const other of to === undefined ? this.ids : [to]) {
      this.#cuts.add(`${from}>${other}`);
      if (to === undefined) this.#cuts.add(`${other}>${from}`);
    }
  }

  heal(): void {
    this.#cuts.clear();
  }

  /** Delivers the messages that are on their way now and fit. @returns How many. */
  deliver(fits: (parcel: Parcel) => boolean = () => true, most = Number.POSITIVE_INFINITY): number {
    const taken = this.take(fits, most);
    for (const { from, to, message } of taken) {
      if (this.#cuts.has(`${from}>${to}`) || this.#hosts.get(to)?.machine === undefined) {
        this.#lines.push(`lost: ${from} to ${to}: ${tellMessage(message)}`);
        continue;
      }
      this.#lines.push(`${to} hears ${from}: ${tellMessage(message)}`);
      this.hear(to, from, message);
    }
    return taken.length;
  }

  /** Delivers until nobody has anything to say. */
  settle(): void {
    for (let rounds = 0; this.deliver() > 0; rounds += 1) {
      if (rounds > 1000) throw new Error("the members talk without end");
    }
  }

  /** Takes messages off their way. */
  take(fits: (parcel: Parcel) => boolean = () => true, most = Number.POSITIVE_INFINITY): readonly Parcel[] {
    const taken = this.inFlight.filter(fits).slice(0, most);
    this.inFlight = this.inFlight.filter((parcel) => !taken.includes(parcel));
    return taken;
  }

  #host(id: PeerId): Host {
    return present(this.#hosts.get(id), `${id} is in the script`);
  }

  #start(host: Host): Raft {
    host.applied = wordsOf(host.durable.snapshot.data);
    host.machine = new Raft({
      ...RAFT_DEFAULTS,
      ...this.#options,
      id: host.id,
      state: host.durable,
      random: { below: (bound) => Math.min(host.draws.shift() ?? host.ordinal, bound - 1) },
    });
    return host.machine;
  }

  #post(parcel: Parcel): void {
    this.inFlight.push(parcel);
  }

  #carryOut(host: Host, effect: Effect): void {
    this.#lines.push(`${host.id} ${tellEffect(effect)}`);
    switch (effect.type) {
      case "persist":
        if (host.isDiskPrompt) host.durable = written(host.durable, effect);
        else host.pending.push({ persist: effect });
        break;
      case "send": {
        const parcel = { from: host.id, to: effect.to, message: effect.message };
        if (effect.isDurable && host.pending.length > 0) host.pending.push({ parcel });
        else this.#post(parcel);
        break;
      }
      case "apply":
        for (const { data } of effect.entries) if (data !== undefined) host.applied.push(decoder.decode(data));
        break;
      case "restore":
        host.applied = wordsOf(effect.snapshot.data);
        break;
      case "role":
      case "proposed":
      case "refused":
      case "read-ready":
      case "read-failed":
        break;
      default:
        effect satisfies never;
    }
  }
}

function wordsOf(data: Uint8Array): string[] {
  return decoder
    .decode(data)
    .split(" ")
    .filter((word) => word !== "");
}
