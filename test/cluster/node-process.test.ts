/** Real processes: how a node starts, says no, and stops. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { agreed, ask, until } from "../support/ask-nodes.ts";
import { endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

const directory = mkdtempSync(join(tmpdir(), "bunch-process-"));
afterAll(async () => {
  await endLeftovers();
  rmSync(directory, { recursive: true, force: true });
});

let lastPort = 21_820;
/** A port of this file's own. */
const nextPort = (): string => String((lastPort += 1));

describe("a node that starts", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`says where it listens, and on ${signal} sends what it owes, and exits with 0`, async () => {
      const port = nextPort();
      const node = runBunch(["node", "--name", "a", "--port", port]);
      await node.until(`listens on 127.0.0.1:${port}`);
      const client = await RawClient.connect(Number(port));
      client.write("SET key value\r\nGET key\r\n");
      expect([await client.reply(), await client.reply()]).toEqual(["+OK\r\n", "$5\r\nvalue\r\n"]);
      node.kill(signal);
      expect(await client.rest()).toBe("");
      expect(await node.exited).toBe(0);
    });
  }

  test("ends on SHUTDOWN with 0", async () => {
    const port = nextPort();
    const node = runBunch(["node", "--port", port]);
    await node.until("listens on");
    const client = await RawClient.connect(Number(port));
    client.write("SHUTDOWN NOSAVE\r\n");
    expect(await client.rest()).toBe("");
    expect(await node.exited).toBe(0);
  });

  test("asks for the password that a flag or the environment gives", async () => {
    for (const [args, environment] of [
      [["--password", "secret"], {}],
      [[], { BUNCH_PASSWORD: "secret" }],
    ] as const) {
      const port = nextPort();
      const node = runBunch(["node", "--port", port, ...args], environment);
      await node.until("listens on");
      const client = await RawClient.connect(Number(port));
      expect(await client.run("get a")).toBe("-NOAUTH Authentication required.\r\n");
      expect(await client.run("auth wrong")).toBe("-WRONGPASS invalid username-password pair or user is disabled.\r\n");
      expect(await client.run("hello 3")).toStartWith(
        "-NOAUTH HELLO must be called with the client already authenticated",
      );
      expect(await client.run("hello 3 auth default secret")).toStartWith("%7\r\n");
      expect(await client.run("get a")).toBe("_\r\n");
      const other = await RawClient.connect(Number(port));
      // What comes in the same piece as the password counts as after it; what is too large before it is refused.
      other.write(`*2\r\n$4\r\nauth\r\n$6\r\nsecret\r\n*12\r\n$3\r\ndel\r\n${"$1\r\nx\r\n".repeat(11)}`);
      expect([await other.reply(), await other.reply()]).toEqual(["+OK\r\n", ":0\r\n"]);
      const stranger = await RawClient.connect(Number(port));
      stranger.write("*11\r\n");
      expect(await stranger.rest()).toBe("-ERR Protocol error: unauthenticated multibulk length\r\n");
      client.close();
      other.close();
      node.kill("SIGTERM");
      expect(await node.exited).toBe(0);
    }
  });

  test("is told to clients by an address that they reach, when it listens on every one, or on a port that the machine chose", async () => {
    const everywhere = nextPort();
    for (const [args, announced] of [
      [["--host", "0.0.0.0", "--insecure", "--port", everywhere], "127.0.0.1"],
      [["--host", "0.0.0.0", "--insecure", "--port", nextPort(), "--announce-host", "a.example"], "a.example"],
      [["--port", "0"], "127.0.0.1"],
    ] as const) {
      const node = runBunch(["node", ...args]);
      await node.until("listens on");
      const port = Number(/listens on [0-9.]+:([0-9]+)/.exec(node.output())?.[1]);
      const client = await RawClient.connect(port);
      expect(await client.run("cluster nodes")).toContain(` ${announced}:${port}@`);
      expect(await client.run("cluster slots")).toContain(`\r\n${announced}\r\n:${port}\r\n`);
      expect(await client.run("cluster shards")).toContain(`\r\n${announced}\r\n`);
      client.close();
      node.kill("SIGTERM");
      expect(await node.exited).toBe(0);
    }
  });

  test("says that it listens nowhere, without the plugin that listens", async () => {
    const node = runBunch(["node", "--name", "a", "--disable", "resp"]);
    await node.until("ready node a listens nowhere (id ");
    node.kill("SIGTERM");
    expect(await node.exited).toBe(0);
  });

  test("keeps its id in its data directory", async () => {
    const ids: string[] = [];
    for (let start = 0; start < 2; start += 1) {
      const port = nextPort();
      const node = runBunch(["node", "--port", port, "--data-dir", join(directory, "kept")]);
      await node.until("listens on");
      ids.push(/id ([0-9a-f]{40})/.exec(node.output())?.[1] ?? "none");
      node.kill("SIGTERM");
      await node.exited;
    }
    expect(ids[0]).toMatch(/^[0-9a-f]{40}$/);
    expect(ids[1]).toBe(ids[0] ?? "");
  });

  test("has its data directory to itself while it runs, and no longer", async () => {
    const data = join(directory, "locked");
    const start = () => runBunch(["node", "--port", nextPort(), "--data-dir", data]);
    const first = start();
    await first.until("listens on");
    const second = start();
    expect(await second.exited).toBe(2);
    expect(second.output()).toMatch(
      /Cannot use data directory ".*locked": process [0-9]+ runs a node with it; stop that/,
    );
    // One that was killed could not say that it ends; one that stops does.
    first.kill("SIGKILL");
    await first.exited;
    const third = start();
    await third.until("listens on");
    expect(existsSync(join(data, "node.json.lock"))).toBe(true);
    third.kill("SIGTERM");
    await third.exited;
    expect(existsSync(join(data, "node.json.lock"))).toBe(false);
    // The number of a process is given again: here this test's, which began at another time.
    writeFileSync(join(data, "node.json.lock"), `${process.pid} 1`);
    const fourth = start();
    await fourth.until("listens on");
    fourth.kill("SIGTERM");
    await fourth.exited;
  });

  test("prints its boot tree with --plugins, and every setting with --help", async () => {
    const tree = runBunch(["node", "--plugins"]);
    expect(await tree.exited).toBe(0);
    for (const text of ["hash-slot-router", "topology", "commandBefore pre", "ms"])
      expect(tree.output()).toContain(text);
    const help = runBunch(["node", "--help"]);
    expect(await help.exited).toBe(0);
    for (const text of [
      "--port <value>",
      "BUNCH_PASSWORD",
      "--resp-max-clients",
      "Plugin eviction:",
      "--disable <plugin>",
    ])
      expect(help.output()).toContain(text);
  });
});

