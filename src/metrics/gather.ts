/** Takes what a scrape tells from what a node's plugins provide. What no plugin tells is left out. Counts nothing, changes nothing. */
import type { Command } from "../command-table.ts";
import type { Consensus } from "../contracts/consensus.ts";
import type { Failover } from "../contracts/failover.ts";
import type { Health } from "../contracts/health.ts";
import type { Keyspace } from "../contracts/keyspace.ts";
import type { MembershipService } from "../contracts/membership.ts";
import type { Migrations } from "../contracts/migration.ts";
import type { Replication } from "../contracts/replication.ts";
import type { Router } from "../contracts/routing.ts";
import type { SlotRange, Topology } from "../contracts/topology.ts";
import type { NodeContext } from "../plugin.ts";
import { STATES } from "../protocol/health/types.ts";
import { addInfoMetrics, fieldsOf, numberOf } from "./info-metrics.ts";
import type { MapCounts } from "./map-counts.ts";
import { Samples } from "./samples.ts";

/** Where metrics come from. */
export interface MetricSources {
  readonly context: Pick<NodeContext, "node" | "core" | "world" | "hooks" | "clients" | "dispatcher" | "replyGate">;
  readonly topology: Topology | undefined;
  readonly consensus: Consensus | undefined;
  readonly membership: MembershipService | undefined;
  readonly replication: Replication | undefined;
  readonly failover: Failover | undefined;
  readonly migrations: Migrations | undefined;
  readonly keyspace: Keyspace | undefined;
  readonly router: Router | undefined;
  readonly health: Health | undefined;
  readonly mapCounts: MapCounts;
}

/** Everything, at this moment. */
export function gather(sources: MetricSources): Samples {
  const samples = new Samples();
  const fields = fieldsOf(sources.context.hooks.info.collect());
  addProcess(samples, sources);
  addCommands(samples, sources);
  addKeys(samples, sources, fields);
  addShard(samples, sources);
  addMap(samples, sources);
  addRaft(samples, sources);
  addMigrations(samples, sources);
  addHealth(samples, sources);
  addInfoMetrics(samples, fields);
  return samples;
}

function addProcess(samples: Samples, { context, membership, health }: MetricSources): void {
  const { node, core, world } = context;
  const { machine, clock } = world;
  const upS = (clock.monotonicMs() - node.startedAtMs) / 1000;
  samples.add("bunch_node_info", 1, {
    node_id: node.id,
    name: core.name ?? "",
    zone: core.zone ?? "",
    version: node.version,
    runtime: machine.runtime,
  });
  samples.add("bunch_uptime_seconds", upS);
  samples.add("process_start_time_seconds", clock.wallMs() / 1000 - upS);
  const { user, system } = machine.cpuSeconds();
  samples.add("process_cpu_seconds_total", user + system);
  samples.add("process_cpu_user_seconds_total", user);
  samples.add("process_cpu_system_seconds_total", system);
  samples.add("process_resident_memory_bytes", machine.residentBytes());
  samples.add("process_max_fds", machine.maxOpenFiles());
  samples.add("bunch_machine_memory_bytes", machine.totalMemoryBytes());
  const { used, held } = machine.heapBytes();
  samples.add("bunch_heap_used_bytes", used);
  samples.add("bunch_heap_held_bytes", held);
  samples.add("bunch_gc_collections_total", machine.collections());
  const lagMs =
    membership?.member(node.id)?.lagMs ??
    Number(health?.checks.find(({ name }) => name === "loop-lag")?.values["lag-ms"] ?? Number.NaN);
  samples.add("bunch_event_loop_lag_seconds", lagMs / 1000);
}

function* everyCommand(commands: Iterable<Command>): Generator<Command> {
  for (const command of commands) {
    yield command;
    if (command.subcommands !== undefined) yield* everyCommand(command.subcommands);
  }
}

