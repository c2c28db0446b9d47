/** A real node for tests that go through sockets: in this process, or in one of its own. */
import { fileURLToPath } from "node:url";
import type { Config } from "../../src/config.ts";
import { type Node, createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";

/** Starts a node within the test's process, on a port that the machine chooses. */
export async function startNode(config: Config = {}): Promise<{ readonly node: Node; readonly port: number }> {
  const node = await createNode({ world: createBunWorld({ logLevel: "silent" }), config: { port: 0, ...config } });
  await node.start();
  return { node, port: Number(node.parameters.get("port")?.get()) };
}

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface BunchProcess {
  /** Standard output and standard error so far. */
  output(): string;
  /** Waits until the output has a text; fails when the process ends before, or after a while: for one of many that start together it may be longer. */
  until(text: string, patienceMs?: number): Promise<void>;
  readonly exited: Promise<number>;
  kill(signal: NodeJS.Signals): void;
  readonly processId: number;
}

const PATIENCE_MS = 20_000;

/** Processes that have not ended. */
const running = new Set<ReturnType<typeof Bun.spawn>>();

/** Ends what tests have left behind: one that fails half-way does not get to it. For `afterAll`. */
export async function endLeftovers(): Promise<void> {
  const left = [...running];
  for (const child of left) child.kill("SIGTERM");
  await Promise.all(left.map((child) => child.exited));
}

/** Runs the command line in a process of its own. @param within What the command begins with. */
export function runBunch(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  directory?: string,
  within: readonly string[] = [],
): BunchProcess {
  let text = "";
  // Several texts may be waited for at a time.
  const waiters = new Set<() => void>();
  const wake = (): void => {
    for (const waiter of waiters) waiter();
  };
  const child = Bun.spawn([...within, process.execPath, MAIN, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, NO_COLOR: "1", ...environment },
    ...(directory === undefined ? {} : { cwd: directory }),
  });
  const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      text += decoder.decode(chunk, { stream: true });
      wake();
    }
  };
  running.add(child);
  const drained = Promise.all([read(child.stdout), read(child.stderr)]);
  const exited = child.exited.then(async (code) => {
    await drained;
    wake();
    return code;
  });
  let hasExited = false;
  void exited.then(() => {
    running.delete(child);
    hasExited = true;
    wake();
  });
  return {
    output: () => text,
    async until(wanted, patienceMs = PATIENCE_MS) {
      const deadline = performance.now() + patienceMs;
      while (!text.includes(wanted)) {
        if (hasExited || performance.now() > deadline) throw new Error(`"${wanted}" did not appear in: ${text}`);
        const { promise, resolve } = Promise.withResolvers<void>();
        const timer = setTimeout(resolve, 1000);
        waiters.add(resolve);
        await promise;
        waiters.delete(resolve);
        clearTimeout(timer);
      }
    },
    exited,
    kill: (signal) => child.kill(signal),
    processId: child.pid,
  };
}
