/** Slots that are moved key by key, beside two redis-servers in cluster mode: SETSLOT, ASK, TRYAGAIN, MIGRATE, reply by reply. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { agreed, ask, askUntil } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers } from "../support/bunch-server.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";
import { type CommandLine, RawClient } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

const LIMIT_MS = 120_000;
const REDIS = [21_210, 21_211] as const;
const BUNCH = [21_220, 21_221] as const;
/** `{hello}` is in slot 866, of the first node. */
const SLOT = 866;

/** A source and a target, of one kind. */
class Nodes {
  readonly ports: readonly [number, number];
  readonly #ids: readonly string[];
  readonly #clients: readonly RawClient[];

  private constructor(ports: readonly [number, number], ids: readonly string[], clients: readonly RawClient[]) {
    this.ports = ports;
    this.#ids = ids;
    this.#clients = clients;
  }

  static async of(ports: readonly [number, number]): Promise<Nodes> {
    const ids = await Promise.all(
      ports.map(async (port) => /[0-9a-f]{40}/.exec(await ask(port, "cluster myid"))?.[0] ?? ""),
    );
    return new Nodes(ports, ids, await Promise.all(ports.map((port) => RawClient.connect(port))));
  }

  /** Runs a command on the source (0) or the target (1). Ids and ports stand for themselves: SOURCE, TARGET, TARGETPORT ... */
  async run(at: 0 | 1, line: string): Promise<string> {
    const [source = "", target = ""] = this.#ids;
    const words = line
      .replaceAll("SOURCEPORT", String(this.ports[0]))
      .replaceAll("TARGETPORT", String(this.ports[1]))
      .replaceAll("SOURCE", source)
      .replaceAll("TARGET", target)
      .split(" ")
      .map((word) => (word === '""' ? "" : word));
    const parts: CommandLine = words;
    const reply = (await this.#clients[at]?.run(parts)) ?? "closed";
    return reply
      .replaceAll(source, "SOURCE")
      .replaceAll(target, "TARGET")
      .replaceAll(String(this.ports[0]), "SOURCEPORT")
      .replaceAll(String(this.ports[1]), "TARGETPORT");
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }
}

describe.skipIf(!needsRedisServer())("a slot that is moved key by key, beside redis-server", () => {
  const servers: RedisServer[] = [];
  const processes: BunchProcess[] = [];
  let redis: Nodes;
  let bunch: Nodes;

  beforeAll(async () => {
    const [first, second] = REDIS;
    for (const port of REDIS) servers.push(await startRedisServer({ port, cluster: true }));
    await ask(first, "cluster addslotsrange 0 8191");
    await ask(second, "cluster addslotsrange 8192 16383");
    expect(await ask(first, `cluster meet 127.0.0.1 ${second}`)).toBe("+OK\r\n");
    for (const port of REDIS) await askUntil(port, "cluster info", "cluster_state:ok");
    for (const port of REDIS) await askUntil(port, "cluster nodes", /(master.*){2}/s);
    const founding = ["--join", busAddresses(...BUNCH), "--bootstrap-expect", "2", "--failover-lease-ms", "8000"];
    for (const port of BUNCH) processes.push(runNode(port, ...founding));
    for (const port of BUNCH) await askUntil(port, "cluster info", "cluster_state:ok");
    await agreed(BUNCH, (nodes) => nodes.length === 2);
    redis = await Nodes.of(REDIS);
    bunch = await Nodes.of(BUNCH);
  }, LIMIT_MS);
  afterAll(async () => {
    redis.close();
    bunch.close();
    for (const server of servers) await server.stop();
    await endLeftovers();
  }, LIMIT_MS);

  /** Runs lines on both kinds, each `0 command` at the source or `1 command` at the target. */
  async function compare(...lines: readonly string[]): Promise<void> {
    const differences: string[] = [];
    for (const line of lines) {
      const at = line.startsWith("0 ") ? 0 : 1;
      const expected = await redis.run(at, line.slice(2));
      const actual = await bunch.run(at, line.slice(2));
      if (actual !== expected) differences.push(`${line} -> ${expected.trim()}, and here ${actual.trim()}`);
    }
    expect(differences).toEqual([]);
  }

  test(
    "what is refused",
    async () => {
      const none = "f".repeat(40);
      await compare(
        `0 cluster setslot 16384 stable`,
        `0 cluster setslot x stable`,
        `0 cluster setslot -1 stable`,
        `0 cluster setslot ${SLOT}`,
        `0 cluster setslot ${SLOT} nope`,
        `0 cluster setslot ${SLOT} node`,
        `0 cluster setslot ${SLOT} migrating`,
        `0 cluster setslot ${SLOT} importing TARGET`,
        `1 cluster setslot ${SLOT} migrating SOURCE`,
        `0 cluster setslot ${SLOT} migrating ${none}`,
        `1 cluster setslot ${SLOT} importing ${none}`,
        `0 cluster setslot ${SLOT} node ${none}`,
        `0 cluster setslot ${SLOT} stable`,
        `0 set {hello}a 1`,
        `0 cluster setslot ${SLOT} node TARGET`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}none 0 1000`,
        `0 migrate 127.0.0.1 TARGETPORT "" 0 1000 keys {hello}none {hello}nothing`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}a 0 x`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}a x 1000`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000 nope`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000 auth`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000 auth2 x`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000 keys {hello}a`,
        `0 migrate 127.0.0.1 TARGETPORT "" 0 1000 keys {hello}a {bar}a`,
        `0 migrate 127.0.0.1 TARGETPORT {foo}a 0 1000`,
        `0 migrate 127.0.0.1`,
        `0 migrate 127.0.0.1 1 {hello}a 0 1000`,
        `0 migrate 127.0.0.1 99999 {hello}a 0 1000`,
        `0 migrate 127.0.0.1 -5 {hello}a 0 1000`,
        `0 migrate no-such-host.invalid 1 {hello}a 0 1000`,
        `0 migrate 999.1.1.1 1 {hello}a 0 1000`,
        `0 migrate "" 1 {hello}a 0 1000`,
        `0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000 auth secret`,
        // A slot that is not open: the other one does not take it.
        `0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000`,
        `0 get {hello}a`,
        `1 restore-asking {hello}a 0 x`,
        `0 restore-asking {hello}a 0 x`,
        `0 del {hello}a`,
      );
    },
    LIMIT_MS,
  );

  test(
    "a slot on its way: who serves what",
    async () => {
      await compare(
        "0 mset {hello}a 1 {hello}b 2 {hello}c 3",
        "0 pexpireat {hello}c 99999999999999",
        `1 cluster setslot ${SLOT} importing SOURCE`,
        `0 cluster setslot ${SLOT} migrating TARGET`,
        `0 cluster setslot ${SLOT} migrating TARGET`,
        "0 get {hello}a",
        "0 get {hello}x",
        "0 mget {hello}a {hello}b",
        "0 mget {hello}a {hello}x",
        "0 mget {hello}x {hello}y",
        "0 mset {hello}a 1 {hello}x 2",
        "0 rename {hello}a {hello}x",
        "0 exists {hello}x {hello}x",
        "0 set {hello}x 1",
        "0 mget {hello}a {foo}a",
        "1 get {hello}a",
        "1 asking",
        "1 get {hello}a",
        "1 asking",
        "1 mget {hello}a {hello}a",
        "1 asking",
        "1 mget {hello}a {hello}b",
        "1 asking",
        "1 set {hello}y 9",
        "1 get {hello}y",
        "0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000",
        "0 migrate 127.0.0.1 TARGETPORT {hello}a 0 1000",
        "0 get {hello}a",
        "1 asking",
        "1 mget {hello}a {hello}y",
        "1 asking",
        "1 asking",
        "1 get {hello}a",
        "1 get {hello}a",
        // Within transactions.
        "1 asking",
        "1 multi",
        "1 get {hello}a",
        "1 get {hello}y",
        "1 exec",
        "1 get {hello}a",
        "1 multi",
        "1 get {hello}a",
        "1 exec",
        "0 multi",
        "0 get {hello}b",
        "0 get {hello}x",
        "0 exec",
        "0 multi",
        "0 get {hello}b",
        "0 exec",
        // Somebody has the key there already.
        "1 asking",
        "1 set {hello}b other",
        "0 migrate 127.0.0.1 TARGETPORT {hello}b 0 1000",
        '0 migrate 127.0.0.1 TARGETPORT "" 0 1000 keys {hello}b {hello}c',
        "0 exists {hello}b",
        "0 exists {hello}c",
        "0 migrate 127.0.0.1 TARGETPORT {hello}b 0 1000 replace",
        "1 asking",
        "1 get {hello}b",
        "1 asking",
        "1 persist {hello}c",
        `0 cluster countkeysinslot ${SLOT}`,
        `1 cluster countkeysinslot ${SLOT}`,
        `0 cluster getkeysinslot ${SLOT} 10`,
        `1 cluster setslot ${SLOT} node TARGET`,
        `0 cluster setslot ${SLOT} node TARGET`,
        "0 get {hello}a",
        "1 get {hello}a",
        "1 mget {hello}a {hello}b {hello}y {hello}none",
        `1 cluster setslot ${SLOT} stable`,
      );
    },
    LIMIT_MS,
  );
});
