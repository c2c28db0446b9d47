/**
 * discovery: who of the cluster is there.
 *
 * Promises: a node that stops answering is known to all within seconds, and one that is slow, or reached by some and not by others, is not taken for it; what a
 * node says and hears for that does not grow with the cluster. Nobody is made or unmade a member here: the cluster map says who is one.
 *
 * How: the machine in `src/protocol/membership/` decides, this plugin runs it: time, the bus (datagrams; streams for comparing all that is held), the cluster map
 * (`mapChanged`), links that break, and how long this node's own event loop stands still. It takes part once the map has admitted this start of the node.
 *
 * - What it finds it tells by the hook `memberChanged` and the service `membership`; others act on it.
 * - A node that others are ahead of, and that has had no news of the map for a while, fetches what it lacks from one of them (`Consensus.catchUp`): every node
 *   is in the log's group, but its leader may not reach each of them.
 * - With `forgetAfterMs` the leader's node takes members out of the map that have been down for so long and own no slots.
 * - A node that stops says so, and is not looked for.
 *
 * Without `raft` or `bus` it does nothing: then nobody admits starts, or nothing can be sent.
 */
import { Type } from "@sinclair/typebox";
import { encodeDatagram, encodeExchange, readDatagram, readExchange } from "../src/codec/gossip-codec.ts";
import { BusChannel, busService } from "../src/contracts/bus.ts";
import { consensusService } from "../src/contracts/consensus.ts";
import { type MemberHealth, type MembershipService, membershipService } from "../src/contracts/membership.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { type MapChange, topologyService } from "../src/contracts/topology.ts";
import { StartError, messageOf } from "../src/errors.ts";
import { reasonInWords } from "../src/member-words.ts";
import { definePlugin } from "../src/plugin.ts";
import { Membership } from "../src/protocol/membership/machine.ts";
import type { Member } from "../src/protocol/membership/members.ts";
import { MEMBERSHIP_PRESETS, type MembershipOptions } from "../src/protocol/membership/options.ts";
import type { Effect, Input } from "../src/protocol/membership/types.ts";
import type { Timer } from "../src/world.ts";

/** How often the event loop is looked at: a stop that is longer is seen in any case, a shorter one by chance. Each look wakes an idle node. */
const LAG_STEP_MS = 250;
/** The longest stop of so long is told at a time. */
const LAG_MS = 1000;
/** So long a node that others are ahead of waits for the log's leader, which mostly is on its way, before it asks them. */
const BEHIND_MS = 500;
/** How often the leader's node looks for members to take out. */
const FORGET_MS = 1000;

/** A setting that goes before the preset's. The formulas are in `src/protocol/membership/options.ts`. */
function override(name: keyof MembershipOptions, minimum: number, description: string) {
  const byPreset = Object.entries(MEMBERSHIP_PRESETS).map(([preset, options]) => `${preset} ${options[name]}`);
  return Type.Optional(Type.Integer({ minimum, description: `${description} By preset: ${byPreset.join(", ")}.` }));
}

