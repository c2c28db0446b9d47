/** What a slot stream's receiver does to its keyspace. Somebody with a log of its own writes there what it does: see `src/migration/logged-writer.ts`. */
import { copyBytes } from "../codec/copy-bytes.ts";
import type { ChunkStep } from "../codec/slot-stream-codec.ts";
import { type Keyspace, NO_EXPIRY } from "../contracts/keyspace.ts";
import type { KeyReference } from "../store/key-reference.ts";
import { peekAny } from "./peek-any.ts";

export type RecordStep = Extract<ChunkStep, { readonly type: "record" }>;
export type PartStep = Extract<ChunkStep, { readonly type: "part" }>;

export interface SlotWriter {
  /** Removes up to `limit` keys of a slot. @returns How many are left. */
  drop(slot: number, limit: number): number;
  /** There is no such key. */
  remove(key: KeyReference): void;
  /** A key's record, in place of what there is. @param bytes Hold the step's value. @returns Whether there was memory for it; else nothing has changed. */
  record(key: KeyReference, bytes: Uint8Array, step: RecordStep): boolean;
  /** Bytes of a value whose record came before. @returns What is wrong, if anything. */
  part(key: KeyReference, bytes: Uint8Array, step: PartStep): string | undefined;
}

/** Writes to the keyspace, and nowhere else. */
export class DirectWriter implements SlotWriter {
  readonly #keyspace: Keyspace;

  constructor(keyspace: Keyspace) {
    this.#keyspace = keyspace;
  }

  drop(slot: number, limit: number): number {
    return this.#keyspace.dropSlot(slot, limit);
  }

  remove(key: KeyReference): void {
    this.#keyspace.remove(key);
  }

  record(key: KeyReference, bytes: Uint8Array, step: RecordStep): boolean {
    const keyspace = this.#keyspace;
    const { valueType, flags, valueLength, valueStart, valueEnd } = step;
    const expiresAtMs = step.expiresAtMs === 0 ? NO_EXPIRY : step.expiresAtMs;
    try {
      // Of a value that is cut the bytes behind are anything: parts bring them, and nobody reads them before.
      const record = keyspace.store(key, valueType, flags, valueLength, expiresAtMs);
      copyBytes(bytes, valueStart, valueEnd, keyspace.bytes(record), keyspace.valueStart(record));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return false;
    }
    return true;
  }

  part(key: KeyReference, bytes: Uint8Array, step: PartStep): string | undefined {
    const keyspace = this.#keyspace;
    const record = peekAny(keyspace, key);
    if (record === 0 || keyspace.valueLength(record) !== step.valueLength) return "a part of another value";
    const at = keyspace.valueStart(record) + step.place;
    copyBytes(bytes, step.valueStart, step.valueEnd, keyspace.bytes(record), at);
    keyspace.changed(key, record, keyspace.flags(record));
    return undefined;
  }
}
