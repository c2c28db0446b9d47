/**
 * Coming into the group, and going out of it: what members do with the word of nodes that ask for the one or the other. A member that does not lead passes it
 * on; the leader asks the replicated state whether it knows the node, and changes the members.
 */
import type { ConsensusFrame } from "../codec/consensus-codec.ts";
import type { BusAddress } from "../contracts/bus.ts";
import type { ReplicatedState } from "../contracts/consensus.ts";
import type { Raft } from "../protocol/raft/machine.ts";
import type { ConfigurationChange, Member, PeerId } from "../protocol/raft/types.ts";
import { formatAddress } from "../net-address.ts";
import type { Clock } from "../world.ts";
import { nodeIdOf } from "./formation.ts";
import type { KnownPeers } from "./known-peers.ts";

type Join = Extract<ConsensusFrame, { readonly type: "join" }>;
type Leave = Extract<ConsensusFrame, { readonly type: "leave" }>;

/** A frame that looks for the leader is passed on so often. */
const MAX_HOPS = 3;
/** Nodes that are being taken in at a time: more are asked to come again by getting no answer. */
const MAX_INTRODUCED = 100;
/** Identities that wait to be learners: more are asked to come again, likewise. */
const MAX_WAITING = 1000;

/**
 * Who has said nothing for so long has gone: another start of the same node may take its place, wherever it is. Members answer a leader several times a second, so that
 * one that is there is silent for so long only if its machine stands still.
 */
export const GONE_MS = 3000;

/** Why a second node of one name is not taken in, in words. */
export function rivalText(nodeId: string, { host, port }: BusAddress): string {
  return `node ${nodeId} is a member already, at ${formatAddress({ host, port })}, and alive: two nodes were started with one --name. Start one of them with a name of its own; if that one is stopped, this one is taken in after ${GONE_MS} ms`;
}

/** What a member is and can do. */
export interface AdmissionHost {
  readonly group: () => string;
  readonly peer: () => PeerId;
  readonly machine: () => Raft | undefined;
  /** It leads, and has applied all that it has. */
  readonly isReady: () => boolean;
  readonly state: () => ReplicatedState;
  readonly known: KnownPeers;
  readonly clock: Clock;
  sendTo(to: BusAddress, frame: ConsensusFrame): void;
  sendToPeer(to: PeerId, frame: ConsensusFrame): void;
  change(change: ConfigurationChange): void;
  /** Looks at once whether the right members vote. */
  manageVoters(): void;
}

export class Admission {
  readonly #host: AdmissionHost;
  /** Nodes that the state is being asked to take in. */
  readonly #introduced = new Set<string>();
  /**
   * Those that will be learners by the next change: while one is under way others gather, so that many which come at once cost few changes. Nobody waits long: the
   * map names them already, so others expect them to answer.
   */
  readonly #waiting = new Map<PeerId, Member>();
  /** In which term they asked. */
  #term = 0;

  constructor(host: AdmissionHost) {
    this.#host = host;
  }

