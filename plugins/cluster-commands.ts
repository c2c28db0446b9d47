/**
 * cluster-commands: `CLUSTER`: what clients and redis-cli ask about nodes, shards and slots.
 *
 * Promises: the formats that clients parse are Redis' to the byte, and the same map always reads the same. Everything is read from the
 * services `topology` (who owns what) and `keyspace` (what is in the slots of this node); which nodes are there from `membership`, links from `bus`, and who may
 * serve from `failover`. Without these three every node counts as there, and as serving.
 *
 * `cluster_state` is `ok` if every slot has a primary that serves it, as far as this node knows, and this node is in the cluster; else `fail`, and fields
 * `cluster_fail_...` say why. Replicas are told to clients (CLUSTER SLOTS), and are `online` (CLUSTER SHARDS), once they have all that their shard holds; `loading`
 * before. How far a copy has got is known of this node's own shard; of other shards' members it is what they said when they were heard last, some seconds ago in
 * a cluster of some dozens, as in Redis; 0 of one that was not heard yet, or has no whole copy.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { ClusterView } from "../src/cluster-view.ts";
import { SLOT_COUNT, keySlot } from "../src/codec/slot.ts";
import { splitUsage } from "../src/command-syntax.ts";
import type { ReplyWriter } from "../src/codec/resp-writer.ts";
import type { CommandSpecification } from "../src/contracts/commands.ts";
import { busService } from "../src/contracts/bus.ts";
import { failoverService } from "../src/contracts/failover.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { type MemberHealth, membershipService } from "../src/contracts/membership.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { type ClusterMap, type NodeRecord, type ShardRecord, topologyService } from "../src/contracts/topology.ts";
import { reasonInWords } from "../src/member-words.ts";
import { isEveryAddress } from "../src/net-address.ts";
import { definePlugin } from "../src/plugin.ts";
import { formatSlotRange } from "../src/protocol/slot-ranges.ts";
import { NOT_AN_INTEGER } from "../src/replies.ts";
import { isGone } from "../src/shard-serving.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";

const BAD_SLOT_OR_COUNT = "ERR Invalid slot or number of keys";

/** Whether a text is an address, and not a host name: names are told beside the address. */
function isAddress(host: string): boolean {
  return /^[0-9.]+$/.test(host) || host.includes(":");
}

/** A node's host name, if it has one. */
function hostNameOf({ host, otherHosts = [] }: NodeRecord): string | undefined {
  return [host, ...otherHosts].find((each) => !isAddress(each));
}

/**
 * This node's record, as a client can use it. A node that listens on every address, or on a port that the machine chose, knows neither when
 * the map is made; but the client has reached it, so that connection's own end is an address that works.
 *
 * @param localAddress This side of the client's connection, `address:port`.
 */
function reachable(node: NodeRecord, localAddress: string): NodeRecord {
  const isEverywhere = isEveryAddress(node.host);
  // An address of IPv4 that came in by a socket of IPv6 is told as what it is.
  const [, host, port] = /^\[?(?:::ffff:(?=[0-9.]+\]))?(.+?)\]?:([0-9]+)$/.exec(localAddress) ?? [];
  if (host === undefined || port === undefined || port === "0" || !(isEverywhere || node.port === 0)) return node;
  return { ...node, host: isEverywhere ? host : node.host, port: node.port === 0 ? Number(port) : node.port };
}

/** What is known of a node. */
type HealthOf = (nodeId: string) => MemberHealth | undefined;

/**
 * One line for each node, as CLUSTER NODES tells it.
 *
 * @param healthOf What is known of a node; `undefined`: nobody finds that out.
 * @param wallMsOf The wall time of a moment on this node's monotonic clock.
 */
function formatNodes(
  map: ClusterMap,
  self: NodeRecord,
  healthOf: HealthOf | undefined,
  wallMsOf: (monotonicMs: number) => number,
): string {
  return map.nodes
    .map((each) => {
      const node = each.id === self.id ? self : each;
      const shard = map.shards.find((each) => each.primary === node.id || each.replicas.includes(node.id));
      const isReplica = shard !== undefined && shard.primary !== node.id;
      const health = node.id === self.id ? undefined : healthOf?.(node.id);
      const failure = isGone(health) ? ",fail" : health?.state === "suspect" ? ",fail?" : "";
      // It lets its machine choose the port, and has not started yet.
      const place = node.id !== self.id && node.port === 0 ? ",noaddr" : "";
      const flags = `${node.id === self.id ? "myself," : ""}${isReplica ? "slave" : "master"}${failure}${place}`;
      const name = hostNameOf(node);
      const host = `${node.host}:${node.port}@${node.busPort}${name === undefined ? "" : `,${name}`}`;
      const slots =
        isReplica || shard === undefined ? "" : shard.slots.map((range) => ` ${formatSlotRange(range)}`).join("");
      const timeOf = (monotonicMs: number | undefined): number =>
        monotonicMs === undefined ? 0 : wallMsOf(monotonicMs);
      const times = `${timeOf(health?.pingSentAtMs)} ${timeOf(health?.pongReceivedAtMs)}`;
      // A node of the map that nothing is known of has never started.
      const isConnected = node.id === self.id || healthOf === undefined || (health !== undefined && !isGone(health));
      const link = isConnected ? "connected" : "disconnected";
      const marks = node.id === self.id && shard?.primary === self.id ? marksOf(map, shard.id) : "";
      return `${node.id} ${host} ${flags} ${isReplica ? shard.primary : "-"} ${times} ${shard?.primaryEpoch ?? 0} ${link}${slots}${marks}\n`;
    })
    .join("");
}

