/**
 * Has moves done and watches them: so many at once, until each has ended. They are tasks of the cluster: it goes on with those that are started whatever becomes of
 * this process.
 */
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { ClusterMap, ShardId } from "../contracts/topology.ts";
import { StartError, Unanswered, messageOf } from "../errors.ts";
import type { PlannedMove } from "../protocol/plan/plan.ts";
import type { ClusterAccess } from "./cluster-access.ts";
import { rangesText, shardName } from "./plan-tables.ts";
import { type TaskBoard, type Whole, doneOf, hasEnded } from "./task-board.ts";

/** How often it looks, in milliseconds. */
const LOOK_MS = 300;
/** How often in a row nobody may answer, before it gives up watching. */
const MAX_SILENT_LOOKS = 100;
/** How often a move is asked for again that met another change of its shards. */
const MAX_TRIES = 10;
/** How often it looks whether a shard has its members back, before it gives a move up that would leave fewer copies. */
const MAX_COPY_LOOKS = 100;
/** As shells tell of SIGINT. */
const EXIT_INTERRUPTED = 130;

export type FollowAccess = Pick<ClusterAccess, "map" | "tasks" | "ask">;

/** What became of a move. */
export interface Ended {
  /** The task's id; `undefined` if it could not be started. */
  readonly id: string | undefined;
  readonly move: PlannedMove | undefined;
  readonly isDone: boolean;
  readonly reason: string;
  /** The task as it was seen last. */
  readonly task: MigrationStatus | undefined;
}

export interface FollowOptions {
  /** How many tasks run at once. */
  readonly atOnce: number;
  /** Kept with the records. */
  readonly cause: string;
  readonly lookMs?: number;
}

export class Follower {
  /** Moves that are still to be started. */
  readonly #pending: Set<PlannedMove>;
  /** Tasks that were started, or were there, and have not ended. */
  readonly #running = new Map<string, PlannedMove | undefined>();
  readonly #ended: Ended[] = [];
  readonly #last = new Map<string, MigrationStatus>();
  readonly #access: FollowAccess;
  readonly #board: TaskBoard;
  readonly #options: FollowOptions;
  /** Moves of which it was known at the beginning that they leave fewer copies. */
  #withFewer: ReadonlySet<PlannedMove> | undefined;
  /** Of moves that wait: how often in a row it has looked for their copies. */
  readonly #copyLooks = new Map<PlannedMove, number>();

  /** @param running Ids of tasks that are there already. */
  constructor(
    access: FollowAccess,
    board: TaskBoard,
    moves: readonly PlannedMove[],
    running: readonly string[],
    options: FollowOptions,
  ) {
    this.#access = access;
    this.#board = board;
    this.#pending = new Set(moves);
    for (const id of running) this.#running.set(id, undefined);
    this.#options = options;
  }

