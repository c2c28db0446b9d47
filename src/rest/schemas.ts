/** Parts of the schemas of REST that several operations share. Objects take no fields that they do not name. Moments are milliseconds since 1970. */
import { type Static, type TObject, type TProperties, type TSchema, type TUnion, Type } from "@sinclair/typebox";
import { SLOT_COUNT } from "../codec/slot.ts";

/** An object with these fields and no others. */
export function record<Properties extends TProperties>(
  properties: Properties,
  options: { readonly description?: string } = {},
): TObject<Properties> {
  return Type.Object(properties, { additionalProperties: false, ...options });
}

/** Something, or nothing. */
export function orNull<Schema extends TSchema>(schema: Schema): TUnion<[Schema, ReturnType<typeof Type.Null>]> {
  return Type.Union([schema, Type.Null()]);
}

/** One of some words. */
export function oneOf<const Words extends readonly string[]>(
  words: Words,
  description: string,
): ReturnType<typeof Type.Unsafe<Words[number]>> {
  return Type.Unsafe<Words[number]>(
    Type.Union(
      words.map((word) => Type.Literal(word)),
      { description, wants: `one of ${words.join(", ")}` },
    ),
  );
}

/** A whole number in a path or a query, where everything is text. */
export function wholeNumber(minimum: number, maximum: number, description: string): ReturnType<typeof Type.String> {
  return Type.String({
    pattern: "^(0|[1-9][0-9]{0,15})$",
    description,
    wants: `a whole number from ${minimum} to ${maximum}`,
    toldAs: { type: "integer", minimum, maximum },
  });
}

export const noQuery = record({});

/** `true` or `false` in a query. */
export function flag(description: string): ReturnType<typeof Type.Unsafe<"true" | "false">> {
  return oneOf(["true", "false"], description);
}

export const nodeId = Type.String({
  pattern: "^[0-9a-f]{40}$",
  description: "A node's id.",
  wants: "a node's id, 40 hexadecimal digits in lower case",
});

export const shardId = Type.String({
  pattern: "^[0-9a-f]{40}$",
  description: "A shard's id.",
  wants: "a shard's id, 40 hexadecimal digits in lower case",
});

export const slot = Type.Integer({
  minimum: 0,
  maximum: SLOT_COUNT - 1,
  description: "A hash slot.",
  wants: `a slot, a whole number from 0 to ${SLOT_COUNT - 1}`,
});
/** The same in a path or a query. */
export const slotText = wholeNumber(0, SLOT_COUNT - 1, "A hash slot.");

export const count = Type.Integer({ minimum: 0 });
const words = Type.String();
const moment = Type.Integer({ description: "Milliseconds since 1970." });

export const slotRange = record(
  { start: slot, end: slot, count },
  { description: "Slots from start to end, both included." },
);
/** As callers give them. */
export const slotRanges = Type.Array(record({ start: slot, end: slot }), {
  minItems: 1,
  maxItems: SLOT_COUNT,
  wants: "a list of ranges, such as [{ start: 0, end: 99 }]",
});

const coverage = Type.Number({ minimum: 0, maximum: 100, description: "Percent of the slots that somebody owns." });

export const infoSchema = record({
  cluster_enabled: Type.Boolean({ description: "This node routes by slots; else it is a store by itself." }),
  cluster_id: Type.String({ description: "Which cluster this is; empty before there is one." }),
  state: oneOf(
    ["ok", "degraded", "fail"],
    "`ok`: every slot is served, by as many copies as there could be. `degraded`: every slot is served, and something is amiss. `fail`: some slots are not served, or this node takes no part.",
  ),
  reasons: Type.Array(words, { description: "Why the state is not ok." }),
  slot_assignment: oneOf(["complete", "incomplete"], "Whether every slot is somebody's."),
  slots: record({ assigned: count, total: count, coverage }),
  nodes: record({ count, my_node_id: nodeId }),
  shards: record({ count, with_slots: count }),
  leader: orNull(
    Type.String({ description: "The node that leads the log of the cluster map, if this node hears any." }),
  ),
  term: Type.Integer({ minimum: 0, description: "Of that log." }),
  map_version: Type.Integer({ minimum: 0, description: "Of the cluster map that this node has." }),
});
export type Info = Static<typeof infoSchema>;

const nodeFields = {
  id: nodeId,
  name: Type.String({ description: "Empty: it has none." }),
  address: Type.String({ description: "Where clients reach it." }),
  http_address: orNull(Type.String({ description: "Where operators reach it." })),
  state: oneOf(
    ["alive", "suspect", "down", "left", "unknown"],
    "What this node holds of it. `suspect`: a probe failed. `down`: nobody could disprove that in time. `left`: it said that it goes. `unknown`: it was never heard.",
  ),
  slot_count: count,
  is_master: Type.Boolean(),
  is_replica: Type.Boolean(),
  is_myself: Type.Boolean(),
  is_leader: Type.Boolean({ description: "It leads the log of the cluster map." }),
  is_voter: Type.Boolean(),
  role: oneOf(["data", "witness"], "A witness votes and holds no data."),
  zone: Type.String({ description: "Copies of a shard are spread over zones." }),
  shard_id: orNull(shardId),
  master_id: orNull(nodeId),
};
export const nodeSchema = record(nodeFields);
export type NodeView = Static<typeof nodeSchema>;

