/** `bunch status`: what state a cluster is in, why, and what to do; `bunch nodes`, `bunch slots`: who is in it, and who has what. */
import { Command } from "commander";
import pc from "picocolors";
import { SLOT_COUNT } from "../codec/slot.ts";
import { amissOf } from "../rest/amiss.ts";
import type { HealthView, Info, MigrationView, NodeView, ShardView } from "../rest/schemas.ts";
import { EXIT_UNKNOWN } from "./health-command.ts";
import { type RestAccess, RestError, withRest } from "./rest-access.ts";
import { type TableColumn, fittedTable } from "./fitted-table.ts";
import { type JsonFlags, tell } from "./rest-command.ts";
import {
  CLUSTER_PAINT,
  HEALTH_PAINT,
  moveWords,
  nameIn,
  nodesTable,
  paintState,
  rangesWords,
  shardsTable,
  withNodeNames,
} from "./rest-tables.ts";

/** As those of `bunch health`. */
const EXIT_CODES = { ok: 0, warn: 1, degraded: 1, critical: 2, fail: 2 } as const;

/** What `bunch status` is made of. */
export interface Status {
  readonly info: Info;
  readonly nodes: readonly NodeView[];
  readonly shards: readonly ShardView[];
  /** Tasks that go on. */
  readonly migrations: readonly MigrationView[];
  /** What all nodes say of it. `null`: no plugin of the node judges it. */
  readonly health: HealthView | null;
}

/** @throws {StartError} If the node does not tell. */
async function askStatus(access: RestAccess): Promise<Status> {
  const [info, { nodes }, { shards }, { migrations }, health] = await Promise.all([
    access.get<Info>("/cluster/info"),
    access.get<{ readonly nodes: readonly NodeView[] }>("/cluster/nodes"),
    access.get<{ readonly shards: readonly ShardView[] }>("/cluster/shards"),
    access.get<{ readonly migrations: readonly MigrationView[] }>("/cluster/migrations"),
    access.get<HealthView>("/cluster/health?nodes=all").catch((thrown: unknown) => {
      // Without its plugin the rest is still true.
      if (thrown instanceof RestError && thrown.status === 503) return null;
      throw thrown;
    }),
  ]);
  return { info, nodes, shards, migrations: migrations.filter(({ completed_at: ended }) => ended === null), health };
}

/** The worse of how the cluster is and what the checks say. */
export function exitCodeOf({
  info,
  health,
}: {
  readonly info: Pick<Info, "state">;
  readonly health: Pick<HealthView, "state"> | null;
}): number {
  return Math.max(EXIT_CODES[info.state], EXIT_CODES[health?.state ?? "ok"]);
}

/**
 * All that people need to see.
 *
 * @param room Columns of the terminal; 0: without bound.
 */
export function describeStatus({ info, nodes, shards, migrations, health }: Status, room = 0): string {
  const gone = nodes.filter(({ state }) => state !== "alive");
  const leader = info.leader === null ? pc.red("nobody leads it") : `${nameIn(nodes, info.leader)} leads it`;
  const { assigned, total } = info.slots;
  const owners = info.shards.with_slots;
  const checked = health?.state ?? "ok";
  const names = { of: (id: string) => nameIn(nodes, id), inText: (text: string) => withNodeNames(nodes, text) };
  const amiss = health === null ? [] : amissOf(health, names);
  const isOver = amiss.every((each) => each.isOver);
  // Who reads one line reads this one.
  const first =
    info.state === "ok" && checked !== "ok"
      ? isOver
        ? HEALTH_PAINT.warn("ok: every slot is served; what was amiss a moment ago is told for some seconds more")
        : HEALTH_PAINT[checked](`ok: every slot is served, but checks are ${checked}, see below`)
      : CLUSTER_PAINT[info.state](
          { ok: "ok: every slot is served", degraded: "degraded: every slot is served, but", fail: "fail:" }[
            info.state
          ],
        );
  const lines = [
    first,
    ...info.reasons.map((reason) => `  ${withNodeNames(nodes, reason)}`),
    "",
    `slots    ${assigned} of ${total} are assigned, to ${owners} ${owners === 1 ? "shard" : "shards"}`,
    `nodes    ${nodes.length}, ${gone.length === 0 ? "all alive" : `of which ${gone.map((node) => `${nameIn(nodes, node.id)} is ${paintState(node.state)}`).join(", ")}`}`,
    `map      version ${info.map_version}, term ${info.term}: ${leader}`,
    `asked    ${nameIn(nodes, info.nodes.my_node_id)}, of cluster ${info.cluster_id || "none"}`,
    shardsTable(nodes, shards, room),
    ...migrations.map((move) => `moving   ${moveWords(nodes, move)}`),
  ];
  if (health === null) return [...lines, "health   no plugin of this node judges it"].join("\n");
  const { state, asked, silent } = health;
  const what = amiss.length === 0 ? "" : `: ${[...new Set(amiss.map(({ name }) => name))].join(", ")}`;
  lines.push(`health   ${HEALTH_PAINT[state](state)}${what} (${asked - silent.length} of ${asked} nodes told)`);
  for (const { name, state: worst, findings, meaning, advice } of amiss) {
    const [first = "", ...more] = findings;
    lines.push(
      `${HEALTH_PAINT[worst](`${name} (${worst})`)}  ${first}`,
      ...more.map((finding) => `  ${finding}`),
      `  means: ${meaning}`,
      `  do:    ${advice}`,
    );
  }
  return lines.join("\n");
}

