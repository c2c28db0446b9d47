/**
 * `bunch recover`: the way out when a majority of the voters is gone for good. Makes a new cluster of one survivor's data directory.
 *
 * It cannot know what the lost nodes knew, nor whether they are really gone: so it looks who answers, says what is lost and what the risk is, and asks.
 */
import { Command } from "commander";
import pc from "picocolors";
import type { NodeRecord, SlotRange } from "../contracts/topology.ts";
import { StartError } from "../errors.ts";
import { describeRecord } from "../protocol/topology/records.ts";
import { formatSlotRange } from "../protocol/slot-ranges.ts";
import type { TopologyState } from "../protocol/topology/state.ts";
import { confirm } from "./confirm.ts";
import { createBunWorld } from "../world-bun.ts";
import { type StoredCluster, checkIsFree, finishReplacement, readDataDirectory } from "./data-directory.ts";
import { FileDirectories } from "./file-directories.ts";
import { recoverCluster, survivorOf } from "./recovery.ts";
import { failStart } from "./report.ts";

/** Entries of the log's end that are shown one by one. */
const SHOWN_ACTS = 5;
/** How long a node that lives may take to take a connection. */
const ANSWER_MS = 1000;

interface RecoverFlags {
  readonly from: string;
  readonly dataDir?: string;
  readonly yes: boolean;
  readonly force: boolean;
}

/** Makes the subcommand. */
export function recoverCommand(): Command {
  return new Command("recover")
    .description(
      "Makes a new cluster of one node's data directory, when a majority of the nodes that vote is lost for good.",
    )
    .requiredOption("--from <dir>", "the survivor's data directory; its node must be stopped")
    .option(
      "--data-dir <dir>",
      "where to make the new data directory (default: in place of the old one, which is kept beside it)",
    )
    .option("--yes", "does it without asking", false)
    .option("--force", "does it although nodes of the old cluster answer", false)
    .action(async (flags: RecoverFlags) => {
      try {
        await run(flags);
      } catch (thrown) {
        failStart(thrown);
      }
    });
}

async function run(flags: RecoverFlags): Promise<void> {
  const directories = new FileDirectories();
  const finished = await finishReplacement(directories, flags.from);
  if (finished !== undefined) {
    print(
      `${pc.green("recovered:")} "${flags.from}" is cluster ${finished.group.slice(0, 8)}. This was begun before, and cut off at its last step: that is done.`,
      `Start it as before, with --data-dir "${flags.from}".`,
    );
    return;
  }
  const stored = await readDataDirectory(directories, flags.from);
  const { state } = stored;
  const node = survivorOf(stored, flags.from);
  if (flags.dataDir !== undefined) await checkIsFree(flags.dataDir);
  const answering = await whoAnswers([...state.nodes.values()]);
  if (!flags.force) checkIsLost(stored, node, answering);

  const backup =
    flags.dataDir === undefined ? `${flags.from.replace(/\/+$/, "")}.before-recovery-${stamp()}` : undefined;
  const others = [...state.nodes.values()].filter((each) => each.id !== node.id);
  print(...describe(stored, node, others, answering));
  print(
    "",
    flags.dataDir === undefined
      ? `"${flags.from}" is replaced, and kept as "${backup ?? ""}".`
      : `"${flags.dataDir}" is made; "${flags.from}" stays as it is.`,
  );
  await confirm("Make a new cluster of this node's data directory?", flags.yes);

  const path = flags.dataDir ?? flags.from;
  const surroundings = { copyFrom: flags.from, ...(backup === undefined ? {} : { backup }) };
  const group = await recoverCluster(directories, path, stored, node, surroundings, createBunWorld());
  print(
    "",
    `${pc.green("recovered:")} "${path}" is cluster ${group.slice(0, 8)}, with ${nameOf(node)} as its one member.`,
  );
  if (backup !== undefined) print(`The old directory is kept as "${backup}".`);
  print(
    `Start it as before, with --data-dir "${path}".`,
    ...(others.length === 0
      ? []
      : [
          `Then start ${others.map(nameOf).join(" and ")} as before, each without the directory "raft" in its data directory: they join this cluster, with an empty store.`,
        ]),
  );
}

