/** What the benches' load generator writes and counts, and what the probe makes of delays. */

import { describe, expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import * as fc from "fast-check";
import { summarizeProbe } from "../../bench/probe.ts";
import { CommandWriter, Draws, ReplyCounter, scattered } from "../../bench/wire.ts";

describe("CommandWriter", () => {
  test("writes SET and DEL one behind the other, with keys that redis-benchmark finds", () => {
    const writer = new CommandWriter("key:", 1024, 64);
    writer.set(1234, 3);
    writer.delete(999_999_999_999);
    writer.set(0, 0);
    expect(writer.buffer.toString("latin1", 0, writer.length)).toBe(
      "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000001234\r\n$3\r\nxxx\r\n" +
        "*2\r\n$3\r\nDEL\r\n$16\r\nkey:999999999999\r\n" +
        "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$0\r\n\r\n",
    );
  });

  test("begins again after clear", () => {
    const writer = new CommandWriter("k", 1024, 64);
    writer.set(1, 64);
    writer.clear();
    writer.delete(2);
    expect(writer.buffer.toString("latin1", 0, writer.length)).toBe("*2\r\n$3\r\nDEL\r\n$13\r\nk000000000002\r\n");
  });

  test("refuses what does not fit", () => {
    const writer = new CommandWriter("k", 256, 200);
    expect(() => writer.set(1, 201)).toThrow("fits");
    expect(() => new CommandWriter("k", 1024, 10).set(1, 11)).toThrow("no longer than");
  });
});

describe("ReplyCounter", () => {
  test("counts one-line replies however the stream is cut", () => {
    const reply = fc.constantFrom("+OK\r\n", "+PONG\r\n", ":1\r\n", ":-1\r\n", "+a-b\r\n");
    fc.assert(
      fc.property(fc.array(reply), fc.array(fc.nat(60)), (replies, cuts) => {
        const stream = Buffer.from(replies.join(""));
        const places = [0, ...cuts.map((cut) => Math.min(cut, stream.length)), stream.length].toSorted((a, b) => a - b);
        const counter = new ReplyCounter();
        let count = 0;
        for (let index = 1; index < places.length; index++) {
          count += counter.count(stream.subarray(places[index - 1], places[index]));
        }
        expect(count).toBe(replies.length);
      }),
    );
  });

  test("an error reply is thrown, with its text", () => {
    const counter = new ReplyCounter();
    expect(counter.count(Buffer.from("+OK\r\n"))).toBe(1);
    expect(() => counter.count(Buffer.from("-OOM command not allowed\r\n"))).toThrow("-OOM command not allowed");
  });
});

describe("scattered", () => {
  test.each([1, 2, 10, 1000, 99_991])("visits each of %p numbers once", (count) => {
    const seen = new Set(Array.from({ length: count }, (_, index) => scattered(index, count)));
    expect(seen.size).toBe(count);
    expect(Math.max(...seen)).toBe(count - 1);
  });

  test("neighbours are far apart", () => {
    expect(Math.abs(scattered(1001, 3_000_000) - scattered(1000, 3_000_000))).toBeGreaterThan(100_000);
  });
});

describe("Draws", () => {
  test("the same seed draws the same, another does not", () => {
    const draw = (seed: number) => {
      const draws = new Draws(seed);
      return Array.from({ length: 20 }, () => draws.between(0, 1_000_000));
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  test("draws all of a small range, and nothing beside it", () => {
    const draws = new Draws(3);
    const seen = new Set(Array.from({ length: 1000 }, () => draws.between(16, 20)));
    expect([...seen].toSorted((one, other) => one - other)).toEqual([16, 17, 18, 19, 20]);
  });

  test("refuses the seed 0, which would draw zeros for ever", () => {
    expect(() => new Draws(0)).toThrow("but 0");
  });
});

describe("summarizeProbe", () => {
  test("takes off what the control or a lack of processors accounts for, the larger of the two", () => {
    const report = summarizeProbe({
      sentAtMs: [0, 1, 2, 3],
      targetMs: [0.1, 30, 40, 25],
      controlMs: [0.1, 29, 1, 2],
      waitedMs: [0, 3, 10, 0],
    });
    expect(report.pings).toBe(4);
    expect(report.target.maxMs).toBe(40);
    expect(report.control.maxMs).toBe(29);
    expect(report.own.maxMs).toBe(30);
    expect(report.target.over20Ms).toBe(3);
    expect(report.own.over20Ms).toBe(2);
    expect(report.slowest.map((each) => each.ownMs)).toEqual([30, 1, 23, 0]);
  });

  test("a server that is faster than the control did not stop for less than nothing", () => {
    const report = summarizeProbe({ sentAtMs: [0], targetMs: [1], controlMs: [2], waitedMs: [0] });
    expect(report.own.maxMs).toBe(0);
  });
});
