/**
 * The conversation of a node that belongs to no group, or to one that never came to life: who is there, is there a group? What follows from the answers is
 * decided in `founding.ts`.
 *
 * Whom it asks: the nodes of its list, or its seeds and whoever those name. Everybody answers, members of groups too, with all that there is to know of them. Who
 * founds a group needs word of all; who only looks for one asks a few at a time, so that many who come at once do not ask each other without end.
 */
import type { ConsensusFrame, Standing } from "../codec/consensus-codec.ts";
import type { BusAddress, BusSender } from "../contracts/bus.ts";
import type { FormationPlan, Founder } from "../contracts/consensus.ts";
import { formatAddress } from "../net-address.ts";
import { majorityOf } from "../protocol/raft/quorum.ts";
import type { PeerId } from "../protocol/raft/types.ts";
import type { Log } from "../world.ts";
import {
  type Expectation,
  type Proposal,
  type Report,
  expectationDigest,
  foundingStep,
  listDigest,
} from "./founding.ts";

/** The pause between two rounds of questions, at first; it doubles while nothing new is heard. */
const ASK_MIN_MS = 100;
/** Answers stay recent with it. */
const ASK_MAX_MS = 1000;
/** How long nothing is promised after a founding that did not come to be: drawn up to this, and twice as much after each further one. */
const QUIET_MS = 100;
const MAX_QUIET_MS = 10_000;
/** Addresses that others have told: more than this are forgotten all at once, and told again. */
const MAX_LEARNED = 1000;
/** Addresses that are told at once. */
const MAX_TOLD = 100;
/** How many are asked in a round by a node that only looks for a group, or for its leader. */
export const FEW = 5;

/** Who this node is at the moment. */
export interface FormationSelf {
  readonly peer: PeerId;
  readonly founder: Founder;
  /** Empty: none. */
  readonly group: string;
  readonly foundingPeers: readonly PeerId[];
  /** Those of them that vote. */
  readonly voters: readonly PeerId[];
  /** The group has had a leader. */
  readonly isEstablished: boolean;
  /** The group knows this node already, and counts on it: it is left for no other. */
  readonly isBound: boolean;
  /** Where members of the group are, as far as this node knows. */
  readonly members: readonly BusAddress[];
}

export interface FormationEvents {
  send(to: BusAddress, frame: ConsensusFrame): void;
  /** The node that is known to be at an address; this one, if it is its own under another name. */
  nodeAt(address: BusAddress): string | undefined;
  /** Whether what a node says of itself makes sense. */
  isCard(nodeId: string, card: string): boolean;
  found(proposal: Proposal): Promise<void>;
  join(group: string): Promise<void>;
  /** Be another identity, and nobody's member: what the present one has promised, or belongs to, comes to nothing. @returns When nothing is left of it. */
  abandon(): Promise<void>;
  fault(error: unknown): void;
  /** Chance: from 0 to 1. */
  fraction(): number;
}

export class Formation {
  /** In words: what a node without a group waits for. */
  waitingFor = "";
  readonly #expectation: Expectation;
  readonly #targets: readonly BusAddress[];
  readonly #self: () => FormationSelf;
  readonly #events: FormationEvents;
  readonly #log: Log;
  #promise: Proposal | undefined;
  readonly #reports = new Map<string, Report>();
  /** Where others say that somebody is. */
  readonly #learned = new Map<string, BusAddress>();
  /** Where one of the few was asked, until all were. */
  readonly #hadTheirTurn = new Set<string>();
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #pauseMs = ASK_MIN_MS;
  /** Foundings that did not come to be. */
  #foundings = 0;
  /** Nothing is promised before. */
  #quietUntilMs = Number.NEGATIVE_INFINITY;
  #isBusy = false;
  #isListTold = false;

