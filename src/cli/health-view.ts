/** What nodes say of their cluster's health, read from their replies and put together. */
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { Health, HealthCheck, HealthCheckName, HealthState } from "../contracts/health.ts";
import type { ClusterMap } from "../contracts/topology.ts";
import { StartError, messageOf } from "../errors.ts";
import { STATES, worstOf } from "../protocol/health/types.ts";
import { pairsOf, textOf } from "../codec/reply-fields.ts";
import type { ClusterAccess } from "./cluster-access.ts";

/** One node's word. */
export type NodeHealth = Pick<Health, "state" | "checks" | "checkedAtMs"> & Health["view"];

/** What the asked nodes say. */
export interface ClusterHealth {
  readonly told: readonly NodeHealth[];
  /** Those that could not be asked, and why. */
  readonly silent: readonly { readonly nodeId: string; readonly nodeName: string; readonly reason: string }[];
}

/** A line of what is told: a check, and whose word it is. */
export interface HealthLine {
  readonly check: HealthCheck;
  /** The name of the node whose words they are. */
  readonly from: string;
  /** How many more nodes tell the same state. */
  readonly others: number;
}

const COMMAND = ["CLUSTER", "HEALTH"] as const;

/**
 * Asks a node, and by its map all others.
 *
 * @param isOne Only the node that was named.
 * @throws {StartError} If that one does not answer.
 */
export async function askHealth(access: ClusterAccess, isOne: boolean): Promise<ClusterHealth> {
  const first = readHealth(await access.ask(...COMMAND), access.address);
  if (isOne) return { told: [first], silent: [] };
  const map: ClusterMap = await access.map();
  const others = map.nodes.filter(({ id }) => id !== first.nodeId);
  const answers = await Promise.all(
    others.map(async ({ id, name }) => {
      try {
        return readHealth(await access.askAt(map, id, ...COMMAND), name || id);
      } catch (thrown) {
        return { nodeId: id, nodeName: name, reason: messageOf(thrown) };
      }
    }),
  );
  return {
    told: [first, ...answers.filter((each): each is NodeHealth => "checks" in each)],
    silent: answers.filter((each): each is ClusterHealth["silent"][number] => "reason" in each),
  };
}

/** The worst of what is told; a node that is not heard is worth a warning. */
export function stateOf({ told, silent }: ClusterHealth): HealthState {
  return worstOf([...told.map(({ state }) => state), ...(silent.length > 0 ? (["warn"] as const) : [])]);
}

/**
 * One line for each check on the cluster, by the node that sees the worst, the leader if it is among those; of checks on nodes one for each that is not well, or one
 * for all of them.
 */
export function linesOf({ told }: ClusterHealth): readonly HealthLine[] {
  // The leader sees the most.
  const ordered = told.toSorted((one, other) => Number(other.isLeader) - Number(one.isLeader));
  const names = new Set<HealthCheckName>(ordered.flatMap(({ checks }) => checks.map(({ name }) => name)));
  return [...names].flatMap((name) => {
    const words = ordered.flatMap((node) =>
      node.checks
        .filter((check) => check.name === name)
        .map((check): HealthLine => ({ check, from: node.nodeName || node.nodeId, others: 0 })),
    );
    const worst = words.reduce<HealthLine | undefined>(
      (found, each) => (found === undefined || rank(each.check) > rank(found.check) ? each : found),
      undefined,
    );
    if (worst === undefined) return [];
    const bad = words.filter(({ check }) => check.state !== "ok");
    if (worst.check.scope === "node" && bad.length > 0)
      return bad.toSorted((one, other) => rank(other.check) - rank(one.check));
    return [{ ...worst, others: words.filter(({ check }) => check.state === worst.check.state).length - 1 }];
  });
}

function rank({ state }: HealthCheck): number {
  return STATES.indexOf(state);
}

/** The reply to CLUSTER HEALTH, in RESP2. */
function readHealth(reply: ReplyValue, who: string): NodeHealth {
  const fields = pairsOf(reply);
  const checks = fields.get("checks");
  if (!Array.isArray(checks)) throw new StartError(`The node at ${who} tells nothing of its health that makes sense.`);
  return {
    state: readState(fields.get("state")),
    nodeId: textOf(fields.get("node-id")),
    nodeName: textOf(fields.get("node-name")),
    isLeader: fields.get("is-leader") === 1,
    leader: textOf(fields.get("leader-id")) || undefined,
    checkedAtMs: Number(fields.get("checked-at") ?? 0),
    checks: (checks as readonly ReplyValue[]).map(readCheck),
  };
}

function readCheck(reply: ReplyValue): HealthCheck {
  const fields = pairsOf(reply);
  const text = (name: string): string => textOf(fields.get(name));
  return {
    // A node of another version may have others: they are shown like the rest.
    name: text("name") as HealthCheckName,
    scope: text("scope") === "node" ? "node" : "cluster",
    state: readState(fields.get("state")),
    sinceMs: Number(fields.get("since") ?? 0),
    summary: text("summary"),
    meaning: text("meaning"),
    advice: text("advice"),
    values: Object.fromEntries([...pairsOf(fields.get("values"))].map(([name, value]) => [name, readValue(value)])),
  };
}

/** Numbers with a fraction are text in RESP2. */
function readValue(value: ReplyValue): number | string {
  if (typeof value === "number") return value;
  const text = textOf(value);
  return /^-?[0-9]+\.[0-9]+$/.test(text) ? Number(text) : text;
}

function readState(value: ReplyValue | undefined): HealthState {
  const text = textOf(value);
  return STATES.find((state) => state === text) ?? "critical";
}
