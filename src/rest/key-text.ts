/** Keys and values, which are bytes, as text: in paths, and in JSON. */
import { Buffer } from "node:buffer";
import { Problem } from "../http/problem.ts";
import { invalidField } from "./api.ts";

const HEX = /^[0-9A-Fa-f]{2}$/;
const strict = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

/**
 * What the runtime makes of bytes of a path that are no UTF-8, before anybody else sees it: two keys would be one. Nobody can tell it from the character U+FFFD that was
 * written so, which is rare; that one has another way of being written.
 */
const REPLACED = "%EF%BF%BD";

/** The last part of a request's path, as it was sent. */
export function lastOfPath(request: Request): string {
  const { pathname } = new URL(request.url);
  return pathname.slice(pathname.lastIndexOf("/") + 1);
}

/**
 * A key as a path has it: any bytes, those that have a meaning there behind a percent sign.
 *
 * @throws {Problem} If a percent sign stands before something else, or it is not what was sent.
 */
export function readKey(text: string): Uint8Array {
  if (text.includes(REPLACED)) {
    throw new Problem(
      "bad-request",
      `A key that is no UTF-8 has to be percent-encoded: of bytes as they are nothing is left but U+FFFD. Write that character itself as ${REPLACED.toLowerCase()}.`,
    );
  }
  const raw = encoder.encode(text);
  const bytes = new Uint8Array(raw.length);
  let length = 0;
  for (let at = 0; at < raw.length; at += 1, length += 1) {
    const byte = raw[at] ?? 0;
    if (byte !== PERCENT) {
      bytes[length] = byte;
      continue;
    }
    const digits = String.fromCharCode(raw[at + 1] ?? 0, raw[at + 2] ?? 0);
    if (!HEX.test(digits))
      throw new Problem("bad-request", "A percent sign in the path stands before two hexadecimal digits.");
    bytes[length] = Number.parseInt(digits, 16);
    at += 2;
  }
  return bytes.subarray(0, length);
}

const PERCENT = 0x25;

/** A key as a path has it. */
export function writeKey(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    const letter = String.fromCharCode(byte);
    text += /[A-Za-z0-9._~-]/.test(letter) ? letter : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
  }
  return text.replaceAll(REPLACED, REPLACED.toLowerCase());
}

/** How bytes are told in JSON: as text where they are some. */
export type Encoding = "utf8" | "base64";

export function writeText(bytes: Uint8Array): { readonly text: string; readonly encoding: Encoding } {
  try {
    return { text: strict.decode(bytes), encoding: "utf8" };
  } catch {
    return { text: Buffer.from(bytes).toString("base64"), encoding: "base64" };
  }
}

/** @throws {Problem} If it is no base64, or no text. */
export function readText(text: string, encoding: Encoding, field: string): Uint8Array {
  if (encoding === "utf8") {
    // What half a character is written as in UTF-8 is another one.
    if (!text.isWellFormed()) throw invalidField("body", field, "must be text: it has half of a surrogate pair");
    return encoder.encode(text);
  }
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0)
    throw invalidField("body", field, "must be base64");
  return new Uint8Array(Buffer.from(text, "base64"));
}
