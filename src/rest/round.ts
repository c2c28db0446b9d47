/**
 * A question to all nodes, asked once for all callers: whoever watches a cluster, and however many do, it costs the nodes the same.
 *
 * Answers are told again for a while, and a question is not asked anew before the one before has come to its end. Some nodes are asked at the same time, each with
 * its own patience, and all of them within a limit: what is known by then is told.
 */
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { MemberHealth } from "../contracts/membership.ts";
import type { NodeId, NodeRecord } from "../contracts/topology.ts";
import { isGone } from "../shard-serving.ts";
import type { Clock } from "../world.ts";
import type { Nodes } from "./nodes.ts";
import { type Command, SessionLost } from "./sessions.ts";

/** How long a node may take to tell. Without its word the rest is told. */
const PATIENCE_MS = 1000;
/** Nodes that are asked at the same time: each is a connection. */
const AT_A_TIME = 16;
/** No node is asked later than that: of 200 that all are silent, each caller would wait for a quarter of a minute. */
const LIMIT_MS = 3000;

/** What a node has said, and when it was asked by wall time; or why there is nothing, with its name. */
export type Word = { readonly reply: ReplyValue; readonly askedAtMs: number } | { readonly silence: string };

/** What it is asked of, and by. */
export interface RoundSources {
  readonly topology: {
    readonly map: { readonly nodes: readonly NodeRecord[] };
    readonly self: { readonly id: NodeId };
  };
  readonly view: { healthOf(id: NodeId): MemberHealth | undefined };
  readonly nodes: Pick<Nodes, "with">;
  readonly clock: Pick<Clock, "monotonicMs" | "wallMs">;
}

export class Round {
  readonly #sources: RoundSources;
  readonly #command: Command;
  readonly #freshMs: number;
  readonly #asksSelf: boolean;
  #told: Promise<ReadonlyMap<NodeId, Word>> | undefined;
  #begunAtMs = 0;
  #isUnderWay = false;

  /**
   * @param freshMs How long answers are told again.
   * @param asksSelf This node is asked as well.
   */
  constructor(sources: RoundSources, command: Command, freshMs: number, asksSelf: boolean) {
    this.#sources = sources;
    this.#command = command;
    this.#freshMs = freshMs;
    this.#asksSelf = asksSelf;
  }

  /** What the nodes of the map have said. */
  async words(): Promise<ReadonlyMap<NodeId, Word>> {
    const nowMs = this.#sources.clock.monotonicMs();
    if (this.#told === undefined || (!this.#isUnderWay && nowMs - this.#begunAtMs >= this.#freshMs)) {
      this.#begunAtMs = nowMs;
      this.#isUnderWay = true;
      this.#told = this.#askAll().finally(() => {
        this.#isUnderWay = false;
      });
    }
    return await this.#told;
  }

  async #askAll(): Promise<ReadonlyMap<NodeId, Word>> {
    const { topology, clock } = this.#sources;
    const words = new Map<NodeId, Word>();
    const waiting = topology.map.nodes.filter(({ id }) => this.#asksSelf || id !== topology.self.id).values();
    const askSome = async (): Promise<void> => {
      for (const node of waiting) {
        const isLate = clock.monotonicMs() - this.#begunAtMs >= LIMIT_MS;
        const word = isLate ? { silence: `${named(node)} was not asked: others took too long` } : await this.#ask(node);
        words.set(node.id, word);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, askSome));
    return words;
  }

  async #ask(node: NodeRecord): Promise<Word> {
    const { topology, view, nodes, clock } = this.#sources;
    const health = view.healthOf(node.id);
    // Who is gone would be waited for in vain.
    if (node.id !== topology.self.id && isGone(health)) return { silence: `${named(node)} is ${health?.state ?? ""}` };
    const askedAtMs = clock.wallMs();
    try {
      const [reply] = await nodes.with(node, PATIENCE_MS, (run) => run(this.#command));
      return reply === undefined ? { silence: `${named(node)} says nothing` } : { reply, askedAtMs };
    } catch (thrown) {
      if (thrown instanceof SessionLost) return { silence: thrown.message };
      throw thrown;
    }
  }
}

function named({ id, name }: NodeRecord): string {
  return `node ${name || id}`;
}
