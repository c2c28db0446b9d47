/** Applies effects: does to this node's keys what another node did to its own. */
import type { Client, ClientTransport } from "../client.ts";
import type { ArgumentList } from "../codec/resp-parser.ts";
import { ReplyWriter } from "../codec/resp-writer.ts";
import type { Keyspace } from "../contracts/keyspace.ts";
import type { NodeContext } from "../plugin.ts";
import { LogOperations, PART_OF_NOTHING, isLogOperation } from "./log-operations.ts";

const MINUS = 0x2d;

export class EffectRunner {
  readonly #context: NodeContext;
  readonly #keyspace: Keyspace;
  readonly #operations: LogOperations;
  readonly #nobody: Client;
  readonly #scratch = new ReplyWriter();

  /** @param name What its client is called. */
  constructor(context: NodeContext, keyspace: Keyspace, name: string) {
    this.#context = context;
    this.#keyspace = keyspace;
    this.#operations = new LogOperations(keyspace);
    this.#nobody = context.clients.add(nowhere(`${name}:0`), context.world.clock.monotonicMs(), true, false);
    this.#nobody.isReplaying = true;
  }

  /**
   * Runs what another node ran. Its time is no time: nothing is expired, and no expiry is over.
   *
   * @returns Why it failed, in words; `undefined` if it did not.
   */
  run(args: ArgumentList): string | undefined {
    const keyspace = this.#keyspace;
    const { nowMs } = keyspace;
    keyspace.nowMs = 0;
    try {
      if (isLogOperation(args)) return this.#operations.apply(args);
      const scratch = this.#scratch;
      this.#context.dispatcher.dispatchNested(this.#nobody, args, scratch);
      if (scratch.bytes[0] !== MINUS) return undefined;
      return new TextDecoder().decode(scratch.bytes.subarray(1, scratch.length)).trim();
    } finally {
      this.#scratch.reset();
      keyspace.nowMs = nowMs;
    }
  }
}

/** Errors of commands whose keys are not there, or not whole. */
const OF_MISSING_KEYS =
  /^(ERR no such key|ERR value is not |ERR increment or decrement |ERR increment would |WRONGTYPE )/;

/**
 * Whether an effect failed as one may whose keys have not all come: they do come, as a record. Whatever else it failed for (a command that is not known here, memory that
 * there is not) would be left undone for ever.
 *
 * @param problem What `run` returned.
 */
export function isOfMissingKeys(problem: string): boolean {
  return OF_MISSING_KEYS.test(problem) || problem === PART_OF_NOTHING;
}

/** The end of a client that effects run as. Nobody is there to be answered. */
function nowhere(address: string): ClientTransport {
  return {
    remoteAddress: address,
    localAddress: address,
    queryBytes: () => 0,
    outputBytes: () => 0,
    closeAfterReply: () => undefined,
    kill: () => undefined,
    release: () => undefined,
    settle: () => undefined,
  };
}
