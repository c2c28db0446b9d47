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
 * - asks members that do not lead for what is committed, when it is told that they have more (`catch-up.ts`);
 * - makes snapshots, so that the log stays short.
 *
 * A node without a data directory is another member each time that it starts: it never votes twice, and never pretends to have what it has lost.
 */
import { Buffer } from "node:buffer";
import { assert } from "../src/assert.ts";
import { type ConsensusFrame, encodeConsensusFrame, readConsensusFrame } from "../src/codec/consensus-codec.ts";
import { Admission } from "../src/consensus/admission.ts";
import { Barriers } from "../src/consensus/barriers.ts";
import { sayFarewell } from "../src/consensus/farewell.ts";
import { Formation, nodeIdOf } from "../src/consensus/formation.ts";
import { type Proposal, foundingMembers, soleProposal } from "../src/consensus/founding.ts";
import { CatchUp } from "../src/consensus/catch-up.ts";
import { channelOf } from "../src/consensus/frame-channel.ts";
import { KnownPeers } from "../src/consensus/known-peers.ts";
import { Proposals } from "../src/consensus/proposals.ts";
import { RaftDriver } from "../src/consensus/raft-driver.ts";
import { RaftStorage } from "../src/consensus/raft-storage.ts";
import { checkSettings, raftSettings } from "../src/consensus/raft-settings.ts";
import { RaftCounts } from "../src/consensus/raft-counts.ts";
import { type PendingRequest, RequestQueue } from "../src/consensus/request-queue.ts";
import { ToldMembers, infoOf, leadershipOf, statusOf } from "../src/consensus/status.ts";
import { TickPace } from "../src/consensus/tick-pace.ts";
import { voterStep } from "../src/consensus/voter-step.ts";
import { within } from "../src/consensus/within.ts";
import { type BusAddress, BusChannel, type BusSender, busService } from "../src/contracts/bus.ts";
import {
  type Applied,
  type Consensus,
  type FormationPlan,
  type Founder,
  type Leadership,
  type ReplicatedState,
  type RequestOutcome,
  consensusService,
} from "../src/contracts/consensus.ts";
import { Paced } from "../src/paced.ts";
import { definePlugin } from "../src/plugin.ts";
import { entryBytes } from "../src/protocol/raft/log.ts";
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

/** What this plugin provides, with the machine behind it: for checkers, which look at it and change nothing. */
export interface RaftConsensus extends Consensus {
  readonly machine: Raft | undefined;
}

/** How often a leader looks whether the right members vote. */
const VOTERS_MS = 500;
/** Entries are not sent to a node for which so much waits already. */
const MAX_BACKLOG_BYTES = 128 * 1024;
/** How long a group of one may take to come to life. */
const BIRTH_MS = 1000;
const BIRTH_STEP_MS = 10;
/** How long a node that was reset waits for its group to let it go, and how often it asks. Longer than two elections take. */
const LEAVE_MS = 5000;
const LEAVE_STEP_MS = 50;

