/** Replies of nodes that are maps and texts, as RESP2 has them. */
import type { ReplyValue } from "./resp-reader.ts";

const decoder = new TextDecoder();

/** A map as RESP2 has it: names and values in turn. @returns An empty one of what is none. */
export function pairsOf(value: ReplyValue | undefined): ReadonlyMap<string, ReplyValue> {
  const items = (Array.isArray(value) ? value : []) as readonly ReplyValue[];
  const fields = new Map<string, ReplyValue>();
  for (let at = 0; at + 1 < items.length; at += 2) fields.set(textOf(items[at]), items[at + 1] ?? null);
  return fields;
}

/** Text of a reply; empty for what is none. */
export function textOf(value: ReplyValue | undefined): string {
  if (value instanceof Uint8Array) return decoder.decode(value);
  return typeof value === "string" ? value : "";
}
