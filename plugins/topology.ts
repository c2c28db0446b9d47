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
import { type CoreSettings, HOST_PATTERN } from "../src/config.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import {
  type Applied,
  type Decision,
  type Founder,
  type RequestOutcome,
  consensusService,
} from "../src/contracts/consensus.ts";
import {
  type MapDelta,
  type NodeRecord,
  type SlotRange,
  type Topology,
  type TopologyRequest,
  topologyService,
} from "../src/contracts/topology.ts";
import { StartError } from "../src/errors.ts";
import { idOfName } from "../src/identity.ts";
import { definePlugin } from "../src/plugin.ts";
import { canonicalRanges, parseSlotRange } from "../src/protocol/slot-ranges.ts";
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
  imageOf,
  intersectRanges,
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

/** Above the client port, as in Redis, unless it is said. */
const BUS_PORT_OFFSET = 10_000;
/** How often a node that the map does not have as it is asks to be admitted. */
const REGISTER_MS = 200;

/** A shard has the id of nothing else, and the same on every node. */
function shardIdOf(nodeId: string): string {
  return createHash("sha1").update(`bunch shard ${nodeId}`).digest("hex");
}

/** A node of the list, with the slots that it begins with. */
interface FoundingNode {
  readonly record: NodeRecord;
  readonly slots: readonly SlotRange[];
}

