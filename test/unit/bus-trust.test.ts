/** Whom the bus trusts: who knows the secret, of the same cluster, in this start, and nobody who stands in between. On the simulated network. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { type Bus, BusChannel } from "../../src/contracts/bus.ts";
import { createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { BUS_PORT, BusWorld, CLUSTER, STRANGER, STRANGER_ID, addressOf, numbered } from "../support/bus-world.ts";
import { localClient, showReply, startLocalNode } from "../support/local-node.ts";
import { ManInTheMiddle, type Way } from "../support/man-in-the-middle.ts";
import { Simulation } from "../support/sim-world.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";
const C = "10.0.0.3";
const SECRET = "known-to-all";
const OTHER = "known-to-others";

const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at);

/** Each sends to the other for a while, all that there is to send. */
async function talk(
  world: BusWorld,
  hosts: readonly string[],
  channels: readonly BusChannel[] = Object.values(BusChannel),
): Promise<void> {
  for (const at of upTo(40)) {
    for (const from of hosts) {
      for (const to of hosts.filter((host) => host !== from)) {
        for (const channel of channels) world.bus(from).send(addressOf(to), channel, numbered(at));
        world.bus(from).sendDatagram(world.idOf(to), numbered(at));
      }
    }
    await world.simulation.runFor(100);
  }
}