export const nodesSchema = record({ nodes: Type.Array(nodeSchema), count });

export const nodeDetailSchema = record({
  ...nodeFields,
  slots: Type.Array(slotRange),
  replica_ids: Type.Array(nodeId),
  in_sync: Type.Boolean({ description: "It holds every acknowledged write of its shard, as the map says." }),
  eligible: Type.Boolean({ description: "It left that set while it was at its minimum, and still holds every one." }),
  addresses: record({
    clients: Type.Array(words),
    peers: Type.Array(words),
    http: Type.Array(words),
  }),
  offset: Type.Integer({
    minimum: 0,
    description: "How far its copy of its shard's log has got; 0: nobody knows, or it has none that is whole.",
  }),
  lag: orNull(Type.Integer({ minimum: 0, description: "Entries that it lacks, as far as is known here." })),
  primary_epoch: orNull(count),
  shard_version: orNull(count),
  incarnation: Type.Integer({
    minimum: 0,
    description: "The map version that admitted its present start; 0: it has not started yet.",
  }),
  health: orNull(
    record({
      since: moment,
      reason: words,
      round_trip_ms: orNull(Type.Number()),
      loop_lag_ms: Type.Number({ description: "How long its event loop stood still of late, at the worst." }),
      heard_at: orNull(moment),
      map_version: count,
      suspected_by: Type.Array(nodeId),
    }),
  ),
});
export type NodeDetail = Static<typeof nodeDetailSchema>;

/** By what right a node serves. */
export const LEASES = ["none", "held", "lapsed", "stale-reads", "surrendered"] as const;

const nodeStats = record({
  asked_at: moment,
  uptime_s: count,
  commands: Type.Integer({ minimum: 0, description: "Since its start, or since CONFIG RESETSTAT, without INFO." }),
  commands_per_second: count,
  command_calls: Type.Integer({ minimum: 0, description: "Calls that command_us is the sum of." }),
  command_us: Type.Integer({ minimum: 0, description: "What commands took within the node, in microseconds, in all." }),
  errors: count,
  memory_bytes: Type.Integer({ minimum: 0, description: "Of keys and values." }),
  resident_bytes: Type.Integer({ minimum: 0, description: "Of the process." }),
  max_memory_bytes: Type.Integer({ minimum: 0, description: "0: there is no limit." }),
  keys: count,
  clients: count,
  loop_lag_ms: Type.Number({ minimum: 0, description: "How long its event loop stood still of late, at the worst." }),
  lease: oneOf(
    LEASES,
    "By what right it serves. `none`: it needs none. `lapsed`: it has none, and serves nothing. `stale-reads`: it has none, and serves reads. `surrendered`: it hands its shard over.",
  ),
  lease_left_ms: Type.Integer({ minimum: 0, description: "At least so long from the moment it was asked." }),
  replicas: Type.Array(
    record({
      node_id: nodeId,
      state: oneOf(
        ["absent", "filling", "following"],
        "`absent`: it has not asked for the log. `filling`: it gets the keys. `following`: it gets the log.",
      ),
      in_sync: Type.Boolean(),
      lag: Type.Integer({ minimum: 0, description: "Entries of the log that it lacks." }),
    }),
    { description: "Of a primary: how far its replicas are." },
  ),
});
export const statsSchema = record({
  nodes: Type.Array(record({ node_id: nodeId, stats: orNull(nodeStats) }), {
    description: "Null: the node is gone, or did not answer.",
  }),
  count,
});
export type NodeStats = Static<typeof nodeStats>;
export type Stats = Static<typeof statsSchema>;

const slotSums = { total: count, assigned: count, coverage };
export const slotsSchema = record({ slots: Type.Array(record({ slot, owner: nodeId })), ...slotSums });
export const slotRangesSchema = record({
  ranges: Type.Array(
    record({ start: slot, end: slot, count, shard_id: shardId, primary: nodeId, replicas: Type.Array(nodeId) }),
  ),
  ...slotSums,
});

export const shardSchema = record({
  id: shardId,
  primary: nodeId,
  replicas: Type.Array(nodeId),
  in_sync: Type.Array(nodeId),
  eligible: Type.Array(nodeId),
  slots: Type.Array(slotRange),
  slot_count: count,
  primary_epoch: count,
  version: count,
  is_served: Type.Boolean({ description: "As far as this node knows." }),
  reason: orNull(Type.String({ description: "Why it is not." })),
});
export type ShardView = Static<typeof shardSchema>;
export const shardsSchema = record({ shards: Type.Array(shardSchema), count });

