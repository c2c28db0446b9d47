/**
 * Runs random commands on redis-server and on a node, and finds the shortest list of them whose replies differ.
 *
 * A list always begins on empty servers and fresh connections, so that any part of it can be run again. Commands of one connection go out together, as far
 * as none needs a reply before it: with a round trip for each, most of the time would be waiting.
 */
import { encodeCommand } from "../../src/codec/resp-reader.ts";
import { CommandGenerator, type Comparison, type Dumped, type Part, type Step } from "./command-generator.ts";
import { RawClient, replyEnd } from "./raw-client.ts";
import { SimRandom } from "./sim-random.ts";

/** What the clocks of both servers may be apart in an answer, a slow machine included. In the unit of the answer. */
const TOLERANCE = { s: 3, ms: 3000 } as const;
/** The end of time: 2^53 ms on a node, 2^63 ms on redis-server. Answers beyond it, by centuries less, say the same: never. */
const END_OF_TIME = { s: 9e12, ms: 9e15 } as const;
/** How often a list is run to shorten it, at most. */
const SHRINK_RUNS_MAX = 400;

/** What is restored before anything was dumped. */
const NO_DUMP = new TextEncoder().encode("nothing was dumped");

/** A command whose replies differ. */
export interface Difference {
  /** Its place in the list. */
  readonly at: number;
  readonly expected: string | undefined;
  readonly actual: string | undefined;
}

/** One server, and what its two connections are about. */
class Side {
  readonly connections: readonly [RawClient, RawClient];

  private constructor(connections: readonly [RawClient, RawClient]) {
    this.connections = connections;
  }

  static async open(port: number): Promise<Side> {
    return new Side([await RawClient.connect(port), await RawClient.connect(port)]);
  }

  async begin(protocol: 2 | 3): Promise<void> {
    for (const connection of this.connections) {
      await connection.run("reset");
      await connection.run("flushall");
      await connection.run(`hello ${protocol}`);
    }
  }

  close(): void {
    for (const connection of this.connections) connection.close();
  }
}

/** Both servers. */
export class Differential {
  #sides: readonly [Side, Side];
  readonly #ports: readonly [number, number];

  private constructor(sides: readonly [Side, Side], ports: readonly [number, number]) {
    this.#sides = sides;
    this.#ports = ports;
  }

  /**
   * @param redisPort Of a redis-server with one database, not in cluster mode.
   * @param bunchPort Of a node without slots.
   */
  static async open(redisPort: number, bunchPort: number): Promise<Differential> {
    return new Differential([await Side.open(redisPort), await Side.open(bunchPort)], [redisPort, bunchPort]);
  }

