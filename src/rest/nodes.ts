/** The nodes of the cluster, as their clients ask them: this one from within, others by a link. */
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { NodeId } from "../contracts/topology.ts";
import type { LocalCommands } from "./local-commands.ts";
import type { Peer, Peers } from "./peers.ts";
import { type Command, type Run, SessionLost } from "./sessions.ts";

export class Nodes {
  readonly #selfId: () => NodeId;
  readonly #local: LocalCommands;
  readonly #peers: Peers;

  constructor(selfId: () => NodeId, local: LocalCommands, peers: Peers) {
    this.#selfId = selfId;
    this.#local = local;
    this.#peers = peers;
  }

  /**
   * Runs commands at a node.
   *
   * @param limitMs How long that may take; at another node, how long nothing may happen.
   * @throws {SessionLost} If commands have no replies.
   */
  with<Result>(node: Peer, limitMs: number, work: (run: Run) => Promise<Result>): Promise<Result> {
    return node.id === this.#selfId() ? this.#local.with(limitMs, work) : this.#peers.with(node, limitMs, work);
  }

  /** Asks a node one thing. @returns `undefined` if there is no reply. */
  async ask(node: Peer, command: Command, limitMs: number): Promise<ReplyValue | undefined> {
    try {
      return await this.with(node, limitMs, async (run) => (await run(command))[0]);
    } catch (thrown) {
      if (thrown instanceof SessionLost) return undefined;
      throw thrown;
    }
  }
}
