/**
 * The receiver of slot streams: brings its keyspace, slot by slot, to hold what the sender's holds (`slot-source.ts` says how, and why the two end equal).
 *
 * Its owner gives it the messages and applies the effects in the order in which they come: those of slots that it `takes`, and no others. While a slot `isFilling`, its
 * effects meet keys that have not come yet, and may fail: that is no fault, what they should have done comes as a record. Elsewhere one that fails is.
 * The keyspace changes by nothing but messages and effects, and nothing of it is shown.
 *
 *     unknown -- offer: equal --------------------------------> level
 *        \                                                        ^
 *         offer: different -> emptying -> wanted -- begin -> filling -- end
 *
 * A slot that differs is emptied before it is wanted. So nothing of it can come while it is not empty, and nothing need be kept until it is; and a slot of millions of keys
 * is emptied in steps, which the owner makes (`step`) while `hasWork`. Slots that were never offered are emptied at the end: the sender's shard does not own them. A
 * sink for some slots (`slots`) takes no others, and leaves them as they are.
 *
 * What makes no sense is a `refusal`: then nothing more is taken, and the owner starts again, with another sink, from the state that this one has left. So is a value that
 * the machine has no memory for (`lacksMemory`): whoever starts again ends as this one did, until there is more.
 */
import { SLOT_COUNT } from "../codec/slot.ts";
import { type ChunkStep, type SlotOffer, encodeWants, readSlotStreamMessage } from "../codec/slot-stream-codec.ts";
import type { Keyspace } from "../contracts/keyspace.ts";
import type { SlotRange } from "../contracts/topology.ts";
import { canonicalRanges } from "../protocol/slot-ranges.ts";
import { KeyReference } from "../store/key-reference.ts";
import { DEFAULT_DIGEST_BYTES } from "./slot-source.ts";
import { DirectWriter, type SlotWriter } from "./slot-writer.ts";

/** Keys that a step removes: about half a millisecond. */
const DEFAULT_DROP_KEYS = 200;
/** Bytes that are compared for one offer. Twice what the sender makes digests of: values that have grown here and not there take up more room. */
const DEFAULT_COMPARE_BYTES = 2 * DEFAULT_DIGEST_BYTES;

const SlotState = { unknown: 0, foreign: 1, emptying: 2, wanted: 3, filling: 4, level: 5 } as const;

export interface SlotSinkOptions {
  /** Keys that one `step` removes. */
  readonly dropKeys?: number;
  /** Bytes of slots that are compared for one offer; other slots of the offer are wanted unseen. */
  readonly compareBytes?: number;
  /** All that the sender may offer. By default all slots, and those that it does not offer are emptied. */
  readonly slots?: readonly SlotRange[];
  /** Does what is to be done to the keyspace. By default that, and nothing else. */
  readonly writer?: SlotWriter;
  /** Keys of this slot come from here on. */
  readonly onBegin?: (slot: number) => void;
}

/** An offer of which slots are being emptied. */
interface OpenOffer {
  readonly offer: number;
  readonly slots: readonly number[];
  /** How many of them are empty. */
  emptied: number;
}

export class SlotSink {
  /** All slots are as the sender's. */
  isDone = false;
  /** Why a message was not taken. None is from then on. */
  refusal: string | undefined;
  /** It is that there is no memory for it. */
  lacksMemory = false;

  readonly #keyspace: Keyspace;
  readonly #writer: SlotWriter;
  readonly #onBegin: (slot: number) => void;
  readonly #dropKeys: number;
  readonly #compareBytes: number;
  readonly #reference = new KeyReference();
  readonly #states = new Uint8Array(SLOT_COUNT);
  readonly #openOffers: OpenOffer[] = [];
  #offers = 0;
  /** Slots that are emptying, wanted or filling. */
  #openSlots = 0;
  /** The slot that is filling, or -1. */
  #slot = -1;
  /** The sender has said that nothing more comes. */
  #isEnded = false;
  /** At the end: slots before this one are empty if they were not offered. */
  #clearedSlots = 0;

  constructor(keyspace: Keyspace, options: SlotSinkOptions = {}) {
    this.#keyspace = keyspace;
    this.#writer = options.writer ?? new DirectWriter(keyspace);
    if (options.slots !== undefined) {
      this.#states.fill(SlotState.foreign);
      for (const { first, last } of options.slots) this.#states.fill(SlotState.unknown, first, last + 1);
    }
    this.#onBegin = options.onBegin ?? (() => undefined);
    this.#dropKeys = options.dropKeys ?? DEFAULT_DROP_KEYS;
    this.#compareBytes = options.compareBytes ?? DEFAULT_COMPARE_BYTES;
  }

