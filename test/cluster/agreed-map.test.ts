/** Three real nodes, started by hand with --config: they agree on every change, any one may be killed, and without a quorum nothing changes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

const DEFINE_CONFIG = fileURLToPath(new URL("../../src/define-config.ts", import.meta.url));
const NAMES = ["a", "b", "c"] as const;
type Name = (typeof NAMES)[number];
const PORTS: Readonly<Record<Name, number>> = { a: 21_870, b: 21_871, c: 21_872 };
const SLOTS: Readonly<Record<Name, string>> = { a: "0-5460", b: "5461-10922", c: "10923-16000" };
/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 120_000;

let directory: string;
const running = new Map<Name, BunchProcess>();

async function start(name: Name): Promise<void> {
  const node = runBunch(["node", "--config", join(directory, `${name}.config.ts`)]);
  running.set(name, node);
  await node.until("listens on");
}

async function kill(name: Name): Promise<void> {
  running.get(name)?.kill("SIGKILL");
  await running.get(name)?.exited;
}

/** Says it again until the node answers so. */
async function ask(name: Name, command: string, wanted: RegExp): Promise<string> {
  const client = await RawClient.connect(PORTS[name]);
  for (;;) {
    const reply = await client.run(command);
    if (reply === undefined) throw new Error(`${name} closed the connection`);
    if (wanted.test(reply)) {
      client.close();
      return reply;
    }
  }
}

const assigned = (count: number): RegExp => new RegExp(`cluster_slots_assigned:${count}\r`);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bunch-agreed-map-"));
  const list = NAMES.map((name) => ({ name, host: "127.0.0.1", port: PORTS[name], slots: [SLOTS[name]] }));
  for (const { name, port } of list) {
    const config = { name, port, dataDir: join(directory, name), plugins: { topology: { nodes: list } } };
    writeFileSync(
      join(directory, `${name}.config.ts`),
      `import { defineConfig } from ${JSON.stringify(DEFINE_CONFIG)};\nexport default defineConfig(${JSON.stringify(config)});\n`,
    );
  }
});

afterAll(async () => {
  await endLeftovers();
  rmSync(directory, { recursive: true, force: true });
});

describe("three nodes with data directories", () => {
  test(
    "agree on every change, whichever of them is killed, and lose none",
    async () => {
      await Promise.all(NAMES.map(start));
      for (const name of NAMES) await ask(name, "cluster info", assigned(16_001));
      let count = 16_001;
      for (const victim of [...NAMES, ...NAMES]) {
        const [asked, other] = NAMES.filter((name) => name !== victim);
        if (asked === undefined || other === undefined) throw new Error("there are two others");
        await kill(victim);
        // The victim may have led: until somebody else does, the answer is that nobody does, or that nobody knows.
        await ask(asked, `cluster addslots ${count}`, /^\+OK|already busy/);
        count += 1;
        await ask(other, "cluster info", assigned(count));
        await start(victim);
        await ask(victim, "cluster info", assigned(count));
      }
      // What each finds of the others by itself is not agreed: pings, and whether they answer.
      const agreedOf = async (name: (typeof NAMES)[number]): Promise<string> =>
        (await ask(name, "cluster nodes", /connected/))
          .replaceAll(/myself,|,fail\??/g, "")
          .replaceAll(/ - \d+ \d+ (\d+) (?:dis)?connected/g, " - $1")
          .replace(/^\$\d+/, "");
      // The last one that came back has been admitted, which the others may hear of a moment later.
      await until(
        () => Promise.all(NAMES.map(agreedOf)),
        ([first, ...rest]) => rest.every((map) => map === first),
        "all to have the same map",
      );
    },
    LIMIT_MS,
  );

  test(
    "refuse changes without a quorum, and say why; with it they go on",
    async () => {
      await Promise.all([kill("a"), kill("b")]);
      const client = await RawClient.connect(PORTS.c);
      const reply = await client.run("cluster addslots 16100");
      expect(reply).toMatch(/^-/);
      expect(reply).toMatch(/leader/);
      expect(await client.run("cluster info")).toMatch(assigned(16_007));
      client.close();
      await Promise.all([start("a"), start("b")]);
      // What was refused, or of which nobody knows, may be asked for again.
      await ask("c", "cluster addslots 16100", /^\+OK|already busy/);
      for (const name of NAMES) await ask(name, "cluster info", assigned(16_008));
    },
    LIMIT_MS,
  );
});
