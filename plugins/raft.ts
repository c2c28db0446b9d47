/**
 * raft: one log that the cluster agrees on.
 *
 * Promises: what was answered as done is never lost while a majority of the voters keeps its memory; every node applies the same records in the same
 * order; without a majority nothing is agreed, and whoever asks is told so, or is told that nobody knows.
 *
 * How: the machine in `src/protocol/raft/` decides, this plugin runs it: time (ticks), the bus (messages), the disk (`RaftStorage`), and what is replicated,
 * which another plugin attaches (`topology`). Beside that it
 * - founds the group from a list of addresses, or joins the one that is there (`founding.ts`);
 * - takes requests to the leader and tells what became of them (`request-queue.ts`);
 * - sees, while it leads, that the right members vote (`voter-step.ts`);
 * - makes snapshots, so that the log stays short.
 *
 * A node without a data directory is another member each time that it starts: it never votes twice, and never pretends to have what it has lost.
 */
import { Buffer } from "node:buffer";
import { Type } from "@sinclair/typebox";
import { assert } from "../src/assert.ts";
import { type ConsensusFrame, encodeConsensusFrame, readConsensusFrame } from "../src/codec/consensus-codec.ts";
import { Barriers } from "../src/consensus/barriers.ts";
import { Formation, nodeIdOf } from "../src/consensus/formation.ts";
import { groupOf, listDigest } from "../src/consensus/founding.ts";
import { KnownPeers } from "../src/consensus/known-peers.ts";
import { RaftDriver } from "../src/consensus/raft-driver.ts";
import { RaftStorage } from "../src/consensus/raft-storage.ts";
import { type PendingRequest, RequestQueue } from "../src/consensus/request-queue.ts";
import { voterStep } from "../src/consensus/voter-step.ts";
import { type BusAddress, BusChannel, type BusSender, busService } from "../src/contracts/bus.ts";
import {
  type Applied,
  type Consensus,
  type ConsensusStatus,
  type Founder,
  type ReplicatedState,
  type RequestOutcome,
  consensusService,
} from "../src/contracts/consensus.ts";
import { definePlugin } from "../src/plugin.ts";
import {
  type DurableState,
  type Entry,
  type Member,
  type PeerId,
  RAFT_DEFAULTS,
  type Role,
  type Snapshot,
} from "../src/protocol/raft/types.ts";
import type { Raft } from "../src/protocol/raft/machine.ts";
import { foundingVoters } from "../src/protocol/voters.ts";

const settingsSchema = Type.Object({
  tickMs: Type.Integer({
    description:
      "The grain of Raft's time, in milliseconds. Heartbeats and elections are counted in it; a finer one wakes idle nodes more often.",
    default: 50,
    minimum: 1,
  }),
  heartbeatMs: Type.Integer({
    description: "How often a leader tells that it leads, in milliseconds.",
    default: 100,
    minimum: 1,
  }),
  electionMs: Type.Integer({
    description:
      "After how long without a leader a voter stands for election: drawn between this and twice as much, in milliseconds. Shorter finds a new leader sooner, and takes a slow one for dead sooner.",
    default: 500,
    minimum: 10,
  }),
  maxVoters: Type.Integer({
    description:
      "How many members vote at most: 1, 3 or 5. Three go on without any one of them, five without any two, at the price of more messages for each change.",
    default: 3,
    minimum: 1,
    maximum: 5,
  }),
  replaceAfterMs: Type.Integer({
    description:
      "A voter that has not been heard for so long is replaced by another member, if there is one, in milliseconds.",
    default: 60_000,
    minimum: 1000,
  }),
  snapshotBytes: Type.Integer({
    description: "Bytes of log after which a snapshot takes its place.",
    default: 1024 * 1024,
    minimum: 1024,
  }),
  snapshotMs: Type.Integer({
    description: "A log that has grown at all is put into a snapshot after so long, in milliseconds.",
    default: 3_600_000,
    minimum: 1000,
  }),
  requestMs: Type.Integer({
    description:
      "How long a change of the cluster map may take before it is answered as refused or unknown, in milliseconds.",
    default: 5000,
    minimum: 10,
  }),
  zone: Type.String({ description: "Where this node stands: voters are spread over zones.", default: "" }),
});