const settingsSchema = Type.Object({
  preset: Type.Union([Type.Literal("local"), Type.Literal("lan"), Type.Literal("wan")], {
    default: "lan",
    description:
      "How far nodes are from each other: `local` on one machine, `lan` in one data centre or region, `wan` in several. It gives all settings below that are not given.",
  }),
  probeMs: override(
    "probeMs",
    10,
    "The protocol period, in milliseconds: each node probes one other in it. Half of it finds deaths in half of the time, and doubles what an idle cluster says: 2000 / probeMs messages a second for each node.",
  ),
  probeTimeoutMs: override(
    "probeTimeoutMs",
    1,
    "How long a probe waits for an answer before others are asked to try, in milliseconds: above nearly all round trips, and at most half of probeMs. Too low asks others for nothing, too high leaves them no time.",
  ),
  indirectProbes: override(
    "indirectProbes",
    0,
    "How many others are asked to probe a member that did not answer. Each costs four messages, and only then.",
  ),
  gossipMs: override(
    "gossipMs",
    1,
    "How often news is passed on while there is some, in milliseconds. Raising it saves datagrams, and makes news slower and suspicions longer by as much.",
  ),
  gossipFanout: override("gossipFanout", 1, "To how many members news goes each time."),
  retransmitMultiplier: override(
    "retransmitMultiplier",
    1,
    "Each member passes a piece of news on so many times digits(n), n being the members and digits(n) the binary digits of that. Raising it makes up for loss; news costs as many times its size.",
  ),
  suspicionMultiplier: override(
    "suspicionMultiplier",
    1,
    "A suspect has at least so many times digits(n) * gossipMs to disprove it. Raising it forgives longer stops and more loss, and finds deaths later.",
  ),
  suspicionMaxMultiplier: override(
    "suspicionMaxMultiplier",
    1,
    "A suspect has so many times that at first; each member that finds the same by itself halves what is above the least.",
  ),
  confirmations: override(
    "confirmations",
    0,
    "After so many members found the same, a suspect has the least time. About four times as many look for themselves when they hear of a suspect.",
  ),
  maxScore: override(
    "maxScore",
    0,
    "How much a node that gets no answers, or stands still, may doubt itself: it takes up to 1 + maxScore times as long for its probes. Raising it makes bad nodes accuse less, and clusters with much loss find deaths later.",
  ),
  pushPullMs: override(
    "pushPullMs",
    100,
    "How often a node compares all that it holds with another, in milliseconds: 30 bytes if that is the same, else about 25 bytes for each member.",
  ),
  retryDownMs: override(
    "retryDownMs",
    10,
    "How often one of the members that are down is tried, in milliseconds: how soon the end of a partition is seen.",
  ),
  forgetAfterMs: Type.Integer({
    description:
      "A member that has been down for so long and owns no slots is taken out of the cluster map, as CLUSTER FORGET does, in milliseconds. 0: never.",
    default: 0,
    minimum: 0,
  }),
});