describe("a node that cannot start says why in one sentence, and exits with 2", () => {
  const write = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };
  const cases: readonly (readonly [what: string, args: () => readonly string[], sentence: string])[] = [
    ["an unknown flag", () => ["--prot", "1"], 'Unknown flag "--prot"'],
    ["an argument", () => ["what"], 'Unknown argument "what"'],
    ["a flag without its value", () => ["--port"], "argument missing"],
    [
      "a bad port",
      () => ["--port", "70000"],
      'Setting "port" is 70000 (from --port), but it must be a whole number from 0 to 65535.',
    ],
    [
      "a bad setting of a plugin",
      () => ["--resp-max-clients", "many"],
      'Setting "plugins.resp.maxClients" is "many" (from --resp-max-clients), but it must be a whole number of at least 1.',
    ],
    [
      "a name to announce that would break the lines that clients parse",
      () => ["--announce-host", "a b"],
      'Setting "announceHost" is "a b" (from --announce-host), but it must be text: an address or a host name, or several, separated by commas.',
    ],
    [
      "a map with such a name",
      () => ["--name", "a", "--topology-nodes", '[{"name":"a","host":"a b","port":1,"slots":[]}]'],
      "(at /nodes/0/host:",
    ],
    ["an unknown plugin", () => ["--disable", "chronometer"], 'Unknown plugin "chronometer" (from --disable).'],
    ["a plugin that others need", () => ["--disable", "keyspace"], 'no loaded plugin provides service "keyspace"'],
    [
      "a missing configuration",
      () => ["--config", "nowhere.ts"],
      'Cannot read the configuration "nowhere.ts": there is no such file.',
    ],
    [
      "a configuration with an unknown setting",
      () => ["--config", write("unknown.ts", "export default { prot: 1 };")],
      'Unknown setting "prot"',
    ],
    [
      "a configuration that does not parse",
      () => ["--config", write("broken.ts", "export default {")],
      "Cannot load the configuration",
    ],
    [
      "a configuration without an export",
      () => ["--config", write("empty.ts", "export const a = 1;")],
      "has no default export",
    ],
    ...["[{}]", "5", "[{ name: 'a', boot: 1, settings: {} }]"].map(
      (use, at) =>
        [
          `a configuration that uses ${use}`,
          () => ["--config", write(`use-${at}.ts`, `export default { use: ${use} };`)],
          'must be a list of plugins, as "definePlugin" makes them.',
        ] as const,
    ),
    ["a missing plugin", () => ["--plugin", "nowhere.ts"], 'Cannot load plugin "nowhere.ts": there is no such file.'],
    [
      "a plugin that is none",
      () => ["--plugin", write("none.ts", "export default 1;")],
      "it has no plugin as its default export",
    ],
    [
      "seeds that are no addresses",
      () => ["--join", "127.0.0.1"],
      'Setting "join" is "127.0.0.1" (from --join), but it must be text: bus addresses',
    ],
    [
      "a seed's port that is none",
      () => ["--join", "a:70000"],
      'Flag --join names "a:70000", but a port is from 1 to 65535.',
    ],
    ["an empty node that looks for a cluster", () => ["--empty", "--join", "a:1"], "it goes without --join"],
    ["founders that cannot find each other", () => ["--bootstrap-expect", "3"], "give their bus addresses with --join"],
    ["replicas of nothing", () => ["--replicas", "1"], "about a cluster that is founded by --bootstrap-expect"],
    [
      "too few founders for the replicas",
      () => ["--join", "a:1", "--bootstrap-expect", "2", "--replicas", "2"],
      "a primary with its replicas takes 3 nodes",
    ],
    [
      "a list of nodes and seeds",
      () => [
        "--join",
        "a:1",
        "--name",
        "a",
        "--topology-nodes",
        '[{"name":"a","host":"127.0.0.1","port":1,"slots":[]}]',
      ],
      "goes with none of --join",
    ],
    ["a witness without a disk", () => ["--witness"], "needs a data directory"],
    [
      "one port for clients and for nodes",
      () => ["--port", "5000", "--bus-port", "5000"],
      'Settings "port" and "busPort" are both 5000: clients and other nodes want a port each.',
    ],
    [
      "elections that come before heartbeats",
      () => ["--raft-heartbeat-ms", "300"],
      'Setting "plugins.raft.heartbeatMs" is 300, but it must be at most half of electionMs (500)',
    ],
    [
      "a grain of time that is too coarse for heartbeats",
      () => ["--raft-tick-ms", "200"],
      'Setting "plugins.raft.tickMs" is 200, but it must be at most heartbeatMs (100)',
    ],
    [
      "an even number of voters",
      () => ["--raft-max-voters", "4"],
      'Setting "plugins.raft.maxVoters" is 4, but it must be 1, 3 or 5: 4 voters can spare no more than 3 can',
    ],
    [
      "a token that is too short",
      () => ["--http-admin-token", "brief"],
      'Setting "plugins.http.adminToken" is not shown (from --http-admin-token), but it must be 16 to 256 letters',
    ],
    [
      "an address off loopback without a password",
      () => ["--host", "0.0.0.0", "--secret", "known-to-all"],
      "Cannot listen on 0.0.0.0 without a password",
    ],
    [
      "an address off loopback without a cluster secret",
      () => ["--host", "0.0.0.0", "--password", "x"],
      "Cannot listen on 0.0.0.0 for other nodes without a cluster secret",
    ],
    [
      "a secret that is too short",
      () => ["--secret", "brief"],
      'Setting "secret" is not shown (from --secret), but it must be a secret: 8 to 256',
    ],
    [
      "a secret and a file with one",
      () => ["--secret", "known-to-all", "--secret-file", write("secret.txt", "known-to-all\n")],
      'Settings "secret" and "secretFile" are both set',
    ],
    [
      "a file of secrets that is not there",
      () => ["--secret-file", "none.txt"],
      'Cannot read the cluster secret from "none.txt": ENOENT',
    ],
    ["a file of secrets that is empty", () => ["--secret-file", write("empty.txt", " \n")], ": it is empty."],
    [
      "a file of secrets that begins with none",
      () => ["--secret-file", write("begins-with-none.txt", "-\nknown-to-all\n")],
      ": its first secret is none.",
    ],
    [
      "a file with a secret that is none",
      () => ["--secret-file", write("bad.txt", "known-to-all\nbrief\n")],
      ": secret 2 must be 8 to 256 letters",
    ],
    [
      "a file with three secrets",
      () => ["--secret-file", write("three.txt", "first-secret\nsecond-secret\nthird-secret\n")],
      ": there are 3, and at most 2",
    ],
    [
      "an address that is not this machine's",
      () => ["--host", "198.51.100.1", "--password", "x", "--secret", "known-to-all"],
      "Cannot listen on 198.51.100.1",
    ],
    [
      "a map that does not list it",
      () => ["--name", "c", "--topology-nodes", '[{"name":"a","host":"127.0.0.1","port":1,"slots":["0-16383"]}]'],
      'does not list this node (name "c"',
    ],
    [
      "a map with a slot twice",
      () => [
        "--name",
        "a",
        "--topology-nodes",
        '[{"name":"a","host":"127.0.0.1","port":1,"slots":["0-10"]},{"name":"b","host":"127.0.0.1","port":2,"slots":["10"]}]',
      ],
      "two nodes have slot 10",
    ],
    [
      "a map with a bad range",
      () => ["--name", "a", "--topology-nodes", '[{"name":"a","host":"127.0.0.1","port":1,"slots":["5-20000"]}]'],
      'gives node "a" the slots "5-20000"',
    ],
    ["a map that is no list", () => ["--topology-nodes", "{}"], 'Setting "plugins.topology.nodes" is {}'],
  ];
  for (const [what, args, sentence] of cases) {
    test(what, async () => {
      const node = runBunch(["node", "--port", "0", ...args()], {}, directory);
      expect(await node.exited, node.output()).toBe(2);
      expect(node.output()).toContain(sentence);
      // A sentence, and no stack.
      expect(node.output()).not.toContain("    at ");
    });
  }

  test("a taken port", async () => {
    const port = nextPort();
    const first = runBunch(["node", "--port", port]);
    await first.until("listens on");
    const second = runBunch(["node", "--port", port]);
    expect(await second.exited).toBe(2);
    expect(second.output()).toContain(
      `Cannot listen on 127.0.0.1:${Number(port) + 10_000}: another process listens there`,
    );
    expect(second.output()).toContain(`the client port ${port} + 10000`);
    const third = runBunch(["node", "--port", port, "--disable", "raft,bus,http"]);
    expect(await third.exited).toBe(2);
    expect(third.output()).toContain(`Cannot listen on 127.0.0.1:${port}: another process listens there`);
    first.kill("SIGTERM");
    await first.exited;
  });

  test("a data directory that is another node's, of another format, damaged, somebody else's, or none", async () => {
    const data = join(directory, "data");
    const start = (name: string, path: string) => runBunch(["node", "--port", "0", "--name", name, "--data-dir", path]);
    const owner = start("a", data);
    await owner.until("listens on");
    owner.kill("SIGTERM");
    await owner.exited;
    const cases: readonly (readonly [string, string])[] = [
      [data, 'it belongs to node "a", and this node is named "b"'],
      [join(directory, "later"), "it has format 99, and this version reads format 1"],
      [join(directory, "damaged"), "its node.json is damaged"],
      [join(directory, "foreign"), "it holds files (photo.jpg) and no node.json"],
      [join(directory, "foreign", "photo.jpg"), "ENOTDIR"],
      ["/proc/nowhere", "ENOENT"],
    ];
    await Bun.write(join(directory, "later", "node.json"), '{"format":99}');
    await Bun.write(join(directory, "damaged", "node.json"), '{"format":1,"id":"x"');
    await Bun.write(join(directory, "foreign", "photo.jpg"), "x");
    for (const [path, sentence] of cases) {
      const node = start("b", path);
      expect(await node.exited, path).toBe(2);
      expect(node.output()).toContain(`Cannot use data directory "${path}": `);
      expect(node.output()).toContain(sentence);
      expect(node.output()).not.toContain("    at ");
    }
  });
});

