/** `bunch health`: what is right and wrong with a cluster, what it means and what to do; its exit code says the worst of it, for scripts. */
import { Command } from "commander";
import pc from "picocolors";
import type { HealthCheckName, HealthState } from "../contracts/health.ts";
import { StartError } from "../errors.ts";
import { type ClusterHealth, type HealthLine, linesOf, shortName, stateOf } from "../health/cluster-health.ts";
import { type AccessFlags, ClusterAccess, withAccess } from "./cluster-access.ts";
import { askHealth } from "./ask-health.ts";
import type { HealthView, NodeView } from "../rest/schemas.ts";
import { type TableColumn, fittedTable, terminalColumns } from "./fitted-table.ts";
import { failStart, sayError } from "./report.ts";
import { RestAccess, withOperatorsDoor } from "./rest-access.ts";
import { nameIn } from "./rest-tables.ts";
import { jsonText } from "./terminal.ts";
import { formatDuration } from "./units.ts";

/** As monitoring plugins have them. */
const EXIT_CODES: Readonly<Record<HealthState, number>> = { ok: 0, warn: 1, critical: 2 };
/** Nobody can tell: the node does not answer, or the question was wrong. */
export const EXIT_UNKNOWN = 3;

const COLUMNS: readonly TableColumn[] = [
  { head: "state" },
  { head: "check" },
  { head: "node", least: 11 },
  { head: "since", spare: 1 },
  { head: "what", least: 30, most: 72 },
];

const PAINT: Readonly<Record<HealthState, (text: string) => string>> = {
  ok: pc.green,
  warn: pc.yellow,
  critical: pc.red,
};

/** What is shown of what nodes have told, whichever way they were asked. */
export interface HealthPicture {
  readonly state: HealthState;
  readonly lines: readonly HealthLine[];
  /** Those that did not tell: by name, and why. */
  readonly silent: readonly { readonly name: string; readonly reason: string }[];
  readonly asked: number;
  /** The name of who leads the log of the cluster map, if one of them does. */
  readonly leader: string | undefined;
}

interface HealthFlags extends AccessFlags {
  readonly http?: string;
  readonly token?: string;
  readonly json: boolean;
  readonly one: boolean;
}

/** Makes the subcommand. */
export function healthCommand(): Command {
  return withOperatorsDoor(withAccess(new Command("health")), "asks there instead, with a token and no password")
    .description(
      "Tells what is right and wrong with a cluster, what it means and what to do. Exit code: 0 ok, 1 warn, 2 critical, 3 the node does not answer.",
    )
    .option("--json", "prints what was told as JSON", false)
    .option("--one", "asks only the node that was named, and not the others of its map", false)
    .action(async (flags: HealthFlags, command: Command) => {
      try {
        if (flags.http === undefined && command.getOptionValueSource("token") === "cli")
          throw new StartError(
            "--token is for the port for operators, which --http names; without that, --password is wanted.",
          );
        const { picture, json } = flags.http === undefined ? await askClients(flags) : await askOperators(flags);
        process.stdout.write(
          `${flags.json ? jsonText(json, 2) : describeHealth(picture, Date.now(), terminalColumns())}\n`,
        );
        process.exitCode = EXIT_CODES[picture.state];
      } catch (thrown) {
        if (!(thrown instanceof StartError)) failStart(thrown);
        sayError(thrown);
        process.exitCode = EXIT_UNKNOWN;
      }
    });
}

/** What came of asking, and what programs get of it. */
interface Told {
  readonly picture: HealthPicture;
  readonly json: unknown;
}

/** Asks each node at its port for clients. */
async function askClients(flags: HealthFlags): Promise<Told> {
  const health = await askHealth(new ClusterAccess(flags), flags.one);
  return {
    picture: pictureOf(health),
    json: { state: stateOf(health), nodes: health.told, silent: health.silent },
  };
}

/** Asks one node at its port for operators, and by it all others. */
async function askOperators(flags: HealthFlags): Promise<Told> {
  const access = new RestAccess(flags);
  const [view, { nodes }] = await Promise.all([
    access.get<HealthView>(`/cluster/health?nodes=${flags.one ? "one" : "all"}`),
    access.get<{ readonly nodes: readonly NodeView[] }>("/cluster/nodes"),
  ]);
  return { picture: pictureOfView(view, nodes), json: view };
}

export function pictureOf(health: ClusterHealth): HealthPicture {
  const { told, silent } = health;
  const leader = told.find(({ isLeader }) => isLeader);
  return {
    state: stateOf(health),
    lines: linesOf(health),
    silent: silent.map(({ nodeId, nodeName, reason }) => ({ name: shortName(nodeName, nodeId), reason })),
    asked: told.length + silent.length,
    leader: leader === undefined ? undefined : shortName(leader.nodeName, leader.nodeId),
  };
}

export function pictureOfView(view: HealthView, nodes: readonly NodeView[]): HealthPicture {
  const { state, checks, silent, asked, leader } = view;
  return {
    state,
    lines: checks.map(({ node_id: id, others, since, name, ...check }) => ({
      // A node of another version may have others: they are shown like the rest.
      check: { ...check, name: name as HealthCheckName, sinceMs: since },
      from: nameIn(nodes, id),
      fromId: id,
      others,
    })),
    silent: silent.map(({ node_id: id, reason }) => ({ name: nameIn(nodes, id), reason })),
    asked,
    leader: leader === null ? undefined : nameIn(nodes, leader),
  };
}

/**
 * All that people need to see.
 *
 * @param nowMs Wall time in milliseconds.
 * @param room Columns of the terminal; 0: without bound.
 */
export function describeHealth(
  { state, lines, silent, asked, leader }: HealthPicture,
  nowMs: number,
  room = 0,
): string {
  const inState = (wanted: HealthState): readonly HealthLine[] => lines.filter(({ check }) => check.state === wanted);
  const bad = [...inState("critical"), ...inState("warn")];
  const rows: (readonly string[])[] = [];
  // The worst comes first.
  for (const line of bad) rows.push(rowOf(line, nowMs));
  for (const { name, reason } of silent) rows.push([PAINT.warn("warn"), "answer", name, "", reason]);
  for (const line of inState("ok")) rows.push(rowOf(line, nowMs));
  const count = bad.length === 0 ? "" : `: ${bad.length} of ${lines.length} checks`;
  const answered = `${asked - silent.length} of ${asked} nodes answered`;
  const led = leader === undefined ? "none of them leads" : `${leader} leads`;
  return [
    `${PAINT[state](state)}${count} (${answered}, ${led})`,
    fittedTable(COLUMNS, rows, room, true),
    ...bad.map((line) => {
      const { name, state: worst, meaning, advice } = line.check;
      const sees = line.others > 0 ? "see" : "sees";
      return `\n${PAINT[worst](`${name} (${worst})`)}, as ${whoOf(line)} ${sees} it\n  means: ${meaning}\n  do:    ${advice}`;
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
