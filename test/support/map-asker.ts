/** Somebody who asks for changes of the map, and reads it, on any node all the time: and is told the truth, or `MapChecker` finds out. */
import type { Topology, TopologyRequest } from "../../src/contracts/topology.ts";
import type { NodeView } from "./cluster-checkers.ts";
import type { ClusterWorld } from "./cluster-world.ts";
import type { SimRandom } from "./sim-random.ts";

export class MapAsker {
  /** Requests by what became of them. */
  readonly counts = { done: 0, rejected: 0, refused: 0, unknown: 0 };
  reads = 0;
  readonly #world: ClusterWorld;
  readonly #random: SimRandom;
  readonly #everyMs: number;
  readonly #draw: (random: SimRandom, topology: Topology) => TopologyRequest;
  readonly #views: () => readonly NodeView[];
  /** What did not hold when an answer came. */
  #problem: Error | undefined;
  #lastRequest = 0;
  #isAsking = true;

  /**
   * @param draw What is asked for.
   * @param views Who is asked.
   */
  constructor(world: ClusterWorld, random: SimRandom, everyMs: number, draw = drawRequest, views = () => world.views) {
    this.#world = world;
    this.#random = random;
    this.#everyMs = everyMs;
    this.#draw = draw;
    this.#views = views;
    world.simulation.check("what was answered", () => {
      if (this.#problem !== undefined) throw this.#problem;
    });
  }

  start(): void {
    this.#world.simulation.after(100, "operator", () => this.#askOn());
  }

  stop(): void {
    this.#isAsking = false;
  }

  #askOn(): void {
    if (!this.#isAsking) return;
    const view = this.#random.pick(this.#views());
    if (view !== undefined) {
      if (this.#random.below(4) === 0) this.#read(view);
      else this.#request(view);
    }
    this.#world.simulation.after(this.#random.exponential(this.#everyMs), "operator", () => this.#askOn());
  }

  #request(view: NodeView): void {
    const { maps } = this.#world;
    this.#lastRequest += 1;
    const cause = `request ${this.#lastRequest}`;
    const knownBefore = maps.newestVersion;
    const request = view.topology.request(this.#draw(this.#random, view.topology), cause).then((outcome) => {
      this.counts[outcome.type] += 1;
      maps.answered(cause, outcome, view, knownBefore);
    });
    this.#watch(request);
  }

  #read(view: NodeView): void {
    const { maps } = this.#world;
    const known = maps.known(view);
    const read = view.consensus.barrier(2000).then((isFresh) => {
      if (!isFresh) return;
      this.reads += 1;
      maps.read(view, known);
    });
    this.#watch(read);
  }

  #watch(answered: Promise<void>): void {
    answered.catch((thrown: unknown) => {
      this.#problem ??= thrown instanceof Error ? thrown : new Error(String(thrown));
    });
  }
}

/** Something that somebody may want of the map, sensible or not. */
export function drawRequest(random: SimRandom, topology: Topology): TopologyRequest {
  const { map } = topology;
  const node = random.pick(map.nodes)?.id ?? "";
  const shard = random.pick(map.shards);
  const first = random.below(16_384);
  const slots = [{ first, last: Math.min(16_383, first + random.below(50)) }];
  const decidedOn = Object.fromEntries(map.shards.map(({ id, version }) => [id, version]));
  const at = { shard: shard?.id ?? "", shardVersion: shard?.version ?? 0 };
  switch (random.below(11)) {
    case 0:
      return { type: "release-slots", slots, decidedOn };
    case 1:
      return { type: "assign-slots", node, slots, decidedOn };
    case 2:
      // What redis-cli's fix does: taken from whoever has them, given to another.
      return {
        type: "all",
        requests: [
          { type: "release-slots", slots },
          { type: "assign-slots", node, slots },
        ],
      };
    case 3:
      return { type: "bump-epoch", node };
    case 4:
      return { type: "change-setting", name: "min-in-sync", value: String(1 + random.below(9)) };
    case 5: {
      const target = random.pick(map.shards);
      const range = random.pick(shard?.slots ?? []);
      return {
        type: "start-migration",
        id: `m${random.below(1000)}`,
        source: shard?.id ?? "",
        sourceVersion: shard?.version ?? 0,
        target: target?.id ?? "",
        targetVersion: target?.version ?? 0,
        slots: range === undefined ? [] : [{ first: range.first, last: range.first }],
      };
    }
    case 6: {
      const id = random.pick(map.migrations)?.id ?? "none";
      // Fences and completions are for the primaries: what they rest on nobody else knows.
      const isPaused = random.below(2) === 0;
      return random.below(2) === 0 ? { type: "abort-migration", id } : { type: "pause-migration", id, isPaused };
    }
    case 7:
      // A primary with slots gives them up and follows another, or a replica follows another.
      return {
        type: "all",
        requests: [
          { type: "flush-slots", node },
          { type: "add-replica", ...at, node },
        ],
      };
    case 8: {
      const replicas = (shard?.replicas ?? []).filter(() => random.below(3) > 0);
      return { type: "change-in-sync", ...at, inSync: [shard?.primary ?? "", ...replicas], eligible: [] };
    }
    case 9: {
      const replica = random.pick(shard?.replicas ?? []) ?? "";
      return { type: random.below(3) === 0 ? "remove-replica" : "promote", ...at, node: replica };
    }
    default:
      return { type: "change-setting", name: "acks", value: random.pick(["in-sync", "primary"]) };
  }
}

/** Something small, which takes nothing from anybody. */
export function drawSmallRequest(random: SimRandom, { map }: Topology): TopologyRequest {
  return random.below(2) === 0
    ? { type: "bump-epoch", node: random.pick(map.nodes)?.id ?? "" }
    : { type: "change-setting", name: "min-in-sync", value: String(1 + random.below(9)) };
}
