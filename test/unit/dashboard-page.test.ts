/** What the dashboard's page makes of what REST tells it. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import type {
  HealthView,
  Info,
  MigrationView,
  NodeStats,
  NodeView,
  ShardView,
  ToldCheckView,
} from "../../src/rest/schemas.ts";
import { Refusal, readAnswer, refusalOf, whyLost } from "../../web/answers.ts";
import { EventReader, type ServerEvent } from "../../web/event-reader.ts";
import {
  amissIn,
  badgeOf,
  doneOf,
  isNewState,
  nodeSentences,
  nodeWord,
  readable,
  sampleOf,
  shardRow,
  sinceInWords,
  verdictOf,
  worstFirst,
} from "../../web/model.ts";
import { SLOTS, cssOf, ownersOf, paint, shardColour } from "../../web/slot-colours.ts";
import { bytesInWords, countOf, durationInWords, rangesInWords, readRanges } from "../../web/words.ts";

const ids = ["a".repeat(40), "b".repeat(40), "c".repeat(40)] as const;
const [A, B, C] = ids;

function nodeView(id: string, more: Partial<NodeView> = {}): NodeView {
  return { id, name: `node-${id.slice(0, 1)}`, state: "alive", ...more } as NodeView;
}

function shardView(primary: string, start: number, end: number, more: Partial<ShardView> = {}): ShardView {
  const slots = [{ start, end, count: end - start + 1 }];
  return {
    id: `shard of ${primary}`,
    primary,
    replicas: [],
    in_sync: [primary],
    eligible: [],
    slots,
    slot_count: end - start + 1,
    primary_epoch: 1,
    version: 1,
    is_served: true,
    reason: null,
    ...more,
  };
}

function move(more: Partial<MigrationView>): MigrationView {
  return {
    id: "m",
    slots: [{ start: 0, end: 99, count: 100 }],
    from_node: A,
    to_node: B,
    state: "streaming",
    keys_migrated: 30,
    total_keys: 100,
    ...more,
  } as MigrationView;
}

const statsOf = (more: Partial<NodeStats>): NodeStats =>
  ({
    asked_at: 0,
    uptime_s: 1,
    commands: 0,
    command_calls: 0,
    command_us: 0,
    memory_bytes: 0,
    loop_lag_ms: 0,
    replicas: [],
    ...more,
  }) as NodeStats;

describe("EventReader", () => {
  test("reads the same events however the text is cut", () => {
    const text =
      'event: start\nid: 7\ndata: {"a":1}\n\n:\n\nevent: state\r\ndata: one\r\ndata: two\r\n\r\nid: 8\ndata:x\n\ndata: cut';
    const expected: readonly ServerEvent[] = [
      { type: "start", id: "7", data: '{"a":1}' },
      { type: "state", id: "7", data: "one\ntwo" },
      { type: "message", id: "8", data: "x" },
    ];
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 12 }), (cuts) => {
        const told: ServerEvent[] = [];
        const reader = new EventReader((event) => void told.push(event));
        const at = [0, ...cuts.toSorted((one, other) => one - other), text.length];
        for (const [index, from] of at.entries()) reader.read(text.slice(from, at[index + 1] ?? from));
        expect(told).toEqual([...expected]);
      }),
    );
  });
});

describe("an answer of the node", () => {
  test("has nothing in its texts that would be written backwards, or take another line for its own", () => {
    const cause = "moved by \u202Eevil\u2066\u200F for\u0007 a";
    expect(readAnswer(JSON.stringify({ history: [{ cause }] }))).toEqual({
      history: [{ cause: String.raw`moved by \u202eevil\u2066\u200f for\x07 a` }],
    });
    expect(refusalOf(409, JSON.stringify({ detail: "no \u202Ereally" })).message).toBe(String.raw`no \u202ereally`);
  });

  test("that says no says why, or at least its status", () => {
    expect(refusalOf(503, JSON.stringify({ detail: "There are 64 event streams already." }))).toMatchObject({
      status: 503,
      message: "There are 64 event streams already.",
    });
    for (const body of ["", "<html>", "null", "{}"]) expect(refusalOf(502, body).message).toBe("The answer was 502.");
  });

  test("is why nothing is told as it happens, if there was one; else the connection is cut", () => {
    expect(whyLost(new Refusal(503, "There are 64 event streams already."))).toBe(
      "There are 64 event streams already. Trying again; what is shown may be old.",
    );
    const cut = "The connection to this node is cut. Trying again; what is shown may be old.";
    for (const thrown of [undefined, new Refusal(0, "This node does not answer."), new TypeError("network error")])
      expect(whyLost(thrown)).toBe(cut);
  });
});

describe("the map of slots", () => {
  const colourAt = (pixels: Uint8ClampedArray, slot: number): string =>
    cssOf([pixels[slot * 4] ?? 0, pixels[slot * 4 + 1] ?? 0, pixels[slot * 4 + 2] ?? 0]);
  const painted = (shards: readonly ShardView[], migrations: readonly MigrationView[] = []): Uint8ClampedArray => {
    const pixels = new Uint8ClampedArray(SLOTS * 4);
    paint(pixels, shards, migrations, undefined);
    return pixels;
  };
  const RED = cssOf([214, 40, 40]);

  test("has each slot in its shard's colour, red where nobody serves it, and grey where nobody owns it", () => {
    const shards = [shardView(A, 0, 99), shardView(B, 100, 199, { is_served: false })];
    const pixels = painted(shards);
    const first = cssOf(shardColour(0));
    expect([0, 99].map((slot) => colourAt(pixels, slot))).toEqual([first, first]);
    expect([100, 199].map((slot) => colourAt(pixels, slot))).toEqual([RED, RED]);
    expect([200, 201].map((slot) => colourAt(pixels, slot))).toEqual(["rgb(90 90 90)", "rgb(128 128 128)"]);
    expect([...ownersOf(shards).subarray(98, 102)]).toEqual([0, 0, 1, 1]);
  });

  test("gives slots that move the colour of where they go to, as far as their keys have got", () => {
    const shards = [shardView(A, 0, 99), shardView(B, 100, 199)];
    const target = cssOf(shardColour(1));
    const moved = (migration: MigrationView): number => {
      const pixels = painted(shards, [migration]);
      return Array.from({ length: 100 }, (_, slot) => colourAt(pixels, slot)).filter((each) => each === target).length;
    };
    expect(moved(move({}))).toBe(30);
    expect(moved(move({ keys_migrated: null }))).toBe(0);
    expect(moved(move({ state: "fenced" }))).toBe(100);
    expect(moved(move({ state: "aborted" }))).toBe(0);
  });

  test("has no shard of 100 in red, and those that follow one another apart", () => {
    const colours = Array.from({ length: 100 }, (_, place) => shardColour(place));
    for (const [place, [red, green, blue]] of colours.entries()) {
      expect(red > 180 && green < 70 && blue < 70, `${place}`).toBe(false);
      const [r, g, b] = colours[place + 1] ?? [0, 0, 0];
      expect(Math.abs(red - r) + Math.abs(green - g) + Math.abs(blue - b), `${place}`).toBeGreaterThan(60);
    }
    expect(new Set(colours.map(cssOf)).size).toBeGreaterThan(90);
  });
});

describe("what is so, in words", () => {
  const nodes = new Map([nodeView(A), nodeView(B), nodeView(C, { state: "down" })].map((node) => [node.id, node]));

  test("a shard tells of its replicas what its primary says of them", () => {
    const shard = shardView(A, 0, 9, { replicas: [B, C], in_sync: [A, B] });
    const stats = new Map([
      [
        A,
        statsOf({
          lease: "held",
          lease_left_ms: 700,
          replicas: [{ node_id: B, state: "following", in_sync: true, lag: 5 }],
        }),
      ],
    ]);
    expect(shardRow(shard, nodes, stats)).toMatchObject({
      name: "node-a",
      level: "warn",
      word: "a copy is missing",
      lease: "held, 700 ms left",
      replicas: [
        { name: "node-b", level: "ok", word: "in sync, 5 behind" },
        { name: "node-c", level: "critical", word: "down" },
      ],
    });
    expect(shardRow(shardView(C, 0, 9, { is_served: false, reason: "it is down" }), nodes, stats)).toMatchObject({
      level: "critical",
      word: "it is down",
      lease: "not known",
    });
  });

  describe("health", () => {
    const check = (name: string, state: ToldCheckView["state"], node: string, advice = ""): ToldCheckView => ({
      name,
      scope: name === "disk" ? "node" : "cluster",
      state,
      since: node === A ? 5 : 3,
      summary: `${name} of ${B}`,
      meaning: "It fills up.",
      advice,
      values: {},
      node_id: node,
      others: 0,
    });
    const healthOf = (checks: readonly ToldCheckView[], more: Partial<HealthView> = {}): HealthView => ({
      state: "critical",
      checked_at: 9,
      node_id: A,
      leader: A,
      checks: [...checks],
      asked: 3,
      silent: [],
      ...more,
    });
    const cluster = (state: Info["state"], health: HealthView) => ({
      info: { state } as Info,
      nodes: [...nodes.values()],
      shards: [],
      health,
    });
    const verdict = (state: Info["state"], health: HealthView): string => {
      const seen = cluster(state, health);
      return verdictOf(seen, amissIn(seen, nodes)[0]);
    };

    test("the verdict says what to do first, by the worst check", () => {
      expect(verdict("ok", healthOf([check("disk", "ok", A)]))).toStartWith("All is well");
      const two = [check("members", "warn", A, "Wait."), check("quorum", "critical", A, "Start it.")];
      expect(verdict("fail", healthOf(two))).toBe(
        "Something is not served. One node is gone. What to do first (quorum): Start it.",
      );
    });

    test("is told by what is amiss, with the nodes that it is about, and those that do not tell", () => {
      const disks = [check("disk", "critical", C), check("disk", "warn", A), check("disk", "warn", B)];
      const silent = [{ node_id: C, reason: `node ${C} does not answer` }];
      const amiss = amissIn({ health: healthOf([check("members", "warn", A), ...disks], { silent }) }, nodes);
      expect(amiss.map(({ name, state, since, findings, from }) => [name, state, since, findings, from])).toEqual([
        ["disk", "critical", 3, ["node-c: disk of node-b"], ""],
        ["members", "warn", 5, ["members of node-b"], "node-a"],
        ["disk", "warn", 3, ["node-a: disk of node-b", "node-b: disk of node-b"], ""],
        ["answer", "warn", 9, ["node node-c does not answer"], ""],
      ]);
    });

    test("the same of 200 nodes is one thing, with the first of them and the names of the others", () => {
      const many = Array.from({ length: 200 }, (_, at) => check("disk", "warn", at.toString(16).padStart(8, "0")));
      const [disk, ...others] = amissIn({ health: healthOf(many) }, nodes);
      expect(others).toEqual([]);
      expect(disk?.findings).toHaveLength(5);
      expect(disk?.findings.at(-1)).toStartWith("and 196 more: 00000004, 00000005, ");
    });

    test("marks the node that it is about, unless that one is gone", () => {
      const checks = [check("members", "critical", A), check("disk", "critical", B), check("disk", "warn", C)];
      const seen = healthOf(checks, { silent: [{ node_id: A, reason: "it is slow" }] });
      const words = [...nodes.values()].map((node) => nodeWord(node, seen));
      expect(words).toEqual([
        { level: "warn", word: "alive, and does not tell how it is" },
        { level: "critical", word: "alive, amiss: disk" },
        { level: "critical", word: "down" },
      ]);
      expect(nodeWord(nodeView(A), healthOf([check("members", "critical", A)]))).toEqual({
        level: "ok",
        word: "alive",
      });
      expect(nodeWord(nodeView(A), undefined).level).toBe("ok");
    });

    test("colours the word for all of it, also where each slot is served", () => {
      const badge = (state: Info["state"], checked: HealthView["state"]): string => {
        const { level, word } = badgeOf(cluster(state, healthOf([], { state: checked })));
        return `${level} ${word}`;
      };
      expect([
        badge("ok", "ok"),
        badge("ok", "critical"),
        badge("degraded", "ok"),
        badge("degraded", "critical"),
      ]).toEqual(["ok ok", "critical critical", "warn degraded", "critical degraded"]);
      expect([badge("fail", "ok"), badgeOf({ info: { state: "ok" } as Info, health: undefined }).word]).toEqual([
        "critical fail",
        "ok",
      ]);
    });
  });

  test("since when something is so is told, also where no act has made it so", () => {
    const known = new Map([[A, nodeView(A, { name: "node-a" })]]);
    const since = { version: 7, time: 0, cause: `drain of ${A}`, changes: [] };
    expect(sinceInWords({ since, since_wanted: null, since_founding: null }, known, 1)).toEndWith(": drain of node-a");
    const moved = { since: { ...since, cause: "all is there" }, since_wanted: `move to ${A}`, since_founding: null };
    expect(sinceInWords(moved, known, 1)).toEndWith(": move to node-a (all is there)");
    expect(sinceInWords({ since: null, since_wanted: null, since_founding: 2 }, known, 1)).toBe(
      "So since the cluster was founded, version 2 of its map.",
    );
    expect(sinceInWords({ since: null, since_wanted: null, since_founding: null }, known, 1)).toBe(
      "So since before what is remembered.",
    );
  });

  test("a node's details say how it is, where it is reached, and who has found it gone", () => {
    const known = new Map(ids.map((id) => [id, nodeView(id)]));
    const detail = { id: A, state: "down", address: "10.0.0.1:1", http_address: "10.0.0.1:2", zone: "east" } as const;
    const health = { since: 0, reason: "it did not answer for 1.0 s", round_trip_ms: null, loop_lag_ms: 0 };
    const said = nodeSentences(
      { ...detail, health: { ...health, heard_at: null, map_version: 1, suspected_by: [B, C] } },
      known,
      1,
    );
    expect(said[0]).toMatch(/^It is down since [0-9:]+: it did not answer for 1.0 s\.$/);
    expect(said.slice(1)).toEqual([
      "Clients reach it at 10.0.0.1:1, operators at 10.0.0.1:2; it is in zone east.",
      "Found not to answer by node-b, node-c.",
    ]);
    const own = { ...detail, state: "alive", http_address: null, zone: "", health: null } as const;
    expect(nodeSentences(own, known, 1)).toEqual(["It is alive.", "Clients reach it at 10.0.0.1:1."]);
  });

  test("how the cluster is when a stream begins is nothing that has happened", () => {
    const ok = { state: "ok", reasons: [] } as const;
    const fail = { state: "fail", reasons: ["x"] } as const;
    const infoOf = (each: { readonly state: Info["state"]; readonly reasons: readonly string[] }) => ({
      state: each.state,
      reasons: [...each.reasons],
    });
    expect(isNewState(infoOf(ok), undefined)).toBe(false);
    expect(isNewState(infoOf(ok), infoOf(ok))).toBe(false);
    expect(isNewState(infoOf(fail), infoOf(ok))).toBe(true);
  });

  test("shards are named by their primaries, and commands keep their ids", () => {
    const known = new Map([[A, nodeView(A, { is_master: true, shard_id: C })]]);
    expect(readable(`slot 5 assigned to shard ${C}`, known)).toBe("slot 5 assigned to the shard of node-a");
    expect(readable(`What to do: CLUSTER FORGET ${A}`, known)).toBe(`What to do: CLUSTER FORGET ${A}`);
  });

  test("ids become names, as far as they are known", () => {
    expect(readable(`${A} of ${"d".repeat(40)}`, nodes)).toBe("node-a of dddddddd");
    // Some sentences have both, which is told once; what else stands behind an id stays.
    expect(readable(`node ${A} (node-a) admitted at 127.0.0.1:7001`, nodes)).toBe(
      "node node-a admitted at 127.0.0.1:7001",
    );
    expect(readable(`${A} (node-b), ${B} (gone)`, nodes)).toBe("node-a (node-b), node-b (gone)");
  });

  test("what is bad comes first, and else in its order", () => {
    expect(worstFirst(["ok", "warn", "ok", "critical", "unknown", "warn"] as const, (level) => level)).toEqual([
      "critical",
      "warn",
      "warn",
      "unknown",
      "ok",
      "ok",
    ]);
  });

  test("how much of a move is done is known, or nothing", () => {
    expect(
      [{}, { total_keys: 0 }, { state: "level" }, { keys_migrated: 300 }].map((each) =>
        doneOf(move(each as Partial<MigrationView>)),
      ),
    ).toEqual([0.3, 0, 1, 1]);
  });

  test("numbers", () => {
    expect([0, 1023, 1536, 5 * 2 ** 30].map(bytesInWords)).toEqual(["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    expect([12, 1500, 90_000, 600_000].map(durationInWords)).toEqual(["12 ms", "1.5 s", "90 s", "10 min"]);
    expect(
      rangesInWords(
        [
          { start: 0, end: 9 },
          { start: 12, end: 12 },
          { start: 20, end: 30 },
        ],
        2,
      ),
    ).toBe("0-9 12 and 1 more");
  });
});

describe("readRanges", () => {
  test("reads slots as people write them", () => {
    expect(readRanges(" 0-99, 120  16383")).toEqual([
      { start: 0, end: 99 },
      { start: 120, end: 120 },
      { start: 16_383, end: 16_383 },
    ]);
    const ranges = readRanges("1-3 7");
    expect(typeof ranges === "string" ? 0 : countOf(ranges)).toBe(4);
  });

  test.each([
    ["", "no slot is named"],
    ["all", '"all" is no slot and no range of slots, such as 0-99'],
    ["5-2", "5-2 ends before it begins"],
    ["16384", "16384 is more than 16383, the last slot"],
  ])("says what is wrong with %p", (text, problem) => {
    expect(readRanges(text)).toBe(problem);
  });
});

describe("sampleOf", () => {
  const before = new Map([
    [A, statsOf({ asked_at: 0, commands: 100, command_calls: 100, command_us: 1000 })],
    [B, statsOf({ asked_at: 0, commands: 900 })],
  ]);
  const after = new Map([
    [
      A,
      statsOf({ asked_at: 2000, commands: 300, command_calls: 300, command_us: 3000, memory_bytes: 5, loop_lag_ms: 2 }),
    ],
    // It was started again meanwhile: what it did before says nothing.
    [B, statsOf({ asked_at: 2000, uptime_s: 0, commands: 10, memory_bytes: 7, loop_lag_ms: 9 })],
  ]);

  test("adds up nodes, and leaves out what cannot be compared", () => {
    expect(sampleOf(before, after, 42)).toEqual({
      atMs: 42,
      commands: 100,
      commandUs: 10,
      memoryBytes: 12,
      loopLagMs: 9,
    });
    expect(sampleOf(before, after, 42, B)).toEqual({
      atMs: 42,
      commands: null,
      commandUs: null,
      memoryBytes: 7,
      loopLagMs: 9,
    });
  });

  test("is nothing where nobody has told anything", () => {
    expect(sampleOf(new Map(), new Map(), 1)).toEqual({
      atMs: 1,
      commands: null,
      commandUs: null,
      memoryBytes: null,
      loopLagMs: null,
    });
  });
});
