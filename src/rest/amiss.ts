/** What is amiss, as people read it: what is the same of many nodes is said once, and what means the same is together. For the command line and for the page alike. */
import type { HealthView, ToldCheckView } from "./schemas.ts";

/** Checks of one name and state. */
export interface Amiss {
  readonly name: string;
  readonly state: ToldCheckView["state"];
  /** Since when the first of them. */
  readonly since: number;
  /** What was found: of a check on nodes a line for each, with its name. */
  readonly findings: readonly string[];
  /** Whose view it is; empty where each finding names its node. */
  readonly from: string;
  readonly meaning: string;
  readonly advice: string;
  /** All of it is well again, and is told for some seconds more. */
  readonly isOver: boolean;
}

/** What nodes are called. */
export interface Names {
  of(id: string): string;
  /** A text with names in the place of ids. */
  inText(text: string): string;
}

/** An id of a node or a shard, and the name that some sentences have behind it. What is typed as a command keeps its ids: nodes know no names there. */
const ID = /(?<!(?:FORGET|ACCEPT-LOSS|explain|explain shard) )\b(shard )?([0-9a-f]{40})\b( \([A-Za-z0-9._-]+\))?/g;

/**
 * A text with names in the place of ids: nodes by theirs, shards by their primaries'.
 *
 * @param nameOf What a node is called; `undefined`: it is not known.
 * @param primaryOf The id of a shard's primary, if there is such a shard.
 * @param other What stands for an id that is neither.
 */
export function withNames(
  text: string,
  nameOf: (id: string) => string | undefined,
  primaryOf: (shard: string) => string | undefined,
  other: (id: string) => string,
): string {
  return text.replaceAll(ID, (_, word = "", id: string, more = "") => {
    const name = nameOf(id);
    if (name !== undefined) return `${String(word)}${name}${more === ` (${name})` ? "" : String(more)}`;
    const primary = primaryOf(id);
    if (primary === undefined) return `${String(word)}${other(id)}${String(more)}`;
    return `the shard of ${nameOf(primary) ?? other(primary)}${String(more)}`;
  });
}

/** Nodes of which it is told one by one what is amiss; of more with the same, their names. */
const MAX_FINDINGS = 4;

/** That nodes do not tell is amiss as well: it has the name that `bunch health` gives it. */
const SILENCE = {
  name: "answer",
  state: "warn",
  meaning: "Nobody knows how these nodes are: the node that was asked has asked them, and was not told.",
  advice:
    "See whether their processes run, what their logs say, and whether the node that was asked reaches the port of their clients.",
} as const;

/** What is critical comes first, what is over last; else as it was told. */
export function amissOf({ checks, silent, checked_at: since }: HealthView, names: Names): readonly Amiss[] {
  const groups = new Map<string, readonly ToldCheckView[]>();
  for (const check of checks) {
    const key = `${check.state} ${check.name}`;
    if (check.state !== "ok") groups.set(key, [...(groups.get(key) ?? []), check]);
  }
  const all: Amiss[] = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { name, state, scope, meaning, advice, node_id: teller, others } = first;
    const isOfNodes = scope === "node";
    const findings = group.map(({ node_id: id, summary }) => {
      const words = names.inText(summary);
      return { id, text: isOfNodes ? `${names.of(id)}: ${words}` : words };
    });
    return [
      {
        name,
        state,
        since: Math.min(...group.map((check) => check.since)),
        findings: shortened(findings, names),
        from: isOfNodes ? "" : `${names.of(teller)}${others === 0 ? "" : ` and ${others} more`}`,
        meaning,
        advice,
        isOver: group.every(({ values }) => "well-ms" in values),
      },
    ];
  });
  if (silent.length > 0) {
    const findings = silent.map(({ node_id: id, reason }) => ({ id, text: names.inText(reason) }));
    all.push({ ...SILENCE, since, from: "", findings: shortened(findings, names), isOver: false });
  }
  const rank = ({ state, isOver }: Amiss): number => (isOver ? 2 : state === "critical" ? 0 : 1);
  return all.toSorted((one, other) => rank(one) - rank(other));
}

function shortened(
  findings: readonly { readonly id: string; readonly text: string }[],
  names: Names,
): readonly string[] {
  const shown = findings.slice(0, MAX_FINDINGS).map(({ text }) => text);
  const others = findings.slice(MAX_FINDINGS).map(({ id }) => names.of(id));
  return others.length === 0 ? shown : [...shown, `and ${others.length} more: ${others.join(", ")}`];
}