  /** Whether effects of this slot that come now are to be applied. */
  takes(slot: number): boolean {
    return (this.#states[slot] as number) >= SlotState.filling;
  }

  /** Whether effects of this slot may fail, as its keys are not all there. */
  isFilling(slot: number): boolean {
    return slot === this.#slot;
  }

  /** Whether `step` has something to do. */
  get hasWork(): boolean {
    return this.refusal === undefined && !this.isDone && (this.#openOffers.length > 0 || this.#isEnded);
  }

  /**
   * Takes a message. Look at `refusal` after.
   *
   * @returns What to answer, if anything.
   */
  receive(bytes: Uint8Array): Uint8Array | undefined {
    if (this.refusal !== undefined) return undefined;
    const message = readSlotStreamMessage(bytes);
    if (message === undefined || this.#isEnded) {
      this.#refuse(this.#isEnded ? "something after the end" : "what is no message");
      return undefined;
    }
    switch (message.type) {
      case "offer":
        this.#takeOffer(message.offer, message.slots);
        break;
      case "chunk":
        this.#takeChunk(bytes, message.steps);
        return undefined;
      case "end":
        if (this.#openSlots > 0) this.#refuse("an end before slots were filled that it had offered");
        else this.#isEnded = true;
        break;
      case "wants":
        this.#refuse("what only a receiver says");
        break;
      default:
        message satisfies never;
    }
    return this.hasWork ? this.step() : undefined;
  }

  /**
   * Goes on with emptying slots, by a bounded number of keys. The owner calls it, once a turn, while `hasWork`.
   *
   * @returns What to answer, if anything.
   */
  step(): Uint8Array | undefined {
    if (!this.hasWork) return undefined;
    let left = this.#dropKeys;
    const open = this.#openOffers[0];
    if (open === undefined) {
      for (; this.#clearedSlots < SLOT_COUNT; this.#clearedSlots += 1) {
        if (this.#states[this.#clearedSlots] !== SlotState.unknown) continue;
        left -= this.#drop(this.#clearedSlots, left);
        if (this.#keyspace.slotSize(this.#clearedSlots) > 0) return undefined;
      }
      this.isDone = true;
      return undefined;
    }
    for (; open.emptied < open.slots.length; open.emptied += 1) {
      const slot = open.slots[open.emptied] as number;
      left -= this.#drop(slot, left);
      if (this.#keyspace.slotSize(slot) > 0) return undefined;
      this.#states[slot] = SlotState.wanted;
    }
    this.#openOffers.shift();
    return encodeWants(open.offer, canonicalRanges(open.slots.map((slot): SlotRange => ({ first: slot, last: slot }))));
  }

  /** Removes keys of a slot. Returns how many. */
  #drop(slot: number, limit: number): number {
    const before = this.#keyspace.slotSize(slot);
    return before === 0 || limit === 0 ? 0 : before - this.#writer.drop(slot, limit);
  }

  #takeOffer(offer: number, slots: readonly SlotOffer[]): void {
    if (offer !== this.#offers) {
      this.#refuse(`offer ${offer} where ${this.#offers} should be`);
      return;
    }
    this.#offers += 1;
    const wanted: number[] = [];
    let compareBytes = this.#compareBytes;
    for (const { first, last, keys, digest } of slots) {
      for (let slot = first; slot <= last; slot += 1) {
        if (this.#states[slot] !== SlotState.unknown) {
          this.#refuse(
            this.#states[slot] === SlotState.foreign ? `slot ${slot}, which is none of its` : `slot ${slot} again`,
          );
          return;
        }
        let isEqual = keys === this.#keyspace.slotSize(slot);
        if (isEqual && keys > 0) {
          compareBytes -= this.#keyspace.slotBytes(slot);
          isEqual = compareBytes >= 0 && digest === this.#keyspace.digestSlot(slot);
        }
        this.#states[slot] = isEqual ? SlotState.level : SlotState.emptying;
        if (!isEqual) wanted.push(slot);
      }
    }
    this.#openSlots += wanted.length;
    this.#openOffers.push({ offer, slots: wanted, emptied: 0 });
  }

  #takeChunk(bytes: Uint8Array, steps: readonly ChunkStep[]): void {
    const keyspace = this.#keyspace;
    const { removesExpired } = keyspace;
    // Writing over a key that has expired is no reason to say that it has: that is for the sender to say.
    keyspace.removesExpired = false;
    for (const step of steps) {
      const problem = this.#take(bytes, step);
      if (problem === undefined) continue;
      if (this.lacksMemory) this.refusal = problem;
      else this.#refuse(problem);
      break;
    }
    keyspace.removesExpired = removesExpired;
  }

  /** Returns what is wrong, if anything. */
  #take(bytes: Uint8Array, step: ChunkStep): string | undefined {
    if (step.type === "begin") {
      if (this.#slot >= 0) return `the beginning of slot ${step.slot} within slot ${this.#slot}`;
      if (this.#states[step.slot] !== SlotState.wanted) return `slot ${step.slot}, which was not wanted`;
      this.#states[step.slot] = SlotState.filling;
      this.#slot = step.slot;
      this.#onBegin(step.slot);
      return undefined;
    }
    if (step.type === "end") {
      if (step.slot !== this.#slot) return `the end of slot ${step.slot}, which has not begun`;
      this.#states[step.slot] = SlotState.level;
      this.#slot = -1;
      this.#openSlots -= 1;
      return undefined;
    }
    if (this.#slot < 0) return "a key of no slot";
    const key = this.#reference;
    this.#keyspace.refer(key, bytes, step.keyStart, step.keyEnd);
    if (key.slot !== this.#slot) return `a key of slot ${key.slot} within slot ${this.#slot}`;
    switch (step.type) {
      case "absent":
        this.#writer.remove(key);
        return undefined;
      case "record":
        this.lacksMemory = !this.#writer.record(key, bytes, step);
        return this.lacksMemory ? `there is no memory for a value of ${step.valueLength} bytes` : undefined;
      case "part":
        return this.#writer.part(key, bytes, step);
      default:
        return step satisfies never;
    }
  }

  #refuse(what: string): void {
    this.refusal = `The sender of slots has sent ${what}`;
  }
}
