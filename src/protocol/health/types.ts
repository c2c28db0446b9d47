/** What health is judged by: facts as a node has gathered them, thresholds, and what came of it. Times are in milliseconds, sizes in bytes. */
import type { HealthCheckName, HealthState } from "../../contracts/health.ts";
import type { SlotRange } from "../../contracts/topology.ts";

/** This node's own part. */
export interface NodeFacts {
  /** What keeps it from serving, in words. */
  readonly waitingFor: string | undefined;
  /** It is a primary, and may not serve: why. */
  readonly leaseProblem: string | undefined;
}

export interface QuorumFacts {
  /** By name. */
  readonly leader: string | undefined;
  readonly voters: readonly {
    readonly name: string;
    /** `undefined`: nobody here can tell. */
    readonly isAnswering: boolean | undefined;
  }[];
  /** Nodes of the map. */
  readonly nodeCount: number;
}

/** A shard that owns slots and is not served, and who is left of it. */
export interface UnservedShard {
  readonly id: string;
  readonly slots: readonly SlotRange[];
  /** Why, in words. */
  readonly reason: string;
  readonly primary: { readonly id: string; readonly name: string };
  /** Its primary does not answer; has started again without what the shard held; has never started; is there, and may not serve. */
  readonly trouble: "gone" | "empty" | "new" | "lease";
  /** Its replicas. Holders have every acknowledged write, as the map says. */
  readonly others: readonly {
    readonly id: string;
    readonly name: string;
    readonly isHolder: boolean;
    readonly isThere: boolean;
  }[];
}

/** Slots that nobody serves. */
export interface SlotFacts {
  /** Nobody's. */
  readonly free: readonly SlotRange[];
  readonly unserved: readonly UnservedShard[];
  /** Those that wait until who had them has said that it knows. */
  readonly released: readonly { readonly slots: readonly SlotRange[]; readonly node: string; readonly id: string }[];
  /** A majority of the voters agrees: the map can change. */
  readonly canChange: boolean;
  /** A primary that is there, and serves: slots can be given to it. */
  readonly helper: { readonly name: string; readonly host: string; readonly port: number } | undefined;
}

export interface ReplicaFacts {
  /** How many replicas each shard is to have, beside those that the map lists for it. */
  readonly wanted: number;
  /** The cluster setting `min-in-sync`: a primary with fewer copies, itself included, refuses writes. */
  readonly minInSync: number;
  /** Those with slots. */
  readonly shards: readonly {
    /** By its primary's name. */
    readonly name: string;
    readonly replicas: readonly {
      readonly name: string;
      readonly isInSync: boolean;
      readonly isThere: boolean;
    }[];
    /** Members that hold every acknowledged write, the primary included. */
    readonly inSyncCount: number;
  }[];
}

export interface MemberFacts {
  readonly total: number;
  /** Those that are not there. `unknown`: nothing was ever heard of it. */
  readonly missing: readonly {
    readonly name: string;
    readonly state: "suspect" | "down" | "left" | "unknown";
    readonly reason: string;
  }[];
}

/** How far copies of this node's shard are behind. */
export interface LagFacts {
  /** Why this node, a replica, does not follow its primary. */
  readonly waitingFor: string | undefined;
  /** This primary's replicas. */
  readonly replicas: readonly {
    readonly name: string;
    readonly state: "absent" | "filling" | "following";
    /** Entries of the log that it lacks. */
    readonly entries: number;
    /** The age of the oldest of them. */
    readonly behindMs: number;
  }[];
}

export interface ClockFacts {
  /** How far the wall clock of each node is ahead of the leader's, and how wrong that may be at most. */
  readonly nodes: readonly { readonly name: string; readonly aheadMs: number; readonly errorMs: number }[];
}

export interface MapFacts {
  readonly version: number;
  /** Of any member. */
  readonly newestVersion: number;
  /** For how long this node has been behind without getting on; 0: it is not. */
  readonly behindMs: number;
}

