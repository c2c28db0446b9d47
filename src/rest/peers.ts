/**
 * Other nodes, asked as their clients ask them: for what only they know, and for what only they can do.
 *
 * A link is made for each request, with this node's password for clients, which all nodes of a cluster share.
 */
import type { ClientPasswords } from "../client-passwords.ts";
import { ReplyError, type ReplyValue, encodeCommand } from "../codec/resp-reader.ts";
import type { NodeRecord } from "../contracts/topology.ts";
import { isEveryAddress } from "../net-address.ts";
import { RespLink } from "../resp-link.ts";
import type { Clock, Network } from "../world.ts";
import { type Command, type Run, SessionLost } from "./sessions.ts";

export type Peer = Pick<NodeRecord, "id" | "name" | "host" | "port">;

export class Peers {
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #passwords: Pick<ClientPasswords, "current">;

  constructor(network: Network, clock: Clock, passwords: Pick<ClientPasswords, "current">) {
    this.#network = network;
    this.#clock = clock;
    this.#passwords = passwords;
  }

  /**
   * Lends a link to a node.
   *
   * @param idleMs How long nothing may happen on it while replies are to come.
   * @throws {SessionLost} If commands have no replies.
   */
  async with<Result>(peer: Peer, idleMs: number, work: (run: Run) => Promise<Result>): Promise<Result> {
    const { host, port, name, id } = peer;
    const node = `node ${name || id}`;
    if (port === 0 || isEveryAddress(host)) throw new SessionLost(`${node} has no address`, true);
    const link = new RespLink(this.#network, this.#clock, host, port);
    try {
      const { current } = this.#passwords;
      if (current !== undefined) {
        const [reply] = await exchange(link, node, [["AUTH", current]], idleMs).catch((thrown: unknown) => {
          // Nothing but the password has been sent.
          throw thrown instanceof SessionLost ? new SessionLost(thrown.message, true) : thrown;
        });
        if (reply instanceof ReplyError) throw new SessionLost(`${node} ${OTHER_PASSWORD}`, true);
      }
      return await work((...commands) => exchange(link, node, commands, idleMs));
    } finally {
      link.close();
    }
  }
}

const OTHER_PASSWORD =
  "has another password for clients than this node, or none: all nodes of a cluster have the same one (CONFIG SET requirepass)";

/** What an error says of whoever asks, and not of what was asked: nothing was done. */
function refusalIn(error: string): string | undefined {
  if (/^(NOAUTH|WRONGPASS)\b/.test(error)) return OTHER_PASSWORD;
  if (error.startsWith("ERR max number of clients reached"))
    return "takes no more clients: CONFIG SET maxclients there, or close some";
  return undefined;
}

async function exchange(
  link: RespLink,
  node: string,
  commands: readonly Command[],
  idleMs: number,
): Promise<readonly ReplyValue[]> {
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
  // Who is refused at the door hears nothing else, and may find that the link is closed behind it.
  const [first] = replies;
  const refusal = first instanceof ReplyError ? refusalIn(first.message) : undefined;
  if (refusal !== undefined) throw new SessionLost(`${node} ${refusal}`, true);
  if (failure === undefined) return replies;
  // A link that was refused never asked for a command: whatever it calls that, nothing was sent.
  throw new SessionLost(`${node} does not answer`, failure === "connecting" || at === 0);
}
