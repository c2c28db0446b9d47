/** All nodes of a cluster, asked by the command line what they say of its health. */
import type { ClusterMap } from "../contracts/topology.ts";
import { StartError, messageOf } from "../errors.ts";
import { type ClusterHealth, HEALTH_COMMAND, type NodeHealth, readHealth } from "../health/cluster-health.ts";
import type { ClusterAccess } from "./cluster-access.ts";

/** How long the others may take. One that hangs keeps nobody waiting for longer: what the others say of it is told sooner. */
const OTHERS_MS = 3000;

/**
 * Asks a node, and by its map all others.
 *
 * @param isOne Only the node that was named.
 * @throws {StartError} If that one does not answer.
 */
export async function askHealth(access: ClusterAccess, isOne: boolean): Promise<ClusterHealth> {
  const first = mustTell(readHealth(await access.ask(...HEALTH_COMMAND)), access.address);
  if (isOne) return { told: [first], silent: [] };
  const map: ClusterMap = await access.map();
  const hasty = access.within(OTHERS_MS);
  const others = map.nodes.filter(({ id }) => id !== first.nodeId);
  const answers = await Promise.all(
    others.map(async ({ id, name }) => {
      try {
        return mustTell(readHealth(await hasty.askAt(map, id, ...HEALTH_COMMAND)), name || id);
      } catch (thrown) {
        return { nodeId: id, nodeName: name, reason: messageOf(thrown) };
      }
    }),
  );
  return {
    told: [first, ...answers.filter((each): each is NodeHealth => "checks" in each)],
    silent: answers.filter((each): each is ClusterHealth["silent"][number] => "reason" in each),
  };
}

/** @throws {StartError} If it tells nothing. */
function mustTell(health: NodeHealth | undefined, who: string): NodeHealth {
  if (health === undefined) throw new StartError(`The node at ${who} tells nothing of its health that makes sense.`);
  return health;
}
