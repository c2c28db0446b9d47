/** The operations of REST that tell about the cluster and change nothing. */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { ClusterMap, NodeRecord } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { type Callers, needs, readWhole, shown } from "./api.ts";
import {
  infoSchema,
  migrationsSchema,
  noQuery,
  nodeDetailSchema,
  nodesSchema,
  oneOf,
  pluginsSchema,
  record,
  shardsSchema,
  slotMigrationSchema,
  slotRangesSchema,
  slotText,
  slotsSchema,
} from "./schemas.ts";
import type { RestSources } from "./sources.ts";
import { tasksOf } from "./tasks.ts";
import {
  infoOf,
  migrationOfSlot,
  migrationView,
  nodeDetail,
  nodeView,
  openSlotView,
  shardView,
  slotRangesOf,
  slotsOf,
} from "./views.ts";

/** @throws {Problem} If there is none. */
export function nodeCalled({ topology }: RestSources, id: string): NodeRecord {
  const node = topology.node(id);
  if (node === undefined) throw new Problem("not-found", `There is no node ${shown(id)} in this cluster.`);
  return node;
}

export const nodePath = record({ node_id: Type.String({ description: "A node's id." }) });

export function clusterReads(sources: RestSources, callers: Callers) {
  const { topology, view } = sources;
  /** All slots, of the map that they were asked of last: a megabyte, which takes as long to make and to check as twenty other answers. */
  let made: { readonly map: ClusterMap; readonly bytes: Uint8Array } | undefined;
  const allSlots = (request: Request): Response => {
    const { map } = topology;
    if (made?.map !== map) made = { map, bytes: new TextEncoder().encode(JSON.stringify(slotsOf(topology))) };
    const headers = { "content-type": "application/json;charset=utf-8" };
    return new Response(callers.of(request).bodyOf(made.bytes), { headers });
  };
  return new Elysia({ prefix: "/cluster", normalize: false })
    .get("/info", () => infoOf(sources), {
      ...needs(callers, "read", "How the cluster is"),
      query: noQuery,
      response: { 200: infoSchema },
    })
    .get(
      "/nodes",
      () => {
        const nodes = topology.map.nodes.map((node) => nodeView(sources, node));
        return { nodes, count: nodes.length };
      },
      {
        ...needs(callers, "read", "The nodes of the cluster"),
        query: noQuery,
        response: { 200: nodesSchema },
      },
    )
    .get("/nodes/:node_id", ({ params }) => nodeDetail(sources, nodeCalled(sources, params.node_id)), {
      ...needs(callers, "read", "All that is known of a node", { problems: ["not-found"] }),
      params: nodePath,
      query: noQuery,
      response: { 200: nodeDetailSchema },
    })
    .get(
      "/shards",
      () => {
        const shards = topology.map.shards.map((shard) => shardView(view, shard));
        return { shards, count: shards.length };
      },
      {
        ...needs(callers, "read", "The shards of the cluster, and whether each is served"),
        query: noQuery,
        response: { 200: shardsSchema },
      },
    )
    .get("/slots", ({ query, request }) => (query.format === "ranges" ? slotRangesOf(topology) : allSlots(request)), {
      ...needs(callers, "read", "Who owns the slots", { cost: 20 }),
      query: record({
        format: Type.Optional(
          oneOf(
            ["slots", "ranges"],
            "`slots`: each slot that somebody owns (the default). `ranges`: with who serves them.",
          ),
        ),
      }),
      response: { 200: Type.Union([slotsSchema, slotRangesSchema]) },
    })
    .get(
      "/plugins",
      () => {
        const plugins = sources.plugins().map((entry) => ({
          name: entry.plugin,
          provides: [...entry.provides],
          requires: [...entry.requires],
          uses: entry.uses.map(({ service, isThere }) => ({ service, is_there: isThere })),
          hooks: [...entry.hooks],
          commands: [...entry.commands],
          setup_ms: entry.milliseconds,
        }));
        return { plugins, count: plugins.length };
      },
      {
        ...needs(callers, "read", "The plugins of this node: what they provide and need, their hooks and commands", {
          cost: 20,
        }),
        query: noQuery,
        response: { 200: pluginsSchema },
      },
    )
    .get(
      "/migrations",
      async () => {
        const migrations = (await tasksOf(sources)).map(migrationView);
        return { migrations, count: migrations.length };
      },
      {
        ...needs(callers, "read", "The tasks that move slots, and those that ended of late", { cost: 5 }),
        query: noQuery,
        response: { 200: migrationsSchema },
      },
    )
    .get(
      "/migration/:slot",
      async ({ params }) => {
        const slot = readWhole(params.slot, "path", "/slot", 0, SLOT_COUNT - 1);
        const open = topology.map.openSlots.find((each) => each.slot === slot);
        if (open !== undefined) return { slot, ...openSlotView(topology, open) };
        const wanted = migrationOfSlot(sources.migrations?.tasks ?? [], slot);
        if (wanted === undefined) return { slot, migration: null };
        const [task = wanted] = await tasksOf(sources, ({ id }) => id === wanted.id);
        return { slot, ...migrationView(task) };
      },
      {
        ...needs(callers, "read", "How far the move of a slot is", { cost: 5 }),
        params: record({ slot: slotText }),
        query: noQuery,
        response: { 200: slotMigrationSchema },
      },
    );
}
