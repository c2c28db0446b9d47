/** Moves that the command line has done: how many at once, what is said, what becomes of those that fail; and how tasks are shown. */
import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "bun:test";
import { Follower, type FollowAccess } from "../../src/cli/follow.ts";
import { type Screen, TaskBoard } from "../../src/cli/task-board.ts";
import { formatBytes, formatCount, formatDuration } from "../../src/cli/units.ts";
import type { ReplyValue } from "../../src/codec/resp-reader.ts";
import type { MigrationStatus } from "../../src/contracts/migration.ts";
import type { ClusterMap } from "../../src/contracts/topology.ts";
import { StartError, Unanswered } from "../../src/errors.ts";
import type { PlannedMove } from "../../src/protocol/plan/plan.ts";
import { PROGRESS, fakeTask } from "../support/fake-migrations.ts";
import { planMap, shardIdAt } from "../support/plan-map.ts";

const MAP = planMap([
  { slots: [{ first: 0, last: 9 }] },
  { slots: [{ first: 10, last: 19 }] },
  { slots: [{ first: 20, last: 29 }] },
  { slots: [] },
]);

function moveFrom(at: number): PlannedMove {
  return {
    source: shardIdAt(at),
    target: shardIdAt(3),
    sourceVersion: 1,
    targetVersion: 1,
    slots: [{ first: 10 * at, last: 10 * at + 9 }],
    slotCount: 10,
    keys: 100,
    bytes: 1000,
  };
}
const MOVES = [moveFrom(0), moveFrom(1), moveFrom(2)];

/** How often tasks are looked at before they end: until all are started, and once more. */
const LOOKS = 4;

/** A cluster in which each task ends when it was looked at a few times, as a test says. */
class FakeCluster implements FollowAccess {
  present: ClusterMap = MAP;
  readonly asked: (readonly string[])[] = [];
  readonly #tasks: { status: MigrationStatus; looks: number }[] = [];
  mostAtOnce = 0;
  /** What the next questions come to instead. */
  readonly refusals: string[] = [];
  /** What was asked next is begun, and its answers are lost, one after the other. */
  readonly losses: StartError[] = [];
  aborts = new Set<string>();
  /** Tasks that nobody knows of any more once they have ended. */
  forgets = false;
  silences = 0;

  map(): Promise<ClusterMap> {
    if (this.silences > 0) {
      this.silences -= 1;
      return Promise.reject(new StartError("Cannot ask the node."));
    }
    return Promise.resolve(this.present);
  }

  ask(...command: readonly string[]): Promise<ReplyValue> {
    this.asked.push(command);
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return Promise.reject(new StartError(refusal));
    const [, , target = "", , first = ""] = command;
    const id = `task-${first}`;
    const source = this.present.shards[this.present.shardOfSlot[Number(first)] ?? -1]?.id ?? "";
    const slots = [{ first: Number(first), last: Number(first) + 9 }];
    if (this.#tasks.some(({ status }) => status.id === id)) {
      return Promise.reject(new StartError(`The node says: ERR slot ${first} is being moved by ${id}`));
    }
    const loss = this.losses.shift();
    const startedFor = `${command.at(-1) ?? ""} (CLUSTER MOVE from 127.0.0.1)`;
    this.#tasks.push({ status: fakeTask({ id, source, target, slots, startedFor }), looks: 0 });
    if (loss !== undefined) return Promise.reject(loss);
    return Promise.resolve([new TextEncoder().encode(id)]);
  }

  tasks(): Promise<readonly MigrationStatus[]> {
    const running = this.#tasks.filter(({ status }) => status.endedAtMs === undefined);
    this.mostAtOnce = Math.max(this.mostAtOnce, running.length);
    for (const task of running) {
      task.looks += 1;
      if (task.looks < LOOKS) continue;
      const isAborted = this.aborts.has(task.status.id);
      const [phase, cause] = isAborted
        ? (["aborted", "somebody cancelled it"] as const)
        : (["completed", "done"] as const);
      task.status = { ...task.status, phase, cause, endedAtMs: task.status.startedAtMs + 1500 };
      if (!isAborted) this.#give(task.status);
    }
    return Promise.resolve(
      this.#tasks.filter(({ status }) => !this.forgets || status.endedAtMs === undefined).map(({ status }) => status),
    );
  }

