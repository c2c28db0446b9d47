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

/** What a process has written, for those who wait for some of it. */
class Output {
  text = "";
  hasEnded = false;
  // Several texts may be waited for at a time.
  readonly #waiters = new Set<() => void>();

  add(text: string): void {
    this.text += text;
    this.#wake();
  }

  end(): void {
    this.hasEnded = true;
    this.#wake();
  }

  async until(wanted: string, patienceMs: number): Promise<void> {
    const deadline = performance.now() + patienceMs;
    while (!this.text.includes(wanted)) {
      if (this.hasEnded || performance.now() > deadline) {
        throw new Error(`"${wanted}" did not appear in: ${this.text}`);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, 1000);
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
      clearTimeout(timer);
    }
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter();
  }
}

/** @param drained Settles when all that it wrote has been read. */
function watched(child: ReturnType<typeof Bun.spawn>, output: Output, drained: Promise<unknown>): BunchProcess {
  running.add(child);
  const exited = child.exited.then(async (code) => {
    await drained;
    return code;
  });
  void exited.then(() => {
    running.delete(child);
    output.end();
  });
  return {
    output: () => output.text,
    until: (wanted, patienceMs = PATIENCE_MS) => output.until(wanted, patienceMs),
    exited,
    kill: (signal) => child.kill(signal),
    processId: child.pid,
  };
}

/** Runs the command line in a process of its own. @param within What the command begins with. */
export function runBunch(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  directory?: string,
  within: readonly string[] = [],
): BunchProcess {
  const output = new Output();
  const child = Bun.spawn([...within, process.execPath, MAIN, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, NO_COLOR: "1", ...environment },
    ...(directory === undefined ? {} : { cwd: directory }),
  });
  const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) output.add(decoder.decode(chunk, { stream: true }));
  };
  return watched(child, output, Promise.all([read(child.stdout), read(child.stderr)]));
}

/** Runs it in a terminal, so that it asks. */
export function runBunchInTerminal(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): BunchProcess & { readonly type: (text: string) => void } {
  const output = new Output();
  const decoder = new TextDecoder();
  const { promise: drained, resolve } = Promise.withResolvers<void>();
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    terminal: {
      cols: 120,
      rows: 50,
      data: (_, bytes) => output.add(decoder.decode(bytes, { stream: true })),
      // It ends with the process.
      exit: () => resolve(),
    },
    env: { ...process.env, NO_COLOR: "1", ...environment },
  });
  return { ...watched(child, output, drained), type: (text) => void child.terminal?.write(text) };
}
