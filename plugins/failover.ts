/**
 * failover: who may serve a shard, and who takes over when nobody does.
 *
 * Promises: at most one primary of a shard has a lease at a time, as long as clocks run within the margin of each other; a primary without one serves nothing, and
 * lets no reply out. A replica takes over only if it holds every acknowledged write, once the old lease is over. Whatever is not done has its reason, which is
 * kept, logged when it changes, and shown (`INFO failover` at the leader).
 *
 * How:
 * 1. Each node tells the leader of the log of itself, several times in a lease's time (a "beat"): which map it has, how far its copy of the log reaches, which links
 *    broke. A primary asks for a lease by that; it counts from the moment on at which the beat was sent.
 * 2. The leader grants no longer than from the beginning of its last heartbeat round that a majority answered, and remembers what it promised
 *    (`src/protocol/failover/lease-grants.ts`). A new leader takes any primary to have a lease of the leader before it.
 * 3. It looks at each shard several times in a beat (`judgement.ts`): where the primary is gone and its lease is over, it asks the map for a promotion.
 *
 * A planned failover (CLUSTER FAILOVER, and a primary that is told to stop) hands over without an error to any client: the primary holds commands until the replica
 * has everything, gives its lease up, and says so; the leader promotes. Meanwhile the primary sends clients to the replica, which holds what they want. If the leader
 * can not promote it, it says so by a record, and the primary goes on.
 *
 * A lease is watched by two: the gate of replies looks at the clock when a reply leaves (`src/reply-gate.ts`); and while there is no lease, a handler of `commandBefore`
 * refuses what would touch keys. While there is one, commands pay nothing. For half a lease after it lapsed, commands are held and not refused: a process that stood
 * still hears in a moment who leads.
 *
 * On all nodes of a cluster or on none: a node without it serves without leases.
 */
import { Type } from "@sinclair/typebox";
import type { Call } from "../src/call.ts";
import { encodeLeaseMessage, readLeaseMessage } from "../src/codec/lease-codec.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { CommandBits } from "../src/command-table.ts";
import { BusChannel, busService } from "../src/contracts/bus.ts";
import { Verdict } from "../src/contracts/commands.ts";
import { type RequestOutcome, consensusService } from "../src/contracts/consensus.ts";
import { type LeaseState, failoverService } from "../src/contracts/failover.ts";
import { membershipService } from "../src/contracts/membership.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { type NodeId, type TopologyRequest, topologyService } from "../src/contracts/topology.ts";
import { StartError } from "../src/errors.ts";
import { KeyHold } from "../src/key-hold.ts";
import { Desk, type Suspicion } from "../src/failover/desk.ts";
import { retire } from "../src/failover/retire.ts";
import { Paced } from "../src/paced.ts";
import { withMemberNames } from "../src/member-words.ts";
import { definePlugin } from "../src/plugin.ts";
import { LeaseKeeper } from "../src/protocol/failover/lease-keeper.ts";
import type { Beat, LeaseMessage, LeaseOptions, Surrender, Wish } from "../src/protocol/failover/types.ts";
import { SYNTAX_ERROR } from "../src/replies.ts";
import { refuseExtraArguments } from "../src/subcommand-help.ts";
import type { Timer } from "../src/world.ts";

