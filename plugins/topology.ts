/**
 * topology: the cluster map.
 *
 * Promises: every node applies the same acts in the same order, so that a version of the map is the same everywhere; an act is decided by the leader alone, on
 * everything that its log holds; a request that is asked twice happens once; readers see one immutable image, which is switched in one step. A node serves
 * only as the start that the map has admitted.
 *
 * How: `src/protocol/topology/` decides and applies. With the service `consensus` the acts are entries of its log; without it they apply here, at once. A cluster
 * begins with the nodes of the setting `nodes`, the same list on each of them, or, where there is none, with this node alone and all slots.
 *
 * Talks to the rest through the service `topology`, and tells each new map by the hook `mapChanged`.
 */
import { createHash } from "node:crypto";
import { Type } from "@sinclair/typebox";
import { assert } from "../src/assert.ts";
import { BUS_PORT_OFFSET, type CoreSettings, HOST_PATTERN } from "../src/config.ts";
import { NEWEST_VERSION, OLDEST_VERSION } from "../src/codec/link-codec.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import { GONE_MS, rivalText } from "../src/consensus/admission.ts";
import { busService } from "../src/contracts/bus.ts";
import {
  type Applied,
  type Decision,
  type Founder,
  type RequestOutcome,
  consensusService,
} from "../src/contracts/consensus.ts";
import { httpService } from "../src/contracts/http.ts";
import {
  type ClusterMap,
  type MapDelta,
  type NodeRecord,
  type ShardRecord,
  type SlotRange,
  type Topology,
  type TopologyRequest,
  topologyService,
} from "../src/contracts/topology.ts";
import { StartError } from "../src/errors.ts";
import { readNodeCard } from "../src/node-card.ts";
import { idOfName } from "../src/identity.ts";
import { type NetAddress, isEveryAddress, parseAddress } from "../src/net-address.ts";
import { type NodeFacts, definePlugin } from "../src/plugin.ts";
import { canonicalRanges, parseSlotRange } from "../src/protocol/slot-ranges.ts";
import {
  ALL_SLOTS,
  type FoundingNode,
  divideAmong,
  foundingState,
  problemOfFounders,
} from "../src/protocol/topology/founding-map.ts";
import { decideRequest } from "../src/protocol/topology/decide.ts";
import type { TopologyAct } from "../src/protocol/topology/records.ts";
import {
  decodeAct,
  decodeSnapshot,
  encodeAct,
  encodeMapFile,
  encodeSnapshot,
} from "../src/protocol/topology/topology-json.ts";
import {
  EMPTY_STATE,
  Journal,
  type TopologyState,
  applyAct,
  checkChange,
  checkState,
  deltaOf,
  hasLostData,
  imageOf,
} from "../src/protocol/topology/state.ts";

const nodeSchema = Type.Object(
  {
    name: Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }),
    id: Type.Optional(Type.String({ pattern: "^[0-9a-f]{40}$" })),
    host: Type.String({ pattern: HOST_PATTERN }),
    port: Type.Integer({ minimum: 1, maximum: 65535 }),
    busPort: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
    zone: Type.Optional(Type.String({ maxLength: 64 })),
    witness: Type.Optional(Type.Boolean()),
    slots: Type.Array(Type.String()),
  },
  { additionalProperties: false },
);

const settingsSchema = Type.Object({
  nodes: Type.Optional(
    Type.Array(nodeSchema, {
      description:
        'The nodes that a new cluster begins with, the same list on each: name, host, port, slots ("0-5460", "7"), and if need be id, busPort, zone, and witness: true for one that votes and holds no data. This node is the one of its --name. Once there is a cluster, its own map counts. Default: this node is alone and owns all slots.',
      minItems: 1,
      maxItems: 1000,
      wants:
        'a list of nodes, such as [{"name":"a","host":"127.0.0.1","port":7001,"slots":["0-8191"]},{"name":"b","host":"127.0.0.1","port":7002,"slots":["8192-16383"]}]',
    }),
  ),
});

