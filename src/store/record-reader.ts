/**
 * Reading a record by its handle: the part of the keyspace that needs no key.
 *
 * A handle leads to a block in the slabs; its first words say what else lies where (`record.ts`). Nothing is made on the way: callers get the array that the record
 * lies in, and places in it. `Store` is this, and all that finds and changes records.
 */
import type { Handle, ValueType } from "../contracts/keyspace.ts";
import type { AccessClock } from "./access-clock.ts";
import {
  ACCESS_SHIFT,
  FLAGS_MASK,
  FLAGS_SHIFT,
  HAS_EXPIRY,
  HEADER_BYTES,
  KEY_LENGTH,
  META,
  META_MASK,
  NO_EXPIRY,
  TYPE_MASK,
  VALUE_LENGTH,
  byteOf,
  readExpiry,
  wordOf,
} from "./record.ts";
import type { Slabs } from "./slabs.ts";
import { ENTRY_BYTES } from "./slot-table.ts";

export class RecordReader {
  protected readonly slabs: Slabs;
  protected readonly clock: AccessClock;

  constructor(slabs: Slabs, clock: AccessClock) {
    this.slabs = slabs;
    this.clock = clock;
  }

  bytes(record: Handle): Uint8Array {
    return this.slabs.bytesOf(record);
  }

  keyStart(record: Handle): number {
    return byteOf(record) + HEADER_BYTES + (this.read(record, META) & HAS_EXPIRY);
  }

  keyLength(record: Handle): number {
    return this.read(record, KEY_LENGTH);
  }

  valueStart(record: Handle): number {
    const ints = this.slabs.intsOf(record);
    const word = wordOf(record);
    return (
      byteOf(record) + HEADER_BYTES + ((ints[word + META] as number) & HAS_EXPIRY) + (ints[word + KEY_LENGTH] as number)
    );
  }

  valueLength(record: Handle): number {
    return this.read(record, VALUE_LENGTH);
  }

  type(record: Handle): ValueType {
    return (this.read(record, META) & TYPE_MASK) as ValueType;
  }

  flags(record: Handle): number {
    return (this.read(record, META) >>> FLAGS_SHIFT) & FLAGS_MASK;
  }

  expiresAtMs(record: Handle): number {
    const ints = this.slabs.intsOf(record);
    const word = wordOf(record);
    return ((ints[word + META] as number) & HAS_EXPIRY) === 0 ? NO_EXPIRY : readExpiry(ints, word);
  }

  recordBytes(record: Handle): number {
    return this.slabs.blockBytes(record) + ENTRY_BYTES;
  }

  idleSeconds(record: Handle): number {
    return this.clock.idleSeconds(this.read(record, META) >>> ACCESS_SHIFT);
  }

  frequency(record: Handle): number {
    return this.clock.frequency(this.read(record, META) >>> ACCESS_SHIFT);
  }

  setIdleSeconds(record: Handle, seconds: number): void {
    this.#setAccess(record, this.clock.withIdleSeconds(seconds));
  }

  setFrequency(record: Handle, counter: number): void {
    this.#setAccess(record, this.clock.withFrequency(counter));
  }

  /** A word of a record's header. */
  protected read(record: Handle, field: number): number {
    return this.slabs.intsOf(record)[wordOf(record) + field] as number;
  }

  #setAccess(record: Handle, access: number): void {
    const at = wordOf(record) + META;
    const ints = this.slabs.intsOf(record);
    ints[at] = ((ints[at] as number) & META_MASK) | (access << ACCESS_SHIFT);
  }
}
