/**
 * migration-commands: the subcommands of `CLUSTER` that move slots between shards, as tasks: they start them, tell how far they are, and end them.
 *
 * Promises: any node may be asked, since tasks are records of the cluster map; OK, or a task's id, means that it is agreed. How many keys and bytes have moved is
 * known to the primaries of the two shards: other nodes tell the rest.
 *
 * - CLUSTER MOVE starts a task for each shard that some of the slots belong to, and answers with their ids; slots that are the target's already are left out.
 *   With AND it moves slots to more than one shard. Either all tasks start, in one change of the map, or none does.
 *   With MAPVERSION it is refused if a shard has changed since that version of the map; CAUSE is kept with the record. CLUSTER MIGRATIONS tells of all tasks,
 *   as maps; CLUSTER PAUSEMIGRATION, RESUMEMIGRATION and CANCELMIGRATION are what they say.
 * - By the names of Redis 8.4, CLUSTER MIGRATION (https://redis.io/commands/cluster-migration): fields and errors are Redis'; states are its words for the same
 *   thing, as far as it has one. Several tasks may run at a time, and CANCEL at either end cancels for good.
 * - By those of Valkey 9, CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS and CANCELSLOTMIGRATIONS (https://valkey.io/commands/cluster-migrateslots,
 *   https://valkey.io/commands/cluster-getslotmigrations). Any node may be asked to move any node's slots. If one task of several cannot start, none does. A state that is not a final one is the task's phase.
 *
 * Talks to the rest through the services `topology` and `migration`; without anybody who provides the latter, every one of these says so.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import type { ReplyWriter } from "../src/codec/resp-writer.ts";
import { splitUsage } from "../src/command-syntax.ts";
import {
  type MigrationOutcome,
  type MigrationPhase,
  type MigrationStatus,
  type Migrations,
  migrationService,
} from "../src/contracts/migration.ts";
import { type ShardId, type ShardRecord, type SlotRange, topologyService } from "../src/contracts/topology.ts";
import { definePlugin } from "../src/plugin.ts";
import { findShard } from "../src/protocol/plan/plan.ts";
import { canonicalRanges, findRepeatedSlot, formatSlotRange } from "../src/protocol/slot-ranges.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR } from "../src/replies.ts";

/** What came of a command: what to answer, or the error. */
type Answer = ((reply: ReplyWriter) => void) | { readonly error: string };

/** The states of Redis 8.4 that come nearest, for the source and for the target. */
const REDIS_STATES: Readonly<Record<MigrationPhase, readonly [source: string, target: string]>> = {
  waiting: ["connecting", "connecting"],
  streaming: ["send-bulk-and-stream", "accumulate-buffer"],
  level: ["handoff-prep", "ready-to-stream"],
  fenced: ["handoff", "takeover"],
  completed: ["completed", "completed"],
  aborted: ["canceled", "canceled"],
};

function hasEnded({ phase }: MigrationStatus): boolean {
  return phase === "completed" || phase === "aborted";
}

/** A reason as an error: those of the map begin with a word for programs already. */
function errorOf(reason: string): string {
  return /^[A-Z]+ /.test(reason) ? reason : `ERR ${reason}`;
}

function rangesText(slots: readonly SlotRange[]): string {
  return slots.map(formatSlotRange).join(" ");
}

/** Ranges as Redis and Valkey write them: `7-7` for one slot. */
function fullRangesText(slots: readonly SlotRange[]): string {
  return slots.map(({ first, last }) => `${first}-${last}`).join(" ");
}

type Fields = readonly (readonly [name: string, value: string | number | undefined])[];

/** Numbers that are not known are null. */
function writeFields(reply: ReplyWriter, fields: Fields): void {
  reply.map(fields.length);
  for (const [name, value] of fields) {
    reply.bulkText(name);
    if (value === undefined) reply.nullBulk();
    else if (typeof value === "number") reply.integer(Math.round(value));
    else reply.bulkText(value);
  }
}

