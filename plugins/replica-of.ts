/**
 * replica-of: a node that joins a cluster becomes a replica by itself (`--replica-of SHARD|auto`).
 *
 * Promises: it asks until it is one; which shard's is decided by the leader of the map's log, on all that is in it (`src/protocol/topology/placement.ts`), so that nodes
 * which come in at once are placed with regard to each other; why it is not done is logged when it changes, and shown (`INFO replication`). A node that comes
 * back as it was, with slots, with replicas, or as a replica, of whichever shard, stays what it is. What becomes of it afterwards is the cluster's, and the operator's.
 *
 * Talks to the rest through the service `topology`. While it is a primary without slots it holds no keys; should it hold some all the same, it says so and waits.
 */
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { topologyService } from "../src/contracts/topology.ts";
import { KeyHold } from "../src/key-hold.ts";
import { definePlugin } from "../src/plugin.ts";

/** How often it asks, in milliseconds: people wait for the first answer, and who is refused waits for something that takes longer. */
const ASK_MS = 500;

export default definePlugin({
  name: "replica-of",
  summary: "Makes a node that joins a replica, of a shard or of the one that needs it most.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  setup(context) {
    const { core, hooks, node, world } = context;
    const { topology, keyspace } = context.requires;
    const { log } = world;
    const of = core.replicaOf;
    const keyHold = new KeyHold(context);
    /** This start of the node has come to be what it stays. */
    let isSettled = false;
    let isAsking = false;
    let reason = "";

    /** Why it is not a replica yet; empty once it is. */
    const ask = async (wanted: string): Promise<string> => {
      if (keyspace.size > 0) return "it holds keys: FLUSHALL, or leave --replica-of out";
      const request = { type: "place-replica", node: node.id, of: wanted } as const;
      const outcome = await topology.request(request, `it joined with --replica-of ${wanted}`);
      return outcome.type === "done" ? "" : outcome.reason.replace(/^ERR /, "");
    };
    const wait = (why: string): void => {
      if (why !== "" && why !== reason) log.warn("replica-of: not a replica yet", { of, reason: why });
      reason = why;
    };
    const look = (): void => {
      const { self, selfShard } = topology;
      if (of === undefined || isSettled || isAsking || selfShard === undefined) return;
      if (!topology.isMember || self.start !== node.runId) return;
      const { primary, replicas, slots } = selfShard;
      if (primary !== node.id || replicas.length > 0 || slots.length > 0) {
        isSettled = true;
        reason = "";
        if (primary === node.id) log.info("replica-of: it stays a primary", { shard: selfShard.id });
        else log.info("replica-of: a replica", { shard: selfShard.id, primary });
        return;
      }
      isAsking = true;
      keyHold
        .during(() => ask(of))
        .then(wait, (thrown: unknown) => context.fault(thrown))
        .finally(() => {
          isAsking = false;
        });
    };
    context.on(hooks.ready, () => {
      if (of !== undefined) context.every(ASK_MS, look);
    });
    context.on(hooks.info, () =>
      of === undefined
        ? undefined
        : { section: "replication", fields: { replica_of_wanted: of, replica_of_waits_for: reason } },
    );
  },
});
