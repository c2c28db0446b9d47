/** The bus between nodes: frames in order, each once or never; bounded whatever others send, or do not read. */
import { afterEach, describe, expect, test } from "bun:test";
import { Fault, present } from "../../src/assert.ts";
import { FRAME_HEADER_BYTES, encodeFrame } from "../../src/codec/frame.ts";
import { HANDSHAKE_CHANNEL, type Hello, encodeHandshake } from "../../src/codec/link-codec.ts";
import { type Bus, BusChannel, busService } from "../../src/contracts/bus.ts";
import { type Node, createNode } from "../../src/node.ts";
import { ClusterSecrets, keyHint } from "../../src/protocol/link/secrets.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import type { Stream } from "../../src/world.ts";
import { BusTaker } from "../support/bus-peer.ts";
import {
  BUS_PORT,
  BusWorld,
  CLUSTER,
  STRANGER,
  STRANGER_ID,
  addressOf,
  busConfig,
  numbered,
} from "../support/bus-world.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";
const MAX_FRAME_BYTES = 4 * 1024 * 1024;

/** The first message of a link, as somebody without a secret says it. */
function hello(changes: Partial<Hello> = {}): Uint8Array {
  const nonce = new Uint8Array(32).fill(7);
  const message: Hello = {
    type: "hello",
    versions: { oldest: 1, newest: 1 },
    kind: "member",
    nodeId: STRANGER_ID,
    host: STRANGER,
    port: 1,
    clusterId: CLUSTER.id,
    nonce,
    hints: new ClusterSecrets([]).keys.map((key) => keyHint(key, nonce)),
  };
  return handshake({ ...message, ...changes });
}

const handshake = (message: Parameters<typeof encodeHandshake>[0]): Uint8Array =>
  encodeFrame(HANDSHAKE_CHANNEL, encodeHandshake(message));

const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at);

