/**
 * slot-stats: what each slot holds, and what it costs: `CLUSTER SLOT-STATS`, as Redis 8.2 has it, and `CLUSTER SLOTLOADS`, for plans of moves.
 *
 * Promises: keys and bytes are exact. Processor time and traffic are estimates: of quick commands (GET, SET and the like) one in sixteen is looked at and counts
 * for sixteen, all others are counted each; so the numbers cost nothing that a bench can see, and are always there. A slot with few commands may show none of them,
 * or sixteen; over a shard, or a slot that matters, the error is small. Time is that of the command's run, which waits for nothing. Traffic is that of commands
 * and replies, without what goes to replicas.
 *
 * A slot that this node's shard loses begins at zero when it comes back; CONFIG RESETSTAT sets all to zero.
 *
 * CLUSTER SLOTLOADS tells, of each slot that holds keys or had commands of late, five numbers in a row: slot, keys, bytes, commands a minute, microseconds a minute.
 * The last two are averages over about a minute. Where a node has just got a slot, it knows its load a minute later.
 *
 * Fields and errors are those of https://redis.io/commands/cluster-slot-stats. Talks to the rest through the hook `commandTimed` and the services `topology` and
 * `keyspace`; provides `slot-loads`.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import { splitUsage } from "../src/command-syntax.ts";
import type { CommandSpecification } from "../src/contracts/commands.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { type SlotLoad, slotLoadsService } from "../src/contracts/slot-loads.ts";
import { topologyService } from "../src/contracts/topology.ts";
import { definePlugin } from "../src/plugin.ts";
import { SYNTAX_ERROR } from "../src/replies.ts";
import { refuseExtraArguments } from "../src/subcommand-help.ts";

const BAD_SLOT = "ERR Invalid or out of range slot";

/** How often the averages take in what was new. */
const AVERAGE_EVERY_MS = 5000;
/** How much of an average is what was new: with a period of 5 s, half of it is 40 s old or younger. */
const NEW_PART = 1 / 12;
const PERIODS_A_MINUTE = 60_000 / AVERAGE_EVERY_MS;

/** Numbers of a slot: commands, their time, bytes of commands and of replies. They lie together, since that is a fourth of the memory to be fetched for a command. */
const KINDS = 4;
const [OPERATIONS, MICROSECONDS, BYTES_IN, BYTES_OUT] = [0, 1, 2, 3] as const;

/** Numbers by slot. There are some only once a command on a key was timed: a node that serves nobody has none. */
class Counts {
  readonly numbers = new Float64Array(KINDS * SLOT_COUNT);
  /** Averages of a period, of commands and of their time, and what was counted when they were made last. */
  readonly #average = new Float64Array(2 * SLOT_COUNT);
  readonly #before = new Float64Array(2 * SLOT_COUNT);
  /** How much of the averages is there at all: they begin at zero, and would be too small for a while. */
  #known = 0;

  of(slot: number, kind: number): number {
    return this.numbers[KINDS * slot + kind] ?? 0;
  }

  /** Takes in what was counted since the last time. */
  average(): void {
    this.#known += (1 - this.#known) * NEW_PART;
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      for (const kind of [OPERATIONS, MICROSECONDS]) {
        const at = 2 * slot + kind;
        const now = this.of(slot, kind);
        const average = this.#average[at] ?? 0;
        this.#average[at] = average + (now - (this.#before[at] ?? 0) - average) * NEW_PART;
        this.#before[at] = now;
      }
    }
  }

  perMinute(slot: number, kind: typeof OPERATIONS | typeof MICROSECONDS): number {
    const average = this.#average[2 * slot + kind] ?? 0;
    return this.#known === 0 ? 0 : Math.round((average / this.#known) * PERIODS_A_MINUTE);
  }

  forget(slot: number): void {
    this.numbers.fill(0, KINDS * slot, KINDS * (slot + 1));
    this.#average.fill(0, 2 * slot, 2 * (slot + 1));
    this.#before.fill(0, 2 * slot, 2 * (slot + 1));
  }
}

