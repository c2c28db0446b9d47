/** The checks about the cluster: facts and thresholds in, a finding out. Pure; each is judged by this moment alone. */
import { majorityOf } from "../raft/quorum.ts";
import { BALANCE_LEAST_BUSY, BALANCE_LEAST_BYTES } from "./limits.ts";
import { adviceOnSlots } from "./slot-advice.ts";
import type {
  BalanceFacts,
  ClockFacts,
  Finding,
  HealthThresholds,
  MemberFacts,
  MigrationFacts,
  QuorumFacts,
  ReplicaFacts,
  SlotFacts,
} from "./types.ts";
import { countSlots, counted, listed, rangesOf, size, time } from "./words.ts";

/** Fewer voters than this do not go on without one of them. */
const SMALLEST_SAFE = 3;

/** Whether a majority agrees, and how many more failures it takes until none does. */
export function checkQuorum({ leader, voters, nodeCount }: QuorumFacts): Finding {
  const silent = voters.filter(({ isAnswering }) => isAnswering === false).map(({ name }) => name);
  const answering = voters.length - silent.length;
  const majority = majorityOf(voters.length);
  const margin = answering - majority;
  const values = {
    leader: leader ?? "",
    voters: voters.length,
    answering,
    majority,
    // Of voters: the last of them is the one that stops it.
    "failures-to-loss": leader === undefined ? 0 : Math.max(0, margin + 1),
  };
  const gone = silent.length === 0 ? "" : `; ${listed(silent)} ${silent.length === 1 ? "does" : "do"} not answer`;
  const voices = `${answering} of ${counted(voters.length, "voter")} answer${answering === 1 ? "s" : ""}${gone}`;
  if (leader === undefined || margin < 0) {
    const why = leader === undefined ? "No leader is heard" : `${leader} led last`;
    const known = voters.length === 0 ? "" : `; as far as this node knows ${voices}, and ${majority} must`;
    return { name: "quorum", state: "critical", summary: `${why}${known}.`, values };
  }
  const isThin = margin === 0 && voters.length > 1;
  const isSmall = voters.length < SMALLEST_SAFE && nodeCount >= SMALLEST_SAFE;
  const failures =
    voters.length === 1
      ? "if it fails, nothing can change until it is back"
      : `${counted(margin + 1, "more failure")} of voters would stop it`;
  return {
    name: "quorum",
    state: isThin || isSmall ? "warn" : "ok",
    summary: `${leader} leads, ${voices}: ${failures}${isSmall ? `; ${counted(nodeCount, "node")} could have three voters` : ""}.`,
    values,
  };
}

/** Whether each slot is served. */
export function checkSlots(facts: SlotFacts): Finding {
  const { free, unserved, released } = facts;
  const sum = (parts: readonly { readonly slots: SlotFacts["free"] }[]): number =>
    parts.reduce((total, { slots }) => total + countSlots(slots), 0);
  const values = { unassigned: countSlots(free), unserved: sum(unserved), waiting: sum(released) };
  const parts = [
    ...(values.unassigned === 0
      ? []
      : [`${counted(values.unassigned, "slot is", "slots are")} nobody's (${rangesOf(free)})`]),
    ...(unserved.length === 0
      ? []
      : [
          listed(
            unserved.map(({ slots, reason }) => `${rangesOf(slots)}: ${reason}`),
            "; ",
          ),
        ]),
    ...released.map(({ slots, node }) => `${rangesOf(slots)} wait until ${node} has said that it lost them`),
  ];
  if (parts.length === 0) return { name: "slots", state: "ok", summary: "All slots are served.", values };
  return { name: "slots", state: "critical", summary: `${parts.join("; ")}.`, advice: adviceOnSlots(facts), values };
}

