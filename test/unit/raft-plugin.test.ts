/** Consensus as nodes live it: founding, restarts with a disk and without, requests when there is no majority, handing over. On the simulated world. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { type ConsensusFrame, encodeConsensusFrame } from "../../src/codec/consensus-codec.ts";
import { channelOf } from "../../src/consensus/frame-channel.ts";
import { BusChannel, busService } from "../../src/contracts/bus.ts";
import { type Consensus, type RequestOutcome, consensusService } from "../../src/contracts/consensus.ts";
import { type Topology, topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { BusPeer, RawStream } from "../support/bus-peer.ts";
import { localClient } from "../support/local-node.ts";
import type { Raft } from "../../src/protocol/raft/machine.ts";
import type { Message } from "../../src/protocol/raft/types.ts";
import type { RaftConsensus } from "../../plugins/raft.ts";
import { Simulation } from "../support/sim-world.ts";

const PORT = 6379;
const BUS_PORT = 16_379;
/** How long anything takes in a group that is whole: elections are drawn from 0.5 to 1 s, and restarts wait for the register's turns. */
const SETTLE_MS = 10_000;
const REQUEST_MS = 2000;
const STRANGER_ID = "f".repeat(40);

interface Options {
  readonly nodes?: number;
  readonly hasDisk?: boolean;
  readonly seed?: number;
  /** Settings of the plugin. */
  readonly raft?: Readonly<Record<string, number>>;
  readonly secret?: string;
}

class Group {
  readonly lines: string[] = [];
  readonly simulation: Simulation;
  readonly hosts: readonly string[];
  readonly #nodes = new Map<string, Node>();
  readonly #secret: string | undefined;

  readonly #raft: Readonly<Record<string, number>>;

  constructor({ nodes = 3, hasDisk = false, seed = 1, raft = {}, secret }: Options = {}) {
    this.#raft = raft;
    this.#secret = secret;
    this.simulation = new Simulation(seed, { sink: (line) => void this.lines.push(line) });
    const list = divideSlots(nodes).map((slots, at) => ({
      name: `node-${at + 1}`,
      host: `10.0.0.${at + 1}`,
      port: PORT,
      slots: [formatSlotRange(slots)],
    }));
    this.hosts = list.map(({ host }) => host);
    for (const { name, host } of list) {
      this.simulation.addHost(host, (world) => this.start(world, name, host, list, hasDisk));
    }
    this.simulation.observe(({ type, host }) => {
      if (type === "crashed") this.#nodes.delete(host.name);
    });
    this.simulation.check("a term has one leader at most", () => {
      const terms = new Map<number, string>();
      for (const [host, node] of this.#nodes) {
        const { role, term } = present(node.service(consensusService), "there is consensus").status;
        if (role !== "leader") continue;
        if (terms.has(term)) throw new Error(`${host} and ${terms.get(term) ?? ""} lead in term ${term}`);
        terms.set(term, host);
      }
    });
  }