export default definePlugin({
  name: "topology",
  summary: "Keeps the cluster map: decides its changes, applies them, tells them.",
  uses: { consensus: consensusService },
  provides: { topology: topologyService },
  settings: settingsSchema,
  setup(context) {
    const { core, hooks, node, settings, world } = context;
    const { consensus } = context.uses;
    const { clock, log } = world;
    const isListed = settings.nodes !== undefined && !node.isReset;
    const founders =
      settings.nodes === undefined || node.isReset
        ? [aloneNode(node.id, core, node.isReset ? [] : [{ first: 0, last: SLOT_COUNT - 1 }])]
        : settings.nodes.map(foundingNode);
    const problem = problemOf(founders);
    if (problem !== undefined)
      throw new StartError(`Setting "plugins.topology.nodes" makes no cluster map: ${problem}.`);
    let listed = findSelf(founders, node.id, core, isListed);
    if (listed.record.role === "witness" && core.dataDir === undefined) {
      throw new StartError(
        `Node "${listed.record.name}" is a witness: it needs a data directory (--data-dir), since its vote has to outlive it.`,
      );
    }
    const founding = foundingState(founders);

    let journal = new Journal();
    // Before a group is there this node knows who there may be, and nothing that anybody serves.
    let state: TopologyState = { ...EMPTY_STATE, nodes: founding.nodes };
    let map = imageOf(state, undefined);
    // The leader's, while this node leads: what its whole log gives.
    let ahead: { state: TopologyState; readonly settled: Set<string> } | undefined;
    let localRequests = 0;

    const ownRecord = (): NodeRecord => ({
      ...listed.record,
      // A port that the machine chose is known only when it is open.
      port: Number(context.parameters.get("port")?.get() ?? listed.record.port),
      start: node.runId,
    });
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

    const decide = (requestId: string, request: TopologyRequest, cause: string): Decision => {
      if (ahead?.settled.has(requestId) === true || journal.outcomeOf(requestId) !== undefined) {
        return { type: "settled" };
      }
      const decision = decideRequest(ahead?.state ?? state, request, shardIdOf);
      const act = { requestId, cause, timeMs: clock.wallMs() };
      if ("rejection" in decision) {
        const reason = decision.rejection;
        const record = encodeAct({ ...act, records: [], outcome: [], rejection: reason });
        return { type: "rejected", reason, record };
      }
      return { type: "record", record: encodeAct({ ...act, ...decision }) };
    };
    const apply = (version: number, act: TopologyAct): Applied => {
      const next = applyAct(state, version, act);
      journal.add(version, act);
      ahead?.settled.delete(act.requestId);
      if (act.records.length === 0) state = next;
      else {
        const delta = deltaOf(state, next);
        switchTo(next, delta);
      }
      return { requestId: act.requestId, outcome: act.outcome, rejection: act.rejection };
    };
    consensus?.attach(
      {
        founding: encodeSnapshot(founding, new Journal()),
        admits: (id) => state.nodes.has(id),
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
        restore(index, bytes) {
          const restored = decodeSnapshot(bytes);
          ({ journal } = restored);
          ahead = undefined;
          switchTo(
            { ...restored.state, clusterId: consensus.status.group, version: Math.max(index, restored.state.version) },
            undefined,
          );
        },
      },
      founders.map(founderOf),
    );

    // --- requests ---

    const ask = async (request: TopologyRequest, cause: string): Promise<RequestOutcome<readonly string[]>> => {
      if (consensus === undefined) return askHere(request, cause);
      const id = consensus.nextRequestId();
      const outcome = await consensus.request(id, encodeRequest(request, cause));
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

    let isRegistering = false;
    /** Has this start of the node admitted. */
    const register = async (): Promise<void> => {
      if (isRegistering || isAdmitted() || map.version === 0) return;
      isRegistering = true;
      const { incarnation: _, ...record } = ownRecord();
      const outcome = await ask({ type: "register-node", node: record }, "it has started");
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
          const own = { ...listed.record, start: node.runId, incarnation: 1 };
          switchTo({ ...founding, clusterId: "", version: 1, nodes: nodes.set(node.id, own) }, undefined);
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

    const beginAlone = async (id: string, epoch: number): Promise<string | undefined> => {
      const problem = await consensus?.leave();
      if (problem !== undefined) return problem;
      await context.resetIdentity(id);
      listed = { record: { ...ownRecord(), id, incarnation: 1 }, slots: [] };
      acknowledged = 0;
      lastRejection = undefined;
      const alone = foundingState([listed], epoch);
      if (consensus === undefined) {
        journal = new Journal();
        switchTo(alone, undefined);
      } else {
        await consensus.foundAlone(founderOf(listed), encodeSnapshot(alone, new Journal()));
      }
      log.info("this node is a cluster by itself", { nodeId: id });
      return undefined;
    };

    const topology: Topology = {
      get map() {
        return map;
      },
      get self() {
        return self();
      },
      get selfShard() {
        return map.shards.find((shard) => shard.primary === node.id || shard.replicas.includes(node.id));
      },
      node: (id) => state.nodes.get(id),
      request: ask,
      get isMember() {
        return state.nodes.has(node.id) && consensus?.status.isOut !== true;
      },
      beginAlone,
      get history() {
        return journal.history;
      },
      get waitingFor() {
        if (consensus === undefined) return undefined;
        if (map.version === 0) return consensus.status.waitingFor ?? "the cluster map";
        return isAdmitted() ? undefined : (lastRejection ?? "being admitted to the cluster");
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

function founderOf({ record }: FoundingNode): Founder {
  return {
    nodeId: record.id,
    address: { host: record.busHost, port: record.busPort },
    zone: record.zone,
    isWitness: record.role === "witness",
  };
}

function aloneNode(id: string, core: CoreSettings, slots: readonly SlotRange[]): FoundingNode {
  const host = core.announceHost ?? core.host;
  return {
    record: {
      id,
      name: core.name ?? "",
      host,
      port: core.port,
      busHost: host,
      busPort: core.busPort ?? Math.min(core.port + BUS_PORT_OFFSET, 65535),
      httpHost: host,
      httpPort: 0,
      zone: "",
      role: "data",
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

/** What is wrong with a list of nodes, as a sentence's end; `undefined` if nothing is. */
function problemOf(nodes: readonly FoundingNode[]): string | undefined {
  const ids = new Map<string, string>();
  const addresses = new Set<string>();
  const seen: SlotRange[] = [];
  for (const { record, slots } of nodes) {
    const other = ids.get(record.id);
    if (other !== undefined) return `two nodes have the id ${record.id} (names "${other}", "${record.name}")`;
    ids.set(record.id, record.name);
    const address = `${record.host}:${record.port}`;
    if (addresses.has(address)) return `two nodes have the address ${address}`;
    if (record.role === "witness" && slots.length > 0) return `node "${record.name}" is a witness, and has slots`;
    addresses.add(address);
    const [twice] = intersectRanges(slots, seen);
    if (twice !== undefined) return `two nodes have slot ${twice.first}`;
    seen.push(...slots);
  }
  return undefined;
}

/** The map that a cluster of these nodes begins with. The same on each of them. @param emptyEpoch Of shards without slots. */
function foundingState(founders: readonly FoundingNode[], emptyEpoch = 0): TopologyState {
  const holders = founders.filter(({ record }) => record.role === "data");
  const shards = holders.map(({ record, slots }, at) => ({
    id: shardIdOf(record.id),
    primary: record.id,
    replicas: [],
    inSync: [record.id],
    eligible: [],
    slots,
    primaryEpoch: slots.length > 0 ? at + 1 : emptyEpoch,
    version: 1,
  }));
  return {
    ...EMPTY_STATE,
    version: 1,
    nodes: new Map(founders.map(({ record }) => [record.id, record])),
    shards: new Map(shards.map((shard) => [shard.id, shard])),
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
