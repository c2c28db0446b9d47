/** The parts of Raft that are arithmetic, against models that are too simple to be wrong. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { present } from "../../src/assert.ts";
import { RaftLog, entryBytes } from "../../src/protocol/raft/log.ts";
import { Progress } from "../../src/protocol/raft/progress.ts";
import { majorityOf, majorityValue } from "../../src/protocol/raft/quorum.ts";
import type { Configuration, Entry, Snapshot } from "../../src/protocol/raft/types.ts";
import { member } from "../support/raft-script.ts";

describe("majorities", () => {
  test("majorityOf: the least number that two groups of voters cannot both have", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), (count) => {
        expect(2 * majorityOf(count)).toBeGreaterThan(count);
        expect(2 * (majorityOf(count) - 1)).toBeLessThanOrEqual(count);
      }),
    );
  });

  test("majorityValue: the largest value that more than half of the voters have reached", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(12), { minLength: 1, maxLength: 9 }), (values) => {
        let largest = 0;
        for (let value = 0; value <= 12; value += 1) {
          const reached = values.filter((each) => each >= value).length;
          if (2 * reached > values.length) largest = value;
        }
        const before = [...values];
        expect(majorityValue(values)).toBe(largest);
        expect(values).toEqual(before);
      }),
    );
  });

  test("majorityValue: nobody has reached nothing", () => {
    expect(majorityValue([])).toBe(0);
  });
});

/** A log as one array of everything that was ever in it, the snapshot being a mark on it. */
class ModelLog {
  /** Terms and configurations from index 0, which stands for the state before everything. */
  places: { term: number; configuration: Configuration | undefined; bytes: number }[];
  /** The snapshot's index. */
  mark: number;
  /** The first entry that is kept. */
  first: number;
  commit: number;

  constructor(snapshot: Snapshot) {
    this.places = ModelLog.upTo(snapshot);
    this.mark = snapshot.index;
    this.first = snapshot.index + 1;
    this.commit = snapshot.index;
  }

  static upTo({ index, term, configuration }: Snapshot): ModelLog["places"] {
    return Array.from({ length: index + 1 }, (_, at) => ({ term: at === index ? term : -1, configuration, bytes: 0 }));
  }

  get last(): number {
    return this.places.length - 1;
  }

  term(index: number): number | undefined {
    return index < this.first - 1 ? undefined : this.places[index]?.term;
  }

  configurationAt(index: number): Configuration | undefined {
    return this.places.slice(0, index + 1).findLast(({ configuration }) => configuration !== undefined)?.configuration;
  }
}

type Command =
  | { readonly type: "append"; readonly termStep: number; readonly size: number; readonly members: number | undefined }
  | { readonly type: "truncate"; readonly part: number }
  | { readonly type: "commit"; readonly part: number }
  | { readonly type: "compact"; readonly part: number; readonly trailing: number; readonly trailingBytes: number }
  | { readonly type: "restore"; readonly ahead: number; readonly termStep: number; readonly members: number };

// A part of a range, so that a command fits whatever came before it.
const part = fc.nat(1000).map((thousandths) => thousandths / 1000);
const membersOf = (count: number): Configuration => ({
  members: Array.from({ length: count }, (_, at) => member(`n${at}`)),
});
const append = fc.record({
  type: fc.constant("append" as const),
  termStep: fc.constantFrom(0, 0, 0, 1, 2),
  size: fc.nat(100),
  members: fc.option(fc.nat(5), { nil: undefined, freq: 3 }),
});
const command: fc.Arbitrary<Command> = fc.oneof(
  { arbitrary: append, weight: 6 },
  { arbitrary: fc.record({ type: fc.constant("truncate" as const), part }), weight: 1 },
  { arbitrary: fc.record({ type: fc.constant("commit" as const), part }), weight: 2 },
  {
    arbitrary: fc.record({
      type: fc.constant("compact" as const),
      part,
      trailing: fc.nat(6),
      trailingBytes: fc.constantFrom(0, 100, 300, 100_000),
    }),
    weight: 1,
  },
  {
    arbitrary: fc.record({
      type: fc.constant("restore" as const),
      ahead: fc.integer({ min: 1, max: 8 }),
      termStep: fc.nat(2),
      members: fc.nat(5),
    }),
    weight: 1,
  },
);

