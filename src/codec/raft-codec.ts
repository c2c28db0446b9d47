/** Raft's messages, entries and configurations as bytes: the same form between nodes and on disk. */
import { isSane } from "../protocol/raft/sanity.ts";
import type { Configuration, Entry, Member, Message, SnapshotPart } from "../protocol/raft/types.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";

/** The numbers of messages on the wire. Never used again for another. */
const TYPES = [
  "vote-request",
  "vote-response",
  "append",
  "append-response",
  "heartbeat",
  "heartbeat-response",
  "snapshot",
  "snapshot-response",
  "timeout-now",
  "read-request",
  "read-response",
  "fetch",
  "fetch-response",
  "fetch-snapshot",
] as const satisfies readonly Message["type"][];

const MAX_PORT = 65_535;

const EMPTY = 0;
const DATA = 1;
const CONFIGURATION = 2;

export function writeConfiguration(writer: ByteWriter, { members }: Configuration): void {
  writer.number(members.length);
  for (const member of members) writeMember(writer, member);
}

export function readConfiguration(reader: ByteReader): Configuration {
  return { members: reader.list(() => readMember(reader)) };
}

export function writeMember(writer: ByteWriter, member: Member): void {
  writer.text(member.id);
  writer.flag(member.isVoter);
  writer.text(member.host);
  writer.number(member.port);
  writer.text(member.zone);
  writer.flag(member.isWitness);
}

export function readMember(reader: ByteReader): Member {
  const member = {
    id: reader.text(),
    isVoter: reader.flag(),
    host: reader.text(),
    port: reader.number(),
    zone: reader.text(),
    isWitness: reader.flag(),
  };
  if (member.port > MAX_PORT) reader.isBad = true;
  return member;
}

export function writeEntry(writer: ByteWriter, entry: Entry): void {
  writer.number(entry.index);
  writer.number(entry.term);
  if (entry.data !== undefined) {
    writer.byte(DATA);
    writer.bytes(entry.data);
  } else if (entry.configuration !== undefined) {
    writer.byte(CONFIGURATION);
    writeConfiguration(writer, entry.configuration);
  } else {
    writer.byte(EMPTY);
  }
}

export function readEntry(reader: ByteReader): Entry {
  const index = reader.number();
  const term = reader.number();
  const kind = reader.byte();
  if (kind > CONFIGURATION) reader.isBad = true;
  const data = kind === DATA ? reader.bytes() : undefined;
  const configuration = kind === CONFIGURATION ? readConfiguration(reader) : undefined;
  return { index, term, data, configuration };
}

function writeEntries(writer: ByteWriter, entries: readonly Entry[]): void {
  writer.number(entries.length);
  for (const entry of entries) writeEntry(writer, entry);
}

/** Writes one message. */
export function writeMessage(writer: ByteWriter, message: Message): void {
  writer.byte(TYPES.indexOf(message.type));
  writer.number(message.term);
  switch (message.type) {
    case "vote-request":
      writer.flag(message.isPreVote);
      writer.flag(message.isTransfer);
      writer.number(message.lastIndex);
      writer.number(message.lastTerm);
      break;
    case "vote-response":
      writer.flag(message.isPreVote);
      writer.flag(message.isGranted);
      // 0: never.
      writer.number(message.leaderHeardTicksAgo === undefined ? 0 : message.leaderHeardTicksAgo + 1);
      break;
    case "append":
      writer.number(message.previousIndex);
      writer.number(message.previousTerm);
      writer.number(message.commitIndex);
      writeEntries(writer, message.entries);
      break;
    case "append-response":
      writer.flag(message.isRejected);
      writer.number(message.index);
      writer.number(message.hintIndex);
      writer.number(message.hintTerm);
      break;
    case "heartbeat":
      writer.number(message.commitIndex);
      writer.number(message.round);
      break;
    case "heartbeat-response":
      writer.number(message.round);
      break;
    case "snapshot":
      writer.number(message.snapshotIndex);
      writer.number(message.snapshotTerm);
      writeConfiguration(writer, message.configuration);
      writer.number(message.totalBytes);
      writer.number(message.offset);
      writer.bytes(message.bytes);
      break;
    case "snapshot-response":
      writer.number(message.snapshotIndex);
      writer.number(message.nextOffset);
      break;
    case "timeout-now":
      break;
    case "read-request":
      writer.number(message.id);
      break;
    case "read-response":
      writer.number(message.id);
      writer.number(message.index);
      break;
    case "fetch":
      writer.number(message.index);
      writer.number(message.indexTerm);
      writer.flag(message.part !== undefined);
      if (message.part !== undefined) writePart(writer, message.part);
      break;
    case "fetch-response":
      writer.number(message.previousIndex);
      writer.number(message.previousTerm);
      writeEntries(writer, message.entries);
      break;
    case "fetch-snapshot":
      writer.number(message.snapshotIndex);
      writer.number(message.snapshotTerm);
      writer.flag(message.configuration !== undefined);
      if (message.configuration !== undefined) writeConfiguration(writer, message.configuration);
      writer.number(message.totalBytes);
      writer.text(message.digest);
      writer.number(message.offset);
      writer.bytes(message.bytes);
      break;
    default:
      message satisfies never;
  }
}