describe("frames", () => {
  test("that are sent before there is a link arrive all, in order, with who sent them", async () => {
    const world = new BusWorld();
    const bus = await world.add(A);
    await world.add(B);
    for (const at of upTo(200)) {
      expect(bus.send(addressOf(B), BusChannel.consensus, numbered(at, 4 + (at % 7) * 500))).toBe(true);
    }
    await world.simulation.runUntil("all to arrive", () => world.numbers(B).length === 200, 1000);
    expect(world.numbers(B)).toEqual(upTo(200));
    expect(world.heard.get(B)?.[0]?.from).toEqual({
      nodeId: world.nodes.get(A)?.facts.id ?? "",
      address: addressOf(A),
    });
    expect(bus.links().map(({ direction }) => direction)).toEqual(["to"]);
    expect(world.bus(B).links()).toMatchObject([{ direction: "from", nodeId: world.nodes.get(A)?.facts.id }]);
  });

  test("go both ways, each on a stream of its sender's", async () => {
    const world = new BusWorld();
    const [a, b] = [await world.add(A), await world.add(B)];
    a.send(addressOf(B), BusChannel.consensus, numbered(1));
    b.send(addressOf(A), BusChannel.consensus, numbered(2));
    await world.simulation.runFor(100);
    expect([world.numbers(A), world.numbers(B)]).toEqual([[2], [1]]);
    for (const bus of [a, b]) expect(bus.links().map(({ direction }) => direction)).toEqual(["to", "from"]);
  });

  test("arrive in order, each at most once, over streams that split, stall and break", async () => {
    let lost = 0;
    for (let seed = 1; seed <= 8; seed += 1) {
      const world = new BusWorld(seed, {
        splitChance: 0.5,
        shortWriteChance: 0.3,
        latencyMeanMs: 5,
        refuseChance: 0.1,
      });
      const { simulation } = world;
      const bus = await world.add(A, { retryMaxMs: 50 });
      await world.add(B);
      for (const at of upTo(1500)) {
        bus.send(addressOf(B), BusChannel.consensus, numbered(at, 4 + ((at * 37) % 900)));
        await simulation.runFor(1);
        if (at % 400 === 399) {
          simulation.crash(B, "process");
          world.nodes.delete(B);
          simulation.restart(B);
          await simulation.runUntil("B to start", () => world.nodes.has(B), 1000);
        }
      }
      await simulation.runFor(500);
      const numbers = world.numbers(B);
      expect(numbers).toEqual([...new Set(numbers)].toSorted((one, other) => one - other));
      expect(numbers.length).toBeGreaterThan(200);
      expect(numbers.at(-1)).toBeGreaterThan(1200);
      lost += 1500 - numbers.length;
    }
    // Else nothing was broken.
    expect(lost).toBeGreaterThan(0);
  });

  test("of the longest length arrive, and longer ones are not sent", async () => {
    const world = new BusWorld();
    const bus = await world.add(A);
    await world.add(B);
    expect(bus.send(addressOf(B), BusChannel.consensus, new Uint8Array(MAX_FRAME_BYTES + 1))).toBe(false);
    expect(bus.links()).toEqual([]);
    expect(bus.send(addressOf(B), BusChannel.consensus, numbered(7, MAX_FRAME_BYTES))).toBe(true);
    await world.simulation.runUntil("it to arrive", () => world.numbers(B).length === 1, 5000);
    expect(world.heard.get(B)?.[0]?.bytes.length).toBe(MAX_FRAME_BYTES);
  });

  test("on a channel that nobody hears are dropped; one on which a receiver throws does not stop the next", async () => {
    const world = new BusWorld();
    await world.add(A);
    let calls = 0;
    world.bus(A).receive(BusChannel.consensus, () => {
      calls += 1;
      if (calls === 1) throw new Error("not this one");
    });
    const peer = await world.join(A);
    for (const channel of [77, 0, 1, 1]) peer.send(channel, numbered(1));
    await world.simulation.runFor(50);
    expect([calls, peer.stream.isClosed]).toEqual([2, false]);
    expect(world.logged("bus frame failed")).toHaveLength(1);
  });

  test("at which a receiver finds a fault stop the node", async () => {
    const world = new BusWorld();
    await world.add(A);
    world.bus(A).receive(BusChannel.consensus, () => {
      throw new Fault("broken");
    });
    await world.join(A, numbered(1));
    await world.simulation.runUntil("it to stop", () => world.nodes.get(A)?.state === "stopped", 5000);
  });
});

describe("a node that does not read", () => {
  /** A machine that takes links, and then leaves them alone. */
  function deaf(world: BusWorld, streams: Stream[]): void {
    world.simulation.addHost(B, async (there) => {
      const options = { nodeId: STRANGER_ID, address: addressOf(B), clusterId: CLUSTER.id };
      await there.network.listen({
        host: B,
        port: BUS_PORT,
        accept: (stream) => {
          streams.push(stream);
          return new BusTaker(there, options, () => stream.pause());
        },
      });
    });
  }

  test("makes no more wait than the bound, and is given up after five seconds in which it took nothing", async () => {
    const world = new BusWorld();
    const bus = await world.add(A, { maxQueuedBytes: MAX_FRAME_BYTES });
    const streams: Stream[] = [];
    deaf(world, streams);
    await world.simulation.runFor(10);
    const send = (): boolean => bus.send(addressOf(B), BusChannel.consensus, new Uint8Array(100_000));
    let taken = 0;
    for (let round = 0; round < 200; round += 1) {
      if (send()) taken += 1;
      await world.simulation.runFor(1);
      const [link] = bus.links();
      expect(link?.queuedBytes).toBeLessThanOrEqual(MAX_FRAME_BYTES);
    }
    // The machine's buffers took something, the queue its bound, and the rest was dropped.
    expect(taken).toBeGreaterThan(40);
    expect(taken).toBeLessThan(60);
    expect(await world.info(A, "bus_dropped_frames")).toBe(String(200 - taken));
    await world.simulation.runFor(5000);
    expect(send()).toBe(false);
    await world.simulation.runFor(10);
    expect(bus.links()).toEqual([]);
    expect(world.logged("bus link lost")).toHaveLength(1);
    await world.simulation.runFor(1000);
    expect(send()).toBe(true);
    await world.simulation.runFor(10);
    expect(streams).toHaveLength(2);
  });
});

