/** A client that shows replies as they are: raw bytes, one piece a reply. For comparing servers to the byte. */
import { encodeCommand } from "../../src/codec/resp-reader.ts";
import { hostOf } from "./places.ts";

/** A command: words separated by blanks, or its parts. */
export type CommandLine = string | readonly (string | Uint8Array)[];

/** Parts of a command. In text, "" is an empty argument, and other quotes keep blanks in one. */
export function partsOf(line: CommandLine): readonly (string | Uint8Array)[] {
  if (typeof line !== "string") return line;
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? "");
}

/**
 * Where a reply ends.
 *
 * @returns One past its last byte, or -1 if it is not whole.
 */
export function replyEnd(bytes: Uint8Array, start: number): number {
  const lineEnd = bytes.indexOf(0x0d, start);
  if (lineEnd < 0 || lineEnd + 1 >= bytes.length) return -1;
  const sign = String.fromCharCode(bytes[start] ?? 0);
  const after = lineEnd + 2;
  const count = Number(Buffer.from(bytes.subarray(start + 1, lineEnd)).toString());
  if ("$=!".includes(sign)) {
    const end = count < 0 ? after : after + count + 2;
    return end > bytes.length ? -1 : end;
  }
  if (!"*~>%|".includes(sign)) return after;
  let at = after;
  for (let left = "%|".includes(sign) ? 2 * count : count; left > 0; left -= 1) {
    at = replyEnd(bytes, at);
    if (at < 0) return -1;
  }
  return at;
}

export class RawClient {
  #received: Uint8Array = new Uint8Array(0);
  #wake: (() => void) | undefined;
  #isClosed = false;
  readonly #socket: Awaited<ReturnType<typeof Bun.connect>>;
  #unsent: Uint8Array = new Uint8Array(0);

  private constructor(socket: Awaited<ReturnType<typeof Bun.connect>>) {
    this.#socket = socket;
  }

  static async connect(port: number): Promise<RawClient> {
    const holder: { client?: RawClient } = {};
    const socket = await Bun.connect({
      hostname: hostOf(port),
      port,
      socket: {
        data: (_socket, bytes) => holder.client?.received(bytes),
        drain: () => holder.client?.flush(),
        close: () => holder.client?.closed(),
        error: () => holder.client?.closed(),
      },
    });
    holder.client = new RawClient(socket);
    return holder.client;
  }

  private received(bytes: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    this.#wake?.();
  }

  private closed(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  private flush(): void {
    const sent = this.#socket.write(this.#unsent);
    if (sent > 0) this.#unsent = this.#unsent.subarray(sent);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends bytes as they are. */
  write(bytes: Uint8Array | string): void {
    this.#unsent = Buffer.concat([this.#unsent, typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes]);
    this.flush();
  }

  /** The next reply, one character a byte. `undefined` when the connection was closed before it was whole. */
  async reply(): Promise<string | undefined> {
    for (;;) {
      const end = this.#received.length === 0 ? -1 : replyEnd(this.#received, 0);
      if (end >= 0) {
        const text = Buffer.from(this.#received.subarray(0, end)).toString("latin1");
        this.#received = this.#received.subarray(end);
        return text;
      }
      if (this.#isClosed) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }

  /** Everything until the other side closes. */
  async rest(): Promise<string> {
    while (!this.#isClosed) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    return Buffer.from(this.#received).toString("latin1");
  }

  async run(line: CommandLine): Promise<string | undefined> {
    this.write(encodeCommand(partsOf(line)));
    return this.reply();
  }

  close(): void {
    this.#socket.end();
  }
}
