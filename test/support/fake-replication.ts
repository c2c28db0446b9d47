/** A provider of `replication` that is where a test says, and notes what it is asked for. */
import { type LogPosition, type ReplicaHealth, replicationService } from "../../src/contracts/replication.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";

export class FakeReplication {
  position: LogPosition | undefined = { epoch: 1, sequence: 0 };
  replicas: readonly ReplicaHealth[] = [];
  /** What `handOver` answers. */
  isLevel = true;
  /** Commands are held. */
  isHolding = false;
  /** To whom it was to hand over. */
  readonly handOvers: string[] = [];
  readonly plugin: Plugin;

  constructor() {
    // oxlint-disable-next-line typescript/no-this-alias -- the getters of the service are called on it.
    const fake = this;
    this.plugin = definePlugin({
      name: "fake-replication",
      summary: "Is where a test says.",
      provides: { replication: replicationService },
      setup: () => ({
        replication: {
          role: "none",
          isAheadOfMap: false,
          isBehindMap: false,
          isHandingOver: false,
          onHandOver: () => undefined,
          committed: 0,
          last: 1,
          logBytes: 0,
          isChangingSets: false,
          acknowledgedBy: () => 0,
          whenAcknowledged: () => ({ reached: Promise.resolve(0), end: () => undefined }),
          waitingCount: 0,
          waitingFor: undefined,
          get position() {
            return fake.position;
          },
          get replicas() {
            return fake.replicas;
          },
          handOver(to) {
            fake.handOvers.push(to);
            fake.isHolding = true;
            return Promise.resolve(fake.isLevel);
          },
          letKeysGo: () => undefined,
          letAllGo() {
            fake.isHolding = false;
          },
          setLeased: () => undefined,
          resume() {
            fake.isHolding = false;
          },
        },
      }),
    });
  }
}

/** A replica in sync that has everything. */
export function levelReplica(nodeId: string): ReplicaHealth {
  return { nodeId, state: "following", isInSync: true, acknowledged: 0, lag: 0, silentMs: 10, fill: undefined };
}