/** @throws {StartError} If nodes that answer could go on by themselves. */
function checkIsLost({ voters }: StoredCluster, self: NodeRecord, answering: readonly NodeRecord[]): void {
  if (answering.some(({ id }) => id === self.id)) {
    throw new StartError(
      `Cannot recover: something answers at ${self.busHost}:${self.busPort}, where ${nameOf(self)} listens for other nodes; stop the node first. (--force goes on all the same.)`,
    );
  }
  const alive = answering.filter(({ id }) => voters.includes(id));
  const present = alive.length + (voters.includes(self.id) ? 1 : 0);
  if (alive.length > 0 && present * 2 > voters.length) {
    throw new StartError(
      `Cannot recover: ${alive.map(nameOf).join(" and ")} answer${alive.length === 1 ? "s" : ""}, and with this node that is a majority of the ${voters.length} that vote: nothing is lost, start this node as it is. (--force goes on all the same, and makes a second cluster.)`,
    );
  }
}

function describe(
  { group, state, acts, snapshotIndex, tornBytes, voters }: StoredCluster,
  self: NodeRecord,
  others: readonly NodeRecord[],
  answering: readonly NodeRecord[],
): readonly string[] {
  const lines = [
    pc.bold(`The data directory of ${nameOf(self)}, of cluster ${group.slice(0, 8)}`),
    `  map version ${state.version}: ${state.nodes.size} nodes, ${state.shards.size} shards; ${voters.length} nodes vote`,
    `  a snapshot of version ${snapshotIndex}, and ${acts.length} ${acts.length === 1 ? "entry" : "entries"} on the map after it`,
    "  All of them are taken. How many were agreed on is not on disk: the last ones may never have been, and are made true by this.",
  ];
  if (tornBytes > 0) lines.push(`  a torn write of ${tornBytes} bytes at the end, which counts as never written`);
  const last = acts.slice(-SHOWN_ACTS);
  if (last.length > 0) lines.push(`  the last ${last.length}:`);
  for (const { version, act } of last) {
    const changes = act.records.map(describeRecord).join("; ");
    lines.push(`    ${version}  ${new Date(act.timeMs).toISOString()}  ${changes || "no change"}  (${act.cause})`);
  }
  lines.push("", pc.bold("What is lost"));
  lines.push("  - every change of the map that the other nodes agreed on and this one had not been sent yet;");
  const slots = slotsOf(state, others);
  lines.push(
    slots === ""
      ? "  - nothing else: no other node owns slots."
      : `  - the keys of slots ${slots}, if their nodes' memory is gone: they are not served before those nodes are back, or the slots are given to others.`,
  );
  lines.push("", pc.bold("What the risk is"));
  lines.push(
    "  If a majority of the old cluster's nodes still runs, or is started again with its data, there are two clusters, which do not know of each other:",
    "  clients write to both, and what is written to one of them will be lost. Be sure that the others are stopped, and stay so.",
  );
  if (answering.length > 0) lines.push(pc.red(`  These answer right now: ${answering.map(nameOf).join(", ")}.`));
  return lines;
}

function slotsOf(state: TopologyState, nodes: readonly NodeRecord[]): string {
  const ranges: readonly SlotRange[] = [...state.shards.values()]
    .filter((shard) => nodes.some(({ id }) => id === shard.primary))
    .flatMap((shard) => shard.slots)
    .toSorted((a, b) => a.first - b.first);
  return ranges.map(formatSlotRange).join(", ");
}

function nameOf(node: NodeRecord): string {
  return `node ${node.name === "" ? node.id.slice(0, 8) : node.name} (${node.host}:${node.port})`;
}

/** Nodes at whose address for other nodes somebody takes connections. */
async function whoAnswers(nodes: readonly NodeRecord[]): Promise<readonly NodeRecord[]> {
  const answers = await Promise.all(nodes.map((node) => takesConnections(node)));
  return nodes.filter((_, at) => answers[at]);
}

async function takesConnections({ busHost, busPort }: NodeRecord): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), ANSWER_MS);
  const connected = Bun.connect({ hostname: busHost, port: busPort, socket: { data: () => undefined } }).then(
    (socket) => {
      socket.terminate();
      return true;
    },
    () => false,
  );
  const isThere = await Promise.race([connected, late.promise]);
  clearTimeout(timer);
  return isThere;
}

function stamp(): string {
  return new Date().toISOString().slice(0, 19).replaceAll(":", "-");
}

function print(...lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`);
}
