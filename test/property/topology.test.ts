/** The cluster map under any requests: it stays whole, no slot is lost or owned twice, and every node that applies the same acts has the same map. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import type { SlotRange, TopologyRequest } from "../../src/contracts/topology.ts";
import { canonicalRanges, intersectRanges, subtractRanges } from "../../src/protocol/slot-ranges.ts";
import type { TopologyAct } from "../../src/protocol/topology/records.ts";
import {
  EMPTY_STATE,
  Journal,
  type TopologyState,
  applyAct,
  checkState,
  deltaOf,
  imageOf,
} from "../../src/protocol/topology/state.ts";
import { decodeAct, decodeSnapshot, encodeAct, encodeSnapshot } from "../../src/protocol/topology/topology-json.ts";
import { TopologyModel, idOf, nodeRecord } from "../support/topology-model.ts";

const slotRange = fc.tuple(fc.nat(40), fc.nat(12)).map(([first, more]): SlotRange => ({ first, last: first + more }));
const ranges = fc.array(slotRange, { maxLength: 5 });

function setOf(of: readonly SlotRange[]): ReadonlySet<number> {
  const slots = new Set<number>();
  for (const { first, last } of of) for (let slot = first; slot <= last; slot += 1) slots.add(slot);
  return slots;
}

describe("ranges of slots", () => {
  test("what is in both, and what is left, are what sets of slots say", () => {
    fc.assert(
      fc.property(ranges, ranges, (some, more) => {
        const [one, other] = [canonicalRanges(some), canonicalRanges(more)];
        const [left, right] = [setOf(one), setOf(other)];
        expect(setOf(intersectRanges(one, other))).toEqual(left.intersection(right));
        expect(setOf(subtractRanges(one, other))).toEqual(left.difference(right));
        // They are canonical as well: the map takes them as they are.
        for (const result of [intersectRanges(one, other), subtractRanges(one, other)]) {
          expect(canonicalRanges(result)).toEqual(result);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

const LETTERS = ["a", "b", "c", "d", "e"];
const letter = fc.constantFrom(...LETTERS);
/** Mostly what is right. */
const epochChange = fc.constantFrom(0, 0, 0, 1, -1);
const migrationId = fc.constantFrom("m", "n");
/** Slots as they should be, and now and then as they should not. */
const slots = fc.oneof(
  { weight: 9, arbitrary: fc.array(slotRange, { minLength: 1, maxLength: 3 }) },
  { weight: 1, arbitrary: fc.array(fc.record({ first: fc.integer(), last: fc.integer() }), { maxLength: 2 }) },
);

/** A request that is made on the state as it is when its turn comes. */
type Wish = (model: TopologyModel) => TopologyRequest;

const of = <T>(
  arbitrary: fc.Arbitrary<T>,
  request: (value: T, model: TopologyModel) => TopologyRequest,
): fc.Arbitrary<Wish> => arbitrary.map((value) => (model: TopologyModel) => request(value, model));

/** The shard of a node at its version, or one that is stale; of one that is not there, any. */
function at(model: TopologyModel, node: string, isStale: boolean): { shard: string; shardVersion: number } {
  const id = idOf(node);
  const shard = [...model.state.shards.values()].find((each) => each.primary === id || each.replicas.includes(id));
  return { shard: shard?.id ?? "none", shardVersion: (shard?.version ?? 0) - Number(isStale) };
}

/** Slots that a node's shard has, if it has any and chance wants it so: what is drawn blindly is nearly always refused. */
function owned(
  model: TopologyModel,
  node: string,
  drawn: readonly SlotRange[],
  isOwned: boolean,
): readonly SlotRange[] {
  const [first] = model.state.shards.get(at(model, node, false).shard)?.slots ?? [];
  if (first === undefined || !isOwned) return drawn;
  return [{ first: first.first, last: Math.min(first.last, first.first + 2) }];
}

/** A replica of a node's shard, if it has any: strangers are refused, and the machine has been asked for enough of them by unit tests. */
function replicaOf(model: TopologyModel, node: string, drawn: string): string {
  const replicas = model.state.shards.get(at(model, node, false).shard)?.replicas ?? [];
  return replicas[LETTERS.indexOf(drawn) % Math.max(1, replicas.length)] ?? idOf(drawn);
}