describe("nodes", () => {
  for (const [what, one, other] of [
    ["of different secrets", SECRET, OTHER],
    ["with a secret and without one", SECRET, undefined],
  ] as const) {
    test(`${what} never exchange a frame or a datagram, and both say so, not the secret`, async () => {
      const world = new BusWorld();
      await world.add(A, {}, { secret: one });
      await world.add(B, {}, other === undefined ? {} : { secret: other });
      await talk(world, [A, B]);
      for (const host of [A, B]) {
        expect([world.numbers(host), world.datagrams.get(host) ?? []]).toEqual([[], []]);
        const refusals = world.lines.filter((line) => line.includes(` ${host} `) && line.includes("bus link refused"));
        expect(refusals.some((line) => line.includes("has another cluster secret") && line.includes("from="))).toBe(
          true,
        );
        expect(
          refusals.some((line) => line.includes("it does not know this node's cluster secret") && line.includes("to=")),
        ).toBe(true);
        // Told once for each reason, not each time.
        expect(refusals).toHaveLength(2);
        expect(Number(await world.info(host, "bus_refused_links"))).toBeGreaterThan(4);
        expect(await world.info(host, "bus_refused_datagrams_foreign")).toBe("40");
      }
      for (const secret of [SECRET, OTHER]) expect(world.logged(secret)).toEqual([]);
    });
  }

  test("of different clusters meet, and exchange nothing else; both name both clusters", async () => {
    const world = new BusWorld();
    await world.add(A, {}, { secret: SECRET, cluster: "first-one" });
    await world.add(B, {}, { secret: SECRET, cluster: "second-one" });
    await talk(world, [A, B]);
    for (const [host, other] of [
      [A, B],
      [B, A],
    ] as const) {
      const heard = world.heard.get(host) ?? [];
      expect(new Set(heard.map(({ channel, from }) => `${channel} ${from.nodeId}`))).toEqual(
        new Set([BusChannel.formation, BusChannel.meeting].map((channel) => `${channel} ${world.idOf(other)}`)),
      );
      expect(heard).toHaveLength(80);
      expect(world.datagrams.get(host)).toEqual([]);
      const refusals = world.lines.filter((line) => line.includes(` ${host} `) && line.includes("bus link refused"));
      expect(refusals).toHaveLength(2);
      for (const line of refusals) for (const id of ["first-one", "second-one"]) expect(line).toContain(id);
    }
  });

  test("in no cluster meet, and have links of members as soon as both are in one", async () => {
    const world = new BusWorld();
    const a = await world.add(A, {}, { cluster: undefined });
    const b = await world.add(B, {}, { cluster: undefined });
    expect(a.send(addressOf(B), BusChannel.consensus, numbered(1))).toBe(false);
    expect(a.sendDatagram(world.idOf(B), numbered(1))).toBe(false);
    a.send(addressOf(B), BusChannel.formation, numbered(2));
    await world.simulation.runFor(50);
    expect(world.numbers(B)).toEqual([2]);
    a.setCluster(world.cluster("c"));
    // B is in none yet: nobody is warned of that.
    for (const at of upTo(40)) {
      a.send(addressOf(B), BusChannel.consensus, numbered(10 + at));
      await world.simulation.runFor(50);
    }
    expect(world.numbers(B)).toEqual([2]);
    expect(world.logged("bus link refused")).toEqual([]);
    expect([await world.info(B, "bus_refused_links"), Number(await world.info(B, "bus_early_links")) > 10]).toEqual([
      "0",
      true,
    ]);
    b.setCluster(world.cluster("c"));
    const beganAtMs = world.simulation.nowMs;
    while (world.numbers(B).length < 2) {
      a.send(addressOf(B), BusChannel.consensus, numbered(100));
      await world.simulation.runFor(5);
      expect(world.simulation.nowMs - beganAtMs).toBeLessThan(200);
    }
    expect(world.numbers(B).slice(0, 2)).toEqual([2, 100]);
  });

  test("that go to another cluster drop what waited in the old one, and are told of no loss", async () => {
    const world = new BusWorld();
    const [a, b] = [await world.add(A), await world.add(B)];
    a.send(addressOf(B), BusChannel.formation, numbered(0));
    a.send(addressOf(B), BusChannel.consensus, numbered(1));
    await world.simulation.runFor(50);
    a.send(addressOf(B), BusChannel.consensus, numbered(2));
    for (const bus of [a, b]) bus.setCluster(world.cluster("d"));
    expect(a.queuedBytes(addressOf(B))).toBe(0);
    a.send(addressOf(B), BusChannel.consensus, numbered(3));
    a.send(addressOf(B), BusChannel.formation, numbered(4));
    await world.simulation.runFor(100);
    expect(new Set(world.numbers(B))).toEqual(new Set([0, 1, 3, 4]));
    expect(a.links().map(({ kind, nodeId }) => [kind, nodeId === world.idOf(B)])).toEqual([
      ["meeting", true],
      ["member", true],
    ]);
    // The same one again, with another look at its map: links stay.
    const [before] = a.links();
    for (const bus of [a, b]) bus.setCluster(world.cluster("d"));
    await world.simulation.runFor(100);
    expect(a.links()[0]?.createdAtMs).toBe(before?.createdAtMs ?? -1);
    expect([world.losses.get(A), world.losses.get(B)]).toEqual([[], []]);
  });

  test("send nothing to themselves", async () => {
    const world = new BusWorld();
    const a = await world.add(A);
    expect(a.send(addressOf(A), BusChannel.formation, numbered(1))).toBe(false);
    expect(a.links()).toEqual([]);
  });

  test("that go by another's id, as after a copy of its data directory, get no link to it", async () => {
    const world = new BusWorld();
    await world.add(A);
    const peer = world.peer(A, { nodeId: world.idOf(A) });
    peer.send(BusChannel.consensus, numbered(1));
    await world.simulation.runFor(50);
    expect([peer.refusal, world.numbers(A)]).toEqual(["self", []]);
    expect(world.logged("or a second one that was started with its --name")).toHaveLength(1);
  });
});

describe("a link", () => {
  for (const [kind, carried, misplaced] of [
    ["meeting", [BusChannel.formation], 4],
    ["member", [BusChannel.consensus, BusChannel.membership], 1],
  ] as const) {
    test(`of the kind ${kind} delivers from its own channels alone`, async () => {
      const world = new BusWorld();
      await world.add(A);
      const peer = world.peer(A, kind === "meeting" ? { kind, clusterId: "" } : { kind });
      for (const channel of [0, 1, 2, 3, 200]) peer.send(channel, numbered(channel));
      await world.simulation.runFor(50);
      expect(world.numbers(A)).toEqual([...carried]);
      expect(await world.info(A, "bus_misplaced_frames")).toBe(String(misplaced));
      expect(world.bus(A).links()).toMatchObject([{ direction: "from", kind, nodeId: STRANGER_ID }]);
    });
  }

  test("that a receiver's node closes in the middle of a piece delivers nothing more of it", async () => {
    const world = new BusWorld();
    const a = await world.add(A);
    let calls = 0;
    a.receive(BusChannel.consensus, () => {
      calls += 1;
      a.setCluster(undefined);
    });
    await world.join(A, numbered(1), numbered(2), numbered(3));
    expect(calls).toBe(1);
    expect(a.links()).toEqual([]);
  });
});

