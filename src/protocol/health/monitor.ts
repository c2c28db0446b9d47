/**
 * States that do not flap.
 *
 * Each look at a check gives a reading. Its state follows slowly:
 * - it gets worse once all readings of the last `raiseMs` were worse than it, to the best of them;
 * - it gets better once all readings of the last `clearMs` were better than it, to the worst of them.
 *
 * So a state lasts for at least the one or the other, and what goes to and fro faster stays what it was told to be.
 *
 * A check that is new is what its readings are, whatever they are, and nobody is told, until one is `ok` or none was for `beginMs`: a node that starts
 * is not well, and says so to whoever asks, and that is no news. Pure: the time is given.
 */
import { present } from "../../assert.ts";
import type { HealthCheckName, HealthState } from "../../contracts/health.ts";
import { type Finding, STATES } from "./types.ts";

/** A check's state, and what it was found by last. */
export interface Watched {
  readonly state: HealthState;
  /** Since when its readings have been so, in milliseconds of the caller's clock. */
  readonly sinceMs: number;
  readonly finding: Finding;
  /** Readings have been better than the state since then, and not for long enough yet: the last of them. */
  readonly better?: { readonly sinceMs: number; readonly finding: Finding } | undefined;
}

/** A check came into another state. */
export interface StateChange extends Watched {
  readonly previous: HealthState;
}

/** How long a state must have been so, in milliseconds. */
export interface Patience {
  readonly raiseMs: number;
  readonly clearMs: number;
  readonly beginMs: number;
}

interface Entry {
  state: HealthState;
  sinceMs: number;
  /** The last one that was as its state says, so that words and state belong together. */
  finding: Finding;
  better: Watched["better"];
  isNew: boolean;
  /** Since when readings have been at least as bad as each state, and at least as good. `undefined`: the last one was not. */
  readonly worseSinceMs: (number | undefined)[];
  readonly betterSinceMs: (number | undefined)[];
}

export class Monitor {
  readonly #patienceOf: (name: HealthCheckName) => Patience;
  readonly #entries = new Map<HealthCheckName, Entry>();

  /** @param patienceOf The same whenever it is asked. */
  constructor(patienceOf: (name: HealthCheckName) => Patience) {
    this.#patienceOf = patienceOf;
  }

  /** Those that there are. */
  get watched(): ReadonlyMap<HealthCheckName, Watched> {
    return this.#entries;
  }

  /**
   * Takes the readings of a moment.
   *
   * @param nowMs Never less than the time before.
   * @returns What has changed by them. A check that is not among them is over: if it was not well, that is a change to `ok`.
   */
  look(findings: readonly Finding[], nowMs: number): readonly StateChange[] {
    const changes: StateChange[] = [];
    for (const finding of findings) {
      const entry = this.#entryOf(finding, nowMs);
      const reading = rank(finding.state);
      for (const at of STATES.keys()) {
        entry.worseSinceMs[at] = reading >= at ? (entry.worseSinceMs[at] ?? nowMs) : undefined;
        entry.betterSinceMs[at] = reading <= at ? (entry.betterSinceMs[at] ?? nowMs) : undefined;
      }
      const patience = this.#patienceOf(finding.name);
      if (entry.isNew) {
        if (this.#begin(entry, finding, patience.beginMs, nowMs)) {
          changes.push({ state: entry.state, sinceMs: entry.sinceMs, previous: "ok", finding });
        }
        continue;
      }
      const next = nextOf(entry, patience, nowMs);
      const previous = entry.state;
      if (next !== undefined) Object.assign(entry, next);
      if (next !== undefined || finding.state === entry.state) entry.finding = finding;
      const sinceMs = reading < rank(entry.state) ? entry.betterSinceMs[rank(entry.state) - 1] : undefined;
      entry.better = sinceMs === undefined ? undefined : { sinceMs, finding };
      if (next !== undefined) changes.push({ ...next, previous, finding });
    }
    const judged = new Set(findings.map(({ name }) => name));
    for (const [name, { state, finding, isNew }] of this.#entries) {
      if (judged.has(name)) continue;
      this.#entries.delete(name);
      if (state === "ok" || isNew) continue;
      const over: Finding = { ...finding, state: "ok", summary: "This node cannot judge it any more." };
      changes.push({ state: "ok", sinceMs: nowMs, previous: state, finding: over });
    }
    return changes;
  }

  #entryOf(finding: Finding, nowMs: number): Entry {
    const before = this.#entries.get(finding.name);
    if (before !== undefined) return before;
    const made: Entry = {
      state: finding.state,
      sinceMs: nowMs,
      finding,
      better: undefined,
      isNew: true,
      worseSinceMs: [],
      betterSinceMs: [],
    };
    this.#entries.set(finding.name, made);
    return made;
  }

  /** @returns Whether it is told from here on that it is not well. */
  #begin(entry: Entry, finding: Finding, beginMs: number, nowMs: number): boolean {
    if (finding.state !== entry.state) entry.sinceMs = nowMs;
    entry.state = finding.state;
    entry.finding = finding;
    const isOk = finding.state === "ok";
    const notOkSinceMs = entry.worseSinceMs[rank("warn")] ?? nowMs;
    entry.isNew = !isOk && nowMs - notOkSinceMs < beginMs;
    return !isOk && !entry.isNew;
  }
}

/** The state that an entry comes into by its readings, if it is another one. */
function nextOf(
  entry: Entry,
  { raiseMs, clearMs }: Patience,
  nowMs: number,
): Pick<Watched, "state" | "sinceMs"> | undefined {
  const now = rank(entry.state);
  for (let at = STATES.length - 1; at > now; at -= 1) {
    const sinceMs = entry.worseSinceMs[at];
    if (sinceMs !== undefined && nowMs - sinceMs >= raiseMs) return { state: stateOf(at), sinceMs };
  }
  for (let at = 0; at < now; at += 1) {
    const sinceMs = entry.betterSinceMs[at];
    if (sinceMs !== undefined && nowMs - sinceMs >= clearMs) return { state: stateOf(at), sinceMs };
  }
  return undefined;
}

function rank(state: HealthState): number {
  return STATES.indexOf(state);
}

function stateOf(at: number): HealthState {
  return present(STATES[at], "a state has a rank");
}
