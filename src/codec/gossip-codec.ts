/**
 * What members say to each other, as bytes. Datagrams are small: a node id takes 20 bytes, a claim about a node about 23, and whoever sends it is not named,
 * since the bus has proved it.
 */
import type { Claim, Datagram, Exchange, MemberState, NodeId, Sender } from "../protocol/membership/types.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

/** The numbers of messages on the wire. Never used again for another. */
const DATAGRAMS = [
  "meet",
  "ping",
  "pong",
  "ping-req",
  "ping-req-pong",
  "ping-req-nack",
  "gossip",
] as const satisfies readonly Datagram["type"][];
const EXCHANGES = ["digest", "table"] as const satisfies readonly Exchange["type"][];
const STATES = ["alive", "suspect", "down", "left"] as const satisfies readonly MemberState[];

const ID_BYTES = 20;
/** Of a datagram, without claims, at the most: its type, the sender, a sequence number, a node, and how many claims follow. */
export const DATAGRAM_HEAD_BYTES = 1 + 5 * 8 + 8 + ID_BYTES + 3;
/** No member gets there by counting; and what is one above still is a number that can be written. */
const MAX_REFUTATION = 2 ** 48;

function numberBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

/** How many bytes a claim takes. */
export function claimBytes(claim: Claim): number {
  const accuserBytes = claim.state === "suspect" ? ID_BYTES : 0;
  return ID_BYTES + numberBytes(claim.start) + 1 + numberBytes(claim.refutation) + accuserBytes;
}

function writeId(writer: ByteWriter, id: NodeId): void {
  writer.raw(Uint8Array.fromHex(id));
}

function readId(reader: ByteReader): NodeId {
  return reader.raw(ID_BYTES).toHex();
}

function readRefutation(reader: ByteReader): number {
  const refutation = reader.number();
  if (refutation > MAX_REFUTATION) reader.isBad = true;
  return refutation;
}

function writeSender(writer: ByteWriter, { start, refutation, mapVersion, lagMs, offset }: Sender): void {
  for (const value of [start, refutation, mapVersion, lagMs, offset]) writer.number(value);
}

function readSender(reader: ByteReader): Sender {
  return {
    start: reader.number(),
    refutation: readRefutation(reader),
    mapVersion: reader.number(),
    lagMs: reader.number(),
    offset: reader.number(),
  };
}

function writeClaims(writer: ByteWriter, claims: readonly Claim[]): void {
  writer.number(claims.length);
  for (const { id, start, state, refutation, accuser } of claims) {
    writeId(writer, id);
    writer.number(start);
    writer.byte(STATES.indexOf(state));
    writer.number(refutation);
    if (state === "suspect") writeId(writer, accuser ?? id);
  }
}

function readClaims(reader: ByteReader): readonly Claim[] {
  return reader.list(() => {
    const id = readId(reader);
    const start = reader.number();
    const state = STATES[reader.byte()];
    if (state === undefined) reader.isBad = true;
    const refutation = readRefutation(reader);
    const accuser = state === "suspect" ? readId(reader) : undefined;
    return { id, start, state: state ?? "alive", refutation, accuser };
  });
}

export function encodeDatagram(message: Datagram): Uint8Array {
  const writer = new ByteWriter(DATAGRAM_HEAD_BYTES + 64 * message.claims.length);
  writer.byte(DATAGRAMS.indexOf(message.type));
  writeSender(writer, message.sender);
  if (message.type !== "gossip") writer.number(message.sequence);
  if ("target" in message) writeId(writer, message.target);
  writeClaims(writer, message.claims);
  return writer.finish();
}

/** @returns `undefined` if it is not a message. */
export function readDatagram(bytes: Uint8Array): Datagram | undefined {
  const reader = new ByteReader(bytes);
  const type = DATAGRAMS[reader.byte()];
  if (type === undefined) return undefined;
  const sender = readSender(reader);
  const sequence = type === "gossip" ? 0 : reader.number();
  let message: Datagram;
  switch (type) {
    case "gossip":
      message = { type, sender, claims: readClaims(reader) };
      break;
    case "meet":
    case "ping":
    case "pong":
      message = { type, sender, sequence, claims: readClaims(reader) };
      break;
    default:
      message = { type, sender, sequence, target: readId(reader), claims: readClaims(reader) };
  }
  return reader.isWhole ? message : undefined;
}

export function encodeExchange(message: Exchange): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(EXCHANGES.indexOf(message.type));
  writeSender(writer, message.sender);
  if (message.type === "digest") {
    writer.fixed32(message.digest);
  } else {
    writer.flag(message.isAnswerWanted);
    writeClaims(writer, message.claims);
  }
  return writer.finish();
}

/** @returns `undefined` if it is not a message. */
export function readExchange(bytes: Uint8Array): Exchange | undefined {
  const reader = new ByteReader(bytes);
  const type = EXCHANGES[reader.byte()];
  if (type === undefined) return undefined;
  const sender = readSender(reader);
  const message: Exchange =
    type === "digest"
      ? { type, sender, digest: reader.fixed32() }
      : { type, sender, isAnswerWanted: reader.flag(), claims: readClaims(reader) };
  return reader.isWhole ? message : undefined;
}
