/**
 * Is there one order of operations, each at a moment between its call and its answer, that explains every answer?
 *
 * That is what linearizable means. The checker looks for such an order, key by key (a history is linearizable exactly if
 * each key's part of it is), by the search of Wing and Gong with Lowe's memory: pick any operation that may come next, ask
 * a sequential model whether its answer fits, go on, step back when nothing fits; and never look twice at the same set of
 * operations done with the same state reached.
 *
 * An operation whose answer never came has an *unknown outcome*: it may have taken effect at any moment after its call, or
 * never. Taking n of those into account in all ways would be 2^n searches. Three things keep that small:
 * 1. Those that only read are left out.
 * 2. They are tried last, and only where they change the state.
 * 3. Of two searches that did the same answered operations and reached the same state, the one that used up fewer of the
 *    unknown ones can do all that the other can. So a search is given up if another used a part of its unknown ones.
 *
 * The search may still take too long. It has a bound on its work, and beyond that it says `undecided`: never "fine".
 */

/** An operation of a client on one key. */
export interface Operation<Input, Output> {
  readonly client: string;
  readonly key: string;
  readonly input: Input;
  /** `undefined` if the outcome is unknown. */
  readonly output: Output | undefined;
  /** When it was called. Any scale will do, as long as it is one; operations that touch at a moment overlap. */
  readonly invokedAt: number;
  /** When its answer came; `Infinity` if the outcome is unknown. */
  readonly returnedAt: number;
  /** Both in milliseconds, for people, if `invokedAt` and `returnedAt` are something else. */
  readonly invokedMs?: number;
  readonly returnedMs?: number;
}

/** What the operations should do, one after another. */
export interface Model<State extends string | number | object | null, Input, Output> {
  /** The state before the first operation. */
  readonly initial: State;
  /**
   * Does one operation.
   *
   * @param output Its answer; `undefined` if it is unknown, which fits whatever the state is.
   * @returns The state after it; `undefined` if the answer does not fit the state.
   */
  step(state: State, input: Input, output: Output | undefined): State | undefined;
  /** A text that is equal for equal states, and for no others. */
  stateKey(state: State): string;
  /** Whether it changes no state, whatever the state is. */
  isReadOnly(input: Input): boolean;
  /** The operation and its answer (`undefined`: unknown) for people. */
  describe(input: Input, output: Output | undefined): string;
}

/** What became of one key. */
export type Verdict<Input, Output> =
  | { readonly verdict: "linearizable"; readonly key: string; readonly work: number }
  /** The bound was reached first. */
  | { readonly verdict: "undecided"; readonly key: string; readonly work: number }
  | {
      readonly verdict: "violation";
      readonly key: string;
      readonly work: number;
      /** The first operation, by the moment of its answer, with which no order is left. */
      readonly culprit: Operation<Input, Output>;
      /** The most answered operations that one order explains (with the unknown ones it needs), in that order. */
      readonly longestOrder: readonly Operation<Input, Output>[];
      /** The shortest part of the history that is wrong as it is, the culprit, and the longest order, as text. */
      readonly evidence: string;
    };

/** What became of a history. */
export interface Report<Input, Output> {
  /** `violation` if there is one; else `undecided` if a key is; else `linearizable`. */
  readonly verdict: "linearizable" | "violation" | "undecided";
  readonly keys: number;
  readonly operations: number;
  /** Steps of the model that were tried. */
  readonly work: number;
  /** The keys that are not known to be linearizable. */
  readonly failures: readonly Exclude<Verdict<Input, Output>, { readonly verdict: "linearizable" }>[];
}

/** Steps of the model for one key: one to a few seconds. Histories without a violation need about ten an operation. */
const DEFAULT_MAX_WORK = 2_000_000;

/** Rows of a table that a person reads. */
const MOST_ROWS = 60;

/**
 * Checks a history with any number of keys.
 *
 * @param operations All of them, in any order.
 * @param model What each key should do.
 * @param maxWork Steps of the model that may be tried for each key.
 * @example
 * ```ts
 * const report = checkHistory(history.operations(), registerModel);
 * if (report.verdict !== "linearizable") throw new Error(formatReport(report));
 * ```
 */