/** Makes the subcommand. */
export function statusCommand(): Command {
  return withRest(new Command("status"))
    .description(
      "Tells what state a cluster is in, why, and what to do. Exit code: 0 ok, 1 something is amiss, 2 something does not work, 3 the node does not answer.",
    )
    .option("--json", "prints all of it as JSON", false)
    .action(async (flags: JsonFlags) => {
      const told = await tell(flags, askStatus, describeStatus, EXIT_UNKNOWN);
      if (told !== undefined) process.exitCode = exitCodeOf(told);
    });
}

/** Makes the subcommand. */
export function nodesCommand(): Command {
  return withRest(new Command("nodes"))
    .description("Lists the nodes of a cluster: state, role, addresses. Exit code 3: the node does not answer.")
    .option("--json", "prints them as JSON", false)
    .action(async (flags: JsonFlags) => {
      await tell(
        flags,
        (access) => access.get<{ readonly nodes: readonly NodeView[] }>("/cluster/nodes"),
        ({ nodes }, room) => `${nodesTable(nodes, room)}\n* was asked`,
      );
    });
}

interface SlotRangesView {
  readonly ranges: readonly {
    readonly start: number;
    readonly end: number;
    readonly count: number;
    readonly primary: string;
    readonly replicas: readonly string[];
  }[];
  readonly assigned: number;
}

const SLOT_COLUMNS: readonly TableColumn[] = [
  { head: "slots" },
  { head: "count", isNumber: true },
  { head: "primary" },
  { head: "replicas", least: 12 },
];

/**
 * Who has which slots, those of nobody among them.
 *
 * @param room Columns of the terminal; 0: without bound.
 */
export function describeSlots({ ranges, assigned }: SlotRangesView, nodes: readonly NodeView[], room = 0): string {
  const rows: string[][] = [];
  const free: { start: number; end: number }[] = [];
  let next = 0;
  const noteFree = (end: number): void => {
    if (end < next) return;
    free.push({ start: next, end });
    rows.push([rangesWords([{ start: next, end }]), String(end - next + 1), pc.red("nobody"), ""]);
  };
  for (const { start, end, count, primary, replicas } of ranges) {
    noteFree(start - 1);
    next = end + 1;
    const names = replicas.map((id) => nameIn(nodes, id)).join(", ");
    rows.push([rangesWords([{ start, end }]), String(count), nameIn(nodes, primary), names]);
  }
  noteFree(SLOT_COUNT - 1);
  const missing = free.length === 0 ? "" : pc.red(`; nobody has ${rangesWords(free)}`);
  return `${fittedTable(SLOT_COLUMNS, rows, room)}\n${assigned} of ${SLOT_COUNT} slots are assigned${missing}`;
}

/** Makes the subcommand. */
export function slotsCommand(): Command {
  return withRest(new Command("slots"))
    .description("Tells who has which slots. Exit code 3: the node does not answer.")
    .option("--json", "prints the ranges as JSON", false)
    .action(async (flags: JsonFlags) => {
      let nodes: readonly NodeView[] = [];
      await tell(
        flags,
        async (access) => {
          const [ranges, listed] = await Promise.all([
            access.get<SlotRangesView>("/cluster/slots?format=ranges"),
            access.get<{ readonly nodes: readonly NodeView[] }>("/cluster/nodes"),
          ]);
          ({ nodes } = listed);
          return ranges;
        },
        (ranges, room) => describeSlots(ranges, nodes, room),
      );
    });
}
