/**
 * Tasks that move slots, as lines with bars. In a terminal those that go on are drawn over and over, with a line for all of them together; each that has ended is told
 * once, above. Elsewhere there is a line when something has changed.
 */
import pc from "picocolors";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { ClusterMap } from "../contracts/topology.ts";
import { rangesText, shardName, withNames } from "./plan-tables.ts";
import { formatBytes, formatCount, formatDuration } from "./units.ts";

const BAR_CELLS = 24;
/** Where a terminal is narrow, what a task does is worth more than its bar, and than its slots, which the plan has told. */
const NARROW_COLUMNS = 100;
const NARROW_BAR_CELLS = 12;
/** What there is to say of a task is seldom longer. */
const WORDS_CELLS = 40;
/** A task's id, its part in percent, and what is around its bar and between columns. */
const FIXED_CELLS = 23;
/** Ranges that a line shows of a task. */
const SHOWN_RANGES = 1;
/** Less is shown as 0.0 s. */
const SHOWN_MS = 50;
/** Where nothing is drawn over, a line for each tenth is enough. */
const PLAIN_STEPS = 10;

/** Where lines go. */
export interface Screen {
  /** Whether lines can be drawn over. */
  readonly isTerminal: boolean;
  readonly columns: number;
  readonly rows: number;
  write(text: string): void;
}

/** What is known of a move before it is a task. */
type Way = Pick<MigrationStatus, "source" | "target" | "slots">;

/** All tasks that somebody watches, taken together. */
export interface Whole {
  /** How many there are, with those that are to be started. */
  readonly count: number;
  /** How many were moved. */
  readonly done: number;
  /** How many ended without. */
  readonly failed: number;
  /** How many are not started yet. */
  readonly pending: number;
  /** How much of all of it is done, from 0 to 1. */
  readonly part: number;
}

export function processScreen(): Screen {
  const { stdout } = process;
  return {
    isTerminal: stdout.isTTY,
    get columns() {
      return stdout.columns;
    },
    get rows() {
      return stdout.rows;
    },
    write: (text) => void stdout.write(text),
  };
}

export function hasEnded({ phase }: MigrationStatus): boolean {
  return phase === "completed" || phase === "aborted";
}

/** How much of a task is done, from 0 to 1; `undefined` while nobody can say. */
export function doneOf({ phase, progress }: MigrationStatus): number | undefined {
  if (phase === "completed") return 1;
  if (progress === undefined) return undefined;
  const { keysMoved, keysTotal, slotsDone, slotsTotal } = progress;
  const done = keysTotal > 0 ? keysMoved / keysTotal : slotsTotal > 0 ? slotsDone / slotsTotal : 0;
  // Keys that are written meanwhile are sent twice: it is done when it says so.
  return Math.min(0.99, done);
}

function bar(done: number | undefined, width: number): string {
  const cells = Math.floor((done ?? 0) * width);
  const percent = done === undefined ? "" : `${Math.floor(done * 100)}%`;
  return `[${"#".repeat(cells)}${"-".repeat(width - cells)}] ${percent.padStart(4)}`;
}

/** What a task does, in words: first what people wait for. */
function wordsOf(map: ClusterMap, task: MigrationStatus): string {
  const { phase, isPaused, progress, waitingFor, cause, startedAtMs, endedAtMs } = task;
  if (phase === "completed") {
    const held = progress === undefined ? "" : `, commands held for ${Math.round(progress.fencedMs)} ms`;
    return pc.green(`done in ${formatDuration((endedAtMs ?? startedAtMs) - startedAtMs)}${held}`);
  }
  if (phase === "aborted") return pc.red(`ended without moving anything: ${cause}`);
  const words: string[] = [];
  const stands = isPaused || waitingFor !== undefined;
  if (isPaused) words.push(pc.yellow("paused"));
  else if (waitingFor !== undefined) words.push(pc.yellow(`waits: ${withNames(map, waitingFor)}`));
  else if (phase === "level" || phase === "fenced") words.push(phase === "level" ? "level" : "handing over");
  // With nothing left to send it waits for the target, or for its turn.
  else if (progress?.etaMs !== undefined && progress.etaMs >= SHOWN_MS) {
    words.push(`${formatDuration(progress.etaMs)} left`);
  }
  if (progress !== undefined) {
    const { keysMoved, keysTotal, bytesPerSecond, restarts } = progress;
    words.push(`${formatCount(keysMoved)} of ${formatCount(keysTotal)} keys`);
    if (bytesPerSecond > 0 && !stands) words.push(`${formatBytes(bytesPerSecond)}/s`);
    if (restarts > 0) words.push(`begun again ${restarts === 1 ? "once" : `${restarts} times`}`);
  }
  return words.length === 0 ? phase : words.join(", ");
}

/** From where to where. */
function wayOf(map: ClusterMap, { source, target }: Way): string {
  return `${shardName(map, source)} -> ${shardName(map, target)}`;
}

