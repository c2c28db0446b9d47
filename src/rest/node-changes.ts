/** The operations of REST that change which nodes there are, and what they are to each other. */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { countSlots } from "../cluster-view.ts";
import { ReplyError, type ReplyValue } from "../codec/resp-reader.ts";
import { BUS_PORT_OFFSET } from "../config.ts";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { ClusterMap, NodeRecord, ShardId, SlotRange } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { ADDRESS_PATTERN, type NetAddress, formatAddress, parseAddress } from "../net-address.ts";
import { subtractRanges } from "../protocol/slot-ranges.ts";
import { type Callers, DECIDED, invalidField, needs, readWhole } from "./api.ts";
import { MAX_ATTEMPTS, causeOf, change, until } from "./change.ts";
import { nodeCalled, nodePath } from "./cluster-reads.ts";
import { makeDrainPlan, startMoves } from "./planning.ts";
import { problemOf } from "./resp-problem.ts";
import { count, flag, noQuery, nodeDetailSchema, nodeId, oneOf, record, wholeNumber } from "./schemas.ts";
import { SessionLost } from "./sessions.ts";
import type { RestSources } from "./sources.ts";
import { nodeDetail } from "./views.ts";

/** How long a node that is met is waited for. Two clusters become one within a second or two. */
const MEETING_MS = 10_000;
/** How long a drain is waited for, if the caller does not say. */
const DRAIN_MS = 60_000;
const MAX_DRAIN_MS = 3_600_000;
/** How long this node's own commands, and other nodes, may take. */
const COMMAND_MS = 10_000;
const PEER_MS = 5000;

const meetingSchema = record({
  state: oneOf(["meeting"], "It goes on: the node is in the list once both are one cluster."),
  address: Type.String(),
});
const removedSchema = record({ node_id: nodeId, state: oneOf(["removed"], "It is out of the cluster.") });
const drainingSchema = record({
  node_id: nodeId,
  state: oneOf(["draining"], "Its slots are on their way to other nodes: ask again, until it is removed."),
  slots_left: count,
  migrations: Type.Array(Type.String(), { description: "The tasks that move them, and those that bring it more." }),
});

