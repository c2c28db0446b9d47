/** What a run of shards with replicas has besides its usual clients: some that count on less than the in-sync set, or that read from replicas, and whoever checks what they were told. */
import type { World } from "../../src/world.ts";
import type { SimRandom } from "../support/sim-random.ts";
import { type Acks, Journals } from "../support/journals.ts";
import { JournalClient } from "./journal-client.ts";

/** Keys that tokens are appended to. Those of one entry are written in one step. */
const OBJECTS: readonly (readonly string[])[] = [["j1"], ["j2"], ["{w}1", "{w}2"]];
export const JOURNAL_KEYS: readonly string[] = OBJECTS.flat();

const IN_SYNC = ["CLIENT", "ACKS", "IN-SYNC"];
const PRIMARY = ["CLIENT", "ACKS", "PRIMARY"];

/** Who is there, and what they ask for. */
export interface JournalPlan {
  /** What replies wait for by the cluster's setting. */
  readonly setting: Acks;
  readonly clients: readonly {
    readonly acks: Acks;
    readonly greeting: readonly (readonly string[])[];
    readonly isReader: boolean;
  }[];
}

/** @returns `undefined` in half of the runs: what others do takes time, too. */
export function drawJournals(random: SimRandom): JournalPlan | undefined {
  const inSync = (greeting: readonly (readonly string[])[]) =>
    ({ acks: "in-sync", greeting, isReader: false }) as const;
  const primary = (greeting: readonly (readonly string[])[]) =>
    ({ acks: "primary", greeting, isReader: false }) as const;
  const reader = { acks: "in-sync", greeting: [IN_SYNC, ["READONLY"]], isReader: true } as const;
  const kind = random.pick(["none", "none", "none", "replicas", "setting", "connections"]);
  const readers = kind === "replicas" || random.chance(0.5) ? [reader] : [];
  switch (kind) {
    case "replicas":
      return { setting: "in-sync", clients: [inSync([]), reader, ...readers] };
    case "setting":
      return { setting: "primary", clients: [primary([]), primary([]), inSync([IN_SYNC]), ...readers] };
    case "connections":
      return { setting: "in-sync", clients: [primary([PRIMARY]), primary([PRIMARY]), inSync([]), ...readers] };
    default:
      return undefined;
  }
}

export class JournalLoad {
  readonly #journals = new Journals();
  readonly #clients: JournalClient[] = [];

  /** What greets a connection whose replies wait for the in-sync set, whatever the cluster's setting is. */
  static readonly inSyncGreeting: readonly (readonly string[])[] = [IN_SYNC];

  /** Writes that a primary acknowledged and a later one had not. */
  get lost(): number {
    return this.#journals.lost;
  }

  /** Reads that a replica may have answered. */
  get reads(): number {
    return this.#journals.sightsElsewhere;
  }

  get isDone(): boolean {
    return this.#clients.every(({ isDone }) => isDone);
  }

  /** Runs a client of a plan, until it is stopped. */
  async run(
    world: World,
    name: string,
    addresses: readonly string[],
    client: JournalPlan["clients"][number],
  ): Promise<void> {
    const journals = this.#journals;
    const own = new JournalClient({ ...client, name, world, addresses, objects: OBJECTS, journals, pauseMs: 60 });
    this.#clients.push(own);
    await own.run();
  }

  stop(): void {
    for (const client of this.#clients) client.stop();
  }

  /** Reads all keys a last time, with what is promised of the in-sync set. Once that is done. @param isLost Whether nothing is promised of a key. */
  async readAll(isLost: (key: string) => boolean): Promise<void> {
    const client = this.#clients.find(({ isWhole }) => isWhole);
    for (const keys of OBJECTS) if (!keys.some(isLost)) await client?.read(keys);
  }

  /** @param shardOf See `Journals`. */
  check(shardOf: (key: string) => string | undefined): void {
    this.#journals.check(shardOf);
  }
}
