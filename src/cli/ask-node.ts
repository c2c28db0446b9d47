/** One command to a node that runs, as a client gives it. */
import { ReplyError, ReplyFormatError, ReplyReader, type ReplyValue, encodeCommand } from "../codec/resp-reader.ts";
import { StartError, Unanswered, messageOf } from "../errors.ts";
import { harmless } from "./terminal.ts";

/** A map of some thousand nodes is a few megabytes. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** How long a node may take, for connecting and for the whole of its answer. */
export const PATIENCE_MS = 10_000;

const decoder = new TextDecoder();

/** A node refused. */
class NodeRefusal extends StartError {
  /** What it said. */
  readonly said: string;

  constructor(message: string, said: string) {
    super(message);
    this.said = said;
  }
}

/** An answer of a node that somebody has named by `--node`; or why there is none, with what to do about the flags. */
export async function askedByFlags<Answer>(answer: Promise<Answer>): Promise<Answer> {
  return await answer.catch((thrown: unknown): never => {
    if (thrown instanceof Unanswered) throw new Unanswered(`${thrown.message} ${ELSEWHERE}`);
    const hint = thrown instanceof NodeRefusal ? hintOf(thrown) : "";
    throw hint === "" ? thrown : new StartError(`${messageOf(thrown).replace(/\.$/, "")}. ${hint}`);
  });
}

const ELSEWHERE =
  "If it is somewhere else, --node names it (the first one of bun start: 127.0.0.1:7001). If it is there, it may be down: ask another one.";

function hintOf({ said }: NodeRefusal): string {
  if (said.startsWith("NOAUTH")) return "Give it with --password, or in the environment's BUNCH_PASSWORD.";
  if (/^ERR unknown subcommand 'health'/i.test(said))
    return "Its plugin health is off, or it is of another version: ask another node.";
  return said.startsWith("WRONGPASS") ? "Look at --password, and at the environment's BUNCH_PASSWORD." : "";
}

/**
 * Asks a node for text.
 *
 * @param address `host:port`, where it listens for clients.
 * @returns Its answer, which must be text.
 * @throws {StartError} Why there is no answer, or what the node said instead.
 */
export async function askNode(
  address: string,
  password: string | undefined,
  ...command: readonly string[]
): Promise<string> {
  const answer = await askNodeAnything(address, password, PATIENCE_MS, ...command);
  if (answer instanceof Uint8Array) return decoder.decode(answer);
  throw new StartError(`The node at ${address} gives no answer to ${command.join(" ")} that makes sense.`);
}

/**
 * Asks a node.
 *
 * @param address `host:port`, where it listens for clients.
 * @param patienceMs How long it may take.
 * @returns Its answer, in RESP2.
 * @throws {StartError} Why there is no answer, or what the node said instead.
 */
export async function askNodeAnything(
  address: string,
  password: string | undefined,
  patienceMs: number,
  ...command: readonly string[]
): Promise<ReplyValue> {
  const [, host, port] = /^\[?(.+?)\]?:([0-9]{1,5})$/.exec(address) ?? [];
  if (host === undefined || port === undefined || Number(port) > 65_535) {
    throw new StartError(`"${address}" is no address of a node: it must be HOST:PORT, such as 127.0.0.1:6379.`);
  }
  const commands = [...(password === undefined ? [] : [["AUTH", password]]), command];
  const replies = await exchange(host, Number(port), commands, patienceMs).catch((thrown: unknown) => {
    throw new Unanswered(`Cannot ask the node at ${address}: ${messageOf(thrown).replace(/[. ]+$/, "")}.`);
  });
  const refused = replies.find((reply) => reply instanceof ReplyError);
  if (refused instanceof ReplyError) {
    const said = harmless(refused.message);
    throw new NodeRefusal(`The node at ${address} says: ${said}`, said);
  }
  return replies.at(-1) ?? null;
}

/** Sends commands, and waits for a reply to each. */
async function exchange(
  hostname: string,
  port: number,
  commands: readonly (readonly string[])[],
  patienceMs: number,
): Promise<readonly ReplyValue[]> {
  const reader = new ReplyReader({ maxBulkBytes: MAX_ANSWER_BYTES });
  const replies: ReplyValue[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<readonly ReplyValue[]>();
  const timer = setTimeout(() => reject(new Error(`it has not answered within ${patienceMs / 1000} s`)), patienceMs);
  const connecting = Bun.connect({
    hostname,
    port,
    socket: {
      open(socket) {
        for (const parts of commands) socket.write(encodeCommand(parts));
      },
      data(_, bytes) {
        try {
          // The bytes are the socket's only until this returns.
          reader.feed(bytes.slice());
          for (let reply = reader.next(); reply !== undefined; reply = reader.next()) replies.push(reply);
        } catch (thrown) {
          reject(thrown instanceof ReplyFormatError ? new Error("what it says is not Redis' protocol") : thrown);
        }
        if (replies.length >= commands.length) resolve(replies);
      },
      close: () => reject(new Error("it closed the connection")),
    },
  });
  connecting.catch(reject);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    void connecting.then((socket) => socket.terminate()).catch(() => undefined);
  }
}
