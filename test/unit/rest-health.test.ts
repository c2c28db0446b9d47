/** `GET /cluster/health`: what all nodes say, asked for once for all callers, and put together. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ReplyError, type ReplyValue } from "../../src/codec/resp-reader.ts";
import type { HealthCheck } from "../../src/contracts/health.ts";
import type { MemberHealth } from "../../src/contracts/membership.ts";
import { type NodeHealth, linesOf, readHealth, stateOf } from "../../src/health/cluster-health.ts";
import type { Node } from "../../src/node.ts";
import { togetherWith } from "../../src/rest/health.ts";
import type { Peer } from "../../src/rest/peers.ts";
import { Round, type RoundSources } from "../../src/rest/round.ts";
import type { HealthView } from "../../src/rest/schemas.ts";
import { type Run, SessionLost } from "../../src/rest/sessions.ts";
import { type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { makeNode } from "../support/make-map.ts";

const idOf = (at: number): string => at.toString(16).padStart(40, "0");
const nodeAt = (at: number) => makeNode({ id: idOf(at), name: `n${at}`, host: "10.0.0.1", port: 7000 + at });

/** Nodes that answer when they are told to, and a clock that goes on when it is told to. */
class Cluster implements RoundSources {
  nowMs = 1000;
  readonly asked: string[] = [];
  readonly down = new Set<string>();
  #answers: (() => void)[] = [];
  readonly topology: RoundSources["topology"];

  constructor(size: number) {
    const nodes = Array.from({ length: size }, (_, at) => nodeAt(at));
    this.topology = { map: { nodes }, self: { id: idOf(0) } };
  }

