/**
 * Tasks whose source's primary does not come, as the target's primary sees them: who would end them is gone.
 *
 * While a fence stands, the target holds commands too. The source's primary takes back a fence that is of no use, whoever it is; where there is none, the target asks for that.
 * What it has heard nothing of for long it asks to abort. Both are records: a completion that the source has asked for meanwhile comes before them, or is refused.
 */
import type { MigrationRecord, TopologyRequest } from "../contracts/topology.ts";
import { Absence } from "./absence.ts";

export interface OrphansHost {
  /** After how long a fence is asked to be taken back, in milliseconds: longer than its own shard takes to do so. */
  readonly fenceMs: number;
  /** After how long without a word of the source a task is asked to be aborted, in milliseconds; 0: never. */
  readonly abandonMs: number;
  nowMs(): number;
  /** Asks the map. @returns When it is known what came of it. */
  ask(request: TopologyRequest & { readonly id: string }, cause: string): Promise<unknown>;
}

/** Between two requests for the same task. */
const ASK_PAUSE_MS = 1000;

interface Watched {
  readonly source: Absence;
  /** Of the fence that stands; another one begins anew. */
  fence: { readonly version: number; readonly stands: Absence } | undefined;
  isAsking: boolean;
  askNotBeforeMs: number;
}

export class Orphans {
  readonly #host: OrphansHost;
  readonly #watched = new Map<string, Watched>();

  constructor(host: OrphansHost) {
    this.#host = host;
  }

  /**
   * Looks after the tasks that move slots to the shard that this node leads. Called every 50 ms or so.
   *
   * @param records None, while this node has no lease: then it may be the one that is away.
   * @param hasHeard Whether the source's primary has sent anything since the last look.
   */
  look(records: readonly MigrationRecord[], hasHeard: (id: string) => boolean): void {
    const ids = new Set(records.map(({ id }) => id));
    for (const id of this.#watched.keys()) if (!ids.has(id)) this.#watched.delete(id);
    for (const record of records) this.#lookAt(record, hasHeard(record.id));
  }

  #lookAt({ id, fence, isPaused }: MigrationRecord, hasHeard: boolean): void {
    const { fenceMs, abandonMs } = this.#host;
    const nowMs = this.#host.nowMs();
    let watched = this.#watched.get(id);
    if (watched === undefined) {
      watched = { source: new Absence(nowMs), fence: undefined, isAsking: false, askNotBeforeMs: nowMs };
      this.#watched.set(id, watched);
    }
    if (watched.fence?.version !== fence?.version) {
      watched.fence = fence === undefined ? undefined : { version: fence.version, stands: new Absence(nowMs) };
    }
    const awayMs = watched.source.look(nowMs, !hasHeard && !isPaused);
    const fencedMs = watched.fence?.stands.look(nowMs, true) ?? 0;
    if (watched.isAsking || nowMs < watched.askNotBeforeMs) return;
    if (fence !== undefined) {
      if (fencedMs < fenceMs) return;
      const cause = `the source's primary has neither completed it nor taken the fence back for ${fenceMs} ms`;
      this.#ask(watched, { type: "unfence-migration", id, fence: fence.version }, cause);
    } else if (abandonMs > 0 && awayMs >= abandonMs) {
      const cause = `the source's primary has sent nothing for ${abandonMs / 1000} s`;
      this.#ask(watched, { type: "abort-migration", id }, cause);
    }
  }

  #ask(watched: Watched, request: TopologyRequest & { readonly id: string }, cause: string): void {
    watched.isAsking = true;
    void this.#host.ask(request, cause).then(() => {
      watched.isAsking = false;
      watched.askNotBeforeMs = this.#host.nowMs() + ASK_PAUSE_MS;
    });
  }
}