/** How often a node that the map does not have as it is asks to be admitted. */
const REGISTER_MS = 200;

/** A shard has the id of nothing else, and the same on every node. */
function shardIdOf(nodeId: string): string {
  return createHash("sha1").update(`bunch shard ${nodeId}`).digest("hex");
}

export default definePlugin({
  name: "topology",
  summary: "Keeps the cluster map: decides its changes, applies them, tells them.",
  uses: { bus: busService, consensus: consensusService, http: httpService },
  provides: { topology: topologyService },
  settings: settingsSchema,
  setup(context) {
    const { core, hooks, node, settings, world } = context;
    const { bus, consensus, http } = context.uses;
    const { clock, log } = world;
    const start = startOf(settings.nodes, node, core);
    const founders = start.type === "found" ? start.founders : [];
    const problem = problemOfFounders(founders);
    if (problem !== undefined)
      throw new StartError(`Setting "plugins.topology.nodes" makes no cluster map: ${problem}.`);
    let listed =
      start.type === "found" ? findSelf(founders, node.id, core, start.isListed) : ownNode(node.id, core, []);
    if (listed.record.role === "witness" && core.dataDir === undefined) {
      throw new StartError(
        `This node is a witness: it needs a data directory (--data-dir), since its vote has to outlive it.`,
      );
    }
    const founding = foundingState(founders, shardIdOf);

    let journal = new Journal();
    // Before a group is there this node knows who there may be, and nothing that anybody serves.
    let state: TopologyState = {
      ...EMPTY_STATE,
      nodes: start.type === "found" ? founding.nodes : new Map([[node.id, listed.record]]),
    };
    let map = imageOf(state, undefined);
    let selfShard: { readonly map: ClusterMap; readonly id: string; readonly shard: ShardRecord | undefined } = {
      map,
      id: "",
      shard: undefined,
    };
    // The leader's, while this node leads: what its whole log gives.
    let ahead: { state: TopologyState; readonly settled: Set<string> } | undefined;
    let localRequests = 0;

    /** Where operators come, once they can. */
    const httpPlace = (): Partial<NodeRecord> => {
      const { host, port } = http?.address ?? { host: "", port: 0 };
      return port === 0 ? {} : { httpHost: host, httpPort: port };
    };
    const ownRecord = (): NodeRecord => ({
      ...listed.record,
      // A port that the machine chose is known only when it is open.
      port: core.announcePort ?? Number(context.parameters.get("port")?.get() ?? listed.record.port),
      busPort: bus?.address.port ?? listed.record.busPort,
      ...httpPlace(),
      features: { oldest: OLDEST_VERSION, newest: NEWEST_VERSION },
      start: node.runId,
    });
    const introduction = (): Omit<NodeRecord, "incarnation"> => {
      const { incarnation: _, ...record } = ownRecord();
      return record;
    };
    const self = (): NodeRecord => state.nodes.get(node.id) ?? listed.record;
    const isAdmitted = (): boolean => self().start === node.runId;

    /** Switches to another state, and tells it. */
    const switchTo = (next: TopologyState, delta: MapDelta | undefined): void => {
      if (delta === undefined) checkState(next);
      else checkChange(state, next, delta);
      const previous = map;
      state = next;
      map = imageOf(state, previous);
      hooks.mapChanged.notify({ map, previous, delta });
      afterSwitch();
    };
    /** Says that this node knows what it has lost: it does not serve it any more from here on. */
    let acknowledged = 0;
    const afterSwitch = (): void => {
      const lost = state.releases.filter((release) => release.node === node.id);
      const version = Math.max(0, ...lost.map((release) => release.version));
      if (version <= acknowledged || !isAdmitted()) return;
      acknowledged = version;
      clock.soon(() => void acknowledge(version));
    };
    const acknowledge = async (version: number): Promise<void> => {
      const request = { type: "acknowledge-releases", node: node.id, version } as const;
      const outcome = await ask(request, "it knows what it lost");
      // Others wait for this word.
      if (outcome.type !== "done" && acknowledged === version) acknowledged = 0;
    };

    // --- what is replicated ---

    /** A node that comes in under the id of one that is here and alive would displace it, and be displaced by it: as in `Admission`. */
    const problemOfRival = (request: TopologyRequest): string | undefined => {
      if (request.type !== "merge-node") return undefined;
      const { id, start: asking, busHost, busPort } = request.node;
      const here = (ahead?.state ?? state).nodes.get(id);
      if (here === undefined || here.start === asking || here.start === "") return undefined;
      const isWhereItWas = here.busHost === busHost && here.busPort === busPort;
      const isGone = (consensus?.silentMs(id) ?? 0) >= GONE_MS;
      return isWhereItWas || isGone ? undefined : `ERR ${rivalText(id, { host: here.busHost, port: here.busPort })}`;
    };
    const decide = (requestId: string, request: TopologyRequest, cause: string): Decision => {
      if (ahead?.settled.has(requestId) === true || journal.outcomeOf(requestId) !== undefined) {
        return { type: "settled" };
      }
      const rival = problemOfRival(request);
      const decision =
        rival === undefined
          ? decideRequest(ahead?.state ?? state, request, shardIdOf, consensus?.leadership?.term)
          : { rejection: rival };
      const act = { requestId, cause, timeMs: clock.wallMs() };
      if ("rejection" in decision) {
        const reason = decision.rejection;
        const record = encodeAct({ ...act, records: [], outcome: [], rejection: reason });
        return { type: "rejected", reason, record };
      }
      return { type: "record", record: encodeAct({ ...act, ...decision }) };
    };
    const apply = (version: number, act: TopologyAct): Applied => {
      journal.add(version, act);
      ahead?.settled.delete(act.requestId);
      // The map's version is that of the last act which changed it, on every node: also on one that has it from a snapshot.
      if (act.records.length > 0) {
        const next = applyAct(state, version, act);
        switchTo(next, deltaOf(state, next));
      }
      return { requestId: act.requestId, outcome: act.outcome, rejection: act.rejection };
    };
    consensus?.attach(
      {
        founding: (candidates) =>
          encodeSnapshot(
            start.type === "found" ? founding : foundingState(divide(candidates, core.replicas), shardIdOf),
            new Journal(),
          ),
        isCard: (id, card) => readNodeCard(card)?.id === id,
        standingOf: (id) => (state.nodes.has(id) ? "member" : state.tombstones.has(id) ? "removed" : "unknown"),
        async introduce(id, card) {
          const record = readNodeCard(card);
          if (record?.id !== id || record.start === "") return "ERR what it says of itself makes no sense";
          const outcome = await ask({ type: "register-node", node: record }, "it asked to be taken in");
          return outcome.type === "done" ? undefined : outcome.reason;
        },
        self: () => founderOf(ownRecord()),
        member(id) {
          const record = state.nodes.get(id);
          return record && { start: record.start, address: { host: record.busHost, port: record.busPort } };
        },
        otherPlaces({ host, port }) {
          for (const { busHost, busPort, otherBusHosts = [] } of state.nodes.values()) {
            if (busHost === host && busPort === port) return otherBusHosts.map((other) => ({ host: other, port }));
          }
          return [];
        },
        lead(isLeading) {
          ahead = isLeading ? { state, settled: new Set() } : undefined;
        },
        decide(requestId, bytes) {
          const { request, cause } = decodeRequest(bytes);
          return decide(requestId, request, cause);
        },
        accepted(index, record) {
          assert(ahead !== undefined, "only a leader's log takes records");
          const act = decodeAct(record);
          ahead.state = applyAct(ahead.state, index, act);
          ahead.settled.add(act.requestId);
        },
        apply: (index, record) => apply(index, decodeAct(record)),
        snapshot: () => encodeSnapshot(state, journal),
        outcomeOf(requestId) {
          const found = journal.outcomeOf(requestId);
          return found === undefined ? undefined : { requestId, outcome: found.outcome, rejection: found.rejection };
        },
        takenOut() {
          // The same map, which says other things of this node: whoever reads it looks anew.
          const previous = map;
          map = { ...map };
          hooks.mapChanged.notify({ map, previous, delta: undefined });
        },
        restore(bytes) {
          const restored = decodeSnapshot(bytes);
          ({ journal } = restored);
          ahead = undefined;
          switchTo({ ...restored.state, clusterId: consensus.status.group }, undefined);
        },
      },
      start.type === "found"
        ? { type: "list", founders: founders.map(({ record }) => founderOf(record)) }
        : { type: "seeds", seeds: start.seeds, expect: start.expect, terms: `replicas ${core.replicas}` },
    );

    // --- requests ---

    const ask = async (
      request: TopologyRequest,
      cause: string,
      sharedId?: string,
    ): Promise<RequestOutcome<readonly string[]>> => {
      if (consensus === undefined) return askHere(request, cause);
      const id = sharedId ?? consensus.nextRequestId();
      const outcome = await consensus.request(id, encodeRequest(request, cause), sharedId !== undefined);
      return outcome.type === "done" ? { ...outcome, outcome: journal.outcomeOf(id)?.outcome ?? [] } : outcome;
    };
    /** Without consensus: this node's word is all there is. */
    const askHere = (request: TopologyRequest, cause: string): RequestOutcome<readonly string[]> => {
      localRequests += 1;
      const requestId = `local-${localRequests}`;
      const decision = decideRequest(state, request, shardIdOf);
      if ("rejection" in decision) return { type: "rejected", reason: decision.rejection };
      const act = { requestId, cause, timeMs: clock.wallMs(), ...decision };
      apply(state.version + 1, act);
      return { type: "done", index: state.version, outcome: act.outcome };
    };

    // --- life ---

    let isLeaving = false;
    let isRegistering = false;
    /** Has this start of the node admitted. */
    const register = async (): Promise<void> => {
      // A node that is being reset is out of the map already, and does not want to come back.
      if (isRegistering || isLeaving || isAdmitted() || map.version === 0) return;
      isRegistering = true;
      const outcome = await ask({ type: "register-node", node: introduction() }, "it has started");
      isRegistering = false;
      if (outcome.type === "rejected" && lastRejection !== outcome.reason) {
        lastRejection = outcome.reason;
        log.error("the cluster does not admit this node", { reason: outcome.reason });
      } else if (outcome.type === "done") {
        log.info("admitted to the cluster", { version: state.version, nodes: state.nodes.size });
      }
    };
    let lastRejection: string | undefined;
    context.on(
      hooks.start,
      () => {
        if (consensus === undefined) {
          // The map is what the settings say, on each node for itself: all starts are admitted.
          const nodes = new Map([...founding.nodes].map(([id, each]) => [id, { ...each, incarnation: 1 }]));
          const own = { ...listed.record, ...httpPlace(), start: node.runId, incarnation: 1 };
          const shards = new Map([...founding.shards].map(([id, each]) => [id, { ...each, primaryIncarnation: 1 }]));
          switchTo({ ...founding, clusterId: "", version: 1, nodes: nodes.set(node.id, own), shards }, undefined);
        } else if (map.version === 0) {
          hooks.mapChanged.notify({ map, previous: undefined, delta: undefined });
        }
      },
      { order: "pre" },
    );
    context.on(hooks.ready, async () => {
      if (consensus === undefined) return;
      context.every(REGISTER_MS, () => {
        void register();
        afterSwitch();
      });
      // A node that is a cluster by itself serves from the moment that it is ready.
      if (founders.length === 1) await register();
      else void register();
    });

    /** One way out of the cluster at a time: each notes where the node belongs, and then goes there. */
    const leaving = async (way: () => Promise<string | undefined>): Promise<string | undefined> => {
      if (isLeaving) return "this node is leaving its cluster already";
      isLeaving = true;
      try {
        return await way();
      } finally {
        isLeaving = false;
      }
    };
    const beginAlone = async (id: string, epoch: number): Promise<string | undefined> => {
      // Afterwards it is somebody else.
      const leftPeer = consensus?.status.peer;
      const problem = await consensus?.leave();
      if (problem !== undefined) return problem;
      await context.resetIdentity(id, { leftPeer, joining: undefined });
      listed = { record: { ...ownRecord(), id, incarnation: 1 }, slots: [] };
      acknowledged = 0;
      lastRejection = undefined;
      const alone = foundingState([listed], shardIdOf, epoch);
      if (consensus === undefined) {
        journal = new Journal();
        switchTo(alone, undefined);
      } else {
        await consensus.foundAlone(encodeSnapshot(alone, new Journal()));
      }
      log.info("this node is a cluster by itself", { nodeId: id });
      return undefined;
    };

    const moveTo = async (clusterId: string, members: readonly NetAddress[]): Promise<string | undefined> => {
      if (consensus === undefined) return 'without the plugin "raft" there is no cluster to move to';
      const former = [...(node.joining?.former ?? []), state.clusterId].filter((id) => id !== "");
      const leftPeer = consensus.status.peer;
      const problem = await consensus.moveTo(clusterId, members, () =>
        context.resetIdentity(node.id, { leftPeer, joining: { group: clusterId, members, former } }),
      );
      if (problem !== undefined) return problem;
      acknowledged = 0;
      lastRejection = undefined;
      return undefined;
    };

    if (http !== undefined) context.on(http.notReady, () => topology.waitingFor);
    const topology: Topology = {
      moveTo: (clusterId, members) => leaving(() => moveTo(clusterId, members)),
      get introduction() {
        return introduction();
      },
      get map() {
        return map;
      },
      get self() {
        return self();
      },
      get selfShard() {
        // Asked all the time; a map never changes.
        if (selfShard.map !== map || selfShard.id !== node.id) {
          const { id } = node;
          selfShard = {
            map,
            id,
            shard: map.shards.find(({ primary, replicas }) => primary === id || replicas.includes(id)),
          };
        }
        return selfShard.shard;
      },
      node: (id) => state.nodes.get(id),
      request: ask,
      get isMember() {
        return state.nodes.has(node.id) && consensus?.status.isOut !== true;
      },
      beginAlone: (id, epoch) => leaving(() => beginAlone(id, epoch)),
      get history() {
        return journal.history;
      },
      get waitingFor() {
        if (consensus === undefined) return undefined;
        if (map.version === 0 || consensus.status.isOut) return consensus.status.waitingFor ?? "the cluster map";
        if (!isAdmitted()) return lastRejection ?? "being admitted to the cluster";
        const shard = topology.selfShard;
        return shard?.primary === node.id && hasLostData(state, shard)
          ? "a replica to take over: this node has restarted, and lost what its shard held"
          : undefined;
      },
      exportState: () => encodeMapFile(state),
    };
    return { topology };
  },
});

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function encodeRequest(request: TopologyRequest, cause: string): Uint8Array {
  return encoder.encode(JSON.stringify({ request, cause }));
}

