/** `bunch health`: what is right and wrong with a cluster, what it means and what to do; its exit code says the worst of it, for scripts. */
import Table from "cli-table3";
import { Command } from "commander";
import pc from "picocolors";
import type { HealthState } from "../contracts/health.ts";
import { StartError } from "../errors.ts";
import { type ClusterHealth, type HealthLine, linesOf, stateOf } from "../health/cluster-health.ts";
import { type AccessFlags, ClusterAccess, withAccess } from "./cluster-access.ts";
import { askHealth } from "./ask-health.ts";
import { failStart, sayError } from "./report.ts";
import { jsonText } from "./terminal.ts";
import { formatDuration } from "./units.ts";

/** As monitoring plugins have them. */
const EXIT_CODES: Readonly<Record<HealthState, number>> = { ok: 0, warn: 1, critical: 2 };
/** Nobody can tell: the node does not answer, or the question was wrong. */
export const EXIT_UNKNOWN = 3;

/** Columns of what a check has found. */
const SUMMARY_WIDTH = 72;

const PAINT: Readonly<Record<HealthState, (text: string) => string>> = {
  ok: pc.green,
  warn: pc.yellow,
  critical: pc.red,
};

/** Makes the subcommand. */
export function healthCommand(): Command {
  return withAccess(new Command("health"))
    .description(
      "Tells what is right and wrong with a cluster, what it means and what to do. Exit code: 0 ok, 1 warn, 2 critical, 3 the node does not answer.",
    )
    .option("--json", "prints what all nodes have said as JSON", false)
    .option("--one", "asks only the node that was named, and not the others of its map", false)
    .action(async (flags: AccessFlags & { readonly json: boolean; readonly one: boolean }) => {
      try {
        const health = await askHealth(new ClusterAccess(flags), flags.one);
        process.stdout.write(`${flags.json ? healthJson(health) : describeHealth(health, Date.now())}\n`);
        process.exitCode = EXIT_CODES[stateOf(health)];
      } catch (thrown) {
        if (!(thrown instanceof StartError)) failStart(thrown);
        sayError(thrown);
        process.exitCode = EXIT_UNKNOWN;
      }
    });
}

function healthJson(health: ClusterHealth): string {
  return jsonText({ state: stateOf(health), nodes: health.told, silent: health.silent }, 2);
}

/**
 * All that people need to see.
 *
 * @param nowMs Wall time in milliseconds.
 */
export function describeHealth(health: ClusterHealth, nowMs: number): string {
  const lines = linesOf(health);
  const bad = lines.filter(({ check }) => check.state !== "ok");
  const table = new Table({
    head: ["state", "check", "node", "since", "what"],
    colWidths: [null, null, null, null, SUMMARY_WIDTH + 2],
    wordWrap: true,
    style: { head: [], border: [] },
  });
  // What is wrong comes first.
  for (const line of [...bad, ...lines.filter(({ check }) => check.state === "ok")]) table.push(rowOf(line, nowMs));
  for (const { nodeId, nodeName, reason } of health.silent) {
    table.push([PAINT.warn("warn"), "answer", nodeName || nodeId, "", reason]);
  }
  const leader = health.told.find(({ isLeader }) => isLeader);
  const state = stateOf(health);
  const count = bad.length === 0 ? "" : `: ${bad.length} of ${lines.length} checks`;
  const asked = `${health.told.length} of ${health.told.length + health.silent.length} nodes answered`;
  const led = leader === undefined ? "none of them leads" : `${leader.nodeName || leader.nodeId} leads`;
  return [
    `${PAINT[state](state)}${count} (${asked}, ${led})`,
    table.toString(),
    ...bad.map((line) => {
      const { name, state, meaning, advice } = line.check;
      const sees = line.others > 0 ? "see" : "sees";
      return `\n${PAINT[state](`${name} (${state})`)}, as ${whoOf(line)} ${sees} it\n  means: ${meaning}\n  do:    ${advice}`;
    }),
  ].join("\n");
}

function whoOf({ from, others }: HealthLine): string {
  return others > 0 ? `${from} and ${others} more` : from;
}

function rowOf(line: HealthLine, nowMs: number): string[] {
  const { check } = line;
  const since = formatDuration(Math.max(0, nowMs - check.sinceMs));
  return [PAINT[check.state](check.state), check.name, whoOf(line), since, check.summary];
}