/** Does the same to a log and to its model. */
function carryOut(log: RaftLog, model: ModelLog, each: Command): void {
  const within = (from: number, to: number, place: number): number => from + Math.round((to - from) * place);
  switch (each.type) {
    case "append": {
      const configuration = each.members === undefined ? undefined : membersOf(each.members);
      const data = configuration === undefined ? new Uint8Array(each.size) : undefined;
      const entry: Entry = { index: log.lastIndex + 1, term: log.lastTerm + each.termStep, data, configuration };
      log.append(entry);
      model.places.push({ term: entry.term, configuration, bytes: entryBytes(entry) });
      break;
    }
    case "truncate": {
      if (model.last === model.commit) return;
      const index = within(model.commit + 1, model.last, each.part);
      log.truncate(index);
      model.places.length = index;
      break;
    }
    case "commit":
      model.commit = within(model.commit, model.last, each.part);
      log.commitIndex = model.commit;
      log.appliedIndex = model.commit;
      break;
    case "compact": {
      const index = within(model.mark, model.commit, each.part);
      log.compact(index, new Uint8Array(0), each.trailing, each.trailingBytes);
      let first = index + 1;
      let bytes = 0;
      for (let at = index; at >= model.first && index - at < each.trailing; at -= 1) {
        bytes += model.places[at]?.bytes ?? 0;
        if (bytes > each.trailingBytes) break;
        first = at;
      }
      model.mark = index;
      model.first = first;
      break;
    }
    case "restore": {
      const snapshot: Snapshot = {
        index: model.commit + each.ahead,
        term: log.lastTerm + each.termStep,
        configuration: membersOf(each.members),
        data: new Uint8Array(0),
      };
      log.restore(snapshot);
      model.places = ModelLog.upTo(snapshot);
      model.mark = snapshot.index;
      model.first = snapshot.index + 1;
      model.commit = snapshot.index;
      break;
    }
    default:
      each satisfies never;
  }
}

function expectEqual(log: RaftLog, model: ModelLog): void {
  expect([log.firstIndex, log.lastIndex, log.snapshot.index]).toEqual([model.first, model.last, model.mark]);
  expect([log.commitIndex, log.appliedIndex]).toEqual([model.commit, model.commit]);
  expect(log.lastTerm).toBe(present(model.places.at(-1), "index 0 is there").term);
  expect(log.snapshot.term).toBe(present(model.places[model.mark], "the mark is within").term);
  for (let index = 0; index <= model.last + 2; index += 1) {
    expect(log.term(index)).toBe(model.term(index));
    expect(log.entry(index)?.index).toBe(index >= model.first && index <= model.last ? index : undefined);
  }
  for (let index = model.mark; index <= model.last; index += 1) {
    expect(log.configurationAt(index)).toEqual(present(model.configurationAt(index), "a snapshot has one"));
  }
  expect(log.configuration).toEqual(present(model.configurationAt(model.last), "a snapshot has one"));
  expect(log.snapshot.configuration).toEqual(present(model.configurationAt(model.mark), "a snapshot has one"));
  const at = model.places.findLastIndex(
    ({ configuration }, index) => configuration !== undefined && index > model.mark,
  );
  expect(log.configurationIndex).toBe(Math.max(at, 0));
  expect(log.bytes).toBe(model.places.slice(model.first).reduce((sum, { bytes }) => sum + bytes, 0));
}

function expectReads(log: RaftLog, model: ModelLog, from: number, to: number, maxBytes: number): void {
  const start = Math.min(Math.max(from, model.first), model.last + 1);
  const end = Math.min(Math.max(to, start - 1), model.last);
  const indexes = Array.from({ length: end - start + 1 }, (_, at) => start + at);
  expect(log.range(start, end).map(({ index }) => index)).toEqual(indexes);
  const taken = log.slice(start, maxBytes).map(({ index }) => index);
  let bytes = 0;
  const fitting: number[] = [];
  for (let index = start; index <= model.last; index += 1) {
    bytes += model.places[index]?.bytes ?? 0;
    if (fitting.length > 0 && bytes > maxBytes) break;
    fitting.push(index);
  }
  expect(taken).toEqual(fitting);
}

const founding: Snapshot = { index: 1, term: 0, configuration: membersOf(3), data: new Uint8Array(0) };