function addCommands(samples: Samples, { context, router }: MetricSources): void {
  const { dispatcher, clients, replyGate } = context;
  for (const each of everyCommand(dispatcher.commands)) {
    const { fullName: command, callCount, failedCount, rejectedCount, unansweredCount, latency } = each;
    // Of hundreds of commands most are never used.
    if (callCount === 0 && rejectedCount === 0) continue;
    // Neither is known of what is to be answered: a count that fell later would be taken for a restart.
    samples.add("bunch_commands_total", callCount - failedCount - unansweredCount, { command, outcome: "ok" });
    samples.add("bunch_commands_total", failedCount, { command, outcome: "failed" });
    samples.add("bunch_commands_total", rejectedCount, { command, outcome: "rejected" });
    if (latency !== undefined) samples.addHistogram("bunch_command_duration_seconds", latency, { command });
  }
  for (const [error, count] of dispatcher.errorCounts) samples.add("bunch_error_replies_total", count, { error });
  samples.add("bunch_redirects_total", router?.movedCount, { kind: "moved" });
  samples.add("bunch_redirects_total", router?.askedCount, { kind: "ask" });
  samples.add("bunch_held_commands_total", router?.heldCount);
  samples.add("bunch_waiting_replies", replyGate.waitingCount);
  samples.add("bunch_connected_clients", clients.count);
  samples.add("bunch_connections_total", clients.totalCount);
}

function addKeys(
  samples: Samples,
  { context, keyspace, replication, topology }: MetricSources,
  fields: ReadonlyMap<string, string | number>,
): void {
  samples.add("bunch_keys", keyspace?.size);
  samples.add("bunch_expiring_keys", keyspace?.volatileCount);
  samples.add("bunch_key_changes_total", keyspace?.changes);
  samples.add("bunch_expired_keys_total", keyspace?.expiredCount);
  const { machine } = context.world;
  const kinds = {
    keys: keyspace?.usedBytes ?? 0,
    key_gaps: keyspace === undefined ? 0 : Math.max(0, keyspace.allocatedBytes - keyspace.usedBytes),
    replication_log: replication?.logBytes ?? 0,
    raft_log: numberOf(fields, "raft_log_bytes") ?? 0,
    heap: Math.max(...Object.values(machine.heapBytes())),
  };
  let known = 0;
  for (const [kind, bytes] of Object.entries(kinds)) {
    known += bytes;
    samples.add("bunch_memory_bytes", bytes, { kind });
  }
  samples.add("bunch_memory_bytes", Math.max(0, machine.residentBytes() - known), { kind: "other" });
  samples.add("bunch_slots", topology === undefined ? undefined : countOf(topology.selfShard?.slots ?? []));
}