const settingsSchema = Type.Object({
  leaseMs: Type.Integer({
    description:
      "How long a primary may serve without word from the leader, in milliseconds; the same on all nodes. Shorter: a dead primary is replaced sooner, and a stop of the network or a node of so long interrupts service.",
    default: 1000,
    minimum: 50,
  }),
  renewMs: Type.Integer({
    description:
      "How often nodes tell the leader of themselves, and primaries renew their leases, in milliseconds. At most a third of leaseMs.",
    default: 200,
    minimum: 10,
  }),
  marginPercent: Type.Number({
    description:
      "By how much clocks of two machines may differ in speed, in percent: the leader waits so much longer than a lease is good. Clocks of quartz differ by a fiftieth of one percent.",
    default: 2,
    minimum: 0,
    maximum: 100,
  }),
  handOverMs: Type.Integer({
    description:
      "How long a primary that hands over holds commands until the replica has all of its log, in milliseconds. If it has not by then, nothing has happened.",
    default: 1000,
    minimum: 10,
  }),
  retireMs: Type.Integer({
    description:
      "How long a primary that is told to stop goes on while it has a replica that is not in sync yet, or nobody can have it take over, in milliseconds: what no other member holds would be lost with it. Not longer than whoever stops processes waits before it kills them (10 s for Docker, 30 s for Kubernetes).",
    default: 6000,
    minimum: 0,
  }),
});

/** How often the leader looks at the shards, in milliseconds: a beat that others have, too. */
const LOOK_MS = 50;
/** The same while all is well: being woken is most of what an idle node costs. */
const CALM_LOOK_MS = 100;
/** How long a new leader may take to apply what it has, before it is asked anew, in milliseconds. */
const BARRIER_MS = 1000;
/** Links that broke are told for so long, in leases. */
const BROKEN_LEASES = 1;
const MAX_BROKEN = 16;
/** How long the leader's answer to a wish is waited for, in milliseconds. */
const WISH_MS = 1000;
/**
 * A primary that hands over sends clients to its heir for this part of a lease, and then holds them itself, as before the heir's word. The heir holds them for a
 * lease: they are not sent back while they are sent here. A third of a lease is left, since the end is noticed with a beat.
 */
const REDIRECT_LEASES = 0.6;
/**
 * What a primary could not answer before its lease was over waits for another lease, or for the word that somebody else leads. A primary that is cut off gets neither:
 * after this part of a lease, by when another one has taken over that is to, its clients' connections end, and they find that one. What comes meanwhile is held. The
 * same of one that was cut off when it had surrendered: it serves nothing before the map ends that, and refuses what it held.
 */
const HOPELESS_LEASES = 0.5;

/** It may have been sent in vain, or be on its way: only who has not been asked is known not to have done it. */
const UNANSWERED =
  "UNKNOWN the leader was asked and does not answer: it may have begun, or begin yet (CLUSTER SHARDS shows who leads); where a majority of the voters is lost for good: bunch recover --from DATA-DIR";
const NO_LEADER =
  "CLUSTERDOWN no majority of the voters agrees on a leader, and nobody is promoted without one, not by TAKEOVER either; a majority that is lost for good is replaced by one survivor's map: bunch recover --from DATA-DIR";

/** Commands that touch keys, whether they name some or not. */
const TOUCHES = CommandBits.write | CommandBits.readonly;

