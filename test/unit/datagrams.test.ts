/** Sealed datagrams: who may say what to whom, once, and in this start of both; and that nothing that comes from outside makes anything grow. */
import { describe, expect, test } from "bun:test";
import type { BusCluster } from "../../src/contracts/bus.ts";
import { type DatagramRefusal, Datagrams, MAX_DATAGRAM_BYTES } from "../../src/protocol/link/datagrams.ts";
import { ReplayWindow, WINDOW } from "../../src/protocol/link/replay-window.ts";
import { ClusterSecrets } from "../../src/protocol/link/secrets.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const OVERHEAD = 49;

const start = (name: string): string => name.repeat(40).slice(0, 40);
const keysOf = (...secrets: readonly string[]): readonly Uint8Array[] => new ClusterSecrets(secrets).keys;
const SECRET = keysOf("known-to-all");

/** A map: the start of each node. */
function clusterOf(id: string, starts: Readonly<Record<string, string>>): BusCluster {
  return {
    id,
    member: (node) => {
      const found = starts[node];
      return found === undefined ? undefined : { start: found, address: { host: `host-${node.slice(0, 1)}`, port: 7 } };
    },
  };
}

const MAP = clusterOf("c", { [A]: start("1"), [B]: start("2") });

interface Side {
  readonly id: string;
  readonly start: string;
  readonly keys?: readonly Uint8Array[];
  readonly cluster?: BusCluster | undefined;
}

function side({ id, start: own, keys = SECRET, ...rest }: Side): Datagrams {
  const datagrams = new Datagrams({ id }, own, keys);
  datagrams.setCluster("cluster" in rest ? rest.cluster : MAP);
  return datagrams;
}

const a = (changes: Partial<Side> = {}): Datagrams => side({ id: A, start: start("1"), ...changes });
const b = (changes: Partial<Side> = {}): Datagrams => side({ id: B, start: start("2"), ...changes });

function sealed(from: Datagrams, to = B, text = "hello"): Uint8Array {
  const datagram = from.seal(to, new TextEncoder().encode(text));
  if (datagram === undefined) throw new Error("it was sealed");
  return datagram.bytes;
}

/** What became of it: the text, or why it was refused. */
function opened(by: Datagrams, bytes: Uint8Array): string {
  const result = by.open(bytes);
  return typeof result === "string"
    ? result
    : `${result.from.slice(0, 1)}: ${new TextDecoder().decode(result.payload)}`;
}

describe("a datagram", () => {
  test("comes from who sealed it, to where the map says that the other is", () => {
    const [one, other] = [a(), b()];
    const datagram = one.seal(B, new TextEncoder().encode("hello"));
    expect(datagram?.address).toEqual({ host: "host-b", port: 7 });
    expect(opened(other, datagram?.bytes ?? new Uint8Array(0))).toBe("a: hello");
    expect(opened(one, sealed(other, A, "and back"))).toBe("b: and back");
  });

  test("of the longest length fits into 1400 bytes, and a longer one is not sealed", () => {
    const [one, other] = [a(), b()];
    const longest = one.seal(B, new Uint8Array(MAX_DATAGRAM_BYTES));
    expect(longest?.bytes.length).toBe(1399);
    expect(MAX_DATAGRAM_BYTES).toBe(1399 - OVERHEAD);
    expect(other.open(longest?.bytes ?? new Uint8Array(0))).toMatchObject({ from: A });
    expect(one.seal(B, new Uint8Array(MAX_DATAGRAM_BYTES + 1))).toBeUndefined();
  });

  test("may be empty", () => expect(opened(b(), sealed(a(), B, ""))).toBe("a: "));

  test("is not sealed for who is not in the map or has no start, nor by who is not admitted or in no cluster", () => {
    const bytes = new Uint8Array(1);
    expect(a().seal("c".repeat(40), bytes)).toBeUndefined();
    expect(a({ cluster: clusterOf("c", { [A]: start("1"), [B]: "" }) }).seal(B, bytes)).toBeUndefined();
    expect(a({ start: start("9") }).seal(B, bytes)).toBeUndefined();
    expect(a({ cluster: undefined }).seal(B, bytes)).toBeUndefined();
  });
});

