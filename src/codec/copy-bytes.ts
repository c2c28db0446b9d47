/**
 * Copies bytes from one array into another, as fast as the engine allows.
 *
 * A typed array can only be copied in part by first making a view of that part, and the view costs more than the copying of what a key or
 * a small value has. A loop is fastest for few bytes, `Buffer`'s own `copy`, which takes positions, for many. It needs no `Buffer` to work
 * on: any array of bytes will do.
 */
import { Buffer } from "node:buffer";

/** From this many bytes on the native copy, whose call costs about 15 ns however few they are, is faster than a loop. */
const NATIVE_FROM_BYTES = 48;

// It is only ever called with the array that it is to work on, which need not be a Buffer.
// oxlint-disable-next-line typescript/unbound-method
const nativeCopy = Buffer.alloc(0).copy;

/**
 * Copies bytes. The two arrays differ, or the ranges do not overlap.
 *
 * @param source Where from.
 * @param start First byte in `source`.
 * @param end One past the last byte in `source`.
 * @param target Where to; long enough.
 * @param at Where the first byte goes in `target`.
 * @example
 * ```ts
 * copyBytes(input, 3, 6, output, 0);
 * ```
 */
export function copyBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): void {
  if (end - start < NATIVE_FROM_BYTES) {
    for (let from = start, to = at; from < end; from += 1, to += 1) target[to] = source[from] as number;
  } else {
    nativeCopy.call(source, target, at, start, end);
  }
}