describe("a stranger", () => {
  const HTTP = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: node\r\n\r\n");
  const RANDOM = Uint8Array.from({ length: 5000 }, (_, at) => (at * 7919 + 13) & 0xff);

  const EMPTY = { proof: new Uint8Array(32), body: new Uint8Array(0) };
  for (const [what, bytes, reason, isAnswered = false] of [
    ["an HTTP request", HTTP, "it speaks another protocol"],
    ["random bytes", RANDOM, "it speaks another protocol"],
    ["zeros", new Uint8Array(100), "it speaks another protocol"],
    ["a frame before the hello", encodeFrame(1, numbered(1)), "it speaks another protocol"],
    ["a hello of a bad node id", hello({ nodeId: "x" }), "it speaks another protocol"],
    ["a hello that is too long", encodeFrame(0, new Uint8Array(1025)), "it speaks another protocol"],
    ["an answer before the hello", handshake({ type: "answer", ...EMPTY }), "it speaks another protocol"],
    ["a proof before the hello", handshake({ type: "proof", ...EMPTY }), "it speaks another protocol"],
    ["a hello twice", Uint8Array.of(...hello(), ...hello()), "it speaks another protocol"],
    [
      "a hello, and a proof of nothing",
      Uint8Array.of(...hello(), ...handshake({ type: "proof", ...EMPTY })),
      `node ${STRANGER_ID} did not prove that it knows the cluster secret`,
    ],
    ["a hello, and a frame at once", Uint8Array.of(...hello(), ...encodeFrame(1, numbered(1))), "another protocol"],
    ["later versions alone", hello({ versions: { oldest: 2, newest: 9 } }), "speaks versions 2 to 9", true],
    ["earlier versions alone", hello({ versions: { oldest: 0, newest: 0 } }), "speaks versions 0 to 0", true],
    ["no versions", hello({ versions: { oldest: 2, newest: 1 } }), "speaks versions 2 to 1", true],
    ["hints at no secret", hello({ hints: [] }), `node ${STRANGER_ID} has another cluster secret`, true],
    [
      "hints at other secrets",
      hello({ hints: [new Uint8Array(8), new Uint8Array(0)] }),
      "another cluster secret",
      true,
    ],
    [
      "the id of another cluster",
      hello({ clusterId: "d" }),
      `node ${STRANGER_ID} is in cluster d, and this one in c`,
      true,
    ],
  ] as const) {
    test(`that sends ${what} is closed, told of once, and heard by nobody`, async () => {
      const world = new BusWorld();
      await world.add(A);
      const raw = await world.say(A, bytes, encodeFrame(1, numbered(5)), hello(), encodeFrame(1, numbered(6)));
      expect([raw.isOpen, raw.isClosed, raw.received.length > 0]).toEqual([true, true, isAnswered]);
      expect(world.bus(A).links()).toEqual([]);
      expect(world.numbers(A)).toEqual([]);
      const refusals = world.logged("bus link refused");
      expect(refusals).toHaveLength(1);
      expect(refusals[0]).toContain(reason);
      expect(await world.info(A, "bus_refused_links")).toBe("1");
    });
  }

  test("that speaks this version and later ones is welcome", async () => {
    const world = new BusWorld();
    await world.add(A);
    const raw = await world.say(A, hello({ versions: { oldest: 1, newest: 9 } }));
    expect([raw.isClosed, raw.received.length > 0]).toEqual([false, true]);
    expect(world.logged("bus link refused")).toEqual([]);
  });

  test("that knows the secret and the cluster, and then sends a frame that is too long, is closed by its header", async () => {
    const world = new BusWorld();
    await world.add(A);
    const header = Uint8Array.of(17, 0, 64, 0, 1);
    expect(new DataView(header.buffer).getUint32(0, true)).toBe(MAX_FRAME_BYTES + 16 + 1);
    const { stream } = await world.join(A, numbered(1));
    expect(stream.isClosed).toBe(false);
    stream.write(header);
    await world.simulation.runFor(50);
    expect(stream.isClosed).toBe(true);
    expect(world.numbers(A)).toEqual([1]);
    expect(world.logged(`a frame of more than ${MAX_FRAME_BYTES} bytes`)).toHaveLength(1);
  });

  test("that says nothing, or half a hello, or proves nothing, is closed after a while", async () => {
    const world = new BusWorld();
    await world.add(A, { connectTimeoutMs: 100 });
    const silent = await world.say(A);
    const half = await world.say(A, hello().subarray(0, FRAME_HEADER_BYTES + 3));
    const unproved = await world.say(A, hello());
    expect([silent.isClosed, half.isClosed, unproved.isClosed]).toEqual([false, false, false]);
    expect(
      world
        .bus(A)
        .links()
        .map(({ nodeId }) => nodeId),
    ).toEqual(["", "", ""]);
    await world.simulation.runFor(600);
    expect([silent.isClosed, half.isClosed, unproved.isClosed]).toEqual([true, true, true]);
    expect(world.bus(A).links()).toEqual([]);
  });

  test("that comes again and again is counted, and told of now and then", async () => {
    const world = new BusWorld();
    await world.add(A);
    for (const _ of upTo(100)) await world.say(A, HTTP);
    expect(await world.info(A, "bus_refused_links")).toBe("100");
    expect(world.logged("bus link refused")).toHaveLength(1);
    await world.simulation.runFor(10_000);
    await world.say(A, HTTP);
    expect(world.logged("bus link refused").at(-1)).toContain("101");
    expect(world.bus(A).links()).toEqual([]);
  });

  test("is told of by its place, so that a second one is seen as well; a hundred at most", async () => {
    const world = new BusWorld();
    await world.add(A);
    const hosts = Array.from({ length: 110 }, (_, at) => `10.0.5.${at + 1}`);
    for (const host of hosts) {
      const stranger = await world.add(host, {}, { cluster: "d" });
      stranger.send(addressOf(A), BusChannel.consensus, numbered(1));
    }
    await world.simulation.runFor(1000);
    const told = world.logged("bus link refused").filter((line) => line.includes(` ${A} `));
    expect(told.filter((line) => line.includes(`${hosts[0] ?? ""}:`))).toHaveLength(1);
    expect(told.filter((line) => line.includes(`${hosts[1] ?? ""}:`))).toHaveLength(1);
    // What are more are told of as one.
    expect(told).toHaveLength(101);
  });

  test("finds no room beyond the bound of links, and takes none from those that have proved themselves", async () => {
    const world = new BusWorld();
    await world.add(A, { maxLinks: 3 });
    const raws = [];
    for (const _ of upTo(5)) raws.push(await world.say(A, hello()));
    expect(raws.map(({ isClosed }) => isClosed)).toEqual([true, true, false, false, false]);
    expect(world.bus(A).links()).toHaveLength(3);
    expect(world.logged("and it has proved nothing yet")).toHaveLength(1);
    // Whoever proves itself gets in beside them, and stays however many come.
    const members = [await world.join(A, numbered(4)), await world.join(A, numbered(5))];
    for (const _ of upTo(5)) raws.push(await world.say(A, hello()));
    expect(members.map(({ stream }) => stream.isClosed)).toEqual([false, false]);
    expect(world.numbers(A)).toEqual([4, 5]);
    // Of those that all have proved themselves the first ones stay.
    expect((await world.join(A, numbered(6))).stream.isClosed).toBe(false);
    expect((await world.join(A, numbered(7))).stream.isClosed).toBe(true);
    expect(world.numbers(A)).toEqual([4, 5, 6]);
  });
});

