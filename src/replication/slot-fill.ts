/** The filling of a replica, or of slots that move to another shard, as the sender keeps it: a slot stream, and the effects that go with it. */
import type { Command } from "../command-table.ts";
import type { Effect } from "../contracts/commands.ts";
import type { Keyspace } from "../contracts/keyspace.ts";
import type { FillProgress } from "../contracts/replication.ts";
import type { SlotRange } from "../contracts/topology.ts";
import { EntryReader, entryOfSlots } from "./shard-log.ts";
import { SlotSource } from "./slot-source.ts";

export class SlotFill {
  readonly #source: SlotSource;
  readonly #reader = new EntryReader();
  readonly #startedAtMs: number;
  readonly #nowMs: () => number;
  #isConfirmed = false;

  /** @param isNew The receiver has no key of the slots, which then need no digests. */
  constructor(keyspace: Keyspace, slots: readonly SlotRange[], nowMs: () => number, isNew = false) {
    this.#source = new SlotSource(keyspace, slots, isNew ? { maxDigestBytes: 0 } : {});
    this.#nowMs = nowMs;
    this.#startedAtMs = nowMs();
  }

  /** The receiver has said that it has everything. */
  get isDone(): boolean {
    return this.#source.isDone && this.#isConfirmed;
  }

  /** Why the receiver's answers made no sense. */
  get refusal(): string | undefined {
    return this.#source.refusal;
  }

  /** `next` is called again in the same turn. */
  get isInRow(): boolean {
    return this.#source.isInRow;
  }

  get progress(): FillProgress {
    const { slotsDone, slotsTotal, keys, bytes } = this.#source.progress;
    const tookMs = this.#nowMs() - this.#startedAtMs;
    const etaMs = slotsDone === 0 ? undefined : (tookMs * (slotsTotal - slotsDone)) / slotsDone;
    return { slotsDone, slotsTotal, keys, bytes, etaMs };
  }

  /** Whether the receiver must get the effects of a slot. */
  isBegun(slot: number): boolean {
    return this.#source.isBegun(slot);
  }

  next(): Uint8Array | undefined {
    return this.#source.next();
  }

  /** @param bytes Of an answer of the receiver's end; none: it has everything. */
  answered(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#source.answered(bytes);
    else if (this.#source.isDone) this.#isConfirmed = true;
  }

  effectsOf(entry: Uint8Array): Uint8Array | undefined {
    return entryOfSlots(this.#reader, entry, (slot) => this.#source.isBegun(slot));
  }

  /** An effect that happens at this moment. @param command What it is of. */
  note({ slot, args }: Effect, command: Command | undefined): void {
    if (slot < 0 || !this.#source.isMidway(slot)) return;
    const keys: Uint8Array[] = [];
    const last = command?.lastKeyOf(args.count) ?? 0;
    for (let index = command?.firstKey ?? 1; index > 0 && index <= last; index += command?.keyStep ?? 1)
      keys.push(args.copy(index));
    this.#source.noteEffect(new TextDecoder().decode(args.copy(0)).toLowerCase(), keys);
  }
}