function fieldsOf(task: MigrationStatus): Fields {
  const { progress } = task;
  return [
    ["id", task.id],
    ["phase", task.phase],
    ["paused", task.isPaused ? 1 : 0],
    ["slots", rangesText(task.slots)],
    ["source", task.source],
    ["source-node", task.sourceNode ?? ""],
    ["target", task.target],
    ["target-node", task.targetNode ?? ""],
    ["cause", task.cause],
    ["started-for", task.startedFor],
    ["started-at", task.startedAtMs],
    ["ended-at", task.endedAtMs],
    ["waiting-for", task.waitingFor ?? ""],
    ["slots-done", progress?.slotsDone],
    ["slots-total", progress?.slotsTotal],
    ["keys-moved", progress?.keysMoved],
    ["keys-total", progress?.keysTotal],
    ["bytes-moved", progress?.bytesMoved],
    ["bytes-per-second", progress?.bytesPerSecond],
    ["eta-ms", progress?.etaMs],
    ["fenced-ms", progress?.fencedMs],
    ["restarts", progress?.restarts],
  ];
}

/** Reads pairs of first and last slot, up to `end`. @returns The ranges in order, or the error. */
function readRanges(call: Call, start: number, end: number): readonly SlotRange[] | { readonly error: string } {
  const ranges: SlotRange[] = [];
  for (let index = start; index + 1 < end; index += 2) {
    const first = integerArgument(call, index);
    const last = integerArgument(call, index + 1);
    if (![first, last].every((slot) => slot >= 0 && slot < SLOT_COUNT)) {
      return { error: "ERR Invalid or out of range slot" };
    }
    if (first > last) return { error: `ERR start slot number ${first} is greater than end slot number ${last}` };
    ranges.push({ first, last });
  }
  const repeated = findRepeatedSlot(ranges);
  if (repeated !== undefined) return { error: `ERR Slot ${repeated.slot} specified multiple times` };
  return canonicalRanges(ranges);
}

/** Where the row of numbers ends that begins here. */
function endOfNumbers(call: Call, start: number): number {
  let end = start;
  while (end < call.count && !Number.isNaN(integerArgument(call, end))) end += 1;
  return end;
}

/** A task that is wanted. */
interface Wanted {
  readonly target: ShardRecord;
  readonly source: ShardId;
  readonly slots: readonly SlotRange[];
}

