/**
 * Texts of others, as people may be shown them: what nodes tell (names, causes, reasons, errors) may hold whatever somebody has written there. A terminal takes some
 * characters for orders, and a page as well those that have a line written backwards, so that it reads as something else.
 */

/** Control characters, those that separate lines, and those that change the direction of writing. */
export const ORDERS = /[\p{Cc}\u2028\u2029\u200E\u200F\u061C\u202A-\u202E\u2066-\u2069]/gu;

/** Shows what would be taken for an order, such as `\x1b`. */
export function harmless(text: string): string {
  return text.replaceAll(ORDERS, (order) => {
    const code = order.charCodeAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u${code.padStart(4, "0")}`;
  });
}

/** Reads JSON whose texts are shown. @throws {SyntaxError} If it is none. */
export function parseHarmless(text: string): unknown {
  return JSON.parse(text, (_, value: unknown) => (typeof value === "string" ? harmless(value) : value)) as unknown;
}
