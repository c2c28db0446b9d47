/**
 * topology: the cluster map, from the configuration.
 *
 * The setting `nodes` lists every node with its slots, the same on each of them; without it the node is alone and owns all slots. The map
 * does not change while the node runs.
 *
 * Talks to the rest through the service `topology`, and tells the map by the hook `mapChanged` when the node starts.
 */
import { createHash } from "node:crypto";
import { Type } from "@sinclair/typebox";
import type { CoreSettings } from "../src/config.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import { type ClusterMap, type NodeRecord, type SlotRange, topologyService } from "../src/contracts/topology.ts";
import { StartError } from "../src/errors.ts";
import { idOfName } from "../src/identity.ts";
import { definePlugin } from "../src/plugin.ts";
import { type MapEntry, makeClusterMap, parseSlotRange } from "../src/protocol/cluster-map.ts";

const nodeSchema = Type.Object(
  {
    name: Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }),
    id: Type.Optional(Type.String({ pattern: "^[0-9a-f]{40}$" })),
    host: Type.String({ minLength: 1 }),
    port: Type.Integer({ minimum: 1, maximum: 65535 }),
    busPort: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
    slots: Type.Array(Type.String()),
  },
  { additionalProperties: false },
);

const settingsSchema = Type.Object({
  nodes: Type.Optional(
    Type.Array(nodeSchema, {
      description:
        'Every node of the cluster, the same list on each: name, host, port, slots ("0-5460", "7"), and if need be id and busPort. This node is the one of its --name. Default: it is alone and owns all slots.',
      minItems: 1,
      maxItems: 1000,
      wants:
        'a list of nodes, such as [{"name":"a","host":"127.0.0.1","port":7001,"slots":["0-8191"]},{"name":"b","host":"127.0.0.1","port":7002,"slots":["8192-16383"]}]',
    }),
  ),
});

/** Above the client port, as in Redis, unless it is said. */
const BUS_PORT_OFFSET = 10_000;

/** A shard has the id of nothing else, and the same on every node. */
function shardIdOf(nodeId: string): string {
  return createHash("sha1").update(`bunch shard ${nodeId}`).digest("hex");
}

export default definePlugin({
  name: "topology",
  summary: "Keeps the cluster map, as the configuration says it.",
  provides: { topology: topologyService },
  settings: settingsSchema,
  setup(context) {
    const { core, node, settings } = context;
    const entries =
      settings.nodes === undefined ? [aloneEntry(node.id, core)] : settings.nodes.map((each) => entryOf(each));
    const map = makeClusterMap(1, entries);
    if (typeof map === "string") throw new StartError(`Setting "plugins.topology.nodes" makes no cluster map: ${map}.`);
    const self = settings.nodes === undefined ? entries[0]?.node : findSelf(map, node.id, core);
    if (self === undefined) {
      throw new StartError(
        `Setting "plugins.topology.nodes" does not list this node (name ${core.name === undefined ? "not set" : `"${core.name}"`}, id ${node.id}): it lists ${map.nodes.map((each) => `"${each.name}"`).join(", ")}; start it with --name, one of these.`,
      );
    }
    const selfShard = map.shards.find((shard) => shard.primary === self.id);
    const byId = new Map(map.nodes.map((each) => [each.id, each]));
    context.on(context.hooks.start, () => context.hooks.mapChanged.notify({ map, previous: undefined }), {
      order: "pre",
    });
    return { topology: { map, self, selfShard, node: (id: string) => byId.get(id) } };
  },
});

function aloneEntry(id: string, core: CoreSettings): MapEntry {
  const node: NodeRecord = {
    id,
    name: core.name ?? "",
    host: core.announceHost ?? core.host,
    port: core.port,
    busPort: core.busPort ?? Math.min(core.port + BUS_PORT_OFFSET, 65535),
  };
  return { node, shardId: shardIdOf(id), slots: [{ first: 0, last: SLOT_COUNT - 1 }] };
}

interface ConfiguredNode {
  readonly name: string;
  readonly id?: string;
  readonly host: string;
  readonly port: number;
  readonly busPort?: number;
  readonly slots: readonly string[];
}

function entryOf(configured: ConfiguredNode): MapEntry {
  const id = configured.id ?? idOfName(configured.name);
  const slots: SlotRange[] = configured.slots.map((text) => {
    const range = parseSlotRange(text);
    if (range === undefined) {
      throw new StartError(
        `Setting "plugins.topology.nodes" gives node "${configured.name}" the slots "${text}", but a range is a slot or two, such as 7 or 0-5460, from 0 to ${SLOT_COUNT - 1}.`,
      );
    }
    return range;
  });
  const node: NodeRecord = {
    id,
    name: configured.name,
    host: configured.host,
    port: configured.port,
    busPort: configured.busPort ?? Math.min(configured.port + BUS_PORT_OFFSET, 65535),
  };
  return { node, shardId: shardIdOf(id), slots };
}

function findSelf(map: ClusterMap, id: string, core: CoreSettings): NodeRecord | undefined {
  const byId = map.nodes.find((each) => each.id === id);
  if (byId === undefined && map.nodes.some((each) => each.name === core.name)) {
    throw new StartError(
      `Setting "plugins.topology.nodes" lists "${core.name ?? ""}" with another id than this node's, ${id}: give it as "id" in the list, or start with the data directory that belongs to it.`,
    );
  }
  return byId;
}
