/** Somebody who moves slots about: starts migrations, gives some up, lets some wait. */
import { type SlotMove, migrationService } from "../../src/contracts/migration.ts";
import type { ClusterMap, SlotRange } from "../../src/contracts/topology.ts";
import { canonicalRanges } from "../../src/protocol/slot-ranges.ts";
import type { NodeView } from "./cluster-checkers.ts";
import type { ClusterWorld } from "./cluster-world.ts";
import { newestMapOf } from "./shard-checkers.ts";
import type { SimRandom } from "./sim-random.ts";

/** Slots on either side of one with keys that move with it. */
const NEIGHBOURS = 20;

export class SlotMover {
  readonly counts = { started: 0, cancelled: 0, paused: 0 };
  readonly #world: ClusterWorld;
  readonly #random: SimRandom;
  readonly #slots: readonly number[];
  #isStopped = false;

  /** @param slots Those in which there are keys. */
  constructor(world: ClusterWorld, random: SimRandom, slots: readonly number[]) {
    this.#world = world;
    this.#random = random;
    this.#slots = slots;
  }

  /** @param everyMs How often it starts one, in virtual milliseconds, on average. */
  start(everyMs: number): void {
    const arm = (): void =>
      void this.#world.simulation.after(this.#random.exponential(everyMs), "slots are moved", () => {
        if (this.#isStopped) return;
        this.#move();
        arm();
      });
    arm();
  }

  /** Begins nothing new. What waits goes on. */
  stop(): void {
    this.#isStopped = true;
    this.#resume();
  }

  /** Nothing moves any more. */
  get isIdle(): boolean {
    const map = newestMapOf(this.#world.views);
    if (map?.migrations.some(({ isPaused }) => isPaused) === true) this.#resume();
    return map?.migrations.length === 0;
  }

  #move(): void {
    const map = newestMapOf(this.#world.views);
    const view = this.#random.pick(this.#world.ready);
    if (map === undefined || view === undefined) return;
    const [running] = map.migrations;
    const what = this.#random.below(10);
    const asked = view.node.service(migrationService);
    if (running !== undefined && what < 2) {
      this.counts.cancelled += 1;
      void asked?.cancel(running.id, "somebody thought better of it");
      return;
    }
    if (running !== undefined && what < 4) {
      this.counts.paused += 1;
      if (running.isPaused) void asked?.resume(running.id, "it may go on");
      else void asked?.pause(running.id, "it is to wait");
      return;
    }
    const moves = [this.#draw(map)];
    // Of two all are begun, or none: they may be of the same slots.
    if (this.#random.below(4) === 0) moves.push(this.#draw(map));
    const wanted = moves.filter((move) => move !== undefined);
    if (wanted.length === 0) return;
    this.counts.started += wanted.length;
    void asked?.start(wanted, "somebody wants it so");
  }

  /** Slots with keys of a shard, and another shard. */
  #draw(map: ClusterMap): SlotMove | undefined {
    const slot = this.#random.pick(this.#slots) ?? 0;
    const source = map.shards[map.shardOfSlot[slot] ?? -1];
    const target = this.#random.pick(map.shards.filter(({ id }) => id !== source?.id));
    if (source === undefined || target === undefined) return undefined;
    // Its neighbours come along, and other slots with keys of the same shard.
    const isOwn = (each: number): boolean => map.shards[map.shardOfSlot[each] ?? -1]?.id === source.id;
    const slots: SlotRange[] = [];
    for (const each of this.#random.below(2) === 0 ? [slot] : this.#slots) {
      for (let near = each - this.#random.below(NEIGHBOURS); near <= each + this.#random.below(NEIGHBOURS); near += 1)
        if (near >= 0 && near < 16_384 && isOwn(near)) slots.push({ first: near, last: near });
    }
    return slots.length === 0 ? undefined : { slots: canonicalRanges(slots), target: target.id };
  }

  #resume(): void {
    const map = newestMapOf(this.#world.views);
    const view: NodeView | undefined = this.#random.pick(this.#world.ready);
    for (const { id, isPaused } of map?.migrations ?? [])
      if (isPaused) void view?.node.service(migrationService)?.resume(id, "all goes on");
  }
}