describe("a datagram is refused", () => {
  const good = (): Uint8Array => sealed(a());
  const changedAt = (at: number): Uint8Array => good().map((byte, index) => (index === at ? byte ^ 1 : byte));
  const earlier = clusterOf("c", { [A]: start("0"), [B]: start("2") });
  const table: readonly (readonly [what: string, bytes: Uint8Array, reason: DatagramRefusal, by?: Datagrams])[] = [
    ["without a byte", new Uint8Array(0), "malformed"],
    ["shorter than an empty one", good().subarray(0, OVERHEAD - 1), "malformed"],
    ["longer than any", Uint8Array.of(...good(), ...new Uint8Array(1400)), "malformed"],
    ["of another format", changedAt(0), "malformed"],
    ["with a number that is none", good().fill(0xff, 25, 33), "malformed"],
    ["of zeros", new Uint8Array(100), "malformed"],
    ["in the group of nobody", changedAt(1), "foreign"],
    ["of another cluster", sealed(a({ cluster: clusterOf("d", { [A]: start("1"), [B]: start("2") }) })), "foreign"],
    ["of another secret", sealed(a({ keys: keysOf("another-one") })), "foreign"],
    ["by a node in no cluster", good(), "foreign", b({ cluster: undefined })],
    ["of a node that is not in the map", good(), "stranger", b({ cluster: clusterOf("c", { [B]: start("2") }) })],
    [
      "of one that the map has no start of",
      good(),
      "stranger",
      b({ cluster: clusterOf("c", { [A]: "", [B]: start("2") }) }),
    ],
    ["by one that is not admitted", good(), "stranger", b({ start: start("9") })],
    ["that it sent itself", sealed(a()), "stranger", a()],
    ["in the name of another", good().fill(0xbb, 5, 25), "stranger"],
    ["with another number", changedAt(32), "forged"],
    ["with other words", changedAt(33), "forged"],
    ["with another seal", changedAt(OVERHEAD + 4), "forged"],
    ["without its last byte", good().subarray(0, OVERHEAD + 4), "forged"],
    ["with a byte more", Uint8Array.of(...good(), 0), "forged"],
    ["of an earlier start of the sender", sealed(a({ start: start("0"), cluster: earlier })), "forged"],
    [
      "to an earlier start of the receiver",
      sealed(a({ cluster: clusterOf("c", { [A]: start("1"), [B]: start("0") }) })),
      "forged",
    ],
    [
      "that was for another node",
      sealed(
        a({ cluster: clusterOf("c", { [A]: start("1"), [B]: start("2"), ["c".repeat(40)]: start("3") }) }),
        "c".repeat(40),
      ),
      "forged",
    ],
  ];
  for (const [what, bytes, reason, by = b()] of table) {
    test(`${what}, as ${reason}`, () => expect(opened(by, bytes)).toBe(reason));
  }

  test("that comes again, as replayed; also after others", () => {
    const [one, other] = [a(), b()];
    const [first, second] = [sealed(one, B, "first"), sealed(one, B, "second")];
    expect([first, second, first, second].map((each) => opened(other, each))).toEqual([
      "a: first",
      "a: second",
      "replayed",
      "replayed",
    ]);
  });

  test("that comes after so many later ones that nobody knows whether it came before, as old", () => {
    const [one, other] = [a(), b()];
    const all = Array.from({ length: WINDOW + 1 }, (_, at) => sealed(one, B, String(at)));
    for (const each of all.slice(2)) opened(other, each);
    expect(opened(other, all[1] ?? new Uint8Array(0))).toBe("a: 1");
    expect(opened(other, all[0] ?? new Uint8Array(0))).toBe("old");
  });

  test("once more after the sender has left the cluster and come back with the same start", () => {
    const [one, other] = [a(), b()];
    const first = sealed(one);
    expect(opened(other, first)).toBe("a: hello");
    for (const each of [one, other]) each.setCluster(clusterOf("alone", { [A]: start("1") }));
    for (const each of [one, other]) each.setCluster(MAP);
    expect(opened(other, first)).toBe("replayed");
    // And what the sender says from here on is new.
    expect(opened(other, sealed(one, B, "again"))).toBe("a: again");
  });
});