/** What a slot is measured by. */
type Measure = (slot: number) => number;

export default definePlugin({
  name: "slot-stats",
  summary: "CLUSTER SLOT-STATS: tells what each slot holds, and what it costs.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  provides: { loads: slotLoadsService },
  setup(context) {
    const { topology, keyspace } = context.requires;
    let counts: Counts | undefined;
    const begin = (): Counts => {
      const begun = new Counts();
      context.every(AVERAGE_EVERY_MS, () => counts?.average());
      return begun;
    };

    context.on(context.hooks.commandTimed, ({ slot, microseconds, standsFor, bytesIn, bytesOut }) => {
      counts ??= begin();
      const { numbers } = counts;
      const at = KINDS * slot;
      numbers[at + OPERATIONS] = (numbers[at + OPERATIONS] as number) + standsFor;
      numbers[at + MICROSECONDS] = (numbers[at + MICROSECONDS] as number) + standsFor * microseconds;
      numbers[at + BYTES_IN] = (numbers[at + BYTES_IN] as number) + standsFor * bytesIn;
      numbers[at + BYTES_OUT] = (numbers[at + BYTES_OUT] as number) + standsFor * bytesOut;
    });
    /** By slot, as the map had it last. */
    const isOwn = new Uint8Array(SLOT_COUNT);
    const ownSlots = (): readonly number[] =>
      (topology.selfShard?.slots ?? []).flatMap(({ first, last }) =>
        Array.from({ length: last - first + 1 }, (_, at) => first + at),
      );
    const noteOwn = (): void => {
      isOwn.fill(0);
      for (const { first, last } of topology.selfShard?.slots ?? []) isOwn.fill(1, first, last + 1);
    };
    noteOwn();
    context.on(context.hooks.mapChanged, ({ delta }) => {
      if (delta?.changesSlots === false) return;
      const wasOwn = isOwn.slice();
      noteOwn();
      if (counts === undefined) return;
      // What the shard has lost, and nothing else: commands may wait for what this change says.
      for (let slot = 0; slot < SLOT_COUNT; slot += 1) if (wasOwn[slot] === 1 && isOwn[slot] === 0) counts.forget(slot);
    });
    context.on(context.hooks.statisticsReset, () => {
      for (let slot = 0; slot < SLOT_COUNT; slot += 1) counts?.forget(slot);
    });

    /** In the order in which Redis tells them. */
    const measures: ReadonlyMap<string, Measure> = new Map([
      ["key-count", (slot) => keyspace.slotSize(slot)],
      ["memory-bytes", (slot) => keyspace.slotBytes(slot)],
      ["cpu-usec", (slot) => Math.round(counts?.of(slot, MICROSECONDS) ?? 0)],
      ["network-bytes-in", (slot) => counts?.of(slot, BYTES_IN) ?? 0],
      ["network-bytes-out", (slot) => counts?.of(slot, BYTES_OUT) ?? 0],
    ]);
    const slotStats = (call: Call): void => {
      const chosen = chooseSlots(call);
      if (chosen === undefined) return;
      call.reply.array(chosen.length);
      for (const slot of chosen) {
        call.reply.array(2);
        call.reply.integer(slot);
        call.reply.map(measures.size);
        for (const [name, measure] of measures) {
          call.reply.bulkText(name);
          call.reply.integer(measure(slot));
        }
      }
    };
    /** The slots that are asked for, or `undefined` with the error written. */
    const chooseSlots = (call: Call): readonly number[] | undefined => {
      if (call.is(2, "SLOTSRANGE") && call.count === 5) {
        const first = integerArgument(call, 3);
        const last = integerArgument(call, 4);
        if (![first, last].every((slot) => slot >= 0 && slot < SLOT_COUNT)) call.reply.error(BAD_SLOT);
        else if (first > last) {
          call.reply.error(`ERR Start slot number ${first} is greater than end slot number ${last}`);
        } else return ownSlots().filter((slot) => slot >= first && slot <= last);
      } else if (call.is(2, "ORDERBY") && call.count >= 4) return orderSlots(call);
      else refuseExtraArguments(call);
      return undefined;
    };
    /** ORDERBY metric [LIMIT count] [ASC | DESC] */
    const orderSlots = (call: Call): readonly number[] | undefined => {
      const refuse = (error: string): undefined => {
        call.reply.error(error);
      };
      const measure = measures.get(call.text(3).toLowerCase());
      if (measure === undefined) return refuse("ERR Unrecognized sort metric for ORDERBY.");
      let limit: number | undefined;
      let order: 1 | -1 | undefined;
      for (let index = 4; index < call.count; index += 1) {
        const isLimit = call.is(index, "LIMIT") && index + 1 < call.count;
        if (!isLimit && !call.is(index, "ASC") && !call.is(index, "DESC")) return refuse(SYNTAX_ERROR);
        const isSaid = isLimit ? limit !== undefined : order !== undefined;
        if (!isLimit) order = call.is(index, "ASC") ? 1 : -1;
        else {
          index += 1;
          limit = integerArgument(call, index);
          if (!(limit >= 1 && limit <= SLOT_COUNT)) {
            return refuse("ERR Limit has to lie in between 1 and 16384 (maximum number of slots).");
          }
        }
        if (isSaid) return refuse("ERR Multiple filters of the same type are disallowed.");
      }
      const sign = order ?? -1;
      return ownSlots()
        .map((slot) => ({ slot, value: measure(slot) }))
        .toSorted((a, b) => sign * (a.value - b.value) || a.slot - b.slot)
        .slice(0, limit ?? SLOT_COUNT)
        .map(({ slot }) => slot);
    };

    const loadOf = (slot: number): SlotLoad => ({
      slot,
      keys: keyspace.slotSize(slot),
      bytes: keyspace.slotBytes(slot),
      operations: counts?.perMinute(slot, OPERATIONS) ?? 0,
      microseconds: counts?.perMinute(slot, MICROSECONDS) ?? 0,
    });
    const allLoads = (): readonly SlotLoad[] =>
      ownSlots()
        .map(loadOf)
        .filter(({ keys, operations, microseconds }) => keys > 0 || operations > 0 || microseconds > 0);
    const slotLoads = ({ reply }: Call): void => {
      const all = allLoads();
      reply.array(5 * all.length);
      for (const { slot, keys, bytes, operations, microseconds } of all) {
        for (const number of [slot, keys, bytes, operations, microseconds]) reply.integer(number);
      }
    };

    const shared: Pick<CommandSpecification, "group" | "tips"> = {
      group: "cluster",
      tips: ["nondeterministic_output", "request_policy:all_shards"],
    };
    context.subcommand("cluster", {
      ...shared,
      ...splitUsage(
        "slot-stats filter:(SLOTSRANGE (start-slot:integer end-slot:integer) | " +
          "ORDERBY (metric [LIMIT limit:integer] [order:(ASC | DESC)]))",
      ),
      arity: -4,
      flags: ["loading", "stale"],
      summary: "Tells keys, bytes, processor time and traffic of this node's slots.",
      complexity: "O(N log N), N being the slots",
      since: "8.2.0",
      run: slotStats,
    });
    context.subcommand("cluster", {
      ...shared,
      name: "slotloads",
      arity: 2,
      flags: ["admin", "stale"],
      summary:
        "Tells, of each of this node's slots that hold or do something, in a row: slot, keys, bytes, commands and microseconds a minute.",
      complexity: "O(N), N being the slots",
      since: "bunch 0.1.0",
      run: slotLoads,
    });

    return {
      loads: {
        get all() {
          return allLoads();
        },
      },
    };
  },
});
