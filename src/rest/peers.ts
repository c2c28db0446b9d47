/**
 * Other nodes, asked as their clients ask them: for what only they know, and for what only they can do.
 *
 * A link is made for each question, with the password that this node has from its settings, which all nodes of a cluster share. Commands go out one after another.
 */
import { type ReplyValue, encodeCommand, ReplyError } from "../codec/resp-reader.ts";
import type { NodeRecord } from "../contracts/topology.ts";
import { isEveryAddress } from "../net-address.ts";
import { RespLink } from "../resp-link.ts";
import type { Clock, Network } from "../world.ts";

/** What came of a question. */
export type PeerAnswer =
  | { readonly type: "answered"; readonly replies: readonly ReplyValue[] }
  /** Nothing of it has reached the other node. */
  | { readonly type: "unreached"; readonly reason: string }
  /** Some of it may have. */
  | { readonly type: "lost"; readonly reason: string };

type PeerCommand = readonly (string | Uint8Array)[];

export class Peers {
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #password: string | undefined;

  constructor(network: Network, clock: Clock, password: string | undefined) {
    this.#network = network;
    this.#clock = clock;
    this.#password = password;
  }

  /**
   * Asks a node.
   *
   * @param idleMs How long nothing may happen before it is given up.
   */
  async ask(
    { host, port, name, id }: Pick<NodeRecord, "host" | "port" | "name" | "id">,
    commands: readonly PeerCommand[],
    idleMs: number,
  ): Promise<PeerAnswer> {
    const node = `node ${name || id}`;
    if (port === 0 || isEveryAddress(host)) return { type: "unreached", reason: `${node} has no address` };
    const link = new RespLink(this.#network, this.#clock, host, port);
    try {
      if (this.#password !== undefined) {
        const { replies, failure } = await exchange(link, [["AUTH", this.#password]], idleMs);
        const [reply] = replies;
        if (failure !== undefined) return { type: "unreached", reason: `${node} does not answer` };
        if (reply instanceof ReplyError) return { type: "unreached", reason: `${node} has another password` };
      }
      const { replies, failure } = await exchange(link, commands, idleMs);
      if (failure === undefined) return { type: "answered", replies };
      if (failure === "connecting") return { type: "unreached", reason: `${node} does not answer` };
      return { type: "lost", reason: `${node} has not answered` };
    } finally {
      link.close();
    }
  }
}

async function exchange(
  link: RespLink,
  commands: readonly PeerCommand[],
  idleMs: number,
): Promise<{
  readonly replies: readonly ReplyValue[];
  readonly failure: "connecting" | "writing" | "reading" | undefined;
}> {
  const replies: ReplyValue[] = [];
  let at = 0;
  const failure = await link.exchange(
    () => {
      const command = commands[at];
      at += 1;
      return command === undefined ? undefined : encodeCommand(command);
    },
    (reply) => void replies.push(reply),
    idleMs,
  );
  return { replies, failure };
}
