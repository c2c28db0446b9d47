/** A cluster map in a file, which people may have written or changed by hand: everything is checked, and what is wrong is named. */
import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { Fault } from "../assert.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import { StartError, messageOf } from "../errors.ts";
import { problemOfSetting } from "../protocol/topology/decide.ts";
import { type TopologyState, checkState, stateFromJson } from "../protocol/topology/state.ts";
import { MAP_FILE_FORMAT } from "../protocol/topology/topology-json.ts";

const strict = { additionalProperties: false } as const;
const idSchema = Type.String({ pattern: "^[0-9a-f]{40}$", wants: "40 hexadecimal digits in lower case" });
const countSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, wants: "a whole number from 0 on" });
const portSchema = Type.Integer({ minimum: 0, maximum: 65535, wants: "a port, from 0 to 65535" });
const textSchema = Type.String({ maxLength: 1000, wants: "text" });
const hostSchema = Type.String({ minLength: 1, maxLength: 255, wants: "an address or a host name" });
const hostsSchema = Type.Optional(Type.Array(hostSchema, { maxItems: 7, wants: "a list of addresses or host names" }));
const slotSchema = Type.Integer({ minimum: 0, maximum: SLOT_COUNT - 1, wants: `a slot, from 0 to ${SLOT_COUNT - 1}` });
const slotsSchema = Type.Array(Type.Object({ first: slotSchema, last: slotSchema }, strict), {
  wants: 'a list of ranges of slots, such as [{"first":0,"last":5460}]',
});
const idsSchema = Type.Array(idSchema, { wants: "a list of node ids" });

const mapSchema = Type.Object(
  {
    format: Type.Literal(MAP_FILE_FORMAT, { wants: `"${MAP_FILE_FORMAT}"` }),
    clusterId: Type.String({ pattern: "^([0-9a-f]{40})?$", wants: "40 hexadecimal digits, or nothing" }),
    version: countSchema,
    nodes: Type.Array(
      Type.Object(
        {
          id: idSchema,
          name: Type.String({ pattern: "^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$", wants: "a name, or nothing" }),
          host: hostSchema,
          otherHosts: hostsSchema,
          port: portSchema,
          busHost: hostSchema,
          otherBusHosts: hostsSchema,
          busPort: portSchema,
          httpHost: hostSchema,
          httpPort: portSchema,
          zone: textSchema,
          role: Type.Union([Type.Literal("data"), Type.Literal("witness")], { wants: '"data" or "witness"' }),
          features: Type.Optional(Type.Object({ oldest: countSchema, newest: countSchema }, strict)),
          start: Type.String({ pattern: "^([0-9a-f]{40})?$", wants: "40 hexadecimal digits, or nothing" }),
          incarnation: countSchema,
        },
        strict,
      ),
      { minItems: 1, wants: "a list of at least one node" },
    ),
    shards: Type.Array(
      Type.Object(
        {
          id: idSchema,
          primary: idSchema,
          primaryIncarnation: countSchema,
          replicas: idsSchema,
          inSync: idsSchema,
          eligible: idsSchema,
          slots: slotsSchema,
          wasEmptied: Type.Optional(Type.Literal(true, { wants: "true, or not there" })),
          primaryEpoch: countSchema,
          version: countSchema,
        },
        strict,
      ),
      { wants: "a list of shards" },
    ),
    migrations: Type.Array(
      Type.Object(
        {
          id: textSchema,
          source: idSchema,
          target: idSchema,
          slots: slotsSchema,
          isPaused: Type.Boolean({ wants: "true or false" }),
          awaitsWord: Type.Optional(Type.Literal(true, { wants: "true" })),
          cause: textSchema,
          startedAtMs: Type.Number({ wants: "a number" }),
          fence: Type.Optional(
            Type.Object({ version: countSchema, sourceEpoch: countSchema, targetEpoch: countSchema }, strict),
          ),
        },
        strict,
      ),
      { wants: "a list of migrations" },
    ),
    openSlots: Type.Optional(
      Type.Array(
        Type.Object(
          {
            slot: slotSchema,
            migratingTo: Type.Optional(idSchema),
            importing: Type.Array(Type.Object({ shard: idSchema, from: idSchema }, strict), {
              wants: "a list of shards with where they take keys from",
            }),
          },
          strict,
        ),
        { wants: "a list of slots with their marks" },
      ),
    ),
    releases: Type.Array(
      Type.Object({ node: idSchema, incarnation: countSchema, version: countSchema, slots: slotsSchema }, strict),
      { wants: "a list of releases" },
    ),
    tombstones: Type.Array(Type.Object({ node: idSchema, version: countSchema, cause: textSchema }, strict), {
      wants: "a list of tombstones",
    }),
    settings: Type.Array(Type.Tuple([textSchema, textSchema]), {
      wants: 'a list of pairs, such as [["min-in-sync","1"]]',
    }),
  },
  strict,
);