const stale = fc.integer({ min: 0, max: 9 }).map((chance) => chance === 0);
const onShard = fc.tuple(letter, letter, stale);
const wish: fc.Arbitrary<Wish> = fc.oneof(
  of(fc.tuple(letter, fc.nat(2), fc.nat(20)), ([name, start, chance]) => ({
    type: "register-node",
    node: nodeRecord(name, { start: `start-${start}`, ...(chance === 0 ? { role: "witness" as const } : {}) }),
  })),
  of(fc.tuple(letter, letter), ([node, by]) => ({ type: "remove-node", node: idOf(node), by: idOf(by) })),
  of(letter, (node) => ({ type: "lift-tombstone", node: idOf(node) })),
  of(fc.tuple(letter, slots), ([node, which]) => ({ type: "assign-slots", node: idOf(node), slots: which })),
  of(fc.tuple(letter, slots), ([node, which]) => ({ type: "assign-slots", node: idOf(node), slots: which })),
  of(fc.tuple(letter, slots, fc.boolean()), ([node, which, isOwned], model) => ({
    type: "release-slots",
    slots: owned(model, node, which, isOwned),
  })),
  of(letter, (node) => ({ type: "flush-slots", node: idOf(node) })),
  of(fc.tuple(letter, fc.nat(3)), ([node, back], model) => ({
    type: "acknowledge-releases",
    node: idOf(node),
    version: model.state.version - back,
  })),
  of(letter, (node) => ({ type: "bump-epoch", node: idOf(node) })),
  of(fc.tuple(letter, fc.nat(9)), ([node, epoch]) => ({ type: "set-epoch", node: idOf(node), epoch })),
  of(onShard, ([shard, node, isStale], model) => ({
    type: "add-replica",
    ...at(model, shard, isStale),
    node: idOf(node),
  })),
  of(onShard, ([shard, node, isStale], model) => ({
    type: "add-replica",
    ...at(model, shard, isStale),
    node: idOf(node),
  })),
  of(fc.tuple(letter, fc.constantFrom("auto", ...LETTERS)), ([node, wanted]) => ({
    type: "place-replica",
    node: idOf(node),
    of: wanted,
  })),
  of(onShard, ([shard, node, isStale], model) => ({
    type: "remove-replica",
    ...at(model, shard, isStale),
    node: replicaOf(model, shard, node),
  })),
  of(fc.tuple(onShard, fc.nat(2)), ([[shard, node, isStale], kind], model) => {
    const primary = model.state.shards.get(at(model, shard, false).shard)?.primary ?? idOf(shard);
    const replica = replicaOf(model, shard, node);
    return {
      type: "change-in-sync",
      ...at(model, shard, isStale),
      inSync: kind === 1 ? [primary] : [primary, replica],
      eligible: kind === 0 ? [] : [replica],
    };
  }),
  of(onShard, ([shard, node, isStale], model) => ({
    type: "promote",
    ...at(model, shard, isStale),
    node: replicaOf(model, shard, node),
  })),
  ...[1, 2].flatMap(() => [
    of(
      fc.tuple(fc.constantFrom("a", "b", ...LETTERS), letter, fc.nat(40), fc.boolean(), fc.boolean()),
      ([node, peer, slot, isImporting, isOwned], model): TopologyRequest => ({
        type: "mark-slot",
        slot: owned(model, isImporting ? peer : node, [{ first: slot, last: slot }], isOwned)[0]?.first ?? slot,
        node: idOf(node),
        mark: isImporting ? "importing" : "migrating",
        peer: idOf(peer),
      }),
    ),
    of(fc.tuple(onShard, fc.nat(40), fc.nat(2), fc.boolean()), ([[shard, , isStale], slot, keys, isLast], model) => ({
      type: "unmark-slot",
      slot: model.state.openSlots[0]?.slot ?? slot,
      ...at(model, shard, isStale),
      keys,
      isLast,
    })),
  ]),
  of(fc.nat(40), (slot, model) => ({ type: "close-slot", slot: model.state.openSlots[0]?.slot ?? slot })),
  of(
    fc.tuple(onShard, fc.nat(40), fc.boolean(), fc.boolean()),
    ([[shard, to, isStale], slot, isOpen, isFree], model) => {
      const own = owned(model, shard, [{ first: slot, last: slot }], !isFree)[0]?.first ?? slot;
      return {
        type: "give-slot",
        slot: isOpen ? (model.state.openSlots[0]?.slot ?? own) : own,
        ...(isFree ? {} : { from: at(model, shard, isStale) }),
        to: idOf(to),
      };
    },
  ),
  // More often than others: each needs the one before.
  ...[1, 2, 3].flatMap(() => [
    of(
      fc.tuple(migrationId, fc.constantFrom("a", "b", ...LETTERS), letter, slots, fc.boolean(), fc.nat(3)),
      ([id, source, target, which, isOwned, patience], model) => {
        const [from, to] = [at(model, source, false), at(model, target, false)];
        return {
          type: "start-migration",
          id,
          source: from.shard,
          sourceVersion: from.shardVersion,
          target: to.shard,
          targetVersion: to.shardVersion,
          slots: owned(model, source, which, isOwned),
          ...(patience === 0 ? { awaitsWord: true } : {}),
        };
      },
    ),
    of(fc.tuple(migrationId, epochChange), ([id, change], model) => ({
      type: "fence-migration",
      id,
      sourceEpoch: epochOf(model, id, "source") + change,
      targetEpoch: epochOf(model, id, "target"),
    })),
    of(fc.tuple(migrationId, epochChange), ([id, change], model) => ({
      type: "complete-migration",
      id,
      fence: fenceOf(model, id) + change,
    })),
  ]),
  of(fc.tuple(migrationId, epochChange), ([id, change], model) => ({
    type: "unfence-migration",
    id,
    fence: fenceOf(model, id) + change,
  })),
  of(fc.tuple(migrationId, fc.boolean()), ([id, isPaused]) => ({ type: "pause-migration", id, isPaused })),
  of(migrationId, (id) => ({ type: "allow-completion", id })),
  of(migrationId, (id) => ({ type: "abort-migration", id })),
  of(fc.constantFrom("primary", "in-sync", "none"), (value) => ({ type: "change-setting", name: "acks", value })),
  of(fc.constantFrom("1", "2", "3"), (value) => ({ type: "change-setting", name: "min-in-sync", value })),
);
const wishes = fc.array(
  fc.oneof(
    { weight: 9, arbitrary: wish },
    {
      weight: 1,
      arbitrary: fc.array(wish, { maxLength: 3 }).map((all) => (model: TopologyModel): TopologyRequest => ({
        type: "all",
        requests: all.map((each) => each(model)),
      })),
    },
  ),
  { maxLength: 60, size: "max" },
);

