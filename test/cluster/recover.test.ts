/** The ways out of a lost majority, with real processes and real directories: recover, export, import. */
import { afterAll, describe, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

const root = mkdtempSync(join(tmpdir(), "bunch-recover-"));
afterAll(async () => {
  await endLeftovers();
  rmSync(root, { recursive: true, force: true });
});

const NAMES = ["a", "b", "c"] as const;
type Name = (typeof NAMES)[number];
const CHANGES = join(import.meta.dir, "../../bench/changes.config.ts");
const PATIENCE_MS = 15_000;

let lastPort = 22_139;

/** Three nodes that may be killed and started again. Each test has directories and ports of its own. */
class ThreeNodes {
  readonly directory: string;
  readonly processes = new Map<Name, BunchProcess>();
  readonly #ports = new Map<Name, number>(NAMES.map((name) => [name, (lastPort += 1)]));

  constructor(title: string) {
    this.directory = join(root, title);
  }

  port(name: Name): number {
    return this.#ports.get(name) ?? 0;
  }

  dataDir(name: Name): string {
    return join(this.directory, name);
  }

  start(name: Name, dataDir = this.dataDir(name)): BunchProcess {
    const slots = ["0-5460", "5461-10922", "10923-16383"];
    const nodes = NAMES.map((each, at) => ({
      name: each,
      host: "127.0.0.1",
      port: this.port(each),
      slots: [slots[at] ?? ""],
    }));
    const args = ["--config", CHANGES, "--name", name, "--port", String(this.port(name)), "--data-dir", dataDir];
    // What is asked for without a majority is refused after this.
    args.push("--raft-request-ms", "2000");
    const node = runBunch(["node", ...args], { BUNCH_TOPOLOGY_NODES: JSON.stringify(nodes) });
    this.processes.set(name, node);
    return node;
  }

  async startAll(): Promise<void> {
    await Promise.all(NAMES.map((name) => this.start(name).until("takes part")));
    // Admitted, and known to be so by all.
    await until(async () => {
      const maps = await Promise.all(NAMES.map((name) => info(this.port(name))));
      return maps.every((map) => map["raft_commit_index"] === maps[0]?.["raft_commit_index"]);
    });
  }

  async end(name: Name, signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const node = this.processes.get(name);
    node?.kill(signal);
    await node?.exited;
  }
}

async function ask(port: number, line: string): Promise<string> {
  const client = await RawClient.connect(port);
  const reply = await client.run(line);
  client.close();
  return reply ?? "";
}

async function info(port: number): Promise<Readonly<Record<string, string>>> {
  const lines = (await ask(port, "INFO cluster")).split("\r\n").filter((line) => line.includes(":"));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1)]));
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  while (!(await isSo().catch(() => false))) {
    if (performance.now() > deadlineMs) throw new Error("Waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function command(...args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  const process = runBunch(args);
  const code = await process.exited;
  return { code, output: process.output() };
}

/** What a directory holds, names and bytes. */
function contentOf(directory: string): Readonly<Record<string, string>> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    names.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(directory.length + 1), readFileSync(path, "hex")];
    }),
  );
}

interface ExportedMap {
  readonly clusterId: string;
  readonly version: number;
  readonly nodes: readonly { readonly name: string; readonly id: string; readonly port: number }[];
  readonly settings: readonly (readonly [string, string])[];
  readonly shards: readonly { readonly slots: readonly { readonly first: number; readonly last: number }[] }[];
}

async function exportedMap(dataDir: string): Promise<ExportedMap> {
  const { code, output } = await command("export", "--from", dataDir);
  expect(code, output).toBe(0);
  return JSON.parse(output) as ExportedMap;
}

