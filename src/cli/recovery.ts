/** The heart of `bunch recover`, without questions and answers: a new cluster of one node from what its data directory holds. */
import type { NodeRecord } from "../contracts/topology.ts";
import { StartError } from "../errors.ts";
import type { Clock, Random } from "../world.ts";
import { type StoredCluster, type Surroundings, writeDataDirectory } from "./data-directory.ts";
import type { Directories } from "./directories.ts";

/** @throws {StartError} If the directory's node is not in the cluster that it holds. @param path The directory, for messages. */
export function survivorOf({ state, node: { id } }: StoredCluster, path: string): NodeRecord {
  const node = state.nodes.get(id);
  if (node !== undefined) return node;
  throw new StartError(
    `Cannot recover from "${path}": its node ${id} was taken out of the cluster; take the data directory of one that was not.`,
  );
}

/**
 * Makes a data directory of a new cluster, which goes on where the old one's log ends in this directory. A crash at any step leaves what is there, or what was
 * to be; or, just before the last one, something that `finishReplacement` ends. It can be repeated.
 *
 * @param path Where it is made.
 * @returns The new cluster's id.
 */
export function recoverCluster(
  directories: Directories,
  path: string,
  stored: StoredCluster,
  node: NodeRecord,
  surroundings: Surroundings,
  world: { readonly random: Random; readonly clock: Clock },
): Promise<string> {
  return writeDataDirectory(
    directories,
    path,
    {
      node,
      name: stored.node.name,
      state: stored.state,
      journal: stored.journal,
      term: stored.term,
      index: stored.lastIndex,
      cause: "bunch recover: an operator made a new cluster of this node's data directory",
      changes: [`cluster ${stored.group} became a new one, of node ${node.id} (${node.name}) alone`],
    },
    surroundings,
    world,
  );
}
