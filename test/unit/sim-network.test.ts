/** The simulated network: what streams promise, and what they do not, under each fault. */

import { describe, expect, test } from "bun:test";
import { NetworkError, type Stream, type StreamHandler } from "../../src/world.ts";
import { DEFAULT_NETWORK, type NetworkSettings } from "../support/sim-path.ts";
import { Simulation, type SimHost } from "../support/sim-world.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";

/** What happened at one side of a stream. */
class Side implements StreamHandler {
  stream: Stream | undefined = undefined;
  readonly pieces: Uint8Array[] = [];
  bytes = 0;
  isOpen = false;
  writableCalls = 0;
  /** `open` until the end, then its reason. */
  end = "open";
  onData: ((stream: Stream, bytes: Uint8Array) => void) | undefined = undefined;
  onWritable: ((stream: Stream) => void) | undefined = undefined;

  opened(stream: Stream): void {
    this.stream = stream;
    this.isOpen = true;
  }

  data(stream: Stream, bytes: Uint8Array): void {
    expect(this.end).toBe("open");
    this.pieces.push(bytes);
    this.bytes += bytes.length;
    this.onData?.(stream, bytes);
  }

  writable(stream: Stream): void {
    expect(this.end).toBe("open");
    this.writableCalls++;
    this.onWritable?.(stream);
  }

  closed(_stream: Stream, reason: string | undefined): void {
    expect(this.end).toBe("open");
    this.end = reason ?? "orderly";
  }

  text(): string {
    return new TextDecoder().decode(Uint8Array.from(this.pieces.flatMap((piece) => [...piece])));
  }
}

interface Pair {
  simulation: Simulation;
  a: SimHost;
  b: SimHost;
  client: Side;
  server: Side;
  stream: Stream;
  peer: Stream;
}

async function listening(network: Partial<NetworkSettings> = {}, seed = 1): Promise<Omit<Pair, "stream" | "peer">> {
  const simulation = new Simulation(seed, { network });
  const a = simulation.addHost(A);
  const b = simulation.addHost(B);
  const server = new Side();
  const listen = b.world.network.listen({
    host: B,
    port: 80,
    accept: (stream) => {
      server.stream = stream;
      return server;
    },
  });
  await simulation.settle("a listener", listen, 10);
  return { simulation, a, b, client: new Side(), server };
}

async function connected(network: Partial<NetworkSettings> = {}, seed = 1): Promise<Pair> {
  const pair = await listening(network, seed);
  const { simulation, a, client, server } = pair;
  const stream = a.world.network.connect({ host: B, port: 80, handler: client });
  await simulation.runUntil("an open stream", () => client.isOpen, 5000);
  if (server.stream === undefined) throw new Error("the stream was not accepted");
  return { ...pair, stream, peer: server.stream };
}

function send(stream: Stream, text: string): number {
  const bytes = new TextEncoder().encode(text);
  return stream.write(bytes, 0, bytes.length);
}

/** Bytes that show any loss, doubling or change of order. */
function numbered(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
}

/** Writes all of it, as room allows. */
function pump(side: Side, stream: Stream, bytes: Uint8Array): void {
  let sent = 0;
  side.onWritable = () => {
    while (sent < bytes.length) {
      const taken = stream.write(bytes, sent, bytes.length);
      sent += taken;
      if (taken === 0) return;
      if (sent < bytes.length) return;
    }
  };
  side.onWritable(stream);
}