describe("after a node has started again", () => {
  const after = clusterOf("c", { [A]: start("3"), [B]: start("2") });
  test("what its earlier start sealed is refused, and what this one seals is taken, from its first number on", () => {
    const [before, other] = [a(), b()];
    const recorded = Array.from({ length: 100 }, () => sealed(before));
    for (const each of recorded) opened(other, each);
    other.setCluster(after);
    const again = a({ start: start("3"), cluster: after });
    expect(new Set(recorded.map((each) => opened(other, each)))).toEqual(new Set(["forged"]));
    expect(opened(other, sealed(again))).toBe("a: hello");
  });
});

describe("while the secret is being changed", () => {
  const [old, both, swapped, next] = [
    keysOf("the-old-secret"),
    keysOf("the-old-secret", "the-new-secret"),
    keysOf("the-new-secret", "the-old-secret"),
    keysOf("the-new-secret"),
  ];
  for (const [from, to] of [
    [old, both],
    [both, old],
    [both, swapped],
    [swapped, both],
    [swapped, next],
    [next, swapped],
  ] as const) {
    test("what neighbours in the order of steps seal is taken", () =>
      expect(opened(b({ keys: to }), sealed(a({ keys: from })))).toBe("a: hello"));
  }

  test("nothing that came before the change comes again after it", () => {
    const [one, other] = [a({ keys: both }), b({ keys: both })];
    const first = sealed(one);
    expect(opened(other, first)).toBe("a: hello");
    for (const each of [one, other]) each.setKeys(swapped);
    expect([opened(other, first), opened(other, sealed(one))]).toEqual(["replayed", "a: hello"]);
    for (const each of [one, other]) each.setKeys(next);
    expect([opened(other, first), opened(other, sealed(one))]).toEqual(["foreign", "a: hello"]);
  });
});

describe("what is remembered", () => {
  const idAt = (at: number): string => at.toString(16).padStart(40, "0");

  test("is nothing of nodes that are not in the map, whatever comes", () => {
    const other = b();
    for (let at = 0; at < 1000; at += 1) {
      const bytes = sealed(a());
      bytes.set([at >> 8, at & 0xff], 5);
      expect(opened(other, bytes)).toBe("stranger");
    }
    expect(other.peerCount).toBe(0);
  });

  test("goes with the nodes that have left the map, however many come and go", () => {
    const other = b();
    for (let generation = 0; generation < 50; generation += 1) {
      const ids = Array.from({ length: 20 }, (_, at) => idAt(generation * 20 + at));
      const map = clusterOf("c", {
        [B]: start("2"),
        ...Object.fromEntries(ids.map((id) => [id, start(id.slice(-4))])),
      });
      other.setCluster(map);
      for (const id of ids)
        expect(opened(other, sealed(side({ id, start: start(id.slice(-4)), cluster: map })))).toBe("0: hello");
      expect(other.peerCount).toBeLessThanOrEqual(2 * 20 + 64);
    }
  });
});

describe("ReplayWindow", () => {
  test("takes each number once, in any order, if it is near the newest", () => {
    const window = new ReplayWindow();
    const numbers = [5, 3, 5, 4, 0, 3, 5 + WINDOW, 5, 6, 6, 5 + 3 * WINDOW, 6 + WINDOW, 6 + 2 * WINDOW, 5 + 2 * WINDOW];
    const looks = numbers.map((number) => {
      const look = window.look(number);
      if (look === "fresh") window.take(number);
      return look;
    });
    expect(looks).toEqual([
      "fresh",
      "fresh",
      "replayed",
      "fresh",
      "fresh",
      "replayed",
      "fresh",
      "old",
      "fresh",
      "replayed",
      "fresh",
      "old",
      "fresh",
      "old",
    ]);
  });

  test("takes a number that was skipped, although one that is a width before it has come", () => {
    const window = new ReplayWindow();
    for (const number of [5, 5 + WINDOW - 1, 5 + WINDOW + 1]) window.take(number);
    expect(window.look(5 + WINDOW)).toBe("fresh");
    expect(window.look(5 + WINDOW - 1)).toBe("replayed");
  });

  test("has numbers up to the largest that there is", () => {
    const window = new ReplayWindow();
    for (const number of [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1]) {
      expect(window.look(number)).toBe("fresh");
      window.take(number);
      expect(window.look(number)).toBe("replayed");
    }
    expect(window.look(0)).toBe("old");
  });
});
