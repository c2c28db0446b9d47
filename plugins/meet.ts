/**
 * meet: makes one cluster of two.
 *
 * Promises: a node that is a cluster by itself becomes part of another one with its slots and its keys, or stays what it is; never both, whoever stops and
 * whenever. A conflict is refused whole, with its reason. A node that came back as a cluster by itself, since it has forgotten everything, is taken in again.
 *
 * How, for `CLUSTER MEET` sent to X about Y:
 * 1. X asks Y what it is a part of; `src/protocol/meeting.ts` says which of the two joins. If it is Y, it is invited, and does what follows.
 * 2. The joiner seals its own map, by a record: nothing of it changes from here on. It goes on serving its slots.
 * 3. It asks the other cluster, under an id, to take it in with its slots; again and again, until there is a verdict, also after a crash: the record has the
 *    id. The other cluster decides once for an id, by one record, and remembers a refusal as well.
 * 4. Taken in: it notes on its disk where it belongs, drops its own map, and gets the other's. Until it has that, it serves what both maps say is its own.
 * 5. Refused: it breaks the seal. If only its slots were in the way, and it holds no keys, it gives them away and asks once more, without slots.
 *
 * If the other cluster is gone for good there is no verdict, and only a person can know that: `CLUSTER ABANDONJOIN cluster-id ASSUME-REFUSED` breaks the seal.
 *
 * A node that belongs to no cluster joins without a seal. The leader of a cluster dials members that are silent: one that answers as a cluster by itself, and
 * holds no keys, has forgotten where it belongs, and is invited.
 *
 * Talks to the rest through `bus` (links that prove the secret, and no cluster), `topology` and `consensus`.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { type MeetingFrame, encodeMeetingFrame, readMeetingFrame } from "../src/codec/meeting-codec.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { BUS_PORT_OFFSET } from "../src/config.ts";
import { type BusAddress, BusChannel, type BusSender, busService } from "../src/contracts/bus.ts";
import { consensusService } from "../src/contracts/consensus.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { meetingsService } from "../src/contracts/meetings.ts";
import {
  type NodeId,
  type SealRecord,
  type SlotRange,
  type TopologyRequest,
  topologyService,
} from "../src/contracts/topology.ts";
import { randomId } from "../src/identity.ts";
import { KeyHold } from "../src/key-hold.ts";
import { formatAddress, isEveryAddress, isHost } from "../src/net-address.ts";
import { readNodeCard } from "../src/node-card.ts";
import { SYNTAX_ERROR } from "../src/replies.ts";
import { definePlugin } from "../src/plugin.ts";
import { type ClusterStanding, meetingStep } from "../src/protocol/meeting.ts";

/** How often questions are asked again. */
const STEP_MS = 250;
/** How long a node tries to meet another one. */
const MEETING_MS = 60_000;
/** A cluster that was asked to come here instead is not joined for so long, whatever it has said before. */
const HANDOVER_MS = 5000;
/** Nodes that are being met at a time. */
const MAX_MEETINGS = 100;
/** A member that has been silent for so long is dialled: it may have come back as somebody who knows of nothing. */
const LOST_MS = 3000;
/** How often. */
const REDISCOVERY_MS = 1000;
/** Addresses of members that a joiner is told. */
const MAX_MEMBERS = 20;

/** Somebody who is to be met. */
interface Meeting {
  readonly address: BusAddress;
  readonly untilMs: number;
  /** What it has said last. */
  other?: { readonly nodeId: string; readonly standing: ClusterStanding };
}