function decodeRequest(bytes: Uint8Array): { readonly request: TopologyRequest; readonly cause: string } {
  // It comes from another node of the cluster, which made it by `encodeRequest`.
  return JSON.parse(decoder.decode(bytes)) as { request: TopologyRequest; cause: string };
}

/** What a node tells of itself. The founding map of all that found a cluster is made of these. */
function founderOf(record: NodeRecord): Founder {
  const { incarnation: _, ...card } = record;
  return {
    nodeId: record.id,
    address: { host: record.busHost, port: record.busPort },
    zone: record.zone,
    isWitness: record.role === "witness",
    card: JSON.stringify(card),
  };
}

/** The map of nodes that found each other. */
function divide(founders: readonly Founder[], replicas: number): readonly FoundingNode[] {
  const records = founders.map(({ card }): NodeRecord => {
    const record = readNodeCard(card);
    assert(record !== undefined, "founders say what they are");
    // Each start is admitted by a record of its own.
    return { ...record, start: "", incarnation: 0 };
  });
  // As people would: by name, where there are names, "node-2" before "node-10".
  const keyOf = ({ name }: NodeRecord): string => name.replaceAll(/[0-9]+/g, (digits) => digits.padStart(64, "0"));
  const inOrder = records
    .map((record) => ({ record, key: keyOf(record) }))
    .toSorted((a, b) => (a.key === b.key ? 0 : a.key < b.key ? -1 : 1))
    .map(({ record }) => record);
  return divideAmong(inOrder, replicas);
}

