/** Runs the same commands on redis-server and on a node, and compares the replies byte for byte. */
import { expect } from "bun:test";
import { type CommandLine, RawClient, partsOf } from "./raw-client.ts";

/** Both servers, a connection to each. */
export interface Pair {
  readonly redis: RawClient;
  readonly bunch: RawClient;
}

export async function connectPair(redisPort: number, bunchPort: number): Promise<Pair> {
  return { redis: await RawClient.connect(redisPort), bunch: await RawClient.connect(bunchPort) };
}

/** A command as a person would write it. */
function show(line: CommandLine): string {
  return partsOf(line)
    .map((part) => JSON.stringify(typeof part === "string" ? part : Buffer.from(part).toString("latin1")).slice(0, 60))
    .join(" ");
}

/** Makes replies comparable that may differ by right: the order of a set, the time that has passed. */
export type Normalize = (reply: string) => string;

/**
 * Runs commands on both, one after another.
 *
 * @param normalize Applied to both replies before they are compared.
 */
export async function compare(
  pair: Pair,
  lines: readonly CommandLine[],
  normalize: Normalize = (reply) => reply,
): Promise<void> {
  const told: string[] = [];
  const differences: string[] = [];
  for (const line of lines) {
    const [expected, actual] = await Promise.all([pair.redis.run(line), pair.bunch.run(line)]);
    told.push(`${show(line)} -> ${JSON.stringify(expected)?.slice(0, 400)}`);
    if (expected !== undefined && actual !== undefined && normalize(expected) === normalize(actual)) continue;
    differences.push(`${told.slice(-4).join("\n")}\n  but here: ${JSON.stringify(actual)?.slice(0, 400)}`);
    if (expected === undefined || actual === undefined) break;
  }
  expect(differences.join("\n\n"), "every reply is redis-server's").toBe("");
}

/** Numbers within a few of each other count as the same: for times. */
export function roundNumbers(step: number): Normalize {
  return (reply) => reply.replaceAll(/:(-?[0-9]+)/g, (_, digits: string) => `:${Math.round(Number(digits) / step)}`);
}