export function checkHistory<State extends string | number | object | null, Input, Output>(
  operations: Iterable<Operation<Input, Output>>,
  model: Model<State, Input, Output>,
  maxWork = DEFAULT_MAX_WORK,
): Report<Input, Output> {
  const byKey = new Map<string, Operation<Input, Output>[]>();
  let count = 0;
  for (const operation of operations) {
    count++;
    const same = byKey.get(operation.key);
    if (same === undefined) byKey.set(operation.key, [operation]);
    else same.push(operation);
  }
  const failures: Exclude<Verdict<Input, Output>, { verdict: "linearizable" }>[] = [];
  let work = 0;
  for (const [key, ofKey] of byKey) {
    const verdict = checkKey(key, ofKey, model, maxWork);
    work += verdict.work;
    if (verdict.verdict !== "linearizable") failures.push(verdict);
  }
  const isViolated = failures.some((failure) => failure.verdict === "violation");
  const verdict = isViolated ? "violation" : failures.length > 0 ? "undecided" : "linearizable";
  return { verdict, keys: byKey.size, operations: count, work, failures };
}

/** A report as text: a line, and the evidence for each key that is wrong. */
export function formatReport<Input, Output>(report: Report<Input, Output>): string {
  const facts = `${report.operations} operations on ${report.keys} keys, ${report.work} steps`;
  const lines = [`${report.verdict}: ${facts}`];
  for (const failure of report.failures) {
    if (failure.verdict === "violation") lines.push("", failure.evidence);
    else lines.push("", `Key ${failure.key}: undecided after ${failure.work} steps`);
  }
  return lines.join("\n");
}

/** Checks the operations on one key. */
export function checkKey<State extends string | number | object | null, Input, Output>(
  key: string,
  operations: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
  maxWork = DEFAULT_MAX_WORK,
): Verdict<Input, Output> {
  let outcome = search(operations, model, maxWork);
  let work = outcome.work;
  if (outcome.verdict !== "violation") return { verdict: outcome.verdict, key, work };
  // Every part of a linearizable history up to some moment is linearizable. Find the first moment at which it is not.
  const returns = operations.filter(isKnown).toSorted((one, other) => one.returnedAt - other.returnedAt);
  let low = 0;
  let high = returns.length - 1;
  let shortest = operations;
  while (low < high) {
    const middle = (low + high) >> 1;
    const part = upTo(operations, (returns[middle] as Operation<Input, Output>).returnedAt);
    const attempt = search(part, model, maxWork);
    work += attempt.work;
    if (attempt.verdict === "violation") {
      high = middle;
      shortest = part;
      outcome = attempt;
    } else {
      low = middle + 1;
    }
  }
  const culprit = returns[low] as Operation<Input, Output>;
  const evidence = explain(key, shortest, culprit, outcome.longestOrder, model);
  return { verdict: "violation", key, work, culprit, longestOrder: outcome.longestOrder, evidence };
}

function isKnown<Input, Output>(operation: Operation<Input, Output>): boolean {
  return operation.returnedAt !== Infinity;
}

/** What was known of a history at a moment: later calls were not made yet, later answers had not come yet. */
function upTo<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  atMost: number,
): Operation<Input, Output>[] {
  const part: Operation<Input, Output>[] = [];
  for (const operation of operations) {
    if (operation.returnedAt <= atMost) part.push(operation);
    else if (operation.invokedAt <= atMost) part.push({ ...operation, output: undefined, returnedAt: Infinity });
  }
  return part;
}

interface Outcome<Input, Output> {
  readonly verdict: "linearizable" | "violation" | "undecided";
  readonly work: number;
  readonly longestOrder: readonly Operation<Input, Output>[];
}

/** A place in the search: which operations are done, and the state that this order of them leads to. */
interface Place<State, Input, Output> {
  readonly state: State;
  readonly stateKey: string;
  /** Answered operations done. */
  readonly doneCount: number;
  /** The first answered operation that is not done; all before it are. */
  readonly low: number;
  /** Those after it that are done, in order: few, since they all overlap it. */
  readonly doneAfter: readonly number[];
  /** The unknown operations that were used up, a bit each, and how many. */
  readonly used: bigint;
  readonly usedCount: number;
  /** How the search came here. */
  readonly previous: Place<State, Input, Output> | undefined;
  readonly operation: Operation<Input, Output> | undefined;
}

