/**
 * What a shard's primary and its replicas say to each other.
 *
 * A replica opens a *session* with `hello`; everything of it carries its number, and what the primary sends in it is numbered from 0 on without gaps: the bus
 * may drop a frame, and whoever misses one opens another session.
 */
import type { LogPosition } from "../contracts/replication.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { copyBytes } from "./copy-bytes.ts";

/** When an epoch began: see `ShardLog`. */
interface EpochStart {
  readonly epoch: number;
  readonly first: number;
}

export type ReplicationMessage =
  /** Replica: it wants the log. @param epoch The primary epoch by its map. */
  | {
      readonly type: "hello";
      readonly session: number;
      readonly shard: string;
      readonly epoch: number;
      /** Its start, as the map has it. */
      readonly start: string;
      /** What it has; `undefined` if that is nothing whole. */
      readonly position: LogPosition | undefined;
    }
  /** Primary: no session, for this reason. */
  | { readonly type: "refused"; readonly session: number; readonly reason: string }
  /** Primary, first of a session: the entries after the replica's position follow; or it is filled first. */
  | {
      readonly type: "begin";
      readonly session: number;
      readonly number: number;
      readonly epoch: number;
      readonly isFill: boolean;
      readonly mapVersion: number;
    }
  /**
   * Primary: a run of bytes of entries, which may cut them; none, to say that it is there.
   *
   * @param committed Entries up to this one are committed.
   * @param mapVersion The map that it knows: what it removes may have gone to another shard by that.
   * @param isEnd Nothing of the log is left to be sent: with these bytes the replica has all that came to the shard by that map.
   */
  | {
      readonly type: "entries";
      readonly session: number;
      readonly number: number;
      readonly committed: number;
      readonly mapVersion: number;
      readonly isEnd: boolean;
      readonly bytes: Uint8Array;
    }
  /**
   * Primary, while it fills: effects of slots that the replica takes already, in the form of an entry; or what a slot stream says.
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
  /** Primary: the replica has everything up to a position; entries follow from there. */
  | {
      readonly type: "level";
      readonly session: number;
      readonly number: number;
      readonly position: LogPosition;
      readonly history: readonly EpochStart[];
    }
  /** Replica: it has applied everything up to an entry. @param bytes All that it has received in this session. */
  | { readonly type: "ack"; readonly session: number; readonly sequence: number; readonly bytes: number }
  /** Replica: what its end of a slot stream answers. */
  | { readonly type: "answer"; readonly session: number; readonly bytes: Uint8Array };

const TYPES = ["hello", "refused", "begin", "entries", "effects", "stream", "level", "ack", "answer"] as const;

/** Reasons are for people. */
const MAX_REASON_LENGTH = 500;

export function encodeReplication(message: ReplicationMessage): Uint8Array {
  const writer = new ByteWriter(128);
  writer.byte(TYPES.indexOf(message.type));
  writer.number(message.session);
  switch (message.type) {
    case "hello":
      writer.text(message.shard);
      writer.number(message.epoch);
      writer.text(message.start);
      writer.flag(message.position !== undefined);
      if (message.position !== undefined) writePosition(writer, message.position);
      break;
    case "refused":
      writer.text(message.reason.slice(0, MAX_REASON_LENGTH));
      break;
    case "begin":
      writer.number(message.number);
      writer.number(message.epoch);
      writer.flag(message.isFill);
      writer.number(message.mapVersion);
      break;
    case "entries":
      writer.number(message.number);
      writer.number(message.committed);
      writer.number(message.mapVersion);
      writer.flag(message.isEnd);
      return joined(writer.finish(), message.bytes);
    case "effects":
    case "stream":
      writer.number(message.number);
      writer.flag(message.isLast);
      return joined(writer.finish(), message.bytes);
    case "level":
      writer.number(message.number);
      writePosition(writer, message.position);
      writer.number(message.history.length);
      for (const { epoch, first } of message.history) {
        writer.number(epoch);
        writer.number(first);
      }
      break;
    case "ack":
      writer.number(message.sequence);
      writer.number(message.bytes);
      break;
    case "answer":
      return joined(writer.finish(), message.bytes);
    default:
      message satisfies never;
  }
  return writer.finish();
}

/** A head and what is long behind it, copied once. */
function joined(head: Uint8Array, bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(head.length + bytes.length);
  copyBytes(head, 0, head.length, whole, 0);
  copyBytes(bytes, 0, bytes.length, whole, head.length);
  return whole;
}

/** @returns `undefined` if it is none. What it carries of entries and streams is a view of these bytes. */
export function decodeReplication(bytes: Uint8Array): ReplicationMessage | undefined {
  const reader = new ByteReader(bytes);
  const type = TYPES[reader.byte()];
  const session = reader.number();
  const message = type === undefined ? undefined : read(reader, type, session);
  return reader.isWhole ? message : undefined;
}

function read(reader: ByteReader, type: (typeof TYPES)[number], session: number): ReplicationMessage {
  switch (type) {
    case "hello":
      return {
        type,
        session,
        shard: reader.text(),
        epoch: reader.number(),
        start: reader.text(),
        position: reader.flag() ? readPosition(reader) : undefined,
      };
    case "refused":
      return { type, session, reason: reader.text() };
    case "begin":
      return {
        type,
        session,
        number: reader.number(),
        epoch: reader.number(),
        isFill: reader.flag(),
        mapVersion: reader.number(),
      };
    case "entries":
      return {
        type,
        session,
        number: reader.number(),
        committed: reader.number(),
        mapVersion: reader.number(),
        isEnd: reader.flag(),
        bytes: reader.rest(),
      };
    case "effects":
    case "stream":
      return {
        type,
        session,
        number: reader.number(),
        isLast: reader.flag(),
        bytes: reader.rest(),
      };
    case "level":
      return {
        type,
        session,
        number: reader.number(),
        position: readPosition(reader),
        history: reader.list(() => ({ epoch: reader.number(), first: reader.number() })),
      };
    case "ack":
      return { type, session, sequence: reader.number(), bytes: reader.number() };
    case "answer":
      return { type, session, bytes: reader.rest() };
    default:
      return type satisfies never;
  }
}

function writePosition(writer: ByteWriter, { epoch, sequence }: LogPosition): void {
  writer.number(epoch);
  writer.number(sequence);
}

function readPosition(reader: ByteReader): LogPosition {
  return { epoch: reader.number(), sequence: reader.number() };
}
