/**
 * Two nodes without sockets, and between them a channel in memory: effects of the one and slot streams, in order, applied by the other as a replica does.
 *
 * The sender's side keeps the rules that `src/replication/slot-source.ts` gives its owner, the receiver's side those of `slot-sink.ts`.
 */
import { ReplyError } from "../../src/codec/resp-reader.ts";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import { type Keyspace, keyspaceService } from "../../src/contracts/keyspace.ts";
import type { SlotRange } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import { SlotSink, type SlotSinkOptions } from "../../src/replication/slot-sink.ts";
import { SlotSource, type SlotSourceOptions } from "../../src/replication/slot-source.ts";
import { KeyReference } from "../../src/store/key-reference.ts";
import type { Clock, World } from "../../src/world.ts";
import { SimRandom } from "./sim-random.ts";
import { Simulation } from "./sim-world.ts";
import type { Store } from "../../src/store/store.ts";
import type { LocalConnection } from "../../src/local-connection.ts";

type Item =
  | {
      readonly type: "effect";
      readonly slot: number;
      readonly parts: readonly Uint8Array[];
      /** Its command has failed at the sender, after it had found that a key has expired: that is a change, so the dispatcher states it. */
      mayFail: boolean;
    }
  | { readonly type: "message"; readonly bytes: Uint8Array };

export const ALL_SLOTS: readonly SlotRange[] = [{ first: 0, last: SLOT_COUNT - 1 }];

const decoder = new TextDecoder();

/** The keys that an effect names. */
function keysOf(name: string, parts: readonly Uint8Array[]): readonly Uint8Array[] {
  if (name === "DEL" || name === "UNLINK") return parts.slice(1);
  if (name === "MSET" || name === "MSETNX") return parts.filter((_, index) => index % 2 === 1);
  if (name === "RENAME" || name === "RENAMENX" || name === "COPY") return parts.slice(1, 3);
  if (name === "BITOP") return parts.slice(2);
  if (name === "FLUSHALL") return [];
  return parts.slice(1, 2);
}

export class StreamPair {
  readonly source: Keyspace;
  readonly target: Keyspace;
  readonly #client: LocalConnection;
  /** Runs commands at the receiver, past the channel: for what it has before a stream begins. */
  readonly applier: LocalConnection;
  sender: SlotSource;
  receiver: SlotSink;
  /** What is wrong, in words. */
  readonly faults: string[] = [];
  readonly messageBytes: number[] = [];
  /** Effects that met keys that were not there yet. */
  failedEffects = 0;
  sentEffects = 0;
  readonly #primary: Node;
  readonly #channel: Item[] = [];
  readonly #answers: Uint8Array[] = [];
  /** Effects of the command that runs. */
  #running: Item[] = [];