/** How this node comes to a map. */
type Start =
  | { readonly type: "found"; readonly founders: readonly FoundingNode[]; readonly isListed: boolean }
  | { readonly type: "look"; readonly seeds: readonly NetAddress[]; readonly expect: number };

/** @throws {StartError} If settings contradict each other. */
function startOf(nodes: readonly ConfiguredNode[] | undefined, node: NodeFacts, core: CoreSettings): Start {
  const refuse = (problem: string): never => {
    throw new StartError(problem);
  };
  const { join, bootstrapExpect, replicas, replicaOf, empty } = core;
  const isLooking = join !== undefined || bootstrapExpect !== undefined;
  if (nodes !== undefined && (isLooking || empty)) {
    refuse(
      `Setting "plugins.topology.nodes" lists the nodes of the cluster: it goes with none of --join, --bootstrap-expect and --empty.`,
    );
  }
  if (isLooking && empty)
    refuse("Flag --empty is for a node that waits to be met: it goes without --join and --bootstrap-expect.");
  if (bootstrapExpect !== undefined && bootstrapExpect > 1 && join === undefined) {
    refuse(
      `Flag --bootstrap-expect ${bootstrapExpect} wants nodes to look for: give their bus addresses with --join, the same on each.`,
    );
  }
  if (replicas > 0 && bootstrapExpect === undefined) {
    refuse(
      `Flag --replicas ${replicas} is about a cluster that is founded by --bootstrap-expect; --replica-of or CLUSTER REPLICATE makes a node a replica.`,
    );
  }
  if (bootstrapExpect !== undefined && bootstrapExpect <= replicas) {
    refuse(
      `Flag --bootstrap-expect ${bootstrapExpect} is too few for --replicas ${replicas}: a primary with its replicas takes ${replicas + 1} nodes.`,
    );
  }
  if (replicaOf !== undefined && (join === undefined || bootstrapExpect !== undefined || core.witness)) {
    const what = core.witness ? "a witness holds no data" : "those that found one (--bootstrap-expect) take --replicas";
    refuse(`Flag --replica-of ${replicaOf} is for a node that joins a cluster by --join; ${what}.`);
  }
  for (const name of ["announceHost", "announceBusHost"] as const) {
    const told = core[name]?.split(",").find(isEveryAddress);
    if (told === undefined) continue;
    refuse(
      `Setting "${name}" names every address (${told}), to which nobody can connect: it must be where this node is reached.`,
    );
  }
  const hosts = [core.announceBusHost ?? core.announceHost ?? core.host, core.announceHost ?? core.host];
  const nowhere = hosts.map((each) => each.split(",")[0] ?? "").find(isEveryAddress);
  const hasOthers = join !== undefined || (nodes?.length ?? 0) > 1 || node.joining !== undefined;
  if (nowhere !== undefined && hasOthers) {
    refuse(
      `A node that listens on every address (${nowhere}) does not say where it is reached, and other nodes have to tell each other and clients: give that with --announce-host.`,
    );
  }
  if (node.joining !== undefined) return { type: "look", seeds: node.joining.members, expect: 0 };
  if (node.isReset) return { type: "found", founders: [ownNode(node.id, core, [])], isListed: false };
  if (nodes !== undefined) return { type: "found", founders: nodes.map(foundingNode), isListed: true };
  if (isLooking) return { type: "look", seeds: seedsOf(join ?? ""), expect: bootstrapExpect ?? 0 };
  const slots = empty || core.witness ? [] : ALL_SLOTS;
  return { type: "found", founders: [ownNode(node.id, core, slots)], isListed: false };
}