/** Whether each shard has the copies that it is to have. */
export function checkReplicas({ wanted, minInSync, shards }: ReplicaFacts): Finding {
  const judged = shards.map(({ name, replicas, inSyncCount }) => {
    const well = replicas.filter(({ isInSync, isThere }) => isInSync && isThere).length;
    const bad = replicas
      .filter(({ isInSync, isThere }) => !isInSync || !isThere)
      .map((each) => `${each.name} ${each.isThere ? "is not in sync" : "is gone"}`);
    const least = Math.max(wanted, replicas.length);
    const why = bad.length === 0 ? "" : ` (${listed(bad)})`;
    return { name, well, least, why, refuses: inSyncCount < minInSync };
  });
  const refusing = judged.filter(({ refuses }) => refuses);
  const below = judged.filter(({ well, least }) => well < least);
  const values = {
    shards: shards.length,
    "shards-below": below.length,
    "shards-refusing-writes": refusing.length,
    "replicas-missing": below.reduce((sum, { well, least }) => sum + least - well, 0),
    "replicas-wanted": wanted,
  };
  const name = "replicas";
  if (refusing.length > 0) {
    const those = listed(
      refusing.map((each) => `${each.name}${each.why}`),
      "; ",
    );
    return {
      name,
      state: "critical",
      summary: `${counted(refusing.length, "shard has", "shards have")} fewer than ${minInSync} members in sync: ${those}.`,
      values,
    };
  }
  if (below.length > 0) {
    const those = listed(
      below.map((each) => `${each.name} has ${each.well} of ${each.least}${each.why}`),
      "; ",
    );
    return {
      name,
      state: "warn",
      summary: `${counted(below.length, "shard is", "shards are")} short of replicas: ${those}.`,
      values,
    };
  }
  const all = shards.reduce((total, { replicas }) => total + replicas.length, 0);
  const summary =
    all === 0
      ? `${counted(shards.length, "shard")} without replicas, as it is meant to be.`
      : `${counted(shards.length, "shard")}, ${counted(all, "replica")}, all in sync.`;
  return { name, state: "ok", summary, values };
}

/** Whether all nodes of the map are there. */
export function checkMembers({ total, missing }: MemberFacts): Finding {
  const count = (state: MemberFacts["missing"][number]["state"]): number =>
    missing.filter((each) => each.state === state).length;
  const values = {
    nodes: total,
    suspect: count("suspect"),
    down: count("down"),
    left: count("left"),
    unknown: count("unknown"),
  };
  const name = "members";
  if (missing.length === 0) {
    return { name, state: "ok", summary: `${counted(total, "node is", "nodes are")} there.`, values };
  }
  const isHalf = 2 * (values.down + values.unknown) >= total;
  const those = missing.map(
    (each) => `${each.name} ${WORDS[each.state]}${each.reason === "" ? "" : `: ${each.reason}`}`,
  );
  return {
    name,
    state: isHalf ? "critical" : "warn",
    summary: `${missing.length} of ${counted(total, "node")}: ${listed(those, "; ")}.`,
    values,
  };
}

const WORDS: Readonly<Record<MemberFacts["missing"][number]["state"], string>> = {
  suspect: "is suspected",
  down: "is down",
  left: "has stopped in order",
  unknown: "was never heard",
};

/** Whether wall clocks agree with the leader's. */
export function checkClocks(
  { nodes }: ClockFacts,
  { clockWarnMs, clockCriticalMs }: Pick<HealthThresholds, "clockWarnMs" | "clockCriticalMs">,
): Finding {
  // What may be the network's is not the clock's.
  const apart = nodes
    .map((each) => ({ ...each, sureMs: Math.max(0, Math.abs(each.aheadMs) - each.errorMs) }))
    .toSorted((one, other) => other.sureMs - one.sureMs);
  const [worst] = apart;
  const values = { nodes: nodes.length, "apart-ms": Math.round(worst?.sureMs ?? 0) };
  const off = apart.filter(({ sureMs }) => sureMs >= clockWarnMs);
  if (worst === undefined || off.length === 0) {
    const summary =
      worst === undefined
        ? "No clock was compared yet."
        : `${counted(nodes.length, "clock was", "clocks were")} compared with the leader's, at most ${time(worst.sureMs)} apart.`;
    return { name: "clocks", state: "ok", summary, values };
  }
  const those = off.map(
    ({ name, aheadMs }) => `${name} is ${time(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead" : "behind"}`,
  );
  return {
    name: "clocks",
    state: worst.sureMs >= clockCriticalMs ? "critical" : "warn",
    summary: `Compared with the leader's clock: ${listed(those)}.`,
    values,
  };
}

