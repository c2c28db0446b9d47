/**
 * Counters that are only counted up, and read from whatever node answers: what is told of them never goes back, wherever their slots are.
 *
 * What a replica tells may be old, but is committed: so at one node, asked again and again, it grows; the next INCR is beyond it; and it is never more than was
 * asked for.
 */
import { ReplyError, type ReplyValue, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { World } from "../../src/world.ts";
import { ClusterCaller } from "./cluster-caller.ts";

/** In the slots of the journals' keys, which move with the others. */
const COUNTERS: readonly string[] = ["{j1}n", "{j2}n", "{w}n"];
const RETRY_MS = 50;

interface Counter {
  /** Increments that were begun, and that were answered. */
  asked: number;
  acknowledged: number;
  /** The most that anybody was told. */
  most: number;
}

export class CounterLoad {
  /** Reads that some node answered, and how many of them told less than there was: those of replicas that are behind. */
  reads = 0;
  oldReads = 0;
  readonly #counters = new Map<string, Counter>(
    COUNTERS.map((key) => [key, { asked: 0, acknowledged: 0, most: 0 }] as const),
  );
  readonly #problems: string[] = [];
  #writer: { readonly world: World; readonly caller: ClusterCaller } | undefined;
  #isStopped = false;
  #running = 0;

  get isDone(): boolean {
    return this.#running === 0;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Counts up until it is stopped. There is one of these. */
  async write(world: World, addresses: readonly string[], pauseMs: number): Promise<void> {
    const caller = new ClusterCaller(world, addresses);
    this.#writer = { world, caller };
    await this.#repeat(world, pauseMs, (key) => this.#increment(caller, key));
  }

  /** Reads from any node until it is stopped. */
  async read(world: World, addresses: readonly string[], pauseMs: number): Promise<void> {
    const caller = new ClusterCaller(world, addresses, [["READONLY"]]);
    const told = new Map<string, number>();
    await this.#repeat(world, pauseMs, async (key) => {
      const outcome = await caller.call(caller.drawAddress(), encodeCommand(["GET", key]), 1);
      if (outcome.type !== "answered") return false;
      const counter = this.#counter(key);
      const value = numberOf(outcome.replies[0]);
      const { address } = outcome;
      const before = told.get(`${address} ${key}`) ?? 0;
      if (value === undefined) return false;
      if (value < before) this.#problems.push(`${key} was ${before} at ${address}, and then ${value}`);
      if (value > counter.asked)
        this.#problems.push(`${key} is ${value} at ${address}, and was asked to count to ${counter.asked}`);
      told.set(`${address} ${key}`, value);
      if (value < counter.acknowledged) this.oldReads += 1;
      counter.most = Math.max(counter.most, value);
      this.reads += 1;
      return true;
    });
  }

  /** Counts each up a last time. Once that is done. @param isLost Whether nothing is promised of a key. */
  async finish(isLost: (key: string) => boolean): Promise<void> {
    const { world, caller } = this.#writer ?? {};
    if (world === undefined || caller === undefined) return;
    for (const key of COUNTERS)
      while (!isLost(key) && !(await this.#increment(caller, key))) await pause(world, RETRY_MS);
  }

  /** @returns What was wrong, first things first. */
  get problem(): string | undefined {
    return this.#problems[0];
  }

  async #repeat(world: World, pauseMs: number, act: (key: string) => Promise<boolean>): Promise<void> {
    this.#running += 1;
    while (!this.#isStopped) {
      const isDone = await act(COUNTERS[world.random.below(COUNTERS.length)] ?? "");
      await pause(world, isDone ? world.random.below(pauseMs) : RETRY_MS);
    }
    this.#running -= 1;
  }

  async #increment(caller: ClusterCaller, key: string): Promise<boolean> {
    const counter = this.#counter(key);
    const { most } = counter;
    counter.asked += 1;
    const outcome = await caller.call(caller.drawAddress(), encodeCommand(["INCR", key]), 1);
    if (outcome.type === "not done") counter.asked -= 1;
    const value = outcome.type === "answered" ? numberOf(outcome.replies[0]) : undefined;
    if (value === undefined) return false;
    if (value <= most) this.#problems.push(`${key} counts to ${value}, and ${most} was told before`);
    if (value > counter.asked)
      this.#problems.push(`${key} counts to ${value}, and was asked to count to ${counter.asked}`);
    counter.acknowledged = Math.max(counter.acknowledged, value);
    counter.most = Math.max(counter.most, value);
    return true;
  }

  #counter(key: string): Counter {
    let counter = this.#counters.get(key);
    if (counter === undefined) this.#counters.set(key, (counter = { asked: 0, acknowledged: 0, most: 0 }));
    return counter;
  }
}

/** @returns `undefined` for an error; nothing counts as 0. */
function numberOf(reply: ReplyValue | undefined): number | undefined {
  if (reply instanceof ReplyError) return undefined;
  if (reply === null || reply === undefined) return 0;
  return Number(reply instanceof Uint8Array ? new TextDecoder().decode(reply) : reply);
}

function pause(world: World, ms: number): Promise<void> {
  return new Promise<void>((resolve) => void world.clock.after(ms, resolve));
}