function seedsOf(join: string): readonly NetAddress[] {
  return join.split(",").flatMap((text) => {
    if (text === "") return [];
    const address = parseAddress(text);
    if (address === undefined) throw new StartError(`Flag --join names "${text}", but a port is from 1 to 65535.`);
    return address;
  });
}

/** This node, as its settings describe it. */
function ownNode(id: string, core: CoreSettings, slots: readonly SlotRange[]): FoundingNode {
  const [host = core.host, ...otherHosts] = (core.announceHost ?? core.host).split(",");
  const [busHost = host, ...otherBusHosts] = (core.announceBusHost ?? core.announceHost ?? core.host).split(",");
  return {
    record: {
      id,
      name: core.name ?? "",
      host,
      ...(otherHosts.length === 0 ? {} : { otherHosts }),
      port: core.announcePort ?? core.port,
      busHost,
      ...(otherBusHosts.length === 0 ? {} : { otherBusHosts }),
      busPort: core.announceBusPort ?? core.busPort ?? Math.min(core.port + BUS_PORT_OFFSET, 65535),
      httpHost: host,
      httpPort: 0,
      zone: core.zone,
      role: core.witness ? "witness" : "data",
      start: "",
      incarnation: 0,
    },
    slots,
  };
}

interface ConfiguredNode {
  readonly name: string;
  readonly id?: string;
  readonly host: string;
  readonly port: number;
  readonly busPort?: number;
  readonly zone?: string;
  /** It votes and holds no data. */
  readonly witness?: boolean;
  readonly slots: readonly string[];
}