describe("a node that cannot be reached", () => {
  /** When a link was tried in 8 s of sending all the time. */
  async function attempts(world: BusWorld, listens: boolean): Promise<readonly number[]> {
    const times: number[] = [];
    if (listens) {
      world.simulation.addHost(B, async ({ network }) => {
        await network.listen({
          host: B,
          port: BUS_PORT,
          accept: (stream) => {
            times.push(world.simulation.nowMs);
            // It takes the stream and what comes with it, and wants no more.
            return { data: () => stream.destroy(), writable: () => undefined, closed: () => undefined };
          },
        });
      });
    } else {
      world.simulation.addHost(B);
    }
    const bus = await world.add(A, { retryMinMs: 50, retryMaxMs: 800 });
    let created = -1;
    for (const _ of upTo(8000)) {
      bus.send(addressOf(B), BusChannel.consensus, numbered(1));
      const [link] = bus.links();
      if (!listens && link !== undefined && link.createdAtMs !== created) {
        created = link.createdAtMs;
        times.push(world.simulation.nowMs);
      }
      await world.simulation.runFor(1);
    }
    return times;
  }

  for (const [what, listens] of [
    ["refuses", false],
    ["takes streams, and closes them at once,", true],
  ] as const) {
    test(`because it ${what} is tried after pauses that double up to a bound, and told of once`, async () => {
      const world = new BusWorld();
      const times = await attempts(world, listens);
      const pauses = times.slice(1).map((time, at) => time - (times[at] ?? 0));
      for (const [at, least] of [50, 100, 200, 400, 800, 800, 800].entries()) {
        expect(pauses[at], `pause ${at + 1}`).toBeGreaterThanOrEqual(least - 1);
        expect(pauses[at], `pause ${at + 1}`).toBeLessThan(least + 20);
      }
      expect(times.length).toBeLessThan(16);
      expect(world.logged("bus link lost")).toHaveLength(listens ? 1 : 0);
      expect(world.logged("did not answer as a node does; the port for nodes is")).toHaveLength(listens ? 1 : 0);
    });
  }

  test("since none listens there is told of once, also when nobody had been there at all before", async () => {
    const world = new BusWorld();
    world.simulation.addHost(B, async ({ network }) => {
      const ending = { data: (stream: Stream) => stream.destroy(), writable: () => undefined, closed: () => undefined };
      await network.listen({ host: B, port: BUS_PORT, accept: () => ending });
    });
    world.simulation.crash(B);
    const bus = await world.add(A);
    for (const at of upTo(6000)) {
      if (at === 3000) {
        expect(world.logged("bus link lost")).toEqual([]);
        world.simulation.restart(B);
      }
      bus.send(addressOf(B), BusChannel.consensus, numbered(at));
      await world.simulation.runFor(1);
    }
    expect(world.logged("bus link lost")).toHaveLength(1);
    expect(world.logged("did not answer as a node does")).toHaveLength(1);
  });

  test("is reached again within the longest pause after it has come back", async () => {
    const world = new BusWorld();
    const bus = await world.add(A, { retryMaxMs: 400 });
    await world.add(B);
    world.simulation.crash(B);
    for (const at of upTo(3000)) {
      if (at === 2000) world.simulation.restart(B);
      bus.send(addressOf(B), BusChannel.consensus, numbered(at));
      await world.simulation.runFor(1);
    }
    const [first] = world.numbers(B);
    expect(first).toBeGreaterThan(1500);
    expect(first).toBeLessThan(2420);
  });

  test("is not remembered for ever: addresses that somebody makes up are bounded", async () => {
    const world = new BusWorld();
    const bus = await world.add(A, { maxLinks: 20 });
    let taken = 0;
    for (const at of upTo(500)) {
      if (bus.send({ host: A, port: 20_000 + at }, BusChannel.consensus, numbered(at))) taken += 1;
      expect(bus.links().length).toBeLessThanOrEqual(20);
      if (at % 50 === 49) await world.simulation.runFor(2000);
    }
    // Each time that the pauses were over there was room for as many again.
    expect(taken).toBe(200);
    await world.add(B);
    expect(bus.send(addressOf(B), BusChannel.consensus, numbered(1))).toBe(true);
    await world.simulation.runFor(100);
    expect(world.numbers(B)).toEqual([1]);
  });
});