  /** How many are not started yet, and the tasks that go on. */
  get left(): { readonly pending: number; readonly running: readonly string[] } {
    return { pending: this.#pending.size, running: [...this.#running.keys()] };
  }

  /** @throws {StartError} If nobody answers any more. */
  async run(): Promise<readonly Ended[]> {
    for (let silent = 0; this.#pending.size > 0 || this.#running.size > 0;) {
      try {
        await this.#startSome();
        await this.#look();
        silent = 0;
      } catch (thrown) {
        silent += 1;
        if (!(thrown instanceof StartError) || silent > MAX_SILENT_LOOKS) throw thrown;
        if (silent === 1) this.#board.say(`${messageOf(thrown)} The cluster is asked again; what was started goes on.`);
      }
      if (this.#running.size > 0 || this.#pending.size > 0) await sleep(this.#options.lookMs ?? LOOK_MS);
    }
    return this.#ended;
  }

  /** In the plan's order; but those that wait let others pass, which concern neither of their shards, nor one of those behind them that wait therefore. */
  async #startSome(): Promise<void> {
    const waiting = new Set<ShardId>();
    let hasStarted = false;
    for (const move of this.#pending) {
      // Each start is agreed on: where there are many, those that were started are seen meanwhile.
      if (hasStarted) await this.#look();
      hasStarted = false;
      if (this.#running.size >= this.#options.atOnce) return;
      const { source, target } = move;
      if (waiting.has(source) || waiting.has(target)) waiting.add(source).add(target);
      else if (await this.#startIfWhole(move)) hasStarted = true;
      else waiting.add(source).add(target);
    }
  }

  /** Starts a move, or gives it up. @returns False if it waits for copies. */
  async #startIfWhole(move: PlannedMove): Promise<boolean> {
    const present = await this.#access.map();
    if (this.#withFewer === undefined) this.#board.align(present, [...this.#pending]);
    this.#withFewer ??= new Set([...this.#pending].filter((each) => whyFewerCopies(present, each) !== undefined));
    const fewer = this.#withFewer.has(move) ? undefined : whyFewerCopies(present, move);
    const looks = this.#copyLooks.get(move) ?? 0;
    // A replica that is away for a moment comes back.
    if (fewer !== undefined && looks < MAX_COPY_LOOKS) {
      if (looks === 0) this.#board.say(`${describeMove(present, move)}: waits: ${fewer}`);
      this.#copyLooks.set(move, looks + 1);
      return false;
    }
    this.#copyLooks.delete(move);
    const started = fewer === undefined ? await this.#start(present, move) : { problem: fewer };
    this.#pending.delete(move);
    if ("id" in started) this.#running.set(started.id, move);
    else {
      this.#ended.push({ id: undefined, move, isDone: false, reason: started.problem, task: undefined });
      this.#board.say(`${describeMove(present, move)}: not started: ${started.problem}`);
    }
    return true;
  }

  async #start(map: ClusterMap, move: PlannedMove): Promise<{ readonly id: string } | { readonly problem: string }> {
    const { source, target, slots } = move;
    let present = map;
    for (let tries = 1; ; tries += 1) {
      const problem = whyNotMovable(present, source, target, slots);
      if (problem !== undefined) return { problem };
      try {
        const told = await this.#access.ask(
          "CLUSTER",
          "MOVE",
          target,
          "SLOTSRANGE",
          ...slots.flatMap(({ first, last }) => [String(first), String(last)]),
          "MAPVERSION",
          String(present.version),
          "CAUSE",
          this.#options.cause,
        );
        const [id] = (Array.isArray(told) ? told : []) as readonly ReplyValue[];
        if (!(id instanceof Uint8Array)) return { problem: "the node gave no answer that makes sense" };
        return { id: new TextDecoder().decode(id) };
      } catch (thrown) {
        const reason = messageOf(thrown);
        // It is asked again, when somebody answers.
        if (thrown instanceof Unanswered) throw thrown;
        // An answer that was lost, or that nobody knows: it may have been started all the same, and then it is under way already.
        const known = await this.#findStarted(target, slots);
        if (known !== undefined) return { id: known };
        // Another of the moves may have ended meanwhile, or a replica has come: what is checked above still counts.
        const isUnknown = reason.includes("nobody knows");
        if (!(isUnknown || reason.includes("stale")) || tries === MAX_TRIES) return { problem: reason };
        // Without a majority each try takes some seconds.
        if (isUnknown && tries === 1) this.#board.say(`${describeMove(present, move)}: asked again: ${reason}`);
        present = await this.#access.map();
      }
    }
  }

  /** A task that goes on, with just these slots, which nobody here has started yet. */
  async #findStarted(target: string, slots: PlannedMove["slots"]): Promise<string | undefined> {
    const wanted = rangesText(slots);
    const isIt = (task: MigrationStatus): boolean =>
      task.target === target &&
      rangesText(task.slots) === wanted &&
      task.startedFor.startsWith(this.#options.cause) &&
      !hasEnded(task) &&
      !this.#running.has(task.id);
    return (await this.#access.tasks()).find(isIt)?.id;
  }

  /** Looks how far they are, and who has ended. */
  async #look(): Promise<void> {
    const tasks = await this.#access.tasks(new Set(this.#running.keys()));
    // After the tasks: it knows what became of one that is not among them any more.
    const map = await this.#access.map();
    for (const task of tasks) if (this.#running.has(task.id)) this.#last.set(task.id, task);
    for (const [id, move] of this.#running) {
      const task = tasks.find((each) => each.id === id);
      if (task !== undefined && !hasEnded(task)) continue;
      // A node that was started since then knows nothing of what has ended, and the map what came of it.
      if (task === undefined && map.migrations.some((each) => each.id === id)) continue;
      const slots = move?.slots ?? this.#last.get(id)?.slots;
      const isThere = slots !== undefined && ownerOf(map, slots) === (move?.target ?? this.#last.get(id)?.target);
      const isDone = task === undefined ? isThere : task.phase === "completed";
      this.#running.delete(id);
      const reason = task?.cause ?? (isDone ? "" : "it is not there any more");
      this.#ended.push({ id, move, isDone, reason, task: this.#last.get(id) });
      // What was seen of it last is that it went on.
      if (task === undefined) this.#last.delete(id);
    }
    this.#show(map);
  }

  #show(map: ClusterMap): void {
    this.#board.show(map, [...this.#last.values()], this.#whole());
  }

  /** All moves together, each worth the keys and slots that it has. */
  #whole(): Whole {
    let [worth, done] = [0, 0];
    const count = (move: PlannedMove | undefined, task: MigrationStatus | undefined, part: number): void => {
      const keys = task?.progress?.keysTotal ?? move?.keys ?? 0;
      const slots = task?.progress?.slotsTotal ?? move?.slotCount ?? 0;
      worth += keys + slots;
      done += (keys + slots) * part;
    };
    for (const move of this.#pending) count(move, undefined, 0);
    for (const { move, task, isDone } of this.#ended) count(move, task, isDone ? 1 : 0);
    for (const [id, move] of this.#running) {
      const task = this.#last.get(id);
      count(move, task, task === undefined ? 0 : (doneOf(task) ?? 0));
    }
    const moved = this.#ended.filter(({ isDone }) => isDone).length;
    return {
      count: this.#pending.size + this.#running.size + this.#ended.length,
      done: moved,
      failed: this.#ended.length - moved,
      pending: this.#pending.size,
      part: worth === 0 ? 0 : done / worth,
    };
  }
}

/** Ctrl-C ends watching, and not what goes on: says so, and what to do. */
export function onInterrupt(
  board: TaskBoard,
  access: ClusterAccess,
  left: () => { readonly pending: number; readonly running: readonly string[] },
): void {
  process.once("SIGINT", () => {
    const { pending, running } = left();
    const node = access.nodeFlag;
    const lines = ["Watching has ended; the cluster goes on."];
    if (running.length > 0) {
      lines.push(`  bunch migrations --watch${node}   watches again`);
      for (const id of running)
        lines.push(`  bunch cancel ${id}${node}   ends this task, and its slots stay where they are`);
    }
    if (pending > 0)
      lines.push(`${pending} of the moves were not started: bunch plan makes a new plan of what is left.`);
    // Below the ^C that the terminal shows, with the bars as they were.
    board.leave();
    board.say(`\n${lines.join("\n")}`);
    process.exit(EXIT_INTERRUPTED);
  });
}

/** The one shard that all of these slots belong to. */
function ownerOf({ shards, shardOfSlot }: ClusterMap, slots: PlannedMove["slots"]): string | undefined {
  const owners = new Set<string | undefined>();
  for (const { first, last } of slots) {
    for (let slot = first; slot <= last; slot += 1) owners.add(shards[shardOfSlot[slot] ?? -1]?.id);
  }
  const [owner, ...others] = owners;
  return others.length === 0 ? owner : undefined;
}

/** Why there would be fewer copies of what moves than before, by the members that are in sync. */
function whyFewerCopies(map: ClusterMap, { source, target }: PlannedMove): string | undefined {
  const copies = (shard: string): number => map.shards.find(({ id }) => id === shard)?.inSync.length ?? 0;
  const [has, wants] = [copies(target), copies(source)];
  return has >= wants
    ? undefined
    : `${shardName(map, target)} has ${has} of its members in sync, and ${shardName(map, source)} ${wants}: there would be fewer copies`;
}

function whyNotMovable(
  map: ClusterMap,
  source: string,
  target: string,
  slots: PlannedMove["slots"],
): string | undefined {
  if (!map.shards.some(({ id }) => id === target)) return "the shard that they are to go to is not there any more";
  if (ownerOf(map, slots) !== source) return "the slots have gone elsewhere meanwhile";
  return undefined;
}

export function describeMove(map: ClusterMap, { source, target, slots }: PlannedMove): string {
  return `slots ${rangesText(slots)} from ${shardName(map, source)} to ${shardName(map, target)}`;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
