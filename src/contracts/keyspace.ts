/**
 * The keyspace: keys, values and their expiry, outside of the JavaScript heap.
 *
 * What commands, eviction, expiry, slot streams and the operator's side know of the store. The default provider is
 * `plugins/keyspace.ts`, over `src/store/`. The interface is made for the command path: no call allocates an object; a key is
 * named by a `KeyReference` that its owner fills again and again; a record is named by a number, its handle.
 *
 * How long a handle is good: until the next call that changes *its* key, or `maintain`, `clear` or `dropSlot`, which may move or
 * remove any record. Changing one key never moves another's record.
 */
import type { KeyReference } from "../store/key-reference.ts";
import { service } from "../service.ts";

/** A record's place. 0 is no record. Never kept beyond the command that got it. */
export type Handle = number;

/** Kinds of value, as `TYPE` names them. Their numbers are part of a record's header. */
export const ValueType = { string: 0, list: 1, set: 2, sortedSet: 3, hash: 4 } as const;
export type ValueType = (typeof ValueType)[keyof typeof ValueType];

/** For `expiresAtMs` parameters: the key never expires. */
export const NO_EXPIRY = 0;
/** For `expiresAtMs` parameters: what the key had before stays (no expiry, if there was no key). */
export const KEEP_EXPIRY = -1;

/** A value whose encoding Redis would call `raw` whatever its length: it was edited in place (APPEND, SETRANGE, SETBIT). */
export const FLAG_EDITED = 1;
/** A value whose encoding Redis would not call `int` though it reads as one: a sum of INCRBYFLOAT, which is kept as text. */
export const FLAG_TEXT = 2;

/** How access is recorded in a record's header, for eviction: by time, or by frequency (Morris counter with decay). */
export type AccessTracking = "time" | "frequency";

export interface Keyspace {
  /**
   * Wall time in milliseconds that expiry is judged by. Set once a turn by whoever runs commands, so that one turn sees one time.
   */
  nowMs: number;
  /** What `find` notes. Set by eviction from its policy. */
  accessTracking: AccessTracking;
  /** Whether finding an expired key removes it (a primary), or only hides it (a replica, which waits for its primary's DEL). */
  removesExpired: boolean;

  /** Keys, expired ones that were not yet removed among them. Of slots that are shown. */
  readonly size: number;
  /** Keys that have an expiry. Of slots that are shown. */
  readonly volatileCount: number;
  /** Grows with every change of any key (expiry and eviction included): compare before and after to see if something changed. */
  readonly changes: number;
  /** Bytes that keys, values and tables take up (rounded up to the sizes that they are kept in). Falls when something is removed. */
  readonly usedBytes: number;
  /** Bytes of memory held for them, gaps included. `usedBytes / allocatedBytes` stays above 0.7 (of all but the smallest stores). */
  readonly allocatedBytes: number;
  /** Keys removed because they had expired, since the start. */
  readonly expiredCount: number;

  /** Fills `key` with a key's bytes, its slot and its hash. The bytes are not copied: they must stay while the reference is used. */
  refer(key: KeyReference, bytes: Uint8Array, start: number, end: number): void;

  /** The key's record, or 0. Notes the access. An expired key is not found. */
  find(key: KeyReference): Handle;
  /** Like `find`, without noting the access (TTL, OBJECT, EXISTS under NO-TOUCH, WATCH ...). */
  peek(key: KeyReference): Handle;

  /** The memory that a record lies in. `keyStart` and `valueStart` are places in it. */
  bytes(record: Handle): Uint8Array;
  keyStart(record: Handle): number;
  keyLength(record: Handle): number;
  valueStart(record: Handle): number;
  valueLength(record: Handle): number;
  type(record: Handle): ValueType;
  /** The flags that it was stored with (`FLAG_EDITED`, `FLAG_TEXT`). */
  flags(record: Handle): number;
  /** Wall milliseconds, or `NO_EXPIRY`. */
  expiresAtMs(record: Handle): number;
  /** Bytes that the record takes up, its entry in the table included. */
  recordBytes(record: Handle): number;
  /** Whole seconds since the last noted access (`accessTracking` "time"). */
  idleSeconds(record: Handle): number;
  /** The access counter, 0 to 255, decayed to this moment (`accessTracking` "frequency"). */
  frequency(record: Handle): number;
  /** Sets what `idleSeconds` and `frequency` start from (RESTORE IDLETIME, FREQ). */
  setIdleSeconds(record: Handle, seconds: number): void;
  setFrequency(record: Handle, counter: number): void;

