/**
 * What the leader and primaries say to each other about what slots hold and cost, as bytes: a form, a kind, a number that answers repeat. Who says it the bus has
 * proved; what it says can be anything.
 */
import type { SlotLoad } from "../contracts/slot-loads.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { SLOT_COUNT } from "./slot.ts";

export type LoadsMessage =
  | { readonly type: "ask"; readonly id: number }
  | {
      readonly type: "tell";
      readonly id: number;
      /** The shard, and its version, by the map of who tells. */
      readonly shard: string;
      readonly shardVersion: number;
      /** It has come to have slots, and not to be a replica. */
      readonly takesSlots: boolean;
      /** In the order of their slots; those that are not there hold and cost nothing. */
      readonly loads: readonly SlotLoad[];
    };

/** Of the messages' form. */
const FORM = 1;
const [ASK, TELL] = [1, 2] as const;
const ID_BYTES = 20;
/** All slots, each with numbers of the largest kind, are less than this. */
export const MAX_LOADS_BYTES = 64 + SLOT_COUNT * (3 + 4 * 8);

export function encodeLoadsMessage(message: LoadsMessage): Uint8Array {
  const writer = new ByteWriter(message.type === "ask" ? 16 : 64 + 12 * message.loads.length);
  writer.byte(FORM);
  writer.byte(message.type === "ask" ? ASK : TELL);
  writer.number(message.id);
  if (message.type === "ask") return writer.finish();
  writer.raw(Uint8Array.fromHex(message.shard));
  writer.number(message.shardVersion);
  writer.flag(message.takesSlots);
  writer.number(message.loads.length);
  let before = -1;
  for (const { slot, keys, bytes, operations, microseconds } of message.loads) {
    writer.number(slot - before - 1);
    before = slot;
    for (const value of [keys, bytes, operations, microseconds]) writer.number(value);
  }
  return writer.finish();
}

/** @returns `undefined` if it is not a message. */
export function readLoadsMessage(bytes: Uint8Array): LoadsMessage | undefined {
  if (bytes.length > MAX_LOADS_BYTES) return undefined;
  const reader = new ByteReader(bytes);
  const [form, kind] = [reader.byte(), reader.byte()];
  if (form !== FORM || (kind !== ASK && kind !== TELL)) return undefined;
  const id = reader.number();
  if (kind === ASK) return reader.isWhole ? { type: "ask", id } : undefined;
  const shard = reader.raw(ID_BYTES).toHex();
  const shardVersion = reader.number();
  const takesSlots = reader.flag();
  let slot = -1;
  const loads = reader.list((): SlotLoad => {
    slot += reader.number() + 1;
    if (slot >= SLOT_COUNT) reader.isBad = true;
    return {
      slot,
      keys: reader.number(),
      bytes: reader.number(),
      operations: reader.number(),
      microseconds: reader.number(),
    };
  });
  return reader.isWhole ? { type: "tell", id, shard, shardVersion, takesSlots, loads } : undefined;
}
