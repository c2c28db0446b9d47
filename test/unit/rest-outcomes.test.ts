/** What REST answers to each thing that can become of a change: it was made, it was decided against, nobody decided, or nobody knows. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type Failover, failoverService } from "../../src/contracts/failover.ts";
import type { RequestOutcome } from "../../src/contracts/consensus.ts";
import type { Node } from "../../src/node.ts";
import { definePlugin } from "../../src/plugin.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { ALL_SLOTS } from "../../src/protocol/topology/founding-map.ts";
import { FakeMigrations, FixedTopology, fakeTask } from "../support/fake-migrations.ts";
import { FakeTopology } from "../support/fake-topology.ts";
import type { MigrationStatus } from "../../src/contracts/migration.ts";
import type { ClusterMap, SlotRange } from "../../src/contracts/topology.ts";
import { hasty } from "../support/hasty-clock.ts";
import { type Answer, type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { holdToDocument } from "../support/openapi-document.ts";
import { planMap, shardIdAt } from "../support/plan-map.ts";
import { HALVES, WITHOUT, listenAs } from "../support/rest-scene.ts";

const token = TOKENS.adminToken;

const NOTHING_CHANGES = { type: "refused", reason: "nothing changes here" } as const;
const UNKNOWN = "nobody knows what came of it: look, and ask again (no word)";
const OUTCOMES: readonly (readonly [RequestOutcome<readonly string[]>, number, string])[] = [
  [{ type: "done", index: 5, outcome: ["OK"] }, 200, ""],
  [{ type: "rejected", reason: "ERR Slot 7 is already busy" }, 409, "urn:bunch:problem:conflict"],
  [{ type: "refused", reason: "no leader is known" }, 503, "urn:bunch:problem:unavailable"],
  [{ type: "unknown", reason: "no word came back" }, 504, "urn:bunch:problem:outcome-unknown"],
];

describe("a change of the map", () => {
  const topology = new FakeTopology();
  let node: Node;
  let door: FakeHttpDoor;
  beforeAll(async () => {
    ({ node, door } = await startHttpNode({ use: [topology.plugin], plugins: WITHOUT }));
    await holdToDocument(door);
  });
  afterAll(() => node.stop());

  /** Asks, and settles what that asks for, once or again and again. */
  const settled = async (
    ask: Promise<Answer>,
    ...outcomes: readonly RequestOutcome<readonly string[]>[]
  ): Promise<Answer> => {
    for (const outcome of outcomes) {
      while (topology.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
      topology.requests.shift()?.settle(outcome);
    }
    return await ask;
  };
  const assign = (): Promise<Answer> =>
    door.ask("/cluster/slots/assign", {
      method: "POST",
      token,
      json: { node_id: topology.self.id, slots: [{ start: 7, end: 7 }] },
    });
  const change = (): Promise<Answer> =>
    door.ask("/cluster/settings", { method: "PUT", token, json: { acks: "primary", "on-loss": "stop" } });

  test("is answered by what became of it", async () => {
    for (const [outcome, status, type] of OUTCOMES) {
      for (const ask of [assign, change]) {
        const answer = await settled(ask(), outcome);
        expect(answer.status).toBe(status);
        if (type !== "") expect(answer.json()).toMatchObject({ type });
        expect(answer.headers.has("retry-after")).toBe(status === 503);
      }
    }
  });

  test("is asked for with its cause, and of settings as one", async () => {
    const answer = door.ask("/cluster/settings", {
      method: "PUT",
      token,
      json: { acks: "primary", "on-loss": "stop" },
      from: "10.0.0.9:7",
    });
    while (topology.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const [asked] = topology.requests;
    expect([asked?.cause, asked?.request]).toEqual([
      "PUT /cluster/settings from 10.0.0.9:7",
      {
        type: "all",
        requests: [
          { type: "change-setting", name: "acks", value: "primary" },
          { type: "change-setting", name: "on-loss", value: "stop" },
        ],
      },
    ]);
    topology.requests.shift()?.settle({ type: "done", index: 1, outcome: [] });
    expect((await answer).status).toBe(200);
  });

  test("that was decided on what has changed is decided anew, some times", async () => {
    const stale = { type: "rejected", reason: "ERR stale: shard 5 is at version 9" } as const;
    const done = { type: "done", index: 5, outcome: [] } as const;
    expect((await settled(assign(), stale, stale, done)).status).toBe(200);
    const never = await settled(assign(), ...Array.from({ length: 10 }, () => stale));
    expect([never.status, never.json()]).toMatchObject([
      409,
      { type: "urn:bunch:problem:stale", detail: "Shard 5 is at version 9." },
    ]);
  });

  test("without the plugins that would make it is not made, and it is said why", async () => {
    const [node_id, id] = [topology.self.id, "5".repeat(40)];
    for (const [method, path, json] of [
      ["POST", "/cluster/accept-loss", { shard_id: id }],
      ["POST", "/cluster/migration/start", { slot: 7, from_node: node_id, to_node: node_id }],
      ["POST", "/cluster/migration/complete", { slot: 7 }],
      ["POST", "/cluster/migration/cancel", { slot: 7 }],
      ["POST", "/cluster/migration/pause", { slot: 7 }],
      ["POST", "/cluster/migration/resume", { slot: 7 }],
      ["POST", "/cluster/nodes", { address: "127.0.0.1:7009" }],
    ] as const) {
      const answer = await door.ask(path, { method, token, json });
      expect([answer.status, answer.json()], path).toMatchObject([503, { type: "urn:bunch:problem:unavailable" }]);
    }
  });

  test("is not looked at if its body is no JSON, of another kind, or too long", async () => {
    for (const path of [
      "/cluster/nodes",
      "/cluster/replicate",
      "/cluster/slots/assign",
      "/cluster/failover",
      "/cluster/plans",
      "/kv/batch",
    ]) {
      const post = (type: string, body: string): Promise<Answer> =>
        door.ask(path, { method: "POST", token, body, headers: { "content-type": type } });
      expect((await post("application/json", "{")).json(), path).toMatchObject({
        status: 400,
        type: "urn:bunch:problem:bad-request",
      });
      expect((await post("text/plain", "{}")).json(), path).toMatchObject({
        status: 415,
        type: "urn:bunch:problem:unsupported-media-type",
      });
      expect((await post("application/json; charset=utf-8", "{}")).status, path).toBe(422);
      expect((await door.ask(path, { method: "POST", token })).status, path).toBe(422);
    }
    expect(topology.requests).toEqual([]);
  });
});

