/** Tasks that move slots, as another node tells of them. */
import { pairsOf, textOf } from "../codec/reply-fields.ts";
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { MigrationPhase, MigrationProgress, MigrationStatus } from "../contracts/migration.ts";
import { parseSlotRange } from "../protocol/slot-ranges.ts";

/** Reads what CLUSTER MIGRATIONS tells, in RESP2. @returns None of what is no such reply. */
export function readTasks(told: ReplyValue): readonly MigrationStatus[] {
  if (!Array.isArray(told)) return [];
  return (told as readonly ReplyValue[]).map((each) => {
    const fields = pairsOf(each);
    const text = (name: string): string => textOf(fields.get(name));
    const count = (name: string): number => Number(fields.get(name) ?? 0);
    const known = (name: string): number | undefined => (fields.get(name) === null ? undefined : count(name));
    const progress: MigrationProgress = {
      slotsDone: count("slots-done"),
      slotsTotal: count("slots-total"),
      keysMoved: count("keys-moved"),
      keysTotal: count("keys-total"),
      bytesMoved: count("bytes-moved"),
      bytesPerSecond: count("bytes-per-second"),
      etaMs: known("eta-ms"),
      fencedMs: count("fenced-ms"),
      restarts: count("restarts"),
    };
    return {
      id: text("id"),
      source: text("source"),
      target: text("target"),
      sourceNode: text("source-node") || undefined,
      targetNode: text("target-node") || undefined,
      slots: text("slots")
        .split(" ")
        .flatMap((range) => parseSlotRange(range) ?? []),
      phase: text("phase") as MigrationPhase,
      isPaused: count("paused") === 1,
      cause: text("cause"),
      startedFor: text("started-for"),
      startedAtMs: count("started-at"),
      endedAtMs: known("ended-at"),
      waitingFor: text("waiting-for") || undefined,
      progress: known("keys-total") === undefined ? undefined : progress,
    };
  });
}
