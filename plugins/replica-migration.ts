/**
 * replica-migration: replicas that one shard can spare move to shards that have none.
 *
 * Promises: a shard whose primary is there, and which has had no replica that is there for `afterMs`, gets one, if another shard has more in sync than it keeps
 * (`barrier`) and than writes need (`min-in-sync`). The same for a shard whose replicas are all on its primary's host, if the one that moves is on another host. One
 * replica moves at a time, in the whole cluster. Each move is a record of the map with its cause; why a shard goes without is kept, logged when it changes, and
 * shown (`INFO replica-migration` at the leader).
 *
 * How: the leader of the map's log looks at all shards several times a second (`src/protocol/topology/replica-moves.ts`), with what membership says of their members.
 * It asks for the move on the versions of both shards that it has seen: if one has changed since, it looks again. The next one moves when this one is in sync where it
 * went, or is not there any more.
 *
 * The cluster setting `replica-migration` (`yes`, `no`; default `yes`) turns it off, as Redis' `cluster-allow-replica-migration` does, and the setting `barrier` is
 * Redis' `cluster-migration-barrier`. Replicas do not change places: a shard that is short of hosts, and nobody has one to spare for, stays as it is.
 */
import { Type } from "@sinclair/typebox";
import { consensusService } from "../src/contracts/consensus.ts";
import { failoverService } from "../src/contracts/failover.ts";
import { membershipService } from "../src/contracts/membership.ts";
import { type NodeId, type ShardId, type ShardRecord, topologyService } from "../src/contracts/topology.ts";
import { definePlugin } from "../src/plugin.ts";
import {
  type MoveFacts,
  type Need,
  type Presence,
  type ReplicaMove,
  planMove,
} from "../src/protocol/topology/replica-moves.ts";

const settingsSchema = Type.Object({
  afterMs: Type.Integer({
    description:
      "How long a shard goes without a replica before it gets another shard's, in milliseconds. Longer than a node takes to start again: a copy of all that the shard holds is made for nothing if the old one comes back.",
    default: 5000,
    minimum: 0,
  }),
  barrier: Type.Integer({
    description: "How many replicas in sync a shard keeps that gives one away. More: fewer shards can help.",
    default: 1,
    minimum: 1,
    maximum: 100,
  }),
});

/** How often the leader looks, in milliseconds. */
const LOOK_MS = 200;

/** A shard in need, since when by this node's clock, and why nothing is done about it. */
interface Wanting {
  readonly need: Need;
  readonly sinceMs: number;
  readonly reason: string;
}