  close(): void {
    for (const side of this.#sides) side.close();
  }

  /** Draws commands and runs them. @returns `undefined` if all replies are the same, else the report, with the seed. */
  async search(seed: number, count: number, protocol: 2 | 3): Promise<string | undefined> {
    const report = await this.report(drawSteps(seed, count), protocol);
    return report === undefined ? undefined : `${report}\nRepeat with BUNCH_TEST_SEED=${seed}`;
  }

  /** Runs a list, and tells the fewest of its commands whose replies differ, if there are any. */
  async report(steps: readonly Step[], protocol: 2 | 3): Promise<string | undefined> {
    const difference = await this.run(steps, protocol);
    if (difference === undefined) return undefined;
    const shrunk = await this.#shrink(steps.slice(0, difference.at + 1), protocol, kindOf(difference));
    const last = await this.run(shrunk, protocol);
    const lines = shrunk.map((step) => `${"ab"[step.connection] ?? ""}> ${step.parts.map(show).join(" ")}`);
    if (last === undefined) lines.push("(now and then only)");
    const { expected, actual } = last ?? difference;
    return [
      `The replies differ on RESP${protocol}, on connections a and b:`,
      ...lines,
      `redis-server: ${cut(expected)}`,
      `       bunch: ${cut(actual)}`,
    ].join("\n");
  }

  /** Runs a list on both servers. @returns The first difference. */
  async run(steps: readonly Step[], protocol: 2 | 3): Promise<Difference | undefined> {
    for (const side of this.#sides) await side.begin(protocol);
    /** How the replies to what each connection has queued are compared. */
    const queued: [Comparison[], Comparison[]] = [[], []];
    const areFloatsKept = steps.some(({ parts }) => nameOf(parts) === "incrbyfloat");
    let lastDump: Uint8Array = NO_DUMP;
    for (let start = 0, end = 0; start < steps.length; start = end) {
      end = batchEnd(steps, start);
      const batch = steps.slice(start, end);
      const dump = lastDump;
      const sent = Buffer.concat(batch.map(({ parts }) => encodeCommand(parts.map((part) => resolve(part, dump)))));
      const [expected, actual] = await Promise.all(
        this.#sides.map(async (side) => {
          const connection = side.connections[batch[0]?.connection ?? 0];
          connection.write(sent);
          const replies: (string | undefined)[] = [];
          while (replies.length < batch.length) replies.push(await connection.reply());
          return replies;
        }),
      );
      for (const [index, step] of batch.entries()) {
        const queue = queued[step.connection];
        const one = expected?.[index];
        const other = actual?.[index];
        const isSame = isSameReply(one, other, step.as, queue, areFloatsKept);
        if (!isSame) {
          if (one === undefined || other === undefined) await this.#reconnect();
          return { at: start + index, expected: one, actual: other };
        }
        if (one === undefined) return undefined;
        if (one.startsWith("+QUEUED")) queue.push(step.as);
        else if (/^(exec|discard|reset)$/.test(nameOf(step.parts)) && !one.startsWith("-ERR")) queue.length = 0;
        if (one.startsWith("$") && nameOf(step.parts) === "dump" && !one.startsWith("$-")) {
          lastDump = Buffer.from(one.slice(one.indexOf("\n") + 1, -2), "latin1");
        }
      }
    }
    return undefined;
  }

  async #reconnect(): Promise<void> {
    this.close();
    this.#sides = [await Side.open(this.#ports[0]), await Side.open(this.#ports[1])];
  }

  /** Leaves out all that is not needed for a difference: long pieces first, then single commands, then parts of commands. */
  async #shrink(steps: readonly Step[], protocol: 2 | 3, kind: string): Promise<readonly Step[]> {
    let best = steps;
    let runs = 0;
    const isBetter = async (candidate: readonly Step[]): Promise<boolean> => {
      if (runs >= SHRINK_RUNS_MAX || candidate.length === 0) return false;
      runs += 1;
      const difference = await this.run(candidate, protocol);
      // Another kind of difference may be one that is there by right: commands that were made smaller are not what was drawn.
      if (difference === undefined || kindOf(difference) !== kind) return false;
      best = candidate.slice(0, difference.at + 1);
      return true;
    };
    for (let length = Math.ceil(steps.length / 2); ; length = Math.ceil(length / 2)) {
      // From the end: what a command at the end does not need is often at the beginning, but what is left then is all needed.
      for (let start = Math.max(0, best.length - length); ; start = Math.max(0, start - length)) {
        await isBetter([...best.slice(0, start), ...best.slice(start + length)]);
        if (start === 0) break;
      }
      if (length === 1) break;
    }
    for (let at = 0; at < best.length; at += 1) {
      for (let part = (best[at]?.parts.length ?? 0) - 1; part > 0; part -= 1) {
        const step = best[at];
        if (step === undefined) break;
        const parts = step.parts.toSpliced(part, 1);
        await isBetter(best.with(at, { ...step, parts }));
      }
    }
    return best;
  }
}

/** The list of commands that belongs to a seed. */
export function drawSteps(seed: number, count: number): readonly Step[] {
  const generator = new CommandGenerator(new SimRandom(seed));
  return Array.from({ length: count }, () => generator.next());
}

/** The signs that both replies begin with. */
function kindOf({ expected = "", actual = "" }: Difference): string {
  return expected.slice(0, 1) + actual.slice(0, 1);
}