describe("word of a lost link", () => {
  async function sendFor(world: BusWorld, bus: Bus, ms: number): Promise<void> {
    for (const at of upTo(ms / 10)) {
      bus.send(addressOf(B), BusChannel.consensus, numbered(at));
      await world.simulation.runFor(10);
    }
  }

  test("comes to both sides when a node's process is killed, and when it refuses", async () => {
    const world = new BusWorld();
    const a = await world.add(A);
    await world.add(B);
    const id = world.idOf(B);
    await sendFor(world, a, 100);
    world.bus(B).send(addressOf(A), BusChannel.consensus, numbered(0));
    await world.simulation.runFor(50);
    expect(world.losses.get(A)).toEqual([]);
    world.simulation.crash(B);
    await world.simulation.runFor(50);
    // Of the link that it had opened, and of the one that A had.
    expect(world.losses.get(A)).toEqual([
      { address: addressOf(B), nodeId: id },
      { address: addressOf(B), nodeId: id },
    ]);
    await sendFor(world, a, 200);
    expect(world.losses.get(A)?.at(-1)).toEqual({ address: addressOf(B), nodeId: undefined });
  });

  test("does not come of a link from a node that has opened another one since: it has given that up long ago", async () => {
    const world = new BusWorld();
    await world.add(A);
    const first = await world.join(A, numbered(1));
    const second = await world.join(A, numbered(2));
    first.stream.close();
    await world.simulation.runFor(50);
    expect(world.losses.get(A)).toEqual([]);
    second.stream.close();
    await world.simulation.runFor(50);
    expect(world.losses.get(A)).toEqual([{ address: { host: STRANGER, port: 1 }, nodeId: STRANGER_ID }]);
    // An earlier one that is still there is no reason to keep silent.
    const third = await world.join(A, numbered(3));
    const fourth = await world.join(A, numbered(4));
    fourth.stream.close();
    await world.simulation.runFor(50);
    expect(world.losses.get(A)).toHaveLength(2);
    third.stream.close();
    await world.simulation.runFor(50);
    expect(world.losses.get(A)).toHaveLength(3);
  });

  test("comes when a node is refused a link: somebody else may be where a member was", async () => {
    const world = new BusWorld();
    const a = await world.add(A);
    await world.add(B, {}, { cluster: "d" });
    a.send(addressOf(B), BusChannel.consensus, numbered(1));
    await world.simulation.runFor(50);
    expect(world.losses.get(A)).toEqual([{ address: addressOf(B), nodeId: undefined }]);
    expect(world.losses.get(B)).toEqual([]);
    // One that is in none yet will be in one soon.
    const other = new BusWorld();
    const early = await other.add(A);
    await other.add(B, {}, { cluster: undefined });
    early.send(addressOf(B), BusChannel.consensus, numbered(1));
    await other.simulation.runFor(50);
    expect(other.losses.get(A)).toEqual([]);
  });

  test("does not come when a node stops itself", async () => {
    const world = new BusWorld();
    const a = await world.add(A);
    await world.add(C);
    a.send(addressOf(C), BusChannel.consensus, numbered(1));
    await world.simulation.runFor(50);
    await world.simulation.settle("the stop", present(world.nodes.get(A), "it is up").stop(), 5000);
    await world.simulation.runFor(50);
    expect(world.losses.get(A)).toEqual([]);
    expect(world.losses.get(C)).toEqual([{ address: addressOf(A), nodeId: world.idOf(A) }]);
  });
});