describe("RaftLog", () => {
  test("is its model after any commands", () => {
    fc.assert(
      fc.property(
        fc.array(command, { maxLength: 40 }),
        fc.nat(45),
        fc.nat(45),
        fc.nat(1000),
        (commands, from, to, maxBytes) => {
          const log = new RaftLog(founding, []);
          const model = new ModelLog(founding);
          for (const each of commands) {
            carryOut(log, model, each);
            expectEqual(log, model);
          }
          expectReads(log, model, from, to, maxBytes);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("is the same after a restart from its snapshot and what follows it", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 30 }), (commands) => {
        const log = new RaftLog(founding, []);
        const model = new ModelLog(founding);
        for (const each of commands) carryOut(log, model, each);
        const again = new RaftLog(log.snapshot, log.range(log.snapshot.index + 1, log.lastIndex));
        model.first = model.mark + 1;
        model.commit = model.mark;
        expectEqual(again, model);
      }),
      { numRuns: 200 },
    );
  });

  test("lastIndexOfTermAtMost: the last place, at or before one, of no later term", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 30 }), fc.nat(40), fc.nat(12), (commands, index, term) => {
        const log = new RaftLog(founding, []);
        const model = new ModelLog(founding);
        for (const each of commands) carryOut(log, model, each);
        const known = model.places.flatMap((place, at) =>
          at >= model.first - 1 && at <= index && place.term <= term ? [{ index: at, term: place.term }] : [],
        );
        // What is gone is not known: the place before it is as good as any.
        const unknown = { index: Math.max(Math.min(index, model.first - 2), 0), term: 0 };
        expect(log.lastIndexOfTermAtMost(index, term)).toEqual(known.at(-1) ?? unknown);
      }),
      { numRuns: 500 },
    );
  });

  test("isUpToDate: of two logs one is up to date for the other, and both are only if they end alike", () => {
    const end = fc.record({ index: fc.integer({ min: 2, max: 4 }), term: fc.integer({ min: 1, max: 3 }) });
    const logOf = ({ index, term }: { readonly index: number; readonly term: number }): RaftLog =>
      new RaftLog({ ...founding, index, term }, []);
    fc.assert(
      fc.property(end, end, (a, b) => {
        const isSecond = logOf(a).isUpToDate(b.index, b.term);
        const isFirst = logOf(b).isUpToDate(a.index, a.term);
        expect(isFirst || isSecond).toBe(true);
        expect(isFirst && isSecond).toBe(a.index === b.index && a.term === b.term);
        // Terms weigh more than lengths.
        if (a.term !== b.term) expect(isSecond).toBe(b.term > a.term);
      }),
    );
  });

  test("configurationsFrom: what is in force at an index, and each that follows", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 30 }), part, (commands, place) => {
        const log = new RaftLog(founding, []);
        const model = new ModelLog(founding);
        for (const each of commands) carryOut(log, model, each);
        const index = model.mark + Math.round((model.last - model.mark) * place);
        const later = model.places.slice(index + 1).flatMap(({ configuration }) => configuration ?? []);
        expect(log.configurationsFrom(index)).toEqual([
          present(model.configurationAt(index), "a snapshot has one"),
          ...later,
        ]);
      }),
    );
  });
});

type Event =
  | { readonly type: "send"; readonly count: number }
  | { readonly type: "accept"; readonly pick: number }
  | { readonly type: "reject"; readonly pick: number; readonly back: number }
  | { readonly type: "lose" }
  | { readonly type: "stale-reject"; readonly index: number };

const LIMIT = { maxInflight: 3, maxInflightBytes: 20 };
// How many messages ago: mostly the last ones.
const pick = fc.oneof(fc.nat(2), fc.nat(30));
const event: fc.Arbitrary<Event> = fc.oneof(
  { arbitrary: fc.record({ type: fc.constant("send" as const), count: fc.integer({ min: 1, max: 4 }) }), weight: 4 },
  { arbitrary: fc.record({ type: fc.constant("accept" as const), pick }), weight: 3 },
  {
    arbitrary: fc.record({ type: fc.constant("reject" as const), pick, back: fc.integer({ min: -3, max: 10 }) }),
    weight: 2,
  },
  { arbitrary: fc.record({ type: fc.constant("lose" as const) }), weight: 1 },
  { arbitrary: fc.record({ type: fc.constant("stale-reject" as const), index: fc.nat(60) }), weight: 1 },
);