/** What must have been granted some time: what is always refused tests nothing. */
const KINDS: readonly TopologyRequest["type"][] = [
  "register-node",
  "remove-node",
  "assign-slots",
  "release-slots",
  "flush-slots",
  "add-replica",
  "remove-replica",
  "change-in-sync",
  "promote",
  "start-migration",
  "fence-migration",
  "complete-migration",
  "allow-completion",
  "abort-migration",
  "mark-slot",
  "unmark-slot",
  "close-slot",
  "give-slot",
  "change-setting",
];

/** Who owns each slot, by the requests that were granted and by nothing else. */
class Owners {
  readonly #owners = new Map<number, string>();

  granted(request: TopologyRequest, before: TopologyModel["state"]): void {
    switch (request.type) {
      case "assign-slots": {
        const shard = [...before.shards.values()].find(({ primary }) => primary === request.node);
        for (const slot of setOf(request.slots)) this.#owners.set(slot, shard?.id ?? "");
        break;
      }
      case "release-slots":
        for (const slot of setOf(request.slots)) this.#owners.delete(slot);
        break;
      case "flush-slots": {
        const shard = [...before.shards.values()].find(({ primary }) => primary === request.node);
        for (const [slot, owner] of this.#owners) if (owner === shard?.id) this.#owners.delete(slot);
        break;
      }
      case "give-slot": {
        const shard = [...before.shards.values()].find(({ primary }) => primary === request.to);
        this.#owners.set(request.slot, shard?.id ?? "");
        break;
      }
      case "complete-migration": {
        const migration = before.migrations.get(request.id);
        for (const slot of setOf(migration?.slots ?? [])) this.#owners.set(slot, migration?.target ?? "");
        break;
      }
      default:
    }
  }

  list(): readonly (readonly [number, string])[] {
    return [...this.#owners].toSorted(([a], [b]) => a - b);
  }
}

/** Whoever is taken for a holder of a shard's data is the start that came to be one. */
class Holders {
  readonly #joined = new Map<string, number>();

  look(before: TopologyState, after: TopologyState): void {
    for (const { id: shard, primary, primaryIncarnation, inSync, eligible } of after.shards.values()) {
      const old = before.shards.get(shard);
      const earlier = new Set([...(old?.inSync ?? []), ...(old?.eligible ?? [])]);
      for (const id of [...inSync, ...eligible]) {
        const key = `${shard} ${id}`;
        const incarnation = after.nodes.get(id)?.incarnation ?? 0;
        if (id === primary) {
          if (old !== undefined && old.primary !== id) expect(primaryIncarnation).toBe(this.#joined.get(key) ?? -1);
        } else if (earlier.has(id) && old?.primary !== id) expect(incarnation).toBe(this.#joined.get(key) ?? -1);
        else this.#joined.set(key, incarnation);
      }
    }
  }
}

describe("the cluster map", () => {
  test("stays whole whatever is asked, and a slot changes hands only by what was granted about slots", () => {
    const granted = new Set<TopologyRequest["type"]>();
    const property = fc.property(wishes, (all) => {
      const model = TopologyModel.of(LETTERS.join(""));
      const owners = new Owners();
      const first = { type: "assign-slots", node: idOf("a"), slots: [{ first: 0, last: 20 }] } as const;
      owners.granted(first, model.state);
      model.grant(first);
      model.follow("a", "b");
      const holders = new Holders();
      holders.look(EMPTY_STATE, model.state);
      let image = imageOf(model.state, undefined);
      for (const each of all) {
        const request = each(model);
        // An act of several is followed through its parts by the one that holds them all.
        if (request.type === "all" && "rejection" in model.decide(request)) continue;
        for (const part of request.type === "all" ? request.requests : [request]) {
          const before = model.state;
          const decision = model.ask(part);
          if ("rejection" in decision) {
            expect(decision.rejection).toMatch(/^ERR .{5}/);
            expect(model.state).toBe(before);
            continue;
          }
          owners.granted(part, before);
          holders.look(before, model.state);
          granted.add(part.type);
          const delta = deltaOf(before, model.state);
          const next = imageOf(model.state, image);
          // An image that was made from the one before is the one that would be made from nothing.
          expect(next).toEqual(imageOf(model.state, undefined));
          if (!delta.changesSlots) {
            for (const shard of next.shards) {
              const old = before.shards.get(shard.id);
              expect([shard.primary, shard.slots]).toEqual([old?.primary ?? shard.primary, old?.slots ?? []]);
            }
          }
          image = next;
        }
      }
      const found = [...image.shardOfSlot].flatMap((shard, slot) =>
        shard < 0 ? [] : [[slot, image.shards[shard]?.id ?? ""] as const],
      );
      expect(found).toEqual(owners.list().slice());
    });
    // A kind that needs three others before it is not granted in one round of ten, by chance: another round follows then.
    const isMissing = (type: TopologyRequest["type"]): boolean => !granted.has(type);
    for (let round = 0; round < 10 && (round === 0 || KINDS.some(isMissing)); round += 1) {
      fc.assert(property, { numRuns: 150 });
    }
    expect(KINDS.filter(isMissing)).toEqual([]);
  });

  test("is the same for whoever applies the acts, from the beginning or from a snapshot", () => {
    fc.assert(
      fc.property(wishes, fc.nat(60), (all, cut) => {
        const model = new TopologyModel();
        const journal = new Journal();
        const acts: Uint8Array[] = [];
        for (const each of [
          ...LETTERS.map((name) => () => ({ type: "register-node", node: nodeRecord(name) }) as const),
          ...all,
        ]) {
          const decision = model.ask(each(model));
          if ("rejection" in decision) continue;
          const { version } = model.state;
          const act: TopologyAct = { requestId: `request-${version}`, cause: "a test", timeMs: 1, ...decision };
          journal.add(version, act);
          acts.push(encodeAct(act));
        }
        let follower = EMPTY_STATE;
        let itsJournal = new Journal();
        for (const [at, bytes] of acts.entries()) {
          const act = decodeAct(bytes);
          follower = applyAct(follower, at + 1, act);
          itsJournal.add(at + 1, act);
          checkState(follower);
          if (at === cut)
            ({ state: follower, journal: itsJournal } = decodeSnapshot(encodeSnapshot(follower, itsJournal)));
        }
        expect(encodeSnapshot(follower, itsJournal)).toEqual(encodeSnapshot(model.state, journal));
      }),
      { numRuns: 100 },
    );
  });

  test("of all or nothing is what its parts come to one by one", () => {
    fc.assert(
      fc.property(fc.array(wish, { maxLength: 4 }), (parts) => {
        const model = TopologyModel.of("abc");
        model.assign("a", { first: 0, last: 20 });
        const requests = parts.map((part) => part(model));
        const { state } = model;
        const decision = model.ask({ type: "all", requests });
        if ("rejection" in decision) expect(model.state).toBe(state);
        else expect(decision.outcome).toHaveLength(requests.length);
      }),
      { numRuns: 300 },
    );
  });
});

function epochOf({ state }: TopologyModel, migration: string, side: "source" | "target"): number {
  const shard = state.migrations.get(migration)?.[side];
  return shard === undefined ? 0 : (state.shards.get(shard)?.primaryEpoch ?? 0);
}

function fenceOf({ state }: TopologyModel, migration: string): number {
  return state.migrations.get(migration)?.fence?.version ?? 0;
}
