/** `bunch explain`: who has a key, a slot, a node's slots or a shard, since which decision, and what stands in the way of the next. */
import { Argument, Command } from "commander";
import pc from "picocolors";
import { StartError } from "../errors.ts";
import type { MigrationView, NodeDetail, NodeView, ShardView } from "../rest/schemas.ts";
import { type RestAccess, withRest } from "./rest-access.ts";
import { type JsonFlags, tell } from "./rest-command.ts";
import { moveWords, nameIn, paintState, rangesWords, roleWords, withNodeNames } from "./rest-tables.ts";

const SUBJECTS = ["key", "slot", "node", "shard"] as const;
type SubjectType = (typeof SUBJECTS)[number];

interface Act {
  readonly version: number;
  readonly time: number;
  readonly cause: string;
  readonly changes: readonly string[];
}

/** As `GET /cluster/explain` tells it. */
export interface Explanation {
  readonly map_version: number;
  readonly slot: number | null;
  readonly owner: string | null;
  readonly shard_id: string | null;
  readonly node: NodeDetail | null;
  readonly shard: ShardView | null;
  readonly migration: MigrationView | null;
  readonly since: Act | null;
  /** Where that is the end of a move: who wanted it and why. */
  readonly since_wanted: string | null;
  /** The version of the map with which the cluster was founded, if it has been so since then. */
  readonly since_founding: number | null;
  readonly obstacles: readonly string[];
  readonly history: readonly Act[];
}

interface Told {
  readonly explanation: Explanation;
  readonly nodes: readonly NodeView[];
}

/** What a person calls a node or a shard, as its id: the id or its beginning, a name, an address; a shard also by a node in it. */
function idOf(type: "node" | "shard", text: string, nodes: readonly NodeView[]): string {
  const isCalled = ({ id, name, address }: NodeView): boolean =>
    name === text || address === text || (text.length >= 4 && id.startsWith(text));
  const found = nodes.filter(isCalled);
  if (type === "node") {
    const [node, ...others] = found;
    if (node === undefined) throw new StartError(`There is no node ${text}; bunch nodes lists them.`);
    if (others.length > 0) throw new StartError(`Several nodes are called ${text}: name one by its id.`);
    return node.id;
  }
  const shards = nodes.flatMap(({ shard_id: id }) => (id === null ? [] : [id]));
  const named = found.length > 0 ? found.map(({ shard_id: id }) => id) : shards.filter((id) => id.startsWith(text));
  const ids = new Set(named.filter((id) => id !== null));
  const [id] = ids;
  if (id === undefined)
    throw new StartError(`There is no shard ${text}: name one by its id, or by a node that is in it.`);
  if (ids.size > 1) throw new StartError(`Several shards are called ${text}: name one by its id.`);
  return id;
}

async function askExplanation(access: RestAccess, type: SubjectType, text: string, limit: string): Promise<Told> {
  const { nodes } = await access.get<{ readonly nodes: readonly NodeView[] }>("/cluster/nodes");
  const subject = type === "node" || type === "shard" ? idOf(type, text, nodes) : text;
  const query = new URLSearchParams({ [type]: subject, limit });
  return { explanation: await access.get<Explanation>(`/cluster/explain?${query.toString()}`), nodes };
}

function actLines({ version, time, cause, changes }: Act, nodes: readonly NodeView[]): readonly string[] {
  const at = new Date(time).toISOString().replace("T", " ").slice(0, 19);
  return [
    `  ${at}  version ${version}: ${withNodeNames(nodes, cause)}`,
    ...changes.map((change) => pc.dim(`    ${withNodeNames(nodes, change)}`)),
  ];
}

/** All that people need to see. */
export function describeExplanation({ explanation, nodes }: Told): string {
  const { slot, owner, node, shard, migration, since, since_founding: founding, obstacles, history } = explanation;
  const { since_wanted: wanted } = explanation;
  const lines: string[] = [];
  if (node !== null)
    lines.push(`${nameIn(nodes, node.id)} is ${paintState(node.state)}: ${roleWords(nodes, node)}, id ${node.id}`);
  if (slot !== null) lines.push(`slot ${slot} is ${owner === null ? pc.red("nobody's") : `${nameIn(nodes, owner)}'s`}`);
  if (shard !== null) {
    const replicas = shard.replicas.map((id) => nameIn(nodes, id)).join(", ") || "nobody";
    const served = shard.is_served ? pc.green("is served") : pc.red("is not served");
    lines.push(
      `shard ${shard.id.slice(0, 8)} ${served}: led by ${nameIn(nodes, shard.primary)}, replicated by ${replicas}, slots ${rangesWords(shard.slots) || "none"}`,
    );
  }
  if (migration !== null && "state" in migration) lines.push(`move: ${moveWords(nodes, migration)}`);
  lines.push(
    "",
    since !== null
      ? "It is so since"
      : founding === null
        ? "It is so since before what is remembered."
        : `It is so since the cluster was founded, version ${founding} of its map.`,
    ...(since === null ? [] : actLines(since, nodes)),
    ...(wanted === null ? [] : [`  the move was wanted by ${withNodeNames(nodes, wanted)}`]),
    "",
    obstacles.length === 0 ? "Nothing stands in the way." : "In the way:",
    ...obstacles.map((obstacle) => `  ${pc.yellow(withNodeNames(nodes, obstacle))}`),
  );
  if (history.length > 0)
    lines.push("", "What was decided about it, the newest first:", ...history.flatMap((act) => actLines(act, nodes)));
  return lines.join("\n");
}

/** Makes the subcommand. */
export function explainCommand(): Command {
  return withRest(new Command("explain"))
    .addArgument(new Argument("<what>", "what is asked about").choices(SUBJECTS))
    .argument("<which>", "the key, the slot's number, the node's or shard's name or id (or its beginning)")
    .description(
      "Tells who has a key, a slot, a node's slots or a shard, since which decision, and what stands in the way of the next. Exit code 2: there is no such thing, 3: the node does not answer.",
    )
    .option("--limit <count>", "how many decisions are told at most", "10")
    .option("--json", "prints all of it as JSON", false)
    .action(async (type: SubjectType, text: string, flags: JsonFlags & { readonly limit: string }) => {
      let told: Told | undefined;
      await tell(
        flags,
        async (access) => {
          told = await askExplanation(access, type, text, flags.limit);
          return told.explanation;
        },
        () => (told === undefined ? "" : describeExplanation(told)),
      );
    });
}
