/** `bunch import`: a data directory for a new cluster of one node, with a map that `bunch export` has written. */
import { readFile } from "node:fs/promises";
import { Command } from "commander";
import pc from "picocolors";
import type { NodeRecord } from "../contracts/topology.ts";
import { StartError, messageOf } from "../errors.ts";
import { Journal, type TopologyState } from "../protocol/topology/state.ts";
import { createBunWorld } from "../world-bun.ts";
import { type NewCluster, checkIsFree, writeDataDirectory } from "./data-directory.ts";
import { FileDirectories } from "./file-directories.ts";
import { begunAnew, readMapFile } from "./map-file.ts";
import { failStart } from "./report.ts";

interface ImportFlags {
  readonly dataDir: string;
  readonly node?: string;
}

/** Raft begins anew. */
const FIRST_TERM = 1;

/** Makes the subcommand. */
export function importCommand(): Command {
  return new Command("import")
    .description("Makes the data directory of a new cluster of one node, with a map from a file. The others join it.")
    .argument("<file>", "what `bunch export` has written")
    .requiredOption("--data-dir <dir>", "the data directory to make; it is new, or empty")
    .option("--node <name>", "which of the map's nodes this is: its name or id; not needed if there is one only")
    .action(async (file: string, flags: ImportFlags) => {
      try {
        await run(file, flags);
      } catch (thrown) {
        failStart(thrown);
      }
    });
}

async function run(file: string, flags: ImportFlags): Promise<void> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (thrown) {
    throw new StartError(`Cannot read map "${file}": ${messageOf(thrown)}.`);
  }
  const state = begunAnew(readMapFile(text, file));
  const node = chooseNode(state, flags.node, file);
  await checkIsFree(flags.dataDir);
  const cluster: NewCluster = {
    node,
    name: node.name === "" ? undefined : node.name,
    state,
    journal: new Journal(),
    term: FIRST_TERM,
    index: state.version,
    cause: "bunch import: an operator made a new cluster of a map in a file",
    changes: [`the map of cluster ${state.clusterId || "(unnamed)"}, version ${state.version}, began a new cluster`],
  };
  const group = await writeDataDirectory(new FileDirectories(), flags.dataDir, cluster, {}, createBunWorld());
  process.stdout.write(
    `${pc.green("imported:")} "${flags.dataDir}" is cluster ${group.slice(0, 8)}, with node ${node.name || node.id} as its one member, and ${state.nodes.size} ${state.nodes.size === 1 ? "node" : "nodes"} in its map.\n`,
  );
}

function chooseNode(state: TopologyState, wanted: string | undefined, file: string): NodeRecord {
  const nodes = [...state.nodes.values()];
  const names = nodes.map(({ id, name }) => name || id).join(", ");
  const [only, second] = nodes;
  if (wanted === undefined) {
    if (only !== undefined && second === undefined) return only;
    throw new StartError(`Say with --node which of the nodes of "${file}" this is: ${names}.`);
  }
  const found = nodes.filter(({ id, name }) => id === wanted || name === wanted);
  if (found[0] === undefined) throw new StartError(`Map "${file}" has no node "${wanted}": it has ${names}.`);
  if (found.length > 1) throw new StartError(`Map "${file}" has several nodes "${wanted}": name it by its id.`);
  return found[0];
}
