/** Probes under way: those of this node, and those that it makes for others. What follows from a probe that failed its host decides. */
import type { LocalHealth } from "./local-health.ts";
import type { Member, Members } from "./members.ts";
import type { MembershipOptions } from "./options.ts";
import type { ProbeRing } from "./probe-ring.ts";
import type { Counters, Datagram, NodeId } from "./types.ts";

/** A message, before its sender and what travels along are put in. */
export type Claimless<Message> = Message extends unknown ? Omit<Message, "sender" | "claims"> : never;

/** Probes for others at a time: what a few bad nodes and much loss bring about, and not what somebody makes up. */
const MAX_RELAYS = 256;
/** After so long everything that had come when a deadline was over has been read. */
const TURN_MS = 10;
/** How much a new round trip counts in the smoothed one: as TCP does it. */
const ROUND_TRIP_SHARE = 1 / 8;

/**
 * A probe of one member.
 *
 * 1. A ping goes out. A pong ends it well.
 * 2. Nobody answered in `probeTimeoutMs`: some others are asked to try (`askAtMs`).
 * 3. One of them brings a pong: it ends well. Those that got none say so, which shows that they themselves can be reached.
 * 4. At the end of the period (`failAtMs`) it has failed, and the member is suspected.
 */
interface Probe {
  readonly target: Member;
  readonly sequence: number;
  readonly sentAtMs: number;
  /** `undefined` once others were asked. */
  askAtMs: number | undefined;
  failAtMs: number;
  /** Those that were asked and have not been heard of since. */
  readonly silent: Set<NodeId>;
  /** Its time is over; what has come by then is read first. */
  isOver: boolean;
}

/** A probe that somebody asked for. */
interface Relay {
  readonly asker: NodeId;
  /** The asker's own number for it. */
  readonly sequence: number;
  readonly target: NodeId;
  /** When the asker is told that there was no answer so far; `undefined` once it was. */
  nackAtMs: number | undefined;
  /** An answer after this moment is of no use. */
  readonly endAtMs: number;
}

/** What probes need of the machine. */
export interface ProbesHost {
  readonly id: NodeId;
  readonly members: Members;
  readonly ring: ProbeRing<Member>;
  readonly health: LocalHealth;
  readonly options: MembershipOptions;
  readonly counters: Counters;
  /** @param about What is held of this one goes along. */
  readonly send: (to: NodeId, message: Claimless<Datagram>, about?: Member) => void;
  /** Asks to be called (`runDue`) at a moment at the latest. */
  readonly arm: (atMs: number) => void;
  readonly failed: (target: Member) => void;
}

export class Probes {
  readonly #host: ProbesHost;
  readonly #probes = new Map<NodeId, Probe>();
  readonly #relays = new Map<number, Relay>();
  #sequence: number;

  /** @param sequence Where numbers begin: by chance, so that an earlier run's answers are not taken for this one's. */
  constructor(host: ProbesHost, sequence: number) {
    this.#host = host;
    this.#sequence = sequence;
  }

  has(id: NodeId): boolean {
    return this.#probes.has(id);
  }

  drop(id: NodeId): void {
    this.#probes.delete(id);
  }

  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  /** Gives all that are under way more time. */
  extend(byMs: number): void {
    for (const probe of this.#probes.values()) {
      probe.failAtMs += byMs;
      if (probe.askAtMs !== undefined) probe.askAtMs += byMs;
    }
  }

