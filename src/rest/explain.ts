/**
 * Why things are as they are: who has a slot, a shard or a node, since which decision, and what stands in the way of the next.
 *
 * Every act on the cluster map is remembered with its cause, for the last ten thousand of them. An act is about something if one of its sentences names it.
 */
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { HistoryEntry, NodeRecord, ShardRecord, Topology } from "../contracts/topology.ts";
import { reasonInWords, withMemberNames } from "../member-words.ts";
import { HISTORY_LENGTH } from "../protocol/topology/state.ts";
import { parseSlotRange } from "../protocol/slot-ranges.ts";
import type { Nodes } from "./nodes.ts";
import type { RestSources } from "./sources.ts";
import { heardLeader, whyNoLeader } from "./views.ts";

type TopologySource = Pick<RestSources, "topology">;

/** Where it is read what stands in the way. */
export interface ObstacleSources extends Pick<
  RestSources,
  "topology" | "view" | "consensus" | "membership" | "failover" | "migrations"
> {
  readonly nodes: Pick<Nodes, "ask">;
}

/** How long the leader may take to tell its reasons. */
const PATIENCE_MS = 1000;

/** What is asked about. */
export type Subject =
  | { readonly type: "slot"; readonly slot: number }
  | { readonly type: "shard"; readonly shard: ShardRecord }
  | { readonly type: "node"; readonly node: NodeRecord };

/** Acts that make somebody the owner of slots, or a shard's primary. */
const DECIDING = /assigned|(?<!may be )completed|given to|promoted|goes on with|created|admitted/;
/** Acts that say which member of a shard leads it. */
const LEADING = /promoted|goes on with/;
/** Acts that make a node a member of a shard. */
const JOINING = /added to shard|created with primary/;
const OF_MEMBERS = new RegExp(`${LEADING.source}|${JOINING.source}`);

/** Whether a sentence of the history names a slot. */
function namesSlot(sentence: string, slot: number): boolean {
  const listed = /slots? ([0-9][0-9 -]*)/.exec(sentence)?.[1] ?? "";
  return listed
    .trim()
    .split(" ")
    .some((text) => {
      const range = parseSlotRange(text);
      return range !== undefined && slot >= range.first && slot <= range.last;
    });
}

/** The task that a sentence is about. */
function taskOf(sentence: string): string | undefined {
  return /^migration (\S+) /.exec(sentence)?.[1];
}

/** Since when a node has been in its shard, as a version of the map; 0: since before what is remembered. */
function joinedAt(history: readonly HistoryEntry[], node: string, shard: string): number {
  const isIt = (sentence: string): boolean =>
    JOINING.test(sentence) && sentence.includes(node) && sentence.includes(shard);
  return history.findLast(({ changes }) => changes.some(isIt))?.version ?? 0;
}

/** The acts about something, the newest first. */
export function historyOf({ topology }: TopologySource, subject: Subject): readonly HistoryEntry[] {
  const { history, map } = topology;
  const names = new Set<string>();
  const tasks = new Set<string>();
  let shard: ShardRecord | undefined;
  let fromVersion = 0;
  switch (subject.type) {
    case "slot":
      shard = map.shards[map.shardOfSlot[subject.slot] ?? -1];
      break;
    case "shard":
      names.add(subject.shard.id);
      break;
    case "node":
      names.add(subject.node.id);
      shard = map.shards.find(
        ({ primary, replicas }) => primary === subject.node.id || replicas.includes(subject.node.id),
      );
      if (shard !== undefined) fromVersion = joinedAt(history, subject.node.id, shard.id);
      break;
    default:
      subject satisfies never;
  }
  const isAbout = (sentence: string, version: number): boolean => {
    const task = taskOf(sentence);
    if (task !== undefined && tasks.has(task)) return true;
    // Who leads a slot's shard serves the slot; and who leads its shard instead of a node has made that a replica.
    const isOfLeading =
      shard !== undefined && version >= fromVersion && sentence.includes(shard.id) && LEADING.test(sentence);
    const isNamed =
      isOfLeading ||
      (subject.type === "slot"
        ? namesSlot(sentence, subject.slot)
        : [...names].some((name) => sentence.includes(name)));
    if (isNamed && task !== undefined) tasks.add(task);
    return isNamed;
  };
  // In order: what becomes of a task is told under its id alone.
  return history
    .filter(({ changes, version }) => changes.filter((sentence) => isAbout(sentence, version)).length > 0)
    .toReversed();
}

/**
 * The act that made it so that somebody has it; of a node the one that made it what it is in its shard, or if there is none the one by which it has come.
 *
 * @param acts All acts about it, the newest first.
 */
export function sinceOf(acts: readonly HistoryEntry[], type: Subject["type"]): HistoryEntry | undefined {
  const latest = (wanted: RegExp): HistoryEntry | undefined =>
    acts.find(({ changes }) => changes.some((sentence) => wanted.test(sentence)));
  return (type === "node" ? latest(OF_MEMBERS) : undefined) ?? latest(DECIDING);
}

/**
 * Why a move was begun that an act has completed: the act itself says only how it came to its end.
 *
 * @param acts All acts about what was moved.
 * @returns `undefined`: it has completed none, or that is not remembered.
 */
export function wantedBy(act: HistoryEntry, acts: readonly HistoryEntry[]): string | undefined {
  const [task] = act.changes.flatMap((sentence) => /^migration (\S+) completed/.exec(sentence)?.[1] ?? []);
  if (task === undefined) return undefined;
  return acts.find(({ changes }) => changes.some((sentence) => sentence.startsWith(`migration ${task} of slots `)))
    ?.cause;
}

