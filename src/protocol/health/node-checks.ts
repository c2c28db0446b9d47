/** The checks about one node: facts and thresholds in, a finding out. Pure; each is judged by this moment alone. */
import type { HealthCheckName, HealthState } from "../../contracts/health.ts";
import type {
  DiskFacts,
  Finding,
  HealthThresholds,
  LagFacts,
  LoopFacts,
  MapFacts,
  MemoryFacts,
  NodeFacts,
} from "./types.ts";
import { listed, size, time } from "./words.ts";

/** What is larger is worse. */
function levelOf(value: number, warn: number, critical: number): HealthState {
  return value >= critical ? "critical" : value >= warn ? "warn" : "ok";
}

/** Whether this node serves what is its own. */
export function checkNode({ waitingFor, leaseProblem }: NodeFacts): Finding {
  const problem = waitingFor === undefined ? leaseProblem : `This node waits for ${waitingFor}.`;
  return {
    name: "node",
    state: problem === undefined ? "ok" : "critical",
    summary: problem ?? "It takes part.",
    values: { "waiting-for": waitingFor ?? "" },
  };
}

/** Whether copies of this node's shard are level. */
export function checkLag(
  { waitingFor, replicas }: LagFacts,
  { lagWarnMs, lagCriticalMs }: Pick<HealthThresholds, "lagWarnMs" | "lagCriticalMs">,
): Finding {
  const name: HealthCheckName = "lag";
  const behind = replicas.filter(({ behindMs }) => behindMs >= lagWarnMs);
  const worstMs = Math.max(0, ...replicas.map(({ behindMs }) => behindMs));
  const values = {
    replicas: replicas.length,
    behind: behind.length,
    "behind-ms": Math.round(worstMs),
    "behind-entries": Math.max(0, ...replicas.map(({ entries }) => entries)),
  };
  if (waitingFor !== undefined) {
    return { name, state: "warn", summary: `This replica does not follow its primary: ${waitingFor}.`, values };
  }
  if (behind.length > 0) {
    const those = behind.map((each) => {
      const how = { absent: ", and has not asked for it", filling: ", and is being filled", following: "" }[each.state];
      return `${each.name} lacks ${each.entries} entries, the oldest ${time(each.behindMs)} old${how}`;
    });
    // A copy of all that a shard holds takes its time.
    const countedMs = Math.max(...behind.map((each) => (each.state === "filling" ? lagWarnMs : each.behindMs)));
    return { name, state: levelOf(countedMs, lagWarnMs, lagCriticalMs), summary: `${listed(those, "; ")}.`, values };
  }
  const summary =
    replicas.length === 0
      ? "There is no replica of this node to wait for."
      : `Replicas are at most ${time(worstMs)} behind.`;
  return { name, state: "ok", summary, values };
}

/** Whether this node's cluster map is the newest. */
export function checkMapVersion(
  { version, newestVersion, behindMs }: MapFacts,
  { mapBehindWarnMs, mapBehindCriticalMs }: Pick<HealthThresholds, "mapBehindWarnMs" | "mapBehindCriticalMs">,
): Finding {
  const isBehind = newestVersion > version;
  const state = isBehind ? levelOf(behindMs, mapBehindWarnMs, mapBehindCriticalMs) : "ok";
  const summary = isBehind
    ? `This node has version ${version}, and has known for ${time(behindMs)} that there is ${newestVersion}.`
    : `Version ${version}.`;
  return {
    name: "map-version",
    state,
    summary,
    values: { version, "newest-version": newestVersion, "behind-ms": isBehind ? Math.round(behindMs) : 0 },
  };
}

/** Whether event loops stand still. */
export function checkLoopLag(
  { lagMs }: LoopFacts,
  { loopLagWarnMs, loopLagCriticalMs }: Pick<HealthThresholds, "loopLagWarnMs" | "loopLagCriticalMs">,
): Finding {
  return {
    name: "loop-lag",
    state: levelOf(lagMs, loopLagWarnMs, loopLagCriticalMs),
    summary: `The event loop stood still for ${time(lagMs)} at the worst.`,
    values: { "lag-ms": Math.round(lagMs) },
  };
}

/** Whether there is memory left. */
export function checkMemory(
  { usedBytes, limitBytes, isEvicting, residentBytes, machineBytes }: MemoryFacts,
  { memoryWarnPercent, memoryCriticalPercent }: Pick<HealthThresholds, "memoryWarnPercent" | "memoryCriticalPercent">,
): Finding {
  const part = (value: number, whole: number): number => (whole === 0 ? 0 : (100 * value) / whole);
  const ofLimit = part(usedBytes, limitBytes);
  const ofMachine = part(residentBytes, machineBytes);
  const ofWhatCounts = Math.max(isEvicting ? 0 : ofLimit, ofMachine);
  const limit =
    limitBytes === 0
      ? `${size(usedBytes)} of keys and values`
      : `${size(usedBytes)} of keys and values, ${Math.round(ofLimit)} % of maxmemory${isEvicting ? " (keys are evicted)" : ""}`;
  const machine =
    machineBytes === 0
      ? ""
      : `; the process has ${size(residentBytes)}, ${Math.round(ofMachine)} % of the machine's memory`;
  return {
    name: "memory",
    state: levelOf(ofWhatCounts, memoryWarnPercent, memoryCriticalPercent),
    summary: `${limit}${machine}.`,
    values: {
      "used-bytes": usedBytes,
      "limit-bytes": limitBytes,
      "limit-percent": Math.round(ofLimit),
      "resident-bytes": residentBytes,
      "machine-bytes": machineBytes,
      "machine-percent": Math.round(ofMachine),
    },
  };
}

/** Whether there is room for what must outlive the process. */
export function checkDisk(
  { freeBytes, totalBytes }: DiskFacts,
  { diskWarnBytes, diskCriticalBytes }: Pick<HealthThresholds, "diskWarnBytes" | "diskCriticalBytes">,
): Finding {
  return {
    name: "disk",
    state: freeBytes < diskCriticalBytes ? "critical" : freeBytes < diskWarnBytes ? "warn" : "ok",
    summary: `${size(freeBytes)} of ${size(totalBytes)} are free.`,
    values: { "free-bytes": freeBytes, "total-bytes": totalBytes },
  };
}