/** Where a batch ends: at another connection, after a DUMP, whose reply a later command may send back. */
function batchEnd(steps: readonly Step[], start: number): number {
  let end = start + 1;
  while (end < steps.length) {
    if (steps[end]?.connection !== steps[start]?.connection || nameOf(steps[end - 1]?.parts) === "dump") break;
    end += 1;
  }
  return end;
}

/** A command's name in small letters. */
function nameOf(parts: readonly Part[] = []): string {
  const [name] = parts;
  return typeof name === "string" ? name.toLowerCase() : "";
}

function isDumped(part: Part): part is Dumped {
  return typeof part !== "string" && !(part instanceof Uint8Array);
}

function resolve(part: Part, dump: Uint8Array): string | Uint8Array {
  if (!isDumped(part)) return part;
  if (part.damage === undefined) return dump;
  const damaged = dump.slice(0, Math.ceil(dump.length * part.damage.part));
  if (damaged.length > 0) damaged[Math.floor(damaged.length * part.damage.at)] = part.damage.byte;
  return damaged;
}

function isSameReply(
  expected: string | undefined,
  actual: string | undefined,
  as: Comparison,
  queued: readonly Comparison[],
  areFloatsKept: boolean,
): boolean {
  if (expected === actual) return true;
  if (expected === undefined || actual === undefined) return false;
  switch (as) {
    case "exact": {
      // What EXEC answers is compared reply by reply.
      const ones = elementsOf(expected);
      const others = elementsOf(actual);
      if (queued.length === 0 || ones?.length !== queued.length || others?.length !== queued.length) return false;
      return queued.every((each, index) => isSameReply(ones[index], others[index], each, [], areFloatsKept));
    }
    case "unordered":
      return sorted(expected) === sorted(actual);
    case "any-key":
      return [expected, actual].every((reply) => reply.startsWith("$") && !reply.startsWith("$-"));
    case "hello":
      return withoutId(expected) === withoutId(actual);
    case "encoding":
      // What INCRBYFLOAT leaves is text on redis-server, even where it looks like a whole number.
      return areFloatsKept && [expected, actual].every((reply) => /^\$\d+\r\n(int|embstr)\r\n$/.test(reply));
    case "s":
    case "ms": {
      const [one, other] = [expected, actual].map((reply) =>
        reply.startsWith(":") ? Math.min(Number(reply.slice(1)), END_OF_TIME[as]) : -1,
      );
      if (one === undefined || other === undefined) return false;
      // -1 and -2 are no times.
      return one >= 0 && other >= 0 && Math.abs(one - other) <= TOLERANCE[as];
    }
    default:
      return as satisfies never;
  }
}

/** The elements of an array; `undefined` if the reply is none. */
function elementsOf(reply: string): readonly string[] | undefined {
  if (!reply.startsWith("*") && !reply.startsWith("~")) return undefined;
  const bytes = Buffer.from(reply, "latin1");
  const elements: string[] = [];
  for (let at = reply.indexOf("\n") + 1; at < reply.length;) {
    const end = replyEnd(bytes, at);
    elements.push(reply.slice(at, end));
    at = end;
  }
  return elements;
}

/** A reply with all its lists in a fixed order. */
function sorted(reply: string): string {
  const elements = elementsOf(reply);
  if (elements === undefined) return reply;
  return reply.slice(0, reply.indexOf("\n") + 1) + elements.map(sorted).toSorted().join("");
}

function withoutId(reply: string): string {
  return reply.replace(/(\r\nid\r\n):\d+/, "$1:0");
}

function show(part: Part): string {
  if (isDumped(part)) return part.damage === undefined ? "<the last dump>" : "<the last dump, damaged>";
  const text = JSON.stringify(typeof part === "string" ? part : Buffer.from(part).toString("latin1"));
  // As redis-cli reads it.
  return text
    .replaceAll(/\\u00([0-9a-f]{2})/g, "\\x$1")
    .replaceAll(/[\u007f-\u00ff]/g, (letter) => `\\x${letter.charCodeAt(0).toString(16)}`);
}

function cut(reply: string | undefined): string {
  return reply === undefined ? "closes the connection" : JSON.stringify(reply).slice(0, 600);
}