describe("a meeting link", () => {
  test("that is idle for long is closed, and nobody is told of a loss; the next frame opens another", async () => {
    const world = new BusWorld();
    const [a] = [await world.add(A), await world.add(B)];
    const sent: number[] = [];
    // The last one comes when the link has been closed.
    for (const [at, waitMs] of [20_000, 25_000, 50_000, 100].entries()) {
      expect(a.send(addressOf(B), BusChannel.formation, numbered(at))).toBe(true);
      sent.push(at);
      await world.simulation.runFor(waitMs);
      expect(world.numbers(B)).toEqual(sent);
      const isOpen = waitMs < 30_000;
      expect([a.links().length, world.bus(B).links().length]).toEqual(isOpen ? [1, 1] : [0, 0]);
      expect(a.nodeAt(addressOf(B))).toBe(isOpen ? world.idOf(B) : undefined);
    }
    expect([world.losses.get(A), world.losses.get(B)]).toEqual([[], []]);
    // That one breaks is no loss either, on neither side.
    expect(a.send(addressOf(B), BusChannel.formation, numbered(4))).toBe(true);
    await world.simulation.runFor(100);
    world.simulation.crash(B);
    await world.simulation.runFor(100);
    expect([a.links().length, world.losses.get(A)]).toEqual([0, []]);
    world.simulation.restart(B);
    await world.started(B);
    // One of members stays: that it breaks is how a death is seen.
    a.send(addressOf(B), BusChannel.consensus, numbered(9));
    await world.simulation.runFor(100_000);
    expect(a.links().map(({ kind }) => kind)).toEqual(["member"]);
  });

  test("to an address of the node itself says so, and does not take another node of that id for it", async () => {
    const world = new BusWorld();
    const a = await world.add(A);
    const own = { host: "localhost", port: BUS_PORT };
    expect(a.nodeAt(own)).toBeUndefined();
    a.send(own, BusChannel.formation, numbered(1));
    await world.simulation.runFor(50);
    expect(a.nodeAt(own)).toBe(world.idOf(A));
    const peer = world.peer(A, { nodeId: world.idOf(A), kind: "meeting", clusterId: "" });
    peer.send(BusChannel.formation, numbered(1));
    await world.simulation.runFor(50);
    expect(peer.refusal).toBe("self");
    expect(a.nodeAt(addressOf(STRANGER))).toBeUndefined();
  });
});

