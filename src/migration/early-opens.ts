/**
 * Sessions that a source's primary has opened by a map that this node does not know yet: a task's record reaches the source first as often as the target. They are looked at
 * when this node's map is as new as the source's. If they were refused until then, each move would begin with a pause of the source's before it asks again.
 */
import type { MigrationMessage } from "../codec/migration-codec.ts";
import type { NodeId } from "../contracts/topology.ts";

export type OpenMessage = Extract<MigrationMessage, { readonly type: "open" }>;

interface EarlyOpen {
  readonly from: NodeId;
  readonly message: OpenMessage;
}

/** What a node that says the wrong version may cost. Beyond it sessions are refused as by this node's map, and opened again in a moment. */
const MAX_KEPT = 1024;
const MAX_ID_LENGTH = 64;

export class EarlyOpens {
  readonly #kept = new Map<string, EarlyOpen>();

  /** Keeps it, in place of an earlier one of the same node and task. @returns Whether there is room. */
  keep(from: NodeId, message: OpenMessage): boolean {
    if (message.id.length > MAX_ID_LENGTH) return false;
    const key = `${from} ${message.id}`;
    if (this.#kept.size >= MAX_KEPT && !this.#kept.has(key)) return false;
    this.#kept.set(key, { from, message });
    return true;
  }

  /** Takes those out that a map of this version answers. */
  due(mapVersion: number): readonly EarlyOpen[] {
    const due: EarlyOpen[] = [];
    for (const [key, open] of this.#kept) {
      if (open.message.mapVersion > mapVersion) continue;
      this.#kept.delete(key);
      due.push(open);
    }
    return due;
  }

  /** Its source has ended the session. */
  closed(from: NodeId, session: number): void {
    for (const [key, open] of this.#kept)
      if (open.from === from && open.message.session === session) this.#kept.delete(key);
  }

  /** What was opened on a link ends with it. */
  linkLost(from: NodeId): void {
    for (const [key, open] of this.#kept) if (open.from === from) this.#kept.delete(key);
  }
}