  async start(
    world: Parameters<typeof createNode>[0]["world"],
    name: string,
    host: string,
    nodes: readonly { name: string; host: string; port: number; slots: string[] }[],
    hasDisk: boolean,
  ): Promise<void> {
    const node = await createNode({
      world,
      config: {
        name,
        host,
        port: PORT,
        ...(this.#secret === undefined ? { insecure: true } : { secret: this.#secret, password: "x" }),
        ...(hasDisk ? { dataDir: "data" } : {}),
        plugins: { resp: false, topology: { nodes }, raft: { requestMs: REQUEST_MS, ...this.#raft } },
      },
    });
    await node.start();
    this.#nodes.set(host, node);
  }

  node(at: number): Node {
    return present(this.#nodes.get(this.hosts[at] ?? ""), `node ${at + 1} is up`);
  }

  consensus(at: number): Consensus {
    return present(this.node(at).service(consensusService), "there is consensus");
  }

  machine(at: number): Raft {
    return present((this.consensus(at) as RaftConsensus).machine, "it is in a group");
  }

  topology(at: number): Topology {
    return present(this.node(at).service(topologyService), "there is a topology");
  }

  /** Those that are up. */
  get up(): readonly number[] {
    return this.hosts.flatMap((host, at) => (this.#nodes.has(host) && this.node(at).state === "started" ? [at] : []));
  }

  /** The one that those of the highest term follow; -1 without one. */
  get leader(): number {
    return (
      this.up.find((at) => {
        const { role, term } = this.consensus(at).status;
        return role === "leader" && this.up.every((other) => this.consensus(other).status.term <= term);
      }) ?? -1
    );
  }

  get followers(): readonly number[] {
    return this.up.filter((at) => at !== this.leader);
  }

  /** All are up, follow one leader, have the same map, and are admitted to it. */
  async whole(withinMs = SETTLE_MS, count = this.hosts.length): Promise<void> {
    await this.simulation.runUntil(
      "a group that is whole",
      () => {
        if (this.up.length !== count || this.leader < 0) return false;
        const leader = this.consensus(this.leader).status;
        return this.up.every((at) => {
          const { status } = this.consensus(at);
          return (
            status.group === leader.group &&
            status.leader === leader.leader &&
            status.commitIndex === leader.lastIndex &&
            this.topology(at).waitingFor === undefined &&
            status.members.length === count &&
            status.members.filter(({ isVoter }) => isVoter).length === (count % 2 === 0 ? count - 1 : count)
          );
        });
      },
      withinMs,
    );
  }

  async set(at: number, value: string): Promise<RequestOutcome> {
    const request = { type: "change-setting", name: "min-in-sync", value } as const;
    const asked = this.topology(at).request(request, "a test");
    return await this.simulation.settle("an outcome", asked, REQUEST_MS + 500);
  }

  /** Sets it, and waits until all know. */
  async setAll(value: string): Promise<void> {
    expect(await this.set(0, value)).toMatchObject({ type: "done" });
    await this.simulation.runUntil("all to know", () => this.up.every((at) => this.setting(at) === value), 2000);
  }

  setting(at: number): string | undefined {
    return this.topology(at).map.settings.get("min-in-sync");
  }

  crash(at: number, kind: "process" | "power" = "process"): void {
    this.simulation.crash(this.hosts[at] ?? "", kind);
  }

  restart(at: number): void {
    this.simulation.restart(this.hosts[at] ?? "");
  }
}

describe("three nodes that are started with one list", () => {
  test("form one group of three voters, with one map in which each is admitted", async () => {
    for (const seed of [1, 2, 3]) {
      const group = new Group({ seed });
      await group.whole();
      const statuses = group.up.map((at) => group.consensus(at).status);
      expect(new Set(statuses.map((status) => status.group)).size).toBe(1);
      expect(new Set(statuses.map((status) => status.peer)).size).toBe(3);
      expect(statuses.filter(({ role }) => role === "leader")).toHaveLength(1);
      const { map } = group.topology(0);
      expect(map.clusterId).toBe(statuses[0]?.group ?? "");
      expect(map.nodes.map(({ incarnation }) => incarnation > 0)).toEqual([true, true, true]);
      for (const at of [1, 2]) {
        expect(group.topology(at).map.nodes).toEqual(map.nodes);
        expect(group.topology(at).map.shards).toEqual(map.shards);
      }
    }
  });

  test("found nothing while one of them is not there, and say whom they wait for", async () => {
    const group = new Group();
    group.crash(2);
    await group.simulation.runFor(5000);
    for (const at of [0, 1]) {
      expect(group.consensus(at).status).toMatchObject({ role: "forming", group: "", leader: undefined });
      expect(group.topology(at).waitingFor).toBe(`word from 10.0.0.3:${BUS_PORT}`);
      expect(group.topology(at).map.version).toBe(0);
    }
    group.restart(2);
    await group.whole();
  });

  test("apply a change everywhere, whoever is asked, and a request that is asked twice once", async () => {
    const group = new Group();
    await group.whole();
    for (const at of group.up) {
      expect(await group.set(at, String(at + 2))).toMatchObject({ type: "done", outcome: ["OK"] });
      // It is answered when the node that was asked has applied it.
      expect(group.setting(at)).toBe(String(at + 2));
    }
    await group.simulation.runFor(500);
    for (const at of group.up) expect(group.setting(at)).toBe("4");

    const [follower = 0] = group.followers;
    const bump = new TextEncoder().encode(
      JSON.stringify({ request: { type: "bump-epoch", node: group.topology(follower).self.id }, cause: "twice" }),
    );
    const ask = (): Promise<RequestOutcome> =>
      group.simulation.settle("an outcome", group.consensus(follower).request("once", bump), REQUEST_MS + 500);
    const [first, second] = [await ask(), await ask()];
    expect(String(first.type === "done" ? first.outcome : first.reason)).toMatch(/^BUMPED \d+$/);
    expect(second).toMatchObject({ type: "done", outcome: first.type === "done" ? first.outcome : [] });
    expect(group.topology(follower).history.filter(({ cause }) => cause === "twice")).toHaveLength(1);
  });

  test("tell a rejection with its reason", async () => {
    const group = new Group();
    await group.whole();
    for (const at of group.up) {
      const outcome = await group.set(at, "none");
      expect(outcome.type).toBe("rejected");
      expect("reason" in outcome ? outcome.reason : "").toStartWith('ERR cluster setting "min-in-sync" wants ');
    }
  });
});

describe("a leader", () => {
  test("that founds its group is told that nobody led before it, and others that they do not lead", async () => {
    for (const nodes of [1, 3]) {
      const group = new Group({ nodes });
      await group.whole();
      const { leadership, status } = group.consensus(group.leader);
      expect(leadership).toEqual({
        term: status.term,
        sinceMs: present(leadership, "it leads").sinceMs,
        predecessorHeardAgoMs: undefined,
        confirmedAtMs: leadership?.confirmedAtMs,
      });
      for (const at of group.followers) expect(group.consensus(at).leadership).toBeUndefined();
    }
  });

  test("that ends has heard one until that moment: of the ticks that it takes together none comes behind it", async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const group = new Group({ seed });
      await group.whole();
      await group.simulation.runFor(1000 + 17 * seed);
      const { leader } = group;
      const machine = group.machine(leader);
      group.simulation.isolate([present(group.hosts[leader], "it has a host")]);
      await group.simulation.runUntil("it to lead no more", () => machine.role !== "leader", 5000);
      expect(machine.leaderHeardTicksAgo).toBe(0);
    }
  });

  test("knows when the last round began that a majority has answered, and that none was since it was cut off", async () => {
    for (const nodes of [1, 3]) {
      const group = new Group({ nodes });
      await group.whole();
      await group.simulation.runFor(1000);
      const { leadership } = group.consensus(group.leader);
      const { clock } = present(group.simulation.hosts[group.leader], "a leader has a host").world;
      const agoMs = (): number => clock.monotonicMs() - present(leadership?.confirmedAtMs, "a round was answered");
      // A heartbeat every 100 ms, and some time for the answers.
      for (let step = 0; step < 20; step += 1) {
        await group.simulation.runFor(17);
        expect(agoMs()).toBeGreaterThanOrEqual(0);
        expect(agoMs()).toBeLessThan(160);
      }
      if (nodes === 1) continue;
      const cutOffAtMs = clock.monotonicMs();
      group.simulation.isolate([present(group.hosts[group.leader], "a leader has a host")]);
      await group.simulation.runFor(400);
      expect(present(leadership?.confirmedAtMs, "it still leads")).toBeLessThan(cutOffAtMs);
      await group.simulation.runFor(2000);
      expect(leadership?.confirmedAtMs).toBeUndefined();
    }
  });

  test("that follows another is told when that one was last heard, and not as longer ago than it was", async () => {
    const group = new Group({ hasDisk: true });
    await group.whole();
    const heardAtMs = group.simulation.nowMs;
    const old = group.leader;
    group.crash(old);
    await group.simulation.runUntil("another leader", () => group.leader >= 0, SETTLE_MS);
    const next = present(group.consensus(group.leader).leadership, "it leads");
    const agoMs = present(next.predecessorHeardAgoMs, "it had a predecessor");
    // Heartbeats come every 100 ms, and an election begins after 500 at least.
    expect(agoMs).toBeGreaterThanOrEqual(300);
    expect(agoMs).toBeLessThanOrEqual(group.simulation.nowMs - heardAtMs + 100);
    expect(next.term).toBe(group.consensus(group.leader).status.term);
  });

  test("that a restarted voter made one is told that the one before may have been heard until that restart", async () => {
    const group = new Group({ hasDisk: true });
    await group.whole();
    // All at once: nobody remembers when it heard the leader.
    for (const at of [0, 1, 2]) group.crash(at);
    await group.simulation.runFor(60_000);
    const restartedAtMs = group.simulation.nowMs;
    for (const at of [0, 1, 2]) group.restart(at);
    await group.simulation.runUntil("a leader", () => group.leader >= 0, SETTLE_MS);
    const next = present(group.consensus(group.leader).leadership, "it leads");
    expect(present(next.predecessorHeardAgoMs, "it had one")).toBeLessThanOrEqual(
      group.simulation.nowMs - restartedAtMs,
    );
    // One alone that restarts is its own predecessor.
    const alone = new Group({ nodes: 1, hasDisk: true });
    await alone.whole();
    alone.crash(0);
    await alone.simulation.runFor(60_000);
    alone.restart(0);
    await alone.whole();
    expect(alone.consensus(0).leadership?.predecessorHeardAgoMs).toBe(0);
  });
});

describe("a node that restarts", () => {
  test("without a disk is another member, which takes the place of the one before", async () => {
    for (const seed of [1, 2]) {
      const group = new Group({ seed });
      await group.whole();
      await group.set(0, "2");
      for (const at of [group.leader, group.followers[0] ?? 0]) {
        const before = group.consensus(at).status;
        const { incarnation, start } = group.topology(at).self;
        group.crash(at);
        group.restart(at);
        await group.simulation.runUntil("it to be up", () => group.up.includes(at), SETTLE_MS);
        await group.whole();
        const { status } = group.consensus(at);
        expect(status.group).toBe(before.group);
        expect(status.peer).not.toBe(before.peer);
        const peers = status.members.map(({ peer }) => peer);
        expect(peers).toContain(status.peer);
        expect(peers).not.toContain(before.peer);
        expect(group.topology(at).self.incarnation).toBeGreaterThan(incarnation);
        expect(group.topology(at).self.start).not.toBe(start);
        expect(group.setting(at)).toBe("2");
      }
    }
  });

  test("with a disk is the member that it was", async () => {
    const group = new Group({ hasDisk: true });
    await group.whole();
    await group.set(0, "2");
    for (const at of [group.leader, group.followers[0] ?? 0]) {
      const before = group.consensus(at).status;
      group.crash(at, "power");
      await group.simulation.runFor(3000);
      group.restart(at);
      await group.simulation.runUntil("it to be up", () => group.up.includes(at), SETTLE_MS);
      await group.whole();
      const { status } = group.consensus(at);
      expect([status.group, status.peer]).toEqual([before.group, before.peer]);
      expect(status.members).toEqual(before.members);
      expect(status.term).toBeGreaterThanOrEqual(before.term);
      expect(group.setting(at)).toBe("2");
    }
  });

  test("with all others, each with a disk, is the cluster that was", async () => {
    const group = new Group({ hasDisk: true });
    await group.whole();
    expect(await group.set(1, "2")).toMatchObject({ type: "done" });
    const before = group.consensus(0).status;
    const { version } = group.topology(0).map;
    for (const at of [0, 1, 2]) group.crash(at, "power");
    for (const at of [0, 1, 2]) group.restart(at);
    await group.whole();
    expect(group.consensus(0).status.group).toBe(before.group);
    expect(group.consensus(0).status.term).toBeGreaterThan(before.term);
    for (const at of group.up) {
      expect(group.setting(at)).toBe("2");
      expect(group.topology(at).map.version).toBeGreaterThan(version);
    }
  });

  test("alone with a disk goes on with its map, and alone without one begins anew", async () => {
    for (const hasDisk of [true, false]) {
      const group = new Group({ nodes: 1, hasDisk });
      await group.whole();
      expect(await group.set(0, "2")).toMatchObject({ type: "done" });
      const { group: name } = group.consensus(0).status;
      group.crash(0, "power");
      group.restart(0);
      await group.simulation.runUntil("it to be up", () => group.up.length === 1, SETTLE_MS);
      await group.whole();
      expect(group.consensus(0).status.group === name).toBe(hasDisk);
      expect(group.setting(0)).toBe(hasDisk ? "2" : undefined);
    }
  });
});

describe("without a majority", () => {
  test("requests end by their deadline as refused or unknown, and what was refused has never happened", async () => {
    const seen = new Set<string>();
    for (const seed of [1, 2, 3]) {
      const group = new Group({ hasDisk: true, seed });
      await group.whole();
      await group.setAll("2");
      const survivor = seed === 1 ? (group.followers[0] ?? 0) : group.leader;
      const others = group.up.filter((at) => at !== survivor);
      for (const at of others) group.crash(at, "power");
      const outcomes: { readonly value: string; readonly type: string }[] = [];
      for (const value of ["3", "4", "5"]) {
        const startMs = group.simulation.nowMs;
        const { type } = await group.set(survivor, value);
        expect(["refused", "unknown"]).toContain(type);
        expect(group.simulation.nowMs - startMs).toBeLessThanOrEqual(REQUEST_MS + 100);
        expect(group.setting(survivor)).toBe("2");
        outcomes.push({ value, type });
        seen.add(type);
      }
      expect(await group.simulation.settle("a barrier", group.consensus(survivor).barrier(), REQUEST_MS + 500)).toBe(
        false,
      );

      for (const at of others) group.restart(at);
      await group.whole();
      const values = group.topology(survivor).history.flatMap(({ changes }) => changes);
      for (const { value, type } of outcomes) {
        if (type === "refused") expect(values).not.toContain(`setting min-in-sync is "${value}"`);
      }
      expect(await group.set(survivor, "9")).toMatchObject({ type: "done" });
    }
    expect([...seen].toSorted()).toEqual(["refused", "unknown"]);
  });

  test("a leader that is cut off stops leading, and follows the other side's when it is back", async () => {
    const group = new Group();
    await group.whole();
    const cutOff = group.leader;
    const { group: name } = group.consensus(cutOff).status;
    const cut = group.simulation.isolate([group.hosts[cutOff] ?? ""]);
    await group.simulation.runUntil("it to give up", () => group.consensus(cutOff).status.role !== "leader", 3000);
    await group.simulation.runUntil("another to lead", () => group.leader >= 0 && group.leader !== cutOff, 5000);
    expect(await group.set(group.leader, "7")).toMatchObject({ type: "done" });
    expect(group.setting(cutOff)).toBeUndefined();
    cut.heal();
    await group.whole();
    expect(group.consensus(cutOff).status.group).toBe(name);
    expect(group.setting(cutOff)).toBe("7");
  });
});

test("a log that has grown at all is put into a snapshot after a while, and one that has not is left", async () => {
  const group = new Group({ hasDisk: true, raft: { snapshotMs: 5000 } });
  await group.whole();
  await group.simulation.runFor(12_000);
  const before = group.up.map((at) => group.consensus(at).status.snapshotIndex);
  await group.simulation.runFor(12_000);
  expect(group.up.map((at) => group.consensus(at).status.snapshotIndex)).toEqual(before);
  await group.setAll("2");
  const { commitIndex } = group.consensus(0).status;
  await group.simulation.runFor(6000);
  for (const at of group.up) expect(group.consensus(at).status.snapshotIndex).toBeGreaterThanOrEqual(commitIndex);
  for (const at of [0, 1, 2]) group.crash(at);
  for (const at of [0, 1, 2]) group.restart(at);
  await group.simulation.runUntil("all to be up", () => group.up.length === 3, SETTLE_MS);
  await group.whole();
  expect(group.setting(1)).toBe("2");
});

test("a log that only changes of members have made longer is put into a snapshot, too", async () => {
  const group = new Group({ nodes: 4, hasDisk: true, raft: { snapshotMs: 5000, replaceAfterMs: 1000 } });
  await group.whole();
  await group.simulation.runFor(12_000);
  const { log } = group.machine(group.leader);
  const first = log.lastIndex + 1;
  expect(log.snapshot.index).toBe(first - 1);
  const isVoter = (at: number): boolean => group.machine(at).isVoter;
  const voter = present(group.followers.find(isVoter), "another votes");
  group.crash(voter);
  await group.simulation.runUntil("another to vote in its place", () => group.up.every(isVoter), SETTLE_MS);
  const entries = log.range(first, log.commitIndex);
  expect(entries.length).toBeGreaterThan(0);
  expect(entries.filter(({ configuration }) => configuration === undefined)).toEqual([]);
  await group.simulation.runFor(6000);
  expect(log.snapshot.index).toBeGreaterThanOrEqual(present(entries.at(-1), "there are some").index);
});

test("after a barrier a node has applied what was answered anywhere before", async () => {
  const group = new Group({ seed: 4 });
  await group.whole();
  for (const value of ["2", "3", "4", "5"]) {
    for (const asked of group.up) {
      expect(await group.set(asked, value)).toMatchObject({ type: "done" });
      const reader = (asked + 1) % 3;
      const isFresh = await group.simulation.settle("a barrier", group.consensus(reader).barrier(), REQUEST_MS);
      expect([isFresh, group.setting(reader)]).toEqual([true, value]);
      await group.set(asked, "9");
    }
  }
});

describe("a leader that stops", () => {
  for (const hasDisk of [true, false]) {
    test(`${hasDisk ? "with" : "without"} a disk hands over: another leads before any election could have begun`, async () => {
      const group = new Group({ hasDisk });
      await group.whole();
      const stopped = group.leader;
      const { peer, term } = group.consensus(stopped).status;
      const startMs = group.simulation.nowMs;
      const stopping = group.node(stopped).stop();
      await group.simulation.runUntil("another to lead", () => group.leader >= 0 && group.leader !== stopped, 400);
      expect(group.simulation.nowMs - startMs).toBeLessThan(400);
      await group.simulation.settle("the stop", stopping, 5000);
      expect(group.consensus(group.leader).status.term).toBe(term + 1);
      expect(await group.set(group.leader, "3")).toMatchObject({ type: "done" });
      const members = group.consensus(group.leader).status.members.map((member) => member.peer);
      // One that will have forgotten everything is a member no more.
      expect(members.includes(peer)).toBe(hasDisk);
    });
  }

  test("takes no more requests", async () => {
    const group = new Group({ nodes: 1 });
    await group.whole();
    const topology = group.topology(0);
    await group.simulation.settle("the stop", group.node(0).stop(), 5000);
    const asked = topology.request({ type: "change-setting", name: "acks", value: "primary" }, "too late");
    expect(await group.simulation.settle("an outcome", asked, 1000)).toEqual({
      type: "refused",
      reason: "the node is stopping",
    });
  });

  test("three without disks are restarted one after another, and the cluster lives", async () => {
    const group = new Group();
    await group.whole();
    await group.set(0, "2");
    const { group: name } = group.consensus(0).status;
    for (const at of [0, 1, 2]) {
      const beganAtMs = group.simulation.nowMs;
      await group.simulation.settle("the stop", group.node(at).stop(), 5000);
      // It hears that it is out, and need not wait for what nobody tells it any more.
      expect(group.simulation.nowMs - beganAtMs).toBeLessThan(150);
      group.crash(at);
      group.restart(at);
      await group.simulation.runUntil("it to be up", () => group.up.includes(at), SETTLE_MS);
      await group.whole();
    }
    expect(group.consensus(0).status.group).toBe(name);
    for (const at of group.up) expect(group.setting(at)).toBe("2");
  });
});

describe("frames from strangers", () => {
  /** Somebody who knows secret and cluster says bytes on a channel. */
  async function say(
    group: Group,
    payloads: readonly Uint8Array[],
    channel: BusChannel,
    speaker = STRANGER_ID,
  ): Promise<void> {
    const host = group.simulation.addHost(`10.0.9.${group.simulation.hosts.length}`);
    const peer = new BusPeer(
      host.world,
      { host: group.hosts[0] ?? "", port: BUS_PORT },
      {
        nodeId: speaker,
        address: { host: host.name, port: 1 },
        ...(channel === BusChannel.formation ? { kind: "meeting" } : { clusterId: group.consensus(0).status.group }),
      },
    );
    for (const each of payloads) peer.send(channel, each);
    await group.simulation.runFor(200);
  }

  async function sayFrames(group: Group, frames: readonly ConsensusFrame[]): Promise<void> {
    for (const channel of [BusChannel.consensus, BusChannel.formation]) {
      const those = frames.filter((frame) => channelOf(frame) === channel);
      if (those.length > 0)
        await say(
          group,
          those.map((frame) => encodeConsensusFrame(frame)),
          channel,
        );
    }
  }

  async function malformed(group: Group, kind = "malformed"): Promise<string | undefined> {
    const client = localClient(group.node(0));
    const info = await group.simulation.settle("INFO", client.run("INFO cluster"), 1000);
    client.close();
    return new RegExp(`^raft_${kind}_frames:(\\d+)`, "m").exec(info)?.[1];
  }

  test("who do not know the secret change nothing, whatever and however much they send", async () => {
    const group = new Group({ secret: "known-to-all" });
    await group.whole();
    const { group: name, term, members } = group.consensus(0).status;
    const { world } = group.simulation.addHost("10.0.9.9");
    const bind = world.network.bind({ host: "10.0.9.9", port: 7, received: () => undefined });
    const socket = await group.simulation.settle("a socket", bind, 100);
    const message = { type: "heartbeat", term: term + 50, commitIndex: 0, round: 1 } as const;
    for (let round = 0; round < 40; round += 1) {
      for (const [at, host] of group.hosts.entries()) {
        const to = { host, port: BUS_PORT };
        const { peer, nodeId } = present(members[(at + 1) % 3], "there are three");
        const raft = { type: "raft", group: name, from: peer, to: group.consensus(at).status.peer, message } as const;
        const removed = {
          type: "removed",
          group: name,
          peer: group.consensus(at).status.peer,
          isBarred: true,
        } as const;
        const options = { nodeId, address: { host, port: 1 } };
        const member = new BusPeer(world, to, { ...options, clusterId: name });
        member.send(BusChannel.consensus, encodeConsensusFrame(raft));
        const meeting = new BusPeer(world, to, { ...options, kind: "meeting", secrets: ["known-to-others"] });
        meeting.send(BusChannel.formation, encodeConsensusFrame(removed));
        new RawStream(world, to).write(world.random.bytes(10 * round));
        for (let length = 0; length < 200; length += 1) socket.send(world.random.bytes(length), host, BUS_PORT);
      }
      await group.simulation.runFor(100);
      if (round % 10 === 0) expect(await group.set(round % 3, String(1 + (round % 9)))).toMatchObject({ type: "done" });
    }
    await group.simulation.runFor(6000);
    for (const at of group.up) {
      expect(group.consensus(at).status).toMatchObject({ group: name, term, members, isOut: false });
      const links = present(group.node(at).service(busService), "there is a bus").links();
      // Two kinds of links to each of two others, both ways.
      expect(links.length).toBeLessThanOrEqual(8);
      expect(links.every(({ nodeId }) => members.some((each) => each.nodeId === nodeId))).toBe(true);
    }
    expect([await malformed(group), await malformed(group, "foreign")]).toEqual(["0", "0"]);
  });

  test("on the other kind of link than theirs make no sense, whoever sends them", async () => {
    const group = new Group();
    await group.whole();
    const { group: name, peer, term } = group.consensus(0).status;
    const message = { type: "heartbeat", term: term + 50, commitIndex: 0, round: 1 } as const;
    const raft = { type: "raft", group: name, from: `${STRANGER_ID}/1`, to: peer, message } as const;
    await say(group, [encodeConsensusFrame(raft)], BusChannel.formation);
    const removed = { type: "removed", group: name, peer, isBarred: true } as const;
    await say(group, [encodeConsensusFrame(removed)], BusChannel.consensus);
    expect(await malformed(group)).toBe("2");
    expect(group.consensus(0).status).toMatchObject({ term, isOut: false });
  });

  test("in the name of another node than the one on the link change nothing, and are counted", async () => {
    const group = new Group();
    await group.whole();
    const { group: name, peer, term, members } = group.consensus(0).status;
    const other = present(
      members.find((member) => member.peer !== peer),
      "there are others",
    ).peer;
    const message = { type: "heartbeat", term: term + 50, commitIndex: 0, round: 1 } as const;
    await sayFrames(group, [{ type: "raft", group: name, from: other, to: peer, message }]);
    expect(await malformed(group, "foreign")).toBe("1");
    expect(group.consensus(0).status.term).toBe(term);
  });

  test("that make no sense are counted, told of once, and change nothing", async () => {
    const group = new Group();
    await group.whole();
    const before = group.consensus(0).status;
    await say(
      group,
      Array.from({ length: 50 }, (_, at) => Uint8Array.from({ length: at }, (__, byte) => (byte * 31 + at * 7) | 0x80)),
      BusChannel.consensus,
    );
    expect(await malformed(group)).toBe("50");
    expect(group.lines.filter((line) => line.includes("a frame that makes no sense"))).toHaveLength(1);
    expect(group.consensus(0).status).toMatchObject({ group: before.group, term: before.term, leader: before.leader });
  });

  test("of another group, of no member, or for another identity change nothing", async () => {
    const group = new Group();
    await group.whole();
    const { group: name, peer, term } = group.consensus(0).status;
    const message = { type: "heartbeat", term: term + 50, commitIndex: 0, round: 1 } as const;
    const from = `${STRANGER_ID}/1`;
    await sayFrames(group, [
      { type: "raft", group: "other", from, to: peer, message } as const,
      { type: "raft", group: name, from, to: "another", message } as const,
      { type: "removed", group: "other", peer, isBarred: true } as const,
      { type: "removed", group: name, peer: "another", isBarred: true } as const,
      { type: "verdict", id: "none", isRejected: true, reason: "" } as const,
      { type: "request", group: "other", id: "x", isRetry: false, request: new Uint8Array(3) } as const,
    ]);
    expect(group.consensus(0).status.term).toBe(term);
    expect(await malformed(group)).toBe("0");
    expect(await group.set(0, "2")).toMatchObject({ type: "done" });
  });

  test("of the group itself that no member says, or that cannot be true, are counted and change nothing", async () => {
    const group = new Group();
    await group.whole();
    const { group: name, peer, term, commitIndex } = group.consensus(0).status;
    const other = present(
      group.consensus(0).status.members.find((member) => member.peer !== peer),
      "there are others",
    );
    const append = { type: "append", term, previousIndex: 1, previousTerm: 0, commitIndex, entries: [] } as const;
    const entry = { index: 9, term, data: undefined, configuration: undefined } as const;
    const messages: readonly Message[] = [
      { type: "timeout-now", term: 2 ** 51 },
      { ...append, entries: [entry] },
      { ...append, entries: [{ ...entry, index: 2, term: term + 1 }] },
      { ...append, entries: [{ ...entry, index: 2, configuration: { members: [] } }] },
    ];
    await say(
      group,
      messages.map((message) =>
        encodeConsensusFrame({ type: "raft", group: name, from: other.peer, to: peer, message }),
      ),
      BusChannel.consensus,
      other.nodeId,
    );
    expect(await malformed(group)).toBe(String(messages.length));
    expect(group.consensus(0).status).toMatchObject({ term, commitIndex });
    expect(await group.set(0, "2")).toMatchObject({ type: "done" });
  });

  test("word that it may not come back ends what a node waits for at once, as what is known of it", async () => {
    const group = new Group();
    await group.whole();
    const { group: name, peer } = group.consensus(0).status;
    group.simulation.partition([group.hosts[0] ?? ""], [group.hosts[1] ?? "", group.hosts[2] ?? ""]);
    const beganAtMs = group.simulation.nowMs;
    const asked = group.topology(0).request({ type: "change-setting", name: "min-in-sync", value: "2" }, "a test");
    await sayFrames(group, [{ type: "removed", group: name, peer, isBarred: true }]);
    expect(["refused", "unknown"]).toContain((await group.simulation.settle("an outcome", asked, REQUEST_MS)).type);
    expect(group.simulation.nowMs - beganAtMs).toBeLessThan(REQUEST_MS / 2);
  });

  test("with another list are told of once", async () => {
    const group = new Group();
    await group.whole();
    const id = STRANGER_ID;
    const card = { ...group.topology(1).self, id, incarnation: undefined };
    const founder = {
      nodeId: id,
      address: { host: "x", port: 1 },
      zone: "",
      isWitness: false,
      card: JSON.stringify(card),
    };
    const nothing = { promise: "", group: "", founders: [], isEstablished: false, known: [] };
    const who = {
      type: "who",
      standing: { ...nothing, peer: `${id}/1`, founder, list: "other" },
    } as const;
    await sayFrames(group, [who, who, who]);
    expect(group.lines.filter((line) => line.includes("started with another list of nodes"))).toHaveLength(1);
  });
});
