/**
 * What each check is about: its words for people, and how long something must be so before it is said.
 *
 * Words are for somebody who has never seen this program: what is so for clients, and the command that helps. `docs/health.md` has them as a table, and a test holds
 * it against this file.
 */
import type { HealthCheck, HealthCheckName, HealthState } from "../../contracts/health.ts";
import { BALANCE_LEAST_BUSY, BALANCE_LEAST_BYTES } from "./limits.ts";
import type { Finding } from "./types.ts";

/** What people are told where a check is not well. */
interface Words {
  readonly meaning: string;
  readonly advice: string;
}

export interface CheckAbout {
  readonly scope: "cluster" | "node";
  /** What all is well means. */
  readonly ok: string;
  readonly warn: Words | undefined;
  readonly critical: Words | undefined;
  /** When it is warn, and critical, in words; settings by their names. */
  readonly warnWhen: string;
  readonly criticalWhen: string;
  /** A state that is worse is told once it was so for this long, in milliseconds: what mends itself sooner is nobody's worry. */
  readonly raiseMs: number;
  /** One that is better is told no sooner than this. Default: the setting `clearMs`, which is also the least. */
  readonly clearMs?: number;
}

/** A failover, an election and a start take some 1.5 s each, and are as they should be. */
const SETTLE_MS = 3000;
/** A replica that comes back is filled first. */
const REPLICA_MS = 5000;
/** Loads are averages over about a minute. */
const BALANCE_MS = 60_000;
/** A stop that comes twice in a minute is one piece of news. */
const LOOP_CLEAR_MS = 60_000;

