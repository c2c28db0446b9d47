/**
 * Assertions that stay on in production.
 *
 * A failed assertion is a *fault*: a bug, a broken invariant. It is never caught and served around: the node that meets
 * one stops, with the sentence that says what was broken (see `node.ts`). Failures of nodes, links and disks are not
 * faults; they are expected, and are handled as values.
 */

/** A broken invariant. Its message is a sentence that names what must hold and what was found. */
export class Fault extends Error {
  override readonly name = "Fault";
}

/**
 * States an invariant.
 *
 * @param condition What must hold.
 * @param message What is broken if it does not, as a sentence. Keep it constant on hot paths: a template is built even when the condition holds.
 * @throws {Fault} If the condition does not hold.
 * @example
 * ```ts
 * assert(slot >= 0 && slot < 16384, "a slot is in 0..16383");
 * ```
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Fault(message);
}

/**
 * Returns a value that the caller knows to be there.
 *
 * @param value The value, which an invariant says is not `undefined` or `null`.
 * @param message What is broken if it is, as a sentence.
 * @returns The value, with `undefined` and `null` taken out of its type.
 * @throws {Fault} If it is `undefined` or `null`.
 */
export function present<T>(value: T | undefined | null, message: string): T {
  if (value === undefined || value === null) throw new Fault(message);
  return value;
}