export default definePlugin({
  name: "raft",
  summary: "Agrees with the other nodes on one log, so that all have the same cluster map.",
  requires: { bus: busService },
  provides: { consensus: consensusService },
  settings: raftSettings,
  setup(context) {
    const { core, hooks, node, settings, world } = context;
    const { bus } = context.requires;
    const { clock, disk, log, random } = world;
    checkSettings(settings);
    const hex = (bytes: number): string => Buffer.from(random.bytes(bytes)).toString("hex");
    const hasDisk = core.dataDir !== undefined;

    let state: ReplicatedState | undefined;
    let plan: FormationPlan = { type: "list", founders: [] };
    let formation: Formation | undefined;
    /** This node's identity in the group; another one at each start without a disk. */
    let peer: PeerId = `${node.id}/${hex(4)}`;
    let group = "";
    let foundingPeers: readonly PeerId[] = [];
    let driver: RaftDriver | undefined;
    let leadership: Leadership | undefined;
    const whenLeading: (() => void)[] = [];
    const tellLed = (): void => {
      try {
        for (const callback of whenLeading) callback();
      } catch (thrown) {
        context.fault(thrown);
      }
    };
    let [isOut, isStopping, isLetGo] = [false, false, false];
    /** It has read what it remembers. Before that it is neither fresh nor a member, whatever it seems to be. */
    let hasRead = false;
    let isEstablished = false;
    const requests = new RequestQueue(hex(6));
    const counts = new RaftCounts(() => clock.monotonicMs());
    const barriers = new Barriers(clock);
    const catchUp = new CatchUp(clock, () => (isOut || isStopping ? undefined : driver));
    /** Among them those that the configuration does not name (yet). */
    const known = new KnownPeers();
    let malformedFrames = 0;
    /** In the name of another node than the one that proved to be on the link. */
    let foreignFrames = 0;
    let bytesSinceSnapshot = 0;
    let snapshotAtMs = clock.monotonicMs();
    let whenEstablished: (() => void) | undefined;
    /** Why the group has not taken this node in, the last time. */
    let refusal = "";

    const ticks = (ms: number): number => Math.max(1, Math.round(ms / settings.tickMs));
    const pace = new TickPace(settings.tickMs, clock.monotonicMs());
    const machine = (): Raft | undefined => driver?.machine;
    const isReady = (): boolean => machine()?.leadership?.hasCommittedInTerm === true;
    const leader = (): PeerId | undefined => machine()?.leader;
    const addressOf = (id: PeerId): BusAddress | undefined =>
      // What it said itself is newer than what the map says, and that than the group's: nodes come back at other addresses.
      known.address(id) ??
      state?.member(nodeIdOf(id))?.address ??
      machine()?.configuration.members.find((member) => member.id === id);
    /** @returns False if it will not arrive. */
    const sendTo = (address: BusAddress | undefined, frame: ConsensusFrame): boolean =>
      address !== undefined && bus.send(address, channelOf(frame), encodeConsensusFrame(frame));
    /** From here on this node is in this group; empty: in none. */
    const enter = (name: string): void => {
      group = name;
      bus.setCluster(
        name === ""
          ? undefined
          : {
              id: name,
              member: (nodeId) => attached().member(nodeId),
              otherPlaces: (at) => attached().otherPlaces(at),
            },
      );
    };
    const ownMember = (): Member => {
      const { zone, isWitness } = attached().self();
      return { id: peer, isVoter: false, ...bus.address, zone, isWitness };
    };

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
      for (const entry of entries) {
        bytesSinceSnapshot += entryBytes(entry);
        if (entry.data !== undefined) settle(entry.index, attached().apply(entry.index, entry.data));
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
      snapshotAtMs = clock.monotonicMs();
      bytesSinceSnapshot = 0;
      if (data.length > 0) attached().restore(data);
      for (const { id } of requests) {
        const applied = attached().outcomeOf(id);
        if (applied !== undefined) settle(index, applied);
      }
    };
    const proposals = new Proposals(clock, () => (isReady() ? driver : undefined), attached);
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
          // A short log is kept short: what stays behind a snapshot takes no more than what is cut off at a time.
          trailingBytes: Math.min(RAFT_DEFAULTS.trailingBytes, settings.snapshotBytes),
        },
        storage,
        {
          nowMs: () => clock.monotonicMs(),
          send: (to, message) => {
            const address = addressOf(to);
            // What would wait behind all that is out of date when it arrives. It is sent anew; heartbeats, which ask for it, go on.
            const isBulk = "bytes" in message || ("entries" in message && message.entries.length > 0);
            if (address === undefined || (isBulk && bus.queuedBytes(address) > MAX_BACKLOG_BYTES)) return;
            sendTo(address, { type: "raft", group, from: peer, to, message });
          },
          apply: (entries) => {
            applyEntries(entries);
            tellLeading();
            // On the way from one voter to three there are two, and each of them is needed: the next step follows at once.
            if (isReady() && entries.some((entry) => entry.configuration !== undefined)) clock.soon(manageVoters);
          },
          restore,
          role: (role: Role, term, leading) => {
            log.debug("raft role", { role, term, leader: leading ?? "none" });
            counts.role(role, leading);
            if (leading !== undefined) [isEstablished, refusal] = [true, ""];
            leadership = leadershipOf(driver, clock.monotonicMs(), settings.tickMs);
            tellLeading();
            if (leadership !== undefined) clock.soon(tellLed);
            requests.leaderChanged(clock.monotonicMs());
          },
          proposed: (id, index) => proposals.proposed(id, index),
          refused: (id, reason) => proposals.refused(id, reason),
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
    const found = async ({ group: name, candidates }: Proposal, data?: Uint8Array): Promise<void> => {
      enter(name);
      const { founders } = plan.type === "list" ? plan : { founders: candidates };
      const members = foundingMembers(founders, candidates, settings.maxVoters);
      foundingPeers = members.map(({ id }) => id);
      log.info("raft: group founded", { group, members: members.length });
      await create({ index: 1, term: 0, configuration: { members }, data: data ?? attached().founding(founders) });
    };
    /** Founds a group that this node is all of. Ports that the machine chose are known by now. */
    const foundSole = async (data?: Uint8Array): Promise<void> => {
      formBy({ type: "list", founders: [attached().self()] });
      await found(soleProposal(plan, peer, settings.maxVoters), data);
    };
    const join = async (name: string): Promise<void> => {
      enter(name);
      log.info("raft: joining the group that is there", { group });
      await create({ index: 0, term: 0, configuration: { members: [] }, data: new Uint8Array(0) });
      askToJoin();
    };

    /** Asks to be taken in by the group that is there. */
    const askToJoin = (): void =>
      formation?.tellFew({ type: "join", group, member: ownMember(), card: attached().self().card, hops: 0 });
    const abandon = async (): Promise<void> => {
      const stopped = driver?.stop();
      driver = undefined;
      leadership = undefined;
      enter("");
      foundingPeers = [];
      peer = `${node.id}/${hex(4)}`;
      // What the old identity still writes must not come into the files of the new one.
      await stopped;
    };

    const formBy = (next: FormationPlan): void => {
      plan = next;
      const founder = (): Founder =>
        (plan.type === "list" ? plan.founders.find(({ nodeId }) => nodeId === node.id) : undefined) ??
        attached().self();
      formation = new Formation(
        plan,
        settings.maxVoters,
        () => ({
          peer,
          founder: founder(),
          group,
          foundingPeers,
          voters: machine()?.voters ?? [],
          isEstablished,
          isBound: node.joining?.group === group,
          members: machine()?.configuration.members ?? [],
        }),
        {
          send: sendTo,
          nodeAt: (address) => bus.nodeAt(address),
          isCard: (nodeId, card) => attached().isCard(nodeId, card),
          found,
          join,
          abandon,
          fault: (error) => context.fault(error),
          fraction: () => random.fraction(),
        },
        log,
      );
    };

    // --- frames ---

    const admission = new Admission({
      group: () => group,
      peer: () => peer,
      machine,
      isReady,
      state: attached,
      clock,
      known,
      sendTo,
      sendToPeer: (to, frame) => void sendTo(addressOf(to), frame),
      change: (change) => driver?.input({ type: "change", id: 0, change }),
      manageVoters: () => manageVoters(),
    });
    const received = (channel: BusChannel, from: BusSender, bytes: Uint8Array): void => {
      const frame = readConsensusFrame(bytes);
      if (frame === undefined || channelOf(frame) !== channel) {
        malformedFrames += 1;
        if (malformedFrames === 1) log.warn("raft: a frame that makes no sense", { from: from.nodeId });
        return;
      }
      switch (frame.type) {
        case "raft":
          if (driver === undefined || frame.group !== group || frame.to !== peer) return;
          if (nodeIdOf(frame.from) !== from.nodeId) {
            foreignFrames += 1;
            return;
          }
          known.isAt(frame.from, from.address);
          known.heard(frame.from, clock.monotonicMs());
          if (isReady() && !admission.isMember(frame.from)) {
            admission.tellRemoved(from.address, frame.from);
            return;
          }
          feed(pace.message(clock.monotonicMs()));
          driver.input({ type: "message", from: frame.from, message: frame.message });
          if (frame.message.type.startsWith("fetch-")) catchUp.answered(frame.from);
          break;
        case "who":
          if (hasRead) formation?.asked(from, frame.standing, clock.monotonicMs());
          break;
        case "here":
          if (hasRead) formation?.answered(from, frame.standing, clock.monotonicMs());
          break;
        case "join":
          if (frame.group === group) admission.admit(frame);
          break;
        case "leave":
          if (frame.group === group) admission.dismiss(from.address, frame);
          break;
        case "removed":
          if (frame.group === group && frame.peer === peer) removed(frame.isBarred);
          break;
        case "refused":
          if (frame.group !== group || frame.peer !== peer || refusal === frame.reason) return;
          refusal = frame.reason;
          log.error("raft: the cluster does not take this node in", { group, reason: refusal });
          break;
        case "request":
          if (frame.group !== group) return;
          proposals.lead(
            frame,
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
      isLetGo = isStopping;
      if (isOut || isStopping) return;
      // Late word of an earlier identity of this node took the place of this one, which has all that it ever had: it asks to come back.
      if (!isBarred) return askToJoin();
      log.warn("raft: this node was taken out of the cluster", { group, peer });
      isOut = true;
      leadership = undefined;
      void driver?.stop();
      // Nobody will answer any more.
      requests.close();
      attached().takenOut();
    };

    // --- leaving, and beginning alone ---

    const askToLeave = (to: PeerId): void => void sendTo(addressOf(to), { type: "leave", group, peer, hops: 0 });
    /** Waits until the group counts on this node no more: a voter that just went would be missed by the others. */
    const letGo = (): Promise<boolean> => {
      const isFree = (): boolean =>
        isOut || driver?.machine.isMember !== true || driver.machine.configuration.members.length === 1;
      return within(clock, LEAVE_MS, LEAVE_STEP_MS, isFree, () => {
        const to = leader();
        if (isReady()) manageVoters();
        else if (to !== undefined && to !== peer) askToLeave(to);
      });
    };
    const leave = async (): Promise<string | undefined> => {
      if (formation?.isBusy === true) return "the group is being founded";
      if (!(await letGo())) {
        return "this node is out of the map, but the group has not let it go yet: that takes a leader and a majority";
      }
      await detach();
      return undefined;
    };
    /** Belongs to no group from here on. */
    const detach = async (): Promise<void> => {
      // 1. Whoever asks hears nothing of this node: it is neither fresh nor a member.
      formation = undefined;
      // 2. What waits for the old group waits no more.
      const left = driver;
      driver = undefined;
      leadership = undefined;
      if (isLeading) attached().lead(false);
      isLeading = false;
      enter("");
      requests.close();
      proposals.clear();
      barriers.close();
      await left?.stop();
      // 3. It is another identity, of whom nobody has heard.
      known.clear();
      bytesSinceSnapshot = 0;
      foundingPeers = [];
      isEstablished = false;
      refusal = "";
      peer = `${node.id}/${hex(4)}`;
    };
    const foundAlone = async (founding: Uint8Array): Promise<void> => {
      assert(driver === undefined && formation === undefined, "a node leaves its group before it founds another");
      // The node may have another id by now.
      peer = `${node.id}/${hex(4)}`;
      await foundSole(founding);
      isOut = false;
      await within(clock, BIRTH_MS, BIRTH_STEP_MS, isReady);
    };

    const moveTo: Consensus["moveTo"] = async (name, members, note) => {
      if (formation?.isBusy === true) return "the group is being founded";
      // Nobody founds or joins anything while that is written.
      formation = undefined;
      await note();
      await detach();
      formBy({ type: "seeds", seeds: members, expect: 0, terms: "" });
      isOut = false;
      await join(name);
      return undefined;
    };

    // --- requests ---

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
      if (to === peer)
        proposals.lead({ id, request, isRetry }, (isRejected, reason) => verdict(id, isRejected, reason));
      else if (!sendTo(addressOf(to), { type: "request", group, id, isRetry, request })) {
        requests.refused(id, "the leader cannot be reached", clock.monotonicMs());
      }
    };

    // --- time ---

    const manageVoters = (): void => {
      const raft = machine();
      if (raft === undefined || !isReady() || isOut || isStopping) return;
      const nowMs = clock.monotonicMs();
      const silentMs = (id: PeerId): number => known.silentMs(id, nowMs);
      const admits = (id: string): boolean => attached().standingOf(id) === "member";
      const next = voterStep(raft, { peer, nodeOf: nodeIdOf, admits, silentMs }, settings);
      if (next === undefined) return admission.takeIn();
      log.info("raft: changing who votes", { change: next.type === "change" ? next.change.type : next.type });
      driver?.input(next);
    };

    let sinceVotersMs = 0;
    const feed = (count: number): void => {
      const role = machine()?.role;
      // Who led until one of them has heard a leader until now: the others do not count as time since then.
      for (let left = isOut ? 0 : count; left > 0 && machine()?.role === role; left -= 1)
        driver?.input({ type: "tick" });
      sinceVotersMs += count * settings.tickMs;
    };
    /** A leader needs no more beats than it sends heartbeats. Who hears these is woken by them, and needs a beat only to see that they stay away. */
    const ticksAtOnce = (): number => {
      const heartbeatTicks = ticks(settings.heartbeatMs);
      if (driver?.machine.role === "leader") return heartbeatTicks;
      const isLed = (driver?.machine.leaderHeardTicksAgo ?? Number.POSITIVE_INFINITY) < 2 * heartbeatTicks;
      return isLed ? 2 * heartbeatTicks : 1;
    };
    const tick = (): void => {
      const nowMs = clock.monotonicMs();
      if (driver === undefined) {
        if (!isOut) formation?.step(nowMs);
      } else if (!isOut) {
        feed(pace.beat(nowMs));
        // Its own log may name it by an entry that was never committed: a member that nobody leads asks again, which costs a member nothing.
        const heardTicksAgo = driver.machine.leaderHeardTicksAgo ?? Number.POSITIVE_INFINITY;
        const isLed = driver.machine.isMember && heardTicksAgo < 4 * ticks(settings.electionMs);
        if (sinceVotersMs >= VOTERS_MS) {
          sinceVotersMs = 0;
          manageVoters();
          if (!isLed) askToJoin();
          if (!isEstablished) formation?.ask(nowMs);
        }
        if (bytesSinceSnapshot > 0 && nowMs - snapshotAtMs > settings.snapshotMs) takeSnapshot();
      }
      for (const pending of requests.due(nowMs)) ask(pending);
      if (isEstablished) whenEstablished?.();
      pace.ticksAtOnce = ticksAtOnce();
      beats.periodMs = pace.periodMs;
    };
    const beats = new Paced(context, tick);

    // --- life ---

    const open = async (): Promise<void> => {
      const opened = hasDisk ? await RaftStorage.open(disk) : undefined;
      hasRead = true;
      const storedPeer = opened?.storage.identity.peer;
      // A node that was stopped while it was being reset, or moved to another group, may have left the memory of who it is no more.
      if (opened === undefined || nodeIdOf(storedPeer ?? "") !== node.id || storedPeer === node.leftPeer) {
        if (plan.type === "list" && plan.founders.length === 1) await foundSole();
        else if (node.joining !== undefined) await join(node.joining.group);
        else formation?.step(clock.monotonicMs());
        return;
      }
      const { storage, stored } = opened;
      ({ peer } = stored.identity);
      enter(stored.identity.group);
      foundingPeers = stored.state.snapshot.configuration.members.map((member) => member.id);
      isEstablished = stored.state.term > 0;
      if (stored.tornBytes > 0) log.warn("raft: a torn end of the log was cut off", { bytes: stored.tornBytes });
      begin(storage, stored.state);
    };
    context.on(
      hooks.start,
      async () => {
        if (state === undefined) return;
        for (const channel of [BusChannel.consensus, BusChannel.formation]) {
          bus.receive(channel, (from, bytes) => received(channel, from, bytes));
        }
        const established = new Promise<void>((resolve) => {
          whenEstablished = resolve;
        });
        await open();
        beats.periodMs = pace.periodMs;
        // A group of one needs nobody else: it is there when the node is.
        const isAlone = machine()?.voters.length === 1 && machine()?.isVoter === true;
        if (isAlone && !isReady()) await established;
      },
      { order: "pre" },
    );

    context.on(hooks.stop, async () => {
      isStopping = true;
      const raft = machine();
      if (raft !== undefined && !isOut) {
        await sayFarewell(raft, clock, {
          peer,
          forgets: !hasDisk,
          silentMs: (id) => known.silentMs(id, clock.monotonicMs()),
          transfer: (target) => driver?.input({ type: "transfer", target }),
          askToLeave,
          isLetGo: () => isLetGo,
        });
      }
      requests.close();
      barriers.close();
      await driver?.stop();
    });

    context.on(hooks.info, () => ({
      section: "cluster",
      fields: infoOf(machine(), counts, { group, isOut, malformedFrames, foreignFrames, fetches: catchUp.fetches }),
    }));
    const told = new ToldMembers();
    const consensus: RaftConsensus = {
      get machine() {
        return machine();
      },
      attach(attachedState, plan_) {
        assert(state === undefined, "one state is replicated");
        state = attachedState;
        formBy(plan_);
      },
      get status() {
        return statusOf(machine(), { group, peer, isOut, forming: formation?.waitingFor ?? "", refusal }, told);
      },
      get leadership() {
        return leadership;
      },
      onLead: (callback) => void whenLeading.push(callback),
      counts,
      nextRequestId: () => requests.nextId(),
      catchUp: (nodeId) => catchUp.from(nodeId),
      lookAt(addresses) {
        if (group !== "") return;
        formation?.learn(addresses);
        formation?.ask(clock.monotonicMs());
      },
      silentMs(nodeId) {
        if (!isReady() || nodeId === node.id) return 0;
        // One that has left the group in order is in none, and says nothing either.
        const member = machine()?.configuration.members.find(({ id }) => nodeIdOf(id) === nodeId);
        return known.silentMs(member?.id ?? nodeId, clock.monotonicMs());
      },
      request(id, request, isShared = false) {
        return new Promise<RequestOutcome>((told) => {
          const resolve = counts.request(told);
          if (isStopping || isOut) {
            const reason = isOut ? "this node was taken out of the cluster" : "the node is stopping";
            resolve({ type: "refused", reason });
            return;
          }
          const pending = requests.add(id, request, clock.monotonicMs(), settings.requestMs, resolve, isShared ? 1 : 0);
          // Asked again after it was settled: it gets its first outcome.
          const applied = state?.outcomeOf(id);
          if (pending === undefined) resolve({ type: "refused", reason: "too many requests wait already" });
          else if (applied !== undefined) settle(machine()?.log.appliedIndex ?? 0, applied);
          else ask(pending);
        });
      },
      barrier: (deadlineMs = settings.requestMs) =>
        driver === undefined || isStopping
          ? Promise.resolve(false)
          : barriers.add(deadlineMs, (id) => driver?.input({ type: "read", id })),
      leave,
      foundAlone,
      moveTo,
    };
    return { consensus };
  },
});
