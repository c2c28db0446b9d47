/** A provider of `topology` that settles requests when a test says so, with what the test says. */
import type { RequestOutcome } from "../../src/contracts/consensus.ts";
import {
  type ClusterMap,
  type NodeRecord,
  type TopologyRequest,
  topologyService,
} from "../../src/contracts/topology.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";

/** A request that waits for the test's word. */
export interface FakeRequest {
  readonly request: TopologyRequest;
  readonly cause: string;
  readonly settle: (outcome: RequestOutcome<readonly string[]>) => void;
}

/** A map of one node, which owns every slot, and what was asked of it. */
export class FakeTopology {
  readonly requests: FakeRequest[] = [];
  readonly self: NodeRecord;
  readonly plugin: Plugin;

  constructor() {
    const id = "a".repeat(40);
    this.self = {
      id,
      name: "a",
      host: "127.0.0.1",
      port: 7001,
      busHost: "127.0.0.1",
      busPort: 17_001,
      httpHost: "127.0.0.1",
      httpPort: 0,
      zone: "",
      role: "data",
      start: "",
      incarnation: 1,
    };
    const shard = {
      id: "5".repeat(40),
      primary: id,
      primaryIncarnation: 1,
      replicas: [],
      inSync: [id],
      eligible: [],
      slots: [{ first: 0, last: 16_383 }],
      primaryEpoch: 1,
      version: 1,
    };
    const map: ClusterMap = {
      clusterId: "c",
      version: 1,
      nodes: [this.self],
      shards: [shard],
      shardOfSlot: new Int16Array(16_384),
      migrations: [],
      openSlots: [],
      releases: [],
      tombstones: [],
      settings: new Map(),
      seal: undefined,
    };
    const { self, requests } = this;
    this.plugin = definePlugin({
      name: "fake-topology",
      summary: "Settles requests when a test says so.",
      provides: { topology: topologyService },
      setup: () => ({
        topology: {
          map,
          self,
          selfShard: shard,
          node: (node) => (node === id ? self : undefined),
          request: (request, cause) =>
            new Promise((settle) => {
              requests.push({ request, cause, settle });
            }),
          isMember: true,
          beginAlone: () => Promise.resolve(undefined),
          moveTo: () => Promise.resolve(undefined),
          introduction: self,
          history: [],
          waitingFor: undefined,
          exportState: () => "{}\n",
        },
      }),
    });
  }
}
