/**
 * What the primaries of two shards say to each other while slots move from one to the other.
 *
 * The source opens a *session*; all of it carries the number, and what the source sends in it is numbered from 0 on without gaps: the bus may drop a frame, and
 * whoever misses one ends the session.
 */
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

export type MigrationMessage =
  /** Source: it wants to send the slots of a task. In these primary epochs of the two shards, by its map, whose version it says. */
  | {
      readonly type: "open";
      readonly session: number;
      readonly id: string;
      readonly sourceEpoch: number;
      readonly targetEpoch: number;
      readonly mapVersion: number;
    }
  /** Target: it takes them. @param holdsKeys It has keys of the slots already. */
  | { readonly type: "accepted"; readonly session: number; readonly holdsKeys: boolean }
  /** Target: it does not, or not any more. @param isFinal It will not for long: the task is to be given up. */
  | { readonly type: "refused"; readonly session: number; readonly isFinal: boolean; readonly reason: string }
  /**
   * Source: effects on slots that the target takes already, in the form of an entry of a shard log; or what a slot stream says. No bytes: it is there.
   *
   * @param isLast What is long comes in pieces; this is the last one.
   */
  | {
      readonly type: "effects" | "stream";
      readonly session: number;
      readonly number: number;
      readonly isLast: boolean;
      readonly bytes: Uint8Array;
    }
  /** Source: it has applied the fence that the map has since this version, and this was all. */
  | { readonly type: "final"; readonly session: number; readonly number: number; readonly fence: number }
  /** Source: the session is over. */
  | { readonly type: "closed"; readonly session: number; readonly reason: string }
  /** Target: so many bytes of this session are committed in its shard. */
  | { readonly type: "ack"; readonly session: number; readonly bytes: number }
  /** Target: what its end of the slot stream answers. None: it has everything of the stream. */
  | { readonly type: "answer"; readonly session: number; readonly bytes: Uint8Array }
  /** Target: everything up to the `final` of this number is committed in its shard, and it knows of that fence. */
  | { readonly type: "settled"; readonly session: number; readonly number: number };

const TYPES = [
  "open",
  "accepted",
  "refused",
  "effects",
  "stream",
  "final",
  "closed",
  "ack",
  "answer",
  "settled",
] as const;

/** Reasons are for people. */
const MAX_REASON_LENGTH = 500;

export function encodeMigration(message: MigrationMessage): Uint8Array {
  const writer = new ByteWriter(
    "bytes" in message && typeof message.bytes !== "number" ? message.bytes.length + 32 : 128,
  );
  writer.byte(TYPES.indexOf(message.type));
  writer.number(message.session);
  switch (message.type) {
    case "open":
      writer.text(message.id);
      writer.number(message.sourceEpoch);
      writer.number(message.targetEpoch);
      writer.number(message.mapVersion);
      break;
    case "refused":
      writer.flag(message.isFinal);
      writer.text(message.reason.slice(0, MAX_REASON_LENGTH));
      break;
    case "closed":
      writer.text(message.reason.slice(0, MAX_REASON_LENGTH));
      break;
    case "effects":
    case "stream":
      writer.number(message.number);
      writer.flag(message.isLast);
      writer.raw(message.bytes);
      break;
    case "final":
      writer.number(message.number);
      writer.number(message.fence);
      break;
    case "settled":
      writer.number(message.number);
      break;
    case "ack":
      writer.number(message.bytes);
      break;
    case "answer":
      writer.raw(message.bytes);
      break;
    case "accepted":
      writer.flag(message.holdsKeys);
      break;
    default:
      message satisfies never;
  }
  return writer.finish();
}

/** @returns `undefined` if it is none. What it carries is a view of these bytes. */
export function decodeMigration(bytes: Uint8Array): MigrationMessage | undefined {
  const reader = new ByteReader(bytes);
  const type = TYPES[reader.byte()];
  const session = reader.number();
  const message = type === undefined ? undefined : read(reader, type, session);
  return reader.isWhole ? message : undefined;
}

function read(reader: ByteReader, type: (typeof TYPES)[number], session: number): MigrationMessage {
  switch (type) {
    case "open":
      return {
        type,
        session,
        id: reader.text(),
        sourceEpoch: reader.number(),
        targetEpoch: reader.number(),
        mapVersion: reader.number(),
      };
    case "refused":
      return { type, session, isFinal: reader.flag(), reason: reader.text() };
    case "closed":
      return { type, session, reason: reader.text() };
    case "effects":
    case "stream":
      return { type, session, number: reader.number(), isLast: reader.flag(), bytes: reader.rest() };
    case "final":
      return { type, session, number: reader.number(), fence: reader.number() };
    case "settled":
      return { type, session, number: reader.number() };
    case "ack":
      return { type, session, bytes: reader.number() };
    case "answer":
      return { type, session, bytes: reader.rest() };
    case "accepted":
      return { type, session, holdsKeys: reader.flag() };
    default:
      return type satisfies never;
  }
}
