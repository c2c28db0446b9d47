/** Error replies and refusals, which are in Redis' words, as problems. */
import { Problem, type ProblemKind } from "../http/problem.ts";
import { STALE } from "../protocol/topology/decision.ts";

/** Kinds by the word that an error begins with. All others are conflicts with how things are. */
const KINDS: Readonly<Record<string, ProblemKind>> = {
  CLUSTERDOWN: "cluster-down",
  TRYAGAIN: "unavailable",
  UNKNOWN: "outcome-unknown",
  NOREPLICAS: "unavailable",
  MASTERDOWN: "unavailable",
  OOM: "unavailable",
  BUSY: "unavailable",
  LOADING: "unavailable",
};

/** What begins like this may have been done. */
const NOBODY_KNOWS = "nobody knows";
/** When to ask again what cannot be done at this moment, in seconds. */
const RETRY_S = 1;

/**
 * A problem of an error reply, or of the reason for which something was refused.
 *
 * @param text Such as `ERR slot 7 is being moved`.
 */
export function problemOf(text: string): Problem {
  if (text.startsWith(STALE)) return new Problem("stale", sentence(text.slice(STALE.length)));
  if (text.startsWith(NOBODY_KNOWS)) return new Problem("outcome-unknown", sentence(text));
  const [word = ""] = text.split(" ", 1);
  const isWord = /^[A-Z]+$/.test(word);
  const rest = isWord ? text.slice(word.length + 1) : text;
  const kind =
    (isWord ? KINDS[word] : undefined) ?? (/^unknown (sub)?command/i.test(rest) ? "unavailable" : "conflict");
  const detail =
    kind === "unavailable" && /^unknown/i.test(rest) ? "No plugin of this node does that." : sentence(rest);
  const mayRetry = kind === "unavailable" || kind === "cluster-down";
  return new Problem(kind, detail, {
    ...(mayRetry ? { retryAfterS: RETRY_S } : {}),
    ...(isWord && word !== "ERR" ? { members: { code: word } } : {}),
  });
}

function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? "" : "."}`;
}