  readonly clock = { monotonicMs: () => this.nowMs, wallMs: () => this.nowMs + 1e12 };
  readonly view = {
    healthOf: (id: string) => (this.down.has(id) ? ({ state: "down" } as MemberHealth) : undefined),
  };
  readonly nodes = {
    with: <Result>(node: Peer, _limitMs: number, work: (run: Run) => Promise<Result>): Promise<Result> => {
      this.asked.push(node.name);
      return work(async () => {
        await new Promise<void>((resolve) => void this.#answers.push(resolve));
        if (node.name === "n2") throw new SessionLost("node n2 has another password", true);
        return [node.name];
      });
    },
  };

  get waiting(): number {
    return this.#answers.length;
  }

  /** All that wait are answered, and what follows from that happens. */
  async answer(): Promise<void> {
    for (const resolve of this.#answers.splice(0)) resolve();
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  }
}

describe("a round", () => {
  test("asks each node but this one, some at a time, and tells what they said, or why nothing", async () => {
    const cluster = new Cluster(40);
    cluster.down.add(idOf(3));
    const told = new Round(cluster, ["PING"], 3000, false).words();
    for (let batch = 0; cluster.waiting > 0; batch += 1) {
      expect(cluster.waiting).toBeLessThanOrEqual(16);
      await cluster.answer();
    }
    const words = await told;
    expect(cluster.asked.toSorted()).toEqual(
      Array.from({ length: 40 }, (_, at) => `n${at}`)
        .filter((name) => !["n0", "n3"].includes(name))
        .toSorted(),
    );
    expect(words.get(idOf(0))).toBeUndefined();
    expect(words.get(idOf(1))).toEqual({ reply: "n1", askedAtMs: 1000 + 1e12 });
    expect(words.get(idOf(2))).toEqual({ silence: "node n2 has another password" });
    expect(words.get(idOf(3))).toEqual({ silence: "node n3 is down" });
  });

  test("is one for all who ask, and not begun anew before it has ended and its answers are old", async () => {
    const cluster = new Cluster(3);
    const round = new Round(cluster, ["PING"], 3000, false);
    const first = round.words();
    cluster.nowMs += 10_000;
    const second = round.words();
    expect(cluster.asked).toHaveLength(2);
    await cluster.answer();
    expect(await second).toBe(await first);
    const third = round.words();
    expect(cluster.asked).toHaveLength(4);
    await cluster.answer();
    await third;
    cluster.nowMs += 2999;
    expect(await round.words()).toBe(await third);
    cluster.nowMs += 1;
    const fourth = round.words();
    await cluster.answer();
    expect(await fourth).not.toBe(await third);
  });

  test("of many that do not answer it waits for some, and names the others", async () => {
    const cluster = new Cluster(200);
    const told = new Round(cluster, ["PING"], 3000, false).words();
    while (cluster.waiting > 0) {
      cluster.nowMs += 1000;
      await cluster.answer();
    }
    const words = await told;
    // Three rounds of sixteen began before the limit.
    expect(cluster.asked).toHaveLength(48);
    expect(words.size).toBe(199);
    expect(words.get(idOf(199))).toEqual({ silence: "node n199 was not asked: others took too long" });
  });
});

const checkOf = (name: HealthCheck["name"], state: HealthCheck["state"]): HealthCheck => ({
  name,
  scope: name === "disk" ? "node" : "cluster",
  state,
  sinceMs: 5,
  summary: `${name} is ${state}`,
  meaning: "",
  advice: "",
  values: { free: 1 },
});
const own: NodeHealth = {
  nodeId: idOf(0),
  nodeName: "n0",
  isLeader: false,
  leader: idOf(1),
  state: "ok",
  checkedAtMs: 7,
  checks: [checkOf("members", "ok"), checkOf("disk", "ok")],
};
/** A reply to CLUSTER HEALTH, in RESP2. */
const replyOf = (at: number, ...checks: readonly HealthCheck[]): ReplyValue => [
  "state",
  checks.some(({ state }) => state === "critical") ? "critical" : "ok",
  "node-id",
  idOf(at),
  "node-name",
  `n${at}`,
  "is-leader",
  at === 1 ? 1 : 0,
  "checked-at",
  9,
  "checks",
  checks.map(({ name, scope, state, summary }) => [
    "name",
    name,
    "scope",
    scope,
    "state",
    state,
    "since",
    5,
    "summary",
    summary,
  ]),
];

describe("what nodes have told", () => {
  test("is put together: a disk that fills up elsewhere is seen, by the node's name", () => {
    const words = new Map([
      [idOf(1), { reply: replyOf(1, checkOf("members", "ok"), checkOf("disk", "critical")), askedAtMs: 1 }],
    ]);
    const all = togetherWith(own, [nodeAt(1)], words);
    expect(stateOf(all)).toBe("critical");
    expect(linesOf(all).map(({ check, fromId, others }) => [check.name, check.state, fromId, others])).toEqual([
      ["members", "ok", idOf(1), 1],
      ["disk", "critical", idOf(1), 0],
    ]);
  });

  test("or why a node tells nothing: each is worth a warning", () => {
    const words = new Map(
      Object.entries({
        [idOf(1)]: { silence: "node n1 is down" },
        [idOf(2)]: { reply: new ReplyError("ERR unknown subcommand"), askedAtMs: 1 },
        [idOf(3)]: { reply: "OK", askedAtMs: 1 },
        [idOf(4)]: { reply: replyOf(9), askedAtMs: 1 },
      }),
    );
    // The fifth has come since the others were asked.
    const all = togetherWith(own, [1, 2, 3, 4, 5].map(nodeAt), words);
    expect(stateOf(all)).toBe("warn");
    expect(all.silent.map(({ reason }) => reason)).toEqual([
      "node n1 is down",
      "node n2 says: ERR unknown subcommand",
      "node n3 tells no health",
      "another node answers at the address of node n4",
    ]);
  });

  test("is read with what makes no sense left out", () => {
    expect(readHealth(["checks", [["name", "disk", "since", "soon", "state", "purple"]]])?.checks[0]).toMatchObject({
      sinceMs: 0,
      state: "critical",
    });
    expect(readHealth("OK")).toBeUndefined();
  });
});

describe("GET /cluster/health", () => {
  let node: Node;
  let door: FakeHttpDoor;
  beforeAll(async () => {
    ({ node, door } = await startHttpNode({ name: "a" }));
  });
  afterAll(async () => {
    await node.stop();
  });

  test("tells the same of one node, alone or with all", async () => {
    const ask = async (query: string): Promise<HealthView> =>
      (await door.ask(`/cluster/health${query}`, { token: TOKENS.readToken })).json() as HealthView;
    const one = await ask("");
    expect(one).toMatchObject({ node_id: node.facts.id, asked: 1, silent: [] });
    expect(one.checks.length).toBeGreaterThan(3);
    for (const { node_id: id, others } of one.checks) expect([id, others]).toEqual([node.facts.id, 0]);
    for (const query of ["?nodes=one", "?nodes=all"]) {
      const { checks, asked } = await ask(query);
      expect([asked, checks.map(({ name }) => name)]).toEqual([1, one.checks.map(({ name }) => name)]);
    }
    expect((await door.ask("/cluster/health?nodes=some", { token: TOKENS.readToken })).status).toBe(422);
  });
});
