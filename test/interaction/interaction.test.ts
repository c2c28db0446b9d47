/** Each transcript beside this file says what members of a Raft group say and do; `UPDATE=1 bun test test/interaction` writes them anew. */
import { describe, expect, test } from "bun:test";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { runTranscript } from "../support/raft-transcript.ts";

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const isUpdate = process.env["UPDATE"] === "1";
const names = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".txt"))
  .toSorted();

describe("transcripts", () => {
  test.each(names)("%s is what the members say and do", (name) => {
    const written = readFileSync(FOLDER + name, "utf8");
    const happened = runTranscript(written);
    if (isUpdate) writeFileSync(FOLDER + name, happened);
    else expect(happened).toBe(written);
  });

  test("a transcript with another outcome is told apart", () => {
    expect(runTranscript("> group 1\n> tick n1 10\n    n1 does nothing\n")).toContain("    n1 is leader in term 1\n");
  });

  test("a command that does not exist stops the run", () => {
    expect(() => runTranscript("> group 1\n> explode n1\n")).toThrow("explode");
  });
});
