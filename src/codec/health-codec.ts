/** What nodes tell the leader of themselves for health, and the time that it tells them, as bytes. Who says it the bus has proved. */
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

/** A node's word about itself. */
export interface HealthReport {
  /** Grows with each of them. */
  readonly sequence: number;
  /** How far its wall clock is ahead of the leader's, and how wrong that may be at most, by the answer to an earlier one. Whole milliseconds. */
  readonly clock: { readonly aheadMs: number; readonly errorMs: number } | undefined;
  /** Of a primary: what its shard's slots cost and hold. */
  readonly load: ShardLoad | undefined;
}

export interface ShardLoad {
  /** Time that commands took, in microseconds a minute. */
  readonly microseconds: number;
  readonly bytes: number;
  /** The slot that takes the most of that time. */
  readonly hottestSlot: number;
  readonly hottestMicroseconds: number;
}

export type HealthMessage =
  | { readonly type: "report"; readonly report: HealthReport }
  /** The leader's answer. */
  | { readonly type: "time"; readonly sequence: number; readonly wallMs: number };

/** The numbers of messages on the wire. Never used again for another. */
const MESSAGES = ["report", "time"] as const satisfies readonly HealthMessage["type"][];

export function encodeHealthMessage(message: HealthMessage): Uint8Array {
  const writer = new ByteWriter(64);
  writer.byte(MESSAGES.indexOf(message.type));
  switch (message.type) {
    case "report": {
      const { sequence, clock, load } = message.report;
      writer.number(sequence);
      writer.flag(clock !== undefined);
      if (clock !== undefined) {
        writer.flag(clock.aheadMs < 0);
        writer.number(Math.abs(clock.aheadMs));
        writer.number(clock.errorMs);
      }
      writer.flag(load !== undefined);
      if (load !== undefined) {
        for (const value of [load.microseconds, load.bytes, load.hottestSlot, load.hottestMicroseconds])
          writer.number(value);
      }
      break;
    }
    case "time":
      writer.number(message.sequence);
      writer.number(message.wallMs);
      break;
    default:
      message satisfies never;
  }
  return writer.finish();
}

/** @returns `undefined` for bytes that are no message. */
export function readHealthMessage(bytes: Uint8Array): HealthMessage | undefined {
  const reader = new ByteReader(bytes);
  const type = MESSAGES[reader.byte()];
  const message = type === undefined ? undefined : readMessage(type, reader);
  return reader.isWhole ? message : undefined;
}

function readMessage(type: HealthMessage["type"], reader: ByteReader): HealthMessage {
  if (type === "time") return { type, sequence: reader.number(), wallMs: reader.number() };
  const sequence = reader.number();
  const clock = reader.flag() ? readClock(reader) : undefined;
  const load = reader.flag()
    ? {
        microseconds: reader.number(),
        bytes: reader.number(),
        hottestSlot: reader.number(),
        hottestMicroseconds: reader.number(),
      }
    : undefined;
  return { type, report: { sequence, clock, load } };
}

function readClock(reader: ByteReader): HealthReport["clock"] {
  const isBehind = reader.flag();
  const apartMs = reader.number();
  // Nothing is behind by nothing.
  return { aheadMs: isBehind ? -apartMs || 0 : apartMs, errorMs: reader.number() };
}
