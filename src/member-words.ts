/**
 * Why a member is held for gone, for people: by the names of those who have found it.
 *
 * Membership itself names nodes by the beginnings of their ids, and of what others have told it keeps only who did. Both are made words of here, where the map is at hand,
 * so that nothing between nodes depends on how it is said. Causes in the history of the map hold the same words, and are made readable the same way.
 */
import type { MemberHealth } from "./contracts/membership.ts";
import type { NodeId, NodeRecord } from "./contracts/topology.ts";

type Named = Pick<NodeRecord, "id" | "name">;

/** Digits of an id that membership's reasons have. */
const BEGINNING = 8;

/** What is said of a member by those who have told of it. */
const FOUND: Readonly<Record<MemberHealth["state"], string>> = {
  alive: "says that it answers",
  suspect: "found that it does not answer",
  down: "found that it does not answer",
  left: "says that it has stopped in order",
};

/** The one node whose id is or begins so, by its name; without one, the beginning. */
function nameOf(id: string, nodes: readonly Named[]): string {
  const found = nodes.filter((node) => node.id.startsWith(id));
  return (found.length === 1 ? found[0]?.name : "") || id.slice(0, BEGINNING);
}

function listOf(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1) ?? ""}`;
}

/** A sentence that has a reason of membership in it, such as a cause, with names in the place of beginnings of ids. */
export function withMemberNames(text: string, nodes: readonly Named[]): string {
  return text
    .replaceAll(
      /\b(?:(alive|suspect|down|left): )?([0-9a-f]{8}) (?:told|holds) so\b/g,
      (_, state: MemberHealth["state"] | undefined, beginning: string) =>
        state === undefined
          ? `${nameOf(beginning, nodes)} says so`
          : `${state}: ${nameOf(beginning, nodes)} ${FOUND[state]}`,
    )
    .replaceAll(
      /\bsuspected by ([0-9a-f]{8}(?:, [0-9a-f]{8})*)\b/g,
      (_, all: string) => `suspected by ${listOf(all.split(", ").map((beginning) => nameOf(beginning, nodes)))}`,
    );
}

/** Why a member is in its state, in words: who found it, or, where this node has judged it itself, for how long it was waited for. */
export function reasonInWords(
  { state, reason, suspectedBy }: Pick<MemberHealth, "state" | "reason" | "suspectedBy">,
  nodes: readonly Named[],
): string {
  const [, teller] = /^([0-9a-f]{8}) (?:told|holds) so$/.exec(reason) ?? [];
  if (teller === undefined) return withMemberNames(reason, nodes);
  // Who told of it may have heard it from others.
  const finders: readonly NodeId[] = state === "suspect" || state === "down" ? suspectedBy.map((by) => by.nodeId) : [];
  const names = (finders.length > 0 ? finders : [teller]).map((id) => nameOf(id, nodes));
  return `${listOf(names)} ${FOUND[state]}`;
}
