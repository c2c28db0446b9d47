/** What members of a group, and those that would be, say to each other beside Raft's own messages; with the envelope around both. */
import type { Member, Message, PeerId } from "../protocol/raft/types.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { readMember, readMessage, writeMember, writeMessage } from "./raft-codec.ts";

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
  /** A node that belongs to no group asks who is there. `list` tells its list of founders from others. */
  | { readonly type: "who"; readonly list: string; readonly peer: PeerId; readonly nonce: number }
  /** The answer: fresh as well (no group), or a member of one, which names its members and leader. */
  | {
      readonly type: "here";
      readonly list: string;
      readonly peer: PeerId;
      readonly nonce: number;
      readonly group: string;
      readonly founders: readonly PeerId[];
      /** The group has had a leader. */
      readonly isEstablished: boolean;
    }
  /** A node would be a learner of the group. Goes from member to member until it is the leader's. */
  | { readonly type: "join"; readonly group: string; readonly member: Member; readonly hops: number }
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
      writer.text(frame.list);
      writer.text(frame.peer);
      writer.number(frame.nonce);
      break;
    case "here":
      writer.text(frame.list);
      writer.text(frame.peer);
      writer.number(frame.nonce);
      writer.text(frame.group);
      writer.number(frame.founders.length);
      for (const founder of frame.founders) writer.text(founder);
      writer.flag(frame.isEstablished);
      break;
    case "join":
      writer.text(frame.group);
      writeMember(writer, frame.member);
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
      return { type, list: reader.text(), peer: reader.text(), nonce: reader.number() };
    case "here":
      return {
        type,
        list: reader.text(),
        peer: reader.text(),
        nonce: reader.number(),
        group: reader.text(),
        founders: reader.list(() => reader.text()),
        isEstablished: reader.flag(),
      };
    case "join":
      return { type, group: reader.text(), member: readMember(reader), hops: reader.number() };
    case "leave":
      return { type, group: reader.text(), peer: reader.text(), hops: reader.number() };
    case "removed":
      return { type, group: reader.text(), peer: reader.text(), isBarred: reader.flag() };
    case "request":
      return { type, group: reader.text(), id: reader.text(), isRetry: reader.flag(), request: reader.bytes() };
    case "verdict":
      return { type, id: reader.text(), isRejected: reader.flag(), reason: reader.text() };
    default:
      return type satisfies never;
  }
}
