/** What nodes say of their cluster's health, read from their replies and put together: the same for `bunch health` and for REST. */
import { pairsOf, textOf } from "../codec/reply-fields.ts";
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { Health, HealthCheck, HealthCheckName, HealthState } from "../contracts/health.ts";
import { STATES, worstOf } from "../protocol/health/types.ts";

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
  /** The node whose words they are: its name, and its id. */
  readonly from: string;
  readonly fromId: string;
  /** How many more nodes tell the same state. */
  readonly others: number;
}

/** What nodes are asked. */
export const HEALTH_COMMAND = ["CLUSTER", "HEALTH"] as const;

/** The worst of what is told; a node that is not heard is worth a warning. */
export function stateOf({ told, silent }: ClusterHealth): HealthState {
  return worstOf([...told.map(({ state }) => state), ...(silent.length > 0 ? (["warn"] as const) : [])]);
}

/** What people call a node: without a name, by the beginning of its id. */
export function shortName(name: string, id: string): string {
  return name === "" ? id.slice(0, 8) : name;
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
        .map((check): HealthLine => ({
          check,
          from: shortName(node.nodeName, node.nodeId),
          fromId: node.nodeId,
          others: 0,
        })),
    );
    const worst = words.reduce<HealthLine | undefined>(
      (found, each) => (found === undefined || rank(each.check) > rank(found.check) ? each : found),
      undefined,
    );
    if (worst === undefined) return [];
    const bad = words.filter(({ check }) => check.state !== "ok");
    if (worst.check.scope === "node" && bad.length > 0)
      return bad.toSorted((one, other) => rank(other.check) - rank(one.check));
    const same = words.filter(({ check }) => check.state === worst.check.state);
    return [{ ...worst, check: together(same, worst.check), others: same.length - 1 }];
  });
}

/** A check that several nodes tell alike: what one of them has found of itself is not so of the others, and is not told as theirs. */
function together(same: readonly HealthLine[], check: HealthCheck): HealthCheck {
  const isOfEach = check.scope === "node" && same.some((line) => line.check.summary !== check.summary);
  return isOfEach ? { ...check, summary: check.meaning, values: {} } : check;
}

function rank({ state }: HealthCheck): number {
  return STATES.indexOf(state);
}

/** Reads the reply to HEALTH_COMMAND, in RESP2. @returns `undefined` if it makes no sense. */
export function readHealth(reply: ReplyValue): NodeHealth | undefined {
  const fields = pairsOf(reply);
  const checks = fields.get("checks");
  if (!Array.isArray(checks)) return undefined;
  return {
    state: readState(fields.get("state")),
    nodeId: textOf(fields.get("node-id")),
    nodeName: textOf(fields.get("node-name")),
    isLeader: fields.get("is-leader") === 1,
    leader: textOf(fields.get("leader-id")) || undefined,
    checkedAtMs: momentOf(fields.get("checked-at")),
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
    sinceMs: momentOf(fields.get("since")),
    summary: text("summary"),
    meaning: text("meaning"),
    advice: text("advice"),
    values: Object.fromEntries([...pairsOf(fields.get("values"))].map(([name, value]) => [name, readValue(value)])),
  };
}

function momentOf(value: ReplyValue | undefined): number {
  return typeof value === "number" && Number.isSafeInteger(value) ? value : 0;
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