describe("a cluster that has lost two of its three nodes for good", () => {
  test("is recovered from the third: it leads alone, has every change that was answered, and takes new nodes in", async () => {
    const cluster = new ThreeNodes("recovered");
    await cluster.startAll();
    const before = await info(cluster.port("c"));
    for (let change = 0; change < 20; change += 1) {
      expect(await ask(cluster.port("c"), `BENCHCHANGE ${change % 2 === 0 ? 1 : 2}`)).toBe("+OK\r\n");
    }
    expect(await ask(cluster.port("c"), "BENCHCHANGE 7")).toBe("+OK\r\n");
    await Promise.all([cluster.end("a"), cluster.end("b")]);
    for (const name of ["a", "b"] as const) rmSync(cluster.dataDir(name), { recursive: true });
    // Without a majority nothing is agreed: what follows is needed.
    expect(await ask(cluster.port("c"), "BENCHCHANGE 9")).toStartWith("-ERR");
    await cluster.end("c");
    const old = contentOf(cluster.dataDir("c"));

    const unsure = await command("recover", "--from", cluster.dataDir("c"));
    expect([unsure.code, contentOf(cluster.dataDir("c"))]).toEqual([2, old]);
    expect(unsure.output).toContain("say --yes");

    const recovered = await command("recover", "--from", cluster.dataDir("c"), "--yes");
    expect(recovered.code, recovered.output).toBe(0);
    for (const text of [
      "The data directory of node c",
      "All of them are taken",
      'setting min-in-sync is "7"',
      "every change of the map that the other nodes agreed on and this one had not been sent yet",
      "the keys of slots 0-5460, 5461-10922",
      "there are two clusters, which do not know of each other",
      "they join this cluster",
    ]) {
      expect(recovered.output).toContain(text);
    }
    const backup = readdirSync(cluster.directory).find((name) => name.startsWith("c.before-recovery-"));
    expect(contentOf(join(cluster.directory, backup ?? ""))).toEqual(old);

    await cluster.start("c").until("takes part");
    const after = await info(cluster.port("c"));
    expect([after["raft_role"], after["raft_voters"], after["raft_members"]]).toEqual(["leader", "1", "1"]);
    expect(Number(after["raft_commit_index"])).toBeGreaterThan(Number(before["raft_commit_index"]) + 21);
    expect(await ask(cluster.port("c"), "BENCHCHANGE 3")).toBe("+OK\r\n");

    await Promise.all((["a", "b"] as const).map((name) => cluster.start(name).until("takes part")));
    await until(async () => (await info(cluster.port("c")))["raft_voters"] === "3");
    for (const name of NAMES) expect(await ask(cluster.port(name), "BENCHCHANGE 4")).toBe("+OK\r\n");
    expect(await ask(cluster.port("a"), "CLUSTER INFO")).toContain("cluster_slots_assigned:16384");
    await Promise.all(NAMES.map((name) => cluster.end(name, "SIGTERM")));
    const map = await exportedMap(cluster.dataDir("a"));
    expect(map.nodes.map(({ name }) => name).toSorted()).toEqual(["a", "b", "c"]);
    expect(map.settings).toEqual([["min-in-sync", "4"]]);
  }, 60_000);

  test("is recovered into another directory, with everything that was on its disk, and the old one is not touched", async () => {
    const cluster = new ThreeNodes("elsewhere");
    await cluster.startAll();
    expect(await ask(cluster.port("a"), "BENCHCHANGE 5")).toBe("+OK\r\n");
    // The majority that agreed may have been the other two: this one writes a moment later.
    await until(async () => (await exportedMap(cluster.dataDir("a"))).settings[0]?.[1] === "5");
    await Promise.all(NAMES.map((name) => cluster.end(name)));
    const old = contentOf(cluster.dataDir("a"));
    const target = join(cluster.directory, "a-new");
    const recovered = await command("recover", "--from", cluster.dataDir("a"), "--data-dir", target, "--yes");
    expect(recovered.code, recovered.output).toBe(0);
    expect(contentOf(cluster.dataDir("a"))).toEqual(old);
    const [before, after] = [await exportedMap(cluster.dataDir("a")), await exportedMap(target)];
    expect(after.clusterId).not.toBe(before.clusterId);
    expect(after.version).toBe(before.version + 1);
    expect({ ...after, clusterId: "", version: 0 }).toEqual({ ...before, clusterId: "", version: 0 });
    expect(after.settings).toEqual([["min-in-sync", "5"]]);
    // A second time nothing is overwritten.
    const again = await command("recover", "--from", cluster.dataDir("a"), "--data-dir", target, "--yes");
    expect(again.code).toBe(2);
    expect(again.output).toContain("is there already, and not empty");
    const node = cluster.start("a", target);
    await node.until("takes part");
    expect((await info(cluster.port("a")))["raft_role"]).toBe("leader");
    await cluster.end("a", "SIGTERM");
  }, 60_000);

  test("is recovered by a second try, if the first was cut off when the old directory was away and the new one not in its place", async () => {
    const dataDir = join(root, "cut-off");
    const node = runBunch(["node", "--name", "a", "--port", String((lastPort += 1)), "--data-dir", dataDir]);
    await node.until("takes part");
    node.kill("SIGTERM");
    await node.exited;
    expect((await command("recover", "--from", dataDir, "--yes")).code).toBe(0);
    const made = contentOf(dataDir);
    renameSync(dataDir, `${dataDir}.unfinished`);
    const again = await command("recover", "--from", dataDir, "--yes");
    expect(again.code, again.output).toBe(0);
    expect(again.output).toContain("cut off at its last step: that is done");
    expect(contentOf(dataDir)).toEqual(made);
    expect(existsSync(`${dataDir}.unfinished`)).toBe(false);
  }, 60_000);

  test("is not recovered while the node runs, or while a majority answers", async () => {
    const cluster = new ThreeNodes("alive");
    await cluster.startAll();
    const running = await command("recover", "--from", cluster.dataDir("a"), "--yes");
    expect(running.code).toBe(2);
    expect(running.output).toContain("stop the node first");
    await cluster.end("a");
    const majority = await command("recover", "--from", cluster.dataDir("a"), "--yes");
    expect(majority.code).toBe(2);
    expect(majority.output).toContain("nothing is lost");
    await cluster.start("a").until("takes part");
    await Promise.all(NAMES.map((name) => cluster.end(name, "SIGTERM")));
  }, 60_000);
});

