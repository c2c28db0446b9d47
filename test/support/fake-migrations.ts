/** A provider of `migration` that notes what it is asked, and whose tasks are what a test says. */
import type { RequestOutcome } from "../../src/contracts/consensus.ts";
import {
  type MigrationOutcome,
  type MigrationProgress,
  type MigrationStatus,
  type Migrations,
  migrationService,
} from "../../src/contracts/migration.ts";
import { type ClusterMap, type TopologyRequest, topologyService } from "../../src/contracts/topology.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";
import { formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { EMPTY_STATE, type TopologyState } from "../../src/protocol/topology/state.ts";
import { encodeMapFile } from "../../src/protocol/topology/topology-json.ts";

export const PROGRESS: MigrationProgress = {
  slotsDone: 3,
  slotsTotal: 10,
  keysMoved: 30,
  keysTotal: 100,
  bytesMoved: 3000,
  bytesPerSecond: 1500.4,
  etaMs: 4700,
  fencedMs: 0,
  restarts: 0,
};

/** A task that goes on: whatever a test does not care about is filled in. */
export function fakeTask(task: Partial<MigrationStatus> & Pick<MigrationStatus, "id">): MigrationStatus {
  return {
    source: "",
    target: "",
    sourceNode: undefined,
    targetNode: undefined,
    slots: [{ first: 0, last: 9 }],
    phase: "streaming",
    isPaused: false,
    cause: "a test",
    startedFor: "a test",
    startedAtMs: 1_800_000_000_000,
    endedAtMs: undefined,
    waitingFor: undefined,
    progress: PROGRESS,
    ...task,
  };
}

export class FakeMigrations {
  tasks: MigrationStatus[] = [];
  /** What was asked, a line each. */
  readonly asked: string[] = [];
  /** Outcomes of what is asked next; after them all is done. */
  readonly outcomes: MigrationOutcome[] = [];
  /** Called when a task was asked for. */
  onAsked: () => void = () => undefined;
  /** Called when something was asked of a task that there is. */
  onWord: () => void = () => undefined;
  /** How many tasks were asked for: the last one is `id-` and this. */
  started = 0;
  readonly plugin: Plugin;

  constructor() {
    const note = (line: string, id: string): Promise<MigrationOutcome> => {
      this.asked.push(line);
      return Promise.resolve(this.outcomes.shift() ?? { type: "done", id });
    };
    const word = (line: string, id: string): Promise<MigrationOutcome> => {
      this.onWord();
      return note(line, id);
    };
    const present = (): readonly MigrationStatus[] => this.tasks;
    const migrations: Migrations = {
      counts: { completed: 0, aborted: 0, keys: 0, bytes: 0, fencedMs: 0 },
      get tasks() {
        return present();
      },
      start: async (moves, cause, { mapVersion } = {}) => {
        const ids = moves.map((_, at) => `id-${this.started + at + 1}`);
        this.started += moves.length;
        this.onAsked();
        const version = mapVersion === undefined ? "" : ` at ${mapVersion}`;
        const told = moves.map(
          ({ slots, target }) => `${slots.map(formatSlotRange).join(",")} to ${target.slice(0, 2)}`,
        );
        const outcome = await note(`start ${told.join(" and ")}${version}: ${cause}`, "");
        return outcome.type === "done" ? { type: "done", ids } : outcome;
      },
      allowCompletion: (id, cause) => word(`allow ${id}: ${cause}`, id),
      cancel: (id, cause) => word(`cancel ${id}: ${cause}`, id),
      pause: (id, cause) => word(`pause ${id}: ${cause}`, id),
      resume: (id, cause) => word(`resume ${id}: ${cause}`, id),
    };
    this.plugin = definePlugin({
      name: "fake-migrations",
      summary: "Notes what it is asked.",
      provides: { migrations: migrationService },
      setup: () => ({ migrations }),
    });
  }

  /** Each task has ended well, two seconds after it began. */
  completeAll(): void {
    this.tasks = this.tasks.map((task) =>
      fakeTask({ ...task, phase: "completed", endedAtMs: task.startedAtMs + 2000 }),
    );
  }
}

/** The state that a map is the image of. */
function stateOf({ clusterId, version, nodes, shards, migrations }: ClusterMap): TopologyState {
  const byId = <Record extends { readonly id: string }>(all: readonly Record[]): ReadonlyMap<string, Record> =>
    new Map(all.map((each) => [each.id, each]));
  return {
    ...EMPTY_STATE,
    clusterId,
    version,
    nodes: byId(nodes),
    shards: byId(shards),
    migrations: byId(migrations),
  };
}

/** A provider of `topology` with a map that changes only when a test says so, as its first node sees it. */
export class FixedTopology {
  map: ClusterMap;
  /** What comes of each request. */
  outcome: RequestOutcome<readonly string[]> = { type: "refused", reason: "nothing changes here" };
  /** What was asked for. */
  readonly requests: TopologyRequest[] = [];
  /** Called when something is asked for, whose outcome is known by then. */
  onRequest: () => void = () => undefined;
  readonly plugin: Plugin;

  constructor(map: ClusterMap) {
    this.map = map;
    const { requests } = this;
    const present = (): ClusterMap => this.map;
    const settled = (): RequestOutcome<readonly string[]> => {
      const { outcome } = this;
      this.onRequest();
      return outcome;
    };
    this.plugin = definePlugin({
      name: "fixed-topology",
      summary: "A map that a test makes.",
      provides: { topology: topologyService },
      setup() {
        const [self] = map.nodes;
        if (self === undefined) throw new Error("a map has nodes");
        return {
          topology: {
            get map() {
              return present();
            },
            self,
            get selfShard() {
              return present().shards.find(
                ({ primary, replicas }) => primary === self.id || replicas.includes(self.id),
              );
            },
            node: (id) => present().nodes.find((each) => each.id === id),
            request: (request) => {
              requests.push(request);
              return Promise.resolve(settled());
            },
            isMember: true,
            beginAlone: () => Promise.resolve(undefined),
            moveTo: () => Promise.resolve(undefined),
            introduction: self,
            history: [],
            waitingFor: undefined,
            exportState: () => encodeMapFile(stateOf(present())),
          },
        };
      },
    });
  }
}