describe("somebody between two nodes", () => {
  const MIDDLE = "10.0.9.1";

  /** A sends to the middle, which it takes for B. */
  async function between(change: (way: Way, bytes: Uint8Array, at: number) => Uint8Array) {
    const world = new BusWorld();
    const a = await world.add(A, { retryMinMs: 10, retryMaxMs: 50 }, { secret: SECRET });
    await world.add(B, {}, { secret: SECRET });
    const middle = new ManInTheMiddle(world.simulation.addHost(MIDDLE).world, addressOf(B), change);
    await world.simulation.settle("a listener", middle.listen(addressOf(MIDDLE)), 100);
    const sendAll = async (count = 20): Promise<void> => {
      for (const at of upTo(count)) {
        a.send(addressOf(MIDDLE), BusChannel.consensus, numbered(at, 4 + (at % 5)));
        await world.simulation.runFor(2);
      }
      await world.simulation.runFor(100);
    };
    return { world, middle, sendAll };
  }

  test("who carries all on learns what is said, and neither side minds", async () => {
    const { world, sendAll } = await between((_way, bytes) => bytes);
    await sendAll();
    expect(world.numbers(B)).toEqual([...upTo(20)]);
  });

  for (const way of ["in", "out"] as const) {
    test(`who changes any byte on the way ${way} has no say in what arrives: it was sent, in order, or is lost`, async () => {
      let hadLinks = 0;
      for (let at = 0; at < 400; at += 7) {
        let isDone = false;
        const { world, sendAll } = await between((each, bytes, before) => {
          if (each !== way || isDone || at < before || at >= before + bytes.length) return bytes;
          isDone = true;
          return bytes.map((byte, index) => (index === at - before ? byte ^ 0x10 : byte));
        });
        await sendAll(10);
        const numbers = world.numbers(B);
        // In order, each once at most: what is sent after a link was closed goes over the next one.
        expect(numbers).toEqual([...new Set(numbers)].toSorted((one, other) => one - other));
        const lengths = (world.heard.get(B) ?? []).map(({ bytes }) => bytes.length);
        expect(lengths).toEqual(numbers.map((number) => 4 + (number % 5)));
        if (isDone) expect(numbers.length, `byte ${at}`).toBeLessThan(10);
        if (isDone && numbers.length > 0) hadLinks += 1;
      }
      expect(hadLinks).toBeGreaterThan(0);
    });
  }

  test("who says again later what A said to B is not heard", async () => {
    const { world, middle, sendAll } = await between((_way, bytes) => bytes);
    await sendAll();
    const heard = world.numbers(B).length;
    const again = await world.say(B, Uint8Array.from(middle.recorded.in));
    expect([again.isClosed, world.numbers(B).length]).toEqual([true, heard]);
    // Nor a part at a time, each after B's answer.
    for (const cut of [100, 200, 250, 300, 400]) {
      const raw = await world.say(B, Uint8Array.from(middle.recorded.in.slice(0, cut)));
      raw.write(Uint8Array.from(middle.recorded.in.slice(cut)));
      await world.simulation.runFor(50);
      expect([raw.isClosed, world.numbers(B).length]).toEqual([true, heard]);
    }
    // Nor by A itself.
    const reflected = await world.say(A, Uint8Array.from(middle.recorded.in));
    expect([reflected.isClosed, world.numbers(A)]).toEqual([true, []]);
  });

  test("who answers A with what B said in another handshake, or with A's own words, is told nothing but hellos", async () => {
    const { middle: first, sendAll } = await between((_way, bytes) => bytes);
    await sendAll();
    for (const answer of ["recorded", "own"] as const) {
      const world = new BusWorld();
      const a = await world.add(A, { retryMinMs: 10, retryMaxMs: 50 }, { secret: SECRET });
      const { world: there } = world.simulation.addHost(MIDDLE);
      const said: number[] = [];
      let streams = 0;
      const listening = there.network.listen({
        ...addressOf(MIDDLE),
        accept: (stream) => {
          streams += 1;
          return {
            data: (_stream, bytes) => {
              said.push(...bytes);
              const back = answer === "own" ? bytes : Uint8Array.from(first.recorded.out);
              stream.write(back, 0, back.length);
            },
            writable: () => undefined,
            closed: () => undefined,
          };
        },
      });
      await world.simulation.settle("a listener", listening, 100);
      for (const at of upTo(100)) {
        a.send(addressOf(MIDDLE), BusChannel.consensus, numbered(at, 1000));
        await world.simulation.runFor(10);
      }
      expect(streams).toBeGreaterThan(5);
      expect(said.length / streams).toBeLessThan(300);
      expect(a.links().every(({ nodeId }) => nodeId === "")).toBe(true);
      expect(world.logged("bus link refused")).toHaveLength(1);
    }
  });

  test("who ties a node to itself gets no link", async () => {
    const world = new BusWorld();
    const a = await world.add(A, {}, { secret: SECRET });
    const middle = new ManInTheMiddle(world.simulation.addHost(MIDDLE).world, addressOf(A), (_way, bytes) => bytes);
    await world.simulation.settle("a listener", middle.listen(addressOf(MIDDLE)), 100);
    for (const at of upTo(20)) {
      a.send(addressOf(MIDDLE), BusChannel.consensus, numbered(at));
      a.send(addressOf(MIDDLE), BusChannel.formation, numbered(at));
      await world.simulation.runFor(20);
    }
    expect(world.numbers(A)).toEqual([]);
  });
});