describe("bun start", () => {
  test("starts nodes, says when one dies, and stops them all", async () => {
    const cluster = runBunch(["start", "--nodes", "3", "--port", "21846"]);
    await cluster.until("Ctrl-C stops them all.");
    for (const name of ["node-1", "node-2", "node-3"])
      expect(cluster.output()).toContain(`${name} | ready node ${name} listens on`);
    expect(cluster.output()).toContain("redis-cli -c -p 21846 set foo bar");
    expect(cluster.output()).toContain("bun run bunch status --node 127.0.0.1:21846\n");
    const client = await RawClient.connect(21_847);
    const victim = Number(/process_id:([0-9]+)/.exec((await client.run("info server")) ?? "")?.[1]);
    process.kill(victim, "SIGKILL");
    await cluster.until(
      "node-2 | the node has died (signal SIGKILL); its slots are not served; bun run bunch health --node 127.0.0.1:",
    );
    const survivors = [];
    for (const port of [21_846, 21_848]) {
      const survivor = await RawClient.connect(port);
      survivors.push(Number(/process_id:([0-9]+)/.exec((await survivor.run("info server")) ?? "")?.[1]));
      survivor.close();
    }
    cluster.kill("SIGTERM");
    // One has died: that is not what was asked for.
    expect(await cluster.exited).toBe(1);
    for (const survivor of survivors) expect(() => process.kill(survivor, 0)).toThrow();
  });

  for (const signal of ["SIGHUP", "SIGKILL"] as const) {
    test(`leaves no node behind when it ends by ${signal}`, async () => {
      const cluster = runBunch(["start", "--nodes", "2", "--port", "21846"]);
      await cluster.until("Ctrl-C stops them all.");
      const clients = await Promise.all([21_846, 21_847].map((port) => RawClient.connect(port)));
      cluster.kill(signal);
      // A node that stops closes its connections; one that was left behind would not.
      for (const client of clients) expect(await client.rest()).toBe("");
      await cluster.exited;
    });
  }

  test("forms a cluster that serves all slots", async () => {
    const ports = [21_846, 21_847, 21_848];
    // Of a node that somebody runs by hand beside it.
    const environment = {
      BUNCH_SECRET_FILE: "/nowhere",
      BUNCH_DATA_DIR: "/nowhere",
      BUNCH_BUS_PORT: "21856",
      BUNCH_TOKEN: "of-the-test-0123456789",
    };
    const cluster = runBunch(["start", "--port", String(ports[0])], environment);
    await cluster.until("3 nodes, all 16384 slots served.");
    const map = await agreed(ports, (nodes) => nodes.length === 3);
    expect(map.map(({ slots }) => slots).toSorted()).toEqual(["0-5460", "10923-16383", "5461-10922"]);
    for (const port of ports) expect(await ask(port, "cluster info")).toContain("cluster_state:ok");
    // Operators come by HTTP, with a token that no output has in it.
    await cluster.until("Ctrl-C stops them all.");
    expect(cluster.output()).toContain(`the dashboard: http://127.0.0.1:${(ports[0] ?? 0) + 9121}/dashboard`);
    for (const [at, port] of ports.entries()) {
      expect(cluster.output()).toContain(`node-${at + 1}: http://127.0.0.1:${port + 9121}`);
      const url = `http://127.0.0.1:${port + 9121}/cluster/settings`;
      const change = { method: "PUT", body: '{"on-loss":"stop"}', headers: { "content-type": "application/json" } };
      expect((await fetch(url)).status).toBe(200);
      expect((await fetch(url, change)).status).toBe(401);
      const headers = { ...change.headers, authorization: `Bearer ${environment.BUNCH_TOKEN}` };
      expect((await fetch(url, { ...change, headers })).status).toBe(200);
    }
    expect(cluster.output()).not.toContain(environment.BUNCH_TOKEN);
    cluster.kill("SIGINT");
    expect(await cluster.exited).toBe(0);
  }, 60_000);

  test("--replicas gives each primary its own, on the ports after the primaries', and says who is what", async () => {
    const ports = [21_846, 21_847, 21_848, 21_849, 21_850, 21_851];
    const cluster = runBunch(["start", "--replicas", "1", "--port", String(ports[0])]);
    // Six processes begin at once: a machine that is busy takes long.
    await cluster.until("6 nodes, all 16384 slots served.", 90_000);
    const cells = cluster
      .output()
      .split("\n")
      .filter((line) => line.includes("\u2502"))
      .map((line) =>
        line
          .split("\u2502")
          .map((cell) => cell.trim())
          .slice(1, -1),
      );
    expect(cells.slice(1)).toEqual([
      ["node-1", "21846", "primary", "0-5460"],
      ["node-2", "21847", "primary", "5461-10922"],
      ["node-3", "21848", "primary", "10923-16383"],
      ["node-4", "21849", "replica of node-1", ""],
      ["node-5", "21850", "replica of node-2", ""],
      ["node-6", "21851", "replica of node-3", ""],
    ]);
    const client = await RawClient.connect(21_846);
    // Slot 0 is the first one's.
    expect(await client.run("set {3560}k v")).toBe("+OK\r\n");
    client.close();
    const reader = await RawClient.connect(21_849);
    expect(await reader.run("readonly")).toBe("+OK\r\n");
    // It is filled by and by, and sends its clients to the primary until it is.
    await until(
      () => reader.run("get {3560}k"),
      (reply) => reply === "$1\r\nv\r\n",
      "the replica to have the key",
    );
    reader.close();
    cluster.kill("SIGINT");
    expect(await cluster.exited).toBe(0);
  }, 120_000);

  for (const [what, reader] of [
    ["has read one line", "head -n 1"],
    ["reads nothing", "true"],
  ] as const) {
    test(`ends with its nodes when who reads its output ${what} and goes`, async () => {
      const main = join(import.meta.dir, "../../src/main.ts");
      const command = `"${process.execPath}" "${main}" start --nodes 2 --port 21846 | ${reader}`;
      // A shell waits for all of a pipeline: it ends when `bun start` does.
      const shell = Bun.spawn(["sh", "-c", command], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
      await shell.exited;
      for (const port of [21_846, 21_847]) expect(await ask(port, "ping")).toBe("closed");
    }, 60_000);
  }

  test("ends when it is told to before its nodes serve", async () => {
    const cluster = runBunch(["start", "--nodes", "2", "--port", "21846"]);
    await cluster.until("ready node");
    cluster.kill("SIGTERM");
    expect(await cluster.exited).toBe(0);
  }, 60_000);

  test("says no to a bad number of nodes, and to a taken port", async () => {
    const bad = runBunch(["start", "--nodes", "0"]);
    expect(await bad.exited).toBe(2);
    expect(bad.output()).toContain('Flag --nodes is "0", but it must be a whole number from 1 to 100.');
    const many = runBunch(["start", "--nodes", "60", "--replicas", "1"]);
    expect(await many.exited).toBe(2);
    expect(many.output()).toContain("Flags --nodes 60 and --replicas 1 make 120 nodes, but there can be 100 at most.");
    const holder = runBunch(["node", "--port", "21850"]);
    await holder.until("listens on");
    const cluster = runBunch(["start", "--nodes", "2", "--port", "21849"]);
    expect(await cluster.exited).toBe(2);
    expect(cluster.output()).toContain("Cannot listen on 127.0.0.1:31850");
    expect(cluster.output()).toContain("Node node-2 did not start");
    holder.kill("SIGTERM");
    await holder.exited;
  });
});
