/**
 * Catching up with the log from members that need not lead: for a node that its leader does not reach, or that does not reach its leader, while others have
 * more than it. Whoever notices that says from whom more can be had; the machine asks, and takes what is committed: entries, or a snapshot, piece by piece.
 */
import type { Raft } from "../protocol/raft/machine.ts";
import type { Input, PeerId } from "../protocol/raft/types.ts";
import type { Clock } from "../world.ts";
import { nodeIdOf } from "./formation.ts";

/** An answer that has not come for so long is waited for no more. */
const ANSWER_MS = 3000;
/** After an answer that brought nothing nobody is asked for so long. */
const PAUSE_MS = 500;

/** What runs the machine. */
interface Driver {
  readonly machine: Raft;
  input(input: Input): void;
}

export class CatchUp {
  /** How often a member was asked. */
  fetches = 0;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #driver: () => Driver | undefined;
  /** Who was asked last, and has not answered. */
  #asked: PeerId | undefined;
  #progressBefore = 0;
  /** Until then nobody else is asked. */
  #freeAtMs = 0;

  constructor(clock: Pick<Clock, "monotonicMs">, driver: () => Driver | undefined) {
    this.#clock = clock;
    this.#driver = driver;
  }

  /** This node has more, it is said. At most one member is asked at a time. */
  from(nodeId: string): void {
    const machine = this.#driver()?.machine;
    const id = machine?.configuration.members.find((member) => nodeIdOf(member.id) === nodeId)?.id;
    if (machine === undefined || id === undefined || this.#clock.monotonicMs() < this.#freeAtMs) return;
    // A leader that is heard sends by itself what it can; where it does not, it does not hear what it is asked either.
    if (id === machine.leader && machine.hearsLeader) return;
    this.#ask(id);
  }

  /** The machine has taken somebody's answer, or left it. What does not fit into one is asked for at once. */
  answered(from: PeerId): void {
    if (from !== this.#asked) return;
    this.#asked = undefined;
    this.#freeAtMs = this.#clock.monotonicMs() + PAUSE_MS;
    const machine = this.#driver()?.machine;
    if (machine !== undefined && machine.fetching.progress > this.#progressBefore) this.#ask(from);
  }

  #ask(from: PeerId): void {
    const driver = this.#driver();
    if (driver === undefined) return;
    this.fetches += 1;
    this.#asked = from;
    this.#freeAtMs = this.#clock.monotonicMs() + ANSWER_MS;
    this.#progressBefore = driver.machine.fetching.progress;
    driver.input({ type: "fetch", from });
  }
}
