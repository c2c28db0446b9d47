/** The operation of REST that tells what is right and wrong, what it means, and what to do: as this node sees it, or as all of them do. */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { ReplyError } from "../codec/resp-reader.ts";
import type { Health } from "../contracts/health.ts";
import type { NodeRecord } from "../contracts/topology.ts";
import {
  type ClusterHealth,
  HEALTH_COMMAND,
  type HealthLine,
  type NodeHealth,
  linesOf,
  readHealth,
  stateOf,
} from "../health/cluster-health.ts";
import { Problem } from "../http/problem.ts";
import { type Callers, needs } from "./api.ts";
import { Round, type Word } from "./round.ts";
import { type HealthView, type ToldCheckView, healthSchema, oneOf, record } from "./schemas.ts";
import type { RestSources } from "./sources.ts";
import { checkView } from "./views.ts";

/** How old what other nodes have told may be: checks take some seconds to change, and a page may ask often. */
const FRESH_MS = 3000;

/**
 * Puts together what this node says and what others have said.
 *
 * @param others All other nodes of the map.
 */
export function togetherWith(
  own: NodeHealth,
  others: readonly Pick<NodeRecord, "id" | "name">[],
  words: ReadonlyMap<string, Word>,
): ClusterHealth {
  const told: NodeHealth[] = [own];
  const silent: ClusterHealth["silent"][number][] = [];
  for (const { id, name } of others) {
    const word = words.get(id);
    // It has come since the others were asked: the next round asks it too.
    if (word === undefined) continue;
    const health = "reply" in word ? readHealth(word.reply) : undefined;
    const who = `node ${name || id}`;
    if (health?.nodeId === id) told.push(health);
    else if ("silence" in word) silent.push({ nodeId: id, nodeName: name, reason: word.silence });
    else if (word.reply instanceof ReplyError)
      silent.push({ nodeId: id, nodeName: name, reason: `${who} says: ${word.reply.message}` });
    else if (health === undefined) silent.push({ nodeId: id, nodeName: name, reason: `${who} tells no health` });
    else silent.push({ nodeId: id, nodeName: name, reason: `another node answers at the address of ${who}` });
  }
  return { told, silent };
}

function toldView({ check, fromId, others }: HealthLine): ToldCheckView {
  return { ...checkView(check), node_id: fromId, others };
}

export function healthReads(sources: RestSources, callers: Callers) {
  const round = new Round(sources, HEALTH_COMMAND, FRESH_MS, false);
  const ownOf = (health: Health): NodeHealth => {
    const { checks, checkedAtMs, state, view } = health;
    return { ...view, checks, checkedAtMs, state };
  };
  const together = async (health: Health): Promise<ClusterHealth> => {
    const words = await round.words();
    const { map, self } = sources.topology;
    const others = map.nodes.filter(({ id }) => id !== self.id);
    return togetherWith(ownOf(health), others, words);
  };
  const read = async (isOfAll: boolean): Promise<HealthView> => {
    const { health } = sources;
    if (health === undefined) throw new Problem("unavailable", "No plugin of this node judges health.");
    const all = isOfAll ? await together(health) : { told: [ownOf(health)], silent: [] };
    const { nodeId, leader = null } = health.view;
    return {
      state: stateOf(all),
      checked_at: health.checkedAtMs,
      node_id: nodeId,
      leader,
      checks: linesOf(all).map(toldView),
      asked: all.told.length + all.silent.length,
      silent: all.silent.map(({ nodeId: id, reason }) => ({ node_id: id, reason })),
    };
  };
  return new Elysia({ prefix: "/cluster", normalize: false }).get(
    "/health",
    ({ query }) => read(query.nodes === "all"),
    {
      ...needs(callers, "read", "What is right and wrong, what it means, and what to do", {
        description: `Other nodes are asked at most once in ${FRESH_MS} ms, whoever asks.`,
      }),
      query: record({
        nodes: Type.Optional(
          oneOf(["one", "all"], "`one`: as this node sees it (the default). `all`: as all nodes of the map do."),
        ),
      }),
      response: { 200: healthSchema },
    },
  );
}
