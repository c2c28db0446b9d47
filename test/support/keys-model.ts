/**
 * Keys that a transaction may touch together, as Redis' string commands see them: what the linearizability checker holds the answers of a cluster with replicas
 * against. Such keys are one object of the history; most objects are one key.
 *
 * A key with an expiry may vanish at any moment, by a clock that may be set at any moment. So whoever gives a key an expiry adds an operation of its own, called
 * then, whose outcome is unknown: it takes away whatever key has that very expiry by then, since RENAME takes it along. What has vanished once must not be seen again.
 *
 * Values are texts of one byte a character.
 */
import type { Model } from "./linearizability.ts";

/** One command on one key. */
export type KeyCommand =
  | { readonly name: "GET" | "DEL" | "INCR" | "PERSIST"; readonly key: string }
  | { readonly name: "SET" | "APPEND" | "SETNX"; readonly key: string; readonly value: string }
  /** @param expiry A name for the expiry that it gives, as no other has. */
  | { readonly name: "SETPX"; readonly key: string; readonly value: string; readonly expiry: string }
  | { readonly name: "PEXPIRE"; readonly key: string; readonly expiry: string }
  | { readonly name: "RENAME"; readonly key: string; readonly to: string };

export type KeysInput =
  /** One command, or a transaction of several. */
  | { readonly commands: readonly KeyCommand[] }
  /** What has this expiry vanishes. */
  | { readonly expiry: string }
  /** All keys are removed. */
  | { readonly flush: true };

/** A reply to one command: `null` is nil, `{ error }` an error that promises that nothing was done and depends on the value. */
export type KeyOutput = string | number | null | { readonly error: string };

interface Cell {
  readonly value: string;
  readonly expiry: string;
}

/** The keys that are there. Never changed once it is made. */
export type KeysState = ReadonlyMap<string, Cell>;

const LARGEST_INTEGER = 9_223_372_036_854_775_807n;
const NO_EXPIRY = "";
const NO_SUCH_KEY = "ERR no such key";

export const keysModel: Model<KeysState, KeysInput, readonly KeyOutput[]> = {
  initial: new Map(),

  step(state, input, outputs) {
    if ("flush" in input) return keysModel.initial;
    if ("expiry" in input) {
      for (const [key, { expiry }] of state) if (expiry === input.expiry) return put(state, key, undefined);
      return state;
    }
    let next: KeysState | undefined = state;
    for (const [at, command] of input.commands.entries()) {
      next = next === undefined ? undefined : run(next, command, outputs?.[at]);
    }
    return next;
  },

  stateKey(state) {
    if (state.size === 0) return "(empty)";
    const keys = [...state].map(([key, { value, expiry }]) => `${key}=${JSON.stringify(value)}${expiry}`);
    return keys.toSorted().join(" ");
  },

  isReadOnly(input) {
    return "commands" in input && input.commands.every(({ name }) => name === "GET");
  },

  describe(input, outputs) {
    if ("flush" in input) return "FLUSHALL";
    if ("expiry" in input) return `${input.expiry} is over`;
    return input.commands
      .map((command, at) => {
        const value = "value" in command ? ` ${JSON.stringify(command.value)}` : "";
        const to = "to" in command ? ` ${command.to}` : "";
        const expiry = "expiry" in command ? ` ${command.expiry}` : "";
        return `${command.name} ${command.key}${to}${value}${expiry} -> ${describeOutput(outputs?.[at])}`;
      })
      .join("; ");
  },
};

/** @returns The state after a command; `undefined` if its reply does not fit. */
function run(state: KeysState, command: KeyCommand, output: KeyOutput | undefined): KeysState | undefined {
  const { key } = command;
  const cell = state.get(key);
  const isThere = cell !== undefined;
  switch (command.name) {
    case "GET":
      return fits(output, cell?.value ?? null) ? state : undefined;
    case "SET":
      return fits(output, "OK") ? put(state, key, { value: command.value, expiry: NO_EXPIRY }) : undefined;
    case "SETPX":
      return fits(output, "OK") ? put(state, key, { value: command.value, expiry: command.expiry }) : undefined;
    case "DEL":
      return fits(output, isThere ? 1 : 0) ? put(state, key, undefined) : undefined;
    case "SETNX":
      if (isThere) return fits(output, null) ? state : undefined;
      return fits(output, "OK") ? put(state, key, { value: command.value, expiry: NO_EXPIRY }) : undefined;
    case "PEXPIRE":
      if (!isThere) return fits(output, 0) ? state : undefined;
      return fits(output, 1) ? put(state, key, { ...cell, expiry: command.expiry }) : undefined;
    case "PERSIST":
      if (!isThere || cell.expiry === NO_EXPIRY) return fits(output, 0) ? state : undefined;
      return fits(output, 1) ? put(state, key, { ...cell, expiry: NO_EXPIRY }) : undefined;
    case "RENAME":
      if (!isThere)
        return output === undefined || (isError(output) && output.error === NO_SUCH_KEY) ? state : undefined;
      return fits(output, "OK") ? put(put(state, command.to, cell), key, undefined) : undefined;
    case "APPEND": {
      const value = (cell?.value ?? "") + command.value;
      return fits(output, value.length) ? put(state, key, { value, expiry: cell?.expiry ?? NO_EXPIRY }) : undefined;
    }
    case "INCR": {
      const number = integerOf(cell?.value ?? "0");
      if (number === undefined || number === LARGEST_INTEGER) {
        return output === undefined || isError(output) ? state : undefined;
      }
      const value = String(number + 1n);
      const isRight = output === undefined || (!isError(output) && output !== null && String(output) === value);
      return isRight ? put(state, key, { value, expiry: cell?.expiry ?? NO_EXPIRY }) : undefined;
    }
    default:
      return command satisfies never;
  }
}

function put(state: KeysState, key: string, cell: Cell | undefined): KeysState {
  if (cell === undefined && !state.has(key)) return state;
  const next = new Map(state);
  if (cell === undefined) next.delete(key);
  else next.set(key, cell);
  return next;
}

/** An unknown reply fits all. */
function fits(output: KeyOutput | undefined, expected: KeyOutput): boolean {
  return output === undefined || output === expected;
}

function isError(output: KeyOutput): output is { readonly error: string } {
  return typeof output === "object" && output !== null;
}

/** The number that a text is in Redis' eyes, if it is one: no sign but `-`, no leading zeros, 64 bits. */
function integerOf(text: string): bigint | undefined {
  if (!/^(0|-?[1-9][0-9]{0,18})$/.test(text)) return undefined;
  const number = BigInt(text);
  return number <= LARGEST_INTEGER && number >= -LARGEST_INTEGER - 1n ? number : undefined;
}

function describeOutput(output: KeyOutput | undefined): string {
  if (output === undefined) return "?";
  if (output === null) return "(nil)";
  return isError(output) ? output.error : JSON.stringify(output);
}