export default definePlugin({
  name: "discovery",
  summary: "Finds out which nodes of the cluster are there.",
  requires: { topology: topologyService },
  uses: { bus: busService, consensus: consensusService, replication: replicationService },
  provides: { membership: membershipService },
  settings: settingsSchema,
  setup(context) {
    const { hooks, node, settings, world } = context;
    const { clock, log } = world;
    const { topology } = context.requires;
    const { bus, consensus, replication } = context.uses;
    const { preset, forgetAfterMs, ...overrides } = settings;
    const options: MembershipOptions = { ...MEMBERSHIP_PRESETS[preset], ...overrides };
    if (options.probeTimeoutMs > options.probeMs / 2) {
      throw new StartError(
        `Setting "plugins.discovery.probeTimeoutMs" is ${options.probeTimeoutMs}, but it must be at most half of probeMs (${options.probeMs}): others that are asked to try need the rest.`,
      );
    }

    let machine: Membership | undefined;
    let clusterId = "";
    let timer: Timer | undefined;
    let timerAtMs = Number.POSITIVE_INFINITY;
    let isStopped = false;
    let malformedMessages = 0;
    /** Since when others have had newer maps while none came here; `undefined`: none has been heard of since the last that came. */
    let behindSinceMs: number | undefined;

    // --- running the machine ---

    const step = (input: Input): void => {
      if (machine === undefined || isStopped) return;
      for (const effect of machine.step(input, clock.monotonicMs())) carryOut(effect);
      schedule();
    };
    const schedule = (): void => {
      const wakeAtMs = machine?.wakeAtMs ?? Number.POSITIVE_INFINITY;
      if (wakeAtMs >= timerAtMs) return;
      timer?.cancel();
      timerAtMs = wakeAtMs;
      timer = clock.after(Math.max(0, wakeAtMs - clock.monotonicMs()), () => {
        timerAtMs = Number.POSITIVE_INFINITY;
        step({ type: "time" });
      });
    };
    const carryOut = (effect: Effect): void => {
      switch (effect.type) {
        case "send":
          bus?.sendDatagram(effect.to, encodeDatagram(effect.message));
          break;
        case "exchange": {
          const record = topology.node(effect.to);
          if (record !== undefined)
            bus?.send(
              { host: record.busHost, port: record.busPort },
              BusChannel.membership,
              encodeExchange(effect.message),
            );
          break;
        }
        case "member": {
          const { id, start, state, previous, reason } = effect;
          // A suspicion is mostly disproved; a death is worth a person's time.
          const level = state === "down" ? "warn" : state === "suspect" || previous === "suspect" ? "debug" : "info";
          const suspectedBy = membership.member(id)?.suspectedBy ?? [];
          const words = reasonInWords({ state, reason, suspectedBy }, topology.map.nodes);
          log[level](`member ${state}`, { nodeId: id, previous, reason: words });
          hooks.memberChanged.notify({ nodeId: id, incarnation: start, state, previous, reason });
          break;
        }
        case "newer-map":
          log.debug("newer map", { version: effect.version, from: effect.from });
          behindSinceMs ??= clock.monotonicMs();
          if (clock.monotonicMs() - behindSinceMs >= BEHIND_MS) consensus?.catchUp(effect.from);
          break;
        default:
          effect satisfies never;
      }
    };
    const stop = (): void => {
      timer?.cancel();
      timer = undefined;
      timerAtMs = Number.POSITIVE_INFINITY;
      machine = undefined;
    };

    // --- the cluster map ---

    /** Who is a member, and which start of it, is what the map says. Nodes that have never started are none yet. */
    const follow = ({ map, delta }: MapChange): void => {
      if (bus === undefined || consensus === undefined || isStopped) return;
      behindSinceMs = undefined;
      const own = map.nodes.find(({ id }) => id === node.id);
      const isAdmitted = own !== undefined && own.start === node.runId;
      if (machine !== undefined && (!isAdmitted || machine.id !== own.id || clusterId !== map.clusterId)) stop();
      if (!isAdmitted) return;
      const isNew = machine === undefined;
      ({ clusterId } = map);
      machine ??= new Membership({
        id: own.id,
        start: own.incarnation,
        random: world.random,
        options,
        maxDatagramBytes: bus.maxDatagramBytes,
        nowMs: clock.monotonicMs(),
      });
      const isKnown = isNew || delta === undefined;
      if (isKnown) {
        const listed = new Set(map.nodes.map(({ id }) => id));
        for (const { id } of machine.members.all()) if (!listed.has(id)) step({ type: "forget", id });
      }
      const changed = isKnown ? map.nodes : delta.nodes.map((id) => topology.node(id) ?? id);
      for (const each of changed) {
        if (typeof each === "string") step({ type: "forget", id: each });
        else if (each.start !== "") step({ type: "introduce", id: each.id, start: each.incarnation });
      }
      step({ type: "map", version: map.version });
    };
    context.on(hooks.mapChanged, follow);

    // --- what happens ---

    bus?.receiveDatagrams((from, bytes) => {
      const message = readDatagram(bytes);
      if (message === undefined) malformedMessages += 1;
      else step({ type: "datagram", from, message });
    });
    bus?.receive(BusChannel.membership, (from, bytes) => {
      const message = readExchange(bytes);
      if (message === undefined) malformedMessages += 1;
      else step({ type: "exchange", from: from.nodeId, message });
    });
    bus?.onLinkLost((address, nodeId) => {
      const id =
        nodeId ??
        topology.map.nodes.find(({ busHost, busPort }) => busHost === address.host && busPort === address.port)?.id;
      if (id !== undefined) step({ type: "link-lost", id });
    });

    /** How long the event loop stands still, from how late a timer comes. */
    const measureLag = (): void => {
      // The first beat comes when it suits the others: what is late is measured from it on.
      let lookedAtMs = Number.POSITIVE_INFINITY;
      let longestMs = 0;
      let toldAtMs = clock.monotonicMs();
      context.every(LAG_STEP_MS, () => {
        const nowMs = clock.monotonicMs();
        longestMs = Math.max(longestMs, nowMs - lookedAtMs - LAG_STEP_MS);
        lookedAtMs = nowMs;
        if (nowMs - toldAtMs < LAG_MS) return;
        toldAtMs = nowMs;
        step({ type: "offset", offset: replication?.position?.sequence ?? 0 });
        step({ type: "lag", lagMs: Math.max(0, longestMs) });
        longestMs = 0;
      });
    };

    const isForgetting = new Set<string>();
    const forgetGone = async (member: Member): Promise<void> => {
      isForgetting.add(member.id);
      const seconds = ((clock.monotonicMs() - member.sinceMs) / 1000).toFixed(0);
      try {
        const outcome = await topology.request(
          { type: "remove-node", node: member.id, by: topology.self.id },
          `it has been down for ${seconds} s, longer than forgetAfterMs (${forgetAfterMs}): ${member.reason}`,
        );
        if (outcome.type === "rejected")
          log.warn("member not taken out", { nodeId: member.id, reason: outcome.reason });
      } catch (thrown) {
        log.error("member not taken out", { nodeId: member.id, reason: messageOf(thrown) });
      }
      isForgetting.delete(member.id);
    };
    const lookForGone = (): void => {
      if (consensus?.status.role !== "leader" || machine === undefined) return;
      const nowMs = clock.monotonicMs();
      const owners = new Set(topology.map.shards.filter(({ slots }) => slots.length > 0).map(({ primary }) => primary));
      for (const member of machine.members.all()) {
        if (member.state !== "down" || nowMs - member.sinceMs < forgetAfterMs) continue;
        if (!owners.has(member.id) && !isForgetting.has(member.id)) void forgetGone(member);
      }
    };

    context.on(hooks.start, () => {
      if (bus === undefined || consensus === undefined) return;
      measureLag();
      if (forgetAfterMs > 0) context.every(FORGET_MS, lookForGone);
    });
    context.on(hooks.stop, () => {
      step({ type: "leave" });
      isStopped = true;
      stop();
    });

    // --- what others see ---

    const membership: MembershipService = {
      get status() {
        return {
          isTakingPart: machine !== undefined,
          score: machine?.health.score ?? 0,
          newestMapVersion: machine?.newestVersion ?? topology.map.version,
          sentMessages: machine?.counters.sentDatagrams ?? 0,
          receivedMessages: machine?.counters.receivedDatagrams ?? 0,
        };
      },
      members: () => [...(machine?.members.all() ?? [])].map(healthOf),
      member: (nodeId) => {
        const member = machine?.members.get(nodeId);
        return member === undefined ? undefined : healthOf(member);
      },
    };
    context.on(hooks.info, () => {
      if (machine === undefined) return undefined;
      const counts = { alive: 0, suspect: 0, down: 0, left: 0 };
      for (const { state } of machine.members.all()) counts[state] += 1;
      const { counters, health, self, newestVersion } = machine;
      return {
        section: "cluster",
        fields: {
          members_alive: counts.alive,
          members_suspect: counts.suspect,
          members_down: counts.down,
          members_left: counts.left,
          membership_score: health.score,
          membership_loop_lag_ms: self.lagMs,
          membership_probes: counters.probes,
          membership_failed_probes: counters.failedProbes,
          membership_refutations: counters.refutations,
          membership_sent_messages: counters.sentDatagrams,
          membership_received_messages: counters.receivedDatagrams,
          membership_unknown_senders: counters.unknownSenders,
          membership_unknown_claims: counters.unknownClaims,
          membership_malformed_messages: malformedMessages,
          membership_newest_map_version: newestVersion,
        },
      };
    });
    return { membership };
  },
});

function healthOf(member: Member): MemberHealth {
  return {
    nodeId: member.id,
    incarnation: member.start,
    state: member.state,
    sinceMs: member.sinceMs,
    reason: member.reason,
    suspectedBy: [...(member.suspicion?.accusers ?? [])].map(([nodeId, sinceMs]) => ({ nodeId, sinceMs })),
    heardAtMs: member.heardAtMs,
    pingSentAtMs: member.pingedAtMs,
    pongReceivedAtMs: member.pongedAtMs,
    roundTripMs: member.roundTripMs,
    lagMs: member.lagMs,
    offset: member.offset,
    mapVersion: member.mapVersion,
  };
}