function joined(side: Side): Uint8Array {
  const whole = new Uint8Array(side.bytes);
  let at = 0;
  for (const piece of side.pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

describe("streams", () => {
  test("carry bytes both ways and name both ends", async () => {
    const { simulation, client, server, stream, peer } = await connected();
    expect(send(stream, "hello")).toBe(5);
    send(peer, "welcome");
    await simulation.runFor(50);
    expect(server.text()).toBe("hello");
    expect(client.text()).toBe("welcome");
    expect(stream.remoteAddress).toBe(`${B}:80`);
    expect(peer.localAddress).toBe(`${B}:80`);
    expect(peer.remoteAddress).toBe(stream.localAddress);
    expect(stream.localAddress).toStartWith(`${A}:`);
  });

  test("take no bytes before they are open, nor after they are closed", async () => {
    const { simulation, a, client } = await listening();
    const stream = a.world.network.connect({ host: B, port: 80, handler: client });
    expect(send(stream, "early")).toBe(0);
    await simulation.runFor(50);
    stream.destroy();
    expect(send(stream, "late")).toBe(0);
    await simulation.runFor(50);
    expect(client.end).toBe("orderly");
    expect(send(stream, "late")).toBe(0);
  });

  test("copy what is written", async () => {
    const { simulation, server, stream } = await connected();
    const bytes = numbered(10);
    stream.write(bytes, 2, 6);
    bytes.fill(0);
    await simulation.runFor(50);
    expect(joined(server)).toEqual(numbered(10).slice(2, 6));
  });

  test.each([1, 2, 3, 4, 5, 6])("keep order and content, cut and merged at random, seed %d", async (seed) => {
    const { simulation, client, server, stream, peer } = await connected(
      {
        splitChance: 0.5,
        shortWriteChance: 0.3,
        sendBufferBytes: 2000,
        latencyMeanMs: 5,
        spikeChance: 0.1,
        spikeMeanMs: 50,
      },
      seed,
    );
    pump(client, stream, numbered(50_000));
    pump(server, peer, numbered(30_000));
    await simulation.runUntil("all bytes", () => server.bytes === 50_000 && client.bytes === 30_000, 600_000);
    expect(joined(server)).toEqual(numbered(50_000));
    expect(joined(client)).toEqual(numbered(30_000));
    const sizes = new Set(server.pieces.map((piece) => piece.length));
    expect(sizes.size).toBeGreaterThan(10);
    expect(sizes.has(1)).toBe(true);
  });

  test("merge what comes while a program does not read", async () => {
    const { simulation, server, stream, peer } = await connected();
    peer.pause();
    for (const text of ["one ", "two ", "three"]) send(stream, text);
    await simulation.runFor(50);
    expect(server.bytes).toBe(0);
    peer.resume();
    await simulation.runFor(50);
    expect(server.pieces).toHaveLength(1);
    expect(server.text()).toBe("one two three");
  });

  test("take as much as the buffer holds while the other side does not read, and tell when there is room", async () => {
    const { simulation, client, server, stream, peer } = await connected({ sendBufferBytes: 1000 });
    peer.pause();
    expect(stream.write(numbered(1500), 0, 1500)).toBe(1000);
    expect(stream.write(numbered(1500), 1000, 1500)).toBe(0);
    await simulation.runFor(1000);
    expect(client.writableCalls).toBe(0);
    expect(server.bytes).toBe(0);
    peer.resume();
    await simulation.runFor(50);
    expect(client.writableCalls).toBe(1);
    expect(server.bytes).toBe(1000);
    expect(stream.write(numbered(1500), 1000, 1500)).toBe(500);
    await simulation.runFor(50);
    expect(client.writableCalls).toBe(1);
    expect(joined(server)).toEqual(numbered(1500));
  });

  test("end in order: everything that was taken arrives, then both sides are closed", async () => {
    const { simulation, client, server, stream, peer } = await connected({ splitChance: 0.5 });
    send(peer, "answer");
    stream.write(numbered(5000), 0, 5000);
    stream.end();
    expect(send(stream, "more")).toBe(0);
    expect(client.end).toBe("open");
    await simulation.runFor(200);
    expect(joined(server)).toEqual(numbered(5000));
    expect(client.text()).toBe("answer");
    expect([client.end, server.end]).toEqual(["orderly", "orderly"]);
  });

  test("destroyed: this side is closed in a later turn, the other one hears of it, by a reset or an end", async () => {
    const ends = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const { simulation, client, server, stream } = await connected({}, seed);
      stream.destroy();
      stream.destroy();
      expect(client.end).toBe("open");
      await simulation.runFor(50);
      expect(client.end).toBe("orderly");
      ends.add(server.end);
    }
    expect([...ends].toSorted()).toEqual(["orderly", "reset"]);
  });

  test("destroyed: bytes on their way may be lost, and are in some runs", async () => {
    const arrived = new Set<boolean>();
    for (let seed = 0; seed < 40; seed++) {
      const { simulation, server, stream } = await connected({ latencyMeanMs: 3 }, seed);
      send(stream, "last words");
      stream.destroy();
      await simulation.runFor(500);
      expect(server.end).not.toBe("open");
      arrived.add(server.text() === "last words");
    }
    expect(arrived.size).toBe(2);
  });

  test("refused where nobody listens, unreachable where there is no machine", async () => {
    const { simulation, a, client } = await listening();
    a.world.network.connect({ host: B, port: 81, handler: client });
    const lost = new Side();
    a.world.network.connect({ host: "10.9.9.9", port: 80, handler: lost });
    await simulation.runFor(50);
    expect(client.end).toBe("refused");
    expect(lost.end).toBe("unreachable");
  });

  test("refused once the listener is closed, while open ones stay", async () => {
    const simulation = new Simulation(1);
    const b = simulation.addHost(B);
    const server = new Side();
    const options = { host: "0.0.0.0", port: 0, accept: () => server };
    const listener = await simulation.settle("a listener", b.world.network.listen(options), 10);
    const first = new Side();
    const stream = b.world.network.connect({ host: "127.0.0.1", port: listener.port, handler: first });
    await simulation.runFor(10);
    listener.close();
    const second = new Side();
    b.world.network.connect({ host: "127.0.0.1", port: listener.port, handler: second });
    send(stream, "still here");
    await simulation.runFor(10);
    expect(second.end).toBe("refused");
    expect(server.text()).toBe("still here");
  });

  test("connects hang or are refused as often as the settings say", async () => {
    const { simulation, a } = await listening({ refuseChance: 0.3, hangChance: 0.3, connectTimeoutMs: 1000 });
    const sides = Array.from({ length: 200 }, () => new Side());
    for (const handler of sides) a.world.network.connect({ host: B, port: 80, handler });
    await simulation.runFor(2000);
    const count = (end: string): number => sides.filter((side) => side.end === end).length;
    expect(count("timed-out")).toBeGreaterThan(30);
    expect(count("refused")).toBeGreaterThan(20);
    expect(count("open")).toBeGreaterThan(50);
    expect(count("timed-out") + count("refused") + count("open")).toBe(200);
  });

  test("over a cut: nothing arrives while it lasts, nothing is lost after it", async () => {
    const { simulation, client, server, stream, peer } = await connected({ sendBufferBytes: 4000 });
    const cut = simulation.partition([A], [B]);
    pump(client, stream, numbered(20_000));
    pump(server, peer, numbered(20_000));
    await simulation.runFor(60_000);
    expect([client.bytes, server.bytes]).toEqual([0, 0]);
    expect([client.end, server.end]).toEqual(["open", "open"]);
    cut.heal();
    await simulation.runFor(10_000);
    expect(joined(server)).toEqual(numbered(20_000));
    expect(joined(client)).toEqual(numbered(20_000));
  });

  test("over a cut: what was in flight when it came is not lost either", async () => {
    const { simulation, server, stream } = await connected({ latencyMinMs: 10 });
    send(stream, "in flight");
    await simulation.runFor(5);
    const cut = simulation.partition([A], [B]);
    await simulation.runFor(1000);
    expect(server.bytes).toBe(0);
    cut.heal();
    await simulation.runFor(5000);
    expect(server.text()).toBe("in flight");
  });

  test("a cut one way stops the bytes that way, and the room the other way", async () => {
    const { simulation, client, server, stream, peer } = await connected({ sendBufferBytes: 1000 });
    simulation.cutOneWay([B], [A]);
    send(peer, "unheard");
    pump(client, stream, numbered(5000));
    await simulation.runFor(10_000);
    expect(client.bytes).toBe(0);
    // What was read cannot be acknowledged.
    expect(server.bytes).toBe(1000);
    simulation.heal();
    await simulation.runFor(10_000);
    expect(client.text()).toBe("unheard");
    expect(joined(server)).toEqual(numbered(5000));
  });

  test("overlapping cuts: the path is open again after the last one was healed", async () => {
    const { simulation, server, stream } = await connected();
    const first = simulation.partition([A], [B]);
    const second = simulation.isolate([A]);
    send(stream, "x");
    first.heal();
    first.heal();
    await simulation.runFor(5000);
    expect(server.bytes).toBe(0);
    second.heal();
    await simulation.runFor(5000);
    expect(server.bytes).toBe(1);
  });

  test("overlapping cuts of the way back: what was read is acknowledged after the last one was healed", async () => {
    const { simulation, client, server, stream } = await connected({ sendBufferBytes: 1000 });
    const first = simulation.cutOneWay([B], [A]);
    const second = simulation.cutOneWay([B], [A]);
    pump(client, stream, numbered(2000));
    await simulation.runFor(1000);
    first.heal();
    await simulation.runFor(5000);
    expect(server.bytes).toBe(1000);
    second.heal();
    await simulation.runFor(5000);
    expect(server.bytes).toBe(2000);
  });

  test("opened during a cut: they hang, and open after it", async () => {
    const { simulation, a, client } = await listening();
    const cut = simulation.partition([A], [B]);
    a.world.network.connect({ host: B, port: 80, handler: client });
    await simulation.runFor(5000);
    expect([client.isOpen, client.end]).toEqual([false, "open"]);
    cut.heal();
    await simulation.runFor(5000);
    expect(client.isOpen).toBe(true);
  });

  test("opened during a cut that stays: they time out", async () => {
    const { simulation, a, client } = await listening();
    simulation.partition([A], [B]);
    a.world.network.connect({ host: B, port: 80, handler: client });
    await simulation.runFor(DEFAULT_NETWORK.connectTimeoutMs + 10);
    expect(client.end).toBe("timed-out");
  });

  test("that get nothing through for very long time out; idle ones do not", async () => {
    const { simulation, client, server, stream } = await connected();
    simulation.partition([A], [B]);
    send(stream, "x");
    await simulation.runFor(DEFAULT_NETWORK.streamTimeoutMs + 10);
    expect([client.end, server.end]).toEqual(["timed-out", "open"]);
  });

  test("a clog delays what is sent, and heals", async () => {
    const { simulation, server, stream } = await connected();
    const clog = simulation.clog([A], [B], 2000);
    send(stream, "x");
    await simulation.runFor(1900);
    expect(server.bytes).toBe(0);
    await simulation.runFor(200);
    expect(server.bytes).toBe(1);
    clog.heal();
    send(stream, "y");
    await simulation.runFor(100);
    expect(server.bytes).toBe(2);
  });

  test("a killed process' peers hear of it soon", async () => {
    const ends = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const { simulation, client, server } = await connected({}, seed);
      simulation.crash(B, "process");
      await simulation.runFor(50);
      ends.add(client.end);
      expect(server.end).toBe("open");
    }
    expect([...ends].toSorted()).toEqual(["orderly", "reset"]);
  });

  test("a killed process' listener refuses, its successor's takes", async () => {
    const { simulation, a, b, client } = await listening();
    simulation.crash(B, "process");
    a.world.network.connect({ host: B, port: 80, handler: client });
    await simulation.runFor(50);
    expect(client.end).toBe("refused");
    simulation.restart(B);
    const listen = b.world.network.listen({ host: B, port: 80, accept: () => new Side() });
    await simulation.settle("a listener", listen, 10);
    const again = new Side();
    a.world.network.connect({ host: B, port: 80, handler: again });
    await simulation.runFor(50);
    expect(again.isOpen).toBe(true);
  });

  test("a machine without power is silent; back again, it resets whoever still writes", async () => {
    const { simulation, a, client, stream } = await connected();
    simulation.crash(B, "power");
    send(stream, "anybody?");
    const other = new Side();
    a.world.network.connect({ host: B, port: 80, handler: other });
    await simulation.runFor(30_000);
    expect([client.end, other.end]).toEqual(["open", "open"]);
    simulation.restart(B);
    await simulation.runFor(40_000);
    expect([client.end, other.end]).toEqual(["reset", "refused"]);
  });

  test("a process that was killed during a cut: the peer hears of it when it writes, after the cut, if not before", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { simulation, client, stream } = await connected({}, seed);
      const cut = simulation.partition([A], [B]);
      simulation.crash(B, "process");
      await simulation.runFor(10_000);
      expect(client.end).toBe("open");
      cut.heal();
      await simulation.runFor(5000);
      if (client.end !== "open") continue;
      send(stream, "x");
      await simulation.runFor(50);
      expect(client.end).toBe("reset");
    }
  });

  test("broken off in between: both sides are told, even over a cut", async () => {
    const { simulation, client, server } = await connected();
    simulation.partition([A], [B]);
    simulation.network.openStreams()[0]?.breakOff();
    await simulation.runFor(100);
    expect([client.end, server.end]).toEqual(["reset", "reset"]);
    expect(simulation.network.openStreams()).toEqual([]);
  });

  test("a stalled process reads late, and what it got keeps its order", async () => {
    const { simulation, server, stream } = await connected();
    simulation.stall(B, 500);
    for (let i = 0; i < 10; i++) {
      send(stream, `${i}`);
      await simulation.runFor(10);
    }
    expect(server.bytes).toBe(0);
    await simulation.runFor(500);
    expect(server.text()).toBe("0123456789");
  });

  test("a stalled process' kernel takes streams, and its program learns of them late", async () => {
    const { simulation, a, client, server } = await listening();
    simulation.stall(B, 500);
    const stream = a.world.network.connect({ host: B, port: 80, handler: client });
    await simulation.runFor(50);
    expect(client.isOpen).toBe(true);
    expect(server.stream).toBeUndefined();
    send(stream, "early");
    await simulation.runFor(500);
    expect(server.text()).toBe("early");
  });

  test("what a process that stalled midway sends leaves after the stall", async () => {
    const { simulation, a, client, server, stream } = await connected();
    client.onData = () => undefined;
    a.world.clock.after(10, () => {
      send(stream, "before ");
      a.world.clock.monotonicMs();
      send(stream, "after");
    });
    simulation.stallMidway(A, 2, 1000);
    await simulation.runFor(500);
    expect(server.text()).toBe("before ");
    await simulation.runFor(600);
    expect(server.text()).toBe("before after");
  });

  test("listen says what is wrong", async () => {
    const { simulation, b } = await listening();
    const accept = (): StreamHandler => new Side();
    for (const [options, code] of [
      [{ host: B, port: 80, accept }, "address-in-use"],
      [{ host: A, port: 81, accept }, "address-not-available"],
    ] as const) {
      const listen = b.world.network.listen(options);
      const error: unknown = await simulation.settle("a refusal", listen, 10).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ code });
      expect(String(error)).toContain(`${options.host}:${options.port}`);
    }
  });

  test("a loopback listener is for its own machine alone", async () => {
    const { simulation, a, b } = await listening();
    const listen = b.world.network.listen({ host: "127.0.0.1", port: 81, accept: () => new Side() });
    await simulation.settle("a listener", listen, 10);
    const [far, near] = [new Side(), new Side()];
    a.world.network.connect({ host: B, port: 81, handler: far });
    b.world.network.connect({ host: "localhost", port: 81, handler: near });
    await simulation.runFor(50);
    expect([far.end, near.isOpen]).toEqual(["refused", true]);
  });
});
