/**
 * Runs a Raft machine: carries its effects out in order, and tells it when they are done.
 *
 * Writes and the messages that depend on them stand in one queue. While a write is under way the queue grows; the next write takes everything that has
 * gathered, so that the disk is waited for once for many entries. Without a disk a write is done at once.
 */
import { Fault } from "../assert.ts";
import { messageOf } from "../errors.ts";
import { Raft } from "../protocol/raft/machine.ts";
import type {
  Effect,
  Entry,
  Input,
  Message,
  PeerId,
  RaftOptions,
  Refusal,
  Role,
  Snapshot,
} from "../protocol/raft/types.ts";
import type { RaftStorage } from "./raft-storage.ts";
import { RoundTimes } from "./round-times.ts";

type Persist = Extract<Effect, { readonly type: "persist" }>;
type Send = Extract<Effect, { readonly type: "send" }>;

/** What the driver tells. */
export interface RaftEvents {
  /** Monotonic milliseconds. */
  nowMs(): number;
  send(to: PeerId, message: Message): void;
  apply(entries: readonly Entry[]): void;
  restore(snapshot: Snapshot): void;
  role(role: Role, term: number, leader: PeerId | undefined): void;
  proposed(id: number, index: number, term: number): void;
  refused(id: number, reason: Refusal): void;
  /** `index` is 0 if it could not be had. */
  read(id: number, index: number): void;
  /** Something is broken: the node must stop. */
  fault(error: unknown): void;
}

export class RaftDriver {
  readonly machine: Raft;
  readonly #storage: RaftStorage | undefined;
  readonly #events: RaftEvents;
  #inputs: Input[] = [];
  #isStepping = false;
  // Persists, and sends that wait for one before them, in order.
  #queue: (Persist | Send)[] = [];
  #isWriting = false;
  #isStopped = false;
  #written: Promise<void> = Promise.resolve();
  readonly #rounds = new RoundTimes();

  constructor(options: RaftOptions, storage: RaftStorage | undefined, events: RaftEvents) {
    this.machine = new Raft(options);
    this.#storage = storage;
    this.#events = events;
  }

  /**
   * Of a leader: when the last heartbeat round began that a majority of the voters has answered, in monotonic milliseconds. `undefined`: none has been, or this
   * member does not lead.
   */
  get confirmedAtMs(): number | undefined {
    const { leadership, isVoter, voters } = this.machine;
    // It is the majority itself, at any moment.
    if (leadership !== undefined && isVoter && voters.length === 1) return this.#events.nowMs();
    return this.#rounds.confirmedAtMs;
  }

  /** Whether an input is being carried out: what it leads to is not decided yet. */
  get isBusy(): boolean {
    return this.#isStepping;
  }

  /** Takes an input. One that comes while another is being carried out waits for that. */
  input(input: Input): void {
    if (this.#isStopped) return;
    this.#inputs.push(input);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        const beganAtMs = this.#events.nowMs();
        const effects = this.machine.step(next);
        this.#rounds.stepped(this.machine.leadership, beganAtMs);
        for (const effect of effects) this.#carryOut(effect);
        if (this.#storage === undefined) this.#writeNothing();
      }
    } catch (thrown) {
      // A machine whose step failed halfway is not to be trusted with another.
      this.#isStopped = true;
      this.#events.fault(thrown);
    } finally {
      this.#isStepping = false;
    }
    if (this.#storage !== undefined && !this.#isWriting && this.#queue.length > 0) {
      this.#written = this.#write(this.#storage);
    }
  }

  /** Takes nothing more. @returns When what was being written is. */
  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#written;
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case "persist":
        this.#queue.push(effect);
        break;
      case "send":
        if (effect.isDurable && (this.#queue.length > 0 || this.#isWriting)) this.#queue.push(effect);
        else this.#events.send(effect.to, effect.message);
        break;
      case "apply":
        this.#events.apply(effect.entries);
        break;
      case "restore":
        this.#events.restore(effect.snapshot);
        break;
      case "role":
        this.#events.role(effect.role, effect.term, effect.leader);
        break;
      case "proposed":
        this.#events.proposed(effect.id, effect.index, effect.term);
        break;
      case "refused":
        this.#events.refused(effect.id, effect.reason);
        break;
      case "read-ready":
        this.#events.read(effect.id, effect.index);
        break;
      case "read-failed":
        this.#events.read(effect.id, 0);
        break;
      default:
        effect satisfies never;
    }
  }

  /** Memory only: what is written is as durable as it will ever be. */
  #writeNothing(): void {
    const queue = this.#queue;
    if (queue.length === 0) return;
    this.#queue = [];
    this.#done(queue);
  }

  async #write(storage: RaftStorage): Promise<void> {
    this.#isWriting = true;
    try {
      while (this.#queue.length > 0 && !this.#isStopped) {
        const batch = this.#queue;
        this.#queue = [];
        await storage.persist(batch.filter((each) => each.type === "persist"));
        if (this.#isStopped) return;
        this.#done(batch);
      }
    } catch (thrown) {
      // A disk that does not write is a failure of this machine; a node that cannot keep its promises stops.
      this.#isStopped = true;
      this.#events.fault(
        thrown instanceof Fault ? thrown : new Fault(`Raft's log could not be written: ${messageOf(thrown)}`),
      );
    } finally {
      this.#isWriting = false;
    }
  }

  /** Messages leave in their places between the writes that are done. */
  #done(batch: readonly (Persist | Send)[]): void {
    let ticket = 0;
    for (const each of batch) {
      if (each.type === "persist") ticket = each.ticket;
      else this.#events.send(each.to, each.message);
    }
    if (ticket > 0) this.input({ type: "persisted", ticket });
  }
}