describe("datagrams", () => {
  test("arrive each once at most, from whom they say, over a network that loses, doubles and reorders them", async () => {
    let arrived = 0;
    for (const seed of [1, 2, 3]) {
      const world = new BusWorld(seed, { lossChance: 0.1, duplicateChance: 0.3, latencyMeanMs: 5 });
      for (const host of [A, B, C]) await world.add(host, {}, { secret: SECRET });
      await talk(world, [A, B, C], []);
      for (const host of [A, B, C]) {
        const heard = (world.datagrams.get(host) ?? []).map(({ from, number }) => `${from} ${number}`);
        expect(new Set(heard).size).toBe(heard.length);
        expect(heard.some((each) => each.startsWith(world.idOf(host)))).toBe(false);
        arrived += heard.length;
        expect(Number(await world.info(host, "bus_refused_datagrams_replayed"))).toBeGreaterThan(0);
        expect(await world.info(host, "bus_sent_datagrams")).toBe("80");
        expect(await world.info(host, "bus_datagram_peers")).toBe("2");
      }
    }
    expect(arrived).toBeGreaterThan(3 * 240 * 0.8);
    expect(arrived).toBeLessThan(3 * 240);
  });

  test("that were recorded are of no use to anybody: not again, not to others, not after a restart of either side", async () => {
    const world = new BusWorld();
    const a = await world.add(A, {}, { secret: SECRET });
    for (const host of [B, C]) await world.add(host, {}, { secret: SECRET });
    // The map says for a while that B is at a machine which writes everything down.
    const recorded: Uint8Array[] = [];
    const { network } = world.stranger().world;
    const received = (bytes: Uint8Array): void => void recorded.push(bytes);
    const socket = await world.simulation.settle("a socket", network.bind({ ...addressOf(STRANGER), received }), 100);
    const map = world.cluster(CLUSTER.id);
    const idOfB = world.idOf(B);
    a.setCluster({
      id: CLUSTER.id,
      member: (id) => {
        const member = map.member(id);
        return member === undefined || id !== idOfB ? member : { ...member, address: addressOf(STRANGER) };
      },
    });
    for (const at of upTo(30)) a.sendDatagram(idOfB, numbered(at));
    await world.simulation.runFor(50);
    expect(recorded).toHaveLength(30);
    const replay = async (to: string): Promise<number> => {
      for (const bytes of recorded) socket.send(bytes, to, BUS_PORT);
      await world.simulation.runFor(50);
      return world.datagrams.get(to)?.length ?? 0;
    };
    expect(await replay(C)).toBe(0);
    expect(await replay(A)).toBe(0);
    expect(await replay(B)).toBe(30);
    expect(await replay(B)).toBe(30);
    for (const restarted of [A, B]) {
      world.simulation.crash(restarted);
      world.simulation.restart(restarted);
      await world.started(restarted);
      expect([await replay(B), await replay(C), await replay(A)]).toEqual([30, 0, 0]);
    }
    expect(
      Number(await world.info(B, "bus_refused_datagrams_forged")) +
        Number(await world.info(B, "bus_refused_datagrams_stranger")),
    ).toBe(30);
  });

  test("of strangers, of all lengths, are counted and change nothing", async () => {
    const world = new BusWorld();
    await world.add(A, {}, { secret: SECRET });
    const { network, random } = world.stranger().world;
    const bound = network.bind({ ...addressOf(STRANGER), received: () => undefined });
    const socket = await world.simulation.settle("a socket", bound, 100);
    for (const at of upTo(2000)) socket.send(random.bytes(at), A, BUS_PORT);
    for (const length of [10_000, 60_000]) socket.send(random.bytes(length), A, BUS_PORT);
    await world.simulation.runFor(100);
    const counts = await Promise.all(
      ["received_datagrams", "refused_datagrams_malformed", "refused_datagrams_foreign", "datagram_peers"].map(
        (field) => world.info(A, `bus_${field}`),
      ),
    );
    expect(Number(counts[0])).toBe(2002);
    expect(Number(counts[1]) + Number(counts[2])).toBe(2002);
    expect(counts[3]).toBe("0");
    expect(world.datagrams.get(A)).toEqual([]);
  });

  test("at which a receiver throws do not stop the next; too long ones, and those of a node that has stopped, are not sent", async () => {
    const world = new BusWorld();
    const [a, b] = [await world.add(A), await world.add(B)];
    let calls = 0;
    b.receiveDatagrams(() => {
      calls += 1;
      if (calls === 1) throw new Error("not this one");
    });
    for (const length of [4, a.maxDatagramBytes, a.maxDatagramBytes + 1]) {
      expect(a.sendDatagram(world.idOf(B), new Uint8Array(length))).toBe(length <= a.maxDatagramBytes);
    }
    await world.simulation.runFor(50);
    expect(calls).toBe(2);
    expect(world.logged("bus datagram failed")).toHaveLength(1);
    expect(await world.info(A, "bus_dropped_datagrams")).toBe("1");
    await world.simulation.settle("the stop", present(world.nodes.get(A), "it is up").stop(), 5000);
    expect(a.sendDatagram(world.idOf(B), numbered(1))).toBe(false);
  });
});