export const CHECKS: Readonly<Record<HealthCheckName, CheckAbout>> = {
  quorum: {
    scope: "cluster",
    ok: "A majority of the voters agrees on a leader: the cluster map can change, and lost primaries are replaced.",
    warn: {
      meaning: "The cluster works. One more voter that fails stops it: nobody would be replaced, and leases run out.",
      advice:
        "Start the voters that do not answer again, or wait: after raft.replaceAfterMs another node votes in their stead, if there is one. A cluster of three nodes or more has three voters or five (raft.maxVoters).",
    },
    critical: {
      meaning:
        "No majority of the voters agrees on a leader: nothing about the cluster can change, no primary is replaced, and primaries stop serving when their leases are over.",
      advice:
        "Start the voters that do not answer, and look at the network between them (bus ports). If a majority is lost for good: bunch recover --from DATA-DIR makes a new cluster of a survivor (docs/recovery.md).",
    },
    warnWhen:
      "one more voter that fails would stop it, and there is more than one; or fewer than three vote of three nodes or more",
    criticalWhen: "no leader is heard, or fewer than a majority of the voters answer",
    raiseMs: SETTLE_MS,
  },
  node: {
    scope: "node",
    ok: "This node takes part, and serves what is its own.",
    warn: undefined,
    critical: {
      meaning: "This node serves no keys: clients are sent away with an error, or wait.",
      advice:
        "See what it waits for. If it waits for a cluster: start the nodes of --join, or CLUSTER MEET it. If it has no lease: see the checks quorum and members, and whether this node reaches the leader's bus port.",
    },
    warnWhen: "",
    criticalWhen: "it waits for something before it serves, or it is a primary without a lease",
    raiseMs: SETTLE_MS,
  },
  slots: {
    scope: "cluster",
    ok: "Each of the 16384 slots has a primary that serves it.",
    warn: undefined,
    critical: {
      meaning: "Keys in these slots are served by nobody: clients get CLUSTERDOWN, or wait.",
      advice:
        "The check names the commands for the case at hand. A primary that is gone and may still run: get it back. Else a replica in sync takes over by itself. Where none is left: CLUSTER ACCEPT-LOSS goes on with what others hold; or the primary is started again as it was, empty; or its slots are given up and given to another (CLUSTER DELSLOTSRANGE, FORGET, ADDSLOTSRANGE). Slots that are nobody's: CLUSTER ADDSLOTSRANGE. See docs/recovery.md.",
    },
    warnWhen: "",
    criticalWhen: "a slot is nobody's, its primary cannot serve it, or it waits for the word of who had it",
    raiseMs: SETTLE_MS,
  },
  replicas: {
    scope: "cluster",
    ok: "Each shard has as many copies as it is to have.",
    warn: {
      meaning:
        "These shards have fewer copies than they are to have: if their primaries fail too, their keys may not be served, or be lost.",
      advice:
        "Start the replicas that are gone, or wait until they are filled. For more: bunch node --join ... --replica-of auto, or CLUSTER REPLICATE on a node without slots.",
    },
    critical: {
      meaning:
        "These shards refuse writes (NOREPLICAS): they have fewer copies than the cluster setting min-in-sync wants.",
      advice: "Start their replicas, add some (--replica-of auto), or lower the demand: CLUSTER SETTING min-in-sync 1.",
    },
    warnWhen:
      "a shard has fewer replicas that are there and in sync than the map lists, or than the setting `replicas` wants",
    criticalWhen: "a shard has fewer members in sync than `min-in-sync`",
    raiseMs: REPLICA_MS,
  },
  members: {
    scope: "cluster",
    ok: "All nodes of the map are there.",
    warn: {
      meaning: "These nodes do not answer: they have stopped, hang, or the network to them is cut.",
      advice:
        "Look at their processes and logs, and at the network (bus ports, TCP and UDP); start them again. One that does not come back: CLUSTER FORGET takes it out of the map, or discovery.forgetAfterMs does.",
    },
    critical: {
      meaning: "Half of the nodes or more do not answer: it may be this node that is cut off from the others.",
      advice:
        "Look at this node's own network first, and ask another node: bunch health --node. Then as for single nodes: start them again, or take them out (CLUSTER FORGET).",
    },
    warnWhen: "a node is suspected, down, has left, or was never heard",
    criticalWhen: "half of the nodes or more are down, or were never heard",
    raiseMs: SETTLE_MS,
  },
  lag: {
    scope: "node",
    ok: "The copies of this node's shard are level, or nearly.",
    warn: {
      meaning: "A replica is behind its primary: it is not in sync, and is not promoted if the primary fails.",
      advice:
        "Look at its check loop-lag and at the network between the two. One that is being filled gets there by itself. If writes are more than it can take, move slots to other shards (bunch plan rebalance --by load).",
    },
    critical: {
      meaning: "A replica has been far behind its primary for long: the shard has one copy less than it seems to.",
      advice:
        "Look at its log and at the network between the two; start it again: it goes on from where it was, or is filled anew.",
    },
    warnWhen:
      "a replica lacks something that its primary has had for `lagWarnMs`; or this replica does not follow its primary",
    criticalWhen: "the same for `lagCriticalMs`, and it is not being filled",
    raiseMs: 2000,
  },
  clocks: {
    scope: "cluster",
    ok: "The nodes' wall clocks agree: keys expire when they should, whoever is primary.",
    warn: {
      meaning: "Wall clocks are apart: after a failover keys expire earlier or later by as much.",
      advice: "Have a time service (chrony, systemd-timesyncd, ntpd) set the clock of the machines that are named.",
    },
    critical: {
      meaning: "Wall clocks are far apart: after a failover keys that are to expire go at once, or stay.",
      advice:
        "Have a time service set the clocks of the machines that are named before their nodes become primaries. Leases do not depend on it: they count on how fast clocks run, not on what they show.",
    },
    warnWhen: "a node's clock is `clockWarnMs` or more from the leader's, beyond what the measurement may be wrong",
    criticalWhen: "the same with `clockCriticalMs`",
    raiseMs: 0,
  },
  "map-version": {
    scope: "node",
    ok: "This node has the newest cluster map that it knows of.",
    warn: {
      meaning: "Others have a newer cluster map than this node: it may send clients where slots were before.",
      advice:
        "It asks others for the map by itself. If that does not help: look at the network between it and the leader.",
    },
    critical: {
      meaning:
        "This node has had an old cluster map for long: it serves nothing that it lost, and sends clients to wrong nodes.",
      advice: "Look at its log and at the network between it and the others (bus ports); start it again.",
    },
    warnWhen: "it has known of a newer map for `mapBehindWarnMs`, and got none",
    criticalWhen: "the same for `mapBehindCriticalMs`",
    raiseMs: 0,
  },
  migrations: {
    scope: "node",
    ok: "Moves of slots away from this node get on, or there are none.",
    warn: {
      meaning: "A move of slots does not get on. Its keys are served where they were.",
      advice:
        "bunch migrations says what it waits for. bunch cancel ID ends it, and the slots stay; bunch resume ID has one go on that is paused. Slots that are moved key by key (redis-cli reshard that was stopped): redis-cli --cluster fix.",
    },
    critical: {
      meaning:
        "A move of slots has stood still for long, or keeps clients waiting: commands on slots that are fenced are held.",
      advice: "bunch cancel ID ends it, and the slots stay where they were. Then see the checks members and quorum.",
    },
    warnWhen:
      "nothing about a move has changed for `stuckWarnMs`, or it is paused for so long, or a slot is open so long for keys that move one by one",
    criticalWhen:
      "nothing has changed for `stuckCriticalMs` and it is not paused; or commands are held for `stuckWarnMs`",
    raiseMs: 0,
  },
  balance: {
    scope: "cluster",
    ok: "No shard has much more to do, or to hold, than its part.",
    warn: {
      meaning:
        "A shard has far more to do, or to hold, than the others: it is the first to be slow, or to run out of memory.",
      advice:
        "bunch plan rebalance --by load (or --by bytes) says which slots to move, and bunch apply moves them. One slot that takes most of it cannot be shared: it is a key, or a hash tag, that everybody uses.",
    },
    critical: undefined,
    warnWhen: `a shard has \`skewWarnFactor\` times its fair part of the load, and its primary is busy for ${100 * BALANCE_LEAST_BUSY} % of the time or more; or of the bytes, with ${BALANCE_LEAST_BYTES / 1024 ** 2} MiB or more`,
    criticalWhen: "",
    raiseMs: BALANCE_MS,
  },
  "loop-lag": {
    scope: "node",
    ok: "The event loop does not stand still: commands and leases are not kept waiting.",
    warn: {
      meaning: "This node stood still for a moment: its clients waited for so long.",
      advice:
        "SLOWLOG GET shows commands that took long. Else look for too little processor time (other processes, limits of containers) and for swapping.",
    },
    critical: {
      meaning: "This node stood still for as long as a lease lasts, or nearly: it may lose its shard to a replica.",
      advice:
        "Give the node processor time (other processes, limits of containers), keep its machine from swapping, and look at SLOWLOG GET. Longer leases (failover.leaseMs) forgive longer stops.",
    },
    warnWhen: "the event loop stood still for `loopLagWarnMs`",
    criticalWhen: "the same with `loopLagCriticalMs`",
    raiseMs: 0,
    clearMs: LOOP_CLEAR_MS,
  },
  memory: {
    scope: "node",
    ok: "There is memory left.",
    warn: {
      meaning: "Memory runs low: writes will be refused (maxmemory), or the machine ends the process.",
      advice:
        "Move slots to other shards (bunch plan rebalance --by bytes), raise eviction.maxMemory if the machine has more, or have keys evicted (eviction.policy) or expire.",
    },
    critical: {
      meaning: "Memory is nearly used up: writes are refused any moment (OOM), or the machine ends the process.",
      advice:
        "At once: delete keys, or raise maxmemory (CONFIG SET maxmemory) if the machine has more, or evict (CONFIG SET maxmemory-policy allkeys-lru). Then move slots to other shards (bunch plan rebalance --by bytes).",
    },
    warnWhen:
      "`memoryWarnPercent` of maxmemory are used and nothing is evicted, or of the machine's memory by this process",
    criticalWhen: "the same with `memoryCriticalPercent`",
    raiseMs: REPLICA_MS,
  },
  disk: {
    scope: "node",
    ok: "There is room in the data directory.",
    warn: {
      meaning: "The disk of the data directory fills up. The cluster map's log needs some megabytes of it.",
      advice: "Make room on that disk, or move the data directory of the node, once it is stopped, to another.",
    },
    critical: {
      meaning: "The disk of the data directory is nearly full: a node that cannot write its log stops.",
      advice: "Make room at once. A node that stopped for this starts again when there is room.",
    },
    warnWhen: "fewer than `diskWarnBytes` are free",
    criticalWhen: "fewer than `diskCriticalBytes` are free",
    raiseMs: 0,
  },
};

