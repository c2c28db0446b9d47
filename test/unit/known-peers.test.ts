/** What a node has noticed of other identities, and how it forgets. */
import { expect, test } from "bun:test";
import { KnownPeers, MAX_IDENTITIES } from "../../src/consensus/known-peers.ts";

test("silence counts from the last word, or from the first question", () => {
  const known = new KnownPeers();
  expect(known.silentMs("a", 100)).toBe(0);
  expect(known.silentMs("a", 150)).toBe(50);
  known.heard("a", 160);
  expect(known.silentMs("a", 200)).toBe(40);
  known.listenAnew();
  expect(known.silentMs("a", 300)).toBe(0);
});

test("an identity is where it last said that it is", () => {
  const known = new KnownPeers();
  expect(known.address("a")).toBeUndefined();
  known.isAt("a", { host: "one", port: 1 });
  known.isAt("a", { host: "two", port: 2 });
  expect(known.address("a")).toEqual({ host: "two", port: 2 });
});

test("one of two thousand members that says nothing is silent, whoever else is heard", () => {
  const known = new KnownPeers();
  const members = Array.from({ length: 2000 }, (_, at) => `peer-${at}`);
  for (const [at, id] of members.entries()) known.isAt(id, { host: "x", port: at });
  for (let nowMs = 0; nowMs <= 5000; nowMs += 500) {
    for (const id of members) if (id !== "peer-7" || nowMs === 0) known.heard(id, nowMs);
    known.isAt("peer-8", { host: "y", port: 8 });
  }
  expect(known.silentMs("peer-7", 5000)).toBe(5000);
  expect(known.address("peer-7")).toEqual({ host: "x", port: 7 });
});

test("identities that others make up are bounded, and those that are there are known again", () => {
  const known = new KnownPeers();
  const last = 3 * MAX_IDENTITIES;
  for (let at = 0; at <= last; at += 1) {
    known.isAt(`peer-${at}`, { host: "x", port: at });
    known.heard(`peer-${at}`, at);
    known.silentMs(`other-${at}`, at);
    if (known.size > MAX_IDENTITIES) throw new Error(`${known.size} are remembered`);
  }
  expect(known.address(`peer-${last}`)).toEqual({ host: "x", port: last });
  expect(known.silentMs(`peer-${last}`, last + 10)).toBe(10);
});