test("a node that has stopped sends nothing, takes nothing and has no links", async () => {
  const world = new BusWorld();
  const bus = await world.add(A);
  await world.add(B);
  bus.send(addressOf(B), BusChannel.consensus, numbered(1));
  const raw = await world.say(A, hello());
  await world.simulation.settle("the stop", present(world.nodes.get(A), "it has started").stop(), 5000);
  await world.simulation.runFor(100);
  expect(bus.send(addressOf(B), BusChannel.consensus, numbered(2))).toBe(false);
  expect([...bus.links(), ...world.bus(B).links()]).toEqual([]);
  expect(raw.isClosed).toBe(true);
  expect((await world.say(A, hello())).isOpen).toBe(false);
  expect(world.numbers(B)).toEqual([1]);
});

describe("over real sockets", () => {
  const nodes: Node[] = [];
  afterEach(async () => {
    for (const node of nodes.splice(0)) await node.stop();
  });

  /** A node, in a cluster of all that were started here. */
  async function start(port: number): Promise<Bus> {
    const world = createBunWorld({ logLevel: "silent" });
    const config = { ...busConfig("127.0.0.1", {}), port: 0, busPort: port, secret: "known-to-all" };
    const node = await createNode({ world, config });
    nodes.push(node);
    await node.start();
    const bus = present(node.service(busService), "there is a bus");
    const member = (id: string) => {
      const found = nodes.find(({ facts }) => facts.id === id);
      const address = found?.service(busService)?.address;
      return found === undefined || address === undefined ? undefined : { start: found.facts.runId, address };
    };
    bus.setCluster({ id: "c", member });
    return bus;
  }

  test("datagrams arrive on the port of streams, and those to a node that is gone harm nobody", async () => {
    const [a, b] = [await start(22_052), await start(22_053)];
    const idOfB = present(nodes[1], "it was started").facts.id;
    const heard: number[] = [];
    const deadlineMs = performance.now() + 5000;
    b.receiveDatagrams((_from, bytes) => heard.push(bytes.length));
    // A datagram may be lost, also here.
    for (let length = 0; heard.length < 20; length = (length + 97) % (a.maxDatagramBytes + 1)) {
      expect(performance.now()).toBeLessThan(deadlineMs);
      expect(a.sendDatagram(idOfB, new Uint8Array(length))).toBe(true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await nodes[1]?.stop();
    for (let sent = 0; sent < 100; sent += 1) {
      a.sendDatagram(idOfB, new Uint8Array(10));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const [node] = nodes;
    expect(node?.state).toBe("started");
  });

  test("frames of all sizes arrive in order, a stranger is closed, and links end with their node", async () => {
    const [a, b] = [await start(22_050), await start(22_051)];
    const heard: number[] = [];
    const all = Promise.withResolvers<void>();
    b.receive(BusChannel.consensus, (_from, bytes) => {
      heard.push(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
      if (heard.length === 300) all.resolve();
    });
    for (const at of upTo(300)) {
      a.send(b.address, BusChannel.consensus, numbered(at, at === 150 ? MAX_FRAME_BYTES : 4 + ((at * 331) % 20_000)));
    }
    await all.promise;
    expect(heard).toEqual([...upTo(300)]);

    const closed = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: b.address.port,
      socket: { data: () => undefined, close: () => closed.resolve(), error: () => closed.resolve() },
    });
    socket.write("GET / HTTP/1.1\r\nHost: node\r\n\r\n");
    await closed.promise;
    expect(b.links().map(({ direction }) => direction)).toEqual(["from"]);
    await nodes.shift()?.stop();
    while (b.links().length > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});