describe("a move of slots, and a change of who leads", () => {
  const map = planMap([{ slots: [{ first: 0, last: 8191 }] }, { slots: [{ first: 8192, last: 16_383 }] }]);
  const [a = "", b = ""] = map.nodes.map(({ id }) => id);
  const topology = new FixedTopology(map);
  const migrations = new FakeMigrations();
  let problem: string | undefined;
  const asked: string[] = [];
  let leaseState: Failover["leaseState"] = "none";
  const failover: Failover = {
    get leaseState() {
      return leaseState;
    },
    isHeir: false,
    holdForHeir: () => undefined,
    leaseEndsAtMs: Number.POSITIVE_INFINITY,
    reasons: new Map(),
    handOver: (shard, to, isForced, cause) => {
      asked.push(`${shard.slice(0, 2)} to ${to.slice(0, 2)} ${isForced} ${cause}`);
      return Promise.resolve(problem);
    },
    acceptLoss: (shard, cause) => {
      asked.push(`${shard.slice(0, 2)} ${cause}`);
      return Promise.resolve(problem);
    },
    promisedUntilMs: () => undefined,
  };
  const plugin = definePlugin({
    name: "fake-failover",
    summary: "Does what a test says.",
    provides: { failover: failoverService },
    setup: () => ({ failover }),
  });
  let node: Node;
  let door: FakeHttpDoor;
  beforeAll(async () => {
    const use = [topology.plugin, migrations.plugin, plugin];
    ({ node, door } = await startHttpNode({ use, plugins: WITHOUT }, { clock: hasty(createBunWorld().clock) }));
    await holdToDocument(door);
  });
  afterAll(() => node.stop());
  beforeEach(() => {
    migrations.tasks = [];
    migrations.asked.length = 0;
    migrations.outcomes.length = 0;
    asked.length = 0;
    problem = undefined;
  });
  const post = (path: string, json: unknown): Promise<Answer> => door.ask(path, { method: "POST", token, json });
  const task = fakeTask({ id: "id-9", source: shardIdAt(0), target: shardIdAt(1), sourceNode: a, targetNode: b });

  test("is answered by what came of it", async () => {
    const wish = { slots: [{ start: 0, end: 9 }], from_node: a, to_node: b };
    for (const [reason, status, type] of [
      ["ERR stale: shard 7 has changed since map version 3", 409, "stale"],
      ["ERR slot 5 is being moved by migration x", 409, "conflict"],
      ["nobody knows what came of it: look at the tasks, and ask again (no word)", 504, "outcome-unknown"],
      ["CLUSTERDOWN no leader", 503, "cluster-down"],
    ] as const) {
      migrations.outcomes.push({ type: "refused", reason });
      expect((await post("/cluster/migration/start", wish)).json(), reason).toMatchObject({
        status,
        type: `urn:bunch:problem:${type}`,
      });
    }
    migrations.onAsked = () => void (migrations.tasks = [{ ...task, id: `id-${migrations.started}` }]);
    const started = await post("/cluster/migration/start", { ...wish, auto_complete: false });
    expect(started.status).toBe(202);
    expect(started.json()).toMatchObject({
      from_node: a,
      to_node: b,
      keys_migrated: 30,
      total_keys: 100,
      bytes: 3000,
      rate: 1500,
      eta_ms: 4700,
    });
    for (const [json, status] of [
      [{ ...wish, slot: 5 }, 422],
      [{ from_node: a, to_node: b }, 422],
      [{ ...wish, slots: [{ start: 5, end: 4 }] }, 422],
      [
        {
          ...wish,
          slots: [
            { start: 0, end: 5 },
            { start: 5, end: 6 },
          ],
        },
        422,
      ],
      [{ ...wish, slots: [{ start: 9000, end: 9000 }] }, 409],
      [{ ...wish, to_node: "0".repeat(40) }, 404],
    ] as const)
      expect((await post("/cluster/migration/start", json)).status, JSON.stringify(json)).toBe(status);
  });

  test("is not begun with a node that serves nothing; one that goes on waits then, and says for what", async () => {
    const wish = { slots: [{ start: 0, end: 9 }], from_node: a, to_node: b };
    const progress = { progress: undefined };
    for (const [at, field] of ["from_node", "to_node"].entries()) {
      topology.map = {
        ...map,
        nodes: map.nodes.map((each, place) => (place === at ? { ...each, incarnation: 0 } : each)),
      };
      const reason = `primary n${at} has not started yet`;
      expect((await post("/cluster/migration/start", wish)).json()).toMatchObject({
        status: 409,
        detail: `Nothing can be moved with ${field} as it is: ${reason}.`,
      });
      migrations.tasks = [{ ...task, ...progress }];
      expect((await door.ask("/cluster/migration/5", { token })).json()).toMatchObject({
        state: "waiting",
        waiting_for: reason,
      });
    }
    expect(migrations.asked).toEqual([]);
    topology.map = map;
    expect((await door.ask("/cluster/migration/5", { token })).json()).toMatchObject({ state: "streaming" });
  });

  test("is let be completed, waited for, paused and ended by its id or by a slot", async () => {
    migrations.tasks = [{ ...task, awaitsWord: true }];
    expect((await post("/cluster/migration/complete", { slot: 5, wait_ms: 0 })).status).toBe(202);
    expect(migrations.asked.join("\n")).toMatch(/^allow id-9: POST \/cluster\/migration\/complete from \S+$/);
    for (const [reason, status] of [
      ["ERR it has just been cancelled", 409],
      [UNKNOWN, 504],
    ] as const) {
      migrations.outcomes.push({ type: "refused", reason });
      expect((await post("/cluster/migration/complete", { slot: 5 })).status).toBe(status);
    }
    migrations.tasks = [{ ...task, phase: "completed", endedAtMs: 1_800_000_001_000 }];
    const done = await post("/cluster/migration/complete", { id: "id-9" });
    expect([done.status, done.json()]).toMatchObject([200, { state: "completed", completed_at: 1_800_000_001_000 }]);
    migrations.tasks = [task];
    for (const word of ["pause", "resume", "cancel"]) {
      expect((await post(`/cluster/migration/${word}`, { id: "id-9" })).status).toBe(200);
      expect(migrations.asked.at(-1)).toStartWith(`${word} id-9: POST /cluster/migration/${word} from `);
      migrations.outcomes.push(
        { type: "refused", reason: "ERR it has just been completed" },
        { type: "refused", reason: UNKNOWN },
      );
      expect((await post(`/cluster/migration/${word}`, { slot: 5 })).status).toBe(409);
      expect((await post(`/cluster/migration/${word}`, { slot: 5 })).status).toBe(504);
      expect((await post(`/cluster/migration/${word}`, { slot: 5, id: "id-9" })).status).toBe(422);
      expect((await post(`/cluster/migration/${word}`, { id: "id-8" })).status).toBe(404);
    }
  });

  test("that has ended is told with who wanted it, and with how it ended; it is not ended once more, and why is said", async () => {
    const [wanted, how] = ["POST /cluster/migration/start from 10.0.0.9:7", "the target has committed everything"];
    const over = { ...task, startedFor: wanted, cause: how, endedAtMs: 1_800_000_001_000 };
    for (const phase of ["completed", "aborted"] as const) {
      migrations.tasks = [{ ...over, phase }];
      expect((await door.ask("/cluster/migration/5", { token })).json()).toMatchObject({
        state: phase,
        cause: phase === "completed" ? wanted : how,
        started_for: wanted,
        ended_because: how,
        auto_complete: null,
      });
      for (const word of ["cancel", "pause", "resume"])
        expect((await post(`/cluster/migration/${word}`, { slot: 5 })).json(), word).toMatchObject({
          status: 409,
          detail: `Migration id-9 has ended: it is ${phase} (${how}).`,
        });
      // Whoever asked for it to be completed and is told so relies on it.
      const completed = await post("/cluster/migration/complete", { slot: 5 });
      expect([completed.status, completed.json()]).toMatchObject(
        phase === "completed"
          ? [200, { state: "completed" }]
          : [409, { detail: `Migration id-9 has ended: it is aborted (${how}).` }],
      );
    }
    expect(migrations.asked).toEqual([]);
    // It ends while somebody asks for something else.
    for (const [word, status] of [
      ["pause", 409],
      ["complete", 409],
      ["cancel", 504],
    ] as const) {
      migrations.tasks = [{ ...task, awaitsWord: true }];
      migrations.onWord = () => void (migrations.tasks = [{ ...over, phase: "aborted" }]);
      migrations.outcomes.push({
        type: "refused",
        reason: status === 504 ? UNKNOWN : "ERR There is no migration id-9",
      });
      const detail = `Migration id-9 has ended: it is aborted (${how}).`;
      expect((await post(`/cluster/migration/${word}`, { slot: 5 })).json(), word).toMatchObject(
        status === 504 ? { status } : { status, detail },
      );
    }
    migrations.onWord = () => undefined;
    migrations.tasks = [{ ...task, awaitsWord: true, startedFor: wanted, cause: wanted }];
    expect((await door.ask("/cluster/migration/5", { token })).json()).toMatchObject({
      cause: wanted,
      ended_because: null,
      auto_complete: false,
    });
  });

  test("is not asked of a primary that serves nothing: an orchestrator is told that it is not ready, and for what it waits", async () => {
    const ready = async (): Promise<unknown> => {
      const answer = await door.ask("/health/ready", { from: "10.0.0.9:7" });
      return [answer.status, (answer.json() as { readonly detail?: string }).detail];
    };
    expect(await ready()).toEqual([200, undefined]);
    leaseState = "lapsed";
    expect(await ready()).toEqual([
      503,
      "This node waits for its slots to be served: primary n0, this node, has no lease.",
    ]);
    // A replica, or a primary of nothing, keeps nobody waiting.
    const [own, other] = map.shards;
    if (own === undefined || other === undefined) throw new Error("there are two");
    for (const shards of [[{ ...own, slots: [] }, other], [{ ...other, replicas: [a] }]]) {
      topology.map = { ...map, shards };
      expect(await ready()).toEqual([200, undefined]);
    }
    topology.map = map;
    leaseState = "none";
  });

  test("of a primary is refused for a reason, or begun", async () => {
    const [shard] = map.shards.map((each) => ({ ...each, slots: ALL_SLOTS, replicas: [b], inSync: [a, b] }));
    topology.map = { ...map, shards: shard === undefined ? [] : [shard], shardOfSlot: new Int16Array(16_384) };
    for (const [reason, status] of [
      ["TRYAGAIN the node that was asked does not lead", 503],
      ["CLUSTERDOWN no leader is known", 503],
      ["ERR node b is not in sync", 409],
      [UNKNOWN, 504],
    ] as const) {
      problem = reason;
      expect((await post("/cluster/failover", { node_id: b, mode: "force" })).status, reason).toBe(status);
      expect((await post("/cluster/accept-loss", { shard_id: shard?.id })).status, reason).toBe(status);
    }
    expect(asked[0]).toContain(" true POST /cluster/failover from ");
    problem = undefined;
    // Nothing comes about here: it was begun, and that is all that is known.
    const begun = await Promise.all([
      post("/cluster/failover", { node_id: b }),
      post("/cluster/accept-loss", { shard_id: shard?.id }),
    ]);
    expect(begun.map(({ status }) => status)).toEqual([202, 202]);
    const accepted = post("/cluster/accept-loss", { shard_id: shard?.id });
    while (asked.length < 11) await new Promise((resolve) => setImmediate(resolve));
    topology.map = { ...topology.map, shards: topology.map.shards.map((each) => ({ ...each, primaryEpoch: 2 })) };
    expect(await accepted.then((answer) => [answer.status, answer.json()])).toMatchObject([200, { primary_epoch: 2 }]);
    topology.map = map;
  });
});

