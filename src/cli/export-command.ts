/** `bunch export`: the cluster map of a data directory as JSON, for backups; `bunch import` makes a new cluster of it. */
import { writeFile } from "node:fs/promises";
import { Command } from "commander";
import { encodeMapFile } from "../protocol/topology/topology-json.ts";
import { readDataDirectory } from "./data-directory.ts";
import { FileDirectories } from "./file-directories.ts";
import { failStart } from "./report.ts";

/** Makes the subcommand. */
export function exportCommand(): Command {
  return new Command("export")
    .description("Writes the cluster map of a data directory as JSON. The map alone: no keys, no log.")
    .requiredOption("--from <dir>", "the data directory; it is only read")
    .option("--to <file>", "the file to write (default: standard output)")
    .action(async (flags: { readonly from: string; readonly to?: string }) => {
      try {
        const { state } = await readDataDirectory(new FileDirectories(), flags.from);
        const text = encodeMapFile(state);
        if (flags.to === undefined) process.stdout.write(text);
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