  #give({ slots, target }: MigrationStatus): void {
    const shardOfSlot = this.present.shardOfSlot.slice();
    const to = this.present.shards.findIndex(({ id }) => id === target);
    for (const { first, last } of slots) shardOfSlot.fill(to, first, last + 1);
    this.present = { ...this.present, version: this.present.version + 1, shardOfSlot };
  }
}

class FakeScreen implements Screen {
  text = "";
  readonly isTerminal: boolean;
  readonly columns: number;
  readonly rows: number;
  constructor(isTerminal = false, columns = 200, rows = 24) {
    this.isTerminal = isTerminal;
    this.columns = columns;
    this.rows = rows;
  }
  write(text: string): void {
    this.text += text;
  }
}

function follow(cluster: FakeCluster, screen: Screen, atOnce = 3): Follower {
  return new Follower(cluster, new TaskBoard(screen), MOVES, [], { atOnce, cause: "plan abc", lookMs: 0 });
}

describe("moves", () => {
  test("are started with the map that they were looked at on, and the plan's name; all of them at once, or as many as may", async () => {
    const cluster = new FakeCluster();
    const ended = await follow(cluster, new FakeScreen()).run();
    expect(ended.map(({ id, isDone }) => [id, isDone])).toEqual([
      ["task-0", true],
      ["task-10", true],
      ["task-20", true],
    ]);
    expect(cluster.asked[0]?.join(" ")).toBe(`CLUSTER MOVE ${shardIdAt(3)} SLOTSRANGE 0 9 MAPVERSION 7 CAUSE plan abc`);
    expect(cluster.mostAtOnce).toBe(3);
    const careful = new FakeCluster();
    expect(await follow(careful, new FakeScreen(), 1).run()).toHaveLength(3);
    expect([careful.mostAtOnce, careful.asked[2]?.[7]]).toEqual([1, "9"]);
  });

  test("that were started though their answer was lost, or said that nobody knows, are followed as the others", async () => {
    for (const loss of [
      new Unanswered("Cannot ask the node at x: it closed the connection."),
      new StartError("The node says: ERR nobody knows what came of it: look at the tasks, and ask again (timeout)"),
    ]) {
      const cluster = new FakeCluster();
      cluster.losses.push(loss);
      const ended = await follow(cluster, new FakeScreen()).run();
      expect(ended.map(({ id, isDone }) => [id, isDone])).toEqual([
        ["task-0", true],
        ["task-10", true],
        ["task-20", true],
      ]);
    }
  });

  test("that nobody knows the outcome of are asked again, which is said once", async () => {
    const cluster = new FakeCluster();
    const unknown = "ERR nobody knows what came of it: look at the tasks, and ask again (no leader)";
    cluster.refusals.push(unknown, unknown, unknown);
    const screen = new FakeScreen();
    const ended = await follow(cluster, screen).run();
    expect(ended.map(({ isDone }) => isDone)).toEqual([true, true, true]);
    expect(screen.text.split("asked again: ERR nobody knows")).toHaveLength(2);
  });

  test("that would leave fewer copies than when they were confirmed wait for the members that are away, and are given up if these stay away", async () => {
    const withMembers = (counts: readonly number[]): ClusterMap => ({
      ...MAP,
      shards: MAP.shards.map((shard, at) => ({
        ...shard,
        inSync: Array.from({ length: counts[at] ?? 1 }, (_, member) => `node-${at}-${member}`),
      })),
    });
    const cluster = new FakeCluster();
    // The first leaves fewer copies by its maker's word.
    cluster.present = withMembers([3, 2, 2, 2]);
    let looks = 0;
    const fetch = cluster.map.bind(cluster);
    cluster.map = () => {
      looks += 1;
      if (looks === 2) cluster.present = withMembers([3, 2, 2, 1]);
      if (looks === 20) cluster.present = { ...cluster.present, shards: withMembers([3, 2, 2, 2]).shards };
      if (looks === 40) cluster.present = withMembers([3, 2, 2, 1]);
      return fetch();
    };
    const screen = new FakeScreen();
    const ended = await follow(cluster, screen, 1).run();
    expect(ended.map(({ id, isDone }) => [id, isDone])).toEqual([
      ["task-0", true],
      ["task-10", true],
      ["task-20", true],
    ]);
    expect(looks).toBeGreaterThan(20);
    expect(screen.text.match(/there would be fewer copies/gu)).toHaveLength(1);
    const unlucky = new FakeCluster();
    unlucky.present = withMembers([2, 2, 2, 2]);
    const first = unlucky.map.bind(unlucky);
    unlucky.map = async () => {
      const map = await first();
      unlucky.present = withMembers([2, 2, 2, 1]);
      return map;
    };
    const lost = await follow(unlucky, new FakeScreen(), 1).run();
    expect(lost.map(({ id, isDone }) => [id, isDone])).toEqual([
      ["task-0", true],
      [undefined, false],
      [undefined, false],
    ]);
    expect(lost[2]?.reason).toContain("has 1 of its members in sync");
  });

  test("that wait let others pass, but for those that concern the same shards", async () => {
    const members = (away: number): ClusterMap["shards"] =>
      MAP.shards.map((shard, at) => ({ ...shard, inSync: at === away ? [`${at} a`] : [`${at} a`, `${at} b`] }));
    const move = (from: number, to: number, first: number): PlannedMove => ({
      ...moveFrom(from),
      target: shardIdAt(to),
      slots: [{ first, last: first + 9 }],
    });
    /** Who is to get slots of the first shard lacks a member for a while, from the second look at the map on. */
    const tasksOf = async (...moves: readonly PlannedMove[]): Promise<readonly (string | undefined)[]> => {
      const cluster = new FakeCluster();
      const shardOfSlot = MAP.shardOfSlot.slice().fill(0, 100, 110).fill(1, 110, 120);
      cluster.present = { ...MAP, shards: members(-1), shardOfSlot };
      let looks = 0;
      const fetch = cluster.map.bind(cluster);
      cluster.map = () => {
        looks += 1;
        if (looks === 2) cluster.present = { ...cluster.present, shards: members(3) };
        if (looks === 60) cluster.present = { ...cluster.present, shards: members(-1) };
        return fetch();
      };
      const board = new TaskBoard(new FakeScreen());
      const ended = await new Follower(cluster, board, moves, [], { atOnce: 9, cause: "plan abc", lookMs: 0 }).run();
      expect(ended.every(({ isDone }) => isDone)).toBe(true);
      return cluster.asked.map((command) => command[4]);
    };
    expect(await tasksOf(move(2, 1, 20), move(0, 3, 0), move(1, 2, 10))).toEqual(["20", "10", "0"]);
    // The one at 100 has the source of the one that waits, and the one at 110 has the target of that.
    const inOrder = ["20", "0", "100", "110"];
    expect(await tasksOf(move(2, 1, 20), move(0, 3, 0), move(0, 2, 100), move(1, 2, 110))).toEqual(inOrder);
  });

  test("that end without moving anything are told, with the reason, and the others go on", async () => {
    const cluster = new FakeCluster();
    cluster.aborts.add("task-10");
    const screen = new FakeScreen();
    const ended = await follow(cluster, screen).run();
    expect(ended.filter(({ isDone }) => !isDone).map(({ id, reason }) => [id, reason])).toEqual([
      ["task-10", "somebody cancelled it"],
    ]);
    expect(screen.text).toContain("ended without moving anything: somebody cancelled it");
  });

  test("whose shards have changed meanwhile are asked for again, and given up where the slots have gone elsewhere", async () => {
    const cluster = new FakeCluster();
    cluster.refusals.push("The node says: ERR stale: shard x", "The node says: ERR slot 10 is being moved");
    const screen = new FakeScreen();
    const ended = await follow(cluster, screen).run();
    expect(cluster.asked.map((command) => command[4])).toEqual(["0", "0", "10", "20"]);
    expect(ended.find(({ isDone }) => !isDone)?.reason).toContain("slot 10 is being moved");
    expect(screen.text).toContain("slots 0-9 from n0 to n3: not started: The node says: ERR slot 10 is being moved");
    const taken = new FakeCluster();
    taken.present = planMap([{ slots: [] }, { slots: [{ first: 0, last: 29 }] }, { slots: [] }, { slots: [] }]);
    expect((await follow(taken, new FakeScreen()).run()).map(({ reason, isDone }) => (isDone ? "" : reason))).toContain(
      "the slots have gone elsewhere meanwhile",
    );
  });

  test("of which nobody knows any more are done if the slots are where they were to go", async () => {
    const cluster = new FakeCluster();
    cluster.forgets = true;
    cluster.aborts.add("task-20");
    const ended = await follow(cluster, new FakeScreen()).run();
    expect(ended.map(({ isDone }) => isDone)).toEqual([true, true, false]);
  });

  test("are waited for when nobody answers for a while, and left when nobody does at all", async () => {
    const cluster = new FakeCluster();
    cluster.silences = 5;
    const screen = new FakeScreen();
    expect(await follow(cluster, screen).run()).toHaveLength(3);
    expect(screen.text.match(/Cannot ask the node/g)).toHaveLength(1);
    const gone = new FakeCluster();
    gone.silences = 1000;
    expect(follow(gone, new FakeScreen()).run()).rejects.toThrow("Cannot ask the node.");
  });
});

