/** Writes long values, so that logs and windows fill up and replicas have to be filled. What it writes is in no history: members are compared by what they hold. */
import { ReplyError, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { World } from "../../src/world.ts";
import { SimConnection } from "./sim-connection.ts";

const MAX_VALUE_BYTES = 60_000;
/** One in so many is longer than a small log. */
const GIANT_ONE_IN = 60;
const GIANT_BYTES = 1_600_000;
const MAX_PAUSE_MS = 40;

export interface BulkClientOptions {
  readonly world: World;
  /** `host:port` of the nodes. */
  readonly addresses: readonly string[];
  readonly keys: readonly string[];
}

export class BulkClient {
  readonly #options: BulkClientOptions;
  readonly #connections = new Map<string, SimConnection>();
  #isStopped = false;

  constructor(options: BulkClientOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { world, addresses, keys } = this.#options;
    let address = addresses[0] ?? "";
    while (!this.#isStopped) {
      const key = keys[world.random.below(keys.length)] ?? "";
      const isGiant = world.random.below(GIANT_ONE_IN) === 0;
      const value = "x".repeat(1 + (isGiant ? GIANT_BYTES : world.random.below(MAX_VALUE_BYTES)));
      const attempt = await this.#connectionTo(address).request(encodeCommand(["SET", key, value]), 1);
      const [reply] = "replies" in attempt ? attempt.replies : [];
      const isMoved = reply instanceof ReplyError && reply.code === "MOVED";
      address = isMoved ? (reply.message.split(" ")[2] ?? "") : (addresses[world.random.below(addresses.length)] ?? "");
      if (!isMoved)
        await new Promise<void>((resolve) => void world.clock.after(world.random.below(MAX_PAUSE_MS), resolve));
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  #connectionTo(address: string): SimConnection {
    let connection = this.#connections.get(address);
    if (connection === undefined || connection.isClosed) {
      connection = new SimConnection(this.#options.world, address);
      this.#connections.set(address, connection);
    }
    return connection;
  }
}