function writePart(writer: ByteWriter, part: SnapshotPart): void {
  writer.number(part.index);
  writer.number(part.term);
  writer.text(part.digest);
  writer.number(part.offset);
}

function readPart(reader: ByteReader): SnapshotPart {
  return { index: reader.number(), term: reader.number(), digest: reader.text(), offset: reader.number() };
}

/** Reads one message. @returns `undefined` if it is none, or one that no member ever says; what follows it is not looked at. */
export function readMessage(reader: ByteReader): Message | undefined {
  const type = TYPES[reader.byte()];
  const term = reader.number();
  const message = type === undefined ? undefined : readBody(reader, type, term);
  return reader.isBad || message === undefined || !isSane(message) ? undefined : message;
}

function readBody(reader: ByteReader, type: Message["type"], term: number): Message {
  switch (type) {
    case "vote-request":
      return {
        type,
        term,
        isPreVote: reader.flag(),
        isTransfer: reader.flag(),
        lastIndex: reader.number(),
        lastTerm: reader.number(),
      };
    case "vote-response": {
      const isPreVote = reader.flag();
      const isGranted = reader.flag();
      const heard = reader.number();
      return { type, term, isPreVote, isGranted, leaderHeardTicksAgo: heard === 0 ? undefined : heard - 1 };
    }
    case "append": {
      const previousIndex = reader.number();
      const previousTerm = reader.number();
      const commitIndex = reader.number();
      const entries = reader.list(() => readEntry(reader));
      return { type, term, previousIndex, previousTerm, commitIndex, entries };
    }
    case "append-response":
      return {
        type,
        term,
        isRejected: reader.flag(),
        index: reader.number(),
        hintIndex: reader.number(),
        hintTerm: reader.number(),
      };
    case "heartbeat":
      return { type, term, commitIndex: reader.number(), round: reader.number() };
    case "heartbeat-response":
      return { type, term, round: reader.number() };
    case "snapshot":
      return {
        type,
        term,
        snapshotIndex: reader.number(),
        snapshotTerm: reader.number(),
        configuration: readConfiguration(reader),
        totalBytes: reader.number(),
        offset: reader.number(),
        bytes: reader.bytes(),
      };
    case "snapshot-response":
      return { type, term, snapshotIndex: reader.number(), nextOffset: reader.number() };
    case "timeout-now":
      return { type, term };
    case "read-request":
      return { type, term, id: reader.number() };
    case "read-response":
      return { type, term, id: reader.number(), index: reader.number() };
    case "fetch":
      return {
        type,
        term,
        index: reader.number(),
        indexTerm: reader.number(),
        part: reader.flag() ? readPart(reader) : undefined,
      };
    case "fetch-response": {
      const previousIndex = reader.number();
      const previousTerm = reader.number();
      const entries = reader.list(() => readEntry(reader));
      return { type, term, previousIndex, previousTerm, entries };
    }
    case "fetch-snapshot":
      return {
        type,
        term,
        snapshotIndex: reader.number(),
        snapshotTerm: reader.number(),
        configuration: reader.flag() ? readConfiguration(reader) : undefined,
        totalBytes: reader.number(),
        digest: reader.text(),
        offset: reader.number(),
        bytes: reader.bytes(),
      };
    default:
      return type satisfies never;
  }
}