/** The slots that a shard moves key by key, as the line of its primary tells them. */
function marksOf({ openSlots, shards, shardOfSlot }: ClusterMap, shard: string): string {
  // A shard that is gone has no primary, and readers want an id.
  const primaryOf = (id: string): string => shards.find((each) => each.id === id)?.primary ?? id;
  return openSlots
    .map(({ slot, migratingTo, importing }) => {
      const isOwner = shards[shardOfSlot[slot] ?? -1]?.id === shard;
      if (isOwner) return migratingTo === undefined ? "" : ` [${slot}->-${primaryOf(migratingTo)}]`;
      const own = importing.find((each) => each.shard === shard);
      return own === undefined ? "" : ` [${slot}-<-${primaryOf(own.from)}]`;
    })
    .join("");
}

export default definePlugin({
  name: "cluster-commands",
  summary: "CLUSTER: tells about nodes, shards and slots.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  uses: { membership: membershipService, bus: busService, failover: failoverService, replication: replicationService },
  setup(context) {
    const { topology, keyspace } = context.requires;
    const { membership, bus, failover, replication } = context.uses;
    const { clock } = context.world;

    const view = new ClusterView({ topology, membership, failover, replication, clock });
    const nodesText = (call: Call): string =>
      formatNodes(
        topology.map,
        selfFor(call),
        membership?.status.isTakingPart === true ? (nodeId) => view.healthOf(nodeId) : undefined,
        (monotonicMs) => view.wallMsOf(monotonicMs),
      );

    const info = (call: Call): void => {
      const { map } = topology;
      const { assigned, suspected, failed } = view.slotSums();
      const failures = view.failures();
      const messages = membership?.status;
      const epoch = Math.max(0, ...map.shards.map((shard) => shard.primaryEpoch));
      const fields: readonly (readonly [string, string | number])[] = [
        // As in Redis: a cluster that does not serve every slot is not well, and a node that is cut off from it says so.
        ["cluster_state", failures.length === 0 ? "ok" : "fail"],
        ["cluster_slots_assigned", assigned],
        ["cluster_slots_ok", assigned - suspected - failed],
        ["cluster_slots_pfail", suspected],
        ["cluster_slots_fail", failed],
        ["cluster_known_nodes", map.nodes.length],
        ["cluster_size", map.shards.filter((shard) => shard.slots.length > 0).length],
        ["cluster_current_epoch", epoch],
        ["cluster_my_epoch", topology.selfShard?.primaryEpoch ?? 0],
        ["cluster_stats_messages_sent", messages?.sentMessages ?? 0],
        ["cluster_stats_messages_received", messages?.receivedMessages ?? 0],
        ["total_cluster_links_buffer_limit_exceeded", 0],
        ["cluster_map_version", map.version],
        ...failures.map(({ about, reason }) => [`cluster_fail_${about}`, reason] as const),
      ];
      call.reply.verbatim("txt", fields.map(([name, value]) => `${name}:${value}\r\n`).join(""));
    };

    const writeSlotsNode = (reply: ReplyWriter, node: NodeRecord): void => {
      reply.array(4);
      reply.bulkText(node.host);
      reply.integer(node.port);
      reply.bulkText(node.id);
      // Where the address is a name, that is said already.
      const name = isAddress(node.host) ? hostNameOf(node) : undefined;
      reply.array(name === undefined ? 0 : 2);
      if (name === undefined) return;
      reply.bulkText("hostname");
      reply.bulkText(name);
    };
    const selfFor = (call: Call): NodeRecord => reachable(topology.self, call.client.transport.localAddress);
    const membersOf = (shard: ShardRecord, self: NodeRecord): readonly NodeRecord[] =>
      [shard.primary, ...shard.replicas].flatMap((id) => (id === self.id ? self : (topology.node(id) ?? [])));
    const slots = (call: Call): void => {
      const ranges = topology.map.shards
        .flatMap((shard) => shard.slots.map((range) => ({ shard, range })))
        .toSorted((a, b) => a.range.first - b.range.first);
      const self = selfFor(call);
      call.reply.array(ranges.length);
      for (const { shard, range } of ranges) {
        // As in Redis: replicas that are gone, or have not got everything yet, are not told; primaries are.
        const members = membersOf(shard, self).filter(
          ({ id }) => id === shard.primary || (view.isThere(id) && view.isWhole(shard, id)),
        );
        call.reply.array(2 + members.length);
        call.reply.integer(range.first);
        call.reply.integer(range.last);
        for (const node of members) writeSlotsNode(call.reply, node);
      }
    };
    const shards = (call: Call): void => {
      const { map } = topology;
      const self = selfFor(call);
      call.reply.array(map.shards.length);
      for (const shard of map.shards) {
        call.reply.map(2);
        call.reply.bulkText("slots");
        call.reply.array(2 * shard.slots.length);
        for (const { first, last } of shard.slots) {
          call.reply.integer(first);
          call.reply.integer(last);
        }
        call.reply.bulkText("nodes");
        const members = membersOf(shard, self);
        call.reply.array(members.length);
        for (const node of members) writeShardsNode(call.reply, node, shard);
      }
    };
    const writeShardsNode = (reply: ReplyWriter, node: NodeRecord, shard: ShardRecord): void => {
      const name = hostNameOf(node);
      reply.map(name === undefined ? 7 : 8);
      reply.bulkText("id");
      reply.bulkText(node.id);
      reply.bulkText("port");
      reply.integer(node.port);
      reply.bulkText("ip");
      reply.bulkText(node.host);
      reply.bulkText("endpoint");
      reply.bulkText(node.host);
      if (name !== undefined) {
        reply.bulkText("hostname");
        reply.bulkText(name);
      }
      reply.bulkText("role");
      reply.bulkText(node.id === shard.primary ? "master" : "replica");
      reply.bulkText("replication-offset");
      reply.integer(view.offsetOf(shard, node.id));
      reply.bulkText("health");
      reply.bulkText(view.healthWord(shard, node.id));
    };
    /** What this node knows of the other side, behind what Redis tells of a link. */
    const tellHealth = (reply: ReplyWriter, health: MemberHealth): void => {
      reply.bulkText("state");
      reply.bulkText(health.state);
      reply.bulkText("reason");
      reply.bulkText(reasonInWords(health, topology.map.nodes));
      reply.bulkText("heard-at");
      reply.integer(health.heardAtMs === undefined ? 0 : view.wallMsOf(health.heardAtMs));
      reply.bulkText("round-trip-us");
      reply.integer(Math.round((health.roundTripMs ?? 0) * 1000));
      reply.bulkText("loop-lag-ms");
      reply.integer(Math.round(health.lagMs));
      reply.bulkText("map-version");
      reply.integer(health.mapVersion);
    };
    const links = (call: Call): void => {
      const known = (bus?.links() ?? []).filter(({ kind, nodeId }) => kind === "member" && nodeId !== "");
      call.reply.array(known.length);
      for (const { direction, nodeId, createdAtMs, queuedBytes } of known) {
        const health = view.healthOf(nodeId);
        call.reply.map(health === undefined ? 6 : 12);
        call.reply.bulkText("direction");
        call.reply.bulkText(direction);
        call.reply.bulkText("node");
        call.reply.bulkText(nodeId);
        call.reply.bulkText("create-time");
        call.reply.integer(view.wallMsOf(createdAtMs));
        call.reply.bulkText("events");
        // One reads, the other writes while there is something to write.
        call.reply.bulkText(direction === "from" ? "r" : queuedBytes > 0 ? "w" : "");
        call.reply.bulkText("send-buffer-allocated");
        call.reply.integer(queuedBytes);
        call.reply.bulkText("send-buffer-used");
        call.reply.integer(queuedBytes);
        if (health !== undefined) tellHealth(call.reply, health);
      }
    };

    const keysInSlot = (call: Call): void => {
      const slot = integerArgument(call, 2);
      const count = integerArgument(call, 3);
      if (Number.isNaN(slot) || Number.isNaN(count)) {
        call.reply.error(NOT_AN_INTEGER);
        return;
      }
      if (!(slot >= 0 && slot < SLOT_COUNT) || count < 0) {
        call.reply.error(BAD_SLOT_OR_COUNT);
        return;
      }
      const array = call.reply.beginArray();
      let written = 0;
      if (count > 0 && !keyspace.isHidden(slot)) {
        keyspace.scanSlot(slot, 0, count, (record) => {
          // Keys of one hash come together, which may be more than were asked for.
          if (written >= count) return;
          written += 1;
          const start = keyspace.keyStart(record);
          call.reply.bulk(keyspace.bytes(record), start, start + keyspace.keyLength(record));
        });
      }
      call.reply.endArray(array, written);
    };

    const subcommand = (
      usage: string,
      arity: number,
      since: string,
      summary: string,
      run: (call: Call) => void,
      more: Partial<CommandSpecification> = {},
    ): CommandSpecification => ({
      ...splitUsage(usage),
      arity,
      flags: ["stale"],
      group: "cluster",
      summary,
      complexity: "O(1)",
      since,
      run,
      ...more,
    });
    const perNode = { complexity: "O(N), N being the nodes" };
    const undetermined = { ...perNode, tips: ["nondeterministic_output"] };
    const replicas = (call: Call): void => {
      const shard = topology.map.shards.find((each) => each.primary === call.text(2));
      if (shard === undefined) {
        const isKnown = topology.node(call.text(2)) !== undefined;
        call.reply.error(
          isKnown ? "ERR The specified node is not a master" : `ERR Unknown node ${call.text(2).slice(0, 128)}`,
        );
        return;
      }
      const lines = nodesText(call).split("\n");
      call.reply.array(shard.replicas.length);
      for (const id of shard.replicas) call.reply.bulkText(lines.find((line) => line.startsWith(id)) ?? "");
    };

    const subcommands: CommandSpecification[] = [
      subcommand("info", 2, "3.0.0", "Tells the state of the cluster.", info, undetermined),
      subcommand(
        "nodes",
        2,
        "3.0.0",
        "Lists nodes, a line each.",
        (call) => call.reply.verbatim("txt", nodesText(call)),
        undetermined,
      ),
      subcommand("slots", 2, "3.0.0", "Lists ranges of slots with the nodes that serve them.", slots, {
        ...undetermined,
        deprecated: { since: "7.0.0", replacedBy: "`CLUSTER SHARDS`" },
        flags: ["loading", "stale"],
      }),
      subcommand("shards", 2, "7.0.0", "Lists shards with their slots and nodes.", shards, {
        ...undetermined,
        flags: ["loading", "stale"],
      }),
      subcommand("myid", 2, "3.0.0", "Tells this node's id.", (call) => call.reply.bulkText(topology.self.id)),
      subcommand("myshardid", 2, "7.2.0", "Tells the id of this node's shard.", (call) =>
        call.reply.bulkText(topology.selfShard?.id ?? ""),
      ),
      subcommand(
        "keyslot key:string",
        3,
        "3.0.0",
        "Tells a key's slot.",
        (call) => call.reply.integer(keySlot(call.bytes, call.start(2), call.end(2))),
        { complexity: "O(N), N being the key's length" },
      ),
      subcommand(
        "countkeysinslot slot:integer",
        3,
        "3.0.0",
        "Tells how many keys of a slot this node has.",
        (call) => {
          const slot = integerArgument(call, 2);
          if (Number.isNaN(slot)) call.reply.error(NOT_AN_INTEGER);
          else if (slot < 0 || slot >= SLOT_COUNT) call.reply.error("ERR Invalid slot");
          else call.reply.integer(keyspace.isHidden(slot) ? 0 : keyspace.slotSize(slot));
        },
        { isAboutKeys: true },
      ),
      subcommand("getkeysinslot slot:integer count:integer", 4, "3.0.0", "Lists keys of a slot.", keysInSlot, {
        complexity: "O(N), N being the keys listed",
        isAboutKeys: true,
        tips: ["nondeterministic_output"],
      }),
      subcommand("replicas node-id", 3, "5.0.0", "Lists the replicas of a primary.", replicas, {
        ...undetermined,
        flags: ["admin", "stale"],
      }),
      subcommand(
        "map",
        2,
        "0.1.0",
        "Tells the whole cluster map, as `bunch export` writes it.",
        (call) => call.reply.bulkText(topology.exportState()),
        { ...undetermined, flags: ["admin", "stale"], complexity: "O(N), N being nodes, shards and ranges of slots" },
      ),
      subcommand("links", 2, "7.0.0", "Lists links to other nodes, and how each of these is.", links, undetermined),
    ];
    subcommands.push(helpSubcommand("CLUSTER", "cluster", "5.0.0", subcommands));
    context.command({
      name: "cluster",
      arity: -2,
      flags: [],
      group: "cluster",
      summary: "Commands about the cluster.",
      complexity: "Depends on the subcommand.",
      since: "3.0.0",
      subcommands,
      run: wantsSubcommand,
    });
  },
});