describe("Progress", () => {
  test("knows no more than it was told, never forgets that, and never sends more than the bound", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.array(event, { maxLength: 60 }), (next, events) => {
        const progress = new Progress(next);
        // What was sent: where each message began and ended.
        const messages: { readonly previous: number; readonly last: number }[] = [];
        let known = 0;
        for (const each of events) {
          const before = { state: progress.state, next: progress.next, match: progress.match };
          switch (each.type) {
            case "send": {
              if (progress.isPaused(LIMIT)) break;
              const last = progress.next - 1 + each.count;
              messages.push({ previous: progress.next - 1, last });
              progress.sent(last, each.count);
              if (progress.state === "probe") expect(progress.isPaused(LIMIT)).toBe(true);
              else expect(progress.next).toBe(last + 1);
              break;
            }
            case "accept": {
              const message = messages.at(-1 - (each.pick % Math.max(messages.length, 1)));
              if (message === undefined) break;
              const isNews = progress.accepted(message.last);
              expect(isNews).toBe(message.last > known);
              known = Math.max(known, message.last);
              if (progress.state === "probe") progress.becomeReplicate();
              break;
            }
            case "reject": {
              const message = messages.at(-1 - (each.pick % Math.max(messages.length, 1)));
              if (message === undefined) break;
              const isNews = progress.rejected(message.previous, Math.max(message.previous - each.back, 0));
              if (before.state === "probe" && isNews && before.next > before.match + 1) {
                expect(progress.next).toBeLessThan(before.next);
                expect(progress.isPaused(LIMIT)).toBe(false);
              }
              if (before.state === "replicate") {
                expect(isNews).toBe(message.previous > known);
                expect(progress.state).toBe(isNews ? "probe" : "replicate");
                if (isNews) expect(progress.next).toBe(known + 1);
              }
              break;
            }
            case "lose":
              if (progress.state === "replicate") progress.freeOldest();
              else progress.isWaiting = false;
              break;
            case "stale-reject":
              // Of a message that is not the one that is under way: it says nothing.
              if (before.state !== "probe" || each.index === before.next - 1) break;
              expect(progress.rejected(each.index, 0)).toBe(false);
              expect({ state: progress.state, next: progress.next, match: progress.match }).toEqual(before);
              break;
            default:
              each satisfies never;
          }
          expect(progress.match).toBe(known);
          expect(progress.next).toBeGreaterThan(progress.match);
          expect(progress.inflightCount).toBeLessThanOrEqual(LIMIT.maxInflight);
          // One message may go beyond.
          expect(progress.inflightBytes).toBeLessThan(LIMIT.maxInflightBytes + 40);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("a probe that is refused ends at the entry that matches, in at most one step for each", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(40), (next, matching) => {
        const progress = new Progress(next);
        const end = Math.min(matching, next - 1);
        for (let steps = 0; progress.next - 1 > end; steps += 1) {
          expect(steps).toBeLessThan(next);
          const index = progress.next - 1;
          progress.sent(index, 1);
          expect(progress.rejected(index, index - 1)).toBe(true);
        }
        expect(progress.next - 1).toBe(end);
      }),
    );
  });

  test("an answer frees every message that it covers", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 20 }),
        fc.nat(100),
        (counts, index) => {
          const progress = new Progress(1);
          progress.becomeReplicate();
          const ends: number[] = [];
          for (const count of counts) {
            ends.push((ends.at(-1) ?? 0) + count);
            progress.sent(present(ends.at(-1), "one was added"), count);
          }
          progress.accepted(index);
          expect(progress.inflightCount).toBe(ends.filter((end) => end > index).length);
          expect(progress.match).toBe(index);
        },
      ),
    );
  });

  test("while a snapshot is sent nothing else is, and refusals say nothing", () => {
    const progress = new Progress(9);
    progress.becomeSnapshot(founding);
    expect(progress.isPaused(LIMIT)).toBe(true);
    expect(progress.rejected(8, 0)).toBe(false);
    progress.accepted(founding.index);
    progress.becomeReplicate();
    expect(progress).toMatchObject({ state: "replicate", match: 1, next: 2, snapshot: undefined });
  });
});
