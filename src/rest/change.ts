/** Changes of the cluster map that REST asks for. */
import type { HttpCaller } from "../contracts/http.ts";
import type { TopologyRequest } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { STALE } from "../protocol/topology/decision.ts";
import type { Clock } from "../world.ts";
import { problemOf } from "./resp-problem.ts";
import type { RestSources } from "./sources.ts";

/** How often a change is decided anew when shards change faster than it is asked for. */
export const MAX_ATTEMPTS = 10;
/** How often it is looked whether something has come about, in milliseconds. */
const LOOK_MS = 20;

/** Who wanted a change, for those who ask later how it came about. */
export function causeOf(request: Request, { remoteAddress }: HttpCaller, reason?: string): string {
  const asked = `${request.method} ${new URL(request.url).pathname} from ${remoteAddress}`;
  return reason === undefined ? asked : `${reason} (${asked})`;
}

/**
 * Asks for a change of the map, which is decided on this node's map; and again, on the map that the rejection came with, if a shard has changed meanwhile.
 *
 * @param decide Throws what speaks against it.
 * @returns Once this node has applied it.
 * @throws {Problem} Why it was not made, or that nobody knows.
 */
export async function change(
  { topology }: RestSources,
  cause: string,
  decide: () => TopologyRequest,
): Promise<readonly string[]> {
  for (let attempt = 1; ; attempt += 1) {
    const outcome = await topology.request(decide(), cause);
    switch (outcome.type) {
      case "done":
        return outcome.outcome;
      case "rejected":
        if (outcome.reason.startsWith(STALE) && attempt < MAX_ATTEMPTS) break;
        throw problemOf(outcome.reason);
      case "refused":
        throw new Problem("unavailable", `The change was not made: ${outcome.reason}.`, { retryAfterS: 1 });
      case "unknown":
        throw new Problem("outcome-unknown", `The change may or may not have been made: ${outcome.reason}.`);
      default:
        outcome satisfies never;
    }
  }
}

/** Waits until something is so. @returns Whether it was within the time. */
export function until(clock: Clock, limitMs: number, isSo: () => boolean): Promise<boolean> {
  if (isSo()) return Promise.resolve(true);
  return new Promise((resolve) => {
    const endsAtMs = clock.monotonicMs() + limitMs;
    const look = (): void => {
      if (isSo()) resolve(true);
      else if (clock.monotonicMs() >= endsAtMs) resolve(false);
      else clock.after(LOOK_MS, look);
    };
    clock.after(LOOK_MS, look);
  });
}
