/**
 * Texts of others, as a terminal may have them: what nodes tell (names, causes, reasons, errors) may hold whatever somebody has written there, and a terminal takes some
 * characters for orders: to move its cursor, to change colours, to begin a line that looks like the program's own, to write backwards.
 *
 * Texts are made harmless where they come in, once each: answers of REST (`rest-access.ts`), replies of RESP (`cluster-access.ts`), files. So what is put together
 * from them may have colours and lines of its own. What programs read stays as it is, but for how JSON writes it.
 */
import { ReplyError, type ReplyValue } from "../codec/resp-reader.ts";
import { ORDERS, harmless } from "../harmless.ts";

export { harmless, parseHarmless } from "../harmless.ts";

/** The same of a text of several lines. */
export function harmlessLines(text: string): string {
  return text.split("\n").map(harmless).join("\n");
}

/** A text of JSON that says the same, and that a terminal may have as well. */
export function harmlessJson(text: string): string {
  return text.replaceAll(ORDERS, (order) =>
    order === "\n" ? order : `\\u${order.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Something as JSON, for programs; people may look at it too. */
export function jsonText(value: unknown, indent?: number): string {
  return harmlessJson(JSON.stringify(value, undefined, indent));
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** A reply in RESP2 whose texts go to a terminal. */
export function harmlessReply(reply: ReplyValue): ReplyValue {
  if (typeof reply === "string") return harmless(reply);
  if (reply instanceof Uint8Array) {
    const text = decoder.decode(reply);
    const shown = harmless(text);
    return shown === text ? reply : encoder.encode(shown);
  }
  if (reply instanceof ReplyError) return new ReplyError(harmless(reply.message));
  return Array.isArray(reply) ? (reply as readonly ReplyValue[]).map(harmlessReply) : reply;
}
