/** What nodes and the leader say to each other about leases and failovers, as bytes. Who says it the bus has proved. */
import type { Beat, LeaseMessage, Wish } from "../protocol/failover/types.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

/** The numbers of messages on the wire. Never used again for another. */
const MESSAGES = [
  "beat",
  "answer",
  "call",
  "wish",
  "verdict",
  "hand-over",
  "heir",
  "holds",
] as const satisfies readonly LeaseMessage["type"][];
const WISHES = ["hand-over", "force", "accept-loss"] as const satisfies readonly Wish["type"][];

/** Ids of nodes and of shards alike. */
const ID_BYTES = 20;

function writeId(writer: ByteWriter, id: string): void {
  writer.raw(Uint8Array.fromHex(id));
}

function readId(reader: ByteReader): string {
  return reader.raw(ID_BYTES).toHex();
}

function optional<Value>(reader: ByteReader, read: () => Value): Value | undefined {
  return reader.flag() ? read() : undefined;
}

function writeBeat(writer: ByteWriter, beat: Beat): void {
  const { sequence, incarnation, mapVersion, leaseMs, answered, lagMs, position, surrender, brokenLinks } = beat;
  for (const value of [sequence, incarnation, mapVersion, leaseMs, answered, lagMs]) writer.number(value);
  writer.flag(beat.wantsLease);
  writer.flag(position !== undefined);
  if (position !== undefined) {
    writer.number(position.epoch);
    writer.number(position.sequence);
  }
  writer.flag(surrender !== undefined);
  if (surrender !== undefined) {
    writeId(writer, surrender.to);
    writer.number(surrender.shardVersion);
  }
  writer.number(brokenLinks.length);
  for (const id of brokenLinks) writeId(writer, id);
}

function readBeat(reader: ByteReader): Beat {
  return {
    sequence: reader.number(),
    incarnation: reader.number(),
    mapVersion: reader.number(),
    leaseMs: reader.number(),
    answered: reader.number(),
    lagMs: reader.number(),
    wantsLease: reader.flag(),
    position: optional(reader, () => ({ epoch: reader.number(), sequence: reader.number() })),
    surrender: optional(reader, () => ({ to: readId(reader), shardVersion: reader.number() })),
    brokenLinks: reader.list(() => readId(reader)),
  };
}

export function encodeLeaseMessage(message: LeaseMessage): Uint8Array {
  const writer = new ByteWriter(64);
  writer.byte(MESSAGES.indexOf(message.type));
  switch (message.type) {
    case "beat":
      writeBeat(writer, message.beat);
      break;
    case "answer":
      writer.number(message.sequence);
      writer.number(message.grantMs);
      writer.text(message.reason);
      break;
    case "call":
      break;
    case "wish": {
      const { id, wish, cause } = message;
      writer.number(id);
      writer.byte(WISHES.indexOf(wish.type));
      writeId(writer, wish.shard);
      if (wish.type !== "accept-loss") writeId(writer, wish.to);
      writer.text(cause);
      break;
    }
    case "verdict":
      writer.number(message.id);
      writer.flag(message.problem !== undefined);
      if (message.problem !== undefined) writer.text(message.problem);
      break;
    case "hand-over":
      writeId(writer, message.shard);
      writer.number(message.shardVersion);
      writeId(writer, message.to);
      break;
    case "heir":
    case "holds":
      writeId(writer, message.shard);
      writer.number(message.shardVersion);
      break;
    default:
      message satisfies never;
  }
  return writer.finish();
}

/** @returns `undefined` if it is not a message. */
export function readLeaseMessage(bytes: Uint8Array): LeaseMessage | undefined {
  const reader = new ByteReader(bytes);
  const type = MESSAGES[reader.byte()];
  const message = type === undefined ? undefined : readMessage(reader, type);
  return reader.isWhole ? message : undefined;
}

function readMessage(reader: ByteReader, type: LeaseMessage["type"]): LeaseMessage | undefined {
  switch (type) {
    case "beat":
      return { type, beat: readBeat(reader) };
    case "answer":
      return { type, sequence: reader.number(), grantMs: reader.number(), reason: reader.text() };
    case "call":
      return { type };
    case "wish": {
      const id = reader.number();
      const wish = readWish(reader);
      const cause = reader.text();
      return wish && { type, id, wish, cause };
    }
    case "verdict":
      return { type, id: reader.number(), problem: optional(reader, () => reader.text()) };
    case "hand-over":
      return { type, shard: readId(reader), shardVersion: reader.number(), to: readId(reader) };
    case "heir":
    case "holds":
      return { type, shard: readId(reader), shardVersion: reader.number() };
    default:
      return type satisfies never;
  }
}

function readWish(reader: ByteReader): Wish | undefined {
  const type = WISHES[reader.byte()];
  if (type === undefined) return undefined;
  const shard = readId(reader);
  return type === "accept-loss" ? { type, shard } : { type, shard, to: readId(reader) };
}