  /**
   * Stores a value, whole, in place of what the key held.
   *
   * @param source Bytes that are not the keyspace's own (those may move or be written over on the way; use `store` for them).
   * @param expiresAtMs Wall milliseconds, `NO_EXPIRY` or `KEEP_EXPIRY`.
   * @returns The record.
   * @throws {RangeError} If the machine has no memory for it; nothing has changed then.
   */
  setString(key: KeyReference, source: Uint8Array, start: number, end: number, expiresAtMs: number): Handle;
  /** Like `setString`, but leaves the `valueLength` bytes of the value (which hold anything) to the caller to fill at once. */
  store(key: KeyReference, type: ValueType, flags: number, valueLength: number, expiresAtMs: number): Handle;
  /**
   * Changes the length of the value of a record that was just found; what fits stays, what is added is zero. Growing by small
   * steps is cheap (room is left over beyond a few kilobytes).
   */
  resize(key: KeyReference, record: Handle, valueLength: number, flags: number): Handle;
  /** Gives a record other flags. Its value stays, so this is no change: nobody who watches is told. */
  setFlags(record: Handle, flags: number): void;
  /** Says that the bytes of the value of a record that was just found were changed in place. */
  changed(key: KeyReference, record: Handle, flags: number): void;
  /** Sets or removes (`NO_EXPIRY`) the expiry of a record that was just found. */
  setExpiry(key: KeyReference, record: Handle, expiresAtMs: number): Handle;
  /** Removes a key. False if there was none (or an expired one, which is gone then too). */
  remove(key: KeyReference): boolean;
  /** Removes everything, and gives the memory back. What is hidden stays hidden. */
  clear(): void;

  /** Keys in a slot. */
  slotSize(slot: number): number;
  /** Keys with an expiry in a slot. */
  slotVolatileSize(slot: number): number;
  /** Bytes that a slot's records take up. */
  slotBytes(slot: number): number;
  /**
   * Visits keys of a slot from a position on, expired ones included. A key that is there from the first call with position 0 to the last
   * is visited exactly once, whatever is added, removed, moved or grown between the calls.
   *
   * @param position 0 for the start, then what the call before returned. Below 2^30.
   * @param limit Stops after this many, or a few more (keys of equal hash stay together).
   * @param visit Called with each record. Must not change the keyspace.
   * @returns The position to go on from, or 0 when the slot is through.
   */
  scanSlot(slot: number, position: number, limit: number, visit: (record: Handle) => void): number;
  /**
   * Hides a slot, or shows it again: its keys are nobody's to see yet, or any more. They count in no sum, are never drawn at random and never swept. All that
   * names the slot or a key of it goes on as before. Other slots are not touched.
   */
  setHidden(slot: number, isHidden: boolean): void;
  isHidden(slot: number): boolean;
  /** How many slots are hidden. */
  readonly hiddenCount: number;
  /** Removes up to `limit` keys of a slot. Returns how many are left. */
  dropSlot(slot: number, limit: number): number;
  /**
   * A digest of a slot's keys, types, values and expiry times: equal for equal content, in whatever order and by whatever way it came
   * about, on any node. 16 hexadecimal digits; "0000000000000000" for an empty slot.
   */
  digestSlot(slot: number): string;

  /** Any record, each about as likely, or 0 if there is none. With `volatileOnly`, of those that have an expiry. Expired ones included. */
  random(volatileOnly: boolean): Handle;
  /** Fills `key` with the key of a record (its bytes are the record's own: good as long as the handle). */
  referRecord(key: KeyReference, record: Handle): void;

  /**
   * Removes expired keys, going round from where the last call stopped.
   *
   * @param limit How many keys with an expiry to look at.
   * @returns How many of those that were looked at had expired.
   */
  sweepExpired(limit: number): number;
  /**
   * Moves some records together so that memory can be given back. Call it once a turn, between commands.
   *
   * @param limitBytes How much to move at most.
   * @returns Whether there is more to do.
   */
  maintain(limitBytes: number): boolean;
  /** Whether `maintain` would do anything. Cheap. */
  readonly needsMaintenance: boolean;

  /**
   * How many watch each slot's changes. While a slot's number is not 0, `onChange` is called after every change of one of its keys.
   * Whoever watches adds one and takes it away again.
   */
  readonly slotWatchers: Uint32Array;
  /** Called as `slotWatchers` says, with the key that was changed, stored or removed. */
  onChange: (key: KeyReference) => void;
  /** Called just before an expired key is removed, with the key: the removal is an effect that replicas must get. */
  onExpire: (key: KeyReference) => void;
}

export const keyspaceService = service<Keyspace>("keyspace");
