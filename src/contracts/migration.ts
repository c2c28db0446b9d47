/**
 * Migrations: slots that move from one shard to another as a task of the cluster map, atomically. Provided by the plugin `migrator`.
 *
 * The map knows that a task is there and how far it is agreed to be; how far the data are, the source's primary knows.
 */
import { service } from "../service.ts";
import type { NodeId, ShardId, SlotRange } from "./topology.ts";

/** What a task does at this moment. */
export type MigrationPhase =
  /** It waits: for one of the two primaries, or since it is paused. `waitingFor` says it in words. */
  | "waiting"
  /** The target gets the slots' keys. */
  | "streaming"
  /** The target has everything but what happens at this moment; the fence is asked for. */
  | "level"
  /** Commands on the slots are held: the target gets the last effects, and the end is agreed on. */
  | "fenced"
  | "completed"
  | "aborted";

/** What the source's primary knows of a task. Bytes are those of keys and values as they are sent; times are in milliseconds. */
export interface MigrationProgress {
  readonly slotsDone: number;
  readonly slotsTotal: number;
  /** Keys that were sent, and that there are: keys that are written meanwhile may be sent twice. */
  readonly keysMoved: number;
  readonly keysTotal: number;
  readonly bytesMoved: number;
  readonly bytesPerSecond: number;
  /** Until the target is level; `undefined` while nobody can say. */
  readonly etaMs: number | undefined;
  /** How long commands have been held, in all. */
  readonly fencedMs: number;
  /** How often it had to start again: another primary, a link that broke. */
  readonly restarts: number;
}

export interface MigrationStatus {
  readonly id: string;
  readonly source: ShardId;
  readonly target: ShardId;
  /** The shards' primaries, by the present map. */
  readonly sourceNode: NodeId | undefined;
  readonly targetNode: NodeId | undefined;
  readonly slots: readonly SlotRange[];
  readonly phase: MigrationPhase;
  readonly isPaused: boolean;
  /** It is kept level, and not completed before `allowCompletion`. */
  readonly awaitsWord?: true;
  /** Who wanted it and why; of one that has ended, how it ended. */
  readonly cause: string;
  /** Who wanted it and why, of one that has ended as well. */
  readonly startedFor: string;
  /** Wall time, at the node that decided. */
  readonly startedAtMs: number;
  /** Wall time; `undefined` while it goes on. */
  readonly endedAtMs: number | undefined;
  /** What keeps it, in words. */
  readonly waitingFor: string | undefined;
  /** `undefined` on nodes that do not lead the source, and of tasks that have ended elsewhere. */
  readonly progress: MigrationProgress | undefined;
}

/** What came of a request: the task's id, or why there is none. */
export type MigrationOutcome =
  { readonly type: "done"; readonly id: string } | { readonly type: "refused"; readonly reason: string };

/** Slots that are to go to another shard. */
export interface SlotMove {
  /** Of one shard; they need not be together. */
  readonly slots: readonly SlotRange[];
  readonly target: ShardId;
}

export interface MoveOptions {
  /** The map that they were decided on: refused if a shard of them has changed since. By default, the present one. */
  readonly mapVersion?: number | undefined;
  /** The target is kept level, and no task is completed before `allowCompletion`. By default each is as soon as it can be. */
  readonly awaitsWord?: boolean;
}

/** What came of a wish to move slots: the tasks' ids, in the order of the moves, or why there are none. */
export type MoveOutcome =
  { readonly type: "done"; readonly ids: readonly string[] } | { readonly type: "refused"; readonly reason: string };

/** What this node has moved to other shards since it started, as the primary of the source. Bytes are those of keys and values as they are sent. */
export interface MigrationCounts {
  /** Tasks that were completed, and that ended without moving anything. */
  readonly completed: number;
  readonly aborted: number;
  /** Of those. */
  readonly keys: number;
  readonly bytes: number;
  /** How long commands were held, in milliseconds. */
  readonly fencedMs: number;
}

export interface Migrations {
  readonly counts: MigrationCounts;
  /** Tasks that go on, and those that ended of late, oldest first. */
  readonly tasks: readonly MigrationStatus[];
  /**
   * Starts a task for each move: all of them, in one change of the map, or none.
   *
   * @param cause Who wants it and why, in words. Kept with the record.
   */
  start(moves: readonly SlotMove[], cause: string, options?: MoveOptions): Promise<MoveOutcome>;
  /** Lets a task be completed as soon as it can be. */
  allowCompletion(id: string, cause: string): Promise<MigrationOutcome>;
  /** Ends a task without moving anything. Refused if it has just been completed. */
  cancel(id: string, cause: string): Promise<MigrationOutcome>;
  /** Stops sending, until `resume`. What was sent stays. A fence is not begun, and one that stands is ended first. */
  pause(id: string, cause: string): Promise<MigrationOutcome>;
  resume(id: string, cause: string): Promise<MigrationOutcome>;
}

export const migrationService = service<Migrations>("migration");