export function nodeChanges(sources: RestSources, callers: Callers) {
  return new Elysia({ prefix: "/cluster", normalize: false })
    .post(
      "/nodes",
      async ({ body, request, status }) => {
        callers.allow(request, "admin");
        const address = parseAddress(body.address);
        if (address === undefined) throw invalidField("body", "/address", "must be HOST:PORT");
        await refuseKnown(sources, address, body.bus_port ?? address.port + BUS_PORT_OFFSET, body.node_id);
        await meet(sources, address, body.bus_port);
        const found = (): NodeRecord | undefined =>
          body.node_id === undefined ? nodeAt(sources, address) : sources.topology.node(body.node_id);
        await until(sources.clock, MEETING_MS, () => found() !== undefined);
        const node = found();
        return node === undefined
          ? status(202, { state: "meeting" as const, address: body.address })
          : status(201, nodeDetail(sources, node));
      },
      {
        ...needs(callers, "admin", "Makes one cluster of this node's and another node's", {
          problems: [...DECIDED],
        }),
        query: noQuery,
        body: record({
          node_id: Type.Optional(nodeId),
          address: Type.String({
            pattern: `^${ADDRESS_PATTERN}$`,
            description: "Where its clients reach it.",
            wants: "HOST:PORT, such as 10.0.0.2:6379",
          }),
          bus_port: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 65_535,
              description: `Where other nodes reach it. Default: the port + ${BUS_PORT_OFFSET}.`,
            }),
          ),
        }),
        response: { 201: nodeDetailSchema, 202: meetingSchema },
      },
    )
    .delete(
      "/nodes/:node_id",
      async ({ params, query, request, status }) => {
        const caller = callers.allow(request, "admin");
        const cause = causeOf(request, caller);
        const waitMs =
          query.wait_ms === undefined ? DRAIN_MS : readWhole(query.wait_ms, "query", "/wait_ms", 0, MAX_DRAIN_MS);
        const node = nodeCalled(sources, params.node_id);
        const { id } = node;
        const self = sources.topology.self.id;
        if (id === self) {
          throw new Problem("conflict", "A node does not take itself out: ask another one, or send it CLUSTER RESET.");
        }
        const shard = sources.topology.map.shards.find(({ primary }) => primary === id);
        if (query.drain === "true" && shard !== undefined && shard.slots.length > 0) {
          const problem = whyStaying(sources.topology.map, shard.id);
          if (problem !== undefined) throw new Problem("conflict", problem);
          // Nothing goes over the connection meanwhile.
          caller.keepOpen();
          const endsAtMs = sources.clock.monotonicMs() + waitMs;
          for (;;) {
            const migrations = await drain(sources, shard.id, cause, endsAtMs);
            if (migrations !== undefined) {
              const left = countSlots(sources.view.shard(shard.id)?.slots ?? []);
              return status(202, { node_id: id, state: "draining" as const, slots_left: left, migrations });
            }
            try {
              await change(sources, cause, () => ({ type: "remove-node", node: id }));
              return { node_id: id, state: "removed" as const };
            } catch (thrown) {
              // A move to it may have begun at this moment: that is waited for as well.
              const isRefused = thrown instanceof Problem && thrown.kind === "conflict";
              if (!isRefused || isEmptied(sources, shard.id)) throw thrown;
            }
          }
        }
        await change(sources, cause, () => ({ type: "remove-node", node: id }));
        return { node_id: id, state: "removed" as const };
      },
      {
        ...needs(callers, "admin", "Takes a node out of the cluster", {
          description:
            "Refused, with the reason, while it owns slots, or takes some in. With `drain=true` these are moved to other nodes first, and so is what others begin to move to it meanwhile; if that takes longer than the caller waits (202), ask again. It does not come back by itself.",
          cost: 50,
          problems: ["not-found", ...DECIDED],
        }),
        params: nodePath,
        query: record({
          drain: Type.Optional(flag("Moves its slots to other nodes first.")),
          wait_ms: Type.Optional(wholeNumber(0, MAX_DRAIN_MS, `How long that is waited for. Default: ${DRAIN_MS}.`)),
        }),
        response: { 200: removedSchema, 202: drainingSchema },
      },
    )
    .post(
      "/replicate",
      async ({ body, request, status }) => {
        callers.allow(request, "admin");
        const node = nodeCalled(sources, body.node_id);
        const master = nodeCalled(sources, body.master_id);
        const reply = await runAt(sources, node, ["CLUSTER", "REPLICATE", master.id]);
        if (reply instanceof ReplyError) throw problemOf(reply.message);
        const isThere = (): boolean =>
          sources.topology.map.shards.some(
            ({ primary, replicas }) => primary === master.id && replicas.includes(node.id),
          );
        const isSeen = await until(sources.clock, PEER_MS, isThere);
        const seen = nodeDetail(sources, node);
        return isSeen ? status(200, seen) : status(202, seen);
      },
      {
        ...needs(callers, "admin", "Makes a node the replica of another one", {
          description:
            "A node without slots and keys, or the replica of another node, whose copy it drops. 200: it is the replica. 202: that was agreed, and this node has not seen it yet.",
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record({ node_id: nodeId, master_id: nodeId }),
        response: { 200: nodeDetailSchema, 202: nodeDetailSchema },
      },
    );
}

function nodeAt({ topology }: RestSources, { host, port }: NetAddress): NodeRecord | undefined {
  return topology.map.nodes.find(
    (node) => node.port === port && (node.host === host || node.otherHosts?.includes(host) === true),
  );
}

/**
 * SAFETY: whoever listens at an address that somebody names may be a stranger. It is asked over the bus who it is, and never as a client: that would tell it the clients' password.
 *
 * @throws {Problem} If the node is here already, is another one than the caller means, or nobody with this cluster's secret answers there: of a meeting with nobody nothing more
 *   would be heard.
 */
async function refuseKnown(
  sources: RestSources,
  address: NetAddress,
  busPort: number,
  id: string | undefined,
): Promise<void> {
  const known = nodeAt(sources, address) ?? (id === undefined ? undefined : sources.topology.node(id));
  if (known !== undefined) throw new Problem("conflict", `Node ${known.name || known.id} is in this cluster already.`);
  if (id === undefined && sources.meetings === undefined) return;
  const found = await sources.meetings?.identify({ host: address.host, port: busPort }, PEER_MS);
  if (found === undefined) {
    const place = formatAddress({ host: address.host, port: busPort });
    throw new Problem(
      "unavailable",
      `Nothing was done: no node with this cluster's secret answers at ${place}, where other nodes would reach it.`,
      { retryAfterS: 1 },
    );
  }
  if (id !== undefined && found !== id) throw new Problem("conflict", "Another node than that is at this address.");
}

async function meet(sources: RestSources, { host, port }: NetAddress, busPort: number | undefined): Promise<void> {
  const command = ["CLUSTER", "MEET", host, String(port), ...(busPort === undefined ? [] : [String(busPort)])];
  const reply = await runAt(sources, sources.topology.self, command);
  if (reply instanceof ReplyError) throw problemOf(reply.message);
}

/** Runs a command at a node, as a client of it. @throws {Problem} If nobody knows what came of it. */
async function runAt({ nodes }: RestSources, node: NodeRecord, command: readonly string[]): Promise<ReplyValue> {
  try {
    const [reply = null] = await nodes.with(node, COMMAND_MS, (run) => run(command));
    return reply;
  } catch (thrown) {
    if (!(thrown instanceof SessionLost)) throw thrown;
    throw thrown.isUnsent
      ? new Problem("unavailable", `It was not done: ${thrown.message}.`, { retryAfterS: 1 })
      : new Problem("outcome-unknown", `It may have been done or not: ${thrown.message}.`);
  }
}

/** Why a shard's primary would not be taken out though it had no slots: looked at before they are moved. `undefined`: it would. */
function whyStaying({ migrations, openSlots }: ClusterMap, shard: ShardId): string | undefined {
  const gains = migrations.find(({ target }) => target === shard);
  if (gains !== undefined) return `Migration ${gains.id} moves slots to it: cancel that first, or wait for its end.`;
  const taken = openSlots.find(({ importing }) => importing.some((each) => each.shard === shard));
  return taken === undefined
    ? undefined
    : `It takes in keys of slot ${taken.slot}: end that first (CLUSTER SETSLOT ${taken.slot} STABLE).`;
}

/** Moves that bring slots to a shard. */
function gainsOf({ topology }: RestSources, shard: ShardId): ClusterMap["migrations"] {
  return topology.map.migrations.filter(({ target }) => target === shard);
}

/** Whether a shard has no slots, and gets none. */
function isEmptied(sources: RestSources, shard: ShardId): boolean {
  return (sources.view.shard(shard)?.slots ?? []).length === 0 && gainsOf(sources, shard).length === 0;
}

/**
 * Moves all slots of a shard to others, and waits for it.
 *
 * Others may move some of them meanwhile: these go on, and what nobody moves is planned and started. When a task ends there may be slots again that nobody moves (it was
 * cancelled, or others came to the shard), and so on, until there are none. What others begin to move to it is waited for, and moved on.
 *
 * @param endsAtMs When the time is over, on the monotonic clock.
 * @returns The tasks that go on, if the time is over; `undefined`: it has no slots, and gets none.
 * @throws {Problem} If a task that was started here has ended without moving anything, or nothing can be moved.
 */
async function drain(
  sources: RestSources,
  shard: string,
  cause: string,
  endsAtMs: number,
): Promise<string[] | undefined> {
  const { clock, view } = sources;
  const own = new Set<string>();
  const slots = (): readonly SlotRange[] => view.shard(shard)?.slots ?? [];
  const tasks = (): readonly MigrationStatus[] => sources.migrations?.tasks ?? [];
  const underWay = (): readonly MigrationStatus[] =>
    tasks().filter(({ source, endedAtMs }) => source === shard && endedAtMs === undefined);
  const aborted = (): MigrationStatus | undefined =>
    tasks().find(({ id, phase }) => own.has(id) && phase === "aborted");
  /** All that has to end. */
  const ahead = (): readonly { readonly id: string }[] => [...underWay(), ...gainsOf(sources, shard)];
  let attempts = 0;
  for (;;) {
    const failed = aborted();
    if (failed !== undefined) throw notEmptied(failed.cause);
    if (isEmptied(sources, shard)) return undefined;
    const going = underWay();
    const idle = subtractRanges(
      slots(),
      going.flatMap((task) => task.slots),
    );
    if (idle.length > 0) {
      try {
        const plan = await makeDrainPlan(sources, shard);
        if (plan.moves.length > 0) for (const id of await startMoves(sources, plan, cause)) own.add(id);
        else if (going.length === 0) throw notEmptied(plan.warnings.join("; "));
      } catch (thrown) {
        attempts += 1;
        if (!(thrown instanceof Problem) || thrown.kind !== "stale" || attempts >= MAX_ATTEMPTS) throw thrown;
        // What it was planned on has changed meanwhile.
        continue;
      }
    }
    const before = new Set(ahead().map(({ id }) => id));
    const hasMoved = (): boolean => isEmptied(sources, shard) || aborted() !== undefined || hasEnded(before, ahead());
    if (!(await until(clock, endsAtMs - clock.monotonicMs(), hasMoved))) return ahead().map(({ id }) => id);
    attempts = 0;
  }
}

/** Whether one of some tasks does not go on. */
function hasEnded(before: ReadonlySet<string>, present: readonly { readonly id: string }[]): boolean {
  return present.filter(({ id }) => before.has(id)).length < before.size;
}

function notEmptied(reason: string): Problem {
  return new Problem(
    "conflict",
    `Its slots could not all be moved${reason === "" ? "" : `: ${reason}`}; those that are left are served as before.`,
  );
}
