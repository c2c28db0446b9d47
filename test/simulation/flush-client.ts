/**
 * Somebody who removes all keys of a node now and then (FLUSHALL), while slots move between shards.
 *
 * Which keys that concerns is what its node owns at that moment: known if the node's map said the same before and after. Else nobody knows which of the objects were removed,
 * and the history says so.
 */
import { ReplyError, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { World } from "../../src/world.ts";
import type { NodeView } from "../support/cluster-checkers.ts";
import type { History } from "../support/history.ts";
import type { KeyOutput, KeysInput } from "../support/keys-model.ts";
import { ClusterCaller } from "./cluster-caller.ts";
import type { KeysObject } from "./keys-client.ts";

export interface FlushClientOptions {
  readonly name: string;
  readonly world: World;
  /** `host:port` of the nodes. */
  readonly addresses: readonly string[];
  readonly objects: readonly KeysObject[];
  readonly slotOf: (key: string) => number;
  readonly history: History<KeysInput, readonly KeyOutput[]>;
  /** The node at an address, if it runs. */
  readonly viewAt: (address: string) => NodeView | undefined;
  /** Milliseconds between two at most. */
  readonly pauseMs: number;
}

/** Records that have to do with whose slots are. */
const OWNERS = /completed|promoted|slots|shard|took|removed/;

export class FlushClient {
  /** How often all keys of a node were removed. */
  flushed = 0;
  isDone = false;
  readonly #options: FlushClientOptions;
  readonly #caller: ClusterCaller;
  #isStopped = false;

  constructor(options: FlushClientOptions) {
    this.#options = options;
    this.#caller = new ClusterCaller(options.world, options.addresses);
  }

  stop(): void {
    this.#isStopped = true;
  }

  async run(): Promise<void> {
    const { world, pauseMs } = this.#options;
    while (!this.#isStopped) {
      await new Promise<void>((resolve) => void world.clock.after(world.random.below(pauseMs), resolve));
      if (!this.#isStopped) await this.#flush();
    }
    this.isDone = true;
  }

  async #flush(): Promise<void> {
    const { history, name, objects, viewAt } = this.#options;
    const address = this.#caller.drawAddress();
    const pending = objects.map((object) => ({
      object,
      operation: history.invoke(name, object.name, { flush: true }),
    }));
    const version = viewAt(address)?.topology.map.version ?? 0;
    const owned = objects.map((object) => this.#owns(address, object));
    const outcome = await this.#caller.call(address, encodeCommand(["FLUSHALL"]), 1);
    const isRefused = outcome.type === "answered" && outcome.replies[0] instanceof ReplyError;
    if (outcome.type === "not done" || isRefused) for (const { operation } of pending) operation.failed();
    if (outcome.type !== "answered" || isRefused) return;
    this.flushed += 1;
    const view = viewAt(address);
    const isSame = view?.topology.history.every(
      (entry) => entry.version <= version || !entry.changes.some((change) => OWNERS.test(change)),
    );
    for (const [at, { object, operation }] of pending.entries()) {
      const isOwned = owned[at] === true;
      if (isSame !== true || this.#owns(address, object) !== isOwned) continue;
      if (isOwned) operation.returned([]);
      else operation.failed();
    }
  }

  #owns(address: string, { keys: [key] }: KeysObject): boolean {
    const { viewAt, slotOf } = this.#options;
    const view = viewAt(address);
    const shard = view?.topology.selfShard;
    const slot = slotOf(key);
    return (
      shard?.primary === view?.node.facts.id &&
      shard?.slots.some(({ first, last }) => first <= slot && slot <= last) === true
    );
  }
}