  private constructor(primary: Node, replica: Node) {
    this.#primary = primary;
    const [source, target] = [primary.service(keyspaceService), replica.service(keyspaceService)];
    if (source === undefined || target === undefined) throw new Error("a node has a keyspace");
    this.source = source;
    this.target = target;
    target.removesExpired = false;
    this.#client = primary.connect();
    this.applier = replica.connect();
    this.sender = new SlotSource(source, []);
    this.receiver = new SlotSink(target);
    primary.hooks.effect.add("test", ({ slot, args }) => this.#log(slot, args.copies()));
  }

  static async make(world: World): Promise<StreamPair> {
    const make = (itsWorld: World): Promise<Node> =>
      createNode({
        world: itsWorld,
        config: { plugins: { resp: false, raft: false, bus: false, "hash-slot-router": false } },
      });
    const primary = await make(world);
    // Applying never looks at the receiver's clock: on this one it is always 1970.
    const { clock } = world;
    const timeless: Clock = {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => 0,
      after: (delayMs, callback) => clock.after(delayMs, callback),
      every: (periodMs, callback) => clock.every(periodMs, callback),
      soon: (callback) => clock.soon(callback),
    };
    const replica = await make({ ...world, clock: timeless });
    await primary.start();
    return new StreamPair(primary, replica);
  }

  stop(): Promise<void> {
    return this.#primary.stop();
  }

  /** Begins a stream, with what both have. */
  begin(options: SlotSourceOptions = {}, sinkOptions: SlotSinkOptions = {}, slots = ALL_SLOTS): void {
    this.#channel.length = 0;
    this.#answers.length = 0;
    this.messageBytes.length = 0;
    this.sender = new SlotSource(this.source, slots, options);
    this.receiver = new SlotSink(this.target, sinkOptions);
  }

  /** Runs a command at the sender. */
  async run(...parts: readonly (string | Uint8Array)[]): Promise<void> {
    this.#running = [];
    const reply = await this.#client.execute(...parts);
    if (!(reply instanceof ReplyError)) return;
    for (const item of this.#running) if (item.type === "effect") item.mayFail = true;
  }

  get isDone(): boolean {
    return this.sender.isDone && this.receiver.isDone && this.#channel.length === 0;
  }

  get queued(): number {
    return this.#channel.length;
  }

  /** Sends what the sender has, one message, or those that must be in a row. False if it has none. */
  send(): boolean {
    let isSent = false;
    do {
      const bytes = this.sender.next();
      if (bytes === undefined) break;
      isSent = true;
      this.messageBytes.push(bytes.length);
      this.#channel.push({ type: "message", bytes });
    } while (this.sender.isInRow);
    return isSent;
  }

  /** Delivers the first of what is on its way. */
  async deliver(): Promise<void> {
    const item = this.#channel.shift();
    if (item?.type === "effect") {
      const [name] = item.parts;
      if (!this.receiver.takes(item.slot) && decoder.decode(name).toUpperCase() !== "FLUSHALL") return;
      const reply = await this.applier.execute(...item.parts);
      if (!(reply instanceof ReplyError) || item.mayFail) return;
      if (this.receiver.isFilling(item.slot)) this.failedEffects += 1;
      else
        this.faults.push(`${item.parts.map((each) => decoder.decode(each.slice(0, 40))).join(" ")}: ${reply.message}`);
    } else if (item?.type === "message") {
      const answer = this.receiver.receive(item.bytes);
      if (answer !== undefined) this.#answers.push(answer);
      if (this.receiver.refusal !== undefined) this.faults.push(this.receiver.refusal);
    }
  }

  /** Lets the receiver go on emptying. */
  step(): void {
    const answer = this.receiver.step();
    if (answer !== undefined) this.#answers.push(answer);
  }

  /** Delivers the receiver's first answer. */
  answer(): void {
    const bytes = this.#answers.shift();
    if (bytes === undefined) return;
    this.sender.answered(bytes);
    if (this.sender.refusal !== undefined) this.faults.push(this.sender.refusal);
  }

  /** Goes on without further commands until all is done, or nothing moves any more. */
  async finish(): Promise<void> {
    while (!this.isDone && this.faults.length === 0) {
      const isSent = this.send();
      const isIdle = !isSent && this.queued === 0 && this.#answers.length === 0 && !this.receiver.hasWork;
      if (isIdle) {
        this.faults.push(`nobody goes on: ${JSON.stringify(this.sender.progress)}`);
        return;
      }
      while (this.queued > 0) await this.deliver();
      if (this.receiver.hasWork) this.step();
      this.answer();
    }
  }

  /** Slots that differ. */
  differences(): readonly string[] {
    const found: string[] = [];
    (this.source as Store).check();
    (this.target as Store).check();
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      if (this.source.digestSlot(slot) === this.target.digestSlot(slot)) continue;
      found.push(`slot ${slot}: ${this.#describe(this.source, slot)} | ${this.#describe(this.target, slot)}`);
    }
    return found;
  }

  #describe(keyspace: Keyspace, slot: number): string {
    const key = new KeyReference();
    const keys: string[] = [];
    keyspace.scanSlot(slot, 0, 1_000_000, (record) => {
      keyspace.referRecord(key, record);
      const start = keyspace.valueStart(record);
      const length = keyspace.valueLength(record);
      const value = decoder.decode(keyspace.bytes(record).slice(start, start + Math.min(length, 300)));
      keys.push(`${key.toString()}=${JSON.stringify(value)}(${length}) ${keyspace.expiresAtMs(record)}`);
    });
    return keys.toSorted().slice(0, 20).join(" ");
  }

  #log(slot: number, parts: readonly Uint8Array[]): void {
    const name = decoder.decode(parts[0]).toUpperCase();
    if (this.sender.isMidway(slot)) this.sender.noteEffect(name, keysOf(name, parts));
    if (!this.sender.isBegun(slot) && name !== "FLUSHALL") return;
    this.sentEffects += 1;
    const item: Item = { type: "effect", slot, parts, mayFail: false };
    this.#running.push(item);
    this.#channel.push(item);
  }
}

/** Runs a program on a simulated machine that has two nodes. */
export async function withPair(
  seed: number | string,
  program: (pair: StreamPair, random: SimRandom, pause: (ms: number) => Promise<void>) => Promise<void>,
): Promise<void> {
  const simulation = new Simulation(seed);
  const random = new SimRandom(seed);
  let isDone = false;
  let failure: Error | undefined;
  simulation.addHost("10.0.0.1", async (world) => {
    try {
      const pair = await StreamPair.make(world);
      await program(pair, random, (ms) => new Promise<void>((resolve) => void world.clock.after(ms, resolve)));
      await pair.stop();
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
    }
    isDone = true;
  });
  await simulation.runUntil("the program has ended", () => isDone, 100_000_000);
  if (failure !== undefined) throw failure;
}