/** Whether moves of slots get on. */
export function checkMigrations(
  { tasks, openSlots }: MigrationFacts,
  { stuckWarnMs, stuckCriticalMs }: Pick<HealthThresholds, "stuckWarnMs" | "stuckCriticalMs">,
): Finding {
  const stuck = tasks.flatMap(({ id, what, isPaused, isFenced, waitingFor, stillMs }) => {
    if (stillMs < stuckWarnMs) return [];
    const isCritical = isFenced || (!isPaused && stillMs >= stuckCriticalMs);
    const how = isPaused
      ? `has been paused for ${time(stillMs)}`
      : isFenced
        ? `has held commands for ${time(stillMs)}`
        : `has not changed for ${time(stillMs)}`;
    const why = waitingFor === undefined || isPaused ? "" : `: it waits for ${waitingFor}`;
    return [{ isCritical, words: `task ${id} (${what}) ${how}${why}` }];
  });
  const open = openSlots.filter(({ stillMs }) => stillMs >= stuckWarnMs);
  const values = {
    tasks: tasks.length,
    stuck: stuck.length,
    "open-slots": openSlots.length,
    "stuck-slots": open.length,
  };
  const parts = [
    ...stuck.map(({ words }) => words),
    ...(open.length === 0
      ? []
      : [
          `${counted(open.length, "slot is", "slots are")} open for keys that move one by one, and nothing has changed for ${time(Math.min(...open.map(({ stillMs }) => stillMs)))} (${listed(open.map(({ slot }) => String(slot)))})`,
        ]),
  ];
  if (parts.length === 0) {
    const summary =
      tasks.length + openSlots.length === 0
        ? "No slots are being moved."
        : `${counted(tasks.length, "move")} of slots under way${openSlots.length === 0 ? "" : `, ${counted(openSlots.length, "slot")} open`}.`;
    return { name: "migrations", state: "ok", summary, values };
  }
  return {
    name: "migrations",
    state: stuck.some(({ isCritical }) => isCritical) ? "critical" : "warn",
    summary: `${listed(parts, "; ")}.`,
    values,
  };
}

/** Whether shards have about their parts of what is done and held. */
export function checkBalance(
  { shards }: BalanceFacts,
  { skewWarnFactor }: Pick<HealthThresholds, "skewWarnFactor">,
): Finding {
  const mean = (of: (shard: BalanceFacts["shards"][number]) => number): number =>
    shards.reduce((sum, shard) => sum + of(shard), 0) / Math.max(1, shards.length);
  const [meanBusy, meanBytes] = [mean(({ busy }) => busy), mean(({ bytes }) => bytes)];
  const factor = (value: number, average: number): number => (average === 0 ? 1 : value / average);
  const most = (of: (shard: BalanceFacts["shards"][number]) => number): number => Math.max(0, ...shards.map(of));
  const tenths = (value: number): number => Math.round(10 * value) / 10;
  const values = {
    shards: shards.length,
    "load-factor": tenths(
      factor(
        most(({ busy }) => busy),
        meanBusy,
      ),
    ),
    "bytes-factor": tenths(
      factor(
        most(({ bytes }) => bytes),
        meanBytes,
      ),
    ),
    "busiest-percent": Math.round(100 * most(({ busy }) => busy)),
  };
  const parts = shards.flatMap(({ name, busy, bytes, hottestSlot, hottestPart }) => {
    const load = factor(busy, meanBusy);
    const weight = factor(bytes, meanBytes);
    const isBusy = busy >= BALANCE_LEAST_BUSY && load >= skewWarnFactor;
    const isHeavy = bytes >= BALANCE_LEAST_BYTES && weight >= skewWarnFactor;
    const hot = hottestPart >= HOT_PART ? `, ${Math.round(100 * hottestPart)} % of it in slot ${hottestSlot}` : "";
    return [
      ...(isBusy
        ? [`${name} has ${load.toFixed(1)} times its part of the load (${Math.round(100 * busy)} % busy${hot})`]
        : []),
      ...(isHeavy ? [`${name} has ${weight.toFixed(1)} times its part of the bytes (${size(bytes)})`] : []),
    ];
  });
  if (parts.length > 0) return { name: "balance", state: "warn", summary: `${listed(parts, "; ")}.`, values };
  const summary =
    shards.length < 2
      ? "There are no two shards to compare."
      : `${shards.length} shards; the busiest has ${values["load-factor"]} times its part of the load, the largest ${values["bytes-factor"]} times its part of the bytes.`;
  return { name: "balance", state: "ok", summary, values };
}

/** A slot with more than this part of its shard's load is named: moving others helps little. */
const HOT_PART = 0.5;
