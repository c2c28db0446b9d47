/** Asks nodes that are processes of their own, as an operator does: a connection for each question, so that nothing is about the connection. */
import { stripVTControlCharacters } from "node:util";
import { RawClient } from "./raw-client.ts";

/** Generous: nothing that waits for a cluster is timed, and a machine that is busy takes longer. */
const PATIENCE_MS = 30_000;
const PAUSE_MS = 20;

/** What a node on this machine answers to a command, as it is; "closed" when it does not. */
export async function ask(port: number, line: string): Promise<string> {
  try {
    const client = await RawClient.connect(port);
    const reply = (await client.run(line)) ?? "closed";
    client.close();
    return reply;
  } catch {
    return "closed";
  }
}

/** Asks again until the answer has a text, or matches. @returns The answer. */
export async function askUntil(port: number, line: string, wanted: string | RegExp): Promise<string> {
  return until(
    () => ask(port, line),
    (reply) => (typeof wanted === "string" ? reply.includes(wanted) : wanted.test(reply)),
    `port ${port} to answer "${line}" with ${wanted}`,
  );
}

/** Looks again until what is seen is right. @param what Is waited for, in words. */
export async function until<Seen>(
  look: () => Promise<Seen>,
  isRight: (seen: Seen) => boolean,
  what: string,
): Promise<Seen> {
  const endAtMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (isRight(seen)) return seen;
    if (performance.now() > endAtMs) throw new Error(`waited for ${what}; the last was ${JSON.stringify(seen)}`);
    await Bun.sleep(PAUSE_MS);
  }
}

/** A line of CLUSTER NODES. */
export interface NodeLine {
  readonly id: string;
  /** `HOST:PORT@BUSPORT`. */
  readonly address: string;
  /** As flagged, but for "myself". */
  readonly flags: string;
  /** The primary's id; "-" for one that is none's replica. */
  readonly primary: string;
  readonly epoch: string;
  readonly slots: string;
}

/** CLUSTER NODES without what is about the node that tells it. */
export async function nodesOf(port: number): Promise<readonly NodeLine[]> {
  const lines = (await ask(port, "cluster nodes")).split("\n").filter((line) => /^[0-9a-f]{40} /.test(line));
  return lines.map((line) => {
    const [id = "", address = "", flags = "", primary = "", , , epoch = "", , ...slots] = line.trim().split(" ");
    return {
      id,
      address,
      flags: flags.replace("myself,", ""),
      primary,
      epoch,
      slots: slots.filter((each) => !each.startsWith("[")).join(" "),
    };
  });
}

/** Waits until all these nodes tell the same, and it is right. @returns It. */
export async function agreed(
  ports: readonly number[],
  isRight: (nodes: readonly NodeLine[]) => boolean,
): Promise<readonly NodeLine[]> {
  const told = await until(
    () => Promise.all(ports.map(nodesOf)),
    (each) => new Set(each.map((nodes) => JSON.stringify(nodes))).size === 1 && isRight(each[0] ?? []),
    `nodes ${ports.join(", ")} to agree`,
  );
  return told[0] ?? [];
}

/** Runs redis-cli. @returns Its exit code, and what it said, without colours. */
export function redisCli(...args: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
  return redisCliTold("", ...args);
}

/** The same, with something to read. */
export async function redisCliTold(
  input: string,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly said: string }> {
  const stdin = new Blob([input]);
  const child = Bun.spawn(["redis-cli", ...args], { stdin, stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, said: stripVTControlCharacters(output + errors) };
}
