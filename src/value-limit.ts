/** How long a value may be. */
import type { Client } from "./client.ts";
import type { NodeContext } from "./plugin.ts";

/** Unless `proto-max-bulk-len` says otherwise. */
const DEFAULT_MAX_BYTES = 536_870_912;

/**
 * The longest value that a client may make, in bytes (`proto-max-bulk-len`). What was done at another node is done here whatever the limit is: it may be another one
 * there, as each node is told of it by itself.
 */
export function maxValueBytes({ parameters }: Pick<NodeContext, "parameters">, client: Client): number {
  if (client.isReplaying) return Number.POSITIVE_INFINITY;
  return Number(parameters.get("proto-max-bulk-len")?.get() ?? DEFAULT_MAX_BYTES);
}