describe("export and import", () => {
  test("carry the map to a new cluster of one node, which the others join", async () => {
    const cluster = new ThreeNodes("carried");
    await cluster.startAll();
    expect(await ask(cluster.port("b"), "BENCHCHANGE 6")).toBe("+OK\r\n");
    await Promise.all(NAMES.map((name) => cluster.end(name, "SIGTERM")));
    const file = join(cluster.directory, "map.json");
    expect((await command("export", "--from", cluster.dataDir("b"), "--to", file)).code).toBe(0);
    const map = JSON.parse(readFileSync(file, "utf8")) as ExportedMap;
    for (const name of NAMES) rmSync(cluster.dataDir(name), { recursive: true });

    const unnamed = await command("import", file, "--data-dir", cluster.dataDir("b"));
    expect(unnamed.code).toBe(2);
    expect(unnamed.output).toContain("Say with --node");
    expect(existsSync(cluster.dataDir("b"))).toBe(false);
    const imported = await command("import", file, "--data-dir", cluster.dataDir("b"), "--node", "b");
    expect(imported.code, imported.output).toBe(0);
    await cluster.start("b").until("takes part");
    await Promise.all((["a", "c"] as const).map((name) => cluster.start(name).until("takes part")));
    await until(async () => (await info(cluster.port("b")))["raft_voters"] === "3");
    await Promise.all(NAMES.map((name) => cluster.end(name, "SIGTERM")));
    const after = await exportedMap(cluster.dataDir("c"));
    expect(after.clusterId).not.toBe(map.clusterId);
    expect(after.version).toBeGreaterThan(map.version);
    expect(after.settings).toEqual(map.settings);
    expect(after.shards.map(({ slots }) => slots)).toEqual(map.shards.map(({ slots }) => slots));
    expect(after.nodes.map(({ id, port }) => [id, port])).toEqual(map.nodes.map(({ id, port }) => [id, port]));
  }, 60_000);

  test("take the map from a node that runs, with its password, and make the same of it", async () => {
    const port = (lastPort += 1);
    const dataDir = join(root, "asked");
    const args = ["--name", "a", "--port", String(port), "--data-dir", dataDir, "--password", "open sesame"];
    const node = runBunch(["node", ...args]);
    await node.until("takes part");
    const address = `127.0.0.1:${port}`;
    const file = join(root, "asked.json");
    const asked = await command("export", "--node", address, "--password", "open sesame", "--to", file);
    expect(asked.code, asked.output).toBe(0);
    expect(asked.output).toContain("version");
    const text = readFileSync(file, "utf8");
    for (const [given, says] of [
      [["--node", address], "NOAUTH"],
      [["--node", address, "--password", "wrong"], "WRONGPASS"],
      [
        ["--node", `127.0.0.1:${port + 10_000}`, "--password", "open sesame"],
        `Cannot ask the node at 127.0.0.1:${port + 10_000}`,
      ],
      [["--node", "127.0.0.1:1"], "Cannot ask the node at 127.0.0.1:1: "],
      [["--node", "here"], '"here" is no address of a node'],
      [["--node", address, "--from", dataDir], "with one of --from DIR and --node HOST:PORT"],
      [[], "with one of --from DIR and --node HOST:PORT"],
    ] as const) {
      const { code, output } = await command("export", ...given);
      expect(code, output).toBe(2);
      expect(output).toContain(says);
      expect(output).not.toContain("    at ");
    }
    node.kill("SIGTERM");
    await node.exited;
    // What is on its disk is what it said.
    expect((await command("export", "--from", dataDir)).output).toBe(text);
    const imported = await command("import", file, "--data-dir", join(root, "made-of-it"));
    expect(imported.code, imported.output).toBe(0);
    const made = await exportedMap(join(root, "made-of-it"));
    const map = JSON.parse(text) as ExportedMap;
    expect(made.shards.map(({ slots }) => slots)).toEqual(map.shards.map(({ slots }) => slots));
    const started = runBunch(["node", "--name", "a", "--port", String(port), "--data-dir", join(root, "made-of-it")]);
    await started.until("takes part");
    expect(await ask(port, "SET k v")).toBe("+OK\r\n");
    started.kill("SIGTERM");
    await started.exited;
  }, 60_000);

  test("refuse a map that is not one, and name the field", async () => {
    const dataDir = join(root, "alone");
    const port = String((lastPort += 1));
    const node = runBunch(["node", "--name", "a", "--port", port, "--data-dir", dataDir]);
    await node.until("takes part");
    node.kill("SIGTERM");
    await node.exited;
    const good = (await command("export", "--from", dataDir)).output;
    type Json = Record<string, unknown> & { nodes: Record<string, unknown>[]; shards: Record<string, unknown>[] };
    const changed = (change: (map: Json) => void): string => {
      const map = JSON.parse(good) as Json;
      change(map);
      return JSON.stringify(map);
    };
    const cases: readonly (readonly [text: string, sentence: string])[] = [
      ["{", "is not JSON"],
      ["[]", "the whole is []"],
      [changed((map) => (map["format"] = "other")), 'format is "other", but it must be "bunch cluster map 1"'],
      [
        changed((map) => Object.assign(map.nodes[0] ?? {}, { port: 70_000 })),
        "nodes[0].port is 70000, but it must be a port",
      ],
      [changed((map) => Object.assign(map.nodes[0] ?? {}, { id: "x" })), 'nodes[0].id is "x"'],
      [changed((map) => delete map.nodes[0]?.["host"]), "nodes[0].host is missing"],
      [changed((map) => (map["colour"] = 1)), "has a field that no map has: colour"],
      [changed((map) => map.nodes.push(map.nodes[0] ?? {})), "nodes[1] is there twice"],
      [
        changed((map) => Object.assign(map.shards[0] ?? {}, { slots: [{ first: 0, last: 16_384 }] })),
        "shards[0].slots[0].last is 16384, but it must be a slot",
      ],
      [
        changed((map) => Object.assign(map.shards[0] ?? {}, { primary: "0".repeat(40) })),
        "contradicts itself. This must hold, and does not: member 0000",
      ],
    ];
    const target = join(root, "never");
    for (const [text, sentence] of cases) {
      const file = join(root, "bad.json");
      writeFileSync(file, text);
      const { code, output } = await command("import", file, "--data-dir", target);
      expect(output).toContain(sentence);
      expect(output).not.toContain("    at ");
      expect([code, existsSync(target)]).toEqual([2, false]);
    }
    writeFileSync(join(root, "good.json"), good);
    const { code, output } = await command("import", join(root, "good.json"), "--data-dir", dataDir);
    expect(code).toBe(2);
    expect(output).toContain("is there already, and not empty");
  }, 60_000);
});

