/** Metrics of a cluster of two shards with a replica each: what primaries and replicas tell, and what moves, failovers and redirects count. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { readMetrics } from "../../src/cli/prometheus-text.ts";
import { migrationService } from "../../src/contracts/migration.ts";
import { type ShardRecord, type Topology, topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { FakeHttpDoor, TOKENS } from "../support/http-door.ts";
import { lintMetrics } from "../support/metrics-lint.ts";

const PORTS = [23_240, 23_241, 23_242, 23_243] as const;
const LIMIT_MS = 60_000;

interface Member {
  readonly node: Node;
  readonly door: FakeHttpDoor;
}
const members: Member[] = [];

async function until(what: string, isSo: () => Promise<boolean> | boolean, withinMs = 30_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`It did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const topologyOf = ({ node }: Member): Topology => present(node.service(topologyService), "there is a map");
const member = (id: string): Member =>
  present(
    members.find(({ node }) => node.facts.id === id),
    "it is one of these",
  );
const shards = (): readonly ShardRecord[] => topologyOf(present(members[0], "there is one")).map.shards;
async function scrape({ door }: Member): Promise<string> {
  const answer = await door.ask("/metrics", { token: TOKENS.readToken });
  expect(answer.status).toBe(200);
  return answer.text;
}
/** One series. @returns `undefined` if it is not told. */
async function valueOf(
  of: Member,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number | undefined> {
  const { samples } = present(readMetrics(await scrape(of)), "it can be read");
  return samples.find(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  )?.value;
}

beforeAll(async () => {
  for (const [at, port] of PORTS.entries()) {
    const door = new FakeHttpDoor();
    const node = await createNode({
      world: { ...createBunWorld({ logLevel: "silent" }), httpServer: door },
      config: {
        name: `n${at}`,
        port,
        busPort: port + 20,
        join: PORTS.map((each) => `127.0.0.1:${each + 20}`).join(","),
        bootstrapExpect: PORTS.length,
        replicas: 1,
        plugins: { http: TOKENS, discovery: { preset: "local" } },
      },
    });
    members.push({ node, door });
  }
  await Promise.all(members.map(({ node }) => node.start()));
  await until(
    "both shards to have their replica in sync",
    () =>
      members.every((each) => topologyOf(each).map.shards.length === 2) &&
      shards().every(({ inSync }) => inSync.length === 2),
  );
}, LIMIT_MS);
afterAll(async () => {
  await Promise.all(members.map(({ node }) => node.stop()));
}, LIMIT_MS);

test("a primary tells of its replicas and its lease, a replica of its copy", async () => {
  const [shard] = shards();
  const { primary, replicas, id } = present(shard, "there is a shard");
  const [replica = ""] = replicas;
  const leading = member(primary);
  const { node } = leading;
  await until("the primary to have its lease", async () => (await valueOf(leading, "bunch_lease_held")) === 1);
  expect(await valueOf(leading, "bunch_shard_info", { shard: id, role: "primary" })).toBe(1);
  expect(await valueOf(leading, "bunch_in_sync_members")).toBe(2);
  expect(await valueOf(leading, "bunch_replicas", { state: "following" })).toBe(1);
  await until(
    "it to lack nothing",
    async () => (await valueOf(leading, "bunch_replica_lag_entries", { replica })) === 0,
  );
  const margin = present(await valueOf(leading, "bunch_lease_margin_seconds"), "it has a lease");
  expect(margin).toBeGreaterThan(0);
  expect(margin).toBeLessThan(60);

  const following = member(replica);
  expect(await valueOf(following, "bunch_shard_info", { shard: id, role: "replica" })).toBe(1);
  expect(await valueOf(following, "bunch_replicas")).toBeUndefined();
  expect(await valueOf(following, "bunch_replica_lag_entries")).toBeUndefined();
  expect(await valueOf(following, "bunch_lease_margin_seconds")).toBeUndefined();
  expect(await valueOf(following, "bunch_members", { state: "alive" })).toBe(4);
  expect(await valueOf(leading, "bunch_in_sync_changes_total", { change: "joined" })).toBeGreaterThanOrEqual(0);
  expect(node.facts.id).toBe(primary);
  for (const each of members) expect(lintMetrics(await scrape(each))).toEqual([]);
  const leaders = await Promise.all(members.map((each) => valueOf(each, "bunch_raft_is_leader")));
  expect(leaders.filter((value) => value === 1)).toHaveLength(1);
});

test("keys that are another node's are redirects, and rejected commands", async () => {
  const [one] = shards();
  const owner = member(present(one, "there is a shard").primary);
  const connection = owner.node.connect();
  let moved = 0;
  for (let key = 0; key < 50; key += 1) {
    const told = Bun.inspect(await connection.execute("set", `key ${key}`, "value"));
    if (told.includes("MOVED")) moved += 1;
  }
  expect(moved).toBeGreaterThan(0);
  expect(await valueOf(owner, "bunch_redirects_total", { kind: "moved" })).toBe(moved);
  expect(await valueOf(owner, "bunch_commands_total", { command: "set", outcome: "rejected" })).toBe(moved);
  expect(await valueOf(owner, "bunch_commands_total", { command: "set", outcome: "ok" })).toBe(50 - moved);
  expect(await valueOf(owner, "bunch_error_replies_total", { error: "MOVED" })).toBe(moved);
});

test("moves of slots are counted where the source is led", async () => {
  const [from, to] = shards();
  const [source, target] = [present(from, "there is one"), present(to, "there is another")];
  const leading = member(source.primary);
  const { first, last } = present(source.slots[0], "it has slots");
  const keys = present(await valueOf(leading, "bunch_keys"), "it has keys");
  const migrations = present(leading.node.service(migrationService), "slots move");
  const outcome = await migrations.start([{ slots: [{ first, last }], target: target.id }], "the test wants it");
  expect(outcome.type).toBe("done");
  await until(
    "it to be completed",
    async () => (await valueOf(leading, "bunch_migrations_ended_total", { outcome: "completed" })) === 1,
  );
  expect(await valueOf(leading, "bunch_migration_moved_keys_total")).toBeGreaterThanOrEqual(keys);
  expect(await valueOf(leading, "bunch_migration_moved_bytes_total")).toBeGreaterThan(0);
  expect(await valueOf(leading, "bunch_migration_held_seconds_total")).toBeGreaterThan(0);
  expect(await valueOf(leading, "bunch_slots")).toBe(0);
  expect(await valueOf(member(target.primary), "bunch_migrations_ended_total", { outcome: "completed" })).toBe(0);
});

test("a replica that takes over counts that, once, and the change of the map has its time", async () => {
  const shard = present(
    shards().find(({ slots }) => slots.length > 0),
    "a shard has slots",
  );
  const heir = member(present(shard.replicas[0], "it has a replica"));
  const before = await valueOf(heir, "bunch_primary_changes_total");
  expect(await heir.node.connect().execute("cluster", "failover")).toBe("OK");
  await until("it to lead", async () => (await valueOf(heir, "bunch_shard_info", { role: "primary" })) === 1);
  expect(await valueOf(heir, "bunch_primary_changes_total")).toBe((before ?? 0) + 1);
  const promotions = await Promise.all(members.map((each) => valueOf(each, "bunch_promotions_total")));
  expect(promotions.reduce<number>((sum, value) => sum + (value ?? 0), 0)).toBe(1);
  const asked = await Promise.all(members.map((each) => valueOf(each, "bunch_raft_request_duration_seconds_count")));
  expect(asked.reduce<number>((sum, value) => sum + (value ?? 0), 0)).toBeGreaterThan(0);
});
