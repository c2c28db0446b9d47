/** The operations of REST about who leads a shard, and the settings of the whole cluster. */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import type { Failover } from "../contracts/failover.ts";
import type { ShardRecord } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { CLUSTER_SETTINGS, SETTING_DEFAULTS } from "../protocol/topology/decide.ts";
import { type Callers, DECIDED, needs, shown } from "./api.ts";
import { causeOf, change, until } from "./change.ts";
import { nodeCalled } from "./cluster-reads.ts";
import { problemOf } from "./resp-problem.ts";
import { noQuery, nodeId, oneOf, record, shardId, shardSchema } from "./schemas.ts";
import type { RestSources } from "./sources.ts";
import { shardView } from "./views.ts";

/** How long a change of a shard's primary is waited for: a forced one takes a lease's time. */
const PATIENCE_MS = 5000;

const settingsSchema = record({
  settings: Type.Record(Type.String(), Type.String(), { description: "All of them, by name." }),
});

/** Each by what the leader decides by: what it would refuse is refused here, by the name of the field. */
const changesSchema = Type.Object(
  Object.fromEntries(
    [...CLUSTER_SETTINGS].map(([name, { pattern, maxLength, wants }]) => [
      name,
      Type.Optional(Type.String({ pattern: pattern.source, maxLength, wants, description: `Wants ${wants}.` })),
    ]),
  ),
  { minProperties: 1, additionalProperties: false, description: "Values by name." },
);

export function shardChanges(sources: RestSources, callers: Callers) {
  const { topology, view } = sources;
  /** @throws {Problem} If there is none. */
  const shardCalled = (id: string): ShardRecord => {
    const shard = view.shard(id);
    if (shard === undefined) throw new Problem("not-found", `There is no shard ${shown(id)} in this cluster.`);
    return shard;
  };
  const failoverFor = (): Failover => {
    const { failover } = sources;
    if (failover === undefined) throw new Problem("unavailable", "No plugin of this node changes primaries.");
    return failover;
  };
  const settings = (): { settings: Record<string, string> } => ({
    settings: Object.fromEntries([...SETTING_DEFAULTS, ...topology.map.settings]),
  });
  return new Elysia({ prefix: "/cluster", normalize: false })
    .post(
      "/failover",
      async ({ body, request, status }) => {
        const cause = causeOf(request, callers.allow(request, "operate"));
        const node = nodeCalled(sources, body.node_id);
        const shard = topology.map.shards.find(({ replicas }) => replicas.includes(node.id));
        if (shard === undefined) throw new Problem("conflict", `Node ${node.name || node.id} is not a replica.`);
        const problem = await failoverFor().handOver(shard.id, node.id, body.mode === "force", cause);
        if (problem !== undefined) throw problemOf(problem);
        const isDone = await until(sources.clock, PATIENCE_MS, () => view.shard(shard.id)?.primary === node.id);
        const seen = shardView(view, shardCalled(shard.id));
        return isDone ? status(200, seen) : status(202, seen);
      },
      {
        ...needs(callers, "operate", "Has a replica take over from its primary", {
          description: "200: it leads the shard. 202: it was begun, and has not come about yet.",
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record({
          node_id: nodeId,
          mode: Type.Optional(
            oneOf(
              ["planned", "force"],
              "`planned` (the default): the primary hands over, without an error to any client. `force`: also from a primary that does not answer, once its lease is over.",
            ),
          ),
        }),
        response: { 200: shardSchema, 202: shardSchema },
      },
    )
    .post(
      "/accept-loss",
      async ({ body, request, status }) => {
        const cause = causeOf(request, callers.allow(request, "admin"));
        const { id, primaryEpoch } = shardCalled(body.shard_id);
        const problem = await failoverFor().acceptLoss(id, cause);
        if (problem !== undefined) throw problemOf(problem);
        const isDone = await until(
          sources.clock,
          PATIENCE_MS,
          () => (view.shard(id)?.primaryEpoch ?? primaryEpoch) > primaryEpoch,
        );
        const seen = shardView(view, shardCalled(id));
        return isDone ? status(200, seen) : status(202, seen);
      },
      {
        ...needs(callers, "admin", "Has a shard go on without acknowledged writes that nobody holds any more", {
          description:
            "The survivor with the best position leads it; it starts empty only where there is none. What the others held is lost.",
          problems: ["not-found", ...DECIDED],
        }),
        query: noQuery,
        body: record({ shard_id: shardId }),
        response: { 200: shardSchema, 202: shardSchema },
      },
    )
    .get("/settings", settings, {
      ...needs(callers, "read", "The settings of the whole cluster"),
      query: noQuery,
      response: { 200: settingsSchema },
    })
    .put(
      "/settings",
      async ({ body, request }) => {
        const cause = causeOf(request, callers.allow(request, "admin"));
        const requests = Object.entries(body).flatMap(([name, value]) =>
          value === undefined ? [] : [{ type: "change-setting", name, value } as const],
        );
        await change(sources, cause, () => ({ type: "all", requests }));
        return settings();
      },
      {
        ...needs(callers, "admin", "Changes settings of the whole cluster, all or none", {
          problems: [...DECIDED],
        }),
        query: noQuery,
        body: changesSchema,
        response: { 200: settingsSchema },
      },
    );
}
