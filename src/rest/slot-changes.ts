/** The operations of REST that say whose slots are: they give them to a node, and move them from one to another. */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import type { MigrationOutcome, MigrationStatus, Migrations } from "../contracts/migration.ts";
import type { DecidedOn, ShardRecord, SlotRange } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { canonicalRanges, findRepeatedSlot } from "../protocol/slot-ranges.ts";
import { type Callers, DECIDED, invalidField, needs } from "./api.ts";
import { causeOf, change, until } from "./change.ts";
import { nodeCalled } from "./cluster-reads.ts";
import { problemOf } from "./resp-problem.ts";
import { count, migrationSchema, noQuery, nodeId, record, slot, slotRange, slotRanges } from "./schemas.ts";
import type { RestSources } from "./sources.ts";
import { tasksOf } from "./tasks.ts";
import { migrationOfSlot, migrationView, rangesOf } from "./views.ts";

/** How long a completion is waited for, if the caller does not say. */
const COMPLETION_MS = 60_000;
const MAX_COMPLETION_MS = 3_600_000;

const ofTask = {
  slot: Type.Optional(slot),
  id: Type.Optional(
    Type.String({ minLength: 1, maxLength: 64, description: "The task's id, instead of a slot of it." }),
  ),
};

export function slotChanges(sources: RestSources, callers: Callers) {
  const { topology } = sources;
  /** What is known of a task that was just asked about. @throws {Problem} If it is not known any more. */
  const shownTask = async (id: string) => {
    const [task] = await tasksOf(sources, (each) => each.id === id);
    if (task === undefined) throw new Problem("not-found", `There is no task ${id} any more.`);
    return migrationView(task);
  };
  return new Elysia({ prefix: "/cluster", normalize: false })
    .post(
      "/slots/assign",
      async ({ body, request }) => {
        const cause = causeOf(request, callers.allow(request, "admin"));
        const node = nodeCalled(sources, body.node_id);
        const slots = readRanges(body.slots);
        const ownShard = (): ShardRecord | undefined =>
          topology.map.shards.find(({ primary, replicas }) => primary === node.id || replicas.includes(node.id));
        await change(sources, cause, () => {
          const shard = ownShard();
          const decidedOn: DecidedOn = shard === undefined ? {} : { [shard.id]: shard.version };
          return { type: "assign-slots", node: node.id, slots, decidedOn };
        });
        return {
          node_id: node.id,
          assigned: slots.reduce((sum, { first, last }) => sum + last - first + 1, 0),
          slots: rangesOf(ownShard()?.slots ?? []),
        };
      },
      {
        ...needs(callers, "admin", "Gives slots that nobody owns to a node", {
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record({ node_id: nodeId, slots: slotRanges }),
        response: {
          200: record({
            node_id: nodeId,
            assigned: count,
            slots: Type.Array(slotRange, { description: "All that it owns." }),
          }),
        },
      },
    )
    .post(
      "/migration/start",
      async ({ body, request, status }) => {
        const cause = causeOf(request, callers.allow(request, "operate"), body.cause);
        const tasks = tasksFor(sources);
        const slots = wantedSlots(body.slot, body.slots);
        const source = shardLed(sources, body.from_node);
        const target = shardLed(sources, body.to_node);
        const foreign = slots
          .flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, at) => first + at))
          .find((each) => topology.map.shards[topology.map.shardOfSlot[each] ?? -1]?.id !== source.id);
        if (foreign !== undefined) throw new Problem("conflict", `Slot ${foreign} is not one of from_node's.`);
        // The task would wait, for nobody knows how long, and be told as going on.
        for (const [field, shard] of [
          ["from_node", source],
          ["to_node", target],
        ] as const) {
          const reason = sources.view.whyNotServed(shard);
          if (reason !== undefined)
            throw new Problem("conflict", `Nothing can be moved with ${field} as it is: ${reason}.`);
        }
        const awaitsWord = body.auto_complete === false;
        const outcome = await tasks.start([{ slots, target: target.id }], cause, { awaitsWord });
        if (outcome.type === "refused") throw problemOf(outcome.reason);
        return status(202, await shownTask(outcome.ids[0] ?? ""));
      },
      {
        ...needs(callers, "operate", "Moves slots from one node to another, while clients go on", {
          description: "The move goes on by itself: `GET /cluster/migration/{slot}` tells how far it is.",
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record({
          slot: Type.Optional(slot),
          slots: Type.Optional(slotRanges),
          from_node: nodeId,
          to_node: nodeId,
          auto_complete: Type.Optional(
            Type.Boolean({
              description:
                "Whether it is completed as soon as it can be (the default). Else the target is kept level until `POST /cluster/migration/complete`.",
            }),
          ),
          cause: Type.Optional(Type.String({ maxLength: 256, description: "Why, for those who ask later." })),
        }),
        response: { 202: migrationSchema },
      },
    )
    .post(
      "/migration/complete",
      async ({ body, request, status }) => {
        const caller = callers.allow(request, "operate");
        const task = taskCalled(sources, body);
        if (task.awaitsWord === true && task.endedAtMs === undefined) {
          idOf(sources, task, await tasksFor(sources).allowCompletion(task.id, causeOf(request, caller)));
        }
        const limitMs = body.wait_ms ?? COMPLETION_MS;
        // Nothing goes over the connection meanwhile.
        caller.keepOpen();
        const isOver = await until(sources.clock, limitMs, () => nowOf(sources, task).endedAtMs !== undefined);
        const now = nowOf(sources, task);
        // What was asked for has not come to be, and will not.
        if (now.phase === "aborted") throw endedProblem(now);
        const view = await shownTask(task.id);
        return isOver ? status(200, view) : status(202, view);
      },
      {
        ...needs(callers, "operate", "Has a move be completed, and waits until it has been", {
          description: "200: it is completed. 202: it goes on. 409: it is aborted, or cannot be completed.",
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record({
          ...ofTask,
          wait_ms: Type.Optional(
            Type.Integer({ minimum: 0, maximum: MAX_COMPLETION_MS, description: `Default: ${COMPLETION_MS}.` }),
          ),
        }),
        response: { 200: migrationSchema, 202: migrationSchema },
      },
    )
    .post(
      "/migration/cancel",
      async ({ body, request }) => {
        const cause = causeOf(request, callers.allow(request, "operate"));
        const task = taskUnderWay(sources, body);
        return await shownTask(idOf(sources, task, await tasksFor(sources).cancel(task.id, cause)));
      },
      {
        ...needs(callers, "operate", "Ends a move: the slots stay where they are", {
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record(ofTask),
        response: { 200: migrationSchema },
      },
    )
    .post(
      "/migration/pause",
      async ({ body, request }) => {
        const cause = causeOf(request, callers.allow(request, "operate"));
        const task = taskUnderWay(sources, body);
        return await shownTask(idOf(sources, task, await tasksFor(sources).pause(task.id, cause)));
      },
      {
        ...needs(callers, "operate", "Has a move send nothing until it is resumed: what was sent stays", {
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record(ofTask),
        response: { 200: migrationSchema },
      },
    )
    .post(
      "/migration/resume",
      async ({ body, request }) => {
        const cause = causeOf(request, callers.allow(request, "operate"));
        const task = taskUnderWay(sources, body);
        return await shownTask(idOf(sources, task, await tasksFor(sources).resume(task.id, cause)));
      },
      {
        ...needs(callers, "operate", "Has a move that was paused go on", {
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record(ofTask),
        response: { 200: migrationSchema },
      },
    );
}

/** @throws {Problem} If nobody moves slots here. */
function tasksFor({ migrations }: RestSources): Migrations {
  if (migrations === undefined) throw new Problem("unavailable", "No plugin of this node moves slots.");
  return migrations;
}

/** @throws {Problem} Why it was not done. */
function idOf(sources: RestSources, task: MigrationStatus, outcome: MigrationOutcome): string {
  if (outcome.type === "done") return outcome.id;
  const problem = problemOf(outcome.reason);
  const now = nowOf(sources, task);
  // Whoever decides has forgotten it by then.
  throw problem.kind === "conflict" && now.endedAtMs !== undefined ? endedProblem(now) : problem;
}

/** A task as it is at this moment. */
function nowOf(sources: RestSources, task: MigrationStatus): MigrationStatus {
  return tasksFor(sources).tasks.find(({ id }) => id === task.id) ?? task;
}

function endedProblem({ id, phase, cause }: MigrationStatus): Problem {
  return new Problem("conflict", `Migration ${id} has ended: it is ${phase}${cause === "" ? "" : ` (${cause})`}.`);
}

/** The shard that a node leads. @throws {Problem} If it leads none. */
function shardLed(sources: RestSources, id: string): ShardRecord {
  const node = nodeCalled(sources, id);
  const shard = sources.topology.map.shards.find(({ primary }) => primary === id);
  if (shard === undefined) throw new Problem("conflict", `Node ${node.name || id} is not a primary.`);
  return shard;
}

/** @throws {Problem} If a range is none, or a slot is named twice. */
function readRanges(given: readonly { readonly start: number; readonly end: number }[]): readonly SlotRange[] {
  const ranges = given.map(({ start, end }) => ({ first: start, last: end }));
  const reversed = ranges.findIndex(({ first, last }) => first > last);
  if (reversed !== -1) throw invalidField("body", `/slots/${reversed}/end`, "must not be below start");
  const repeated = findRepeatedSlot(ranges);
  if (repeated !== undefined)
    throw invalidField("body", `/slots/${repeated.index}`, `names slot ${repeated.slot} again`);
  return canonicalRanges(ranges);
}

function wantedSlots(
  one: number | undefined,
  ranges: readonly { readonly start: number; readonly end: number }[] | undefined,
): readonly SlotRange[] {
  if ((one === undefined) === (ranges === undefined)) {
    throw invalidField("body", "/slot", "either slot or slots must be there, and not both");
  }
  return one === undefined ? readRanges(ranges ?? []) : [{ first: one, last: one }];
}

/** A task that has not ended. @throws {Problem} If there is none. */
function taskUnderWay(sources: RestSources, called: Parameters<typeof taskCalled>[1]): MigrationStatus {
  const task = taskCalled(sources, called);
  if (task.endedAtMs === undefined) return task;
  throw endedProblem(task);
}

/** @throws {Problem} If there is none. */
function taskCalled(
  sources: RestSources,
  { slot: wanted, id }: { readonly slot?: number; readonly id?: string },
): MigrationStatus {
  if ((wanted === undefined) === (id === undefined)) {
    throw invalidField("body", "/slot", "either slot or id must be there, and not both");
  }
  const { tasks } = tasksFor(sources);
  const task = wanted === undefined ? tasks.find((each) => each.id === id) : migrationOfSlot(tasks, wanted);
  if (task !== undefined) return task;
  throw new Problem("not-found", wanted === undefined ? "There is no such task." : `No task moves slot ${wanted}.`);
}
