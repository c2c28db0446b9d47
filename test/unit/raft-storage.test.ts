/**
 * Raft's memory on a disk that takes every liberty: whatever was promised is there again after any crash, nothing is that never was, and damage is told.
 */
import { describe, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import { readJournal } from "../../src/codec/journal.ts";
import { RaftStorage, type RaftIdentity, type StoredRaft } from "../../src/consensus/raft-storage.ts";
import type { DurableState, Effect, Entry, Snapshot } from "../../src/protocol/raft/types.ts";
import { SimRandom } from "../support/sim-random.ts";
import { Simulation, type SimHost } from "../support/sim-world.ts";

type Persist = Extract<Effect, { readonly type: "persist" }>;

const IDENTITY: RaftIdentity = { group: "group-1", peer: "node-1/00000001" };
const MEMBER = {
  id: IDENTITY.peer,
  isVoter: true,
  host: "10.0.0.1",
  port: 16_379,
  zone: "east",
  isWitness: false,
};
const FOUNDING: Snapshot = { index: 1, term: 0, configuration: { members: [MEMBER] }, data: Uint8Array.of(1, 2, 3) };
const FOUNDED: DurableState = { term: 0, votedFor: undefined, snapshot: FOUNDING, entries: [] };
/** So short that runs of a few writes change segments. */
const SEGMENT_BYTES = 400;
const SETTLE_MS = 60_000;

function entry(index: number, term: number, size = 3): Entry {
  if (size === 0) return { index, term, data: undefined, configuration: FOUNDING.configuration };
  return { index, term, data: new Uint8Array(size).fill(index * 16 + term), configuration: undefined };
}

function persist(term: number, votedFor: string | undefined, entries: readonly Entry[], snapshot?: Snapshot): Persist {
  return { type: "persist", ticket: 1, term, votedFor, entries, snapshot };
}

/** What Raft means by an effect, on states: written down apart from the storage. */
function applied(state: DurableState, effect: Persist): DurableState {
  const first = effect.entries[0]?.index ?? Number.POSITIVE_INFINITY;
  const log = [...state.entries.filter(({ index }) => index < first), ...effect.entries];
  const next = { term: effect.term, votedFor: effect.votedFor, snapshot: state.snapshot, entries: log };
  return effect.snapshot === undefined ? next : replaced(next, effect.snapshot);
}

/** A snapshot in place of the log before it, or of all of it, if the log does not hold its last entry. */
function replaced(state: DurableState, snapshot: Snapshot): DurableState {
  const { index, term } = snapshot;
  const isHeld = state.entries.some((each) => each.index === index && each.term === term);
  return { ...state, snapshot, entries: isHeld ? state.entries.filter((each) => each.index > index) : [] };
}

function show(state: DurableState): string {
  const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");
  const { snapshot } = state;
  return JSON.stringify([
    [state.term, state.votedFor ?? ""],
    [snapshot.index, snapshot.term, snapshot.configuration, hex(snapshot.data)],
    state.entries.map((each) => [each.index, each.term, hex(each.data), each.configuration ?? ""]),
  ]);
}

/** A machine with a disk, and what was asked of it. */
class Machine {
  readonly simulation: Simulation;
  readonly host: SimHost;

  constructor(seed: number, tornSectorChance = 0.5) {
    this.simulation = new Simulation(seed, { disk: { tornSectorChance } });
    this.host = this.simulation.addHost("10.0.0.1");
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.simulation.settle("the disk", promise, SETTLE_MS);
  }

  create(): Promise<RaftStorage> {
    return this.settle(RaftStorage.create(this.host.world.disk, IDENTITY, FOUNDING, SEGMENT_BYTES));
  }

  open(): Promise<{ storage: RaftStorage; stored: StoredRaft } | undefined> {
    return this.settle(RaftStorage.open(this.host.world.disk, SEGMENT_BYTES));
  }

  async reopen(): Promise<StoredRaft | undefined> {
    return (await this.open())?.stored;
  }

  /** Lets `events` happen, or all there are; then it is off. */
  async crashAfter(events: number, kind: "power" | "process"): Promise<void> {
    for (let left = events; left > 0 && (await this.simulation.step()); left -= 1);
    this.simulation.crash(this.host, kind);
    this.simulation.restart(this.host);
  }
}

/** Writes batches of effects one after another, and counts. */
async function writeAll(
  storage: RaftStorage,
  batches: readonly (readonly Persist[])[],
  told: (count: number) => void,
): Promise<void> {
  for (const [at, batch] of batches.entries()) {
    await storage.persist(batch);
    told(at + 1);
  }
}

/** Everything that a disk may hold after a crash in the middle of these batches, of which `promised` were done. */
function possibleStates(
  start: DurableState,
  batches: readonly (readonly Persist[])[],
  promised: number,
): ReadonlySet<string> {
  let state = start;
  for (const effect of batches.slice(0, promised).flat()) state = applied(state, effect);
  const possible = new Set([show(state)]);
  // The batch that was being written: any number of its effects, and of one with a snapshot the snapshot alone.
  for (const effect of batches[promised] ?? []) {
    if (effect.snapshot !== undefined) {
      possible.add(
        show(replaced(applied(state, { ...effect, ...state, snapshot: undefined, entries: [] }), effect.snapshot)),
      );
    }
    state = applied(state, effect);
    possible.add(show(state));
  }
  return possible;
}

/** Effects as a machine in such a state may give them. */
function drawEffect(random: SimRandom, state: DurableState): Persist {
  const term = state.term + random.below(2);
  const votedFor = random.chance(0.5) ? undefined : `node-${random.below(3)}/0000000${random.below(3)}`;
  const last = state.entries.at(-1) ?? state.snapshot;
  const written = (from: number): Entry[] => {
    const entries: Entry[] = [];
    for (let left = random.below(4); left > 0; left -= 1) {
      entries.push(entry(from + entries.length, Math.max(term, last.term), random.pick([0, 1, 20, 150])));
    }
    return entries;
  };
  const snapshotAt = (index: number, atTerm: number): Snapshot => ({
    index,
    term: atTerm,
    configuration: FOUNDING.configuration,
    data: random.bytes(random.pick([0, 10, 700])),
  });
  const held = random.pick([undefined, ...state.entries]);
  switch (random.below(6)) {
    case 0:
      return persist(term, votedFor, []);
    case 1:
      // Some entries of the log are overwritten: another leader has others.
      return persist(term, votedFor, written(held?.index ?? last.index + 1));
    case 2:
      // This member's own snapshot.
      return held === undefined
        ? persist(term, votedFor, [])
        : persist(term, votedFor, [], snapshotAt(held.index, held.term));
    case 3:
      // A leader's snapshot, of a log that this member has not.
      return persist(term + 1, votedFor, [], snapshotAt(state.snapshot.index + 1 + random.below(8), term + 1));
    default:
      return persist(term, votedFor, written(last.index + 1));
  }
}

function drawBatches(random: SimRandom, start: DurableState): readonly (readonly Persist[])[] {
  let state = start;
  return Array.from({ length: 1 + random.below(6) }, () =>
    Array.from({ length: 1 + random.below(3) }, () => {
      const effect = drawEffect(random, state);
      state = applied(state, effect);
      return effect;
    }),
  );
}

describe("RaftStorage", () => {
  test("opens nothing where there is nothing, and what was created where that is", async () => {
    const machine = new Machine(1);
    expect(await machine.reopen()).toBeUndefined();
    await machine.create();
    const stored = await machine.reopen();
    expect(stored?.identity).toEqual(IDENTITY);
    expect(show(stored?.state ?? { ...FOUNDED, term: -1 })).toBe(show(FOUNDED));
  });

  test("creating removes what another identity left", async () => {
    const machine = new Machine(1);
    const storage = await machine.create();
    await machine.settle(storage.persist([persist(3, "x", [entry(2, 3)])]));
    const other = { group: "group-2", peer: "node-1/00000002" };
    await machine.settle(RaftStorage.create(machine.host.world.disk, other, { ...FOUNDING, index: 0 }));
    const stored = await machine.reopen();
    expect(stored?.identity).toEqual(other);
    expect(show(stored?.state ?? FOUNDED)).toBe(show({ ...FOUNDED, snapshot: { ...FOUNDING, index: 0 } }));
  });

  test("a crash while it is created, at any moment, leaves nothing or all of it", async () => {
    const outcomes = new Set<boolean>();
    for (let seed = 0; seed < 12; seed += 1) {
      for (let events = 0; events < 14; events += 1) {
        const machine = new Machine(seed);
        let isDone = false;
        void RaftStorage.create(machine.host.world.disk, IDENTITY, FOUNDING).then(() => (isDone = true));
        await machine.crashAfter(events, seed % 2 === 0 ? "power" : "process");
        const stored = await machine.reopen();
        if (isDone) expect(stored).toBeDefined();
        if (stored !== undefined) expect(show(stored.state)).toBe(show(FOUNDED));
        outcomes.add(stored !== undefined);
        // Founding again is possible in either case.
        await machine.create();
        expect(await machine.reopen()).toBeDefined();
      }
    }
    expect(outcomes.size).toBe(2);
  });

  test("a crash at any moment of any writes loses nothing that was promised, and makes nothing up; so does the next one", async () => {
    let lost = 0;
    let torn = 0;
    let snapshots = 0;
    for (let seed = 0; seed < 250; seed += 1) {
      const machine = new Machine(seed);
      const random = new SimRandom(`raft-storage ${seed}`);
      let storage: RaftStorage = await machine.create();
      let state = FOUNDED;
      for (let life = 0; life < 5; life += 1) {
        const batches = drawBatches(random, state);
        let promised = 0;
        void writeAll(storage, batches, (count) => (promised = count));
        await machine.crashAfter(random.below(40), random.pick(["power", "process"]));
        const possible = possibleStates(state, batches, promised);
        if (random.chance(0.4)) {
          // It is started, and stopped again before it has opened everything.
          void machine.open().catch(() => undefined);
          await machine.crashAfter(random.below(12), random.pick(["power", "process"]));
        }
        const opened = await machine.open();
        const shown = opened === undefined ? "nothing" : show(opened.stored.state);
        if (opened === undefined || !possible.has(shown)) {
          throw new Error(`seed ${seed}, life ${life}: ${shown} is none of\n${[...possible].join("\n")}`);
        }
        expect(opened.stored.identity).toEqual(IDENTITY);
        if (promised < batches.length) lost += 1;
        if (opened.stored.tornBytes > 0) torn += 1;
        if (opened.stored.state.snapshot.index > state.snapshot.index) snapshots += 1;
        ({ storage } = opened);
        ({ state } = opened.stored);
      }
    }
    // The runs are worth something.
    expect(lost).toBeGreaterThan(200);
    expect(torn).toBeGreaterThan(30);
    expect(snapshots).toBeGreaterThan(200);
  });

  test("entries that replace others take the places of all that followed", async () => {
    const machine = new Machine(2);
    const storage = await machine.create();
    await machine.settle(
      storage.persist([
        persist(
          1,
          undefined,
          [2, 3, 4, 5].map((index) => entry(index, 1)),
        ),
      ]),
    );
    await machine.settle(storage.persist([persist(2, "b", [entry(3, 2)])]));
    const stored = await machine.reopen();
    expect(stored?.state.entries.map(({ index, term }) => [index, term])).toEqual([
      [2, 1],
      [3, 2],
    ]);
    expect([stored?.state.term, stored?.state.votedFor]).toEqual([2, "b"]);
  });

  test("a leader's snapshot replaces the log, and what follows it stays through further starts", async () => {
    const snapshot = { ...FOUNDING, index: 4, term: 3, data: Uint8Array.of(9) };
    for (const length of [0, 2, 3, 6]) {
      const machine = new Machine(3);
      let storage = await machine.create();
      const old = Array.from({ length }, (_, at) => entry(2 + at, 1));
      await machine.settle(storage.persist([persist(1, undefined, old)]));
      await machine.settle(storage.persist([persist(3, undefined, [], snapshot)]));
      expect((await machine.reopen())?.state.entries).toEqual([]);
      const opened = await machine.open();
      if (opened === undefined) throw new Error("it was there before");
      ({ storage } = opened);
      await machine.settle(storage.persist([persist(3, undefined, [entry(5, 3)])]));
      for (const _ of [1, 2]) {
        const { state } = (await machine.reopen()) ?? { state: FOUNDED };
        expect(show(state)).toBe(show({ term: 3, votedFor: undefined, snapshot, entries: [entry(5, 3)] }));
      }
    }
  });

  test("the member's own snapshot keeps what follows it, and the files before it go", async () => {
    const machine = new Machine(4);
    const storage = await machine.create();
    const entries = [2, 3, 4].map((index) => entry(index, 1));
    const snapshot = { ...FOUNDING, index: 3, term: 1 };
    await machine.settle(storage.persist([persist(1, undefined, entries), persist(1, undefined, [], snapshot)]));
    expect(machine.host.disk.paths()).toEqual(["raft/segment-2", "raft/snapshot-3"]);
    expect((await machine.reopen())?.state).toEqual({ term: 1, votedFor: undefined, snapshot, entries: [entry(4, 1)] });
  });

  test("a segment that has become long is followed by another, which says the same", async () => {
    const machine = new Machine(5);
    const storage = await machine.create();
    const entries: Entry[] = [];
    for (let index = 2; index < 30; index += 1) {
      entries.push(entry(index, 1, 60));
      await machine.settle(storage.persist([persist(1, "me", entries.slice(-1))]));
    }
    const [segment, ...rest] = machine.host.disk.paths().filter((path) => path.includes("segment"));
    expect(rest).toEqual([]);
    const number = Number(segment?.split("-")[1]);
    // Each holds a few writes: neither all of them, nor one alone.
    expect(number).toBeGreaterThan(3);
    expect(number).toBeLessThan(14);
    expect((await machine.reopen())?.state).toEqual({ ...FOUNDED, term: 1, votedFor: "me", entries });
  });

  test("one sync makes a batch durable", async () => {
    const machine = new Machine(6);
    const storage = await machine.create();
    const { disk } = machine.host;
    const before = disk.syncedLength("raft/segment-1");
    const lengths = new Set<number>();
    machine.simulation.check("lengths are noted", () => lengths.add(disk.syncedLength("raft/segment-1")));
    await machine.settle(storage.persist([persist(1, "a", [entry(2, 1)]), persist(2, "b", [entry(3, 2)])]));
    expect([...lengths]).toEqual([before, disk.peek("raft/segment-1")?.length ?? 0]);
  });
});

describe("RaftStorage finds damage", () => {
  /** A directory with a few records, each promised, on which `damage` is done. */
  async function failure(damage: (machine: Machine) => Promise<void>): Promise<string> {
    const machine = new Machine(7);
    const storage = await machine.create();
    for (const index of [2, 3, 4]) await machine.settle(storage.persist([persist(1, "me", [entry(index, 1)])]));
    await damage(machine);
    const thrown: unknown = await machine.open().catch((reason: unknown) => reason);
    return thrown instanceof Fault ? thrown.message : "no fault";
  }

  async function rewrite(machine: Machine, path: string, change: (bytes: Uint8Array) => Uint8Array): Promise<void> {
    const { disk } = machine.host.world;
    const bytes = change(machine.host.disk.peek(path) ?? new Uint8Array(0));
    await machine.settle(disk.remove(path));
    await machine.settle(disk.append(path, bytes));
    await machine.settle(disk.sync(path));
  }

  const flip =
    (at: (bytes: Uint8Array) => number) =>
    (bytes: Uint8Array): Uint8Array => {
      const where = at(bytes);
      bytes[where] = (bytes[where] ?? 0) ^ 1;
      return bytes;
    };

  test("in the middle of a segment, with file and offset", async () => {
    const offsetOf = (bytes: Uint8Array, record: number): number =>
      readJournal(bytes)
        .records.slice(0, record)
        .reduce((sum, payload) => sum + 16 + payload.length, 0);
    for (const record of [0, 1, 2]) {
      let offset = -1;
      const message = await failure((machine) =>
        rewrite(machine, "raft/segment-1", (bytes) => {
          offset = offsetOf(bytes, record);
          return flip(() => offset + 17)(bytes);
        }),
      );
      expect(message).toStartWith(`Damaged file raft/segment-1 at offset ${offset}: `);
    }
  });

  test("in a snapshot, and where the snapshot is missing", async () => {
    const flipped = await failure((machine) =>
      rewrite(
        machine,
        "raft/snapshot-1",
        flip((bytes) => bytes.length - 1),
      ),
    );
    expect(flipped).toStartWith("Damaged file raft/snapshot-1 at offset 0: ");
    const short = await failure((machine) => rewrite(machine, "raft/snapshot-1", (bytes) => bytes.subarray(0, 20)));
    expect(short).toStartWith("Damaged file raft/snapshot-1 at offset 0: ");
    const gone = await failure((machine) => machine.settle(machine.host.world.disk.remove("raft/snapshot-1")));
    expect(gone).toStartWith("Damaged directory raft: there is no snapshot");
  });

  test("in the beginning of the only segment there is, which was durable when others went", async () => {
    const message = await failure(async (machine) => {
      await machine.reopen();
      expect(machine.host.disk.paths()).toContain("raft/segment-2");
      await rewrite(
        machine,
        "raft/segment-2",
        flip(() => 20),
      );
    });
    expect(message).toStartWith("Damaged file raft/segment-2 at offset 0: ");
  });

  test("in a segment that another was to follow", async () => {
    const message = await failure(async (machine) => {
      await rewrite(
        machine,
        "raft/segment-1",
        flip((bytes) => bytes.length - 1),
      );
      await rewrite(machine, "raft/segment-2", () => Uint8Array.of(1, 2, 3));
    });
    expect(message).toMatch(/^Damaged file raft\/segment-1 at offset \d+: /);
  });

  test("and never changes what it calls damaged", async () => {
    let before: Uint8Array | undefined;
    const machines: Machine[] = [];
    await failure(async (machine) => {
      machines.push(machine);
      await rewrite(
        machine,
        "raft/segment-1",
        flip(() => 20),
      );
      before = machine.host.disk.peek("raft/segment-1");
    });
    expect(before?.length).toBeGreaterThan(50);
    expect(machines[0]?.host.disk.peek("raft/segment-1")).toEqual(before);
  });
});
