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
/** On a list of so many everybody asks everybody: with more, the questions would be the square of that. */
const MAX_SMALL_LIST = 16;
/** Beside the founding voters, so many others are asked each time, in turn. */
const ASKED_IN_TURN = 5;

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
  readonly #voterCount: number;
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
  #turn = 0;

  /**
   * @param list Tells the list of founders from others.
   * @param voterCount How many of the founders vote, the first ones on the list.
   */
  constructor(
    list: string,
    founders: readonly Founder[],
    voterCount: number,
    self: () => FormationSelf,
    events: FormationEvents,
    log: Log,
  ) {
    this.#list = list;
    this.#founders = founders;
    this.#voterCount = voterCount;
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

  /** Asks those on the list who they are. */
  ask(): void {
    this.#nonce += 1;
    this.tellOthers({ type: "who", list: this.#list, peer: this.#self().peer, nonce: this.#nonce });
  }

  /**
   * Sends to others on the list: to all, if it is short, or this node is a founding voter, which has to hear everybody before it founds. Any other node
   * needs only one that knows the group: it asks the founding voters, and, since these may all be gone one day, some of the others in turn.
   */
  tellOthers(frame: ConsensusFrame): void {
    const { nodeId } = this.#self();
    const founders = this.#founders;
    const place = founders.findIndex((founder) => founder.nodeId === nodeId);
    const isAskingAll = founders.length <= MAX_SMALL_LIST || (place >= 0 && place < this.#voterCount);
    const voters = isAskingAll ? founders : founders.slice(0, this.#voterCount);
    const inTurn: Founder[] = [];
    for (let count = isAskingAll ? 0 : ASKED_IN_TURN; count > 0; count -= 1) {
      const others = founders.length - this.#voterCount;
      // Not all begin with the same ones.
      const at = this.#voterCount + ((place + 1 + this.#turn) % others);
      this.#turn += 1;
      inTurn.push(...founders.slice(at, at + 1));
    }
    for (const founder of [...voters, ...inTurn]) {
      if (founder.nodeId !== nodeId) this.#events.send(founder.address, frame);
    }
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
    } else if (group !== self.group && isEstablished && !self.isEstablished) {
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
  const end = peer.indexOf("/");
  return end < 0 ? peer : peer.slice(0, end);
}