  isMember(id: PeerId): boolean {
    return (this.#host.machine()?.configuration.members ?? []).some((member) => member.id === id);
  }

  /** Once it is committed: a voter that goes sooner is missed, if the leader is lost and its successor knows nothing of it. */
  tellRemoved(to: BusAddress, id: PeerId): void {
    const { group, state } = this.#host;
    const machine = this.#host.machine();
    if (machine === undefined || machine.log.configurationIndex > machine.log.commitIndex || this.isMember(id)) return;
    const isBarred = state().standingOf(nodeIdOf(id)) !== "member";
    this.#host.sendTo(to, { type: "removed", group: group(), peer: id, isBarred });
  }

  /** A node would be a learner. */
  admit(frame: Join): void {
    const { isReady, known, state } = this.#host;
    const { member } = frame;
    if (!isReady()) {
      const place = this.#leaderPlace(member);
      if (place === undefined) this.#passOn(frame);
      else this.#refuse(member, rivalText(nodeIdOf(member.id), place));
      return;
    }
    known.isAt(member.id, member);
    if (this.isMember(member.id)) return;
    const standing = state().standingOf(nodeIdOf(member.id));
    if (standing === "removed") this.tellRemoved(member, member.id);
    else if (standing === "unknown") void this.#introduce(frame);
    else {
      const place = this.#rivalPlace(member);
      if (place !== undefined) {
        this.#refuse(member, rivalText(nodeIdOf(member.id), place));
        return;
      }
      const waiting = this.#waitingNow();
      if (waiting.size < MAX_WAITING) waiting.set(member.id, member);
      this.takeIn();
    }
  }

  /** Makes learners of all that wait, if the last change of members is committed. Called when one has been, and nothing is to be done about who votes. */
  takeIn(): void {
    const machine = this.#host.machine();
    const waiting = this.#waitingNow();
    if (machine === undefined || waiting.size === 0 || machine.log.configurationIndex > machine.log.commitIndex) return;
    const members = [...waiting.values()].filter(({ id }) => this.#host.state().standingOf(nodeIdOf(id)) === "member");
    waiting.clear();
    if (members.length > 0) this.#host.change({ type: "add-learners", members });
  }

  /** Those of earlier terms have asked another leader meanwhile, or are there no more. */
  #waitingNow(): Map<PeerId, Member> {
    const term = this.#host.machine()?.term ?? 0;
    if (term !== this.#term) this.#waiting.clear();
    this.#term = term;
    return this.#waiting;
  }

  /**
   * Where a node of the same id is a member and alive: it stays, and the other one is not taken in. Else:
   * 1. B starts under the name of A, which is a member, somewhere else. Its id is A's, its start another.
   * 2. It is admitted as a later start of A. For all others A has ended.
   * 3. A asks to be admitted, as a later start of B; and so on for ever.
   *
   * That it is the same node which has started again shows in two ways: it is where it was, so that nobody else is there any more; or the earlier start says nothing.
   */
  #rivalPlace({ id: asking, host, port }: Member): BusAddress | undefined {
    const { known, clock } = this.#host;
    const nowMs = clock.monotonicMs();
    const members = this.#host.machine()?.configuration.members ?? [];
    // Two that ask at the same time are rivals as well.
    for (const member of [...members, ...this.#waitingNow().values()]) {
      if (member.id === asking || nodeIdOf(member.id) !== nodeIdOf(asking)) continue;
      const place = known.address(member.id) ?? member;
      const isElsewhere = place.host !== host || place.port !== port;
      const isAlive = member.id === this.#host.peer() || known.silentMs(member.id, nowMs) < GONE_MS;
      if (isElsewhere && isAlive) return place;
    }
    return undefined;
  }

  /** Where the leader is, if a node elsewhere goes by its id: those two get no link to each other, so that it is told here. */
  #leaderPlace({ id, host, port }: Member): BusAddress | undefined {
    const raft = this.#host.machine();
    const leading = raft?.configuration.members.find((member) => member.id === raft.leader);
    if (leading === undefined || leading.id === id || nodeIdOf(leading.id) !== nodeIdOf(id)) return undefined;
    const place = this.#host.known.address(leading.id) ?? leading;
    return place.host === host && place.port === port ? undefined : place;
  }

  /** A member asks to be taken out, or one that is no member does not know it. */
  dismiss(from: BusAddress, frame: Leave): void {
    const { isReady, state } = this.#host;
    if (!isReady()) this.#passOn(frame);
    // Word that it is out may have been lost. Only that of its own asking tells where it is.
    else if (!this.isMember(frame.peer) && frame.hops === 0) this.tellRemoved(from, frame.peer);
    // One that the state does not admit stays here and votes until the rest can do without it; one that stops does not.
    else if (state().standingOf(nodeIdOf(frame.peer)) !== "member") this.#host.manageVoters();
    else this.#host.change({ type: "remove", id: frame.peer });
  }

  /** The state is asked to take a node in, which is then a learner; or is told why it is not. */
  async #introduce(frame: Join): Promise<void> {
    const { member, card } = frame;
    const nodeId = nodeIdOf(member.id);
    if (this.#introduced.has(nodeId) || this.#introduced.size >= MAX_INTRODUCED) return;
    this.#introduced.add(nodeId);
    const reason = await this.#host.state().introduce(nodeId, card);
    this.#introduced.delete(nodeId);
    if (reason === undefined) this.admit(frame);
    else this.#refuse(member, reason);
  }

  #refuse(member: Member, reason: string): void {
    this.#host.sendTo(member, { type: "refused", group: this.#host.group(), peer: member.id, reason });
  }

  #passOn(frame: Join | Leave): void {
    const { peer, machine } = this.#host;
    const to = machine()?.leader;
    if (to === undefined || to === peer() || frame.hops >= MAX_HOPS) return;
    this.#host.sendToPeer(to, { ...frame, hops: frame.hops + 1 });
  }
}