/**
 * The search. It goes on where most answered operations are done already; among equals, where fewest unknown ones were
 * used, and only when nothing else is left, it tries one more of those.
 */
function search<State extends string | number | object | null, Input, Output>(
  operations: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
  maxWork: number,
): Outcome<Input, Output> {
  const byCall = operations.toSorted((one, other) => one.invokedAt - other.invokedAt);
  const known = byCall.filter(isKnown);
  const unknown = byCall.filter((operation) => !isKnown(operation) && !model.isReadOnly(operation.input));
  const agenda = new Agenda<Place<State, Input, Output>>();
  /** For what is done and the state reached: the sets of unknown operations with which the search came there. */
  const seen = new Map<string, bigint[]>();
  let work = 0;
  let best: Place<State, Input, Output> = {
    state: model.initial,
    stateKey: model.stateKey(model.initial),
    doneCount: 0,
    low: 0,
    doneAfter: [],
    used: 0n,
    usedCount: 0,
    previous: undefined,
    operation: undefined,
  };
  agenda.add(0, 0, best);
  for (;;) {
    if (best.doneCount === known.length) return outcome("linearizable");
    const next = agenda.take();
    if (next === undefined) return outcome("violation");
    const { item: place, order } = next;
    const isSecondVisit = order % 2 === 1;
    const { candidates, firstReturn } = candidatesAt(known, place);
    if (isSecondVisit) {
      for (let i = 0; i < unknown.length && work <= maxWork; i++) {
        const operation = unknown[i] as Operation<Input, Output>;
        if (operation.invokedAt > firstReturn) break;
        const bit = 1n << BigInt(i);
        if ((place.used & bit) === 0n) attempt(place, operation, place, place.used | bit);
      }
    } else {
      for (const index of candidates) {
        if (work > maxWork) break;
        attempt(place, known[index] as Operation<Input, Output>, withDone(place, index), place.used);
      }
      agenda.add(place.doneCount, order + 1, place);
    }
    if (work > maxWork) return outcome("undecided");
  }

  function outcome(verdict: Outcome<Input, Output>["verdict"]): Outcome<Input, Output> {
    const order: Operation<Input, Output>[] = [];
    for (let place = best; place.operation !== undefined && place.previous !== undefined; place = place.previous) {
      order.push(place.operation);
    }
    return { verdict, work, longestOrder: order.toReversed() };
  }

  /** Tries an operation in a place, and notes where it leads, if it fits and that was not seen yet. */
  function attempt(
    place: Place<State, Input, Output>,
    operation: Operation<Input, Output>,
    done: Pick<Place<State, Input, Output>, "doneCount" | "low" | "doneAfter">,
    used: bigint,
  ): void {
    work++;
    const state = model.step(place.state, operation.input, operation.output);
    if (state === undefined) return;
    const stateKey = model.stateKey(state);
    const isUnknown = used !== place.used;
    if (isUnknown && stateKey === place.stateKey) return;
    const { doneCount, low, doneAfter } = done;
    const key = `${low},${doneAfter.join()}|${stateKey}`;
    const others = seen.get(key);
    if (others === undefined) seen.set(key, [used]);
    else if (others.some((other) => (other & used) === other)) return;
    else others.push(used);
    const usedCount = place.usedCount + (isUnknown ? 1 : 0);
    const reached = { state, stateKey, doneCount, low, doneAfter, used, usedCount, previous: place, operation };
    if (doneCount > best.doneCount) best = reached;
    agenda.add(doneCount, usedCount * 2, reached);
  }
}

/** The answered operations that may come next, the likeliest last; and when the first of them was answered. */
function candidatesAt<State, Input, Output>(
  known: readonly Operation<Input, Output>[],
  place: Place<State, Input, Output>,
): { candidates: number[]; firstReturn: number } {
  let firstReturn = Infinity;
  const candidates: number[] = [];
  let doneAt = 0;
  for (let i = place.low; i < known.length; i++) {
    const operation = known[i] as Operation<Input, Output>;
    // Whoever was called after the first pending answer came has to wait for that operation.
    if (operation.invokedAt > firstReturn) break;
    if (place.doneAfter[doneAt] === i) {
      doneAt++;
      continue;
    }
    candidates.push(i);
    firstReturn = Math.min(firstReturn, operation.returnedAt);
  }
  // The one that was answered first is the likeliest to have come first. What is added last is looked at first.
  candidates.sort((one, other) => (known[other]?.returnedAt ?? 0) - (known[one]?.returnedAt ?? 0));
  return { candidates, firstReturn };
}