/**
 * The version of the map with which the cluster was founded, which is no act: it is what there was before the first one.
 *
 * @returns `undefined`: acts have been forgotten, so that nobody can tell any more; or there is no cluster yet.
 */
export function foundingVersion({ history, map }: Pick<Topology, "history" | "map">): number | undefined {
  if (map.version === 0 || history.length >= HISTORY_LENGTH) return undefined;
  const [first] = history;
  return first === undefined ? map.version : first.version - 1;
}

/**
 * Since when something is as it is that no act has made so.
 *
 * @param acts All acts about it.
 * @param hasOwner Somebody has it.
 * @returns The version of the founding, or `undefined` if it was not the founding, or if that is not known.
 */
export function sinceFounding(
  topology: Pick<Topology, "history" | "map">,
  acts: readonly HistoryEntry[],
  type: Subject["type"],
  hasOwner: boolean,
): number | undefined {
  // What nobody has, and what was decided about, somebody has let go.
  const isUntouched = sinceOf(acts, type) === undefined && (hasOwner || acts.length === 0);
  return isUntouched ? foundingVersion(topology) : undefined;
}

/** What the leader says of shards whose primary is gone, by shard. */
async function reasonsOfLeader({
  failover,
  consensus,
  topology,
  nodes,
}: ObstacleSources): Promise<ReadonlyMap<string, string>> {
  const leader = heardLeader(consensus);
  if (failover === undefined || leader === undefined) return new Map();
  if (leader === topology.self.id) return failover.reasons;
  const node = topology.node(leader);
  const told = node === undefined ? undefined : await nodes.ask(node, ["INFO", "failover"], PATIENCE_MS);
  return new Map(
    [...textOf(told).matchAll(/^shard_([0-9a-f]{40}):(.*?)\r?$/gm)].map(([, id = "", reason = ""]) => [id, reason]),
  );
}

function textOf(reply: ReplyValue | undefined): string {
  if (reply instanceof Uint8Array) return new TextDecoder().decode(reply);
  return typeof reply === "string" ? reply : "";
}

/** What stands in the way, in words; nothing: all is as it should be. */
export async function obstaclesOf(sources: ObstacleSources, subject: Subject): Promise<readonly string[]> {
  const { topology, view } = sources;
  const { map } = topology;
  const nameOf = (id: string): string => topology.node(id)?.name || id;
  const found: string[] = [];
  // Whatever the next step is: nobody decides it.
  const leaderless = whyNoLeader(sources);
  if (leaderless !== undefined) found.push(leaderless);
  const wordsOf = (id: string): string | undefined => {
    const health = id === topology.self.id ? undefined : view.healthOf(id);
    return health === undefined || health.state === "alive" ? undefined : reasonInWords(health, map.nodes);
  };
  const isTold = (words: string): boolean => found.some((each) => each.includes(words));
  const ofShard = async (shard: ShardRecord): Promise<void> => {
    const told = (await reasonsOfLeader(sources)).get(shard.id);
    if (told !== undefined) found.push(withMemberNames(told, map.nodes));
    const why = view.whyNotServed(shard);
    // What the leader says of a primary that is gone may have that in it, and more.
    if (why !== undefined && !isTold(wordsOf(shard.primary) ?? why)) found.push(why);
    for (const id of shard.replicas) {
      if (!shard.inSync.includes(id)) found.push(`replica ${nameOf(id)} is not in sync`);
    }
  };
  const ofTasks = (
    isWanted: (task: { source: string; target: string; slots: readonly { first: number; last: number }[] }) => boolean,
  ): void => {
    for (const task of sources.migrations?.tasks ?? []) {
      if (task.endedAtMs !== undefined || !isWanted(task)) continue;
      found.push(
        `task ${task.id} moves slots to ${nameOf(task.targetNode ?? task.target)}${task.waitingFor === undefined ? "" : `, and waits: ${task.waitingFor}`}`,
      );
    }
  };
  switch (subject.type) {
    case "slot": {
      const { slot } = subject;
      const isIn = (ranges: readonly { first: number; last: number }[]): boolean =>
        ranges.some(({ first, last }) => slot >= first && slot <= last);
      const shard = map.shards[map.shardOfSlot[slot] ?? -1];
      if (shard === undefined) found.push("nobody owns the slot: POST /cluster/slots/assign gives it to a node");
      else await ofShard(shard);
      for (const { node, slots } of map.releases) {
        if (isIn(slots))
          found.push(`node ${nameOf(node)}, which had it before, has not said that it knows it has lost it`);
      }
      if (map.openSlots.some((open) => open.slot === slot))
        found.push("it is moved key by key: CLUSTER SETSLOT ends that");
      ofTasks(({ slots }) => isIn(slots));
      break;
    }
    case "shard": {
      const { shard } = subject;
      await ofShard(shard);
      ofTasks(({ source, target }) => source === shard.id || target === shard.id);
      break;
    }
    case "node": {
      const { node } = subject;
      const { waitingFor } = topology;
      if (node.id === topology.self.id && waitingFor !== undefined) found.push(`this node waits for ${waitingFor}`);
      if (node.incarnation === 0) found.push("it has not started yet");
      const shard = map.shards.find(({ primary, replicas }) => primary === node.id || replicas.includes(node.id));
      if (shard !== undefined) await ofShard(shard);
      const words = wordsOf(node.id);
      if (words !== undefined && !isTold(words))
        found.push(`it is ${view.healthOf(node.id)?.state ?? "gone"}: ${words}`);
      if (shard?.primary === node.id && shard.slots.length > 0)
        found.push("it owns slots: it cannot be taken out before they are moved");
      break;
    }
    default:
      subject satisfies never;
  }
  return [...new Set(found)];
}