export default definePlugin({
  name: "failover",
  summary: "Gives primaries leases, and has replicas take over.",
  requires: { topology: topologyService },
  uses: {
    bus: busService,
    consensus: consensusService,
    membership: membershipService,
    replication: replicationService,
  },
  provides: { failover: failoverService },
  settings: settingsSchema,
  setup(context) {
    const { hooks, node, replyGate, settings, world } = context;
    const { clock, log } = world;
    const { topology } = context.requires;
    const { bus, consensus, membership, replication } = context.uses;
    const options: LeaseOptions = settings;
    if (settings.renewMs > settings.leaseMs / 3) {
      throw new StartError(
        `Setting "plugins.failover.renewMs" is ${settings.renewMs}, but it must be at most a third of leaseMs (${settings.leaseMs}): a beat may be lost.`,
      );
    }

    const keeper = new LeaseKeeper();
    let leaseState: LeaseState = "none";
    let surrender: Surrender | undefined;
    let isHandingOver = false;
    /** The commands that were held for a planned failover go on when there is a lease again, or at this moment, in monotonic milliseconds. */
    let resumesAtMs: number | undefined;
    /** A node that has taken over, or has lost its lease, holds commands until it has one, which is a round trip away, or until then. */
    let holdsUntilMs = Number.NEGATIVE_INFINITY;
    /** Who has the shard handed over to it holds commands on keys: clients are sent there, and connect to it, while its promotion is under way. */
    let redirects: { readonly to: NodeId; readonly untilMs: number } | undefined;
    let surrenderedAtMs = 0;
    /** When whoever waits for another lease than the one that it had waits no longer. */
    let hopelessAtMs: number | undefined;
    let isFirstAwaited = false;
    /** Its primary has surrendered to it, and sends clients here: what they want is held, and not sent back, until this shard has another version, or until then. */
    let inherits: { readonly shardVersion: number; readonly untilMs: number } | undefined;
    // What it waits for is a lease, or whoever gets it.
    const hold = new KeyHold(context, () => "hold");
    const wishes = new Map<number, (problem: string | undefined) => void>();
    let lastWish = 0;
    /** Why it was not granted a lease, the last time, and when there was an answer at all. */
    let refusal = "no leader has granted one yet";
    let answeredAtMs = Number.NEGATIVE_INFINITY;
    let desk: Desk | undefined;
    let deskTerm: number | undefined;
    let isStopped = false;
    let malformedMessages = 0;
    /** Links that broke, by the nodes at their ends, and when. */
    const brokenLinks = new Map<NodeId, number>();
    /** Of this node's shard, when its leader was told of it last. */
    let shardVersion = 0;

    const isAdmitted = (): boolean => topology.isMember && topology.self.start === node.runId;
    const isPrimary = (): boolean => topology.selfShard?.primary === node.id;
    /** Alone it is everybody who could serve its slots. */
    const needsLease = (): boolean => consensus !== undefined && isPrimary() && topology.map.nodes.length > 1;

    // --- serving by the lease ---

    let lapseError = "";
    let unhook: (() => void) | undefined;
    let timer: Timer | undefined;
    const refuse = (call: Call): Verdict | undefined => {
      const { bits } = call.command;
      if (leaseState === "stale-reads" && (bits & CommandBits.write) === 0) return undefined;
      if (!call.hasKey && (bits & TOUCHES) === 0) return undefined;
      if (surrender !== undefined) {
        // It is EXEC that waits.
        if (call.client.intercept !== undefined) return undefined;
        const heir = topology.node(redirects?.to ?? "");
        if (call.hasKey && heir !== undefined) {
          call.reply.error(`MOVED ${call.key.slot} ${heir.host}:${heir.port}`);
          return Verdict.rejected;
        }
      }
      call.reply.error(lapseError);
      return Verdict.rejected;
    };
    const stateOf = (nowMs: number): LeaseState => {
      if (!needsLease()) return "none";
      if (surrender !== undefined) return "surrendered";
      if (nowMs < keeper.endsAtMs) return "held";
      // In a moment there may be a lease again, or the first one, or a map that says where to go: commands are held for that, by either policy.
      const isStale = topology.map.settings.get("partition-policy") === "allow-reads" && nowMs >= holdsUntilMs;
      return isStale ? "stale-reads" : "lapsed";
    };
    const whyLapsed = (nowMs: number): string => {
      if (consensus?.status.leader === undefined) return "no leader is known";
      return nowMs - answeredAtMs > settings.leaseMs ? "the leader does not answer" : refusal;
    };
    /** Makes the gate, the handler and the timer what they should be at this moment. */
    const guard = (): void => {
      const nowMs = clock.monotonicMs();
      const before = leaseState;
      // A process that stood still, or beats that were lost.
      if (before === "held" && nowMs >= keeper.endsAtMs) holdsUntilMs = nowMs + HOPELESS_LEASES * settings.leaseMs;
      leaseState = stateOf(nowMs);
      const isOpen = leaseState === "none" || leaseState === "stale-reads";
      replyGate.setLease(isOpen ? Number.POSITIVE_INFINITY : keeper.endsAtMs, leaseState === "stale-reads");
      const isServing = leaseState === "none" || leaseState === "held";
      if (isServing) {
        unhook?.();
        unhook = undefined;
      } else {
        const reason = surrender === undefined ? whyLapsed(nowMs) : "it hands its shard over";
        lapseError = `CLUSTERDOWN The cluster is down: this node has no lease, so another one may serve its slots (${reason})`;
        unhook ??= context.on(hooks.commandBefore, refuse);
      }
      if (leaseState === "held" && timer === undefined) {
        timer = clock.after(keeper.endsAtMs - nowMs, () => {
          timer = undefined;
          if (!isStopped) guard();
        });
      }
      if (resumesAtMs !== undefined && (isServing || nowMs >= resumesAtMs)) {
        resumesAtMs = undefined;
        replication?.resume();
      }
      if (redirects !== undefined && (surrender === undefined || nowMs >= redirects.untilMs)) {
        redirects = undefined;
        replication?.letKeysGo(false);
      }
      if (
        inherits !== undefined &&
        (topology.selfShard?.version !== inherits.shardVersion || nowMs >= inherits.untilMs)
      ) {
        inherits = undefined;
      }
      const servesSoon = inherits !== undefined || (leaseState === "lapsed" && nowMs < holdsUntilMs);
      if (servesSoon && !hold.isHolding) hold.hold();
      else if (!servesSoon && hold.isHolding) hold.release();
      const isLapsed = leaseState === "lapsed" || leaseState === "stale-reads";
      if (isServing) hopelessAtMs = undefined;
      else if (before === "held" || before === "none") {
        // One that was given up would have lapsed by then; and so long somebody may need who hears that it leads, and has never had one.
        const leases = HOPELESS_LEASES + (before === "held" && surrender === undefined ? 0 : 1);
        hopelessAtMs = nowMs + leases * settings.leaseMs;
      }
      const isHopeless = hopelessAtMs !== undefined && nowMs >= hopelessAtMs;
      if (isHopeless && replyGate.waitingCount > 0) replyGate.break(`no lease: ${whyLapsed(nowMs)}`);
      replication?.setLeased(!isLapsed);
      if (isHopeless) replication?.letAllGo();
      // A node that has just become a primary has its first one in a moment: that is nobody's worry. (`holdsUntilMs`)
      const isFirst = before === "none" && leaseState === "lapsed";
      const isLate = isFirstAwaited && leaseState === "lapsed" && nowMs >= holdsUntilMs;
      isFirstAwaited = isFirst || (isFirstAwaited && leaseState === "lapsed" && !isLate);
      if (before === leaseState && !isLate) return;
      const reason = whyLapsed(nowMs);
      if (isFirst) return log.info("failover: no first lease yet", { reason });
      if (leaseState === "stale-reads") log.warn("failover: no lease: reads are served, and may be stale", { reason });
      else if (leaseState === "lapsed") log.warn("failover: no lease: keys are not served", { reason });
      else log.info("failover: lease", { state: leaseState });
    };

    // --- telling the leader ---

    const send = (to: NodeId, message: LeaseMessage): void => {
      const record = topology.node(to);
      if (to === node.id) received(to, message);
      else if (record !== undefined) {
        bus?.send({ host: record.busHost, port: record.busPort }, BusChannel.lease, encodeLeaseMessage(message));
      }
    };
    const recentlyBroken = (nowMs: number): readonly NodeId[] => {
      for (const [id, atMs] of brokenLinks) {
        if (nowMs - atMs > BROKEN_LEASES * settings.leaseMs) brokenLinks.delete(id);
      }
      return [...brokenLinks.keys()].slice(0, MAX_BROKEN);
    };
    const beat = (): void => {
      const shard = topology.selfShard;
      const to = consensus?.status.leader;
      // A lease is for somebody who serves.
      if (isStopped || context.isFaulty() || shard === undefined || to === undefined || !isAdmitted()) return;
      const nowMs = clock.monotonicMs();
      const isHolder = shard.primaryIncarnation === topology.self.incarnation;
      const message: Beat = {
        sequence: keeper.sent(to, nowMs),
        incarnation: topology.self.incarnation,
        mapVersion: topology.map.version,
        leaseMs: settings.leaseMs,
        wantsLease: needsLease() && isHolder && surrender === undefined,
        answered: keeper.answeredBy(to),
        position: replication?.position,
        lagMs: Math.round(membership?.member(node.id)?.lagMs ?? 0),
        brokenLinks: recentlyBroken(nowMs),
        surrender,
      };
      send(to, { type: "beat", beat: message });
    };
    const answered = (from: NodeId, { sequence, grantMs, reason }: Extract<LeaseMessage, { type: "answer" }>): void => {
      if (grantMs === 0) refusal = reason;
      answeredAtMs = clock.monotonicMs();
      if (keeper.answered(from, sequence, grantMs) || leaseState === "lapsed") guard();
    };

    // --- leading ---

    /** What this node holds against another. */
    const suspicionOf = (id: NodeId): Suspicion | undefined => {
      const health = membership?.member(id);
      const brokeAtMs = brokenLinks.get(id);
      const isSuspect =
        health !== undefined && health.state !== "alive" && health.incarnation === topology.node(id)?.incarnation;
      if (isSuspect && health.sinceMs >= (brokeAtMs ?? 0)) {
        return { sinceMs: health.sinceMs, words: `${health.state}: ${health.reason}` };
      }
      return brokeAtMs === undefined ? undefined : { sinceMs: brokeAtMs, words: "its link broke" };
    };
    const requestIn = async (
      term: number,
      request: TopologyRequest,
      cause: string,
    ): Promise<RequestOutcome<readonly string[]>> => {
      const id = consensus?.nextRequestId();
      for (;;) {
        const outcome = await topology.request(request, cause, id);
        if (outcome.type !== "unknown" || consensus?.leadership?.term !== term) return outcome;
      }
    };
    const openDesk = (term: number): void => {
      const leadership = consensus?.leadership;
      if (consensus === undefined || leadership?.term !== term) return;
      desk = new Desk(
        {
          get map() {
            return topology.map;
          },
          term,
          log,
          nowMs: () => clock.monotonicMs(),
          confirmedAtMs: () => leadership.confirmedAtMs,
          node: (id) => topology.node(id),
          suspicionOf,
          send,
          request: (request, cause) => requestIn(term, request, cause),
        },
        options,
        leadership,
      );
      for (const { id, role } of topology.map.nodes) if (role === "data" && id !== node.id) send(id, { type: "call" });
      beat();
    };
    /** Nothing is granted before everything is applied that an earlier leader may have decided. */
    const lead = (): void => {
      const term = consensus?.leadership?.term;
      if (term === deskTerm) {
        desk?.look();
        return;
      }
      desk = undefined;
      deskTerm = term;
      if (consensus === undefined || term === undefined) return;
      consensus.barrier(BARRIER_MS).then(
        (isFresh) => {
          if (deskTerm !== term || isStopped) return;
          if (isFresh) openDesk(term);
          else deskTerm = undefined;
        },
        (thrown: unknown) => context.fault(thrown),
      );
    };
    const looks = new Paced(context, () => look());
    const look = (): void => {
      lead();
      // Who does not lead is told when it begins to.
      const isLeading = consensus?.leadership !== undefined;
      looks.periodMs = !isLeading || isStopped ? 0 : desk?.isCalm === true ? CALM_LOOK_MS : LOOK_MS;
    };
    /** The desk, while this node leads: it may have stopped doing so since it was looked at. */
    const leading = (): Desk | undefined => (consensus?.leadership?.term === deskTerm ? desk : undefined);

    // --- what is wished ---

    const leadOn = (wanted: Wish, cause: string): string | undefined => {
      const open = leading();
      return open === undefined
        ? "TRYAGAIN the node that was asked does not lead, or has just begun to"
        : open.wish(wanted, cause);
    };
    /** Asks the leader. @returns Why it does not begin; `undefined` if it does. */
    const wish = (wanted: Wish, cause: string): Promise<string | undefined> => {
      const to = consensus?.status.leader;
      if (to === undefined) return Promise.resolve(NO_LEADER);
      lastWish += 1;
      const id = lastWish;
      return new Promise((resolve) => {
        const settle = (problem: string | undefined): void => {
          wishes.delete(id);
          deadline.cancel();
          resolve(problem);
        };
        const deadline = clock.after(WISH_MS, () => settle(UNANSWERED));
        wishes.set(id, settle);
        send(to, { type: "wish", id, wish: wanted, cause });
      });
    };
    /**
     * A primary hands its shard over:
     * 1. commands are held, until the replica has all of the log;
     * 2. the lease is given up, which every beat says from then on: only now the leader may promote. The replica is told, too, and holds what clients want,
     *    who are sent there at once: while they connect to it, it becomes the primary. Else it would send them back;
     * 3. the shard has another version: with another primary, or with this one, which serves again.
     * Until 2 it may go on by itself; from then on only the map ends it (SAFETY 13).
     */
    const handOver = async ({
      shard,
      shardVersion,
      to,
    }: Extract<LeaseMessage, { type: "hand-over" }>): Promise<void> => {
      const present = topology.selfShard;
      const refuseBecause = (reason: string): void => log.info("failover: not handed over", { shard, to, reason });
      if (replication === undefined) return refuseBecause("nothing is replicated");
      if (context.isFaulty()) return refuseBecause("a fault stops it");
      if (isHandingOver || surrender !== undefined) return refuseBecause("it hands over already");
      if (leaseState !== "held") return refuseBecause("it has no lease that it could give up");
      if (present?.id !== shard || present.version !== shardVersion || !isPrimary()) {
        return refuseBecause("the shard has changed since");
      }
      isHandingOver = true;
      try {
        const isLevel = await replication.handOver(to, settings.handOverMs);
        const { selfShard } = topology;
        if (isStopped || selfShard?.primary !== node.id) return;
        if (!isLevel) {
          log.warn("failover: not handed over: the replica has not got all of the log in time", { shard, to });
          replication.resume();
          return;
        }
        surrender = { to, shardVersion: selfShard.version };
        keeper.surrender();
        surrenderedAtMs = clock.monotonicMs();
        guard();
        beat();
        send(to, { type: "heir", shard, shardVersion: surrender.shardVersion });
      } catch (thrown) {
        context.fault(thrown);
      } finally {
        isHandingOver = false;
      }
    };
    /** Before it stops, a primary has the best of its replicas take over. */
    const handOverToStop = async (): Promise<void> => {
      const { id: shard, replicas = [] } = topology.selfShard ?? {};
      if (!isPrimary() || shard === undefined || replicas.length === 0 || replication === undefined) return;
      const cause = `node ${topology.self.name || node.id} stops`;
      const reason = await retire({
        clock,
        isPrimary: () => isPrimary() && !context.isFaulty(),
        replicas: () => replication.replicas,
        isAlive: (id) => membership?.member(id)?.state === "alive",
        handOver: (to) => wish({ type: "hand-over", shard, to }, cause),
        handOverMs: settings.handOverMs + settings.leaseMs,
        retireMs: settings.retireMs,
        waits: (why) => log.info("failover: waits for a replica before it stops", { shard, reason: why }),
      });
      if (reason !== "") log.warn("failover: stops without handing its shard over", { shard, reason });
    };

    // --- messages ---

    const received = (from: NodeId, message: LeaseMessage): void => {
      if (isStopped) return;
      switch (message.type) {
        case "beat": {
          const answer = leading()?.hear(from, message.beat);
          if (answer !== undefined) send(from, answer);
          break;
        }
        case "answer":
          answered(from, message);
          break;
        case "call":
          beat();
          break;
        case "wish": {
          const { id, wish: wanted, cause } = message;
          send(from, { type: "verdict", id, problem: leadOn(wanted, cause) });
          break;
        }
        case "verdict":
          wishes.get(message.id)?.(message.problem);
          break;
        case "hand-over":
          if (from === consensus?.status.leader) void handOver(message);
          break;
        case "heir": {
          const shard = topology.selfShard;
          if (isPrimary() || shard?.primary !== from || shard.version !== message.shardVersion) return;
          inherits = { shardVersion: shard.version, untilMs: clock.monotonicMs() + settings.leaseMs };
          guard();
          send(from, { ...message, type: "holds" });
          break;
        }
        case "holds":
          if (surrender?.to !== from || surrender.shardVersion !== message.shardVersion) return;
          redirects = { to: from, untilMs: surrenderedAtMs + REDIRECT_LEASES * settings.leaseMs };
          if (clock.monotonicMs() < redirects.untilMs) replication?.letKeysGo(true);
          break;
        default:
          message satisfies never;
      }
    };
    bus?.receive(BusChannel.lease, (from, bytes) => {
      const message = readLeaseMessage(bytes);
      if (message === undefined) malformedMessages += 1;
      else received(from.nodeId, message);
    });
    bus?.onLinkLost((address, nodeId) => {
      const isThere = (record: { readonly busHost: string; readonly busPort: number }): boolean =>
        record.busHost === address.host && record.busPort === address.port;
      const id = nodeId ?? topology.map.nodes.find(isThere)?.id;
      if (id !== undefined) brokenLinks.set(id, clock.monotonicMs());
    });

    // --- another map ---

    let wasPrimary = false;
    let wasReplica = false;
    context.on(
      hooks.mapChanged,
      context.vital(() => {
        const { version = 0 } = topology.selfShard ?? {};
        if (surrender !== undefined && (!isPrimary() || version > surrender.shardVersion)) {
          surrender = undefined;
          if (isPrimary()) resumesAtMs = clock.monotonicMs() + settings.renewMs;
        }
        // 1. A node that becomes a primary, or is not alone any more, serves nothing before it has a lease. If it leads itself, it has it in the same moment.
        if (!needsLease() || leaseState !== "none") return;
        // A replica's lease may be on its way already: the leader grants it with the promotion, on a beat of before.
        if (!wasReplica) keeper.surrender();
        // Clients were sent here by those who know already, and not all of them ask again when they are refused.
        holdsUntilMs = clock.monotonicMs() + settings.leaseMs;
        shardVersion = version;
        beat();
        guard();
      }),
      { order: "pre" },
    );
    context.on(
      hooks.mapChanged,
      context.vital(() => {
        // 2. One that is a primary no more: after whoever leads the log has ended what waited for it, nothing may leave that waited for a lease.
        if (wasPrimary && !isPrimary()) {
          keeper.surrender();
          replyGate.break("this node is not the primary any more");
        }
        wasPrimary = isPrimary();
        wasReplica = isAdmitted() && topology.selfShard?.replicas.includes(node.id) === true;
        guard();
        // 3. A lease is granted to whoever knows the last change of its shard: the leader hears of it at once.
        const { version = 0 } = topology.selfShard ?? {};
        if (version === shardVersion) return;
        shardVersion = version;
        beat();
      }),
      { order: "post" },
    );

    // --- life ---

    context.on(hooks.start, () => {
      if (consensus === undefined) return;
      context.every(settings.renewMs, () => {
        beat();
        guard();
      });
      consensus.onLead(look);
    });
    // One that is a cluster by itself leads already, and others may come at once.
    context.on(hooks.ready, look);
    context.on(hooks.stop, async () => {
      // Nobody takes over what is broken: whoever has it from the log is promoted when the lease is over.
      if (!context.isFaulty()) await handOverToStop();
      isStopped = true;
      timer?.cancel();
      for (const settle of wishes.values()) settle("the node stops");
    });

    // --- commands ---

    const answer = (call: Call, wanted: Wish): void => {
      const { client, command } = call;
      const cause = `${command.fullName.toUpperCase().replace("|", " ")} from ${client.transport.remoteAddress}`;
      const deferred = call.defer();
      wish(wanted, cause).then(
        (problem) =>
          deferred.resolve((reply) => {
            if (problem === undefined) reply.simple("OK");
            else reply.error(problem);
          }),
        (thrown: unknown) => context.fault(thrown),
      );
    };
    const failOver = (call: Call): void => {
      const shard = topology.selfShard;
      const isForced = call.count === 3 && (call.is(2, "FORCE") || call.is(2, "TAKEOVER"));
      const master = shard === undefined ? undefined : membership?.member(shard.primary);
      if (call.count > 3) refuseExtraArguments(call);
      else if (call.count === 3 && !isForced) call.reply.error(SYNTAX_ERROR);
      else if (shard === undefined || isPrimary()) {
        call.reply.error("ERR You should send CLUSTER FAILOVER to a replica");
      } else if (master?.state === "down" && !isForced) {
        call.reply.error("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE");
      } else {
        answer(call, { type: isForced ? "force" : "hand-over", shard: shard.id, to: node.id });
      }
    };
    const acceptLoss = (call: Call): void => {
      const id = call.text(2);
      const shard = topology.map.shards.find((each) => each.id === id);
      if (shard === undefined) call.reply.error(`ERR there is no shard ${id.slice(0, 64)}`);
      else answer(call, { type: "accept-loss", shard: shard.id });
    };
    context.subcommand("cluster", {
      ...splitUsage("failover [options:(FORCE | TAKEOVER)]"),
      arity: -2,
      flags: ["admin", "stale", "no_async_loading"],
      group: "cluster",
      summary: "Has this replica take over from its primary.",
      complexity: "O(1)",
      since: "3.0.0",
      run: failOver,
    });
    context.subcommand("cluster", {
      ...splitUsage("accept-loss shard-id"),
      arity: 3,
      flags: ["admin", "stale", "no_async_loading"],
      group: "cluster",
      summary: "Has a shard go on without acknowledged writes that nobody holds any more.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run: acceptLoss,
    });

    context.on(hooks.info, () => ({
      section: "failover",
      fields: {
        lease_state: leaseState,
        lease_left_ms: Math.max(
          0,
          Math.round(Math.min(replyGate.leaseEndsAtMs - clock.monotonicMs(), settings.leaseMs)),
        ),
        lease_refusal: leaseState === "lapsed" || leaseState === "stale-reads" ? whyLapsed(clock.monotonicMs()) : "",
        lease_malformed_messages: malformedMessages,
        failover_promotions: desk?.promotions ?? 0,
        ...Object.fromEntries(
          [...(leading()?.reasons ?? [])].map(([id, reason]) => [
            `shard_${id}`,
            withMemberNames(reason, topology.map.nodes),
          ]),
        ),
      },
    }));

    return {
      failover: {
        get leaseState() {
          return leaseState;
        },
        get leaseEndsAtMs() {
          return replyGate.leaseEndsAtMs;
        },
        get reasons() {
          return leading()?.reasons ?? new Map<string, string>();
        },
        get isHeir() {
          return inherits !== undefined;
        },
        holdForHeir: (call) => hold.add(call),
        handOver: (shard, to, isForced, cause) => wish({ type: isForced ? "force" : "hand-over", shard, to }, cause),
        acceptLoss: (shard, cause) => wish({ type: "accept-loss", shard }, cause),
        promisedUntilMs: (id) => leading()?.promisedUntilMs(id),
      },
    };
  },
});
