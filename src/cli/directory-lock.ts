/**
 * One process at a time runs a node with a data directory. Two would be one node twice: both vote, and each removes what the other has written.
 *
 * A file in the directory says which process has it. One that has ended without removing it has it no more: the system tells of each process when it began, so that
 * another one with the same number is not taken for it. Processes of other machines, and of other containers, are not seen.
 */
import { readFileSync, rmSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { StartError } from "../errors.ts";
import { IDENTITY_FILE } from "../identity.ts";

const LOCK_FILE = `${IDENTITY_FILE}.lock`;

/**
 * Takes the directory for this process, until it ends.
 *
 * @throws {StartError} If another process has it.
 */
export async function lockDirectory(directory: string): Promise<void> {
  const path = join(directory, LOCK_FILE);
  const own = `${process.pid} ${beginningOf(process.pid) ?? ""}`;
  while (!(await isMade(path, own))) {
    const holder = await readFile(path, "utf8").catch(() => "");
    const pid = Number.parseInt(holder, 10);
    if (pid > 0 && isRunning(pid) && holder === `${pid} ${beginningOf(pid) ?? ""}`) {
      throw new StartError(
        `Cannot use data directory "${directory}": process ${pid} runs a node with it; stop that first, or name another directory`,
      );
    }
    await rm(path, { force: true });
  }
  process.on("exit", () => rmSync(path, { force: true }));
}

/** @returns False if there is one already. */
async function isMade(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: "wx" });
    return true;
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST") return false;
    throw thrown;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    // It is there, and somebody else's.
    return thrown instanceof Error && "code" in thrown && thrown.code === "EPERM";
  }
}

/** When a process began, in the system's ticks; `undefined` where the system does not tell, and of one that has ended and was not asked about by who began it. */
function beginningOf(pid: number): string | undefined {
  try {
    // The name, in brackets, may have blanks: of all fields the third, its state, is the first behind it, and the 22nd the 20th.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