  /** @param terms What those who found a group together must agree on, beside who they are. */
  constructor(plan: FormationPlan, maxVoters: number, self: () => FormationSelf, events: FormationEvents, log: Log) {
    this.#self = self;
    this.#events = events;
    this.#log = log;
    if (plan.type === "list") {
      this.#targets = plan.founders.map(({ address }) => address);
      const list = listDigest(plan.founders, maxVoters);
      this.#expectation = { list, count: plan.founders.length, nodes: plan.founders, seeds: "" };
    } else {
      this.#targets = plan.seeds;
      this.#expectation = {
        list: plan.expect === 0 ? "" : expectationDigest(plan.expect, `${plan.terms} ${maxVoters}`),
        count: plan.expect,
        nodes: undefined,
        seeds: plan.seeds.map(formatAddress).join(", "),
      };
    }
  }

  /** It is founding or joining a group at this moment. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** A step of a node that belongs to no group. */
  step(nowMs: number): void {
    const { peer, founder, group } = this.#self();
    if (this.#isBusy || group !== "") return;
    const seeds = this.#targets
      .filter((address) => formatAddress(address) !== formatAddress(founder.address))
      .map((address) => ({ address: formatAddress(address), nodeId: this.#events.nodeAt(address) }));
    const self = { candidate: { ...founder, peer }, promise: this.#promise, seeds };
    const step = foundingStep(self, this.#expectation, this.#reports, nowMs);
    switch (step.type) {
      case "wait":
        this.waitingFor = step.why;
        if (nowMs - this.#askedAtMs >= this.#pauseMs) this.ask(nowMs);
        break;
      case "promise":
        if (nowMs < this.#quietUntilMs) return;
        this.#promise = step.proposal;
        this.ask(nowMs);
        break;
      case "renounce":
        this.#log.info("raft: a founding did not come to be", { reason: step.why });
        // Those who promised past each other must not do it again in step.
        this.#foundings += 1;
        this.#quietUntilMs = nowMs + this.#events.fraction() * Math.min(QUIET_MS * 2 ** this.#foundings, MAX_QUIET_MS);
        this.#abandon(nowMs);
        break;
      case "found":
        this.#run(() => this.#events.found(step.proposal));
        break;
      case "join":
        this.#promise = undefined;
        this.#run(() => this.#events.join(step.group));
        break;
      default:
        step satisfies never;
    }
  }

  /** Asks who they are: everybody, if it would found a group. */
  ask(nowMs: number): void {
    this.#askedAtMs = nowMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, ASK_MAX_MS);
    const frame = { type: "who", standing: this.#standing() } as const;
    if (this.#expectation.count === 0) this.tellFew(frame);
    else for (const address of this.#others().values()) this.#events.send(address, frame);
  }

  /** Sends to a few others that this node knows of: to all in turn, in an order that chance draws. */
  tellFew(frame: ConsensusFrame): void {
    const others = this.#others();
    const rested = [...others].filter(([key]) => !this.#hadTheirTurn.has(key));
    const isLast = rested.length <= FEW;
    if (isLast) this.#hadTheirTurn.clear();
    for (let sent = 0; sent < FEW && rested.length > 0; sent += 1) {
      // Nothing is drawn where all are told.
      const at = isLast ? 0 : Math.floor(this.#events.fraction() * rested.length);
      for (const [key, address] of rested.splice(at, 1)) {
        if (!isLast) this.#hadTheirTurn.add(key);
        this.#events.send(address, frame);
      }
    }
  }

  /** Everybody else that this node knows of, by where they are. */
  #others(): ReadonlyMap<string, BusAddress> {
    const { founder, members } = this.#self();
    const others = new Map<string, BusAddress>();
    for (const address of [...this.#targets, ...this.#learned.values(), ...members]) {
      const key = formatAddress(address);
      if (key !== formatAddress(founder.address) && !others.has(key)) others.set(key, address);
    }
    return others;
  }

  /** Looks for a group at these addresses, too. */
  learn(addresses: readonly BusAddress[]): void {
    for (const address of addresses) {
      const key = formatAddress(address);
      if (this.#learned.has(key)) continue;
      if (this.#learned.size >= MAX_LEARNED) this.#learned.clear();
      this.#learned.set(key, address);
    }
  }

  /** Somebody asks, and tells of itself. */
  asked(from: BusSender, standing: Standing, nowMs: number): void {
    this.#heard(from, standing, nowMs);
    this.#events.send(from.address, { type: "here", standing: this.#standing() });
  }

  /** Somebody has answered. */
  answered(from: BusSender, standing: Standing, nowMs: number): void {
    this.#heard(from, standing, nowMs);
    const { group, isEstablished, isBound } = this.#self();
    // Not while it is still being made: what is written of it would come between what is written of the next one. It is asked again.
    if (
      group !== "" &&
      !isBound &&
      !this.#isBusy &&
      standing.group !== group &&
      standing.isEstablished &&
      !isEstablished
    ) {
      if (this.#expectation.nodes !== undefined && standing.list !== this.#expectation.list) return;
      this.#log.warn("raft: another group lives; this one never did", { group });
      this.#abandon(nowMs);
    }
  }

  #standing(): Standing {
    const { peer, founder, group, foundingPeers, isEstablished, members } = this.#self();
    const fresh = [...this.#reports.values()]
      .filter((report) => report.group === "")
      .map((each) => each.candidate.address);
    return {
      peer,
      founder,
      list: this.#expectation.list,
      promise: this.#promise?.group ?? "",
      group,
      founders: foundingPeers,
      isEstablished,
      known: (group === "" ? fresh : members).slice(0, MAX_TOLD),
    };
  }

  #heard({ nodeId }: BusSender, standing: Standing, nowMs: number): void {
    const { peer, founder, list, promise, group, founders, isEstablished, known } = standing;
    if (founder.nodeId !== nodeId || nodeIdOf(peer) !== nodeId || !this.#events.isCard(nodeId, founder.card)) return;
    const isListed = this.#expectation.nodes === undefined || list === this.#expectation.list;
    if (!isListed) {
      if (list !== "" && this.#expectation.count > 1) this.#warnOfList(nodeId);
      return;
    }
    const before = this.#reports.get(nodeId);
    if (before === undefined && this.#reports.size >= MAX_LEARNED) this.#reports.clear();
    const report = { candidate: { ...founder, peer }, list, promise, group, founders, isEstablished, atMs: nowMs };
    this.#reports.set(nodeId, report);
    if (this.#expectation.nodes === undefined) this.learn([founder.address, ...known]);
    // Not at each promise that is made or taken back: on a slow network questions would fill the links, and every answer would be old.
    if (before === undefined || before.group !== group) this.#pauseMs = ASK_MIN_MS;
    if (this.#self().group === "") this.step(nowMs);
    else this.#lookForLife(nowMs);
  }

  /** Whoever asks once asks many times. */
  #warnOfList(nodeId: string): void {
    if (!this.#isListTold)
      this.#log.warn("raft: a node was started with another list of nodes, or of voters", { nodeId });
    this.#isListTold = true;
  }

  /** Looks whether the own group can still come to life: a founder that is somebody else by now never votes again. */
  #lookForLife(nowMs: number): void {
    const { group, isEstablished, voters } = this.#self();
    // Without voters it is still being made, or is another's.
    if (isEstablished || this.#isBusy || voters.length === 0) return;
    const gone = voters.filter((voter) => {
      const present = this.#reports.get(nodeIdOf(voter));
      return present !== undefined && present.candidate.peer !== voter;
    });
    if (voters.length - gone.length >= majorityOf(voters.length)) return;
    this.#log.warn("raft: this group never had a leader, and too many of its founders are gone", { group });
    this.#abandon(nowMs);
  }

  #abandon(nowMs: number): void {
    this.#promise = undefined;
    this.#run(
      async () => {
        await this.#events.abandon();
      },
      () => this.ask(nowMs),
    );
  }

  #run(work: () => Promise<void>, after?: () => void): void {
    this.#isBusy = true;
    work()
      .catch((thrown: unknown) => this.#events.fault(thrown))
      .finally(() => {
        this.#isBusy = false;
        after?.();
      });
  }
}

/** The node behind an identity. */
export function nodeIdOf(peer: PeerId): string {
  const end = peer.indexOf("/");
  return end < 0 ? peer : peer.slice(0, end);
}
