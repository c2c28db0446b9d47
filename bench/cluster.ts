/** Three nodes of this repository that agree on one cluster map, each a process of its own; and connections to them that time single commands. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { present } from "../src/assert.ts";
import { divideSlots, formatSlotRange } from "../src/protocol/slot-ranges.ts";
import { type Server, type Servers, type Subject, bunchSubject } from "./servers.ts";

/** The least number of nodes that goes on without any one of them. */
export const NODE_COUNT = 3;

/** How long a cluster may take to form, a killed node to come back, or a command to be answered. */
const TIMEOUT_MS = 20_000;
/** Pause between two looks at something that takes seconds. */
const LOOK_MS = 20;

/** What a node says of the group in INFO. */
export interface RaftView {
  readonly role: string;
  readonly term: number;
  readonly voters: number;
  readonly commitIndex: number;
  readonly sentBytes: number;
  readonly sentFrames: number;
}

/** One connection. Commands on it go one at a time. */
export class Connection {
  readonly #socket: Awaited<ReturnType<typeof Bun.connect>>;
  #text = "";
  #waiting: { readonly resolve: (reply: string) => void; readonly reject: (error: Error) => void } | undefined;
  #isClosed = false;

  private constructor(socket: Awaited<ReturnType<typeof Bun.connect>>) {
    this.#socket = socket;
  }

  static async open(port: number): Promise<Connection> {
    const made: { connection?: Connection } = {};
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => made.connection?.taken(bytes.toString("latin1")),
        close: () => made.connection?.closed(),
        error: () => made.connection?.closed(),
      },
    });
    made.connection = new Connection(socket);
    return made.connection;
  }

  /**
   * Sends a command whose reply is a line or a bulk string.
   *
   * @returns The reply's text.
   * @throws {Error} If the reply is an error, or none comes.
   */
  async run(...words: readonly string[]): Promise<string> {
    if (this.#isClosed) throw new Error("The connection is closed");
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.#waiting = { resolve, reject };
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    this.#socket.write(`*${words.length}\r\n${parts.join("")}`);
    return promise;
  }

  close(): void {
    this.#socket.end();
  }

  private taken(piece: string): void {
    this.#text += piece;
    const lineEnd = this.#text.indexOf("\r\n");
    if (lineEnd < 0) return;
    const sign = this.#text[0];
    const line = this.#text.slice(1, lineEnd);
    const start = lineEnd + 2;
    const end = sign === "$" ? start + Number(line) : lineEnd;
    if (this.#text.length < end + 2) return;
    const reply = sign === "$" ? this.#text.slice(start, end) : line;
    this.#text = "";
    const waiting = present(this.#waiting, "a reply answers a command");
    this.#waiting = undefined;
    if (sign === "-") waiting.reject(new Error(`The server answered: ${reply}`));
    else waiting.resolve(reply);
  }

  private closed(): void {
    this.#isClosed = true;
    this.#waiting?.reject(new Error("The server closed the connection"));
  }
}

/** What a node says of the group. */
export async function viewOf(connection: Connection): Promise<RaftView> {
  const info = await connection.run("INFO", "cluster");
  const field = (name: string): string => new RegExp(`^${name}:(.*)\r?$`, "m").exec(info)?.[1] ?? "";
  return {
    role: field("raft_role"),
    term: Number(field("raft_term")),
    voters: Number(field("raft_voters")),
    commitIndex: Number(field("raft_commit_index")),
    sentBytes: Number(field("bus_sent_bytes")),
    sentFrames: Number(field("bus_sent_frames")),
  };
}

/** A member of the cluster: its process changes when it is killed and started again. */
export interface Member {
  readonly index: number;
  server: Server;
  /** For looking at it, and for single commands. */
  connection: Connection;
}

export class Cluster {
  readonly members: readonly Member[];
  readonly #servers: Servers;
  readonly #subjects: readonly Subject[];
  readonly #directory: string;

  private constructor(servers: Servers, subjects: readonly Subject[], directory: string, members: readonly Member[]) {
    this.#servers = servers;
    this.#subjects = subjects;
    this.#directory = directory;
    this.members = members;
  }

  /**
   * Starts the nodes and waits until all of them vote and one leads.
   *
   * @param port The first node's; the others follow.
   * @param hasDisk Whether they keep what they agree on in directories.
   * @param flags Further flags of each.
   */
  static async start(servers: Servers, port: number, hasDisk: boolean, flags: readonly string[]): Promise<Cluster> {
    const directory = await mkdtemp(join(tmpdir(), "bunch-bench-cluster-"));
    const nodes = divideSlots(NODE_COUNT).map((range, index) => ({
      name: `node-${index + 1}`,
      host: "127.0.0.1",
      port: port + index,
      slots: [formatSlotRange(range)],
    }));
    const subjects = nodes.map(({ name }) =>
      bunchSubject([
        "--config",
        join(import.meta.dir, "changes.config.ts"),
        "--log-level",
        "warn",
        "--name",
        name,
        "--topology-nodes",
        JSON.stringify(nodes),
        ...(hasDisk ? ["--data-dir", join(directory, name)] : []),
        ...flags,
      ]),
    );
    const members = await Promise.all(
      subjects.map(async (subject, index): Promise<Member> => {
        const { server } = await servers.launch(subject, port + index);
        return { index, server, connection: await Connection.open(port + index) };
      }),
    );
    const cluster = new Cluster(servers, subjects, directory, members);
    await cluster.settled();
    return cluster;
  }

  /** Waits until all nodes vote, one leads, and all have the same log. @returns The leader. */
  async settled(): Promise<Member> {
    return until("the nodes to agree", LOOK_MS, async () => {
      const views = await Promise.all(this.members.map(({ connection }) => viewOf(connection)));
      const leaders = this.members.filter((_, index) => views[index]?.role === "leader");
      const isWhole = views.every(
        ({ voters, term, commitIndex }) =>
          voters === NODE_COUNT && term === views[0]?.term && commitIndex === views[0]?.commitIndex,
      );
      return isWhole && leaders.length === 1 ? leaders[0] : undefined;
    });
  }

  /** Ends a node's process with SIGKILL, at once. */
  kill(member: Member): void {
    process.kill(member.server.processId, "SIGKILL");
  }

  /** Starts a killed node again. */
  async restart(member: Member): Promise<void> {
    await this.#servers.stop(member.server);
    const subject = present(this.#subjects[member.index], "each member is one of the cluster's");
    const { server } = await this.#servers.launch(subject, member.server.port);
    member.server = server;
    member.connection = await Connection.open(server.port);
  }

  async stop(): Promise<void> {
    for (const { connection } of this.members) connection.close();
    await Promise.all(this.members.map(({ server }) => this.#servers.stop(server)));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Looks until something is there. */
export async function until<Found>(
  what: string,
  pauseMs: number,
  look: () => Promise<Found | undefined>,
  timeoutMs = TIMEOUT_MS,
): Promise<Found> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadlineMs) throw new Error(`Waited in vain for ${what}`);
    await Bun.sleep(pauseMs);
  }
}