/** All checks, in the order in which they are told: without a majority no primary has a lease, and what follows from that comes after it. */
export const CHECK_NAMES = Object.keys(CHECKS) as readonly HealthCheckName[];

/**
 * What is told of a check that is better than its state, for as long as it keeps that: what is so, and what was.
 *
 * @param was What was found last that was as the state says.
 * @param betterMs For how long it has been better, in milliseconds.
 */
export function wordsOfBetter(
  name: HealthCheckName,
  was: Finding,
  is: Finding,
  betterMs: number,
): Pick<HealthCheck, "summary" | "meaning" | "advice" | "values"> {
  const summary = `${is.summary} A moment ago: ${was.summary}`;
  if (is.state !== "ok") {
    const { meaning, advice } = wordsOf(name, is.state);
    return { summary, meaning, advice: is.advice ?? advice, values: is.values };
  }
  // What comes in single moments is not over with each of them.
  if (CHECKS[name].clearMs !== undefined) return { summary, ...wordsOf(name, was.state), values: was.values };
  return {
    summary,
    meaning: "This is well again, and is told as it was until that has lasted for a while.",
    advice: "Wait a few seconds: if it stays so, there is nothing to do.",
    values: { ...is.values, "well-ms": betterMs },
  };
}

/** What a state of a check means, and what to do, whatever was found. */
export function wordsOf(name: HealthCheckName, state: HealthState): Words {
  const about = CHECKS[name];
  const words = state === "ok" ? undefined : about[state];
  return words ?? { meaning: about.ok, advice: "" };
}
