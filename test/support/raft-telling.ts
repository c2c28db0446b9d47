/** What Raft members say and do, as lines that one can read aloud. */
import type { Configuration, Effect, Entry, Message } from "../../src/protocol/raft/types.ts";

const decoder = new TextDecoder();

/** The voters and learners of a configuration. */
export function tellConfiguration({ members }: Configuration): string {
  return members.map(({ id, isVoter }) => (isVoter ? id : `${id} (learner)`)).join(", ");
}

/** One entry: its index, its term, what it holds. */
export function tellEntry({ index, term, data, configuration }: Entry): string {
  if (configuration !== undefined) return `${index} (term ${term}) members ${tellConfiguration(configuration)}`;
  return `${index} (term ${term}) ${data === undefined ? "opens the term" : `"${decoder.decode(data)}"`}`;
}

function tellEntries(entries: readonly Entry[]): string {
  return entries.map(tellEntry).join("; ");
}

/** What a message says. */
export function tellMessage(message: Message): string {
  switch (message.type) {
    case "vote-request": {
      const log = `my log ends at ${message.lastIndex} (term ${message.lastTerm})`;
      if (message.isPreVote) return `would you vote for me in term ${message.term}? ${log}`;
      return `vote for me in term ${message.term}${message.isTransfer ? ", the leader wants it" : ""}; ${log}`;
    }
    case "vote-response": {
      const answer = message.isGranted ? "yes" : "no";
      const ticks = message.leaderHeardTicksAgo;
      const heard = ticks === undefined ? ", no leader was ever heard" : `, a leader was heard ${ticks} ticks ago`;
      return `${answer} to the ${message.isPreVote ? "question" : "vote"}, term ${message.term}${heard}`;
    }
    case "append": {
      const after = `after ${message.previousIndex} (term ${message.previousTerm})`;
      const what = message.entries.length === 0 ? "nothing new" : tellEntries(message.entries);
      return `term ${message.term}, ${after}: ${what}; committed to ${message.commitIndex}`;
    }
    case "append-response":
      if (!message.isRejected) return `term ${message.term}, I have yours up to ${message.index}`;
      return `term ${message.term}, nothing that fits at ${message.index}; try ${message.hintIndex} (term ${message.hintTerm})`;
    case "heartbeat":
      return `term ${message.term}, heartbeat ${message.round}; committed to ${message.commitIndex}`;
    case "heartbeat-response":
      return message.round === 0
        ? `the term is ${message.term}`
        : `term ${message.term}, to heartbeat ${message.round}`;
    case "snapshot":
    case "fetch-snapshot": {
      const { snapshotIndex, snapshotTerm, offset, bytes, totalBytes } = message;
      return `term ${message.term}, snapshot at ${snapshotIndex} (term ${snapshotTerm}), bytes ${offset} to ${offset + bytes.length} of ${totalBytes}`;
    }
    case "snapshot-response":
      return `term ${message.term}, of the snapshot at ${message.snapshotIndex} I want bytes from ${message.nextOffset}`;
    case "timeout-now":
      return `term ${message.term}, stand for election now`;
    case "read-request":
      return `term ${message.term}, where may read ${message.id} be made?`;
    case "read-response":
      return message.index === 0
        ? `term ${message.term}, read ${message.id} cannot be made`
        : `term ${message.term}, read ${message.id} at ${message.index}`;
    case "fetch": {
      const { part } = message;
      const has = part === undefined ? "" : ` I have ${part.offset} bytes of the snapshot at ${part.index}`;
      return `term ${message.term}, what is committed after ${message.index} (term ${message.indexTerm})?${has}`;
    }
    case "fetch-response": {
      const after = `after ${message.previousIndex} (term ${message.previousTerm})`;
      if (message.entries.length === 0) return `term ${message.term}, nothing that I could give you ${after}`;
      return `term ${message.term}, committed ${after}: ${tellEntries(message.entries)}`;
    }
    default:
      return message satisfies never;
  }
}

/** What a member does. */
export function tellEffect(effect: Effect): string {
  switch (effect.type) {
    case "persist": {
      const { term, votedFor, entries, snapshot } = effect;
      const parts = [`term ${term}, vote ${votedFor ?? "none"}`];
      if (snapshot !== undefined) parts.push(`snapshot at ${snapshot.index} (term ${snapshot.term})`);
      if (entries.length > 0) parts.push(`entries ${tellEntries(entries)}`);
      return `writes ${parts.join("; ")}`;
    }
    case "send":
      return `to ${effect.to}: ${tellMessage(effect.message)}`;
    case "apply":
      return `applies ${tellEntries(effect.entries)}`;
    case "restore":
      return `is now at the snapshot ${effect.snapshot.index} (term ${effect.snapshot.term})`;
    case "role": {
      const whom = effect.leader === undefined ? "no leader" : `leader ${effect.leader}`;
      return `is ${effect.role} in term ${effect.term}${effect.role === "leader" ? "" : `, ${whom}`}`;
    }
    case "proposed":
      return `takes it as ${effect.index} (term ${effect.term})`;
    case "refused":
      return `refuses: ${effect.reason}`;
    case "read-ready":
      return `read ${effect.id} may be made once ${effect.index} is applied`;
    case "read-failed":
      return `read ${effect.id} has failed`;
    default:
      return effect satisfies never;
  }
}