/** What this plugin provides, with the machine behind it: for checkers, which look at it and change nothing. */
export interface RaftConsensus extends Consensus {
  readonly machine: Raft | undefined;
}

/** How often a leader looks whether the right members vote. */
const VOTERS_MS = 500;
/** Entries are not sent to a node for which so much waits already. */
const MAX_BACKLOG_BYTES = 128 * 1024;
/** A frame that looks for the leader is passed on so often. */
const MAX_HOPS = 3;
/** How long a node that stops waits for others to go on without it. */
const FAREWELL_MS = 1000;
const FAREWELL_STEP_MS = 10;
/** How long a node that was reset waits for its group to let it go, and how often it asks. Longer than two elections take. */
const LEAVE_MS = 5000;
const LEAVE_STEP_MS = 50;

export default definePlugin({
  name: "raft",
  summary: "Agrees with the other nodes on one log, so that all have the same cluster map.",
  requires: { bus: busService },
  provides: { consensus: consensusService },
  settings: settingsSchema,
  setup(context) {
    const { core, hooks, node, settings, world } = context;
    const { bus } = context.requires;
    const { clock, disk, log, random } = world;
    const hex = (bytes: number): string => Buffer.from(random.bytes(bytes)).toString("hex");
    const hasDisk = core.dataDir !== undefined;

    let state: ReplicatedState | undefined;
    let founders: readonly Founder[] = [];
    let list = "";
    let formation: Formation | undefined;
    /** This node's identity in the group; another one at each start without a disk. */
    let peer: PeerId = `${node.id}/${hex(4)}`;
    let group = "";
    let foundingPeers: readonly PeerId[] = [];
    let driver: RaftDriver | undefined;
    let isOut = false;
    let isStopping = false;
    let isEstablished = false;
    const requests = new RequestQueue(hex(6));
    let lastProposal = 0;
    /** Proposals that the machine has not answered yet, by its number for them. */
    const proposals = new Map<number, { readonly record: Uint8Array; readonly refused: (reason: string) => void }>();
    const barriers = new Barriers(clock);
    /** Among them those that the configuration does not name (yet). */
    const known = new KnownPeers();
    let malformedFrames = 0;
    let bytesSinceSnapshot = 0;
    let snapshotAtMs = clock.monotonicMs();
    let whenEstablished: (() => void) | undefined;

    const ticks = (ms: number): number => Math.max(1, Math.round(ms / settings.tickMs));
    const machine = (): Raft | undefined => driver?.machine;
    const isReady = (): boolean => machine()?.leadership?.hasCommittedInTerm === true;
    const leader = (): PeerId | undefined => machine()?.leader;
    const addressOf = (id: PeerId): BusAddress | undefined =>
      machine()?.configuration.members.find((member) => member.id === id) ?? known.address(id);
    /** @returns False if it will not arrive. */
    const sendTo = (address: BusAddress | undefined, frame: ConsensusFrame): boolean =>
      address !== undefined && bus.send(address, BusChannel.consensus, encodeConsensusFrame(frame));
    const ownMember = (): Member => ({
      id: peer,
      isVoter: false,
      ...bus.address,
      zone: settings.zone,
      isWitness: founders.find((founder) => founder.nodeId === node.id)?.isWitness ?? false,
    });

    // --- the machine ---

    const attached = (): ReplicatedState => {
      assert(state !== undefined, "something is replicated");
      return state;
    };

    const settle = (index: number, { requestId, outcome, rejection }: Applied): void => {
      requests.settle(
        requestId,
        rejection === undefined ? { type: "done", index, outcome } : { type: "rejected", reason: rejection },
      );
    };
    const applyEntries = (entries: readonly Entry[]): void => {
      for (const { index, data } of entries) {
        if (data === undefined) continue;
        bytesSinceSnapshot += data.length;
        settle(index, attached().apply(index, data));
      }
      if (bytesSinceSnapshot > settings.snapshotBytes) takeSnapshot();
    };
    const takeSnapshot = (): void => {
      bytesSinceSnapshot = 0;
      snapshotAtMs = clock.monotonicMs();
      const index = machine()?.log.appliedIndex ?? 0;
      driver?.input({ type: "compact", index, data: attached().snapshot() });
    };
    const restore = ({ index, data }: Snapshot): void => {
      if (data.length > 0) attached().restore(index, data);
      for (const { id } of requests) {
        const applied = attached().outcomeOf(id);
        if (applied !== undefined) settle(index, applied);
      }
    };
    /** Says to the state that this node leads as soon as it has applied all that it has, and not before. */
    let isLeading = false;
    const tellLeading = (): void => {
      const isLeadingNow = isReady();
      if (isLeadingNow === isLeading) return;
      isLeading = isLeadingNow;
      attached().lead(isLeading);
      if (isLeading) {
        isEstablished = true;
        known.listenAnew();
        log.info("raft: this node leads", { term: machine()?.term ?? 0 });
      }
    };

    const begin = (storage: RaftStorage | undefined, durable: DurableState): void => {
      driver = new RaftDriver(
        {
          ...RAFT_DEFAULTS,
          id: peer,
          state: durable,
          random,
          heartbeatTicks: ticks(settings.heartbeatMs),
          electionTicks: ticks(settings.electionMs),
        },
        storage,
        {
          send: (to, message) => {
            const address = addressOf(to);
            // What would wait behind all that is out of date when it arrives. It is sent anew; heartbeats, which ask for it, go on.
            const isBulk = message.type === "snapshot" || (message.type === "append" && message.entries.length > 0);
            if (address === undefined || (isBulk && bus.queuedBytes(address) > MAX_BACKLOG_BYTES)) return;
            sendTo(address, { type: "raft", group, from: peer, to, message });
          },
          apply: (entries) => {
            applyEntries(entries);
            tellLeading();
          },
          restore: (snapshot) => {
            restore(snapshot);
            snapshotAtMs = clock.monotonicMs();
            bytesSinceSnapshot = 0;
          },
          role: (role: Role, term, leading) => {
            log.debug("raft role", { role, term, leader: leading ?? "none" });
            if (leading !== undefined) isEstablished = true;
            tellLeading();
            requests.leaderChanged(clock.monotonicMs());
          },
          proposed: (id, index) => {
            const proposal = proposals.get(id);
            proposals.delete(id);
            if (proposal !== undefined) attached().accepted(index, proposal.record);
          },
          refused: (id, reason) => {
            proposals.get(id)?.refused(reason);
            proposals.delete(id);
          },
          read: (id, index) => {
            // Whatever is committed is applied in the same step.
            barriers.settle(id, index > 0 && (machine()?.log.appliedIndex ?? 0) >= index);
          },
          fault: (error) => context.fault(error),
        },
      );
      if (durable.snapshot.index > 0) restore(durable.snapshot);
      if (driver.machine.voters.length === 1 || foundingPeers[0] === peer) driver.input({ type: "campaign" });
    };

    // --- founding and joining ---

    const identityOf = (): { readonly group: string; readonly peer: PeerId } => ({ group, peer });
    const create = async (snapshot: Snapshot): Promise<void> => {
      const storage = hasDisk ? await RaftStorage.create(disk, identityOf(), snapshot) : undefined;
      if (isStopping) return;
      begin(storage, { term: 0, votedFor: undefined, snapshot, entries: [] });
    };
    const found = async (
      peers: readonly PeerId[],
      name: string,
      data: Uint8Array = attached().founding,
    ): Promise<void> => {
      group = name;
      foundingPeers = peers;
      const voters = foundingVoters(founders.length, settings.maxVoters);
      const peerOf = new Map(peers.map((each) => [nodeIdOf(each), each]));
      const members = founders.map(({ nodeId, address, zone, isWitness }, at): Member => {
        const id = peerOf.get(nodeId);
        assert(id !== undefined, "every founder has an identity");
        return { id, isVoter: at < voters, host: address.host, port: address.port, zone, isWitness };
      });
      log.info("raft: group founded", { group, members: members.length, voters });
      await create({ index: 1, term: 0, configuration: { members }, data });
    };
    const join = async (name: string): Promise<void> => {
      group = name;
      log.info("raft: joining the group that is there", { group });
      await create({ index: 0, term: 0, configuration: { members: [] }, data: new Uint8Array(0) });
    };

    /** Asks to be taken in by the group that is there. */
    const askToJoin = (): void => formation?.tellOthers({ type: "join", group, member: ownMember(), hops: 0 });
    const abandon = async (): Promise<void> => {
      const stopped = driver?.stop();
      driver = undefined;
      group = "";
      foundingPeers = [];
      peer = `${node.id}/${hex(4)}`;
      // What the old identity still writes must not come into the files of the new one.
      await stopped;
    };

    const foundersAre = (nodes: readonly Founder[]): void => {
      founders = nodes;
      list = listDigest(founders, settings.maxVoters);
      formation = new Formation(
        list,
        founders,
        foundingVoters(founders.length, settings.maxVoters),
        () => ({ nodeId: node.id, peer, group, foundingPeers, voters: machine()?.voters ?? [], isEstablished }),
        { send: sendTo, found, join, abandon, fault: (error) => context.fault(error) },
        log,
      );
    };

    // --- frames ---

    const tellRemoved = (to: BusAddress, id: PeerId): void =>
      void sendTo(to, { type: "removed", group, peer: id, isBarred: !attached().admits(nodeIdOf(id)) });
    /** Passes a frame on to the leader. */
    const passOn = (frame: Extract<ConsensusFrame, { readonly type: "join" | "leave" }>): void => {
      const to = leader();
      if (to !== undefined && to !== peer && frame.hops < MAX_HOPS) {
        sendTo(addressOf(to), { ...frame, hops: frame.hops + 1 });
      }
    };
    const change = (what: Parameters<RaftDriver["input"]>[0] & { readonly type: "change" }): void =>
      driver?.input(what);
    const admit = (frame: Extract<ConsensusFrame, { readonly type: "join" }>): void => {
      if (!isReady()) {
        passOn(frame);
        return;
      }
      const { member } = frame;
      known.isAt(member.id, member);
      if (!attached().admits(nodeIdOf(member.id))) {
        tellRemoved(member, member.id);
        return;
      }
      const members = machine()?.configuration.members ?? [];
      if (members.some((each) => each.id === member.id)) return;
      change({ type: "change", id: 0, change: { type: "add-learner", member } });
    };
    const dismiss = (from: BusSender, frame: Extract<ConsensusFrame, { readonly type: "leave" }>): void => {
      const isMember = (machine()?.configuration.members ?? []).some(({ id }) => id === frame.peer);
      if (!isReady()) passOn(frame);
      // Word that it is out may have been lost. Only that of its own asking tells where it is.
      else if (!isMember && frame.hops === 0) tellRemoved(from.address, frame.peer);
      else change({ type: "change", id: 0, change: { type: "remove", id: frame.peer } });
    };
    const received = (from: BusSender, bytes: Uint8Array): void => {
      const frame = readConsensusFrame(bytes);
      if (frame === undefined) {
        malformedFrames += 1;
        if (malformedFrames === 1) log.warn("raft: a frame that makes no sense", { from: from.nodeId });
        return;
      }
      switch (frame.type) {
        case "raft":
          if (driver === undefined || frame.group !== group || frame.to !== peer) return;
          known.isAt(frame.from, from.address);
          known.heard(frame.from, clock.monotonicMs());
          if (isReady() && !(machine()?.configuration.members ?? []).some((each) => each.id === frame.from)) {
            tellRemoved(from.address, frame.from);
            return;
          }
          driver.input({ type: "message", from: frame.from, message: frame.message });
          break;
        case "who":
          formation?.asked(from, frame, clock.monotonicMs());
          break;
        case "here":
          formation?.answered(from.nodeId, frame, clock.monotonicMs());
          break;
        case "join":
          if (frame.group === group) admit(frame);
          break;
        case "leave":
          if (frame.group === group) dismiss(from, frame);
          break;
        case "removed":
          if (frame.group === group && frame.peer === peer && !isStopping) removed(frame.isBarred);
          break;
        case "request":
          if (frame.group !== group) return;
          lead(
            frame.id,
            frame.request,
            frame.isRetry,
            (isRejected, reason) => void sendTo(from.address, { type: "verdict", id: frame.id, isRejected, reason }),
          );
          break;
        case "verdict":
          verdict(frame.id, frame.isRejected, frame.reason);
          break;
        default:
          frame satisfies never;
      }
    };
    const removed = (isBarred: boolean): void => {
      if (isOut) return;
      // Late word of an earlier identity of this node took the place of this one, which has all that it ever had: it asks to come back.
      if (!isBarred) return askToJoin();
      log.warn("raft: this node was taken out of the cluster", { group, peer });
      isOut = true;
      void driver?.stop();
      // Nobody will answer any more.
      requests.close();
    };

    // --- leaving, and beginning alone ---

    /** Waits for something. @param urge Done before each look but the first. */
    const within = async (
      limitMs: number,
      stepMs: number,
      isDone: () => boolean,
      urge?: () => void,
    ): Promise<boolean> => {
      const endAtMs = clock.monotonicMs() + limitMs;
      while (!isDone() && clock.monotonicMs() < endAtMs) {
        urge?.();
        await new Promise<void>((resolve) => {
          clock.after(stepMs, resolve);
        });
      }
      return isDone();
    };
    /** Waits until the group counts on this node no more: a voter that just went would be missed by the others. */
    const letGo = (): Promise<boolean> => {
      const isFree = (): boolean =>
        isOut || driver?.machine.isMember !== true || driver.machine.configuration.members.length === 1;
      return within(LEAVE_MS, LEAVE_STEP_MS, isFree, () => {
        const to = leader();
        if (isReady()) manageVoters();
        else if (to !== undefined && to !== peer) sendTo(addressOf(to), { type: "leave", group, peer, hops: 0 });
      });
    };
    const leave = async (): Promise<string | undefined> => {
      if (formation?.isBusy === true) return "the group is being founded";
      if (!(await letGo())) {
        return "this node is out of the map, but the group has not let it go yet: that takes a leader and a majority";
      }
      // 1. Whoever asks hears nothing of this node: it is neither fresh nor a member.
      formation = undefined;
      // 2. What waits for the old group waits no more.
      const left = driver;
      driver = undefined;
      if (isLeading) attached().lead(false);
      isLeading = false;
      group = "";
      requests.close();
      proposals.clear();
      barriers.close();
      await left?.stop();
      return undefined;
    };
    const foundAlone = async (founder: Founder, founding: Uint8Array): Promise<void> => {
      assert(driver === undefined && formation === undefined, "a node leaves its group before it founds another");
      known.clear();
      bytesSinceSnapshot = 0;
      foundersAre([founder]);
      peer = `${node.id}/${hex(4)}`;
      await found([peer], groupOf(list, [peer]), founding);
      isOut = false;
      await within(FAREWELL_MS, FAREWELL_STEP_MS, isReady);
    };

    // --- requests ---

    /** The leader's part: decides, and puts what it decided into the log. */
    const lead = (
      id: string,
      request: Uint8Array,
      isRetry: boolean,
      answer: (isRejected: boolean, reason: string) => void,
    ): void => {
      if (driver === undefined || !isReady()) {
        answer(false, "the node that was asked does not lead");
        return;
      }
      if (driver.isBusy) {
        // What is being carried out may change what the decision rests on.
        clock.soon(() => lead(id, request, isRetry, answer));
        return;
      }
      const decision = attached().decide(id, request);
      if (decision.type === "settled") return;
      if (decision.type === "rejected" && !isRetry) {
        answer(true, decision.reason);
        return;
      }
      lastProposal += 1;
      proposals.set(lastProposal, { record: decision.record, refused: (reason) => answer(false, reason) });
      driver.input({ type: "propose", id: lastProposal, data: decision.record });
    };
    const verdict = (id: string, isRejected: boolean, reason: string): void => {
      if (isRejected) requests.rejected(id, reason);
      else requests.refused(id, reason, clock.monotonicMs(), reason === "overloaded" || reason === "too-large");
    };
    const ask = (pending: PendingRequest): void => {
      const to = leader();
      if (to === undefined || isOut) return;
      const { id, request } = pending;
      const isRetry = pending.copies > 0;
      requests.given(pending, clock.monotonicMs());
      if (to === peer) lead(id, request, isRetry, (isRejected, reason) => verdict(id, isRejected, reason));
      else if (!sendTo(addressOf(to), { type: "request", group, id, isRetry, request })) {
        requests.refused(id, "the leader cannot be reached", clock.monotonicMs());
      }
    };

    // --- time ---

    const manageVoters = (): void => {
      const raft = machine();
      if (raft === undefined || !isReady()) return;
      const nowMs = clock.monotonicMs();
      const silentMs = (id: PeerId): number => known.silentMs(id, nowMs);
      const admits = (id: string): boolean => attached().admits(id);
      const next = voterStep(raft, { peer, nodeOf: nodeIdOf, admits, silentMs }, settings);
      if (next === undefined) return;
      log.info("raft: changing who votes", { change: next.type === "change" ? next.change.type : next.type });
      driver?.input(next);
    };

    let sinceVotersMs = 0;
    const tick = (): void => {
      const nowMs = clock.monotonicMs();
      if (driver === undefined) {
        if (!isOut) formation?.step(nowMs);
      } else if (!isOut) {
        driver.input({ type: "tick" });
        // Its own log may name it by an entry that was never committed: a member that nobody leads asks again, which costs a member nothing.
        const isLed = driver.machine.isMember && driver.machine.leaderHeardTicksAgo < 4 * ticks(settings.electionMs);
        sinceVotersMs += settings.tickMs;
        if (sinceVotersMs >= VOTERS_MS) {
          sinceVotersMs = 0;
          manageVoters();
          if (!isLed) askToJoin();
          if (!isEstablished) formation?.ask();
        }
        if (bytesSinceSnapshot > 0 && nowMs - snapshotAtMs > settings.snapshotMs) takeSnapshot();
      }
      for (const pending of requests.due(nowMs)) ask(pending);
      if (isEstablished) whenEstablished?.();
    };

    // --- life ---

    const open = async (): Promise<void> => {
      const opened = hasDisk ? await RaftStorage.open(disk) : undefined;
      // A node that was stopped while it was being reset may have left a member's memory that is not this node's.
      if (opened === undefined || nodeIdOf(opened.storage.identity.peer) !== node.id) {
        if (founders.length === 1) await found([peer], groupOf(list, [peer]));
        else formation?.step(clock.monotonicMs());
        return;
      }
      const { storage, stored } = opened;
      ({ group, peer } = stored.identity);
      foundingPeers = stored.state.snapshot.configuration.members.map((member) => member.id);
      isEstablished = stored.state.term > 0;
      if (stored.tornBytes > 0) log.warn("raft: a torn end of the log was cut off", { bytes: stored.tornBytes });
      begin(storage, stored.state);
    };
    context.on(
      hooks.start,
      async () => {
        if (state === undefined) return;
        bus.receive(BusChannel.consensus, received);
        const established = new Promise<void>((resolve) => {
          whenEstablished = resolve;
        });
        await open();
        context.every(settings.tickMs, tick);
        // A group of one needs nobody else: it is there when the node is.
        const isAlone = machine()?.voters.length === 1 && machine()?.isVoter === true;
        if (isAlone && !isReady()) await established;
      },
      { order: "pre" },
    );

    context.on(hooks.stop, async () => {
      isStopping = true;
      const nowMs = clock.monotonicMs();
      const raft = machine();
      if (raft !== undefined && raft.isVoter && raft.voters.length > 1 && !isOut) {
        // 1. Somebody else leads. 2. A voter that forgets everything stops being one, so that the rest need not wait for it.
        const heir = raft.voters
          .filter((id) => id !== peer)
          .toSorted((a, b) => known.silentMs(a, nowMs) - known.silentMs(b, nowMs))[0];
        if (raft.role === "leader" && heir !== undefined) {
          driver?.input({ type: "transfer", target: heir });
          await within(FAREWELL_MS, FAREWELL_STEP_MS, () => raft.role !== "leader" && raft.leader !== undefined);
        }
        const to = leader();
        if (!hasDisk && to !== undefined && to !== peer) {
          sendTo(addressOf(to), { type: "leave", group, peer, hops: 0 });
          await within(FAREWELL_MS, FAREWELL_STEP_MS, () => !raft.isVoter);
        }
      }
      requests.close();
      barriers.close();
      await driver?.stop();
    });

    context.on(hooks.info, () => ({
      section: "cluster",
      fields: {
        raft_role: isOut ? "out" : (machine()?.role ?? "forming"),
        raft_term: machine()?.term ?? 0,
        raft_leader: leader() === undefined ? "" : nodeIdOf(leader() ?? ""),
        raft_voters: machine()?.voters.length ?? 0,
        raft_members: machine()?.configuration.members.length ?? 0,
        raft_commit_index: machine()?.log.commitIndex ?? 0,
        raft_log_bytes: machine()?.log.bytes ?? 0,
        raft_snapshot_index: machine()?.log.snapshot.index ?? 0,
        raft_malformed_frames: malformedFrames,
      },
    }));

    const consensus: RaftConsensus = {
      get machine() {
        return machine();
      },
      attach(attachedState, list_) {
        assert(state === undefined, "one state is replicated");
        state = attachedState;
        foundersAre(list_);
      },
      get status(): ConsensusStatus {
        const raft = machine();
        const leading = leader();
        return {
          group,
          peer,
          role: raft?.role ?? "forming",
          term: raft?.term ?? 0,
          leader: leading === undefined ? undefined : nodeIdOf(leading),
          commitIndex: raft?.log.commitIndex ?? 0,
          lastIndex: raft?.log.lastIndex ?? 0,
          snapshotIndex: raft?.log.snapshot.index ?? 0,
          members: (raft?.configuration.members ?? []).map(({ id, isVoter, host, port }) => ({
            nodeId: nodeIdOf(id),
            peer: id,
            isVoter,
            address: { host, port },
          })),
          isOut,
          waitingFor: isOut
            ? "nothing: this node was taken out of the cluster"
            : raft === undefined
              ? `word from ${formation?.missing.join(", ") ?? ""}`
              : leading === undefined
                ? "a leader"
                : undefined,
        };
      },
      nextRequestId: () => requests.nextId(),
      request(id, request, deadlineMs = settings.requestMs) {
        return new Promise<RequestOutcome>((resolve) => {
          if (isStopping || isOut) {
            const reason = isOut ? "this node was taken out of the cluster" : "the node is stopping";
            resolve({ type: "refused", reason });
            return;
          }
          const pending = requests.add(id, request, clock.monotonicMs(), deadlineMs, resolve);
          // Asked again after it was settled: it gets its first outcome.
          const applied = state?.outcomeOf(id);
          if (applied !== undefined) settle(machine()?.log.appliedIndex ?? 0, applied);
          else if (pending === undefined) resolve({ type: "refused", reason: "too many requests wait already" });
          else ask(pending);
        });
      },
      barrier: (deadlineMs = settings.requestMs) =>
        driver === undefined || isStopping
          ? Promise.resolve(false)
          : barriers.add(deadlineMs, (id) => driver?.input({ type: "read", id })),
      leave,
      foundAlone,
    };
    return { consensus };
  },
});
