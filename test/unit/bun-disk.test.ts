/** Files on the real disk: what a name means after it was renamed, removed or cut, whatever stays open underneath. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createBunWorld } from "../../src/world-bun.ts";
import type { Disk } from "../../src/world.ts";

const root = mkdtempSync(join(tmpdir(), "bunch-disk-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let last = 0;
function newDisk(): { readonly disk: Disk; readonly directory: string } {
  const directory = join(root, `${(last += 1)}`, "data");
  return { disk: createBunWorld({ dataDirectory: directory }).disk, directory };
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("the disk", () => {
  test("adds at the end, in directories that it makes", async () => {
    const { disk, directory } = newDisk();
    expect(await disk.read("a/b/log")).toBeUndefined();
    expect(await disk.list("a/b")).toEqual([]);
    for (const piece of ["one ", "two ", "three"]) {
      await disk.append("a/b/log", bytesOf(piece));
      await disk.sync("a/b/log");
    }
    expect(readFileSync(join(directory, "a/b/log"), "utf8")).toBe("one two three");
    expect(await disk.list("a/b")).toEqual(["log"]);
  });

  test("goes on after what an earlier process wrote, and after a cut", async () => {
    const { disk, directory } = newDisk();
    await disk.append("log", bytesOf("0123456789"));
    const next = createBunWorld({ dataDirectory: directory }).disk;
    await next.sync("log");
    await next.append("log", bytesOf("abc"));
    await next.truncate("log", 4);
    await next.append("log", bytesOf("xyz"));
    expect(readFileSync(join(directory, "log"), "utf8")).toBe("0123xyz");
  });

  test("a renamed file is appended to under its new name, and the old name begins anew", async () => {
    const { disk, directory } = newDisk();
    await disk.append("log", bytesOf("target"));
    await disk.append("log.new", bytesOf("source"));
    await disk.sync("log.new");
    await disk.rename("log.new", "log");
    await disk.append("log", bytesOf(" goes on"));
    await disk.append("log.new", bytesOf("another"));
    expect(readFileSync(join(directory, "log"), "utf8")).toBe("source goes on");
    expect(readFileSync(join(directory, "log.new"), "utf8")).toBe("another");
  });

  test("a removed file that is appended to is a new one", async () => {
    const { disk, directory } = newDisk();
    await disk.append("log", bytesOf("old"));
    await disk.sync("log");
    await disk.remove("log");
    expect(readdirSync(directory)).toEqual([]);
    await disk.remove("log");
    await disk.append("log", bytesOf("new"));
    await disk.sync("log");
    expect(readFileSync(join(directory, "log"), "utf8")).toBe("new");
  });

  test("refuses to sync, to cut and to rename what is not there, and makes nothing", async () => {
    const { disk, directory } = newDisk();
    await disk.append("there", bytesOf("x"));
    // One after another: a promise that is rejected before anybody waits for it counts as uncaught.
    for (const work of [() => disk.sync("none"), () => disk.truncate("none", 0), () => disk.rename("none", "other")]) {
      expect(await work().catch((thrown: unknown) => String(thrown))).toContain("ENOENT");
    }
    expect(readdirSync(directory)).toEqual(["there"]);
  });

  test("closes files that nobody uses any more", async () => {
    const { disk, directory } = newDisk();
    const openFiles = (): readonly string[] =>
      readdirSync("/proc/self/fd").flatMap((name) => {
        try {
          return readlinkSync(`/proc/self/fd/${name}`);
        } catch {
          return []; // The one that the directory was listed by.
        }
      });
    const isOpen = (): boolean => openFiles().some((path) => path.startsWith(directory));
    await Promise.all(["a", "b", "c"].map((name) => disk.append(name, bytesOf(name))));
    expect(isOpen()).toBe(true);
    const deadlineMs = performance.now() + 10_000;
    while (isOpen() && performance.now() < deadlineMs) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isOpen()).toBe(false);
    await disk.append("a", bytesOf("!"));
    expect(readFileSync(join(directory, "a"), "utf8")).toBe("a!");
  });
});