export default definePlugin({
  name: "meet",
  summary: "CLUSTER MEET: makes one cluster of two, and takes in again who came back knowing nothing.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  uses: { bus: busService, consensus: consensusService },
  provides: { meetings: meetingsService },
  setup(context) {
    const { topology, keyspace } = context.requires;
    const { bus, consensus } = context.uses;
    const { node, world } = context;
    const { clock, log, random } = world;
    if (bus === undefined || consensus === undefined)
      return { meetings: { identify: () => Promise.resolve(undefined) } };
    const keyHold = new KeyHold(context);

    /** By the number of the question that is asked there. */
    const meetings = new Map<number, Meeting>();
    let lastQuestion = 0;
    /** What was asked of silent members. */
    const rediscoveries = new Set<number>();
    /** Questions of which nothing comes but that somebody is told which node answers. */
    const identifying = new Map<number, { readonly address: BusAddress; readonly tell: (id: NodeId) => void }>();
    let rediscoveredAtMs = clock.monotonicMs();
    /** A join of a node that has no map to seal. */
    let unsealed: SealRecord | undefined;
    let unsealedUntilMs = 0;
    /** A join that has come to its end: the sealed map counts until the other cluster has sent its own. */
    let settled = "";
    /** The cluster that is to be joined is one node, and holds no keys: should it refuse, it can come here instead. */
    let isHostKeyless = false;
    /** If each joined the other, both would be sealed, and neither could take the other in. */
    let handedOverUntilMs = 0;
    /** What a join without slots gave away: it is taken back if that is refused as well. */
    let givenUp: { readonly joinId: string; readonly slots: readonly SlotRange[] } | undefined;
    /** One step of a join at a time. */
    let isBusy = false;
    /** Joins that this node is asking its cluster about. */
    const asked = new Set<string>();
    let lastError = "";

    const standing = (): ClusterStanding => ({
      // A node that was taken in and has no map yet is on its way all the same.
      clusterId: topology.map.version === 0 ? consensus.status.group : topology.map.clusterId,
      nodeCount: topology.map.nodes.length,
      isKeyless: keyspace.size === 0,
      // One that was taken out of where it was going will never get that map: the sealed one binds it to nothing.
      isSealed: unsealed !== undefined || (topology.map.seal !== undefined && !consensus.status.isOut),
      // That the map does not have this node yet, which is just joining, is something else.
      isOut: consensus.status.isOut,
    });
    /** The join that is not settled yet. */
    const join = (): SealRecord | undefined => {
      const { seal } = topology.map;
      return unsealed ?? (seal?.joinId === settled ? undefined : seal);
    };
    const send = (to: BusAddress, frame: MeetingFrame): void =>
      void bus.send(to, BusChannel.meeting, encodeMeetingFrame(frame));
    const fail = (what: string, reason: string): void => {
      lastError = reason;
      log.error(what, { reason });
    };
    /** It is one node, which could come to another cluster as well, and has nothing to lose by it. */
    const isYielding = ({ nodeCount, isKeyless }: ClusterStanding): boolean => nodeCount === 1 && isKeyless;
    const endMeetings = (isOver: (other: NonNullable<Meeting["other"]>) => boolean): void => {
      for (const [question, { other }] of meetings) if (other && isOver(other)) meetings.delete(question);
    };

    // --- finding out who joins whom ---

    const invite = (address: BusAddress, isKeyless: boolean): void =>
      send(address, { type: "invite", clusterId: topology.map.clusterId, isKeyless });
    const ask = (address: BusAddress, question: number): void =>
      send(address, { type: "hello", question, standing: standing() });
    // Who belongs to nothing yet looks at a cluster that it hears of: of this one it is not told.
    const askWho = (address: BusAddress, question: number): void =>
      send(address, { type: "hello", question, standing: { ...standing(), clusterId: "" } });
    const heardStanding = (from: BusSender, question: number, other: ClusterStanding): void => {
      const asking = identifying.get(question);
      if (asking !== undefined) {
        asking.tell(from.nodeId);
        return;
      }
      const met = meetings.get(question);
      const isMeeting = met !== undefined;
      if (!isMeeting && !rediscoveries.delete(question)) return;
      if (isMeeting) met.other = { nodeId: from.nodeId, standing: other };
      const self = standing();
      const step = meetingStep(self, other);
      switch (step.type) {
        case "met":
          meetings.delete(question);
          break;
        case "join":
          if (isMeeting && clock.monotonicMs() >= handedOverUntilMs)
            begin(from.address, other.clusterId, isYielding(other));
          break;
        case "invite":
          // Nobody has asked for a member that was lost to be met: it must have nothing to lose, and nobody may have taken it out of where it was.
          if (isMeeting || (other.isKeyless && !other.isOut)) invite(from.address, isYielding(self));
          break;
        case "wait":
          break;
        case "refuse":
          if (!isMeeting) return;
          meetings.delete(question);
          fail("the nodes were not made one cluster", step.reason);
          break;
        default:
          step satisfies never;
      }
    };

    // --- the joiner's side ---

    /** Does one step of a join, if none is under way. */
    const oneStep = (work: () => Promise<void>): void => {
      if (isBusy) return;
      isBusy = true;
      work()
        .catch((thrown: unknown) => context.fault(thrown))
        .finally(() => {
          isBusy = false;
        });
    };
    const change = async (request: TopologyRequest, cause: string): Promise<boolean> =>
      (await topology.request(request, cause)).type === "done";
    const ownSlots = (): readonly SlotRange[] =>
      topology.selfShard?.primary === node.id ? topology.selfShard.slots : [];
    const begin = (address: BusAddress, clusterId: string, isKeyless: boolean): void =>
      oneStep(async () => {
        const { clusterId: own, nodeCount, isSealed, isOut } = standing();
        if (isSealed || clusterId === "" || (nodeCount > 1 && !isOut)) return;
        isHostKeyless = isKeyless;
        const seal = { joinId: randomId(random), clusterId, ...address };
        if (isOut) {
          // What it holds is of a cluster that has taken it out.
          const problem =
            keyspace.size > 0
              ? "it holds keys of the cluster that has taken it out: FLUSHALL first"
              : await keyHold.during(() => topology.beginAlone(node.id, 0));
          if (problem !== undefined) fail("this node was not made part of another cluster", problem);
        } else if (own === "") {
          unsealed = seal;
          unsealedUntilMs = clock.monotonicMs() + MEETING_MS;
        } else if (own !== clusterId) {
          await change({ type: "seal", seal }, `to be part of the cluster of ${formatAddress(address)}`);
        }
        if (join() !== undefined)
          log.info("joining another cluster", { cluster: clusterId, at: formatAddress(address) });
      });
    /** Breaks the seal. Slots that were given up for nothing come back. @returns Whether that was agreed. */
    const unseal = (seal: SealRecord, cause: string): Promise<boolean> => {
      const requests: TopologyRequest[] = [{ type: "unseal", joinId: seal.joinId }];
      if (givenUp?.joinId === seal.joinId) requests.push({ type: "assign-slots", node: node.id, slots: givenUp.slots });
      return change({ type: "all", requests }, cause);
    };
    const askToJoin = (to: SealRecord): void => {
      const frame: MeetingFrame = {
        type: "join",
        joinId: to.joinId,
        clusterId: to.clusterId,
        card: JSON.stringify(topology.introduction),
        slots: to === unsealed ? [] : ownSlots(),
      };
      send(to, frame);
    };
    const decided = ({
      joinId,
      isAdmitted,
      reason,
      clusterId,
      members,
    }: MeetingFrame & { readonly type: "verdict" }): void =>
      oneStep(async () => {
        const seal = join();
        if (seal?.joinId !== joinId) return;
        if (isAdmitted && consensus.status.group === clusterId) {
          // It has found the way by itself.
          unsealed = undefined;
        } else if (isAdmitted) {
          const problem = await topology.moveTo(clusterId, [seal, ...members]);
          // Asked again, the answer will be the same.
          if (problem !== undefined) return;
          settled = joinId;
          unsealed = undefined;
          lastError = "";
          log.info("part of another cluster", { cluster: clusterId });
        } else if (seal === unsealed) {
          unsealed = undefined;
          fail("the cluster does not take this node in", reason);
        } else {
          await refused(seal, reason);
        }
      });
    const refused = async (seal: SealRecord, reason: string): Promise<void> => {
      const again = { ...seal, joinId: randomId(random) };
      const slots = ownSlots();
      // Slots without keys are worth nothing to anybody: the node comes in without them.
      const isGivenUp =
        slots.length > 0 &&
        (await keyHold.during(async () => {
          if (keyspace.size > 0) return false;
          const requests: readonly TopologyRequest[] = [
            { type: "unseal", joinId: seal.joinId },
            { type: "flush-slots", node: node.id },
            { type: "seal", seal: again },
          ];
          return change({ type: "all", requests }, `to be part of another cluster without slots: ${reason}`);
        }));
      if (isGivenUp) givenUp = { joinId: again.joinId, slots };
      if (isGivenUp || topology.map.seal?.joinId !== seal.joinId) return;
      // Slots that were given up were not what was in the way.
      if (!(await unseal(seal, `it was refused: ${reason}`))) return;
      if (isHostKeyless && keyspace.size > 0) {
        handedOverUntilMs = clock.monotonicMs() + HANDOVER_MS;
        invite(seal, false);
        return;
      }
      endMeetings((other) => other.standing.clusterId === seal.clusterId);
      fail("the cluster does not take this node in", reason);
    };

    // --- the other side ---

    const admit = async (from: BusSender, frame: MeetingFrame & { readonly type: "join" }): Promise<void> => {
      const { joinId, clusterId, card, slots } = frame;
      const own = topology.map.clusterId;
      const isHere = clusterId === own || node.joining?.former.includes(clusterId) === true;
      const record = readNodeCard(card);
      if (!isHere || !topology.isMember || standing().isSealed || asked.has(joinId) || asked.size >= MAX_MEETINGS)
        return;
      if (record?.id !== from.nodeId || record.start === "" || !/^[0-9a-f]{40}$/.test(joinId)) return;
      asked.add(joinId);
      const cause = `CLUSTER MEET: node ${record.name || record.id} brings ${slots.length === 0 ? "no slots" : "its slots"}`;
      const outcome = await topology.request({ type: "merge-node", node: record, slots }, cause, `join-${joinId}`);
      asked.delete(joinId);
      // It asks again: only what is agreed is told.
      if (outcome.type !== "done" && outcome.type !== "rejected") return;
      const members = topology.map.nodes
        .filter((each) => each.id !== from.nodeId)
        .slice(0, MAX_MEMBERS)
        .map(({ busHost, busPort }) => ({ host: busHost, port: busPort }));
      const isAdmitted = outcome.type === "done";
      const reason = outcome.type === "rejected" ? outcome.reason.replace(/^ERR /, "") : "";
      // Whoever had it invited hears why it does not come, unless it has another way: without its slots, or by taking this node in instead.
      endMeetings(({ nodeId, standing: other }) => {
        const isOver = slots.length === 0 || (!other.isKeyless && !isYielding(standing()));
        if (isAdmitted || nodeId !== from.nodeId || !isOver) return false;
        fail("a node was not taken in", reason);
        return true;
      });
      send(from.address, { type: "verdict", joinId, isAdmitted, reason, clusterId: own, members });
    };

    // Whoever is taken out of the cluster meanwhile is not met any more, until somebody says so again.
    context.on(context.hooks.mapChanged, ({ map, previous }) => {
      if (meetings.size === 0 || map.tombstones === previous?.tombstones) return;
      const removed = new Set(map.tombstones.map(({ node: id }) => id));
      for (const { node: id } of previous?.tombstones ?? []) removed.delete(id);
      endMeetings(({ nodeId }) => removed.has(nodeId));
    });

    // --- frames and time ---

    // Before that it may still be reading its disk, and seem to belong to nothing.
    let isReady = false;
    bus.receive(BusChannel.meeting, (from, bytes) => {
      if (!isReady) return;
      const frame = readMeetingFrame(bytes);
      switch (frame?.type) {
        case undefined:
          return;
        case "hello":
          send(from.address, { type: "standing", question: frame.question, standing: standing() });
          // A member tells of its cluster to one that looks for it.
          if (standing().clusterId === "" && frame.standing.clusterId !== "") consensus.lookAt([from.address]);
          break;
        case "standing":
          heardStanding(from, frame.question, frame.standing);
          break;
        case "invite":
          if (frame.clusterId !== topology.map.clusterId || standing().isOut)
            begin(from.address, frame.clusterId, frame.isKeyless);
          break;
        case "join":
          admit(from, frame).catch((thrown: unknown) => context.fault(thrown));
          break;
        case "verdict":
          decided(frame);
          break;
        default:
          frame satisfies never;
      }
    });
    /** Where the last round ended: in the next it is the turn of those behind. */
    let lastDialled = "";
    const lookForLost = (): void => {
      rediscoveries.clear();
      if (consensus.status.role !== "leader") return;
      const lost = topology.map.nodes.filter(({ id }) => consensus.silentMs(id) >= LOST_MS);
      // Nodes are in the order of their ids.
      const behind = lost.filter(({ id }) => id > lastDialled);
      const ahead = lost.filter(({ id }) => id <= lastDialled);
      for (const { id, busHost, busPort } of [...behind, ...ahead].slice(0, MAX_MEETINGS)) {
        lastDialled = id;
        lastQuestion += 1;
        rediscoveries.add(lastQuestion);
        ask({ host: busHost, port: busPort }, lastQuestion);
      }
    };
    context.on(context.hooks.ready, () => {
      isReady = true;
      context.every(STEP_MS, () => {
        const nowMs = clock.monotonicMs();
        // A node without a map may come to be in a cluster in another way, and has nothing at stake if nobody ever answers.
        if (unsealed !== undefined && !isBusy && (consensus.status.group !== "" || nowMs >= unsealedUntilMs)) {
          if (consensus.status.group === "") fail("this node was not taken in", "no word came from the other cluster");
          unsealed = undefined;
        }
        const seal = join();
        if (seal !== undefined) askToJoin(seal);
        for (const [question, { address }] of identifying) askWho(address, question);
        for (const [question, { address, untilMs }] of meetings) {
          if (nowMs < untilMs) ask(address, question);
          else {
            meetings.delete(question);
            fail(
              "a node was not met",
              `${formatAddress(address)} did not become one cluster with this node in ${MEETING_MS} ms`,
            );
          }
        }
        if (nowMs - rediscoveredAtMs < REDISCOVERY_MS) return;
        rediscoveredAtMs = nowMs;
        lookForLost();
      });
    });

    // --- commands ---

    const meet = (call: Call): void => {
      const host = call.text(2);
      const port = integerArgument(call, 3);
      const busPort = call.count > 4 ? integerArgument(call, 4) : port + BUS_PORT_OFFSET;
      const isPort = (value: number): boolean => value >= 1 && value <= 65535;
      if (call.count > 5)
        call.reply.error("ERR unknown subcommand or wrong number of arguments for 'meet'. Try CLUSTER HELP.");
      else if (Number.isNaN(port))
        call.reply.error(`ERR Invalid TCP base port specified: ${call.text(3).slice(0, 128)}`);
      else if (Number.isNaN(busPort))
        call.reply.error(`ERR Invalid TCP bus port specified: ${call.text(4).slice(0, 128)}`);
      else if (!isPort(port) || !isPort(busPort) || !isHost(host)) {
        call.reply.error(`ERR Invalid node address specified: ${host.slice(0, 128)}:${call.text(3).slice(0, 128)}`);
      } else if ([bus.address.host, topology.introduction.host].some(isEveryAddress)) {
        call.reply.error(
          "ERR this node listens on every address, and does not say where other nodes and clients reach it: start it with --announce-host",
        );
      } else if (meetings.size >= MAX_MEETINGS) {
        call.reply.error(`ERR ${MAX_MEETINGS} nodes are being met already: try again when they are`);
      } else {
        const address = { host, port: busPort };
        lastQuestion += 1;
        meetings.set(lastQuestion, { address, untilMs: clock.monotonicMs() + MEETING_MS });
        ask(address, lastQuestion);
        call.reply.simple("OK");
      }
    };
    context.subcommand("cluster", {
      ...splitUsage("meet ip:string port:integer [cluster_bus_port:integer@4.0.0]"),
      arity: -4,
      flags: ["admin", "stale", "no_async_loading"],
      group: "cluster",
      summary: "Makes one cluster of this node's and another's.",
      complexity: "O(1)",
      since: "3.0.0",
      run: meet,
    });
    /** The way out of a join whose other side is gone: on the word of a person, since this node cannot know whether it was taken in. */
    const abandon = (call: Call): void => {
      const seal = join();
      if (call.count > 4) {
        call.reply.error(SYNTAX_ERROR);
      } else if (seal === undefined) {
        call.reply.error("ERR this node is not about to be part of another cluster");
      } else if (call.text(2) !== seal.clusterId) {
        call.reply.error(`ERR this node is about to be part of cluster ${seal.clusterId}, and of no other`);
      } else if (call.count < 4 || !call.is(3, "ASSUME-REFUSED")) {
        call.reply.error(
          `ERR cluster ${seal.clusterId} may have taken this node in, with its slots: then both would give them away, and what is written to one is not in the other. If it has not, or is gone for good, say so: CLUSTER ABANDONJOIN ${seal.clusterId} ASSUME-REFUSED`,
        );
      } else if (isBusy) {
        call.reply.error("ERR a step of the join is under way: try again");
      } else {
        const deferred = call.defer();
        oneStep(async () => {
          const isUnsealed =
            seal === unsealed || (await unseal(seal, "CLUSTER ABANDONJOIN: it is assumed to be refused"));
          unsealed = undefined;
          if (isUnsealed) {
            endMeetings((other) => other.standing.clusterId === seal.clusterId);
            log.warn("a join was abandoned, on the word that it was refused", { cluster: seal.clusterId });
          }
          deferred.resolve((reply) => {
            if (isUnsealed) reply.ok();
            else reply.error("ERR the seal was not broken: try again");
          });
        });
      }
    };
    context.subcommand("cluster", {
      ...splitUsage("abandonjoin cluster-id [ASSUME-REFUSED]"),
      arity: -3,
      flags: ["admin", "stale", "no_async_loading"],
      group: "cluster",
      summary:
        "Breaks off a join of another cluster that is gone for good, on the word that it has not taken this node in.",
      complexity: "O(1)",
      since: "0.1.0",
      run: abandon,
    });
    context.on(context.hooks.info, () => ({
      section: "cluster",
      fields: {
        meet_joining: join()?.clusterId ?? "",
        meet_waiting: meetings.size,
        meet_last_error: lastError,
      },
    }));

    return {
      meetings: {
        identify: (address, limitMs) =>
          new Promise((resolve) => {
            lastQuestion += 1;
            const question = lastQuestion;
            const end = (id: NodeId | undefined): void => {
              timer.cancel();
              identifying.delete(question);
              resolve(id);
            };
            const timer = clock.after(limitMs, () => end(undefined));
            identifying.set(question, { address, tell: end });
            askWho(address, question);
          }),
      },
    };
  },
});