export default definePlugin({
  name: "migration-commands",
  summary: "CLUSTER: moves slots between shards, and tells how far that is.",
  requires: { topology: topologyService },
  uses: { migrations: migrationService },
  setup(context) {
    const { topology } = context.requires;
    const { migrations } = context.uses;
    const causeOf = ({ client, command }: Call): string =>
      `${command.fullName.toUpperCase().replace("|", " ")} from ${client.transport.remoteAddress}`;

    /** The slots by the shards that they belong to, without the target's own. @returns The error, if some are nobody's. */
    const bySource = (
      slots: readonly SlotRange[],
      target: ShardRecord,
    ): readonly Wanted[] | { readonly error: string } => {
      const { shards, shardOfSlot } = topology.map;
      const found = new Map<ShardId, SlotRange[]>();
      for (const { first, last } of slots) {
        for (let slot = first; slot <= last; slot += 1) {
          const source = shards[shardOfSlot[slot] ?? -1];
          if (source === undefined) return { error: `ERR slot has no owner: ${slot}` };
          if (source.id === target.id) continue;
          const ranges = found.get(source.id) ?? [];
          found.set(source.id, ranges);
          ranges.push({ first: slot, last: slot });
        }
      }
      return [...found].map(([source, ranges]) => ({ target, source, slots: canonicalRanges(ranges) }));
    };
    /** Starts all of them, or none. @param told Writes the reply, once they are started. */
    const startAll = async (
      tasks: Migrations,
      wanted: readonly Wanted[],
      cause: string,
      told: (reply: ReplyWriter, ids: readonly string[]) => void,
      mapVersion?: number,
    ): Promise<Answer> => {
      const moves = wanted.map(({ slots, target }) => ({ slots, target: target.id }));
      const outcome = await tasks.start(moves, cause, { mapVersion });
      if (outcome.type === "refused") return { error: errorOf(outcome.reason) };
      return (reply) => told(reply, outcome.ids);
    };

    /** Defers the reply until it is known. */
    const answerWith = (call: Call, answer: Promise<Answer>): void => {
      const deferred = call.defer();
      answer.then(
        (settled) =>
          deferred.resolve((reply) => {
            if (typeof settled === "function") settled(reply);
            else reply.error(settled.error);
          }),
        (thrown: unknown) => context.fault(thrown),
      );
    };
    /** Runs a subcommand with who does migrations, or says that nobody does. */
    const withTasks =
      (run: (call: Call, tasks: Migrations) => void) =>
      (call: Call): void => {
        if (migrations !== undefined) run(call, migrations);
        else call.reply.error("ERR no plugin of this node moves slots");
      };
    const refuseArity = (call: Call): void =>
      call.reply.error(`ERR wrong number of arguments for '${call.command.fullName}' command`);

    // --- bunch's own ---

    const move = (call: Call, tasks: Migrations): void => {
      const wanted: Wanted[] = [];
      let end = 1;
      while (end === 1 || (end < call.count && call.is(end, "AND"))) {
        const start = end + 3;
        if (start >= call.count) return refuseArity(call);
        const target = findShard(topology.map, call.text(start - 2));
        if ("problem" in target) return call.reply.error(`ERR ${target.problem}`);
        if (!call.is(start - 1, "SLOTSRANGE")) return call.reply.error(SYNTAX_ERROR);
        end = endOfNumbers(call, start);
        if (end === start || (end - start) % 2 === 1) return refuseArity(call);
        const slots = readRanges(call, start, end);
        if ("error" in slots) return call.reply.error(slots.error);
        const found = bySource(slots, target);
        if ("error" in found) return call.reply.error(found.error);
        if (found.length === 0) return call.reply.error(`ERR shard ${target.id} has these slots already`);
        wanted.push(...found);
      }
      let mapVersion: number | undefined;
      let cause = causeOf(call);
      for (let index = end; index < call.count; index += 2) {
        if (index + 1 === call.count) return call.reply.error(SYNTAX_ERROR);
        if (call.is(index, "CAUSE")) cause = `${call.shown(index + 1).slice(0, MAX_CAUSE)} (${cause})`;
        else if (call.is(index, "MAPVERSION")) {
          mapVersion = integerArgument(call, index + 1);
          if (Number.isNaN(mapVersion)) return call.reply.error(NOT_AN_INTEGER);
        } else return call.reply.error(SYNTAX_ERROR);
      }
      const tell = (reply: ReplyWriter, ids: readonly string[]): void => {
        reply.array(ids.length);
        for (const id of ids) reply.bulkText(id);
      };
      return answerWith(call, startAll(tasks, wanted, cause, tell, mapVersion));
    };

    const list = (call: Call, tasks: Migrations): void => {
      const hasId = call.count === 4 && call.is(2, "ID");
      if (call.count > 2 && !hasId) return call.reply.error(SYNTAX_ERROR);
      const id = hasId ? call.text(3) : undefined;
      const shown = tasks.tasks.filter((task) => id === undefined || task.id === id);
      call.reply.array(shown.length);
      for (const task of shown) writeFields(call.reply, fieldsOf(task));
    };

    const act =
      (ask: (tasks: Migrations, id: string, cause: string) => Promise<MigrationOutcome>) =>
      (call: Call, tasks: Migrations): void => {
        const asked = ask(tasks, call.text(2), causeOf(call)).then((outcome): Answer =>
          outcome.type === "done" ? (reply) => reply.ok() : { error: errorOf(outcome.reason) },
        );
        answerWith(call, asked);
      };

    /** Cancels tasks. @returns How many were, and why the last one that was not could not be. */
    const cancelAll = async (
      tasks: Migrations,
      ids: readonly string[],
      cause: string,
    ): Promise<{ readonly count: number; readonly problem?: string }> => {
      let count = 0;
      let problem: string | undefined;
      for (const id of ids) {
        const outcome = await tasks.cancel(id, cause);
        if (outcome.type === "done") count += 1;
        else problem = outcome.reason;
      }
      return problem === undefined ? { count } : { count, problem };
    };

    // --- Redis 8.4 ---

    const redisImport = (call: Call, tasks: Migrations): void => {
      if (call.count % 2 === 0) return refuseArity(call);
      const slots = readRanges(call, 3, call.count);
      if ("error" in slots) return call.reply.error(slots.error);
      const target = topology.selfShard;
      if (target === undefined || target.primary !== topology.self.id) {
        return call.reply.error("ERR slot migration not allowed on replica.");
      }
      const wanted = bySource(slots, target);
      if ("error" in wanted) return call.reply.error(wanted.error);
      const [only, ...others] = wanted;
      const isWhole = only !== undefined && rangesText(only.slots) === rangesText(slots);
      if (only === undefined) return call.reply.error("ERR this node is already the owner of the slot range");
      if (others.length > 0 || !isWhole) return call.reply.error("ERR slots belong to different source nodes");
      return answerWith(
        call,
        startAll(tasks, wanted, causeOf(call), (reply, [id = ""]) => reply.bulkText(id)),
      );
    };
    const redisFields = (task: MigrationStatus): Fields => {
      const isTarget = task.target === topology.selfShard?.id;
      return [
        ["id", task.id],
        ["slots", fullRangesText(task.slots)],
        ["source", task.sourceNode ?? ""],
        ["dest", task.targetNode ?? ""],
        ["operation", isTarget ? "import" : "migrate"],
        ["state", REDIS_STATES[task.phase][isTarget ? 1 : 0]],
        ["last_error", task.phase === "aborted" ? task.cause : (task.waitingFor ?? "")],
        ["retries", task.progress?.restarts ?? 0],
        ["create_time", task.startedAtMs],
        ["start_time", task.startedAtMs],
        ["end_time", task.endedAtMs ?? -1],
        ["write_pause_ms", task.progress?.fencedMs ?? 0],
      ];
    };
    /** The tasks that `ID id` or `ALL` names, or `undefined` with the error written. */
    const redisTasks = (call: Call, tasks: Migrations): readonly MigrationStatus[] | undefined => {
      const isAll = call.is(3, "ALL");
      if (!isAll && !call.is(3, "ID")) call.reply.error("ERR unknown argument");
      else if (call.count !== (isAll ? 4 : 5)) refuseArity(call);
      else return isAll ? tasks.tasks : tasks.tasks.filter(({ id }) => id === call.text(4));
      return undefined;
    };
    const migration = (call: Call, tasks: Migrations): void => {
      if (call.is(2, "IMPORT")) return redisImport(call, tasks);
      const isCancel = call.is(2, "CANCEL");
      if (!isCancel && !call.is(2, "STATUS")) return call.reply.error("ERR unknown argument");
      const named = redisTasks(call, tasks);
      if (named === undefined) return undefined;
      if (isCancel) {
        const ids = named.filter((task) => !hasEnded(task)).map(({ id }) => id);
        const cancelled = cancelAll(tasks, ids, causeOf(call)).then(
          ({ count }): Answer =>
            (reply) =>
              reply.integer(count),
        );
        return answerWith(call, cancelled);
      }
      call.reply.array(named.length);
      for (const task of named) writeFields(call.reply, redisFields(task));
      return undefined;
    };

    // --- Valkey 9 ---

    /** SLOTSRANGE start end [start end ...] NODE id, once or more often. */
    const readBlocks = (call: Call): readonly Wanted[] | { readonly error: string } => {
      const wanted: Wanted[] = [];
      for (let index = 2; index < call.count;) {
        const end = endOfNumbers(call, index + 1);
        if (!call.is(index, "SLOTSRANGE") || end === index + 1 || (end - index) % 2 === 0)
          return { error: SYNTAX_ERROR };
        if (end + 1 >= call.count || !call.is(end, "NODE")) return { error: SYNTAX_ERROR };
        const slots = readRanges(call, index + 1, end);
        if ("error" in slots) return slots;
        const id = call.text(end + 1);
        const target = topology.map.shards.find(({ primary }) => primary === id);
        if (target === undefined) {
          const isKnown = topology.node(id) !== undefined;
          return { error: isKnown ? "ERR Target node is not a primary" : `ERR Unknown node ${id.slice(0, 128)}` };
        }
        const found = bySource(slots, target);
        if ("error" in found) return found;
        if (found.length === 0) return { error: `ERR node ${id} has these slots already` };
        wanted.push(...found);
        index = end + 2;
      }
      return wanted;
    };
    const migrateSlots = (call: Call, tasks: Migrations): void => {
      const wanted = readBlocks(call);
      if ("error" in wanted) return call.reply.error(wanted.error);
      return answerWith(
        call,
        startAll(tasks, wanted, causeOf(call), (reply) => reply.ok()),
      );
    };
    const valkeyFields = (task: MigrationStatus): Fields => {
      const nowMs = context.world.clock.wallMs();
      const changedAt = Math.floor((task.endedAtMs ?? nowMs) / 1000);
      const states: Partial<Record<MigrationPhase, string>> = { completed: "success", aborted: "cancelled" };
      return [
        ["name", task.id],
        ["operation", task.target === topology.selfShard?.id ? "IMPORT" : "EXPORT"],
        ["slot_ranges", fullRangesText(task.slots)],
        ["target_node", task.targetNode ?? ""],
        ["source_node", task.sourceNode ?? ""],
        ["create_time", Math.floor(task.startedAtMs / 1000)],
        ["last_update_time", changedAt],
        ["last_ack_time", changedAt],
        ["state", states[task.phase] ?? task.phase],
        ["message", hasEnded(task) ? task.cause : (task.waitingFor ?? "")],
        ["cow_size", 0],
      ];
    };
    const getSlotMigrations = (call: Call, { tasks }: Migrations): void => {
      call.reply.array(tasks.length);
      // The newest first, as in Valkey.
      for (const task of tasks.toReversed()) writeFields(call.reply, valkeyFields(task));
    };
    const cancelSlotMigrations = (call: Call, tasks: Migrations): void => {
      const own = tasks.tasks.filter((task) => task.source === topology.selfShard?.id && !hasEnded(task));
      if (own.length === 0) return call.reply.error("ERR No migrations ongoing");
      const ids = own.map(({ id }) => id);
      const cancelled = cancelAll(tasks, ids, causeOf(call)).then(({ problem }): Answer =>
        problem === undefined ? (reply) => reply.ok() : { error: errorOf(problem) },
      );
      return answerWith(call, cancelled);
    };

    const subcommand = (
      usage: string,
      arity: number,
      since: string,
      complexity: string,
      summary: string,
      run: (call: Call, tasks: Migrations) => void,
    ): void =>
      context.subcommand("cluster", {
        ...splitUsage(usage),
        arity,
        flags: ["admin", "stale", "no_async_loading"],
        group: "cluster",
        summary,
        complexity,
        since,
        tips: ["nondeterministic_output"],
        run: withTasks(run),
      });
    const [own, perSlot, perTask] = ["bunch 0.1.0", "O(N), N being the slots", "O(N), N being the tasks"];
    subcommand(
      "move shard-or-node SLOTSRANGE (start-slot:integer end-slot:integer)... [AND (shard-or-node SLOTSRANGE (start-slot:integer end-slot:integer)...)]... [MAPVERSION map-version:integer] [CAUSE cause]",
      -6,
      own,
      perSlot,
      "Moves slots to shards, with their keys: starts a task for each pair of shards, all or none, and tells the tasks' ids.",
      move,
    );
    subcommand(
      "migrations [ID id]",
      -2,
      own,
      perTask,
      "Tells of the tasks that move slots, and how far they are.",
      list,
    );
    subcommand(
      "cancelmigration id",
      3,
      own,
      "O(1)",
      "Ends a task that moves slots: they stay where they were.",
      act((tasks, id, cause) => tasks.cancel(id, cause)),
    );
    subcommand(
      "pausemigration id",
      3,
      own,
      "O(1)",
      "Has a task that moves slots send nothing until it is resumed.",
      act((tasks, id, cause) => tasks.pause(id, cause)),
    );
    subcommand(
      "resumemigration id",
      3,
      own,
      "O(1)",
      "Has a task that was paused go on.",
      act((tasks, id, cause) => tasks.resume(id, cause)),
    );
    subcommand(
      "migration subcommand:(IMPORT (start-slot:integer end-slot:integer)... | CANCEL (ID task-id | ALL) | STATUS (ID task-id | ALL))",
      -4,
      "8.4.0",
      perSlot,
      "Moves slots to this node's shard, and tells of tasks and cancels them, by the words of Redis 8.4.",
      migration,
    );
    subcommand(
      "migrateslots (SLOTSRANGE (start-slot:integer end-slot:integer)... NODE node-id)...",
      -7,
      "9.0.0",
      perSlot,
      "Moves slots to other nodes, by the words of Valkey 9.",
      migrateSlots,
    );
    subcommand(
      "getslotmigrations",
      2,
      "9.0.0",
      perTask,
      "Tells of the tasks that move slots, by the words of Valkey 9.",
      getSlotMigrations,
    );
    subcommand(
      "cancelslotmigrations",
      2,
      "9.0.0",
      perTask,
      "Ends all tasks that move slots of this node's shard.",
      cancelSlotMigrations,
    );
  },
});

/** More of a cause nobody reads. */
const MAX_CAUSE = 200;