describe("the board", () => {
  const task = fakeTask({ id: "0123456789", source: shardIdAt(0), target: shardIdAt(3) });

  test("where nothing can be drawn over says what has changed, and each tenth", () => {
    const screen = new FakeScreen();
    const board = new TaskBoard(screen);
    board.show(MAP, [task]);
    board.show(MAP, [{ ...task, progress: { ...PROGRESS, keysMoved: 31 } }]);
    board.show(MAP, [{ ...task, progress: { ...PROGRESS, keysMoved: 41, restarts: 1 } }]);
    board.show(MAP, [{ ...task, isPaused: true, waitingFor: `shard ${shardIdAt(3)}` }]);
    board.show(MAP, [{ ...task, isPaused: false, waitingFor: `shard ${shardIdAt(3)}` }]);
    board.show(MAP, [{ ...task, progress: { ...PROGRESS, keysMoved: 100, etaMs: 0 } }]);
    board.show(MAP, [{ ...task, phase: "fenced", progress: { ...PROGRESS, keysMoved: 100, restarts: 2 } }]);
    board.show(MAP, [{ ...task, phase: "completed", endedAtMs: task.startedAtMs + 1500 }]);
    expect(stripVTControlCharacters(screen.text).split("\n")).toEqual([
      "01234567  [#######-----------------]  30%  n0 -> n3  0-9  4.7 s left, 30 of 100 keys, 1.5 KB/s",
      "01234567  [#########---------------]  41%  n0 -> n3  0-9  4.7 s left, 41 of 100 keys, 1.5 KB/s, begun again once",
      "01234567  [#######-----------------]  30%  n0 -> n3  0-9  paused, 30 of 100 keys",
      "01234567  [#######-----------------]  30%  n0 -> n3  0-9  waits: shard n3, 30 of 100 keys",
      "01234567  [#######################-]  99%  n0 -> n3  0-9  100 of 100 keys, 1.5 KB/s",
      "01234567  [#######################-]  99%  n0 -> n3  0-9  handing over, 100 of 100 keys, 1.5 KB/s, begun again 2 times",
      "01234567  [########################] 100%  n0 -> n3  0-9  done in 1.5 s, commands held for 0 ms",
      "",
    ]);
  });

  test("in a terminal draws over what it drew, and no line is longer than the terminal", () => {
    const screen = new FakeScreen(true, 60);
    const board = new TaskBoard(screen);
    const other = { ...task, id: "89", source: shardIdAt(1) };
    board.show(MAP, [task, other]);
    expect(screen.text).toBe(
      "01234567  [###---------]  30%  n0 -> n3  4.7 s left, 30 of \u001B[K\n89  [###---------]  30%  n1 -> n3  4.7 s left, 30 of 100 ke\u001B[K\n",
    );
    screen.text = "";
    board.show(MAP, [task]);
    expect(screen.text).toStartWith("\u001B[2A01234567");
    expect(screen.text).toEndWith("\u001B[K\n\u001B[J");
    screen.text = "";
    board.say("stop");
    expect(screen.text).toBe("\u001B[1A\u001B[Jstop\n");
    board.show(MAP, [task]);
    board.leave();
    screen.text = "";
    board.say("interrupted");
    expect(screen.text).toBe("interrupted\n");
  });

  test("in a terminal tells what has ended once, above what goes on, and how far all of it is", () => {
    const screen = new FakeScreen(true);
    const board = new TaskBoard(screen);
    const other = {
      ...task,
      id: "89abcdef",
      source: shardIdAt(1),
      slots: [
        { first: 10, last: 10_009 },
        { first: 1, last: 1 },
      ],
    };
    const whole = { count: 4, done: 0, failed: 0, pending: 2, part: 0.15 };
    board.show(MAP, [task, other], whole);
    const ended = { ...task, phase: "completed" as const, endedAtMs: task.startedAtMs + 1500 };
    screen.text = "";
    board.show(MAP, [ended, other], { ...whole, done: 1, failed: 1, pending: 1, part: 0.5 });
    expect(stripVTControlCharacters(screen.text).split("\n")).toEqual([
      "01234567  [########################] 100%  n0 -> n3  0-9                  done in 1.5 s, commands held for 0 ms",
      "89abcdef  [#######-----------------]  30%  n1 -> n3  10-10009 and 1 more  4.7 s left, 30 of 100 keys, 1.5 KB/s",
      "together  [############------------]  50%  1 of 4 moves done, 1 not done, 1 to be started",
      "",
    ]);
    screen.text = "";
    board.show(MAP, [ended, { ...other, phase: "aborted", cause: "cancelled" }], {
      ...whole,
      done: 2,
      failed: 2,
      pending: 0,
    });
    expect(stripVTControlCharacters(screen.text).split("\n")).toEqual([
      "89abcdef  [#######-----------------]  30%  n1 -> n3  10-10009 and 1 more  ended without moving anything: cancelled",
      "",
    ]);
    expect(screen.text).toStartWith("\u001B[2A");
  });

  test("leaves out slots where there is no room for them beside what is said, and has columns for what is to come", () => {
    const wide = {
      ...task,
      id: "89abcdef",
      slots: [
        { first: 10_000, last: 10_009 },
        { first: 1, last: 1 },
      ],
    };
    const lineAt = (columns: number): string => {
      const screen = new FakeScreen(true, columns);
      const board = new TaskBoard(screen);
      board.align(MAP, [task, wide]);
      board.show(MAP, [task]);
      return stripVTControlCharacters(screen.text).trimEnd();
    };
    expect(lineAt(130)).toBe(
      `01234567  [#######-----------------]  30%  n0 -> n3  ${"0-9".padEnd("10000-10009 and 1 more".length)}  4.7 s left, 30 of 100 keys, 1.5 KB/s`,
    );
    expect(lineAt(110)).toBe(
      "01234567  [#######-----------------]  30%  n0 -> n3  4.7 s left, 30 of 100 keys, 1.5 KB/s",
    );
  });

  test("draws no more lines than the terminal has", () => {
    const screen = new FakeScreen(true, 200, 5);
    const tasks = Array.from({ length: 9 }, (_, at) => ({ ...task, id: `task-${at}` }));
    new TaskBoard(screen).show(MAP, tasks, { count: 9, done: 0, failed: 0, pending: 0, part: 0.3 });
    const lines = stripVTControlCharacters(screen.text).split("\n");
    expect([lines.length, lines[2], lines[3]?.slice(0, 8)]).toEqual([5, "and 7 more that go on", "together"]);
  });

  test("without word of how far it is shows the phase", () => {
    const screen = new FakeScreen();
    new TaskBoard(screen).show(MAP, [{ ...task, progress: undefined, phase: "waiting" }]);
    expect(screen.text).toBe("01234567  [------------------------]       n0 -> n3  0-9  waiting\n");
  });
});

test("amounts and times are as people read them", () => {
  expect([0, 999, 1024, 1_572_864, 300 * 1024, 5e12].map(formatBytes)).toEqual([
    "0 B",
    "999 B",
    "1.0 KB",
    "1.5 MB",
    "300 KB",
    "4.5 TB",
  ]);
  expect([0, 999, 1000, 1_234_567].map(formatCount)).toEqual(["0", "999", "1 000", "1 234 567"]);
  expect([0, 450, 9999, 12_000, 200_000, 7_500_000].map(formatDuration)).toEqual([
    "0.0 s",
    "0.5 s",
    "10.0 s",
    "12 s",
    "3 min 20 s",
    "2 h 5 min",
  ]);
});