export class TaskBoard {
  readonly #screen: Screen;
  /** Lines that stand there to be drawn over. */
  #drawn = 0;
  /** Where nothing is drawn over: what was said last of each. */
  readonly #said = new Map<string, string>();
  /** Tasks that have ended, and were told above those that go on. */
  readonly #told = new Set<string>();
  /** The longest way and the longest ranges so far: what comes after them stands in a column. */
  #wayLength = 0;
  #rangesLength = 0;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  /** Makes room for what is to be shown: columns stay where they are when it comes. */
  align(map: ClusterMap, moves: readonly Way[]): void {
    for (const move of this.#screen.isTerminal ? moves : []) {
      this.#wayLength = Math.max(this.#wayLength, wayOf(map, move).length);
      this.#rangesLength = Math.max(this.#rangesLength, rangesText(move.slots, SHOWN_RANGES).length);
    }
  }

  show(map: ClusterMap, tasks: readonly MigrationStatus[], whole?: Whole): void {
    if (!this.#screen.isTerminal) {
      for (const task of tasks) this.#sayIfNew(map, task);
      return;
    }
    this.align(map, tasks);
    const ended = tasks.filter((task) => hasEnded(task) && !this.#told.has(task.id));
    for (const { id } of ended) this.#told.add(id);
    const running = tasks.filter((task) => !hasEnded(task)).map((task) => this.#lineOf(map, task));
    const isWhole = whole === undefined || whole.count < 2 || whole.pending + running.length === 0;
    const summary = isWhole ? [] : [this.#summaryOf(whole)];
    // One line stays free for the cursor. What has scrolled off the top cannot be drawn over.
    const room = Math.max(1, this.#screen.rows - 1 - summary.length);
    const shown =
      running.length <= room
        ? running
        : [...running.slice(0, room - 1), `and ${running.length - room + 1} more that go on`];
    this.#draw(
      ended.map((task) => this.#lineOf(map, task)),
      [...shown, ...summary],
    );
  }

  /** Says something above the bars. */
  say(text: string): void {
    if (this.#drawn > 0) this.#screen.write(`${up(this.#drawn)}\u001B[J`);
    this.#drawn = 0;
    this.#screen.write(`${text}\n`);
  }

  /** Leaves the bars as they are, and goes on below. */
  leave(): void {
    this.#drawn = 0;
  }

  /** Lines to stay, and below them lines to be drawn over: all at once, each over what was there, so that nothing flickers. */
  #draw(above: readonly string[], live: readonly string[]): void {
    const lines = [...above, ...live].map((line) => `${cut(line, this.#screen.columns)}\u001B[K\n`);
    const over = this.#drawn > 0 ? up(this.#drawn) : "";
    // What is left of more lines that were there.
    const rest = this.#drawn > lines.length ? "\u001B[J" : "";
    if (lines.length > 0 || rest !== "") this.#screen.write(`${over}${lines.join("")}${rest}`);
    this.#drawn = live.length;
  }

  get #isNarrow(): boolean {
    return this.#screen.isTerminal && this.#screen.columns > 0 && this.#screen.columns < NARROW_COLUMNS;
  }

  /** Not where words would be cut for it. */
  get #showsRanges(): boolean {
    if (!this.#screen.isTerminal || this.#screen.columns === 0) return true;
    const others = FIXED_CELLS + BAR_CELLS + this.#wayLength + WORDS_CELLS;
    return !this.#isNarrow && others + this.#rangesLength < this.#screen.columns;
  }

  #lineOf(map: ClusterMap, task: MigrationStatus): string {
    const progress = bar(doneOf(task), this.#isNarrow ? NARROW_BAR_CELLS : BAR_CELLS);
    const ranges = rangesText(task.slots, SHOWN_RANGES).padEnd(this.#rangesLength);
    const way = wayOf(map, task).padEnd(this.#wayLength);
    const words = wordsOf(map, task);
    return [task.id.slice(0, 8), progress, way, ...(this.#showsRanges ? [ranges] : []), words].join("  ");
  }

  #summaryOf({ count, done, failed, pending, part }: Whole): string {
    const words = [`${done} of ${count} moves done`];
    if (failed > 0) words.push(pc.red(`${failed} not done`));
    if (pending > 0) words.push(`${pending} to be started`);
    return `together  ${bar(part, this.#isNarrow ? NARROW_BAR_CELLS : BAR_CELLS)}  ${words.join(", ")}`;
  }

  #sayIfNew(map: ClusterMap, task: MigrationStatus): void {
    const step = Math.floor((doneOf(task) ?? 0) * PLAIN_STEPS);
    const state = [task.phase, task.isPaused, task.waitingFor ?? "", step].join(" ");
    if (this.#said.get(task.id) === state) return;
    this.#said.set(task.id, state);
    this.#screen.write(`${this.#lineOf(map, task)}\n`);
  }
}

function up(lines: number): string {
  return `\u001B[${lines}A`;
}

/** A line that does not wrap, or what is drawn over it would be wrong. Colours take no room. */
export function cut(line: string, columns: number): string {
  if (columns === 0) return line;
  let room = columns - 1;
  let text = "";
  // oxlint-disable-next-line no-control-regex -- colours are control characters
  for (const [part] of line.matchAll(/\u001B\[[0-9;]*m|[^\u001B]/g)) {
    if (part.length > 1) text += part;
    else if (room > 0) {
      text += part;
      room -= 1;
    }
  }
  return text;
}