  /** The earliest moment at which there is something to do. */
  earliest(): number {
    let atMs = Number.POSITIVE_INFINITY;
    for (const { askAtMs, failAtMs } of this.#probes.values()) atMs = Math.min(atMs, askAtMs ?? failAtMs, failAtMs);
    for (const { nackAtMs, endAtMs } of this.#relays.values()) atMs = Math.min(atMs, nackAtMs ?? endAtMs);
    return atMs;
  }

  runDue(nowMs: number): void {
    for (const probe of this.#probes.values()) {
      if (probe.failAtMs <= nowMs) this.#end(probe, nowMs);
      else if (probe.askAtMs !== undefined && probe.askAtMs <= nowMs) {
        probe.askAtMs = undefined;
        for (const id of this.askOthers(probe.target, probe.sequence)) probe.silent.add(id);
      }
    }
    for (const [sequence, relay] of this.#relays) {
      if (relay.endAtMs <= nowMs) this.#relays.delete(sequence);
      else if (relay.nackAtMs !== undefined && relay.nackAtMs <= nowMs) {
        relay.nackAtMs = undefined;
        this.#host.send(relay.asker, { type: "ping-req-nack", sequence: relay.sequence, target: relay.target });
      }
    }
  }

  /** Begins one, if none of the member is under way. */
  begin(target: Member, nowMs: number): void {
    if (this.#probes.has(target.id)) return;
    const { options, health, counters, send, arm } = this.#host;
    const askAtMs = nowMs + options.probeTimeoutMs * health.factor;
    const sequence = this.nextSequence();
    this.#probes.set(target.id, {
      target,
      sequence,
      sentAtMs: nowMs,
      askAtMs,
      failAtMs: nowMs + options.probeMs * health.factor,
      silent: new Set(),
      isOver: false,
    });
    target.pingedAtMs ??= nowMs;
    counters.probes += 1;
    send(target.id, { type: "ping", sequence });
    arm(askAtMs);
  }

  /** Asks others to probe a member, and tells them what is held against it: they may know better. @returns Whom. */
  askOthers(target: Member, sequence: number): readonly NodeId[] {
    const { ring, options, send } = this.#host;
    const helpers = ring.some(options.indirectProbes, (member) => member.state === "alive" && member !== target);
    for (const { id } of helpers) send(id, { type: "ping-req", sequence, target: target.id }, target);
    return helpers.map(({ id }) => id);
  }

  /** Somebody asks for one. */
  relay(asker: NodeId, sequence: number, target: NodeId, nowMs: number): void {
    const { id, members, counters, options, send, arm } = this.#host;
    if (members.get(target) === undefined || target === id) return;
    if (this.#relays.size >= MAX_RELAYS) {
      counters.refusedRequests += 1;
      return;
    }
    const own = this.nextSequence();
    const nackAtMs = nowMs + options.probeTimeoutMs;
    this.#relays.set(own, { asker, sequence, target, nackAtMs, endAtMs: nowMs + options.probeMs });
    send(target, { type: "ping", sequence: own });
    arm(nackAtMs);
  }

  /** A member has answered. */
  pong(member: Member, sequence: number, nowMs: number): void {
    const relay = this.#relays.get(sequence);
    if (relay?.target === member.id) {
      this.#relays.delete(sequence);
      this.#host.send(relay.asker, { type: "ping-req-pong", sequence: relay.sequence, target: relay.target });
      return;
    }
    const probe = this.#probes.get(member.id);
    if (probe?.sequence !== sequence) return;
    const roundTripMs = nowMs - probe.sentAtMs;
    const beforeMs = member.roundTripMs ?? roundTripMs;
    member.roundTripMs = beforeMs + (roundTripMs - beforeMs) * ROUND_TRIP_SHARE;
    this.#succeed(probe, nowMs);
  }

  /** Somebody who was asked to try has an answer, or has got none so far. */
  helped(helper: NodeId, target: NodeId, sequence: number, hasAnswer: boolean, nowMs: number): void {
    const probe = this.#probes.get(target);
    if (probe?.sequence !== sequence) return;
    if (hasAnswer) this.#succeed(probe, nowMs);
    else probe.silent.delete(helper);
  }

  #succeed({ target }: Probe, nowMs: number): void {
    this.#probes.delete(target.id);
    target.pingedAtMs = undefined;
    target.pongedAtMs = nowMs;
    this.#host.health.change(-1);
  }

  /** A probe's time is over: it has failed, unless its answer lies in the socket. A stop that ends just after the deadline is not seen as one. */
  #end(probe: Probe, nowMs: number): void {
    const { target } = probe;
    if (!probe.isOver) {
      probe.isOver = true;
      probe.failAtMs = nowMs + TURN_MS;
      return;
    }
    const { members, ring, health, counters, failed } = this.#host;
    this.#probes.delete(target.id);
    counters.failedProbes += 1;
    // Helpers that have said something show that it is not this node which is cut off. Where there were none, nothing shows it. One that is being probed as
    // well, or suspected, may be as dead as the target: several nodes can die at once.
    const isCounted = (id: NodeId): boolean => members.get(id)?.state === "alive" && !this.#probes.has(id);
    const wasHelped = probe.askAtMs === undefined && ring.size > 1;
    health.change(wasHelped ? [...probe.silent].filter(isCounted).length : 1);
    failed(target);
  }
}