export default definePlugin({
  name: "replica-migration",
  summary: "Moves replicas that one shard can spare to shards that have none.",
  requires: { topology: topologyService },
  uses: { consensus: consensusService, failover: failoverService, membership: membershipService },
  settings: settingsSchema,
  setup(context) {
    const { hooks, node, settings, world } = context;
    const { clock, log } = world;
    const { topology } = context.requires;
    const { consensus, failover, membership } = context.uses;
    /** The term in which everything below was seen. */
    let term: number | undefined;
    const wanting = new Map<ShardId, Wanting>();
    /** The replica that was moved last, until it is settled there. */
    let moved: { readonly node: NodeId; readonly shard: ShardId } | undefined;
    let isAsking = false;
    let moves = 0;

    const presenceOf = (id: NodeId): Presence => {
      if (id === node.id) return "there";
      const health = membership?.member(id);
      // One that has never started is nobody's member.
      if (health === undefined) return "gone";
      if (health.incarnation !== topology.node(id)?.incarnation) return "doubtful";
      if (health.state === "alive") return "there";
      return health.state === "suspect" ? "doubtful" : "gone";
    };
    const isBusy = (shard: ShardId): boolean =>
      failover?.reasons.has(shard) === true ||
      topology.map.migrations.some(({ source, target }) => source === shard || target === shard);
    const nameOf = (id: NodeId): string => topology.node(id)?.name || id;
    const wordsOf = ({ id, primary }: ShardRecord, need: Need): string =>
      need === "bare"
        ? `shard ${id} (primary ${nameOf(primary)}) has no replica that is there`
        : `all replicas of shard ${id} are on the host of its primary ${nameOf(primary)}`;

    /** The replica that moved is in sync, or will not be. */
    const isSettled = (): boolean => {
      if (moved === undefined) return true;
      const { node: id, shard: where } = moved;
      const shard = topology.map.shards.find((each) => each.id === where);
      const isMember = shard?.replicas.includes(id) === true;
      return !isMember || shard.inSync.includes(id) || presenceOf(id) === "gone";
    };
    const move = async ({ node: id, source, target }: ReplicaMove, need: Need, sinceMs: number): Promise<void> => {
      const seconds = ((clock.monotonicMs() - sinceMs) / 1000).toFixed(1);
      const replicas = source.inSync.length - 1;
      const cause = `replica migration: ${wordsOf(target, need)}, for ${seconds} s; shard ${source.id} has ${replicas} in sync, and ${nameOf(id)} moves`;
      log.info("replica migration: moves", { node: nameOf(id), from: source.id, to: target.id, cause });
      const outcome = await topology.request(
        {
          type: "add-replica",
          shard: target.id,
          shardVersion: target.version,
          node: id,
          decidedOn: { [source.id]: source.version },
        },
        cause,
      );
      // If nobody knows what became of it, it may have come about.
      if (outcome.type === "done" || outcome.type === "unknown") moved = { node: id, shard: target.id };
      if (outcome.type === "done") moves += 1;
      else log.warn("replica migration: not done", { shard: target.id, reason: outcome.reason });
    };

    const note = (shard: ShardRecord, { need, sinceMs }: Wanting, reason: string): void => {
      const before = wanting.get(shard.id);
      if (before?.reason !== reason) {
        log.warn("replica migration: waits", { shard: shard.id, reason: `${wordsOf(shard, need)}; ${reason}` });
      }
      wanting.set(shard.id, { need, sinceMs, reason });
    };
    const look = (): void => {
      const leading = consensus?.leadership?.term;
      if (leading === undefined || leading !== term) {
        // Whoever begins to lead knows nothing of how long anything has been so.
        term = leading;
        wanting.clear();
        moved = undefined;
      }
      if (leading === undefined || membership?.status.isTakingPart !== true || isAsking) return;
      const nowMs = clock.monotonicMs();
      const { map } = topology;
      const facts: MoveFacts = {
        nodes: new Map(map.nodes.map((each) => [each.id, each])),
        shards: map.shards,
        minInSync: Number(map.settings.get("min-in-sync") ?? 1),
        barrier: settings.barrier,
        presenceOf,
        isBusy,
      };
      const needy = new Set<ShardId>();
      const { move: found, stuck } = planMove(facts, ({ id }, need) => {
        const before = wanting.get(id);
        const since = before?.need === need ? before : { need, sinceMs: nowMs, reason: "" };
        wanting.set(id, since);
        needy.add(id);
        return nowMs - since.sinceMs >= settings.afterMs;
      });
      for (const id of wanting.keys()) if (!needy.has(id)) wanting.delete(id);
      // A cluster without replicas is meant to be one: there is nothing to be waited for.
      const hasReplicas = map.shards.some(({ replicas }) => replicas.length > 0);
      for (const { shard, need } of hasReplicas ? stuck : []) {
        const what = isBusy(shard.id) ? "its primary is being replaced, or its slots move" : whyNobody(need);
        const since = wanting.get(shard.id);
        if (since !== undefined) note(shard, since, what);
      }
      if (found === undefined) return;
      const since = wanting.get(found.target.id);
      if (since === undefined) return;
      if (map.settings.get("replica-migration") === "no") {
        note(found.target, since, 'the cluster setting "replica-migration" is "no"');
      } else if (isSettled()) {
        isAsking = true;
        move(found, found.need, since.sinceMs)
          .catch((thrown: unknown) => context.fault(thrown))
          .finally(() => {
            isAsking = false;
          });
      } else {
        note(
          found.target,
          since,
          `${nameOf(moved?.node ?? "")}, which moved to shard ${moved?.shard ?? ""}, is not in sync yet`,
        );
      }
    };
    const whyNobody = (need: Need): string => {
      const keeps = settings.barrier === 1 ? "one" : settings.barrier;
      const spare = `no other shard has a replica in sync to spare: each keeps ${keeps}, and what min-in-sync wants`;
      return need === "bare" ? spare : `${spare}, and a replica on another host than its primary's`;
    };

    context.on(hooks.start, () => {
      if (consensus !== undefined) context.every(LOOK_MS, look);
    });
    context.parameter({ name: "cluster-migration-barrier", get: () => String(settings.barrier) });
    context.parameter({
      name: "cluster-allow-replica-migration",
      get: () => topology.map.settings.get("replica-migration") ?? "yes",
    });
    context.on(hooks.info, () => ({
      section: "replica-migration",
      fields: {
        replica_migrations: moves,
        replica_migration_moving: isSettled() ? "" : (moved?.node ?? ""),
        ...Object.fromEntries(
          [...wanting].flatMap(([id, { reason }]) => (reason === "" ? [] : [[`shard_${id}`, reason] as const])),
        ),
      },
    }));
  },
});
