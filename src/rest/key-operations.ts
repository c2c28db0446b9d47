/**
 * What REST does with a key: one of these is a few commands at the node that has the key's slot, wherever that is.
 *
 * A value's tag is made of the value, so that who has one knows the other. Compare-and-set is WATCH, GET, and a transaction that does nothing if the key was touched in between.
 */
import { createHash } from "node:crypto";
import { ReplyError, type ReplyValue } from "../codec/resp-reader.ts";
import { Problem } from "../http/problem.ts";
import type { Clock } from "../world.ts";
import type { Command, Run } from "./sessions.ts";

/** On what a write depends. */
export type Condition =
  | { readonly type: "none" }
  /** There is no such key. */
  | { readonly type: "absent" }
  /** There is one. */
  | { readonly type: "present" }
  /** Its value has one of these tags. */
  | { readonly type: "tags"; readonly tags: readonly string[] };

export type KeyOperation =
  | {
      readonly type: "get";
      readonly key: Uint8Array;
      /** Whether there is room for a value, or for more of one: asked before it is read. By default there is for any. */
      readonly admits?: (bytes: number) => boolean;
    }
  | {
      readonly type: "put";
      readonly key: Uint8Array;
      readonly value: Uint8Array;
      /** Milliseconds; `keep`: as it was; `undefined`: it stays for good. */
      readonly ttl: number | "keep" | undefined;
      readonly condition: Condition;
    }
  | { readonly type: "delete"; readonly key: Uint8Array; readonly condition: Condition };

/** What came of one. */
export type KeyOutcome =
  | { readonly type: "value"; readonly value: Uint8Array; readonly ttlMs: number | null }
  /** There is no such key. */
  | { readonly type: "none" }
  /** There is no room for the value. */
  | { readonly type: "long" }
  | { readonly type: "stored"; readonly tag: string }
  | { readonly type: "deleted" }
  /** The condition does not hold. */
  | { readonly type: "failed" };

/** An error reply that names another node. */
export class Redirected extends Error {
  override readonly name = "Redirected";
  readonly kind: "MOVED" | "ASK";
  readonly slot: number;
  /** `host:port`, as the map has it. */
  readonly address: string;

  constructor(kind: "MOVED" | "ASK", slot: number, address: string) {
    super(`${kind} ${slot} ${address}`);
    this.kind = kind;
    this.slot = slot;
    this.address = address;
  }
}

/** The tag of a value, in quotation marks. */
export function tagOf(value: Uint8Array): string {
  return tagBy(createHash("sha256").update(value));
}

/** So much of a value is looked at within a few milliseconds. */
const TURN_BYTES = 4 * 1024 * 1024;

/** The same of a value that may be very long: others have their turn meanwhile. The value must not change. */
export async function tagInTurns(value: Uint8Array, clock: Pick<Clock, "soon">): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < value.length; at += TURN_BYTES) {
    if (at > 0) await new Promise<void>((resolve) => clock.soon(resolve));
    hash.update(value.subarray(at, at + TURN_BYTES));
  }
  return tagBy(hash);
}

function tagBy(hash: ReturnType<typeof createHash>): string {
  return `"${hash.digest("hex").slice(0, 32)}"`;
}

/** @throws {Redirected} Or what the reply is an error of. */
function checked(reply: ReplyValue | undefined): ReplyValue {
  if (!(reply instanceof ReplyError)) return reply ?? null;
  const [, kind, slot, address = ""] = /^(MOVED|ASK) ([0-9]+) (\S+)$/.exec(reply.message) ?? [];
  if (kind === "MOVED" || kind === "ASK") throw new Redirected(kind, Number(slot), address);
  throw reply;
}

/**
 * Does it.
 *
 * @param isAsking The node takes the key's slot in, and was named by ASK.
 * @throws {Redirected} Another node has it; nothing was done.
 * @throws {ReplyError} What speaks against it; nothing was done.
 * @throws {SessionLost} Of a write, nobody may know whether it was done.
 */
export async function operate(run: Run, operation: KeyOperation, isAsking: boolean): Promise<KeyOutcome> {
  /** One command about the key. */
  const ask = async (...command: Command): Promise<ReplyValue> => {
    if (!isAsking) return checked((await run(command))[0]);
    return checked((await run(["ASKING"], command))[1]);
  };
  const { key } = operation;
  switch (operation.type) {
    case "get": {
      const { admits } = operation;
      const bytes = admits === undefined ? 0 : Number(await ask("STRLEN", key));
      if (admits?.(bytes) === false) return { type: "long" };
      const value = await ask("GET", key);
      // It may have been written in between.
      if (value instanceof Uint8Array && value.length > bytes && admits?.(value.length - bytes) === false)
        return { type: "long" };
      if (!(value instanceof Uint8Array)) return { type: "none" };
      const ttl = Number(await ask("PTTL", key));
      return { type: "value", value, ttlMs: ttl >= 0 ? ttl : null };
    }
    case "put": {
      const { value, ttl, condition } = operation;
      const command: Command = [
        "SET",
        key,
        value,
        ...(condition.type === "absent" ? ["NX"] : condition.type === "present" ? ["XX"] : []),
        ...(ttl === undefined ? [] : ttl === "keep" ? ["KEEPTTL"] : ["PX", String(ttl)]),
      ];
      const reply =
        condition.type === "tags" ? await ifTagged(run, key, condition.tags, isAsking, command) : await ask(...command);
      return reply === null ? { type: "failed" } : { type: "stored", tag: tagOf(value) };
    }
    case "delete": {
      const { condition } = operation;
      const command: Command = ["DEL", key];
      const reply =
        condition.type === "tags" ? await ifTagged(run, key, condition.tags, isAsking, command) : await ask(...command);
      if (reply === null) return { type: "failed" };
      if (reply !== 0) return { type: "deleted" };
      return condition.type === "present" ? { type: "failed" } : { type: "none" };
    }
    default:
      return operation satisfies never;
  }
}

/** Runs a command if the key's value has one of some tags. @returns Null if not. */
async function ifTagged(
  run: Run,
  key: Uint8Array,
  tags: readonly string[],
  isAsking: boolean,
  command: Command,
): Promise<ReplyValue> {
  if (isAsking) {
    throw new Problem("unavailable", "The key is on its way to another node: a condition on its value has to wait.", {
      retryAfterS: 1,
    });
  }
  const [watched, value] = await run(["WATCH", key], ["GET", key]);
  try {
    checked(watched);
    const present = checked(value);
    if (!(present instanceof Uint8Array) || !tags.includes(tagOf(present))) {
      await run(["UNWATCH"]);
      return null;
    }
  } catch (thrown) {
    await run(["UNWATCH"]);
    throw thrown;
  }
  const [begun, queued, done] = await run(["MULTI"], command, ["EXEC"]);
  checked(begun);
  checked(queued);
  const replies = checked(done);
  // Somebody was faster.
  if (!Array.isArray(replies)) return null;
  return checked((replies as readonly ReplyValue[])[0]);
}
