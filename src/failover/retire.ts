/**
 * What a primary does before it stops: it has a replica take over. Nodes hold data in memory, so that a primary which just goes takes with it whatever no other member
 * has yet. The scenario: of two members of a shard one is started anew, and then the other; the first one was not filled yet.
 */
import { within } from "../consensus/within.ts";
import type { ReplicaHealth } from "../contracts/replication.ts";
import type { NodeId } from "../contracts/topology.ts";
import type { Clock } from "../world.ts";

export interface RetireHost {
  readonly clock: Clock;
  isPrimary(): boolean;
  replicas(): readonly ReplicaHealth[];
  /** Whether a node is there, as far as this one knows. */
  isAlive(node: NodeId): boolean;
  /** Asks for a planned failover. @returns Why it is not begun; `undefined` if it is. */
  handOver(to: NodeId): Promise<string | undefined>;
  /** How long one may take that was begun. */
  readonly handOverMs: number;
  /** How long a replica is waited for that could take over before long. */
  readonly retireMs: number;
  /** Nobody can take over yet. Called once. */
  waits(reason: string): void;
}

/** How often it looks whether somebody has taken over, in milliseconds. */
const STEP_MS = 5;
/** How often it looks whether somebody could, in milliseconds. */
const LOOK_MS = 50;

/**
 * Has the best of a primary's replicas take over. Where none is in sync, those that follow or are filled are waited for.
 *
 * @returns Why nobody has; empty if somebody has.
 */
export async function retire(host: RetireHost): Promise<string> {
  const { clock, retireMs, handOverMs } = host;
  const endAtMs = clock.monotonicMs() + retireMs;
  let hasTold = false;
  // The first attempt has all the time that it needs, the others what is left: whoever stops processes does not wait longer.
  for (let limitMs = handOverMs; ; limitMs = Math.min(handOverMs, endAtMs - clock.monotonicMs())) {
    const replicas = host.replicas();
    const [heir] = replicas
      .filter(({ isInSync, state }) => isInSync && state === "following")
      .toSorted((one, other) => one.lag - other.lag);
    let reason = "no replica is in sync";
    if (heir !== undefined) {
      const problem = await host.handOver(heir.nodeId);
      if (problem === undefined) await within(clock, limitMs, STEP_MS, () => !host.isPrimary());
      reason = problem ?? "nobody has taken over in time";
    }
    if (!host.isPrimary()) return "";
    // One that has just started says its first word in a moment; one that stops, too, has said so.
    const mayCome = replicas.some(({ nodeId, state }) => state !== "absent" || host.isAlive(nodeId));
    if (!mayCome || clock.monotonicMs() >= endAtMs) return reason;
    if (!hasTold) host.waits(reason);
    hasTold = true;
    await within(clock, LOOK_MS, LOOK_MS, () => !host.isPrimary());
  }
}
