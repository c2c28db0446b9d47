/** Health: what is right and wrong with the cluster and with this node, as this node sees it, and what to do. Provided by the plugin `health`. */
import { service } from "../service.ts";

/** Warn: it works, and would not with one more failure, or not much longer. Critical: something does not work. */
export type HealthState = "ok" | "warn" | "critical";

/** What is looked at, in the order in which it is told. */
export type HealthCheckName =
  | "quorum"
  | "node"
  | "slots"
  | "replicas"
  | "members"
  | "lag"
  | "clocks"
  | "map-version"
  | "migrations"
  | "balance"
  | "loop-lag"
  | "memory"
  | "disk";

/** One check. A check whose facts nobody brings is not there: its plugin is off, or this node does not take part. */
export interface HealthCheck {
  readonly name: HealthCheckName;
  /** `cluster`: all nodes see the same, the leader of the map's log sees the most. `node`: it is about the node that tells it. */
  readonly scope: "cluster" | "node";
  readonly state: HealthState;
  /** Wall time in milliseconds since 1970 since which it is so, by this node's clock. */
  readonly sinceMs: number;
  /** What is so at this moment, in one sentence or some. */
  readonly summary: string;
  /** What that means. */
  readonly meaning: string;
  /** What to do; empty where all is well. */
  readonly advice: string;
  /** What it was judged by. Times in milliseconds, sizes in bytes, as the names say. */
  readonly values: Readonly<Record<string, number | string>>;
}

/** What the hook `healthChanged` tells. */
export interface HealthChange {
  /** As it is from here on. Of a check that is there no more: `ok`, and the summary says so. */
  readonly check: HealthCheck;
  readonly previous: HealthState;
}

export interface Health {
  /** The worst of all checks. */
  readonly state: HealthState;
  /** As they were judged the last time, at most a second or so ago. */
  readonly checks: readonly HealthCheck[];
  /** When that was: wall time in milliseconds since 1970. */
  readonly checkedAtMs: number;
  /** Whose view it is. */
  readonly view: {
    readonly nodeId: string;
    readonly nodeName: string;
    /** This node leads the map's log. */
    readonly isLeader: boolean;
    /** The leader's node id, if one is known. */
    readonly leader: string | undefined;
  };
}

export const healthService = service<Health>("health");
