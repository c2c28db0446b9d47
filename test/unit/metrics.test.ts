/** The plugin metrics: what it tells, that its names and units are by Prometheus' conventions, that it needs no other plugin, and that the dashboard knows no other metric. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { present } from "../../src/assert.ts";
import { type MetricSample, readMetrics } from "../../src/cli/prometheus-text.ts";
import { defaultPlugins } from "../../src/default-plugins.ts";
import { FAMILIES, FAMILY_NAMES } from "../../src/metrics/catalog.ts";
import { INFO_METRICS } from "../../src/metrics/info-metrics.ts";
import type { Node } from "../../src/node.ts";
import { createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { lintMetrics } from "../support/metrics-lint.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const token = TOKENS.readToken;
let node: Node;
let door: FakeHttpDoor;
beforeAll(async () => {
  ({ node, door } = await startHttpNode({ name: "a" }));
});
afterAll(async () => {
  await node.stop();
});

async function scrape(at: FakeHttpDoor = door): Promise<string> {
  const answer = await at.ask("/metrics", { token });
  expect(answer.status, answer.text).toBe(200);
  return answer.text;
}
const samplesOf = (text: string): readonly MetricSample[] => present(readMetrics(text), "it can be read").samples;
const valueOf = (text: string, name: string, labels: Readonly<Record<string, string>> = {}): number | undefined =>
  samplesOf(text).find(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  )?.value;

describe("GET /metrics", () => {
  test("tells what the node counts, in Prometheus' text format", async () => {
    const connection = node.connect();
    await connection.execute("set", "a key", "1", "ex", "1000");
    await connection.execute("incr", "a key");
    await connection.execute("get");
    await connection.execute("set", "text", "x");
    expect(Bun.inspect(await connection.execute("incr", "text"))).toContain("not an integer");
    // It is agreed on before it is answered.
    expect(Bun.inspect(await connection.execute("cluster", "addslots", "5"))).toContain("busy");
    const answer = await door.ask("/metrics", { token });
    expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const { text } = answer;
    expect(valueOf(text, "bunch_commands_total", { command: "set", outcome: "ok" })).toBe(2);
    expect(valueOf(text, "bunch_commands_total", { command: "incr", outcome: "ok" })).toBe(1);
    expect(valueOf(text, "bunch_commands_total", { command: "incr", outcome: "failed" })).toBe(1);
    expect(valueOf(text, "bunch_commands_total", { command: "get", outcome: "rejected" })).toBe(1);
    expect(valueOf(text, "bunch_commands_total", { command: "cluster|addslots", outcome: "ok" })).toBe(0);
    expect(valueOf(text, "bunch_commands_total", { command: "cluster|addslots", outcome: "failed" })).toBe(1);
    expect(valueOf(text, "bunch_error_replies_total", { error: "ERR" })).toBe(3);
    expect(valueOf(text, "bunch_keys")).toBe(2);
    expect(valueOf(text, "bunch_expiring_keys")).toBe(1);
    expect(valueOf(text, "bunch_slots")).toBe(16_384);
    expect(valueOf(text, "bunch_raft_is_leader")).toBe(1);
    expect(valueOf(text, "bunch_health_check_state", { check: "slots" })).toBe(0);
    expect(valueOf(text, "bunch_node_info", { node_id: node.facts.id, name: "a" })).toBe(1);
  });

  test("every name, unit, kind and label is by the conventions, no series is told twice", async () => {
    expect(lintMetrics(await scrape())).toEqual([]);
  });

  test("tells nothing that is not in the catalog, with the labels that it says", async () => {
    const { samples, types, help } = present(readMetrics(await scrape()), "it can be read");
    for (const [name, type] of types) {
      const family =
        FAMILIES[
          present(
            FAMILY_NAMES.find((each) => each === name),
            `${name} is in the catalog`,
          )
        ];
      expect(type).toBe(family.type);
      expect(help.get(name)).toBe(family.help);
      const told = samples.filter((sample) => sample.name.replace(/_(bucket|sum|count)$/, "") === name);
      for (const { labels } of told)
        expect(
          Object.keys(labels).filter((label) => label !== "le"),
          name,
        ).toEqual([...(family.labels ?? [])]);
    }
  });

  test("memory by kind adds up to what the process holds", async () => {
    const samples = samplesOf(await scrape());
    const kinds = samples.filter(({ name }) => name === "bunch_memory_bytes");
    const rss = present(
      samples.find(({ name }) => name === "process_resident_memory_bytes"),
      "there is one",
    ).value;
    const sum = kinds.reduce((total, { value }) => total + value, 0);
    expect(sum).toBeGreaterThanOrEqual(rss * 0.9);
  });

  test("times are counted in buckets, those of quick commands for sixteen", async () => {
    const { node: own, door: at } = await startHttpNode({});
    const connection = own.connect();
    for (let run = 0; run < 1600; run += 1) await connection.execute("get", "key");
    const text = await scrape(at);
    const count = present(valueOf(text, "bunch_command_duration_seconds_count", { command: "get" }), "it is timed");
    expect(Math.abs(count - 1600)).toBeLessThanOrEqual(32);
    expect(valueOf(text, "bunch_command_duration_seconds_bucket", { command: "get", le: "+Inf" })).toBe(count);
    await connection.execute("config", "resetstat");
    expect(valueOf(await scrape(at), "bunch_commands_total", { command: "get" })).toBeUndefined();
    await own.stop();
  });

  test("what became of posts to the webhook is counted, where there is one", async () => {
    const http = { post: () => Promise.resolve(204) };
    const plugins = { health: { webhook: "http://hooks.example/" } };
    const { node: own, door: at } = await startHttpNode({ plugins }, { http });
    const told = await scrape(at);
    expect(lintMetrics(told)).toEqual([]);
    for (const outcome of ["failed", "dropped"])
      expect(valueOf(told, "bunch_health_webhook_posts_total", { outcome })).toBe(0);
    expect(valueOf(told, "bunch_health_webhook_posts_total", { outcome: "sent" })).toBeGreaterThanOrEqual(0);
    expect(valueOf(told, "bunch_health_webhook_retries_total")).toBe(0);
    expect(valueOf(told, "bunch_health_webhook_waiting_posts")).toBeGreaterThanOrEqual(0);
    await own.stop();
    expect(await scrape()).not.toContain("webhook");
  });

  test("needs a token from elsewhere, takes GET and HEAD, and nothing below", async () => {
    expect((await door.ask("/metrics")).status).toBe(200);
    const refused = await door.ask("/metrics", { from: "10.0.0.9:1" });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toBe("Bearer");
    expect((await door.ask("/metrics", { from: "10.0.0.9:1", token })).status).toBe(200);
    expect((await door.ask("/metrics", { method: "HEAD" })).status).toBe(200);
    const posted = await door.ask("/metrics", { method: "POST", token });
    expect(posted.status).toBe(405);
    expect(posted.headers.get("allow")).toBe("GET");
    expect((await door.ask("/metrics/more", { token })).status).toBe(404);
  });
});

describe("without", () => {
  // Without http nobody comes; without the others a node is not started, or only without many more.
  const needed = new Set(["http", "metrics", "bus", "topology", "keyspace"]);
  for (const { name } of defaultPlugins.filter((plugin) => !needed.has(plugin.name))) {
    test(`${name}, what is left is told`, async () => {
      const { node: own, door: at } = await startHttpNode({ plugins: { [name]: false } });
      const text = await scrape(at);
      expect(lintMetrics(text)).toEqual([]);
      expect(valueOf(text, "bunch_scrapes_total")).toBe(1);
      await own.stop();
    });
  }

  test("all other plugins, the process and the commands are told", async () => {
    const off = defaultPlugins.filter(({ name }) => name !== "http" && name !== "metrics");
    const plugins = Object.fromEntries(off.map(({ name }) => [name, false]));
    const { node: own, door: at } = await startHttpNode({ plugins });
    const text = await scrape(at);
    expect(lintMetrics(text)).toEqual([]);
    expect(valueOf(text, "bunch_connected_clients")).toBe(0);
    expect(valueOf(text, "bunch_keys")).toBeUndefined();
    expect(valueOf(text, "bunch_raft_term")).toBeUndefined();
    await own.stop();
  });
});

test("every field of INFO that is told here is there", async () => {
  const config = { port: 0, plugins: { health: { webhook: "http://127.0.0.1:1/" } } };
  const own = await createNode({ world: createBunWorld({ logLevel: "silent" }), config });
  await own.start();
  const text = Bun.inspect(await own.connect().execute("info", "everything"));
  await own.stop();
  expect(INFO_METRICS.map(({ field }) => field).filter((field) => !text.includes(`${field}:`))).toEqual([]);
});

describe("the lint finds", () => {
  for (const [what, text] of [
    ["end in _total", "# HELP a_b help\n# TYPE a_b counter\na_b 1\n"],
    ["end in _total", "# HELP a_total help\n# TYPE a_total gauge\na_total 1\n"],
    ["no help", "# TYPE a gauge\na 1\n"],
    ["no base unit", "# HELP a_ms help\n# TYPE a_ms gauge\na_ms 1\n"],
    ["not at the end", "# HELP a_seconds_b help\n# TYPE a_seconds_b gauge\na_seconds_b 1\n"],
    ["told twice", '# HELP a help\n# TYPE a gauge\na{x="1"} 1\na{x="1"} 2\n'],
    ["reserved", '# HELP a help\n# TYPE a gauge\na{job="1"} 1\n'],
    ["has no type", "a 1\n"],
    ["cannot be read", "no metric at all\n"],
    [
      "do not add up",
      '# HELP a help\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
    ],
    ["not that of its last", '# HELP a help\n# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum 1\na_count 2\n'],
  ] as const) {
    test(`${what}: ${text.split("\n").at(-2) ?? ""}`, () => {
      expect(lintMetrics(text).join("\n")).toContain(what);
    });
  }
});

test("docs/metrics.md has every metric, and no other", () => {
  const manual = readFileSync(`${ROOT}docs/metrics.md`, "utf8");
  const rows = [...manual.matchAll(/^\| `([a-z_]+)` +\| (\w+) +\| (.*?) +\| (.*?) +\|$/gm)];
  expect(rows.map(([, name, type, labels, help]) => [name, type, labels, help])).toEqual(
    FAMILY_NAMES.map((name) => {
      const { type, labels = [], help } = FAMILIES[name];
      return [name, type, labels.map((label) => `\`${label}\``).join(", "), help.replaceAll("|", "\\|")];
    }),
  );
});

describe("docs/grafana-dashboard.json", () => {
  interface Panel {
    readonly id: number;
    readonly title: string;
    readonly type: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets?: readonly { readonly expr: string; readonly refId: string }[];
    readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  }
  const dashboard = JSON.parse(readFileSync(`${ROOT}docs/grafana-dashboard.json`, "utf8")) as {
    readonly panels: readonly Panel[];
    readonly templating: { readonly list: readonly { readonly query: string | { readonly query: string } }[] };
    readonly uid: string;
    readonly schemaVersion: number;
  };
  const queries = [
    ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    // The first is the data source.
    ...dashboard.templating.list.slice(1).map(({ query }) => (typeof query === "string" ? query : query.query)),
  ];
  const parts = new Set<string>(
    FAMILY_NAMES.flatMap((name) =>
      FAMILIES[name].type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  );

  test("asks for metrics that there are, with labels that they have", () => {
    expect(queries.length).toBeGreaterThan(20);
    for (const query of queries) {
      const names = query.match(/\b(bunch|process)_[a-z_]+/g) ?? [];
      expect(names.length, query).toBeGreaterThan(0);
      expect(
        names.filter((name) => !parts.has(name)),
        query,
      ).toEqual([]);
      for (const [, name = "", selector = ""] of query.matchAll(/\b((?:bunch|process)_[a-z_]+)\{([^}]*)\}/g)) {
        const family =
          FAMILIES[
            present(
              FAMILY_NAMES.find((each) => name.startsWith(each) && parts.has(name)),
              name,
            )
          ];
        const known = new Set(["job", "instance", "le", ...(family.labels ?? [])]);
        const used = [...selector.matchAll(/([a-z_]+)(?:=~|!~|!=|=)/g)].map(([, label = ""]) => label);
        expect(
          used.filter((label) => !known.has(label)),
          query,
        ).toEqual([]);
      }
    }
  });

  test("counters are asked for as rates or increases, and never as they are", () => {
    for (const query of dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))) {
      for (const [name] of query.matchAll(/\b(?:bunch|process)_[a-z_]+(?:_total|_bucket|_sum|_count)\b/g)) {
        expect(query).toMatch(new RegExp(`(rate|increase)\\(${name}\\{`));
      }
    }
  });

  test("is one that Grafana can show: ids and places are each panel's own, within the grid", () => {
    const { panels } = dashboard;
    expect(dashboard.uid).toBe("bunch");
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(36);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = new Set<string>();
    for (const { title, gridPos, type, targets = [], fieldConfig } of panels) {
      expect(title).not.toBe("");
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(cells.has(`${x} ${y}`), title).toBe(false);
          cells.add(`${x} ${y}`);
        }
      }
      if (type === "row") continue;
      expect(targets.length, title).toBeGreaterThan(0);
      expect(fieldConfig?.defaults.unit ?? "", title).not.toBe("");
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length);
    }
  });
});
