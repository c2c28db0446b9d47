/** What members of a group, and those that would be, say to each other beside Raft's own messages; with the envelope around both. */
import type { BusAddress } from "../contracts/bus.ts";
import type { Founder } from "../contracts/consensus.ts";
import type { Member, Message, PeerId } from "../protocol/raft/types.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { readMember, readMessage, writeMember, writeMessage } from "./raft-codec.ts";

/** All that one node tells of itself to others that may form a group with it, or take it in. */
export interface Standing {
  readonly peer: PeerId;
  readonly founder: Founder;
  /** Whom it would found a group with; empty: nobody. */
  readonly list: string;
  /** The group that it has promised to found; empty: none. */
  readonly promise: string;
  /** Empty: it belongs to none. */
  readonly group: string;
  readonly founders: readonly PeerId[];
  /** The group has had a leader. */
  readonly isEstablished: boolean;
  /** Others that it knows of: members of its group, or nodes without one. */
  readonly known: readonly BusAddress[];
}

/** One frame on the bus' consensus channel. */
export type ConsensusFrame =
  /** Raft's. Refused by whoever is not of this group, or not this member of it. */
  | {
      readonly type: "raft";
      readonly group: string;
      readonly from: PeerId;
      readonly to: PeerId;
      readonly message: Message;
    }
  /** A node that belongs to no group, or to one that never lived, asks who is there, and tells of itself. */
  | { readonly type: "who"; readonly standing: Standing }
  /** The answer: whoever was asked tells of itself. */
  | { readonly type: "here"; readonly standing: Standing }
  /** A node would be a learner of the group. Goes from member to member until it is the leader's. */
  | {
      readonly type: "join";
      readonly group: string;
      readonly member: Member;
      /** For the replicated state, if it does not know the node. */
      readonly card: string;
      readonly hops: number;
    }
  /** The leader says to a node that it is not taken in, and why. It may ask again. */
  | { readonly type: "refused"; readonly group: string; readonly peer: PeerId; readonly reason: string }
  /** A member that is about to stop for good asks to be taken out. */
  | { readonly type: "leave"; readonly group: string; readonly peer: PeerId; readonly hops: number }
  /** The leader says to somebody that it is no member any more; and whether its node may not be one, under whatever identity. */
  | { readonly type: "removed"; readonly group: string; readonly peer: PeerId; readonly isBarred: boolean }
  /** A request for the leader. */
  | {
      readonly type: "request";
      readonly group: string;
      readonly id: string;
      /** It was given to a leader before, and nobody knows what became of that: see `request-queue.ts`. */
      readonly isRetry: boolean;
      readonly request: Uint8Array;
    }
  /** Word from the leader that a request did not come into the log. What did is told by the log. */
  | {
      readonly type: "verdict";
      readonly id: string;
      /** The leader decided against it; else it decided nothing. */
      readonly isRejected: boolean;
      readonly reason: string;
    };

const TYPES = [
  "raft",
  "who",
  "here",
  "join",
  "leave",
  "removed",
  "request",
  "verdict",
  "refused",
] as const satisfies readonly ConsensusFrame["type"][];

export function encodeConsensusFrame(frame: ConsensusFrame): Uint8Array {
  const writer = new ByteWriter(256);
  writer.byte(TYPES.indexOf(frame.type));
  switch (frame.type) {
    case "raft":
      writer.text(frame.group);
      writer.text(frame.from);
      writer.text(frame.to);
      writeMessage(writer, frame.message);
      break;
    case "who":
    case "here":
      writeStanding(writer, frame.standing);
      break;
    case "join":
      writer.text(frame.group);
      writeMember(writer, frame.member);
      writer.text(frame.card);
      writer.number(frame.hops);
      break;
    case "leave":
      writer.text(frame.group);
      writer.text(frame.peer);
      writer.number(frame.hops);
      break;
    case "removed":
      writer.text(frame.group);
      writer.text(frame.peer);
      writer.flag(frame.isBarred);
      break;
    case "request":
      writer.text(frame.group);
      writer.text(frame.id);
      writer.flag(frame.isRetry);
      writer.bytes(frame.request);
      break;
    case "verdict":
      writer.text(frame.id);
      writer.flag(frame.isRejected);
      writer.text(frame.reason);
      break;
    case "refused":
      writer.text(frame.group);
      writer.text(frame.peer);
      writer.text(frame.reason);
      break;
    default:
      frame satisfies never;
  }
  return writer.finish();
}

/** @returns `undefined` if the bytes are no frame. */
export function readConsensusFrame(bytes: Uint8Array): ConsensusFrame | undefined {
  const reader = new ByteReader(bytes);
  const type = TYPES[reader.byte()];
  const frame = type === undefined ? undefined : readBody(reader, type);
  return reader.isWhole ? frame : undefined;
}

function readBody(reader: ByteReader, type: ConsensusFrame["type"]): ConsensusFrame | undefined {
  switch (type) {
    case "raft": {
      const group = reader.text();
      const from = reader.text();
      const to = reader.text();
      const message = readMessage(reader);
      return message === undefined ? undefined : { type, group, from, to, message };
    }
    case "who":
    case "here":
      return { type, standing: readStanding(reader) };
    case "join":
      return { type, group: reader.text(), member: readMember(reader), card: reader.text(), hops: reader.number() };
    case "leave":
      return { type, group: reader.text(), peer: reader.text(), hops: reader.number() };
    case "removed":
      return { type, group: reader.text(), peer: reader.text(), isBarred: reader.flag() };
    case "request":
      return { type, group: reader.text(), id: reader.text(), isRetry: reader.flag(), request: reader.bytes() };
    case "verdict":
      return { type, id: reader.text(), isRejected: reader.flag(), reason: reader.text() };
    case "refused":
      return { type, group: reader.text(), peer: reader.text(), reason: reader.text() };
    default:
      return type satisfies never;
  }
}

function writeStanding(writer: ByteWriter, standing: Standing): void {
  writer.text(standing.peer);
  writeFounder(writer, standing.founder);
  writer.text(standing.list);
  writer.text(standing.promise);
  writer.text(standing.group);
  writer.number(standing.founders.length);
  for (const founder of standing.founders) writer.text(founder);
  writer.flag(standing.isEstablished);
  writer.number(standing.known.length);
  for (const address of standing.known) writeAddress(writer, address);
}

function readStanding(reader: ByteReader): Standing {
  return {
    peer: reader.text(),
    founder: readFounder(reader),
    list: reader.text(),
    promise: reader.text(),
    group: reader.text(),
    founders: reader.list(() => reader.text()),
    isEstablished: reader.flag(),
    known: reader.list(() => readAddress(reader)),
  };
}

function writeFounder(writer: ByteWriter, { nodeId, address, zone, isWitness, card }: Founder): void {
  writer.text(nodeId);
  writeAddress(writer, address);
  writer.text(zone);
  writer.flag(isWitness);
  writer.text(card);
}

function readFounder(reader: ByteReader): Founder {
  return {
    nodeId: reader.text(),
    address: readAddress(reader),
    zone: reader.text(),
    isWitness: reader.flag(),
    card: reader.text(),
  };
}

function writeAddress(writer: ByteWriter, { host, port }: BusAddress): void {
  writer.text(host);
  writer.number(port);
}

function readAddress(reader: ByteReader): BusAddress {
  return { host: reader.text(), port: reader.number() };
}