describe("another node that is drained", () => {
  const [
    half,
    {
      slots: [other],
    },
  ] = HALVES;
  const made = planMap(HALVES);
  const [a = "", b = ""] = made.nodes.map(({ id }) => id);
  /** The map with what is moved at this moment, and what the second shard has left. */
  const mapWith = (tasks: readonly MigrationStatus[], slots: readonly SlotRange[] = [other]): ClusterMap => {
    const moving = tasks
      .filter(({ endedAtMs }) => endedAtMs === undefined)
      .map(({ id, source, target, slots: each }) => ({
        id,
        source,
        target,
        slots: each,
        isPaused: false,
        cause: "a test",
        startedAtMs: 0,
      }));
    return { ...planMap([half, { slots }], moving), nodes: topology.map.nodes };
  };
  const topology = new FixedTopology(made);
  const migrations = new FakeMigrations();
  /** A meeting of which nothing is ever heard. */
  const silentMeet = definePlugin({
    name: "silent-meet",
    summary: "Answers nothing.",
    setup(context) {
      context.subcommand("cluster", {
        name: "meet",
        syntax: "ip port",
        arity: 4,
        flags: ["admin"],
        group: "cluster",
        summary: "Meets nobody.",
        complexity: "O(1)",
        since: "bunch 0.1.0",
        run: (call) => void call.defer(),
      });
    },
  });
  /** What another node says: that its slots hold nothing, if nothing else is said. */
  let told = "*0\r\n";
  /** What it says, and then closes, to who comes. */
  let greeting = "";
  let withPeer: ClusterMap["nodes"] = [];
  let peer: Bun.TCPSocketListener<undefined>;
  let node: Node;
  let door: FakeHttpDoor;
  beforeAll(async () => {
    peer = listenAs(
      31_010,
      () => told,
      () => greeting,
    );
    withPeer = made.nodes.map((each) => (each.id === b ? { ...each, host: "127.0.0.1", port: 31_010 } : each));
    topology.map = { ...made, nodes: withPeer };
    const use = [topology.plugin, migrations.plugin, silentMeet];
    ({ node, door } = await startHttpNode({ use, plugins: WITHOUT }, { clock: hasty(createBunWorld().clock) }));
    await holdToDocument(door);
  });
  afterAll(async () => {
    await node.stop();
    peer.stop(true);
  });
  beforeEach(() => {
    migrations.tasks = [];
    migrations.asked.length = 0;
    topology.map = mapWith([]);
  });
  const moving = (id: string, ...slots: readonly SlotRange[]): MigrationStatus =>
    fakeTask({ id, source: shardIdAt(1), target: shardIdAt(0), sourceNode: b, targetNode: a, slots });
  /** What is moved from here on. */
  const set = (...tasks: readonly MigrationStatus[]): void => {
    migrations.tasks = [...tasks];
    topology.map = mapWith(tasks);
  };
  /** How a task ends that was started here: the last of those that were asked for. */
  const ended = (task: MigrationStatus, phase: "completed" | "aborted", why = ""): MigrationStatus => ({
    ...task,
    phase,
    endedAtMs: 1,
    cause: why,
  });
  const remove = (query = ""): Promise<Answer> => door.ask(`/cluster/nodes/${b}${query}`, { method: "DELETE", token });
  const drain = (query = ""): Promise<Answer> => remove(`?drain=true${query}`);
  const post = (path: string, json?: unknown): Promise<Answer> => door.ask(path, { method: "POST", token, json });
  const replicate = (): Promise<Answer> => post("/cluster/replicate", { node_id: b, master_id: a });
  const asked = async (count: number): Promise<readonly string[]> => {
    while (migrations.asked.length < count) await new Promise((resolve) => setImmediate(resolve));
    return migrations.asked.map((line) => line.replace(/ at [0-9]+: .*$/, ""));
  };

  test("has what nobody moves be moved, and what others leave, and is taken out then", async () => {
    const others = moving("others", { first: 8192, last: 9000 });
    set(others);
    migrations.onAsked = () =>
      set(...migrations.tasks, moving(`id-${migrations.started}`, { first: 9001, last: 16_383 }));
    const answer = drain();
    expect(await asked(1)).toEqual(["start 9001-16383 to 50"]);
    // Theirs is cancelled: its slots stay, and it was none of those that were begun here.
    migrations.onAsked = () =>
      set(...migrations.tasks, moving(`id-${migrations.started}`, { first: 8192, last: 9000 }));
    const [, own] = migrations.tasks;
    set(ended(others, "aborted", "cancelled"), own ?? others);
    expect(await asked(2)).toEqual(["start 9001-16383 to 50", "start 8192-9000 to 50"]);
    migrations.tasks = migrations.tasks.map((task) => (task.id === "others" ? task : ended(task, "completed")));
    topology.map = mapWith([], []);
    // It got as far as to be taken out, which nobody does here.
    expect((await answer).json()).toMatchObject({
      status: 503,
      detail: "The change was not made: nothing changes here.",
    });
  });

  test("is told as going on when the time is over, and is left alone where a move of its own was ended", async () => {
    migrations.onAsked = () => set(moving(`id-${migrations.started}`, other));
    const begun = await drain("&wait_ms=0");
    const { started } = migrations;
    expect([begun.status, begun.json()]).toEqual([
      202,
      { node_id: b, state: "draining", slots_left: 8192, migrations: [`id-${started}`] },
    ]);
    // Asked again, there is nothing to begin.
    const again = await drain("&wait_ms=0");
    expect([again.status, migrations.started]).toEqual([202, started]);
    set();
    migrations.onAsked = () => {
      set(moving(`id-${migrations.started}`, other));
      setImmediate(() => set(ended(moving(`id-${migrations.started}`, other), "aborted", "CLUSTER CANCELMIGRATION")));
    };
    expect((await drain()).json()).toMatchObject({
      status: 409,
      detail: "Its slots could not all be moved: CLUSTER CANCELMIGRATION; those that are left are served as before.",
    });
  });

  test("is not taken out while others begin to move slots to it: these are waited for, and moved on", async () => {
    const toIt = { ...moving("to-it", { first: 0, last: 9 }), source: shardIdAt(0), target: shardIdAt(1) };
    migrations.onAsked = () => set(moving(`id-${migrations.started}`, other));
    const answer = drain();
    expect(await asked(1)).toEqual(["start 8192-16383 to 50"]);
    // Its own are gone, and what comes has not come yet.
    migrations.tasks = [toIt];
    topology.map = mapWith([toIt], []);
    const before = topology.requests.length;
    migrations.onAsked = () => set(moving(`id-${migrations.started}`, { first: 0, last: 9 }));
    migrations.tasks = [ended(toIt, "completed")];
    topology.map = mapWith([], [{ first: 0, last: 9 }]);
    expect(await asked(2)).toEqual(["start 8192-16383 to 50", "start 0-9 to 50"]);
    expect(topology.requests).toHaveLength(before);
    // Another one begins when it is about to be taken out, which is refused for that.
    topology.outcome = { type: "rejected", reason: "ERR migration again moves slots to it" };
    topology.onRequest = () => {
      topology.onRequest = () => undefined;
      topology.outcome = { type: "done", index: 1, outcome: [] };
      const again = { ...toIt, id: "again" };
      migrations.tasks = [again];
      topology.map = mapWith([again], []);
      setImmediate(() => {
        migrations.tasks = [ended(again, "aborted")];
        topology.map = mapWith([], []);
      });
    };
    migrations.tasks = [];
    topology.map = mapWith([], []);
    expect((await answer).json()).toEqual({ node_id: b, state: "removed" });
    expect(topology.requests.slice(before)).toEqual([
      { type: "remove-node", node: b },
      { type: "remove-node", node: b },
    ]);
    topology.outcome = NOTHING_CHANGES;
  });

  test("that gets slots for longer than is waited is told as draining", async () => {
    migrations.onAsked = () => {
      const toIt = { ...moving("to-it", { first: 0, last: 9 }), source: shardIdAt(0), target: shardIdAt(1) };
      set(moving(`id-${migrations.started}`, other), toIt);
    };
    const answer = await drain("&wait_ms=0");
    expect([answer.status, answer.json()]).toMatchObject([202, { migrations: [`id-${migrations.started}`, "to-it"] }]);
  });

  test("keeps its slots where it would not be taken out afterwards: another move brings it some, or keys come one by one", async () => {
    const toIt = { ...moving("to-it", { first: 0, last: 9 }), source: shardIdAt(0), target: shardIdAt(1) };
    set(toIt);
    expect((await drain()).json()).toMatchObject({
      status: 409,
      detail: "Migration to-it moves slots to it: cancel that first, or wait for its end.",
    });
    const importing = [{ shard: shardIdAt(1), from: shardIdAt(0) }];
    set();
    topology.map = { ...topology.map, openSlots: [{ slot: 7, importing }] };
    expect((await drain()).json()).toMatchObject({
      status: 409,
      detail: "It takes in keys of slot 7: end that first (CLUSTER SETSLOT 7 STABLE).",
    });
    expect(migrations.asked).toEqual([]);
  });

  test("is taken out on the operator's word, whichever node was asked: also its own replica", async () => {
    topology.map = mapWith([], []);
    await remove();
    expect(topology.requests.at(-1)).toEqual({ type: "remove-node", node: b });
  });

  test("is planned anew where the shards have changed, some times", async () => {
    migrations.onAsked = () => undefined;
    const stale = { type: "refused", reason: "ERR stale: shard 5 has changed since map version 7" } as const;
    migrations.outcomes.push(...Array.from({ length: 10 }, () => stale));
    expect((await drain()).json()).toMatchObject({ status: 409, type: "urn:bunch:problem:stale" });
    expect(migrations.asked).toHaveLength(10);
    migrations.asked.length = 0;
    migrations.outcomes.push(stale);
    let calls = 0;
    migrations.onAsked = () => {
      calls += 1;
      if (calls === 2) set(moving(`id-${migrations.started}`, other));
    };
    expect((await drain("&wait_ms=0")).status).toBe(202);
    expect(migrations.asked).toHaveLength(2);
  });

  test("is told to be the replica of another one once that is seen here, and before as agreed", async () => {
    for (const [reply, status] of [
      ["-ERR To set a master the node must be empty and without assigned slots.", 409],
      ["+OK", 202],
    ] as const) {
      told = `${reply}\r\n`;
      const answer = await replicate();
      expect([answer.status, answer.json()], reply).toMatchObject([status, status === 202 ? { master_id: null } : {}]);
    }
    const seen = replicate();
    const [shard, ...others] = topology.map.shards;
    if (shard === undefined) throw new Error("there is a shard");
    topology.map = {
      ...topology.map,
      shards: [{ ...shard, replicas: [b] }, ...others.filter(({ primary }) => primary !== b)],
    };
    const answer = await seen;
    expect([answer.status, answer.json()]).toMatchObject([200, { id: b, master_id: a }]);
    told = "*0\r\n";
  });

  test("that lets this node in to nothing is told so, with what to do: it was not done", async () => {
    const full = "-ERR max number of clients reached\r\n";
    for (const [atDoor, reply, reason] of [
      [full, "", "takes no more clients: CONFIG SET maxclients there, or close some"],
      ["", full, "takes no more clients: CONFIG SET maxclients there, or close some"],
      ["", "-NOAUTH Authentication required.\r\n", "has another password for clients than this node, or none"],
    ] as const) {
      [greeting, told] = [atDoor, reply];
      const answer = await replicate();
      expect([answer.status, answer.json()], reason).toMatchObject([503, { type: "urn:bunch:problem:unavailable" }]);
      expect((answer.json() as { detail: string }).detail).toStartWith(`It was not done: node n1 ${reason}`);
      expect(answer.headers.get("retry-after")).toBe("1");
    }
    [greeting, told] = ["", "*0\r\n"];
  });

  test("is not planned with two weights of one shard, by whatever names", async () => {
    const answer = await door.ask("/cluster/plans", {
      method: "POST",
      token,
      json: { kind: "rebalance", weights: { n1: 1, [b]: 2 } },
    });
    const field = `/weights/${b}`;
    const detail = `the shard of ${b} has more than one weight: give each shard one`;
    expect([answer.status, answer.json()]).toMatchObject([422, { errors: [{ in: "body", field, detail }] }]);
  });

  test("that nobody has heard of the end of is told as that", async () => {
    const unknown = "urn:bunch:problem:outcome-unknown";
    // It gets what it is asked, and is gone.
    told = "";
    const replicated = await replicate();
    expect([replicated.status, replicated.json()]).toMatchObject([504, { type: unknown }]);
    told = "*0\r\n";
    const met = await post("/cluster/nodes", { address: "127.0.0.1:31011" });
    expect([met.status, met.json()]).toMatchObject([504, { type: unknown }]);
    topology.outcome = { type: "unknown", reason: "no word came back" };
    const removed = await remove();
    expect([removed.status, removed.json()]).toMatchObject([504, { type: unknown }]);
    topology.outcome = { type: "done", index: 1, outcome: [] };
    expect((await remove()).status).toBe(200);
    const plan = await post("/cluster/plans", { kind: "drain", drains: "n1" });
    expect(plan.status).toBe(201);
    migrations.outcomes.push({ type: "refused", reason: UNKNOWN });
    const { id } = plan.json() as { id: string };
    const applied = await post(`/cluster/plans/${id}/apply`);
    expect([applied.status, applied.json()]).toMatchObject([504, { type: unknown }]);
  });
});
