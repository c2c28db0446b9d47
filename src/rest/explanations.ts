/** The operations of REST that say why things are as they are. */
import { type Static, Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { SLOT_COUNT, keySlot } from "../codec/slot.ts";
import type { HistoryEntry, NodeId, NodeRecord, ShardRecord } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { withMemberNames } from "../member-words.ts";
import { type Callers, invalidField, needs, readWhole, shown } from "./api.ts";
import { nodeCalled } from "./cluster-reads.ts";
import { type Subject, historyOf, obstaclesOf, sinceFounding, sinceOf, wantedBy } from "./explain.ts";
import { readKey } from "./key-text.ts";
import {
  count,
  migrationSchema,
  nodeDetailSchema,
  nodeId,
  orNull,
  record,
  shardId,
  shardSchema,
  slot,
  slotText,
  wholeNumber,
} from "./schemas.ts";
import type { RestSources } from "./sources.ts";
import { tasksOf } from "./tasks.ts";
import { migrationOfSlot, migrationView, nodeDetail, openSlotView, shardView } from "./views.ts";

/** Acts that are told, if the caller does not say. */
const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 1000;

const actSchema = record({
  version: Type.Integer({ minimum: 0, description: "The version of the cluster map that it made." }),
  time: Type.Integer({ description: "Milliseconds since 1970, at the node that decided." }),
  cause: Type.String({ description: "Who wanted it and why." }),
  changes: Type.Array(Type.String(), { description: "What it changed, a sentence each." }),
});
const limitText = wholeNumber(1, MAX_LIMIT, `How many acts are told at most. Default: ${DEFAULT_LIMIT}.`);

const explanationSchema = record({
  map_version: count,
  slot: orNull(slot),
  owner: orNull(nodeId),
  shard_id: orNull(shardId),
  node: orNull(nodeDetailSchema),
  shard: orNull(shardSchema),
  migration: orNull(migrationSchema),
  since: orNull(actSchema),
  since_wanted: orNull(
    Type.String({ description: "Where `since` is the end of a move: who wanted that and why, if it is remembered." }),
  ),
  since_founding: orNull(
    Type.Integer({
      minimum: 0,
      description:
        "It has been so since the cluster was founded, with this version of its map: no act has made it so. Null: `since` tells it, or it is not remembered.",
    }),
  ),
  obstacles: Type.Array(Type.String(), {
    description: "What stands in the way of its being as it should be, or of the next change.",
  }),
  history: Type.Array(actSchema, { description: "The acts about it, the newest first." }),
});

/** @param nodes Of the map: causes name some of them by the beginnings of their ids. */
export function actView(
  { version, timeMs, cause, changes }: HistoryEntry,
  nodes: readonly NodeRecord[],
): Static<typeof actSchema> {
  return { version, time: timeMs, cause: withMemberNames(cause, nodes), changes: [...changes] };
}

/** The key in a request's query, of any bytes: what others make of a query is text. @throws {Problem} As `readKey`. */
function keyIn({ url }: Request): Uint8Array {
  const { search }: { readonly search: string } = new URL(url);
  const namesKey = (part: string): boolean =>
    [...new URL(`http://localhost/?${part}`).searchParams.keys()][0] === "key";
  const part = search.slice(1).split("&").find(namesKey) ?? "";
  return readKey(part.slice(part.indexOf("=") + 1).replaceAll("+", "%20"));
}

export function explanations(sources: RestSources, callers: Callers) {
  const { topology, view } = sources;
  const shardOfNode = (id: NodeId): ShardRecord | undefined =>
    topology.map.shards.find(({ primary, replicas }) => primary === id || replicas.includes(id));
  /** What is asked about. @throws {Problem} If that is not one thing, or is not there. */
  const subjectOf = (
    request: Request,
    query: { readonly key?: string; readonly slot?: string; readonly node?: string; readonly shard?: string },
  ): Subject => {
    const named = Object.values(query).filter((each) => each !== undefined);
    if (named.length !== 1)
      throw invalidField("query", "/slot", "one of key, slot, node and shard must be there, and no other");
    if (query.key !== undefined) {
      const bytes = keyIn(request);
      return { type: "slot", slot: keySlot(bytes, 0, bytes.length) };
    }
    if (query.slot !== undefined)
      return { type: "slot", slot: readWhole(query.slot, "query", "/slot", 0, SLOT_COUNT - 1) };
    if (query.node !== undefined) return { type: "node", node: nodeCalled(sources, query.node) };
    const shard = view.shard(query.shard ?? "");
    if (shard === undefined)
      throw new Problem("not-found", `There is no shard ${shown(query.shard ?? "")} in this cluster.`);
    return { type: "shard", shard };
  };
  const limitOf = (text: string | undefined): number =>
    text === undefined ? DEFAULT_LIMIT : readWhole(text, "query", "/limit", 1, MAX_LIMIT);
  /** The move that a slot is in, or was in last. */
  const moveOf = async (at: number) => {
    const open = topology.map.openSlots.find((each) => each.slot === at);
    if (open !== undefined) return openSlotView(topology, open);
    const wanted = migrationOfSlot(sources.migrations?.tasks ?? [], at);
    if (wanted === undefined) return null;
    const [task = wanted] = await tasksOf(sources, ({ id }) => id === wanted.id);
    return migrationView(task);
  };
  return new Elysia({ prefix: "/cluster", normalize: false })
    .get(
      "/explain",
      async ({ query: { limit, ...named }, request }) => {
        const most = limitOf(limit);
        const subject = subjectOf(request, named);
        const { map } = topology;
        const shard =
          subject.type === "slot"
            ? map.shards[map.shardOfSlot[subject.slot] ?? -1]
            : subject.type === "shard"
              ? subject.shard
              : shardOfNode(subject.node.id);
        const acts = historyOf(sources, subject);
        const since = sinceOf(acts, subject.type);
        const wanted = since === undefined ? undefined : wantedBy(since, acts);
        return {
          map_version: map.version,
          slot: subject.type === "slot" ? subject.slot : null,
          owner: shard?.primary ?? null,
          shard_id: shard?.id ?? null,
          node: subject.type === "node" ? nodeDetail(sources, subject.node) : null,
          shard: shard === undefined ? null : shardView(view, shard),
          migration: subject.type === "slot" ? await moveOf(subject.slot) : null,
          since: since === undefined ? null : actView(since, map.nodes),
          since_wanted: wanted === undefined ? null : withMemberNames(wanted, map.nodes),
          since_founding: sinceFounding(topology, acts, subject.type, shard !== undefined) ?? null,
          obstacles: [...(await obstaclesOf(sources, subject))],
          history: acts.slice(0, most).map((act) => actView(act, map.nodes)),
        };
      },
      {
        ...needs(
          callers,
          "read",
          "Why something is as it is: who has it, since when and why, and what stands in the way",
          {
            description:
              "About one of key, slot, node and shard. The last ten thousand acts on the map are remembered.",
            cost: 20,
            problems: ["not-found", "bad-request"],
            namesKey: true,
          },
        ),
        query: record({
          key: Type.Optional(Type.String({ maxLength: 1024, description: "A key, as text." })),
          slot: Type.Optional(slotText),
          node: Type.Optional(Type.String({ maxLength: 64, description: "A node's id." })),
          shard: Type.Optional(Type.String({ maxLength: 64, description: "A shard's id." })),
          limit: Type.Optional(limitText),
        }),
        response: { 200: explanationSchema },
      },
    )
    .get(
      "/history",
      ({ query }) => {
        const most = limitOf(query.limit);
        const since =
          query.since === undefined ? 0 : readWhole(query.since, "query", "/since", 0, Number.MAX_SAFE_INTEGER);
        const acts = topology.history.filter(({ version }) => version > since);
        const { version, nodes } = topology.map;
        const told = acts.slice(-most).toReversed();
        return { map_version: version, history: told.map((act) => actView(act, nodes)) };
      },
      {
        ...needs(callers, "read", "The last acts on the cluster map, with their causes", { cost: 5 }),
        query: record({
          since: Type.Optional(wholeNumber(0, Number.MAX_SAFE_INTEGER, "Only those after this version of the map.")),
          limit: Type.Optional(limitText),
        }),
        response: {
          200: record({ map_version: count, history: Type.Array(actSchema, { description: "The newest first." }) }),
        },
      },
    );
}
