/**
 * One key, as Redis' string commands see it: what the linearizability checker holds a cluster's answers against.
 *
 * Values are texts of one byte a character. `LOST` is no command: it stands for a node that kept the key in memory and
 * crashed. It is an operation with a call (the crash) and an answer (the first moment at which the key may be served again).
 */

import type { Model } from "./linearizability.ts";

export type RegisterInput =
  | { readonly command: "GET" | "DEL" | "INCR" | "LOST" }
  | { readonly command: "SET" | "APPEND" | "SETNX"; readonly value: string };

/** A reply: `null` is nil, `{ error }` an error that promises that nothing was done and depends on the value. */
export type RegisterOutput = string | number | null | { readonly error: string };

/** The value; `null` if there is none. */
export type RegisterState = string | null;

const LARGEST_INTEGER = 9_223_372_036_854_775_807n;

export const registerModel: Model<RegisterState, RegisterInput, RegisterOutput> = {
  initial: null,

  step(state, input, output) {
    switch (input.command) {
      case "GET":
        return fits(output, state, state);
      case "SET":
        return fits(output, "OK", input.value);
      case "DEL":
        return fits(output, state === null ? 0 : 1, null);
      case "SETNX":
        return state === null ? fits(output, 1, input.value) : fits(output, 0, state);
      case "APPEND": {
        const value = (state ?? "") + input.value;
        return fits(output, value.length, value);
      }
      case "INCR": {
        const number = integerOf(state ?? "0");
        if (number === undefined || number === LARGEST_INTEGER) {
          return output === undefined || isError(output) ? state : undefined;
        }
        const value = String(number + 1n);
        return output === undefined || (!isError(output) && output !== null && String(output) === value)
          ? value
          : undefined;
      }
      case "LOST":
        return null;
      default:
        return input satisfies never;
    }
  },

  stateKey(state) {
    return state === null ? "(nil)" : JSON.stringify(state);
  },

  isReadOnly(input) {
    return input.command === "GET";
  },

  describe(input, output) {
    const what = "value" in input ? `${input.command} ${JSON.stringify(input.value)}` : input.command;
    return `${what} -> ${describeOutput(output)}`;
  },
};

function fits(
  output: RegisterOutput | undefined,
  expected: RegisterOutput,
  next: RegisterState,
): RegisterState | undefined {
  return output === undefined || output === expected ? next : undefined;
}

function isError(output: RegisterOutput): output is { readonly error: string } {
  return typeof output === "object" && output !== null;
}

/** The number that a text is in Redis' eyes, if it is one: no sign but `-`, no leading zeros, 64 bits. */
function integerOf(text: string): bigint | undefined {
  if (!/^(0|-?[1-9][0-9]{0,18})$/.test(text)) return undefined;
  const number = BigInt(text);
  return number <= LARGEST_INTEGER && number >= -LARGEST_INTEGER - 1n ? number : undefined;
}

function describeOutput(output: RegisterOutput | undefined): string {
  if (output === undefined) return "?";
  if (output === null) return "(nil)";
  return isError(output) ? output.error : JSON.stringify(output);
}
