/**
 * replication-commands: what clients and operators ask of replication: ROLE, WAIT, CLIENT ACKS, and the section `replication` of INFO.
 *
 * Promises: the words and fields are Redis', since clients and tools read them. Where Redis counts bytes of its stream, these count entries of the shard log: numbers
 * that grow, and are equal on equal members.
 *
 * WAIT tells how many replicas have everything that this node had done when it was asked, which is at least what the client had done. With `acks in-sync`, which is the
 * default, a client that has had a reply needs no WAIT: the in-sync members have it already.
 *
 * Talks to the rest through the services `replication` and `topology`.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import type { Client } from "../src/client.ts";
import { type Replication, replicationService } from "../src/contracts/replication.ts";
import { type NodeRecord, topologyService } from "../src/contracts/topology.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR } from "../src/replies.ts";

/** With nobody who replicates each node is a primary by itself. */
const NOTHING_REPLICATED: Pick<
  Replication,
  | "role"
  | "position"
  | "committed"
  | "replicas"
  | "waitingFor"
  | "last"
  | "acknowledgedBy"
  | "whenAcknowledged"
  | "waitingCount"
> = {
  role: "none",
  position: undefined,
  committed: 0,
  replicas: [],
  waitingFor: undefined,
  last: 0,
  acknowledgedBy: () => 0,
  whenAcknowledged: () => ({ reached: Promise.resolve(0), end: () => undefined }),
  waitingCount: 0,
};

