/**
 * What no member ever says. A machine relies on the form of what it hears, and stops by an assertion where that is broken: so nothing of this kind is let
 * in to it. Pure.
 *
 * What is sane may still be untrue; whoever proves the cluster's secret is believed.
 */
import type { Configuration, Entry, Message, SnapshotPart } from "./types.ts";

/** Terms, indexes and rounds are below it: a machine counts on from what it hears, and must not come to numbers that are not exact. */
export const NUMBER_LIMIT = 2 ** 50;
/** A snapshot is gathered in memory before it is used: more than ten times the map of the largest cluster. */
export const MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024;
/** SHA-256, in hexadecimal digits. */
const DIGEST = /^[0-9a-f]{64}$/;

/** Whether a member may have said this. */
export function isSane(message: Message): boolean {
  if (!isNumber(message.term)) return false;
  switch (message.type) {
    case "vote-request":
      return isNumber(message.lastIndex) && isNumber(message.lastTerm) && message.lastTerm <= message.term;
    case "vote-response":
      return message.leaderHeardTicksAgo === undefined || isNumber(message.leaderHeardTicksAgo);
    case "append":
      return isNumber(message.commitIndex) && areSaneEntries(message);
    case "append-response":
      return isNumber(message.index) && isNumber(message.hintIndex) && isNumber(message.hintTerm);
    case "heartbeat":
      return isNumber(message.commitIndex) && isNumber(message.round);
    case "heartbeat-response":
      return isNumber(message.round);
    case "snapshot":
      return isSaneSnapshot(message);
    case "snapshot-response":
      return isNumber(message.snapshotIndex) && isNumber(message.nextOffset);
    case "timeout-now":
      return true;
    case "read-request":
      return isNumber(message.id);
    case "read-response":
      return isNumber(message.id) && isNumber(message.index);
    case "fetch":
      return (
        isNumber(message.index) &&
        isNumber(message.indexTerm) &&
        message.indexTerm <= message.term &&
        (message.part === undefined || isSanePart(message.part))
      );
    case "fetch-response":
      return areSaneEntries(message);
    case "fetch-snapshot":
      return DIGEST.test(message.digest) && isSaneSnapshot(message);
    default:
      return message satisfies never;
  }
}

/** Entries follow each other and what is before them, in terms that do not fall and that the sender has reached. */
function areSaneEntries(message: Extract<Message, { readonly type: "append" | "fetch-response" }>): boolean {
  const { previousIndex, entries } = message;
  if (!isNumber(previousIndex + entries.length)) return false;
  let term = message.previousTerm;
  if (!isNumber(previousIndex) || !isNumber(term)) return false;
  for (const [at, entry] of entries.entries()) {
    if (entry.index !== previousIndex + 1 + at || entry.term < term || !isSaneEntry(entry)) return false;
    term = entry.term;
  }
  return term <= message.term;
}

function isSaneEntry({ term, configuration }: Entry): boolean {
  return isNumber(term) && (configuration === undefined || isSaneConfiguration(configuration));
}

function isSanePart({ index, term, digest, offset }: SnapshotPart): boolean {
  return isNumber(index) && isNumber(term) && DIGEST.test(digest) && isNumber(offset);
}

/**
 * A piece lies in its snapshot, and brings something of it: pieces of nothing would never end. Of those that were asked for the first names the members, and no
 * other does.
 */
function isSaneSnapshot(message: Extract<Message, { readonly type: "snapshot" | "fetch-snapshot" }>): boolean {
  const { snapshotIndex, snapshotTerm, totalBytes, offset, bytes, configuration } = message;
  return (
    isNumber(snapshotIndex) &&
    isNumber(snapshotTerm) &&
    snapshotTerm <= message.term &&
    isNumber(offset) &&
    totalBytes >= 0 &&
    totalBytes <= MAX_SNAPSHOT_BYTES &&
    offset + bytes.length <= totalBytes &&
    (bytes.length > 0 || totalBytes === 0) &&
    (configuration === undefined || isSaneConfiguration(configuration)) &&
    (message.type === "snapshot" || (configuration !== undefined) === (offset === 0))
  );
}

/** Each member once, and somebody votes: a group without voters decides nothing any more. */
function isSaneConfiguration({ members }: Configuration): boolean {
  return members.some(({ isVoter }) => isVoter) && new Set(members.map(({ id }) => id)).size === members.length;
}

function isNumber(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < NUMBER_LIMIT;
}
