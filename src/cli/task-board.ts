/** Tasks that move slots, as lines with bars that are drawn over and over in a terminal; elsewhere a line when something has changed. */
import pc from "picocolors";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { ClusterMap } from "../contracts/topology.ts";
import { rangesText, shardName, withNames } from "./plan-tables.ts";
import { formatBytes, formatCount, formatDuration } from "./units.ts";

const BAR_CELLS = 24;
/** Where nothing is drawn over, a line for each tenth is enough. */
const PLAIN_STEPS = 10;

/** Where lines go. */
export interface Screen {
  /** Whether lines can be drawn over. */
  readonly isTerminal: boolean;
  readonly columns: number;
  write(text: string): void;
}

export function processScreen(): Screen {
  const { stdout } = process;
  return {
    isTerminal: stdout.isTTY,
    get columns() {
      return stdout.columns;
    },
    write: (text) => void stdout.write(text),
  };
}

export function hasEnded({ phase }: MigrationStatus): boolean {
  return phase === "completed" || phase === "aborted";
}

/** How much of a task is done, from 0 to 1; `undefined` while nobody can say. */
function doneOf({ phase, progress }: MigrationStatus): number | undefined {
  if (phase === "completed") return 1;
  if (progress === undefined) return undefined;
  const { keysMoved, keysTotal, slotsDone, slotsTotal } = progress;
  const done = keysTotal > 0 ? keysMoved / keysTotal : slotsTotal > 0 ? slotsDone / slotsTotal : 0;
  // Keys that are written meanwhile are sent twice: it is done when it says so.
  return Math.min(0.99, done);
}

function bar(done: number | undefined): string {
  const cells = Math.round((done ?? 0) * BAR_CELLS);
  return `[${"#".repeat(cells)}${"-".repeat(BAR_CELLS - cells)}]`;
}

/** What a task does, in words. */
function wordsOf(map: ClusterMap, task: MigrationStatus): string {
  const { phase, isPaused, progress, waitingFor, cause, startedAtMs, endedAtMs } = task;
  if (phase === "completed") {
    const held = progress === undefined ? "" : `, commands held for ${Math.round(progress.fencedMs)} ms`;
    return pc.green(`done in ${formatDuration((endedAtMs ?? startedAtMs) - startedAtMs)}${held}`);
  }
  if (phase === "aborted") return pc.red(`ended without moving anything: ${cause}`);
  const words: string[] = [];
  if (progress !== undefined) {
    words.push(`${formatCount(progress.keysMoved)} of ${formatCount(progress.keysTotal)} keys`);
    if (progress.bytesPerSecond > 0) words.push(`${formatBytes(progress.bytesPerSecond)}/s`);
    if (progress.etaMs !== undefined) words.push(`${formatDuration(progress.etaMs)} left`);
    if (progress.restarts > 0) words.push(`begun again ${progress.restarts} times`);
  }
  if (phase === "level" || phase === "fenced") words.push(phase === "level" ? "level" : "handing over");
  if (isPaused) words.push(pc.yellow("paused"));
  else if (waitingFor !== undefined) words.push(pc.yellow(`waits: ${withNames(map, waitingFor)}`));
  return words.length === 0 ? phase : words.join(", ");
}

function lineOf(map: ClusterMap, task: MigrationStatus): string {
  const done = doneOf(task);
  const percent = done === undefined ? "" : `${Math.floor(done * 100)}%`;
  const way = `${shardName(map, task.source)} -> ${shardName(map, task.target)}`;
  return `${task.id.slice(0, 8)}  ${way}  ${rangesText(task.slots)}  ${bar(done)} ${percent.padStart(4)}  ${wordsOf(map, task)}`;
}

export class TaskBoard {
  readonly #screen: Screen;
  /** Lines that stand there to be drawn over. */
  #drawn = 0;
  /** Where nothing is drawn over: what was said last of each. */
  readonly #said = new Map<string, string>();

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  show(map: ClusterMap, tasks: readonly MigrationStatus[]): void {
    if (!this.#screen.isTerminal) {
      for (const task of tasks) this.#sayIfNew(map, task);
      return;
    }
    const lines = tasks.map((task) => cut(lineOf(map, task), this.#screen.columns));
    this.#clear();
    for (const line of lines) this.#screen.write(`${line}\n`);
    this.#drawn = lines.length;
  }

  /** Says something above the bars. */
  say(text: string): void {
    this.#clear();
    this.#screen.write(`${text}\n`);
  }

  #clear(): void {
    // Up to the first line, and everything from there on away.
    if (this.#drawn > 0) this.#screen.write(`\u001B[${this.#drawn}A\u001B[0J`);
    this.#drawn = 0;
  }

  #sayIfNew(map: ClusterMap, task: MigrationStatus): void {
    const step = Math.floor((doneOf(task) ?? 0) * PLAIN_STEPS);
    const state = [task.phase, task.isPaused, task.waitingFor ?? "", step].join(" ");
    if (this.#said.get(task.id) === state) return;
    this.#said.set(task.id, state);
    this.#screen.write(`${lineOf(map, task)}\n`);
  }
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