export default definePlugin({
  name: "replication-commands",
  summary: "ROLE, WAIT, CLIENT ACKS, and what INFO tells of replication.",
  requires: { topology: topologyService },
  uses: { replication: replicationService },
  setup(context) {
    const { topology } = context.requires;
    const replication = context.uses.replication ?? NOTHING_REPLICATED;
    const isReplica = (): boolean => replication.role === "replica";
    const primaryRecord = (): NodeRecord | undefined => topology.node(topology.selfShard?.primary ?? "");
    /** Where this node's copy of the log ends. */
    const offset = (): number => replication.position?.sequence ?? 0;
    const linkState = (): "connected" | "sync" | "connect" => {
      if (replication.waitingFor === undefined) return "connected";
      return replication.position === undefined ? "sync" : "connect";
    };

    /** Clients that WAIT, and what ends that: one that goes, and comes again to wait for what never comes, leaves nothing behind. */
    const waiting = new Map<Client, () => void>();
    context.on(context.hooks.clientClosed, (client) => waiting.get(client)?.());

    context.command({
      name: "role",
      arity: 1,
      flags: ["noscript", "loading", "stale", "fast"],
      group: "server",
      categories: ["admin", "dangerous"],
      summary: "Tells whether this node is a primary or a replica, and of whom.",
      complexity: "O(1)",
      since: "2.8.12",
      run({ reply }) {
        if (isReplica()) {
          const primary = primaryRecord();
          reply.array(5);
          reply.bulkText("slave");
          reply.bulkText(primary?.host ?? "");
          reply.integer(primary?.port ?? 0);
          reply.bulkText(linkState());
          reply.integer(offset());
          return;
        }
        const replicas = replication.replicas.filter(({ state }) => state === "following");
        reply.array(3);
        reply.bulkText("master");
        reply.integer(offset());
        reply.array(replicas.length);
        for (const { nodeId, acknowledged } of replicas) {
          const record = topology.node(nodeId);
          reply.array(3);
          reply.bulkText(record?.host ?? "");
          reply.bulkText(String(record?.port ?? 0));
          reply.bulkText(String(acknowledged));
        }
      },
    });

    context.command({
      name: "wait",
      syntax: "numreplicas:integer timeout:integer",
      arity: 3,
      flags: ["noscript"],
      group: "generic",
      categories: ["connection"],
      summary:
        "Waits until so many replicas have what this client has written, or for so many milliseconds; tells how many have.",
      complexity: "O(N), N being the replicas",
      since: "3.0.0",
      tips: ["request_policy:all_shards", "response_policy:agg_min"],
      run(call) {
        if (isReplica()) {
          call.reply.error(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
          );
          return;
        }
        const count = integerArgument(call, 1);
        const limitMs = integerArgument(call, 2);
        if (Number.isNaN(count)) return call.reply.error(NOT_AN_INTEGER);
        if (Number.isNaN(limitMs)) return call.reply.error("ERR timeout is not an integer or out of range");
        if (limitMs < 0) return call.reply.error("ERR timeout is negative");
        const have = replication.acknowledgedBy(replication.last);
        // As in Redis, within a transaction it tells and does not wait: nothing is to come between the commands of that.
        if (have >= count || call.isNested) return call.reply.integer(have);
        const { client } = call;
        const deferred = call.defer();
        const { reached, end } = replication.whenAcknowledged(count, limitMs);
        waiting.set(client, end);
        reached.then(
          (has) => {
            waiting.delete(client);
            deferred.resolve((reply) => reply.integer(has));
          },
          (thrown: unknown) => context.fault(thrown),
        );
      },
    });

    context.subcommand("client", {
      name: "acks",
      syntax: "[acks:(IN-SYNC | PRIMARY | DEFAULT)]",
      arity: -2,
      flags: ["noscript", "loading", "stale"],
      group: "connection",
      categories: ["connection"],
      summary:
        "What this connection's replies wait for: the in-sync set, nothing but the primary, or what the cluster's setting says. Without a word it tells.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run(call: Call) {
        const { client, reply } = call;
        if (call.count === 2) reply.bulkText(client.acks ?? topology.map.settings.get("acks") ?? "in-sync");
        else if (call.count > 3) reply.error(SYNTAX_ERROR);
        else if (call.is(2, "IN-SYNC") || call.is(2, "PRIMARY")) {
          client.acks = call.is(2, "PRIMARY") ? "primary" : "in-sync";
          reply.ok();
        } else if (call.is(2, "DEFAULT")) {
          client.acks = undefined;
          reply.ok();
        } else reply.error(`ERR acks are in-sync, primary or default, not "${call.shown(2).slice(0, 32)}"`);
      },
    });

    context.on(context.hooks.info, () => {
      const fields: Record<string, string | number> = { role: isReplica() ? "slave" : "master" };
      const { position, committed, replicas } = replication;
      if (isReplica()) {
        const primary = primaryRecord();
        fields["master_host"] = primary?.host ?? "";
        fields["master_port"] = primary?.port ?? 0;
        fields["master_link_status"] = linkState() === "connected" ? "up" : "down";
        fields["master_sync_in_progress"] = linkState() === "sync" ? 1 : 0;
        fields["slave_read_repl_offset"] = offset();
        fields["slave_repl_offset"] = offset();
        fields["slave_priority"] = 100;
        fields["slave_read_only"] = 1;
        fields["replica_announced"] = 1;
        if (replication.waitingFor !== undefined) fields["master_link_reason"] = replication.waitingFor;
      }
      fields["connected_slaves"] = replicas.filter(({ state }) => state !== "absent").length;
      // Clients read as many as are connected: those that are not come last.
      const listed = replicas.toSorted(
        (one, other) => Number(one.state === "absent") - Number(other.state === "absent"),
      );
      for (const [at, replica] of listed.entries()) {
        const record = topology.node(replica.nodeId);
        const state = { absent: "wait_bgsave", filling: "send_bulk", following: "online" }[replica.state];
        fields[`slave${at}`] =
          `ip=${record?.host ?? ""},port=${record?.port ?? 0},state=${state},offset=${replica.acknowledged},lag=${Math.round((replica.silentMs ?? 0) / 1000)},in_sync=${replica.isInSync ? 1 : 0},behind=${replica.lag}`;
        if (replica.fill !== undefined) {
          const { slotsDone, slotsTotal, keys, bytes, etaMs } = replica.fill;
          fields[`slave${at}_fill`] =
            `slots=${slotsDone}/${slotsTotal},keys=${keys},bytes=${bytes},eta_ms=${etaMs === undefined ? "?" : Math.round(etaMs)}`;
        }
      }
      fields["master_failover_state"] = "no-failover";
      fields["master_replid"] = topology.selfShard?.id ?? "0".repeat(40);
      fields["master_repl_offset"] = offset();
      fields["repl_epoch"] = position?.epoch ?? 0;
      fields["repl_committed"] = committed;
      fields["repl_waiting_clients"] = replication.waitingCount;
      return { section: "replication", fields };
    });
  },
});