/** Moves that this node is the source of. */
export interface MigrationFacts {
  readonly tasks: readonly {
    readonly id: string;
    /** In words: which slots, from where to where. */
    readonly what: string;
    readonly isPaused: boolean;
    readonly isFenced: boolean;
    readonly waitingFor: string | undefined;
    /** For how long nothing about it has changed. */
    readonly stillMs: number;
  }[];
  /** Slots that are moved key by key. */
  readonly openSlots: readonly { readonly slot: number; readonly stillMs: number }[];
}

export interface BalanceFacts {
  /** Shards whose primaries have told of themselves lately. */
  readonly shards: readonly {
    readonly name: string;
    /** The part of its primary's time that commands take, 0 to 1. */
    readonly busy: number;
    readonly bytes: number;
    /** The slot that takes the most of that time, and what part of it. */
    readonly hottestSlot: number;
    readonly hottestPart: number;
  }[];
}

export interface LoopFacts {
  /** The longest stop of this node's event loop not long ago. */
  readonly lagMs: number;
}

export interface MemoryFacts {
  /** Keys, values and tables. */
  readonly usedBytes: number;
  /** `maxmemory`; 0: none. */
  readonly limitBytes: number;
  /** What is over the limit is evicted: a store that is full is as it should be. */
  readonly isEvicting: boolean;
  /** The process. */
  readonly residentBytes: number;
  /** The machine; 0: not known. */
  readonly machineBytes: number;
}

export interface DiskFacts {
  /** Where the data directory is. */
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** What a node knows at a moment. What is absent is not judged. */
export interface HealthFacts {
  readonly node?: NodeFacts | undefined;
  readonly quorum?: QuorumFacts | undefined;
  readonly slots?: SlotFacts | undefined;
  readonly replicas?: ReplicaFacts | undefined;
  readonly members?: MemberFacts | undefined;
  readonly lag?: LagFacts | undefined;
  readonly clocks?: ClockFacts | undefined;
  readonly "map-version"?: MapFacts | undefined;
  readonly migrations?: MigrationFacts | undefined;
  readonly balance?: BalanceFacts | undefined;
  readonly "loop-lag"?: LoopFacts | undefined;
  readonly memory?: MemoryFacts | undefined;
  readonly disk?: DiskFacts | undefined;
}

/** From where on something is not well. Each is reached by a value that is equal to it. */
export interface HealthThresholds {
  readonly lagWarnMs: number;
  readonly lagCriticalMs: number;
  readonly clockWarnMs: number;
  readonly clockCriticalMs: number;
  readonly loopLagWarnMs: number;
  readonly loopLagCriticalMs: number;
  /** Of `maxmemory` (where nothing is evicted), and of the machine's memory. */
  readonly memoryWarnPercent: number;
  readonly memoryCriticalPercent: number;
  /** Reached by fewer free bytes. */
  readonly diskWarnBytes: number;
  readonly diskCriticalBytes: number;
  readonly mapBehindWarnMs: number;
  readonly mapBehindCriticalMs: number;
  readonly stuckWarnMs: number;
  readonly stuckCriticalMs: number;
  /** How many times its fair part of the load, or of the bytes, a shard has. */
  readonly skewWarnFactor: number;
}

/** What one look has found. */
export interface Finding {
  readonly name: HealthCheckName;
  readonly state: HealthState;
  readonly summary: string;
  /** What to do, where that depends on what was found; else as the catalog has it. */
  readonly advice?: string;
  readonly values: Readonly<Record<string, number | string>>;
}

/** The worse of two states is the later one. */
export const STATES = ["ok", "warn", "critical"] as const satisfies readonly HealthState[];

/** The worst of some states. */
export function worstOf(states: readonly HealthState[]): HealthState {
  return states.includes("critical") ? "critical" : states.includes("warn") ? "warn" : "ok";
}