/** What is done after one more. */
function withDone<State, Input, Output>(
  place: Place<State, Input, Output>,
  index: number,
): Pick<Place<State, Input, Output>, "doneCount" | "low" | "doneAfter"> {
  const doneCount = place.doneCount + 1;
  const after = place.doneAfter.slice();
  if (index !== place.low) {
    const at = after.findIndex((other) => other > index);
    after.splice(at < 0 ? after.length : at, 0, index);
    return { doneCount, low: place.low, doneAfter: after };
  }
  let low = place.low + 1;
  let passed = 0;
  while (after[passed] === low) {
    passed++;
    low++;
  }
  return { doneCount, low, doneAfter: after.slice(passed) };
}

/** What is still to be looked at: the highest level first; within a level the lowest order; within that the newest. */
class Agenda<Item> {
  readonly #levels: Item[][][] = [];
  #highest = -1;

  add(level: number, order: number, item: Item): void {
    const orders = (this.#levels[level] ??= []);
    while (orders.length <= order) orders.push([]);
    orders[order]?.push(item);
    this.#highest = Math.max(this.#highest, level);
  }

  take(): { item: Item; order: number } | undefined {
    for (; this.#highest >= 0; this.#highest--) {
      for (const [order, items] of (this.#levels[this.#highest] ?? []).entries()) {
        const item = items.pop();
        if (item !== undefined) return { item, order };
      }
    }
    return undefined;
  }
}

function explain<State extends string | number | object | null, Input, Output>(
  key: string,
  operations: readonly Operation<Input, Output>[],
  culprit: Operation<Input, Output>,
  longestOrder: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
): string {
  const lines = [
    `Key ${key} is not linearizable: no order explains this history once ${culprit.client} has its answer (marked >).`,
  ];
  const rows = operations
    .toSorted((one, other) => one.invokedAt - other.invokedAt)
    .map((operation) => {
      const isCulprit = operation.invokedAt === culprit.invokedAt && operation.client === culprit.client;
      return [
        isCulprit ? ">" : " ",
        operation.client,
        moment(operation.invokedMs ?? operation.invokedAt),
        isKnown(operation) ? moment(operation.returnedMs ?? operation.returnedAt) : "unknown",
        model.describe(operation.input, operation.output),
      ];
    });
  lines.push("", ...table([["", "client", "called", "answered", "operation"], ...lastOf(rows)]), "");
  let state = model.initial;
  const steps = longestOrder.map((operation, index) => {
    state = model.step(state, operation.input, operation.output) ?? state;
    const what = model.describe(operation.input, operation.output);
    return [`${index + 1}.`, operation.client, what, `state ${model.stateKey(state)}`];
  });
  lines.push("The longest order that fits:", ...table(lastOf(steps)), "");
  const done = new Set(longestOrder.map((operation) => `${operation.client} ${operation.invokedAt}`));
  const pending = operations.filter(
    (operation) => isKnown(operation) && !done.has(`${operation.client} ${operation.invokedAt}`),
  );
  lines.push(`In state ${model.stateKey(state)} these are left, and no order fits them:`);
  lines.push(
    ...table(lastOf(pending.map((operation) => [operation.client, model.describe(operation.input, operation.output)]))),
  );
  return lines.join("\n");
}

/** The last rows, and how many came before. */
function lastOf(rows: readonly string[][]): string[][] {
  if (rows.length <= MOST_ROWS) return [...rows];
  return [["", `(${rows.length - MOST_ROWS} before)`], ...rows.slice(-MOST_ROWS)];
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  return rows.map((row) => `  ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ")}`.trimEnd());
}

function moment(at: number): string {
  return Number.isInteger(at) ? String(at) : at.toFixed(3);
}