/**
 * Reads a map.
 *
 * @param file Its name, for messages.
 * @throws {StartError} Naming the field that is wrong, what it is, and what it must be.
 */
export function readMapFile(text: string, file: string): TopologyState {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new StartError(`Map "${file}" is not JSON: ${messageOf(thrown)}.`);
  }
  if (!Value.Check(mapSchema, json)) {
    const error = Value.Errors(mapSchema, json).First();
    const schema = error?.schema["wants"] as unknown;
    const field = fieldOf(error?.path ?? "");
    const wants = typeof schema === "string" ? `it must be ${schema}` : (error?.message ?? "it is bad").toLowerCase();
    const got = error?.value === undefined ? "missing" : JSON.stringify(error.value).slice(0, 100);
    throw new StartError(
      error?.message === "Unexpected property"
        ? `Map "${file}" has a field that no map has: ${field}.`
        : `Map "${file}" cannot be read: ${field} is ${got}, but ${wants}.`,
    );
  }
  for (const [name, ids] of [
    ["nodes", json.nodes.map(({ id }) => id)],
    ["shards", json.shards.map(({ id }) => id)],
    ["migrations", json.migrations.map(({ id }) => id)],
    ["tombstones", json.tombstones.map(({ node }) => node)],
    ["settings", json.settings.map(([setting]) => setting)],
  ] as const) {
    const twice = ids.findIndex((id, at) => ids.indexOf(id) !== at);
    if (twice >= 0) throw new StartError(`Map "${file}" cannot be read: ${name}[${twice}] is there twice.`);
  }
  for (const [at, [name, value]] of json.settings.entries()) {
    const problem = problemOfSetting(name, value);
    if (problem !== undefined) throw new StartError(`Map "${file}" cannot be read: settings[${at}]: ${problem}.`);
  }
  const state = stateFromJson(json);
  try {
    checkState(state);
  } catch (thrown) {
    // The invariants' sentences say what must hold.
    if (!(thrown instanceof Fault)) throw thrown;
    throw new StartError(`Map "${file}" contradicts itself. This must hold, and does not: ${thrown.message}.`);
  }
  return state;
}

/**
 * The map of a cluster in which no node has started yet: whoever held anything did so in another one. Nor does anybody wait for word of who has lost slots: a
 * node that is gone for good, and maybe taken out of the file by hand, would never give it.
 */
export function begunAnew(state: TopologyState): TopologyState {
  const nodes = [...state.nodes].map(([id, node]) => [id, { ...node, start: "", incarnation: 0 }] as const);
  const shards = [...state.shards].map(([id, shard]) => {
    const sets = { primaryIncarnation: 0, inSync: [shard.primary], eligible: [] };
    return [id, { ...shard, ...sets }] as const;
  });
  return { ...state, nodes: new Map(nodes), shards: new Map(shards), releases: [] };
}

/** `/nodes/0/port` -> `nodes[0].port` */
function fieldOf(path: string): string {
  if (path === "") return "the whole";
  return path
    .slice(1)
    .split("/")
    .map((part, at) => (/^[0-9]+$/.test(part) ? `[${part}]` : `${at === 0 ? "" : "."}${part}`))
    .join("");
}
