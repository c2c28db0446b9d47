/** Simulated disks: what was synced stays, what was not may be lost or torn, and files outlive processes. */

import { describe, expect, test } from "bun:test";
import type { Disk } from "../../src/world.ts";
import type { DiskSettings } from "../support/sim-disk.ts";
import { Simulation, type SimHost } from "../support/sim-world.ts";

function setup(seed = 1, disk: Partial<DiskSettings> = {}): { simulation: Simulation; host: SimHost; disk: Disk } {
  const simulation = new Simulation(seed, { disk });
  const host = simulation.addHost("10.0.0.1");
  return { simulation, host, disk: host.world.disk };
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

function bytesOf(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

describe("SimDisk", () => {
  test("reads back what was appended, in the order of the calls", async () => {
    const { simulation, disk } = setup(1, { latencyMeanMs: 50 });
    for (const piece of ["one ", "two ", "three"]) void disk.append("a/log", bytesOf(piece));
    const read = disk.read("a/log");
    expect(text(await simulation.settle("a read", read, 5000))).toBe("one two three");
    expect(await simulation.settle("a read", disk.read("none"), 5000)).toBeUndefined();
  });

  test("copies what is appended, and what is read", async () => {
    const { simulation, disk } = setup();
    const bytes = bytesOf("abc");
    void disk.append("log", bytes);
    bytes.fill(0);
    (await simulation.settle("a read", disk.read("log"), 100))?.fill(0);
    expect(text(await simulation.settle("a read", disk.read("log"), 100))).toBe("abc");
  });

  test("truncate, rename, remove and list", async () => {
    const { simulation, disk } = setup();
    void disk.append("dir/b", bytesOf("12345"));
    void disk.append("dir/a", bytesOf("x"));
    void disk.append("dir/sub/c", bytesOf("y"));
    void disk.append("top", bytesOf("z"));
    void disk.truncate("dir/b", 2);
    await simulation.runFor(100);
    expect(await simulation.settle("a list", disk.list("dir"), 100)).toEqual(["a", "b", "sub"]);
    expect(await simulation.settle("a list", disk.list(""), 100)).toEqual(["dir", "top"]);
    expect(await simulation.settle("a list", disk.list("none"), 100)).toEqual([]);
    void disk.rename("dir/b", "dir/a");
    void disk.remove("top");
    void disk.remove("none");
    await simulation.runFor(100);
    expect(text(await simulation.settle("a read", disk.read("dir/a"), 100))).toBe("12");
    expect(await simulation.settle("a list", disk.list("dir"), 100)).toEqual(["a", "sub"]);
    expect(await simulation.settle("a list", disk.list(""), 100)).toEqual(["dir"]);
  });

  test("refuses to sync, cut or rename what is not there, with a sentence", async () => {
    const { simulation, disk } = setup();
    for (const attempt of [() => disk.sync("x"), () => disk.truncate("x", 0), () => disk.rename("x", "y")]) {
      const error: unknown = await simulation.settle("a refusal", attempt(), 100).catch((reason: unknown) => reason);
      expect(String(error)).toContain('"x": there is no such file');
    }
  });

  test("refuses paths that leave the directory", () => {
    const { disk } = setup();
    for (const path of ["/etc/passwd", "../x", "a/../../x", ""])
      expect(() => disk.read(path)).toThrow("path on a disk");
  });

  test("what was synced survives any crash; after a killed process, so does the rest", async () => {
    for (const kind of ["power", "process"] as const) {
      for (let seed = 0; seed < 30; seed++) {
        const { simulation, host, disk } = setup(seed, { tornSectorChance: 0.5 });
        void disk.append("log", bytesOf("synced"));
        await simulation.settle("a sync", disk.sync("log"), 100);
        await simulation.settle("an append", disk.append("log", bytesOf(" and not")), 100);
        simulation.crash(host, kind);
        simulation.restart(host);
        const read = text(await simulation.settle("a read", host.world.disk.read("log"), 100)) ?? "";
        expect(read).toStartWith("synced");
        if (kind === "process") expect(read).toBe("synced and not");
      }
    }
  });

  test("what was not synced is lost whole, in part, or not at all when the power goes", async () => {
    const lengths = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const { simulation, host, disk } = setup(seed);
      await simulation.settle("an append", disk.append("log", bytesOf("0123456789")), 100);
      simulation.crash(host, "power");
      const left = text(host.disk.peek("log")) ?? "";
      expect("0123456789").toStartWith(left);
      lengths.add(left.length);
    }
    expect(lengths.has(0)).toBe(true);
    expect(lengths.has(10)).toBe(true);
    expect(lengths.size).toBeGreaterThan(4);
  });

  test("what was not synced may be torn: zeros or rubbish in some of its sectors, never before it", async () => {
    let torn = 0;
    let laterSectorIntact = 0;
    for (let seed = 0; seed < 60; seed++) {
      const { simulation, host, disk } = setup(seed, { tornSectorChance: 0.5 });
      void disk.append("log", new Uint8Array(700).fill(1));
      await simulation.settle("a sync", disk.sync("log"), 100);
      await simulation.settle("an append", disk.append("log", new Uint8Array(3000).fill(2)), 100);
      simulation.crash(host, "power");
      const left = host.disk.peek("log") ?? new Uint8Array();
      expect(left.subarray(0, 700).every((byte) => byte === 1)).toBe(true);
      const firstTorn = left.subarray(700).findIndex((byte) => byte !== 2);
      if (firstTorn >= 0) torn++;
      if (firstTorn >= 0 && left.subarray(700 + firstTorn + 512).includes(2)) laterSectorIntact++;
    }
    expect(torn).toBeGreaterThan(20);
    expect(laterSectorIntact).toBeGreaterThan(10);
  });

  test("what a killed process was doing happened whole, in part, or not at all", async () => {
    const lengths = new Set<number>();
    const renamed = new Set<boolean>();
    for (let seed = 0; seed < 60; seed++) {
      const { simulation, host, disk } = setup(seed, { latencyMinMs: 10 });
      await simulation.settle("an append", disk.append("old", bytesOf("x")), 100);
      void disk.append("log", bytesOf("0123456789"));
      void disk.append("log", bytesOf("more"));
      void disk.rename("old", "new");
      await simulation.runFor(1);
      simulation.crash(host, "process");
      const left = text(host.disk.peek("log")) ?? "";
      expect("0123456789more").toStartWith(left);
      lengths.add(left.length);
      const names = host.disk.paths().filter((path) => path !== "log");
      expect(names).toHaveLength(1);
      renamed.add(names[0] === "new");
    }
    expect(lengths.has(0)).toBe(true);
    expect(lengths.has(14)).toBe(true);
    expect(lengths.size).toBeGreaterThan(5);
    expect(renamed.size).toBe(2);
  });

  test("a file that was renamed without a sync may lose what it holds, not its name", async () => {
    let lost = 0;
    for (let seed = 0; seed < 20; seed++) {
      const { simulation, host, disk } = setup(seed);
      void disk.append("new", bytesOf("content"));
      await simulation.runFor(10);
      await simulation.settle("a rename", disk.rename("new", "current"), 100);
      simulation.crash(host, "power");
      expect(host.disk.paths()).toEqual(["current"]);
      if (text(host.disk.peek("current")) !== "content") lost++;
    }
    expect(lost).toBeGreaterThan(5);
  });

  test("a dead process' calls change nothing, and its promises are never settled", async () => {
    const { simulation, host, disk } = setup();
    simulation.crash(host);
    let isSettled = false;
    void disk.append("log", bytesOf("ghost")).then(() => (isSettled = true));
    simulation.restart(host);
    await simulation.runFor(1000);
    expect(isSettled).toBe(false);
    expect(host.disk.paths()).toEqual([]);
  });

  test("slowness multiplies the time of each operation", async () => {
    const { simulation, host, disk } = setup();
    const timeOf = async (): Promise<number> => {
      const startMs = simulation.nowMs;
      for (let i = 0; i < 50; i++) await simulation.settle("an append", disk.append("log", bytesOf("x")), 10_000);
      return simulation.nowMs - startMs;
    };
    const usual = await timeOf();
    host.disk.slowness = 100;
    expect((await timeOf()) / usual).toBeGreaterThan(50);
  });
});
