/**
 * An operator who moves slots key by key, as redis-cli does, by connections of its own; who gives up midway now and then, tells nodes to end it, and sees to it in the end that no
 * slot is left open.
 */
import { ReplyError, type ReplyValue, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { ClusterMap, ShardRecord } from "../../src/contracts/topology.ts";
import type { World } from "../../src/world.ts";
import { SimConnection } from "./sim-connection.ts";

/** Between two moves, on average. */
const PAUSE_MS = 300;
/** A step that failed is tried again so often, and then the slot is left as it is. */
const ATTEMPTS = 4;
const RETRY_MS = 60;
/** Keys of a slot that go over at a time, at most: there are two at most in one. */
const BATCH = 1;

export interface KeyMoverOptions {
  readonly world: World;
  readonly slots: readonly number[];
  /** The newest map that any node has. */
  readonly map: () => ClusterMap | undefined;
}

export class KeyMover {
  readonly counts = { begun: 0, given: 0, keysMoved: 0, leftOpen: 0, ended: 0 };
  isDone = false;
  readonly #options: KeyMoverOptions;
  #isStopped = false;

  constructor(options: KeyMoverOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { world, slots } = this.#options;
    while (!this.#isStopped) {
      await this.#pause(world.random.below(2 * PAUSE_MS));
      const slot = slots[world.random.below(slots.length)];
      if (slot !== undefined && !this.#isStopped) await this.#move(slot);
    }
    this.isDone = true;
  }

  /** Begins nothing new. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Ends what was left open, but for what only nodes of these shards could end. */
  async close(besides: ReadonlySet<string>): Promise<void> {
    const { map, slots } = this.#options;
    const isClosed = (): boolean => slots.every((slot) => this.#marksOf(slot, map(), besides) === undefined);
    while (!isClosed()) {
      for (const slot of slots) {
        const owner = this.#marksOf(slot, map(), besides);
        if (owner !== undefined) await this.#ask(owner.primary, ["CLUSTER", "SETSLOT", String(slot), "STABLE"]);
      }
      await this.#pause(RETRY_MS);
    }
  }

  /** Who is told to close a slot: whoever has a mark on it. */
  #marksOf(slot: number, map: ClusterMap | undefined, besides: ReadonlySet<string>): ShardRecord | undefined {
    const open = map?.openSlots.find((each) => each.slot === slot);
    if (open === undefined || map === undefined) return undefined;
    const owner = map.shards[map.shardOfSlot[slot] ?? -1];
    const takers = open.importing.flatMap(({ shard }) => map.shards.find(({ id }) => id === shard) ?? []);
    if ([...(owner === undefined ? [] : [owner]), ...takers].some(({ id }) => besides.has(id))) return undefined;
    return open.migratingTo === undefined ? takers[0] : owner;
  }

  async #move(slot: number): Promise<void> {
    const { world, map } = this.#options;
    const known = map();
    const open = known?.openSlots.find((each) => each.slot === slot);
    const source = known?.shards[known.shardOfSlot[slot] ?? -1];
    // One that is on its way goes on there.
    const others = (known?.shards ?? []).filter(({ id, slots }) => id !== source?.id && slots.length > 0);
    const target = others.find(({ id }) => id === open?.migratingTo) ?? others[world.random.below(others.length)];
    if (known === undefined || source === undefined || target === undefined) return;
    this.counts.begun += 1;
    const setSlot = (at: ShardRecord, ...what: readonly string[]): Promise<boolean> =>
      this.#step(() => this.#primaryOf(at), ["CLUSTER", "SETSLOT", String(slot), ...what]);
    const isLeft = (): boolean => world.random.below(12) === 0;
    if (isLeft() || !(await setSlot(target, "IMPORTING", source.primary))) return this.#leave();
    if (isLeft() || !(await setSlot(source, "MIGRATING", target.primary))) return this.#leave();
    for (let turn = 0; turn < 8; turn += 1) {
      if (isLeft()) return this.#leave();
      if (world.random.below(15) === 0) {
        if (await setSlot(world.random.below(2) === 0 ? source : target, "STABLE")) this.counts.ended += 1;
        return undefined;
      }
      const sender = this.#primaryOf(source);
      const keys = await this.#ask(sender, ["CLUSTER", "GETKEYSINSLOT", String(slot), String(BATCH)]);
      if (!Array.isArray(keys)) return this.#leave();
      if (keys.length === 0) break;
      const taker = map()?.nodes.find(({ id }) => id === this.#primaryOf(target));
      const named = (keys as readonly ReplyValue[]).filter((key) => key instanceof Uint8Array);
      const moved = await this.#ask(sender, [
        "MIGRATE",
        taker?.host ?? "",
        String(taker?.port ?? 0),
        "",
        "0",
        "500",
        "KEYS",
        ...named,
      ]);
      if (moved === "OK") this.counts.keysMoved += named.length;
    }
    // Whoever is asked.
    const asked = [source, target, ...others][world.random.below(others.length + 2)] ?? target;
    if (await setSlot(asked, "NODE", this.#primaryOf(target))) this.counts.given += 1;
    else return this.#leave();
    return undefined;
  }

  #leave(): void {
    this.counts.leftOpen += 1;
  }

  /** The primary of a shard, by the present map. */
  #primaryOf({ id, primary }: ShardRecord): string {
    return this.#options.map()?.shards.find((each) => each.id === id)?.primary ?? primary;
  }

  async #step(node: () => string, parts: readonly string[]): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      if ((await this.#ask(node(), parts)) === "OK") return true;
      await this.#pause(RETRY_MS);
    }
    return false;
  }

  /** @returns The reply; `undefined`: there was none. */
  async #ask(nodeId: string, parts: readonly (string | Uint8Array)[]): Promise<ReplyValue | undefined> {
    const { world, map } = this.#options;
    const node = map()?.nodes.find(({ id }) => id === nodeId);
    if (node === undefined) return undefined;
    const connection = new SimConnection(world, `${node.host}:${node.port}`);
    const attempt = await connection.request(encodeCommand(parts), 1);
    connection.close();
    if ("failure" in attempt) return undefined;
    const [reply] = attempt.replies;
    return reply instanceof ReplyError ? undefined : reply;
  }

  #pause(ms: number): Promise<void> {
    return new Promise<void>((resolve) => void this.#options.world.clock.after(ms, resolve));
  }
}
