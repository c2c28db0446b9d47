/**
 * The conversation of a node that belongs to no group, or to one that never came to life: who is there, is there a group? What follows from the answers is
 * decided in `founding.ts`.
 */
import type { ConsensusFrame } from "../codec/consensus-codec.ts";
import type { BusAddress, BusSender } from "../contracts/bus.ts";
import type { Founder } from "../contracts/consensus.ts";
import { majorityOf } from "../protocol/raft/quorum.ts";
import type { PeerId } from "../protocol/raft/types.ts";
import type { Log } from "../world.ts";
import { type Report, foundingStep } from "./founding.ts";

/** How often everybody is asked. */
const ASK_MS = 100;

/** Who this node is at the moment. */
export interface FormationSelf {
  readonly nodeId: string;
  readonly peer: PeerId;
  /** Empty: none. */
  readonly group: string;
  readonly foundingPeers: readonly PeerId[];
  /** Those of them that vote. */
  readonly voters: readonly PeerId[];
  /** The group has had a leader. */
  readonly isEstablished: boolean;
}

export interface FormationEvents {
  send(to: BusAddress, frame: ConsensusFrame): void;
  found(peers: readonly PeerId[], group: string): Promise<void>;
  join(group: string): Promise<void>;
  /** The own group never had a leader, and never will: be nobody's member again, under another identity. @returns When nothing is left of it. */
  abandon(): Promise<void>;
  fault(error: unknown): void;
}

export class Formation {
  /** Nodes that have not answered. */
  missing: readonly string[] = [];
  readonly #list: string;
  readonly #founders: readonly Founder[];
  readonly #self: () => FormationSelf;
  readonly #events: FormationEvents;
  readonly #log: Log;
  readonly #reports = new Map<string, Report>();
  /** Who nodes were when they spoke last. */
  readonly #peers = new Map<string, PeerId>();
  #nonce = 0;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #isBusy = false;
  #isListTold = false;

  /** @param list Tells the list of founders from others. */
  constructor(
    list: string,
    founders: readonly Founder[],
    self: () => FormationSelf,
    events: FormationEvents,
    log: Log,
  ) {
    this.#list = list;
    this.#founders = founders;
    this.#self = self;
    this.#events = events;
    this.#log = log;
  }

  /** It is founding or joining a group at this moment. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** A step of a node that belongs to no group. */
  step(nowMs: number): void {
    const self = this.#self();
    if (this.#isBusy || self.group !== "") return;
    const step = foundingStep(self, this.#list, this.#founders, this.#reports, nowMs);
    if (step.type === "wait") {
      this.missing = step.missing;
      if (nowMs - this.#askedAtMs < ASK_MS) return;
      this.#askedAtMs = nowMs;
      this.ask();
      return;
    }
    this.#isBusy = true;
    const done = step.type === "found" ? this.#events.found(step.peers, step.group) : this.#events.join(step.group);
    done
      .catch((thrown: unknown) => this.#events.fault(thrown))
      .finally(() => {
        this.#isBusy = false;
      });
  }

  /** Asks everybody on the list who they are. */
  ask(): void {
    this.#nonce += 1;
    this.tellOthers({ type: "who", list: this.#list, peer: this.#self().peer, nonce: this.#nonce });
  }

  /** Sends to everybody else on the list. */
  tellOthers(frame: ConsensusFrame): void {
    const { nodeId } = this.#self();
    for (const founder of this.#founders) if (founder.nodeId !== nodeId) this.#events.send(founder.address, frame);
  }

  /** Somebody asks. */
  asked(from: BusSender, frame: Extract<ConsensusFrame, { readonly type: "who" }>, nowMs: number): void {
    if (frame.list !== this.#list) {
      this.#warnOfList(from.nodeId);
      return;
    }
    this.#heard(from.nodeId, frame.peer, nowMs);
    const { peer, group, foundingPeers, isEstablished } = this.#self();
    const { nonce } = frame;
    this.#events.send(from.address, {
      type: "here",
      list: this.#list,
      peer,
      nonce,
      group,
      founders: foundingPeers,
      isEstablished,
    });
  }

  /** Somebody has answered. */
  answered(nodeId: string, frame: Extract<ConsensusFrame, { readonly type: "here" }>, nowMs: number): void {
    if (frame.list !== this.#list) {
      this.#warnOfList(nodeId);
      return;
    }
    this.#heard(nodeId, frame.peer, nowMs);
    const self = this.#self();
    const { peer, group, founders, isEstablished } = frame;
    const report: Report = { nodeId, peer, group, founders, isEstablished, atMs: nowMs };
    if (self.group === "") {
      // That somebody is fresh is about the present only if it answers the last question.
      if (frame.nonce !== this.#nonce && group === "") return;
      this.#reports.set(nodeId, report);
      this.step(nowMs);
    } else if (!this.#isBusy && group !== self.group && isEstablished && !self.isEstablished) {
      // Not while it is still being made: what is written of it would come between what is written of the next one. It is asked again.
      this.#log.warn("raft: another group of the same list lives; this one never did", { group: self.group });
      this.#reports.set(nodeId, report);
      this.#abandon(nowMs);
    }
  }

  /** Whoever asks once asks many times. */
  #warnOfList(nodeId: string): void {
    if (!this.#isListTold)
      this.#log.warn("raft: a node was started with another list of nodes, or of voters", { nodeId });
    this.#isListTold = true;
  }

  /** Looks whether the own group can still come to life: a founder that is somebody else by now never votes again. */
  #heard(nodeId: string, peer: PeerId, nowMs: number): void {
    this.#peers.set(nodeId, peer);
    const { group, isEstablished, voters } = this.#self();
    // Without voters it is still being made, or is another's.
    if (group === "" || isEstablished || voters.length === 0) return;
    const gone = voters.filter((voter) => {
      const present = this.#peers.get(nodeIdOf(voter));
      return present !== undefined && present !== voter;
    });
    if (voters.length - gone.length >= majorityOf(voters.length)) return;
    this.#log.warn("raft: this group never had a leader, and too many of its founders are gone", { group });
    this.#reports.clear();
    this.#abandon(nowMs);
  }

  #abandon(nowMs: number): void {
    this.#isBusy = true;
    this.#events
      .abandon()
      .catch((thrown: unknown) => this.#events.fault(thrown))
      .finally(() => {
        this.#isBusy = false;
        this.step(nowMs);
      });
  }
}

/** The node behind an identity. */
export function nodeIdOf(peer: PeerId): string {
  return peer.split("/", 1)[0] ?? "";
}
