/** What a node has noticed of other identities, and how it forgets. */
import { expect, test } from "bun:test";
import { KnownPeers } from "../../src/consensus/known-peers.ts";

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

test("identities that others make up are bounded, and those that are there are known again", () => {
  const known = new KnownPeers();
  for (let at = 0; at < 5000; at += 1) {
    known.isAt(`peer-${at}`, { host: "x", port: at });
    known.heard(`peer-${at}`, at);
    known.silentMs(`other-${at}`, at);
    if (known.size > 1000) throw new Error(`${known.size} are remembered`);
  }
  expect(known.address("peer-4999")).toEqual({ host: "x", port: 4999 });
  expect(known.silentMs("peer-4999", 5009)).toBe(10);
});