function foundingNode(configured: ConfiguredNode): FoundingNode {
  const slots: SlotRange[] = configured.slots.map((text) => {
    const range = parseSlotRange(text);
    if (range === undefined) {
      throw new StartError(
        `Setting "plugins.topology.nodes" gives node "${configured.name}" the slots "${text}", but a range is a slot or two, such as 7 or 0-5460, from 0 to ${SLOT_COUNT - 1}.`,
      );
    }
    return range;
  });
  return {
    record: {
      id: configured.id ?? idOfName(configured.name),
      name: configured.name,
      host: configured.host,
      port: configured.port,
      busHost: configured.host,
      busPort: configured.busPort ?? Math.min(configured.port + BUS_PORT_OFFSET, 65535),
      httpHost: configured.host,
      httpPort: 0,
      zone: configured.zone ?? "",
      role: configured.witness === true ? "witness" : "data",
      start: "",
      incarnation: 0,
    },
    slots: canonicalRanges(slots),
  };
}

function findSelf(nodes: readonly FoundingNode[], id: string, core: CoreSettings, isListed: boolean): FoundingNode {
  const byId = nodes.find((each) => each.record.id === id);
  if (byId !== undefined) return byId;
  if (isListed && nodes.some((each) => each.record.name === core.name)) {
    throw new StartError(
      `Setting "plugins.topology.nodes" lists "${core.name ?? ""}" with another id than this node's, ${id}: give it as "id" in the list, or start with the data directory that belongs to it.`,
    );
  }
  throw new StartError(
    `Setting "plugins.topology.nodes" does not list this node (name ${core.name === undefined ? "not set" : `"${core.name}"`}, id ${id}): it lists ${nodes.map(({ record }) => `"${record.name}"`).join(", ")}; start it with --name, one of these.`,
  );
}
