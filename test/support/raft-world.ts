/**
 * A group of Raft machines and nothing else: messages lie in one heap and are delivered, lost, doubled and reordered as the seed says; disks keep
 * what was persisted; machines crash, restart, lose what was not durable. No clock: a step is a delivery, a tick, a write that is done, or a fault.
 *
 * Much faster than whole nodes, and much wilder: what a rule of the machine is worth is seen here first.
 */
import { present } from "../../src/assert.ts";
import { Raft } from "../../src/protocol/raft/machine.ts";
import {
  type ConfigurationChange,
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
import {
  BoundedQueues,
  CommittedEntries,
  ElectionSafety,
  FreshReads,
  LogMatching,
  type MemberView,
  NothingGoesBack,
  OneChangeAtATime,
  OneVoteATerm,
  Violation,
  nobodyContradicts,
} from "./raft-checkers.ts";
import { SimRandom } from "./sim-random.ts";

interface Parcel {
  readonly from: PeerId;
  readonly to: PeerId;
  readonly message: Message;
}

type Persist = Extract<Effect, { readonly type: "persist" }>;

/** What waits in order: writes, and messages that may leave only after them. */
type Pending = { readonly persist: Persist } | { readonly parcel: Parcel };

interface Host {
  readonly id: PeerId;
  machine: Raft | undefined;
  durable: DurableState;
  pending: Pending[];
  /** What the application holds: the entries' data, one after another, as text. */
  state: string[];
  /** Proposals that it was asked for, by id. */
  readonly waiting: Map<number, { readonly index: number; readonly term: number }>;
}

/** Chances of one seed, as parts of a thousand steps. */
interface Weather {
  readonly loss: number;
  readonly duplicate: number;
  readonly crash: number;
  readonly restart: number;
  readonly partition: number;
  readonly heal: number;
  readonly propose: number;
  readonly change: number;
  readonly transfer: number;
  readonly read: number;
  /** Members that ask any other, whoever leads. */
  readonly fetch: number;
  /** Pieces of leaders' snapshots that are lost: whoever needs one has it from members that it asks. */
  readonly snapshotLoss: number;
  readonly compact: number;
  /** Members that stand for election for no reason. */
  readonly standing: number;
  readonly writesDone: number;
  readonly tick: number;
}

/** A log above this is put into a snapshot. */
const COMPACT_BYTES = 60_000;
const MAX_LOG_BYTES = 200_000;
const OPTIONS: Omit<RaftOptions, "id" | "state" | "random"> = {
  ...RAFT_DEFAULTS,
  maxMessageBytes: 600,
  maxInflight: 4,
  maxInflightBytes: 1500,
  maxEntryBytes: 2000,
  maxUncommittedBytes: 20_000,
  snapshotChunkBytes: 64,
  trailingEntries: 5,
  promotionLagEntries: 8,
};

/** What a run came to. */
export interface RaftWorldResult {
  readonly steps: number;
  readonly committed: number;
  readonly terms: number;
  readonly changes: number;
  readonly snapshots: number;
  readonly reads: number;
  /** Entries that members got from others than their leader's word. */
  readonly fetched: number;
  /** Snapshots that they did. */
  readonly fetchedSnapshots: number;
  readonly crashes: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class RaftWorld {
  readonly #random: SimRandom;
  /** Of fetches alone: a seed without them runs as if there were none. */
  readonly #fetchRandom: SimRandom;
  readonly #snapshotChunkBytes: number;
  readonly #weather: Weather;
  readonly #hosts = new Map<PeerId, Host>();
  #parcels: Parcel[] = [];
  #cuts = new Set<string>();
  #lastProposal = 0;
  #lastRead = 0;
  #lastMember: number;
  #isCalm = false;
  #steps = 0;
  #changes = 0;
  #snapshots = 0;
  #crashes = 0;
  #fetched = 0;
  #fetchedSnapshots = 0;
  readonly #election = new ElectionSafety();
  readonly #votes = new OneVoteATerm();
  readonly #matching = new LogMatching();
  readonly #committed = new CommittedEntries();
  readonly #back = new NothingGoesBack();
  readonly #reads = new FreshReads();
  readonly #oneChange = new OneChangeAtATime();
  readonly #bounded = new BoundedQueues(MAX_LOG_BYTES);
  /** Proposals that were answered as done, by id, with their index. */
  readonly #answered = new Map<number, number>();

  /** @param hasFetches Whether some seeds have members that ask others than their leader. */
  constructor(seed: number, hasFetches = true) {
    this.#random = new SimRandom(`raft ${seed}`);
    const random = this.#random;
    this.#fetchRandom = new SimRandom(`raft fetches ${seed}`);
    this.#snapshotChunkBytes = hasFetches ? this.#fetchRandom.pick([64, 500, 4000]) : OPTIONS.snapshotChunkBytes;
    // Swarm: each fault is off in many runs.
    const maybe = (chance: number, strengths: readonly [number, ...number[]]): number =>
      random.fraction() < chance ? random.pick(strengths) : 0;
    this.#weather = {
      loss: maybe(0.5, [10, 50, 200]),
      duplicate: maybe(0.5, [10, 100]),
      crash: maybe(0.7, [1, 4, 10]),
      restart: random.pick([5, 20, 60]),
      partition: maybe(0.6, [1, 5]),
      heal: random.pick([3, 10]),
      propose: random.pick([5, 40, 120]),
      change: maybe(0.6, [2, 10]),
      transfer: maybe(0.4, [1, 4]),
      read: maybe(0.7, [5, 30]),
      fetch: hasFetches ? this.#fetchRandom.pick([0, 5, 30, 100, 300]) : 0,
      snapshotLoss: hasFetches ? this.#fetchRandom.pick([0, 0, 500, 1000]) : 0,
      compact: maybe(0.7, [2, 15]),
      standing: maybe(0.5, [1, 5, 15]),
      writesDone: random.pick([60, 200, 400]),
      tick: random.pick([60, 150, 300]),
    };
    const count = random.pick([1, 2, 3, 3, 3, 4, 5]);
    this.#lastMember = count;
    const members = Array.from({ length: count }, (_, index) => member(`n${index + 1}`, true));
    const founding: Snapshot = { index: 1, term: 0, configuration: { members }, data: encoder.encode("[]") };
    for (const { id } of members) this.#addHost(id, founding);
  }

  /** Runs a phase of faults, then a calm one in which the group must come to rest. */
  run(steps: number): RaftWorldResult {
    for (let step = 0; step < steps; step += 1) this.#step();
    this.#calm();
    return {
      steps: this.#steps,
      committed: this.#committed.lastIndex,
      terms: this.#election.terms,
      changes: this.#changes,
      snapshots: this.#snapshots,
      reads: this.#reads.reads,
      fetched: this.#fetched,
      fetchedSnapshots: this.#fetchedSnapshots,
      crashes: this.#crashes,
    };
  }

  #addHost(id: PeerId, founding: Snapshot | undefined): void {
    const snapshot = founding ?? { index: 0, term: 0, configuration: { members: [] }, data: encoder.encode("[]") };
    const durable: DurableState = { term: 0, votedFor: undefined, snapshot, entries: [] };
    const host: Host = { id, machine: undefined, durable, pending: [], state: [], waiting: new Map() };
    this.#hosts.set(id, host);
    this.#start(host);
  }

  #start(host: Host): void {
    host.state = parse(host.durable.snapshot.data);
    const options = { ...OPTIONS, snapshotChunkBytes: this.#snapshotChunkBytes };
    host.machine = new Raft({ ...options, id: host.id, state: host.durable, random: this.#random });
  }

  #view(host: Host): MemberView | undefined {
    const { machine } = host;
    return machine === undefined
      ? undefined
      : { id: host.id, term: machine.term, role: machine.role, log: machine.log };
  }

  #input(host: Host, input: Input): void {
    if (host.machine === undefined) return;
    const { entries, snapshots, progress } = host.machine.fetching;
    for (const effect of host.machine.step(input)) this.#carryOut(host, effect);
    const { log } = host.machine;
    if (log.bytes > COMPACT_BYTES && log.appliedIndex > log.snapshot.index) this.#compact(host);
    const view = this.#view(host);
    if (view === undefined) return;
    this.#back.look(view);
    this.#bounded.look(view);
    this.#fetched += host.machine.fetching.entries - entries;
    this.#fetchedSnapshots += host.machine.fetching.snapshots - snapshots;
    nobodyContradicts(host.machine);
    if (input.type === "compact") this.#committed.restored(host.id, log.snapshot);
    // Whoever was given something mostly asks the same member for more.
    if (input.type !== "message" || host.machine.fetching.progress === progress) return;
    if (this.#fetchRandom.below(8) > 0) this.#input(host, { type: "fetch", from: input.from });
  }

  #carryOut(host: Host, effect: Effect): void {
    switch (effect.type) {
      case "persist":
        host.pending.push({ persist: effect });
        break;
      case "send": {
        const parcel = { from: host.id, to: effect.to, message: effect.message };
        if (effect.isDurable && host.pending.length > 0) host.pending.push({ parcel });
        else this.#post(parcel);
        break;
      }
      case "apply":
        this.#apply(host, effect.entries);
        break;
      case "restore":
        this.#committed.restored(host.id, effect.snapshot);
        this.#snapshots += 1;
        host.state = parse(effect.snapshot.data);
        break;
      case "role":
        if (effect.role === "leader") {
          this.#election.leads(host.id, effect.term);
          const view = this.#view(host);
          if (view !== undefined) this.#committed.leads(view);
        } else {
          // Nobody knows what becomes of them.
          host.waiting.clear();
        }
        break;
      case "proposed":
        if (effect.id > 0) host.waiting.set(effect.id, effect);
        else this.#changes += 1;
        break;
      case "refused":
      case "read-failed":
        break;
      case "read-ready":
        this.#reads.ready(`${host.id}/${effect.id}`, effect.index);
        break;
      default:
        effect satisfies never;
    }
  }

  #apply(host: Host, entries: readonly Entry[]): void {
    this.#committed.applied(host.id, entries);
    for (const entry of entries) {
      if (entry.data === undefined) continue;
      const text = decoder.decode(entry.data);
      host.state.push(text.split(" ", 1)[0] ?? "");
      const id = Number(text.split(" ", 1)[0]);
      const waiting = host.waiting.get(id);
      if (waiting?.index === entry.index && waiting.term === entry.term) {
        host.waiting.delete(id);
        this.#answered.set(id, entry.index);
        this.#reads.answered(entry.index);
      }
    }
  }

  #post(parcel: Parcel): void {
    this.#votes.sent(parcel.from, parcel.to, parcel.message);
    this.#parcels.push(parcel);
  }

  /** The oldest thing that waits for the disk happens. */
  #writeDone(host: Host): void {
    const first = host.pending.shift();
    if (first === undefined) return;
    if ("persist" in first) {
      this.#write(host, first.persist);
      this.#input(host, { type: "persisted", ticket: first.persist.ticket });
    } else {
      this.#post(first.parcel);
    }
    // What follows a write waits for nothing.
    for (let next = host.pending[0]; next !== undefined && "parcel" in next; next = host.pending[0]) {
      host.pending.shift();
      this.#post(next.parcel);
    }
  }

  #write(host: Host, { term, votedFor, entries, snapshot }: Persist): void {
    let kept = host.durable.entries;
    const firstNew = entries[0];
    if (firstNew !== undefined) kept = [...kept.filter((entry) => entry.index < firstNew.index), ...entries];
    let base = host.durable.snapshot;
    if (snapshot !== undefined) {
      // One that replaces the log whole, and one that only shortens it, differ in whether the log goes on after it.
      const goesOn = kept.some((entry) => entry.index === snapshot.index && entry.term === snapshot.term);
      kept = goesOn ? kept.filter((entry) => entry.index > snapshot.index) : entries;
      base = snapshot;
    }
    host.durable = { term, votedFor, snapshot: base, entries: kept };
  }

  #crash(host: Host): void {
    if (host.machine === undefined) return;
    // Of what was on its way to the disk, a part may have arrived.
    for (let done = this.#random.below(3); done > 0; done -= 1) {
      const first = host.pending.shift();
      if (first !== undefined && "persist" in first) this.#write(host, first.persist);
    }
    this.#crashes += 1;
    host.pending = [];
    host.waiting.clear();
    host.machine = undefined;
    this.#back.stopped(host.id, { term: host.durable.term, snapshotIndex: host.durable.snapshot.index });
  }

  #step(): void {
    this.#steps += 1;
    const weather = this.#weather;
    const hosts = [...this.#hosts.values()];
    const chance = (perMille: number): boolean => perMille > 0 && this.#random.below(1000) < perMille;
    const any = (): Host => present(this.#random.pick(hosts), "a group has members");
    if (chance(weather.tick)) this.#input(any(), { type: "tick" });
    if (chance(weather.writesDone)) this.#writeDone(any());
    if (chance(weather.crash)) this.#crash(any());
    if (chance(weather.restart)) {
      const host = any();
      if (host.machine === undefined) this.#start(host);
    }
    if (chance(weather.partition)) this.#cut();
    if (chance(weather.heal)) this.#cuts.clear();
    if (chance(weather.propose)) this.#propose(any());
    if (chance(weather.read)) this.#read(any());
    if (this.#fetchRandom.below(1000) < weather.fetch) {
      const [host, from] = [this.#fetchRandom.pick(hosts), this.#fetchRandom.pick(hosts)];
      if (host !== undefined && from !== undefined) this.#input(host, { type: "fetch", from: from.id });
    }
    if (chance(weather.compact)) this.#compact(any());
    if (chance(weather.change)) this.#change(any());
    if (chance(weather.standing)) this.#stand(any());
    if (chance(weather.transfer)) this.#input(any(), { type: "transfer", target: any().id });
    this.#deliver();
    if (this.#steps % 64 === 0) this.#look();
  }

  #deliver(): void {
    if (this.#parcels.length === 0) return;
    // Mostly in order, sometimes not.
    const at = this.#random.below(3) === 0 ? this.#random.below(this.#parcels.length) : 0;
    const [parcel] = this.#parcels.splice(at, 1);
    if (parcel === undefined) return;
    if (!this.#isCalm) {
      if (this.#parcels.length > 2000) this.#parcels.splice(0, 1000);
      if (this.#cuts.has(`${parcel.from}>${parcel.to}`)) return;
      if (this.#random.below(1000) < this.#weather.loss) return;
      if (parcel.message.type === "snapshot" && this.#fetchRandom.below(1000) < this.#weather.snapshotLoss) return;
      if (this.#random.below(1000) < this.#weather.duplicate) this.#parcels.push(parcel);
    }
    const host = this.#hosts.get(parcel.to);
    if (host !== undefined) this.#input(host, { type: "message", from: parcel.from, message: parcel.message });
  }

  #cut(): void {
    const inside = new Set([...this.#hosts.keys()].filter(() => this.#random.below(2) === 0));
    const isOneWay = this.#random.below(3) === 0;
    for (const a of this.#hosts.keys()) {
      for (const b of this.#hosts.keys()) {
        if (inside.has(a) === inside.has(b)) continue;
        if (!isOneWay || inside.has(a)) this.#cuts.add(`${a}>${b}`);
      }
    }
  }

  #propose(host: Host): void {
    this.#lastProposal += 1;
    const data = encoder.encode(`${this.#lastProposal} ${"x".repeat(this.#random.below(120))}`);
    this.#input(host, { type: "propose", id: this.#lastProposal, data });
  }

  #read(host: Host): void {
    this.#lastRead += 1;
    this.#reads.asks(`${host.id}/${this.#lastRead}`);
    this.#input(host, { type: "read", id: this.#lastRead });
  }

  #compact(host: Host): void {
    if (host.machine === undefined) return;
    this.#input(host, {
      type: "compact",
      index: host.machine.log.appliedIndex,
      data: encoder.encode(JSON.stringify(host.state)),
    });
  }

  #change(host: Host): void {
    const { machine } = host;
    if (machine?.role !== "leader") return;
    const { members } = machine.configuration;
    const some = present(this.#random.pick(members), "a group has members");
    let change: ConfigurationChange;
    switch (this.#random.below(4)) {
      case 0: {
        if (this.#hosts.size >= 8) return;
        this.#lastMember += 1;
        const id = `n${this.#lastMember}`;
        this.#addHost(id, undefined);
        change = { type: "add-learners", members: [member(id, false)] };
        break;
      }
      case 1:
        change = { type: "promote", id: members.find((each) => !each.isVoter)?.id ?? some.id };
        break;
      case 2:
        change = { type: "demote", id: some.id };
        break;
      default:
        if (members.length <= 2) return;
        change = { type: "remove", id: some.id };
    }
    const before = machine.log.configurationIndex;
    const { commitIndex } = machine.log;
    this.#input(host, { type: "change", id: -1, change });
    if (machine.log.configurationIndex === before) return;
    // It was made, by this leader.
    this.#oneChange.made(host.id, {
      before,
      commitIndex,
      committedTerm: machine.log.term(commitIndex),
      term: machine.term,
    });
    const promoted = change.type === "promote" ? this.#hosts.get(change.id) : undefined;
    const lag =
      machine.log.lastIndex - 1 - (promoted?.durable.entries.at(-1)?.index ?? promoted?.durable.snapshot.index ?? 0);
    if (promoted !== undefined && lag > OPTIONS.promotionLagEntries) {
      throw new Violation(`learners catch up before they vote: ${promoted.id} lacks ${lag} entries`);
    }
  }

  /** Anybody may stand for election at any time, and break nothing by it. */
  #stand(host: Host): void {
    const { machine } = host;
    if (machine === undefined) return;
    const message: Message = { type: "timeout-now", term: machine.term };
    this.#input(host, { type: "message", from: machine.leader ?? host.id, message });
  }

  #look(): void {
    for (const host of this.#hosts.values()) {
      const view = this.#view(host);
      if (view === undefined) continue;
      this.#matching.look(view);
      this.#oneChange.look(view);
    }
  }

  /** All faults end: one leader, everybody has everything. */
  #calm(): void {
    this.#isCalm = true;
    this.#cuts.clear();
    for (const host of this.#hosts.values()) if (host.machine === undefined) this.#start(host);
    for (let round = 0; round < 600; round += 1) {
      for (const host of this.#hosts.values()) {
        this.#input(host, { type: "tick" });
        while (host.pending.length > 0) this.#writeDone(host);
      }
      for (let parcels = this.#parcels.length; parcels > 0; parcels -= 1) this.#deliver();
      if (round > 100 && this.#isSettled()) {
        this.#look();
        this.#final();
        return;
      }
    }
    throw new Violation(`liveness: the healed group did not come to rest:\n${this.#explain()}`);
  }

  get #leader(): Host | undefined {
    const leaders = [...this.#hosts.values()].filter((host) => host.machine?.role === "leader");
    return leaders.toSorted((a, b) => (b.machine?.term ?? 0) - (a.machine?.term ?? 0))[0];
  }

  #isSettled(): boolean {
    const leader = this.#leader?.machine;
    if (leader === undefined) return false;
    return leader.configuration.members.every(({ id }) => {
      const log = this.#hosts.get(id)?.machine?.log;
      return log?.lastIndex === leader.log.lastIndex && log.commitIndex === leader.log.lastIndex;
    });
  }

  #final(): void {
    const leader = this.#leader;
    const view = leader === undefined ? undefined : this.#view(leader);
    if (leader?.machine === undefined || view === undefined) throw new Violation("liveness: nobody leads");
    this.#committed.has(view, this.#committed.lastIndex);
    const ids = new Set(leader.state);
    for (const id of this.#answered.keys()) {
      if (!ids.has(String(id))) throw new Violation(`answered proposals stay: ${id} is gone`);
    }
    for (const { id } of leader.machine.configuration.members) {
      const other = this.#hosts.get(id);
      if (other !== undefined && other.state.join() !== leader.state.join())
        throw new Violation(`members are equal in the end: ${id} differs from ${leader.id}`);
    }
  }

  #explain(): string {
    return [...this.#hosts.values()]
      .map(({ id, machine, pending }) =>
        machine === undefined
          ? `${id} is down`
          : `${id} ${machine.role} term ${machine.term} leader ${machine.leader ?? "-"} log ${machine.log.firstIndex}..${machine.log.lastIndex} commit ${machine.log.commitIndex} snapshot ${machine.log.snapshot.index} pending ${pending.length} members ${machine.configuration.members.map((each) => `${each.id}${each.isVoter ? "" : "(learner)"}`).join(" ")} progress ${[...(machine.leadership?.progress ?? [])].map(([peer, progress]) => `${peer}:${progress.state}/${progress.match}/${progress.next}`).join(" ")}`,
      )
      .join("\n");
  }
}

function member(id: PeerId, isVoter: boolean): Member {
  return { id, isVoter, host: id, port: 1, zone: "", isWitness: false };
}

function parse(data: Uint8Array): string[] {
  const value: unknown = JSON.parse(decoder.decode(data));
  return Array.isArray(value) ? value.map(String) : [];
}
