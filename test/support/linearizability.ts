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
const DEFAULT_MAX_WORK = 3_000_000;

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

/** A place in the search: a state, and which operations may come next. */
interface Frame<State> {
  readonly state: State;
  /** The first answered operation that is not done; all before it are. */
  readonly low: number;
  /** Indexes of those that may come next; unknown ones follow the answered ones, as `known.length + index`. */
  readonly candidates: readonly number[];
  next: number;
}

function search<State extends string | number | object | null, Input, Output>(
  operations: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
  maxWork: number,
): Outcome<Input, Output> {
  const byCall = operations.toSorted((one, other) => one.invokedAt - other.invokedAt);
  const known = byCall.filter(isKnown);
  const unknown = byCall.filter((operation) => !isKnown(operation) && !model.isReadOnly(operation.input));
  const isDone = new Uint8Array(known.length);
  const isUsed = new Uint8Array(unknown.length);
  const seen = new Map<string, Uint8Array[]>();
  /** What was chosen at each place but the last. */
  const chosen: number[] = [];
  let doneCount = 0;
  let mostDone = -1;
  let longest: number[] = [];
  let work = 0;

  const at = (index: number): Operation<Input, Output> =>
    (index < known.length ? known[index] : unknown[index - known.length]) as Operation<Input, Output>;
  const orderOf = (indexes: readonly number[]): Operation<Input, Output>[] => indexes.map((index) => at(index));

  const frameFor = (state: State, from: number): Frame<State> => {
    let low = from;
    while (low < known.length && isDone[low] === 1) low++;
    // Whoever was called after the first pending answer came has to wait for that operation.
    let firstReturn = Infinity;
    const candidates: number[] = [];
    for (let i = low; i < known.length; i++) {
      const operation = known[i] as Operation<Input, Output>;
      if (operation.invokedAt > firstReturn) break;
      if (isDone[i] === 1) continue;
      candidates.push(i);
      firstReturn = Math.min(firstReturn, operation.returnedAt);
    }
    const possible = candidates.filter((i) => at(i).invokedAt <= firstReturn);
    // The one that was answered first is the likeliest to have come first.
    possible.sort((one, other) => at(one).returnedAt - at(other).returnedAt);
    for (let i = 0; i < unknown.length; i++) {
      if ((unknown[i] as Operation<Input, Output>).invokedAt > firstReturn) break;
      if (isUsed[i] === 0) possible.push(known.length + i);
    }
    return { state, low, candidates: possible, next: 0 };
  };

  const frames: Frame<State>[] = [frameFor(model.initial, 0)];
  for (;;) {
    const frame = frames.at(-1);
    if (frame === undefined) return { verdict: "violation", work, longestOrder: orderOf(longest) };
    if (doneCount > mostDone) {
      mostDone = doneCount;
      longest = chosen.slice();
    }
    if (doneCount === known.length) return { verdict: "linearizable", work, longestOrder: orderOf(longest) };
    const index = frame.candidates[frame.next++];
    if (index === undefined) {
      frames.pop();
      const undone = chosen.pop();
      if (undone !== undefined) mark(undone, 0);
      continue;
    }
    if (work++ >= maxWork) return { verdict: "undecided", work, longestOrder: orderOf(longest) };
    const operation = at(index);
    const state = model.step(frame.state, operation.input, operation.output);
    if (state === undefined) continue;
    const stateKey = model.stateKey(state);
    if (index >= known.length && stateKey === model.stateKey(frame.state)) continue;
    mark(index, 1);
    if (isNew(frame.low, stateKey)) {
      chosen.push(index);
      frames.push(frameFor(state, frame.low));
    } else {
      mark(index, 0);
    }
  }

  function mark(index: number, value: 0 | 1): void {
    if (index >= known.length) {
      isUsed[index - known.length] = value;
      return;
    }
    isDone[index] = value;
    doneCount += value === 1 ? 1 : -1;
  }

  /** Remembers a place. `false` if one that is at least as good was seen before. */
  function isNew(from: number, stateKey: string): boolean {
    let low = from;
    while (low < known.length && isDone[low] === 1) low++;
    // All before `low` are done, and few after it: those are listed.
    let placeKey = `${low}`;
    for (let i = low + 1, left = doneCount - low; left > 0; i++) {
      if (isDone[i] === 0) continue;
      placeKey += `,${i}`;
      left--;
    }
    placeKey += `|${stateKey}`;
    const others = seen.get(placeKey);
    if (others === undefined) {
      seen.set(placeKey, [isUsed.slice()]);
      return true;
    }
    if (others.some((other) => isPartOf(other, isUsed))) return false;
    others.push(isUsed.slice());
    return true;
  }
}

function isPartOf(part: Uint8Array, whole: Uint8Array): boolean {
  for (let i = 0; i < part.length; i++) if (part[i] === 1 && whole[i] === 0) return false;
  return true;
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