describe("the secret", () => {
  test("is told by nothing: not CONFIG GET, not the slow log, not the log", async () => {
    const lines: string[] = [];
    const world = createBunWorld({ logLevel: "debug", writeLine: (line) => void lines.push(line) });
    const node = await startLocalNode({ port: 0, secret: SECRET }, { world });
    const client = localClient(node);
    const shown = Bun.inspect(new Map([["cluster-secret", new TextEncoder().encode("a secret")]]));
    expect(await client.run("CONFIG SET slowlog-log-slower-than 0")).toBe("OK");
    expect(await client.run("CONFIG GET cluster-secret")).toBe(shown);
    expect(await client.run(`CONFIG SET maxmemory 0 cluster-secret ${OTHER}`)).toBe("OK");
    const slow = await client.run("SLOWLOG GET");
    expect(slow).toContain("[CONFIG SET maxmemory 0 cluster-secret (redacted)]");
    expect(slow).not.toContain(OTHER);
    expect(await client.run("CONFIG GET *secret*")).toBe(shown);
    await node.stop();
    expect(lines.filter((line) => line.includes("cluster secret changed"))).toHaveLength(1);
    expect(lines.filter((line) => line.includes(SECRET) || line.includes(OTHER))).toEqual([]);
  });

  test("stays what it is when another value of the same CONFIG SET, or its own, is refused", async () => {
    const world = new BusWorld();
    const a = await world.add(A, {}, { secret: SECRET });
    await world.add(B, {}, { secret: SECRET });
    expect(await world.run(A, `CONFIG SET cluster-secret ${OTHER} maxmemory none`)).toContain("CONFIG SET failed");
    const refused = await world.run(A, "CONFIG SET cluster-secret brief");
    expect(refused).toContain("secret 1 must be 8 to 256");
    expect(refused).not.toContain("brief");
    a.send(addressOf(B), BusChannel.consensus, numbered(1));
    a.sendDatagram(world.idOf(B), numbered(2));
    await world.simulation.runFor(50);
    expect([world.numbers(B), world.datagrams.get(B)?.length]).toEqual([[1], 1]);
  });

  test.each([
    ["one", SECRET],
    ["none", undefined],
  ])("that is accepted no more ends the links of those who proved it, and nobody else's: %s", async (_, before) => {
    const world = new BusWorld();
    const a = await world.add(A, {}, before === undefined ? {} : { secret: before });
    await world.add(B, {}, before === undefined ? {} : { secret: before });
    const secrets = before === undefined ? [] : [before];
    const thief = world.peer(A, { secrets });
    const told = async (host: string, parameter: string): Promise<void> => {
      const connection = present(world.nodes.get(host), "it is up").connect();
      const asked = connection.execute("CONFIG", "SET", "cluster-secret", parameter);
      expect(showReply(await world.simulation.settle("a reply", asked, 1000))).toBe("OK");
      connection.close();
      thief.send(BusChannel.consensus, numbered(1));
      await world.simulation.runFor(50);
    };
    const old = before ?? "-";
    await told(B, `${old} ${OTHER}`);
    await told(A, `${old} ${OTHER}`);
    a.send(addressOf(B), BusChannel.consensus, numbered(2));
    await told(B, `${OTHER} ${old}`);
    await told(A, `${OTHER} ${old}`);
    expect(world.numbers(A)).toEqual([1, 1, 1, 1]);
    await told(A, OTHER);
    await world.simulation.runFor(100);
    // It goes on by the new one, with who still accepts both.
    a.send(addressOf(B), BusChannel.consensus, numbered(3));
    await told(B, OTHER);
    a.send(addressOf(B), BusChannel.consensus, numbered(4));
    await world.simulation.runFor(200);
    expect(thief.stream.isClosed).toBe(true);
    expect(world.numbers(A)).toEqual([1, 1, 1, 1]);
    expect(world.numbers(B)).toEqual([2, 3, 4]);
    for (const host of [A, B]) expect(await world.info(host, "bus_refused_links")).toBe("0");
  });

  for (const [what, config] of [
    ["a secret", { secret: SECRET }],
    ["--insecure", { insecure: true }],
  ] as const) {
    test(`off loopback a node wants one, or ${what === "a secret" ? "is refused" : what}`, async () => {
      const { world } = new Simulation(1).addHost(A);
      const base = { host: A, password: "x", plugins: { raft: false, resp: false } };
      expect(createNode({ world, config: base })).rejects.toThrow(
        `Cannot listen on ${A} for other nodes without a cluster secret`,
      );
      await createNode({ world, config: { ...base, ...config } });
    });
  }
});
