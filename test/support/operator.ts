/** An operator: sends commands to nodes of a simulated cluster, as anybody would, and tries again where the answer is that nothing has happened. */
import { ReplyError, type ReplyValue } from "../../src/codec/resp-reader.ts";
import type { NodeView } from "./cluster-checkers.ts";
import type { ClusterWorld } from "./cluster-world.ts";
import type { SimRandom } from "./sim-random.ts";

/** Longer than any command takes: a change is settled after 3 s in these runs, and leaving a group may take two such waits and 5 s. */
const PATIENCE_MS = 20_000;
/** Stands for the answer of a node that died meanwhile. */
export const NO_ANSWER = "(no answer)";

export class Operator {
  readonly random: SimRandom;
  readonly #world: ClusterWorld;

  constructor(world: ClusterWorld, random: SimRandom) {
    this.#world = world;
    this.random = random;
  }

  /** Sends a command. @returns The reply as text, or `NO_ANSWER`. */
  async ask(view: NodeView, line: string): Promise<string> {
    const connection = view.node.connect();
    const reply = connection.execute(...line.split(" ")).then(textOf, () => NO_ANSWER);
    const answer = await Promise.race([reply, this.pause(PATIENCE_MS).then(() => NO_ANSWER)]);
    connection.close();
    return answer;
  }

  /** Lets virtual time pass. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#world.simulation.after(ms, "operator", resolve);
    });
  }

  /** The node on a host, if it runs and takes commands. */
  nodeOn(host: string): NodeView | undefined {
    return this.#world.ready.find(({ name }) => name === host);
  }

  /** Any node that takes commands and is not on one of these hosts. Waits for one. */
  async anyOther(hosts: readonly string[]): Promise<NodeView> {
    for (;;) {
      const view = this.random.pick(this.#world.ready.filter(({ name }) => !hosts.includes(name)));
      if (view !== undefined) return view;
      await this.pause(50);
    }
  }
}

function textOf(reply: ReplyValue): string {
  if (reply instanceof ReplyError) return reply.message;
  if (reply instanceof Uint8Array) return new TextDecoder().decode(reply);
  return typeof reply === "string" ? reply : JSON.stringify(reply);
}
