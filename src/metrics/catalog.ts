/**
 * All metrics that a node tells: their names, kinds, labels, and what they mean.
 *
 * Names and units are those of Prometheus' conventions (https://prometheus.io/docs/practices/naming/): seconds, bytes, `_total` on what only grows. What a label
 * may say is bounded by what the program and the cluster are made of: commands of the table, members, checks.
 */

export interface Family {
  readonly type: "counter" | "gauge" | "histogram";
  /** One sentence. */
  readonly help: string;
  readonly labels?: readonly string[];
}

const counter = (help: string, ...labels: readonly string[]): Family => ({ type: "counter", help, labels });
const gauge = (help: string, ...labels: readonly string[]): Family => ({ type: "gauge", help, labels });
const histogram = (help: string, ...labels: readonly string[]): Family => ({ type: "histogram", help, labels });

export const FAMILIES = {
  // The process.
  bunch_node_info: gauge("1; who the node is, and what it runs.", "node_id", "name", "zone", "version", "runtime"),
  bunch_uptime_seconds: gauge("How long the node has been there."),
  process_start_time_seconds: gauge("When the process started, in seconds since 1970."),
  process_cpu_seconds_total: counter("Processor time of the process."),
  process_cpu_user_seconds_total: counter("Processor time of the process, without the system's."),
  process_cpu_system_seconds_total: counter("Processor time that the system spent for the process."),
  process_resident_memory_bytes: gauge("Memory that the process holds."),
  process_max_fds: gauge("How many files and sockets the process may have open."),
  bunch_machine_memory_bytes: gauge("Memory of the machine."),
  bunch_heap_used_bytes: gauge("What lives in the JavaScript heap; keys and values do not."),
  bunch_heap_held_bytes: gauge("Memory that is held for the JavaScript heap."),
  bunch_gc_collections_total: counter("Garbage collections since the first scrape."),
  bunch_event_loop_lag_seconds: gauge("How long the event loop stood still of late, at the worst."),

  // Commands and clients.
  bunch_commands_total: counter(
    "Commands by name and what came of them: ok, failed (it ran, and answered with an error), rejected (it did not run). One that is answered later counts then.",
    "command",
    "outcome",
  ),
  bunch_command_duration_seconds: histogram(
    "How long commands ran, without what they waited for; of quick ones one in sixteen is timed, and counts for sixteen.",
    "command",
  ),
  bunch_error_replies_total: counter("Error replies by their first word; beyond 128 of these it is OTHER.", "error"),
  bunch_redirects_total: counter("Commands that were sent to another node: moved, ask.", "kind"),
  bunch_held_commands_total: counter("Commands that had to wait until it was agreed whose a slot is."),
  bunch_waiting_replies: gauge("Clients whose replies wait for replicas or for the lease."),
  bunch_connected_clients: gauge("Clients that are connected."),
  bunch_blocked_clients: gauge("Clients that are kept waiting by CLIENT PAUSE."),
  bunch_max_clients: gauge("How many clients may be connected."),
  bunch_connections_total: counter("Clients that have come."),
  bunch_refused_connections_total: counter("Connections that were refused: too many."),
  bunch_client_received_bytes_total: counter("Bytes from clients."),
  bunch_client_sent_bytes_total: counter("Bytes to clients."),

  // Keys.
  bunch_keys: gauge("Keys of this node, those of a replica too."),
  bunch_expiring_keys: gauge("Keys that have an expiry."),
  bunch_key_changes_total: counter("Changes of keys, those by replication too."),
  bunch_expired_keys_total: counter("Keys that were removed since they had expired."),
  bunch_evicted_keys_total: counter("Keys that were removed to make room."),
  bunch_memory_bytes: gauge(
    "Memory by what it is for: keys, key_gaps (held for keys and not in use), replication_log, raft_log, heap (JavaScript), other. Together: what the process holds.",
    "kind",
  ),
  bunch_memory_limit_bytes: gauge("The most that keys may take up (maxmemory); 0: without limit."),
  bunch_slots: gauge("Slots of this node's shard."),

  // Replication and failover.
  bunch_shard_info: gauge(
    "1; the shard that this node is in, and what it is there: primary, replica.",
    "shard",
    "role",
  ),
  bunch_replicas: gauge("Replicas of this primary: following, filling, absent.", "state"),
  bunch_in_sync_members: gauge(
    "Members of this node's shard that hold every acknowledged write, the primary among them.",
  ),
  bunch_replication_last_entry: gauge("The newest entry of the shard's log here."),
  bunch_replication_committed_entry: gauge("The last entry of the shard's log that is known to be committed."),
  bunch_replica_lag_entries: gauge("Entries that a replica of this primary lacks.", "replica"),
  bunch_replica_silence_seconds: gauge("Since when a replica of this primary was not heard.", "replica"),
  bunch_in_sync_changes_total: counter(
    "Members that came into the in-sync set of the shard that this primary leads, or left it: joined, left.",
    "change",
  ),
  bunch_primary_changes_total: counter("How often this node became the primary of a shard that another one had led."),
  bunch_lease_held: gauge("1: this node may serve its shard, or needs no lease; 0: it may not."),
  bunch_lease_margin_seconds: gauge("How long the lease still lasts; there is none where none is needed."),
  bunch_promotions_total: counter("Replicas that this node has promoted as the leader of the map's log."),

  // The cluster map and Raft.
  bunch_cluster_nodes: gauge("Nodes of the cluster map."),
  bunch_cluster_shards: gauge("Shards that own slots."),
  bunch_cluster_assigned_slots: gauge("Slots that somebody owns, of 16384."),
  bunch_map_version: gauge("The version of the cluster map that this node has."),
  bunch_map_changes_total: counter("Cluster maps that this node has switched to."),
  bunch_raft_term: gauge("The term of Raft."),
  bunch_raft_is_leader: gauge("1: this node leads the map's log."),
  bunch_raft_hears_leader: gauge("1: this node leads, or hears who does."),
  bunch_raft_commit_index: gauge("The last entry of the map's log that is known to be committed."),
  bunch_raft_applied_index: gauge("The last entry of the map's log that was applied here."),
  bunch_raft_last_index: gauge("The last entry of the map's log here."),
  bunch_raft_snapshot_index: gauge("The last entry that is in the snapshot."),
  bunch_raft_members: gauge("Members of the group: voter, learner.", "role"),
  bunch_raft_elections_total: counter("Elections that this node has stood in."),
  bunch_raft_elections_won_total: counter("Elections that this node has won."),
  bunch_raft_leader_changes_total: counter("How often this node came to know of another leader."),
  bunch_raft_requests_total: counter(
    "Changes of the map that this node asked for, and what became of them: done, rejected, refused, unknown.",
    "outcome",
  ),
  bunch_raft_request_duration_seconds: histogram(
    "From when a change of the map is asked for until it is applied here.",
  ),

  // Gossip and the bus.
  bunch_members: gauge("Members as this node holds them: alive, suspect, down, left.", "state"),
  bunch_gossip_doubt: gauge("How much this node doubts itself; 0: not at all."),
  bunch_gossip_probes_total: counter("Members that were probed."),
  bunch_gossip_failed_probes_total: counter("Probes that were not answered."),
  bunch_gossip_refutations_total: counter("Suspicions of this node that it has disproved."),
  bunch_gossip_messages_total: counter("Messages of gossip: sent, received.", "direction"),
  bunch_bus_links: gauge("Links to other nodes, by who opened them: out, in.", "direction"),
  bunch_bus_frames_total: counter("Frames between nodes: sent, received.", "direction"),
  bunch_bus_bytes_total: counter("Bytes of frames between nodes: sent, received.", "direction"),
  bunch_bus_dropped_frames_total: counter("Frames that were dropped here: the link was down, or too much waited."),
  bunch_bus_refused_links_total: counter("Links that were refused: no secret, another cluster."),
  bunch_bus_datagrams_total: counter("Datagrams between nodes: sent, received.", "direction"),
  bunch_bus_datagram_bytes_total: counter("Bytes of datagrams between nodes: sent, received.", "direction"),

  // Moves of slots.
  bunch_migrations: gauge(
    "Tasks of the cluster that move slots: waiting, streaming, level, fenced, as far as this node knows.",
    "phase",
  ),
  bunch_migrations_ended_total: counter("Tasks whose source this node led: completed, aborted.", "outcome"),
  bunch_migration_moved_keys_total: counter("Keys that such tasks have sent; those that go on count."),
  bunch_migration_moved_bytes_total: counter("Bytes that such tasks have sent; those that go on count."),
  bunch_migration_held_seconds_total: counter("How long such tasks have held commands on their slots."),

  // Health and this door.
  bunch_health_state: gauge("The worst of all checks: 0 ok, 1 warn, 2 critical."),
  bunch_health_check_state: gauge("A check of this node: 0 ok, 1 warn, 2 critical.", "check", "scope"),
  bunch_health_webhook_posts_total: counter(
    "Changes of checks that were to be posted to the webhook, and what became of them: sent, failed (given up), dropped (too many waited).",
    "outcome",
  ),
  bunch_health_webhook_retries_total: counter("Posts to the webhook that came to nothing and are tried again."),
  bunch_health_webhook_waiting_posts: gauge("Posts to the webhook that are not sent yet."),
  bunch_http_requests_total: counter("Requests of operators."),
  bunch_http_refused_requests_total: counter(
    "Requests that were refused: token (none of this node's), rate (an address asked too often), address (it has too many that are being answered), overload (all have), unread (too much waits to be read).",
    "reason",
  ),
  bunch_http_failed_requests_total: counter("Requests that failed by a mistake of the program's."),
  bunch_scrapes_total: counter("How often these metrics were asked for."),
  bunch_scrape_duration_seconds: gauge("How long it took to put them together the last time; 0: this is the first."),
} as const satisfies Readonly<Record<string, Family>>;

export type FamilyName = keyof typeof FAMILIES;
export const FAMILY_NAMES = Object.keys(FAMILIES) as readonly FamilyName[];
