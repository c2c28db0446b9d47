/** What nodes ask each other before a slot changes hands or is closed, as bytes. Who says it the bus has proved. */
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

/** What a node asks another one for. */
export type SlotQuestion =
  /** The owner's primary: to give the slot to another node's shard. */
  | { readonly type: "give"; readonly slot: number; readonly to: string }
  /** The primary of a shard that takes the slot in: to take it in no more. @see TopologyRequest `unmark-slot` for `isLast`. */
  | { readonly type: "close"; readonly slot: number; readonly isLast: boolean }
  /** The owner's primary: to move all keys of the slot to another node, and to give it the slot then. */
  | { readonly type: "send"; readonly slot: number; readonly to: string }
  /** Anybody: to say when it has applied this version of the map. */
  | { readonly type: "reach"; readonly version: number };

/** The word that was asked for. */
export interface SlotWord {
  /** `elsewhere`: the node that was asked is not the primary, and another may be. `keys`: it has keys, and must have none for that. */
  readonly result: (typeof RESULTS)[number];
  /** Why it was not done; empty: it was. */
  readonly error: string;
  /** The version of the map in which it is done. */
  readonly version: number;
}

export type SlotMessage =
  | { readonly type: "question"; readonly id: number; readonly cause: string; readonly question: SlotQuestion }
  | { readonly type: "word"; readonly id: number; readonly word: SlotWord };

/** The numbers on the wire. Never used again for another. */
const MESSAGES = ["question", "word"] as const satisfies readonly SlotMessage["type"][];
const RESULTS = ["done", "refused", "elsewhere", "keys"] as const;
const QUESTIONS = ["give", "close", "reach", "send"] as const satisfies readonly SlotQuestion["type"][];
const ID_BYTES = 20;

export function encodeSlotMessage(message: SlotMessage): Uint8Array {
  const writer = new ByteWriter(64);
  writer.byte(MESSAGES.indexOf(message.type));
  writer.number(message.id);
  if (message.type === "word") {
    writer.byte(RESULTS.indexOf(message.word.result));
    writer.text(message.word.error);
    writer.number(message.word.version);
    return writer.finish();
  }
  const { cause, question } = message;
  writer.text(cause);
  writer.byte(QUESTIONS.indexOf(question.type));
  writer.number(question.type === "reach" ? question.version : question.slot);
  if (question.type === "give" || question.type === "send") writer.raw(Uint8Array.fromHex(question.to));
  if (question.type === "close") writer.flag(question.isLast);
  return writer.finish();
}

/** @returns `undefined` if it is not a message. */
export function readSlotMessage(bytes: Uint8Array): SlotMessage | undefined {
  const reader = new ByteReader(bytes);
  const type = MESSAGES[reader.byte()];
  const id = reader.number();
  const message = type === "word" ? readWord(reader, id) : type === "question" ? readQuestion(reader, id) : undefined;
  return reader.isWhole ? message : undefined;
}

function readWord(reader: ByteReader, id: number): SlotMessage | undefined {
  const result = RESULTS[reader.byte()];
  const word = { error: reader.text(), version: reader.number() };
  return result && { type: "word", id, word: { result, ...word } };
}

function readQuestion(reader: ByteReader, id: number): SlotMessage | undefined {
  const cause = reader.text();
  const type = QUESTIONS[reader.byte()];
  const number = reader.number();
  switch (type) {
    case "give":
    case "send":
      return { type: "question", id, cause, question: { type, slot: number, to: reader.raw(ID_BYTES).toHex() } };
    case "close":
      return { type: "question", id, cause, question: { type, slot: number, isLast: reader.flag() } };
    case "reach":
      return { type: "question", id, cause, question: { type, version: number } };
    default:
      return undefined;
  }
}
