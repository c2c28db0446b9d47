/** What nodes of different clusters, or of none, say to each other when they are to be one cluster. */
import type { SlotRange } from "../contracts/topology.ts";
import type { NetAddress } from "../net-address.ts";
import type { ClusterStanding } from "../protocol/meeting.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

export type MeetingFrame =
  /** A node tells of itself, and asks. */
  | { readonly type: "hello"; readonly question: number; readonly standing: ClusterStanding }
  /** The answer. */
  | { readonly type: "standing"; readonly question: number; readonly standing: ClusterStanding }
  /** Become part of my cluster. `isKeyless`: it is one node without keys, which could come to yours instead. */
  | { readonly type: "invite"; readonly clusterId: string; readonly isKeyless: boolean }
  /** I would be part of your cluster, with these slots. Said again until there is a verdict. */
  | {
      readonly type: "join";
      readonly joinId: string;
      readonly clusterId: string;
      readonly card: string;
      readonly slots: readonly SlotRange[];
    }
  /** It is agreed, for good. */
  | {
      readonly type: "verdict";
      readonly joinId: string;
      readonly isAdmitted: boolean;
      readonly reason: string;
      /** The one that has decided. */
      readonly clusterId: string;
      /** Where members are. */
      readonly members: readonly NetAddress[];
    };

const TYPES = ["hello", "standing", "invite", "join", "verdict"] as const satisfies readonly MeetingFrame["type"][];

export function encodeMeetingFrame(frame: MeetingFrame): Uint8Array {
  const writer = new ByteWriter(128);
  writer.byte(TYPES.indexOf(frame.type));
  switch (frame.type) {
    case "hello":
    case "standing":
      writer.number(frame.question);
      writer.text(frame.standing.clusterId);
      writer.number(frame.standing.nodeCount);
      writer.flag(frame.standing.isKeyless);
      writer.flag(frame.standing.isSealed);
      writer.flag(frame.standing.isOut);
      break;
    case "invite":
      writer.text(frame.clusterId);
      writer.flag(frame.isKeyless);
      break;
    case "join":
      writer.text(frame.joinId);
      writer.text(frame.clusterId);
      writer.text(frame.card);
      writer.number(frame.slots.length);
      for (const { first, last } of frame.slots) {
        writer.number(first);
        writer.number(last);
      }
      break;
    case "verdict":
      writer.text(frame.joinId);
      writer.flag(frame.isAdmitted);
      writer.text(frame.reason);
      writer.text(frame.clusterId);
      writer.number(frame.members.length);
      for (const { host, port } of frame.members) {
        writer.text(host);
        writer.number(port);
      }
      break;
    default:
      frame satisfies never;
  }
  return writer.finish();
}

/** @returns `undefined` if the bytes are no frame. */
export function readMeetingFrame(bytes: Uint8Array): MeetingFrame | undefined {
  const reader = new ByteReader(bytes);
  const type = TYPES[reader.byte()];
  const frame = type === undefined ? undefined : readBody(reader, type);
  return reader.isWhole ? frame : undefined;
}

function readBody(reader: ByteReader, type: MeetingFrame["type"]): MeetingFrame {
  switch (type) {
    case "hello":
    case "standing":
      return {
        type,
        question: reader.number(),
        standing: {
          clusterId: reader.text(),
          nodeCount: reader.number(),
          isKeyless: reader.flag(),
          isSealed: reader.flag(),
          isOut: reader.flag(),
        },
      };
    case "invite":
      return { type, clusterId: reader.text(), isKeyless: reader.flag() };
    case "join":
      return {
        type,
        joinId: reader.text(),
        clusterId: reader.text(),
        card: reader.text(),
        slots: reader.list(() => ({ first: reader.number(), last: reader.number() })),
      };
    case "verdict":
      return {
        type,
        joinId: reader.text(),
        isAdmitted: reader.flag(),
        reason: reader.text(),
        clusterId: reader.text(),
        members: reader.list(() => ({ host: reader.text(), port: reader.number() })),
      };
    default:
      return type satisfies never;
  }
}