function countOf(slots: readonly SlotRange[]): number {
  return slots.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

function addShard(samples: Samples, { context, topology, replication, failover, mapCounts }: MetricSources): void {
  const shard = topology?.selfShard;
  const isPrimary = shard?.primary === topology?.self.id;
  if (shard !== undefined) {
    samples.add("bunch_shard_info", 1, { shard: shard.id, role: isPrimary ? "primary" : "replica" });
    samples.add("bunch_in_sync_members", shard.inSync.length);
  }
  if (replication !== undefined && replication.role !== "none") {
    samples.add("bunch_replication_last_entry", replication.last);
    samples.add("bunch_replication_committed_entry", replication.committed);
  }
  if (replication !== undefined && isPrimary) {
    for (const state of ["following", "filling", "absent"] as const) {
      const count = replication.replicas.filter((replica) => replica.state === state).length;
      samples.add("bunch_replicas", count, { state });
    }
    for (const { nodeId, lag, silentMs } of replication.replicas) {
      // Names may be given twice; ids are not.
      const replica = nodeId;
      samples.add("bunch_replica_lag_entries", lag, { replica });
      samples.add("bunch_replica_silence_seconds", silentMs === undefined ? undefined : silentMs / 1000, { replica });
    }
  }
  if (topology !== undefined) {
    samples.add("bunch_in_sync_changes_total", mapCounts.joined, { change: "joined" });
    samples.add("bunch_in_sync_changes_total", mapCounts.left, { change: "left" });
    samples.add("bunch_primary_changes_total", mapCounts.promotions);
  }
  if (failover === undefined) return;
  const { leaseState, leaseEndsAtMs } = failover;
  samples.add("bunch_lease_held", leaseState === "held" || leaseState === "none" ? 1 : 0);
  const leftMs = leaseState === "none" ? undefined : leaseEndsAtMs - context.world.clock.monotonicMs();
  samples.add("bunch_lease_margin_seconds", leftMs === undefined ? undefined : Math.max(0, leftMs / 1000));
}

function addMap(samples: Samples, { topology, mapCounts }: MetricSources): void {
  if (topology === undefined) return;
  const { map } = topology;
  const owning = map.shards.filter(({ slots }) => slots.length > 0);
  samples.add("bunch_cluster_nodes", map.nodes.length);
  samples.add("bunch_cluster_shards", owning.length);
  samples.add(
    "bunch_cluster_assigned_slots",
    owning.reduce((sum, { slots }) => sum + countOf(slots), 0),
  );
  samples.add("bunch_map_version", map.version);
  samples.add("bunch_map_changes_total", mapCounts.changes);
}

function addRaft(samples: Samples, { consensus }: MetricSources): void {
  if (consensus === undefined) return;
  const { status, counts } = consensus;
  samples.add("bunch_raft_term", status.term);
  samples.add("bunch_raft_is_leader", status.role === "leader" ? 1 : 0);
  samples.add("bunch_raft_hears_leader", status.hearsLeader ? 1 : 0);
  samples.add("bunch_raft_commit_index", status.commitIndex);
  samples.add("bunch_raft_applied_index", status.appliedIndex);
  samples.add("bunch_raft_last_index", status.lastIndex);
  samples.add("bunch_raft_snapshot_index", status.snapshotIndex);
  const voters = status.members.filter(({ isVoter }) => isVoter).length;
  samples.add("bunch_raft_members", voters, { role: "voter" });
  samples.add("bunch_raft_members", status.members.length - voters, { role: "learner" });
  samples.add("bunch_raft_elections_total", counts.elections);
  samples.add("bunch_raft_elections_won_total", counts.electionsWon);
  samples.add("bunch_raft_leader_changes_total", counts.leaderChanges);
  for (const [outcome, count] of Object.entries(counts.requests))
    samples.add("bunch_raft_requests_total", count, { outcome });
  samples.addHistogram("bunch_raft_request_duration_seconds", counts.requestLatency);
}

function addMigrations(samples: Samples, { migrations }: MetricSources): void {
  if (migrations === undefined) return;
  const { tasks, counts } = migrations;
  for (const phase of ["waiting", "streaming", "level", "fenced"] as const)
    samples.add("bunch_migrations", tasks.filter((task) => task.phase === phase).length, { phase });
  samples.add("bunch_migrations_ended_total", counts.completed, { outcome: "completed" });
  samples.add("bunch_migrations_ended_total", counts.aborted, { outcome: "aborted" });
  const running = tasks.flatMap(({ endedAtMs, progress }) =>
    endedAtMs === undefined && progress !== undefined ? [progress] : [],
  );
  const sum = (of: (progress: (typeof running)[number]) => number): number =>
    running.reduce((total, progress) => total + of(progress), 0);
  samples.add("bunch_migration_moved_keys_total", counts.keys + sum(({ keysMoved }) => keysMoved));
  samples.add("bunch_migration_moved_bytes_total", counts.bytes + sum(({ bytesMoved }) => bytesMoved));
  samples.add("bunch_migration_held_seconds_total", (counts.fencedMs + sum(({ fencedMs }) => fencedMs)) / 1000);
}

function addHealth(samples: Samples, { health }: MetricSources): void {
  if (health === undefined) return;
  samples.add("bunch_health_state", STATES.indexOf(health.state));
  for (const { name: check, scope, state } of health.checks)
    samples.add("bunch_health_check_state", STATES.indexOf(state), { check, scope });
}