const unknownHere = "; null: the node that leads the source did not say";
export const migrationFields = {
  id: orNull(
    Type.String({ description: "Null: the slot is moved key by key (CLUSTER SETSLOT), and there is no task." }),
  ),
  slots: Type.Array(slotRange),
  from_node: orNull(nodeId),
  to_node: orNull(nodeId),
  state: oneOf(
    ["waiting", "streaming", "level", "fenced", "completed", "aborted", "key-by-key"],
    "`streaming`: the target gets the keys. `level`: it has all but what happens at this moment. `fenced`: commands on the slots are held for the last of it.",
  ),
  is_paused: Type.Boolean(),
  auto_complete: orNull(
    Type.Boolean({
      description: "It is completed as soon as it can be; else once that is asked for. Null: it has ended.",
    }),
  ),
  cause: Type.String({ description: "Who wanted it and why; of one that was ended unfinished, why that was." }),
  started_for: Type.String({ description: "Who wanted it and why, also of one that has ended." }),
  ended_because: orNull(Type.String({ description: "How it ended; null: it goes on." })),
  waiting_for: orNull(words),
  keys_migrated: orNull(Type.Integer({ minimum: 0, description: `Keys that were sent${unknownHere}.` })),
  total_keys: orNull(Type.Integer({ minimum: 0, description: `Keys that there are${unknownHere}.` })),
  bytes: orNull(Type.Integer({ minimum: 0, description: `Bytes that were sent${unknownHere}.` })),
  rate: orNull(Type.Number({ minimum: 0, description: `Bytes a second${unknownHere}.` })),
  eta_ms: orNull(Type.Number({ minimum: 0, description: "Until the target is level; null: nobody can say." })),
  fenced_ms: orNull(Type.Number({ minimum: 0, description: `How long commands were held, in all${unknownHere}.` })),
  restarts: orNull(count),
  started_at: orNull(moment),
  completed_at: orNull(moment),
};
export const migrationSchema = record(migrationFields);
export type MigrationView = Static<typeof migrationSchema>;
export const migrationsSchema = record({ migrations: Type.Array(migrationSchema), count });
export const slotMigrationSchema = Type.Union([
  record({ slot, ...migrationFields }),
  record({ slot, migration: Type.Null() }),
]);

const healthWord = oneOf(
  ["ok", "warn", "critical"],
  "`warn`: it works, and would not with one more failure, or not much longer. `critical`: something does not work.",
);
const checkFields = {
  name: words,
  scope: oneOf(["cluster", "node"], "What it is about: all of the cluster, or the node that tells it."),
  state: healthWord,
  since: moment,
  summary: Type.String({ description: "What is so." }),
  meaning: Type.String({ description: "What that means." }),
  advice: Type.String({ description: "What to do; empty where all is well." }),
  values: Type.Record(Type.String(), Type.Union([Type.Number(), Type.String()]), {
    description: "What it was judged by. Times in milliseconds, sizes in bytes, as the names say.",
  }),
};
const checkSchema = record(checkFields);
export type CheckView = Static<typeof checkSchema>;
/** A check, and whose word it is. */
const toldCheckSchema = record({
  ...checkFields,
  node_id: Type.String({ description: "The node whose words these are." }),
  others: Type.Integer({ minimum: 0, description: "How many more nodes tell the same state of it." }),
});
export type ToldCheckView = Static<typeof toldCheckSchema>;
export const healthSchema = record({
  state: healthWord,
  checked_at: moment,
  node_id: Type.String({ description: "The node that was asked." }),
  leader: orNull(Type.String()),
  checks: Type.Array(toldCheckSchema, {
    description:
      "Of checks on the cluster one each, by the node that sees the worst, the leader if it is among those. Of checks on nodes one for each node that is not well, or one for all.",
  }),
  asked: Type.Integer({ minimum: 1, description: "Nodes whose word was wanted: this one, or all of the map." }),
  silent: Type.Array(record({ node_id: nodeId, reason: words }), {
    description: "Those of them that did not tell, and why. Each is worth a warning.",
  }),
});
export type HealthView = Static<typeof healthSchema>;

export const pluginsSchema = record({
  plugins: Type.Array(
    record({
      name: words,
      provides: Type.Array(words),
      requires: Type.Array(words),
      uses: Type.Array(record({ service: words, is_there: Type.Boolean() })),
      hooks: Type.Array(record({ hook: words, order: oneOf(["first", "pre", "normal", "post"], "When it runs.") })),
      commands: Type.Array(words),
      setup_ms: Type.Number({ minimum: 0, description: "How long it took to set up." }),
    }),
  ),
  count,
});
