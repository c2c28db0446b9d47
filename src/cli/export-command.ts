/** `bunch export`: the cluster map of a data directory, or of a node that runs, as JSON, for backups; `bunch import` makes a new cluster of it. */
import { writeFile } from "node:fs/promises";
import { Command } from "commander";
import { encodeMapFile } from "../protocol/topology/topology-json.ts";
import { StartError } from "../errors.ts";
import { askNode, askedByFlags } from "./ask-node.ts";
import { readDataDirectory } from "./data-directory.ts";
import { FileDirectories } from "./file-directories.ts";
import { readMapFile } from "./map-file.ts";
import { failStart } from "./report.ts";
import { harmlessJson } from "./terminal.ts";

interface ExportFlags {
  readonly from?: string;
  readonly node?: string;
  readonly password?: string;
  readonly to?: string;
}

/** The map as a file. */
async function mapOf({ from, node, password }: ExportFlags): Promise<string> {
  if (from !== undefined && node === undefined)
    return encodeMapFile((await readDataDirectory(new FileDirectories(), from)).state);
  if (node !== undefined && from === undefined) {
    return await askedByFlags(askNode(node, password ?? process.env["BUNCH_PASSWORD"], "CLUSTER", "MAP"));
  }
  throw new StartError("Say whose map it is, with one of --from DIR and --node HOST:PORT.");
}

/** Makes the subcommand. */
export function exportCommand(): Command {
  return new Command("export")
    .description(
      "Writes the cluster map as JSON, of a data directory or of a node that runs. The map alone: no keys, no log.",
    )
    .option("--from <dir>", "a data directory; it is only read")
    .option("--node <host:port>", "a node that runs, by the address of its clients")
    .option("--password <password>", "the node's password (default: the environment's BUNCH_PASSWORD)")
    .option("--to <file>", "the file to write (default: standard output)")
    .action(async (flags: ExportFlags) => {
      try {
        const text = await mapOf(flags);
        const state = readMapFile(text, flags.node ?? flags.from ?? "");
        if (flags.to === undefined) process.stdout.write(harmlessJson(text));
        else {
          await writeFile(flags.to, text);
          process.stderr.write(
            `The map of cluster ${state.clusterId.slice(0, 8)}, version ${state.version}, ${state.nodes.size} nodes, is in "${flags.to}".\n`,
          );
        }
      } catch (thrown) {
        failStart(thrown);
      }
    });
}