describe("a data directory that cannot be used is refused in one sentence, and not touched", () => {
  test("one that is none, one of a node without a map, and a damaged one", async () => {
    const dataDir = join(root, "whole");
    const port = String((lastPort += 1));
    const node = runBunch(["node", "--name", "a", "--port", port, "--data-dir", dataDir]);
    await node.until("takes part");
    node.kill("SIGTERM");
    await node.exited;
    const bare = join(root, "bare");
    cpSync(dataDir, bare, { recursive: true });
    rmSync(join(bare, "raft"), { recursive: true });
    const damaged = join(root, "damaged");
    cpSync(dataDir, damaged, { recursive: true });
    const snapshot = readdirSync(join(damaged, "raft")).find((name) => name.startsWith("snapshot")) ?? "";
    truncateSync(join(damaged, "raft", snapshot), 40);
    for (const [path, sentence] of [
      [join(root, "nowhere"), "there is none"],
      [tmpdir(), "it has no node.json"],
      [bare, "it holds no cluster map"],
      [damaged, `Damaged file raft/${snapshot}`],
    ] as const) {
      const before = existsSync(path) && path !== tmpdir() ? contentOf(path) : undefined;
      for (const args of [["recover", "--yes"], ["export"]]) {
        const { code, output } = await command(...args, "--from", path);
        expect(code).toBe(2);
        expect(output).toContain(sentence);
        expect(output).not.toContain("    at ");
      }
      if (before !== undefined) expect(contentOf(path)).toEqual(before);
    }
  }, 60_000);
});
