/** What the commands that ask by REST make of what they are told: words, tables, rates, events over connections that break. */
import { describe, expect, test } from "bun:test";
import { type ServerEvent, EventParser, followEvents } from "../../src/cli/event-source.ts";
import { ClusterAccess } from "../../src/cli/cluster-access.ts";
import { describeEvent, eventJson } from "../../src/cli/events-command.ts";
import { describeExplanation } from "../../src/cli/explain-command.ts";
import { readMetrics } from "../../src/cli/prometheus-text.ts";
import { RestAccess, RestError } from "../../src/cli/rest-access.ts";
import { exitCodeFor } from "../../src/cli/rest-command.ts";
import { nodesTable, withNodeNames } from "../../src/cli/rest-tables.ts";
import { describeSlots, describeStatus, exitCodeOf } from "../../src/cli/status-command.ts";
import { draw } from "../../src/cli/top-command.ts";
import { type Snapshot, describeTop, quantileOf, topLines } from "../../src/cli/top-view.ts";
import { present } from "../../src/assert.ts";
import { StartError } from "../../src/errors.ts";
import type { HealthView, Info, NodeView, ShardView, ToldCheckView } from "../../src/rest/schemas.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const SHARD = "c".repeat(40);

function nodeView(id: string, name: string, more: Partial<NodeView> = {}): NodeView {
  return {
    id,
    name,
    address: `10.0.0.1:${name === "a" ? 1 : 2}`,
    http_address: null,
    state: "alive",
    slot_count: 0,
    is_master: false,
    is_replica: false,
    is_myself: false,
    is_leader: false,
    is_voter: true,
    role: "data",
    zone: "",
    shard_id: SHARD,
    master_id: null,
    ...more,
  };
}
const nodes: readonly NodeView[] = [
  nodeView(A, "a", { is_master: true, is_myself: true, is_leader: true, slot_count: 16_384 }),
  nodeView(B, "b", { is_replica: true, master_id: A, state: "down" }),
];
const info: Info = {
  cluster_enabled: true,
  cluster_id: "d".repeat(40),
  state: "degraded",
  reasons: [`replica ${B} is not in sync`],
  slot_assignment: "complete",
  slots: { assigned: 16_384, total: 16_384, coverage: 100 },
  nodes: { count: 2, my_node_id: A },
  shards: { count: 1, with_slots: 1 },
  leader: A,
  term: 3,
  map_version: 12,
};
const shard: ShardView = {
  id: SHARD,
  primary: A,
  replicas: [B],
  in_sync: [A],
  eligible: [],
  slots: [{ start: 0, end: 16_383, count: 16_384 }],
  slot_count: 16_384,
  primary_epoch: 1,
  version: 1,
  is_served: true,
  reason: null,
};
/** As terminals without colours show it. */
// oxlint-disable-next-line no-control-regex -- colours are control characters
const plain = (text: string): string => text.replaceAll(/\u001B\[[0-9;]*m/g, "");

describe("bunch status", () => {
  const check: ToldCheckView = {
    name: "members",
    scope: "cluster",
    state: "warn",
    since: 0,
    summary: `1 of 2 nodes is not there: ${B}.`,
    meaning: "It does not answer.",
    advice: "Start it.",
    values: {},
    node_id: A,
    others: 0,
  };
  const healthOf = (more: Partial<HealthView>): HealthView => ({
    state: "warn",
    checked_at: 0,
    node_id: A,
    leader: A,
    checks: [],
    asked: 2,
    silent: [],
    ...more,
  });
  const saidOf = (health: HealthView, known = nodes): string =>
    plain(describeStatus({ info, nodes: known, shards: [shard], migrations: [], health }));

  test("says what is so, why, what it means and what to do, with names for ids", () => {
    const said = saidOf(healthOf({ checks: [check] }));
    expect(said).toStartWith("degraded: every slot is served, but\n  replica b is not in sync\n");
    expect(said).toContain("nodes    2, of which b is down");
    expect(said).toContain("map      version 12, term 3: a leads it");
    expect(said).toMatch(/│ a +│ 16384 │ 0-16383 +│ b \(not in sync\) +│ yes +│/);
    expect(said).toContain("health   warn: members (2 of 2 nodes told)\n");
    expect(said).toContain(
      "members (warn)  1 of 2 nodes is not there: b.\n  means: It does not answer.\n  do:    Start it.",
    );
  });

  test("names the nodes on which something is amiss, those that do not tell, and says once what is the same of many", () => {
    const idOf = (at: number): string => at.toString(16).padStart(40, "0");
    const many = Array.from({ length: 9 }, (_, at) => nodeView(idOf(at), `n${at}`));
    const disk = (at: number, state: "warn" | "critical"): ToldCheckView => ({
      ...check,
      name: "disk",
      scope: "node",
      state,
      summary: `${at} MB are free.`,
      node_id: idOf(at),
    });
    const disks = [disk(1, "critical"), ...[2, 3, 4, 5, 6, 7].map((at) => disk(at, "warn"))];
    const silent = [{ node_id: idOf(8), reason: "node n8 does not answer" }];
    const said = saidOf(healthOf({ state: "critical", checks: [check, ...disks], asked: 9, silent }), many);
    expect(said.slice(said.indexOf("health   "))).toBe(
      [
        "health   critical: disk, members, answer (8 of 9 nodes told)",
        "disk (critical)  n1: 1 MB are free.",
        "  means: It does not answer.",
        "  do:    Start it.",
        `members (warn)  1 of 2 nodes is not there: ${B}.`,
        "  means: It does not answer.",
        "  do:    Start it.",
        "disk (warn)  n2: 2 MB are free.",
        "  n3: 3 MB are free.",
        "  n4: 4 MB are free.",
        "  n5: 5 MB are free.",
        "  and 2 more: n6, n7",
        "  means: It does not answer.",
        "  do:    Start it.",
        "answer (warn)  node n8 does not answer",
        "  means: Nobody knows how these nodes are: the node that was asked has asked them, and was not told.",
        "  do:    See whether their processes run, what their logs say, and whether the node that was asked reaches the port of their clients.",
      ].join("\n"),
    );
  });

  test("says of what is over that it is, after what is not", () => {
    const over = { ...check, name: "slots", state: "critical", values: { "well-ms": 1200 } } as const;
    const well: Info = { ...info, state: "ok", reasons: [] };
    const said = (...checks: readonly ToldCheckView[]): string =>
      plain(
        describeStatus({
          info: well,
          nodes,
          shards: [shard],
          migrations: [],
          health: healthOf({ state: "critical", checks: [...checks] }),
        }),
      );
    expect(said(over)).toStartWith(
      "ok: every slot is served; what was amiss a moment ago is told for some seconds more",
    );
    const both = said(over, check);
    expect(both).toStartWith("ok: every slot is served, but checks are critical, see below");
    expect(both.indexOf("members (warn)")).toBeLessThan(both.indexOf("slots (critical)"));
  });

  test("its exit code is the worse of the cluster's state and of what the checks say", () => {
    const code = (state: Info["state"], health: "ok" | "warn" | "critical" | undefined): number =>
      exitCodeOf({ info: { state }, health: health === undefined ? null : { state: health } });
    expect([code("ok", "ok"), code("ok", undefined), code("degraded", "ok"), code("ok", "warn")]).toEqual([0, 0, 1, 1]);
    expect([code("fail", "ok"), code("ok", "critical"), code("degraded", "critical")]).toEqual([2, 2, 2]);
  });
});

test("sentences have names for nodes and shards, and commands keep their ids", () => {
  const names = (text: string): string => withNodeNames(nodes, text);
  expect(names(`slots 0-9 assigned to shard ${SHARD}`)).toBe("slots 0-9 assigned to the shard of a");
  expect(names(`migration m from ${SHARD} to shard ${"9".repeat(40)} of ${B} (b)`)).toBe(
    `migration m from the shard of a to shard ${"9".repeat(40)} of b`,
  );
  const commands = `CLUSTER FORGET ${B}, CLUSTER ACCEPT-LOSS ${SHARD}, bunch explain shard ${SHARD}`;
  expect(names(commands)).toBe(commands);
});

test("bunch nodes lists them by their names, as people count", () => {
  const listed = [nodeView(B, "n10"), nodeView(A, "n2"), nodeView("e".repeat(40), "n1")];
  expect(plain(nodesTable(listed)).match(/n[0-9]+(?= )/g)).toEqual(["n1", "n2", "n10"]);
});

test("bunch slots tells those of nobody as well, wherever they are", () => {
  const range = (start: number, end: number) => ({ start, end, count: end - start + 1, primary: A, replicas: [B] });
  const said = plain(describeSlots({ ranges: [range(1, 99), range(101, 16_000)], assigned: 15_999 }, nodes));
  expect(said).toMatch(/│ 0 +│ +1 │ nobody/);
  expect(said).toMatch(/│ 100 +│ +1 │ nobody/);
  expect(said).toMatch(/│ 16001-16383 +│ +383 │ nobody/);
  expect(said).toContain("15999 of 16384 slots are assigned; nobody has 0 100 16001-16383");
  expect(plain(describeSlots({ ranges: [range(0, 16_383)], assigned: 16_384 }, nodes))).not.toContain("nobody");
});

test("bunch explain names nodes in sentences", () => {
  const act = { version: 7, time: 0, cause: `drain of ${B}`, changes: [`node ${A} (a) admitted at x`] };
  const told = {
    map_version: 9,
    slot: 5,
    owner: A,
    shard_id: SHARD,
    node: null,
    shard,
    migration: null,
    since: act,
    since_wanted: null,
    since_founding: null,
    obstacles: [`replica ${B} is not in sync`],
    history: [act],
  };
  const said = plain(describeExplanation({ explanation: told, nodes }));
  expect(said).toStartWith("slot 5 is a's\nshard cccccccc is served: led by a, replicated by b, slots 0-16383\n");
  expect(said).toContain("It is so since\n  1970-01-01 00:00:00  version 7: drain of b\n    node a admitted at x\n");
  expect(said).toContain("In the way:\n  replica b is not in sync");
  const moved = plain(describeExplanation({ explanation: { ...told, since_wanted: `plan of ${B}` }, nodes }));
  expect(moved).toContain("node a admitted at x\n  the move was wanted by plan of b\n");
  const founded = plain(
    describeExplanation({ explanation: { ...told, since: null, since_founding: 2, history: [] }, nodes }),
  );
  expect(founded).toContain("It is so since the cluster was founded, version 2 of its map.");
  const forgotten = plain(describeExplanation({ explanation: { ...told, since: null }, nodes }));
  expect(forgotten).toContain("It is so since before what is remembered.");
  const nobodys = { ...told, owner: null, shard: null, since: null, obstacles: [], history: [] };
  const free = plain(describeExplanation({ explanation: nobodys, nodes }));
  expect(free).toContain("slot 5 is nobody's");
  expect(free).toContain("Nothing stands in the way.");
});

describe("events", () => {
  test("are put together from pieces cut anywhere", () => {
    const text = 'event: change\nid: 7\ndata: {"a":1}\n\n:\n\ndata: x\ndata: y\r\n\r\nevent: half\n';
    const wanted = [
      { event: "change", id: "7", data: '{"a":1}' },
      { event: "message", id: "7", data: "x\ny" },
    ];
    for (let size = 1; size < 20; size += 1) {
      const parser = new EventParser();
      const seen: ServerEvent[] = [];
      for (let at = 0; at < text.length; at += size) seen.push(...parser.feed(text.slice(at, at + size)));
      expect(seen).toEqual(wanted);
    }
  });

  /** A node that answers each connection with the next of these: events and an end, or a refusal. */
  function scripted(script: readonly (string | RestError)[]) {
    const asked: (string | undefined)[] = [];
    const open = (_path: string, _signal: AbortSignal, headers: Readonly<Record<string, string>> = {}) => {
      asked.push(headers["last-event-id"]);
      const next = script[asked.length - 1] ?? new RestError(401, "no more of it");
      return typeof next === "string" ? Promise.resolve(new Response(next)) : Promise.reject(next);
    };
    return { asked, access: { open } };
  }
  const change = (version: number): string => `event: change\nid: ${version}\ndata: ${version}\n\n`;
  async function seenOf(
    script: readonly (string | RestError)[],
    since?: string,
  ): Promise<{
    readonly seen: readonly string[];
    readonly asked: readonly unknown[];
    readonly reasons: readonly string[];
    readonly error: unknown;
  }> {
    const { access, asked } = scripted(script);
    const seen: string[] = [];
    const reasons: string[] = [];
    const broken = (reason: string): void => void reasons.push(reason);
    let error: unknown;
    try {
      const { signal } = new AbortController();
      for await (const { data } of followEvents(access, { since, signal, broken, firstPauseMs: 1 })) seen.push(data);
    } catch (thrown) {
      error = thrown;
    }
    return { seen, asked, reasons, error };
  }

  test("go on after the last one where a connection breaks, or the node is away for a while", async () => {
    const away = new RestError(0, "nobody listens there");
    const { seen, asked, reasons, error } = await seenOf(
      [change(5) + change(6) + "event: change\nid: 7\n", away, new RestError(503, "it starts"), change(7)],
      "4",
    );
    expect(seen).toEqual(["5", "6", "7"]);
    // What was cut off in the middle was not had, though its id was told.
    expect(asked).toEqual(["4", "6", "6", "6", "7"]);
    expect(reasons).toEqual([
      "the node has ended the stream",
      "nobody listens there",
      "it starts",
      "the node has ended the stream",
    ]);
    expect(error).toMatchObject({ status: 401 });
  });

  test("are given up where the first connection is refused", async () => {
    const { seen, asked, error } = await seenOf([new RestError(0, "nobody listens there"), change(1)]);
    expect([seen, asked]).toEqual([[], [undefined]]);
    expect(error).toMatchObject({ message: "nobody listens there" });
  });

  test("are said in a line each, with names", () => {
    const said = (event: string, data: object): string =>
      plain(describeEvent({ event, id: undefined, data: JSON.stringify(data) }, nodes, 0));
    expect(said("start", { cluster_id: "x", map_version: 3 })).toBe(
      "00:00:00.000  start   cluster x, after version 3 of its map",
    );
    expect(said("change", { version: 4, time: 1000, cause: `by ${A}`, changes: [`slots 1 to ${B}`] })).toBe(
      `00:00:01.000  change  version 4: by a\n${" ".repeat(22)}slots 1 to b`,
    );
    expect(said("member", { node_id: B, state: "down", previous: "suspect", reason: "no answer" })).toBe(
      "00:00:00.000  member  b is down and was suspect: no answer",
    );
    expect(said("state", { state: "fail", reasons: ["one", "two"] })).toBe("00:00:00.000  state   fail; one; two");
    expect(said("health", { name: "slots", state: "warn", previous: "ok", summary: "S.", advice: "D." })).toBe(
      `00:00:00.000  health  slots is warn and was ok: S.\n${" ".repeat(22)}do: D.`,
    );
    expect(said("state", { state: "ok", reasons: ["a \u001B[2J screen\r\nof another's"] })).toBe(
      String.raw`00:00:00.000  state   ok; a \x1b[2J screen\x0d\x0aof another's`,
    );
    expect(said("unheard-of", { a: 1 })).toBe('00:00:00.000  unheard-of  {"a":1}');
    expect(eventJson({ event: "state", id: "4", data: '{"a":1}' })).toBe('{"event":"state","id":4,"data":{"a":1}}');
  });
});

describe("bunch top", () => {
  const text = (calls: number, slow: number): string =>
    [
      "# TYPE bunch_commands_total counter",
      `bunch_commands_total{command="get",outcome="ok"} ${calls}`,
      `bunch_commands_total{command="get",outcome="failed"} ${slow}`,
      `bunch_commands_total{command="set",outcome="rejected"} ${slow}`,
      `bunch_command_duration_seconds_bucket{command="get",le="0.001"} ${calls}`,
      `bunch_command_duration_seconds_bucket{command="get",le="0.002"} ${calls + slow}`,
      `bunch_command_duration_seconds_bucket{command="get",le="+Inf"} ${calls + slow}`,
      "bunch_keys 12345",
      'bunch_replica_lag_entries{replica="x"} 3',
      'bunch_replica_lag_entries{replica="y"} 5',
    ].join("\n");
  const metricsOf = (told: string) => present(readMetrics(told), "it can be read");
  const snapshot = (atMs: number, told: string): Snapshot => ({
    info,
    nodes,
    readings: new Map([
      [A, { atMs, metrics: metricsOf(told), reason: "" }],
      [B, { atMs, metrics: undefined, reason: "it is down" }],
    ]),
  });

  test("makes rates and times of two readings", () => {
    const now = snapshot(3000, text(1100, 20));
    const [first, second] = topLines(snapshot(1000, text(100, 0)), now);
    expect(first).toMatchObject({
      name: "a",
      commands: 510,
      errors: 20,
      p50_seconds: 0.001,
      p99_seconds: 0.002,
      keys: 12_345,
      replica_lag: 5,
      memory_bytes: null,
    });
    expect(second).toMatchObject({ name: "b", state: "down", commands: null, keys: null, reason: "it is down" });
    const said = plain(describeTop(now, topLines(snapshot(1000, text(100, 0)), now)));
    expect(said).toContain("510 commands/s");
    expect(said).toMatch(/a +alive +primary +510 +20 +2\.0 ms/);
    expect(said).toMatch(/b +down +replica of a; it is down +- +-/);
  });

  test("a node that began anew counts from zero, and one reading makes no rate", () => {
    const [again] = topLines(snapshot(1000, text(100_000, 0)), snapshot(2000, text(50, 0)));
    expect(again?.commands).toBe(50);
    expect(topLines(undefined, snapshot(2000, text(50, 0)))[0]).toMatchObject({ commands: null, keys: 12_345 });
  });

  test("orders by what is asked for", () => {
    const now = snapshot(2000, text(100, 0));
    const readings = new Map([...now.readings].map(([id, reading]) => [id === A ? B : A, reading] as const));
    const swapped = { ...now, readings };
    const before = {
      ...snapshot(1000, text(0, 0)),
      readings: new Map([[B, { atMs: 1000, metrics: metricsOf(text(0, 0)), reason: "" }]]),
    };
    expect(topLines(before, swapped, "commands").map(({ name }) => name)).toEqual(["b", "a"]);
    expect(topLines(before, swapped).map(({ name }) => name)).toEqual(["a", "b"]);
  });

  test("what is slower than the last bound is at least that; nothing makes no quantile", () => {
    const slow = 'bunch_command_duration_seconds_bucket{le="1"} 0\nbunch_command_duration_seconds_bucket{le="+Inf"} 9';
    expect(quantileOf(metricsOf(""), metricsOf(slow), 0.99)).toBe(1);
    expect(quantileOf(metricsOf(slow), metricsOf(slow), 0.99)).toBeUndefined();
  });

  test("is drawn in place, cut to the terminal, and says how it ends", () => {
    let written = "";
    const write = (part: string): void => void (written += part);
    draw({ columns: 8, rows: 4, write }, "one line that is long\ntwo\nthree\nfour");
    expect(written).toBe("\u001B[Hone lin\u001B[K\ntwo\u001B[K\nq ends,\u001B[K\n\u001B[J");
  });
});

describe("the node's address for operators", () => {
  const base = (flags: { readonly node?: string; readonly http?: string }): string =>
    new RestAccess({ node: "127.0.0.1:6379", ...flags }).base;

  test("is 9121 above its clients', or what is named", () => {
    expect(base({})).toBe("http://127.0.0.1:15500");
    expect(base({ node: "[::1]:7001" })).toBe("http://[::1]:16122");
    expect(base({ http: "localhost:99" })).toBe("http://localhost:99");
    expect(base({ http: "https://proxy/bunch/" })).toBe("https://proxy/bunch");
    expect(new RestAccess({ node: "", http: "10.0.0.9:1" }).at("0.0.0.0:2").base).toBe("http://10.0.0.9:2");
  });

  test("is refused by a sentence where it is none", () => {
    expect(() => base({ node: "nonsense" })).toThrow("must be HOST:PORT");
    expect(() => base({ node: "127.0.0.1:60000" })).toThrow("name it with --http");
    expect(() => base({ http: "http://" })).toThrow("is no address");
  });
});

describe("who cannot be told anything", () => {
  const thrownBy = async (asked: Promise<unknown>): Promise<StartError> => {
    const thrown: unknown = await asked.catch((error: unknown) => error);
    if (!(thrown instanceof StartError)) throw new Error("it is refused with a sentence");
    return thrown;
  };
  const answering = async (answer: () => Response): Promise<StartError> => {
    using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
    return await thrownBy(new RestAccess({ node: "", http: `127.0.0.1:${server.port}` }).get("/cluster/explain"));
  };

  test("is told how another node is named, and that this one may be down", async () => {
    // Port 1 is nobody's.
    const { message } = await thrownBy(new RestAccess({ node: "", http: "127.0.0.1:1" }).get("/cluster/info"));
    expect(message).toMatch(
      /--node names it by the address of its clients .*--http .*it may be down: ask another one\.$/,
    );
    const clients = new ClusterAccess({ node: "127.0.0.1:1" });
    expect((await thrownBy(clients.ask("PING"))).message).toMatch(
      /--node names it .*it may be down: ask another one\.$/,
    );
  });

  test("by a node that wants a password is told the flag for it", async () => {
    const saying = async (said: string): Promise<string> => {
      using server = Bun.listen({
        hostname: "127.0.0.1",
        port: 0,
        socket: { data: (socket) => void socket.write(`-${said}\r\n-${said}\r\n`) },
      });
      const access = new ClusterAccess({ node: `127.0.0.1:${server.port}`, password: "wrong" });
      return (await thrownBy(access.ask("PING"))).message;
    };
    expect(await saying("NOAUTH Authentication required.")).toEndWith(
      "says: NOAUTH Authentication required. Give it with --password, or in the environment's BUNCH_PASSWORD.",
    );
    expect(await saying("WRONGPASS invalid username-password pair")).toEndWith(
      "pair. Look at --password, and at the environment's BUNCH_PASSWORD.",
    );
    expect(await saying("ERR unknown subcommand 'HEALTH'. Try CLUSTER HELP.")).toEndWith(
      "Try CLUSTER HELP. Its plugin health is off, or it is of another version: ask another node.",
    );
    expect(await saying("ERR no")).toEndWith(" says: ERR no");
  });

  test("by a node without REST is told that, and not that of what it has asked about", async () => {
    const said = async (detail: string): Promise<string> => {
      const headers = { "content-type": "application/problem+json" };
      return (await answering(() => Response.json({ detail }, { status: 404, headers }))).message;
    };
    for (const detail of ["Nothing is served at this path.", "There is no such path."])
      expect(await said(detail)).toEndWith(
        `${detail} Its plugin rest is off, or it is of another version: ask another node.`,
      );
    expect(await said("There is no node x in this cluster.")).toEndWith("There is no node x in this cluster.");
  });

  test("ends with 3 where no node tells anything, and with 2 where the question is to blame", async () => {
    const problem = (status: number) => (): Response =>
      Response.json(
        { type: "urn:bunch:problem:x", title: "x", status, detail: "Because." },
        { status, headers: { "content-type": "application/problem+json" } },
      );
    expect(exitCodeFor(await answering(problem(422)))).toBe(2);
    expect(exitCodeFor(await answering(problem(422)), 3)).toBe(3);
    expect(exitCodeFor(new StartError("There is no node x."))).toBe(2);
    for (const status of [401, 403, 404, 500, 503])
      expect(exitCodeFor(await answering(problem(status))), String(status)).toBe(3);
    expect(exitCodeFor(await answering(() => new Response("no", { status: 404 })))).toBe(3);
  });
});
