/**
 * Whole nodes that agree on a cluster map, in a simulated world: what the runs of clusters share. Each node is watched after every event of its own, and
 * now and then after others' (`checkHosts`), by a checker of the group that it is in and one of its map.
 */
import { consensusService } from "../../src/contracts/consensus.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import type { RaftConsensus } from "../../plugins/raft.ts";
import type { Config } from "../../src/config.ts";
import { type Node, createNode } from "../../src/node.ts";
import type { Raft } from "../../src/protocol/raft/machine.ts";
import { majorityOf } from "../../src/protocol/raft/quorum.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { GroupChecker, HolderChecker, MapChecker, type NodeView, PredecessorChecker } from "./cluster-checkers.ts";
import type { FaultInjector } from "./fault-injector.ts";
import { SubDisk } from "./sim-directories.ts";
import type { SimRandom } from "./sim-random.ts";
import { type Program, type SimHost, Simulation } from "./sim-world.ts";
import { type SwarmOptions, swarmSimulation } from "./swarm.ts";

/** A node as the settings list it. */
export interface ListedNode {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly slots: readonly string[];
}

export interface ClusterWorldOptions {
  readonly swarm: SwarmOptions;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
  /** From how many nodes it is drawn, with how many a cluster is founded. */
  readonly counts: readonly [number, ...number[]];
  /** From what it is drawn, how likely each node has a disk. */
  readonly diskChances: readonly [number, ...number[]];
  /** Nodes may leave the cluster and found others. Else two groups that both have a leader are a violation. */
  readonly hasManyGroups?: boolean;
  /** How each node starts; by default all have the same list of nodes. */
  readonly settingsOf?: (member: ListedNode, members: readonly ListedNode[]) => Config;
  /** Nodes take commands of clients over the network. */
  readonly hasClients?: boolean;
  /** The directory on its disk that each node has its files in. By default they are all there is on it. */
  readonly directory?: string;
}

const PORT = 6379;
/**
 * A healed world is one cluster again within this: a voter that is gone for good is replaced after 2 s here, each step by an election at worst; and the slowest
 * links that are drawn carry some 10 kB a second.
 */
export const LIVENESS_MS = 120_000;

/** The same for a network: one that carries half a kilobyte on each way there and back takes its time for a snapshot. */
export function livenessMs({ sendBufferBytes, latencyMinMs, latencyMeanMs }: SwarmOptions): number {
  const isSlow = sendBufferBytes < 4096 && latencyMinMs + latencyMeanMs >= 5;
  return isSlow ? 5 * LIVENESS_MS : LIVENESS_MS;
}
/**
 * So long before a node is taken out nobody else is lost that the rest needs without it. Whoever was lost before is known to be away: a leader counts on who was heard
 * within an election timeout, and a disk or a stall may keep it from seeing that for a while.
 */
export const NOTICE_MS = 1500;

/** A cluster and its world. */
export class ClusterWorld {
  readonly simulation: Simulation;
  readonly members: readonly ListedNode[];
  readonly maxVoters: number;
  readonly maps = new MapChecker();
  readonly #predecessors = new PredecessorChecker();
  readonly #holders = new HolderChecker();
  readonly hosts: SimHost[] = [];
  /** Nodes that are about to be taken out, by id. */
  readonly leaving = new Set<string>();
  /** Nodes that run, by their hosts. */
  readonly running = new Map<string, NodeView>();
  #views: readonly NodeView[] | undefined = undefined;
  readonly #hasDisk: ReadonlyMap<string, boolean>;
  readonly #snapshotBytes: number;
  readonly #groups = new Map<string, GroupChecker>();
  readonly #ready = new WeakSet<NodeView>();
  readonly #memberships = new Map<NodeView, { readonly machine: Raft; readonly group: GroupChecker }>();
  readonly #hasManyGroups: boolean;
  readonly #hasClients: boolean;
  readonly #directory: string | undefined;
  readonly #settingsOf: (member: ListedNode, members: readonly ListedNode[]) => Config;

  constructor(seed: number, random: SimRandom, options: ClusterWorldOptions) {
    const { swarm, sink, counts, diskChances, hasManyGroups = false, hasClients = false, directory } = options;
    this.#settingsOf = options.settingsOf ?? ((_, members) => ({ plugins: { topology: { nodes: members } } }));
    this.#hasManyGroups = hasManyGroups;
    this.#hasClients = hasClients;
    this.#directory = directory;
    const simulation = new Simulation(seed, { ...swarmSimulation(swarm), sink });
    this.simulation = simulation;
    this.members = divideSlots(random.pick(counts)).map((range, index) => ({
      name: `node-${index + 1}`,
      host: `10.0.0.${index + 1}`,
      port: PORT,
      slots: [formatSlotRange(range)],
    }));
    this.maps.hasSuspensions = swarm.suspendEveryMs > 0;
    const diskChance = random.pick(diskChances);
    this.#hasDisk = new Map(this.members.map(({ host }) => [host, random.fraction() < diskChance]));
    this.#snapshotBytes = random.pick([1024, 8000, 1024 * 1024]);
    this.maxVoters = random.pick([3, 3, 5]);
    for (const member of this.members) this.hosts.push(simulation.addHost(member.host, this.program(member)));
    simulation.observe(({ type, host }) => {
      const view = this.running.get(host.name);
      if (type !== "crashed" || view === undefined) return;
      this.running.delete(host.name);
      this.#views = undefined;
      this.#stopped(view);
      this.maps.stopped(view);
    });
    simulation.checkHosts("what a group of Raft promises", (host) => {
      const view = this.running.get(host);
      if (view === undefined) return;
      this.#lookAtGroup(view);
      this.#predecessors.look(view, simulation.nowMs);
    });
    simulation.checkHosts("what the cluster map promises", (host) => {
      const view = this.running.get(host);
      if (view === undefined) return;
      this.maps.look(view);
      this.#holders.look(view);
    });
    simulation.explain(() => [...this.running.values()].map(describe).join("\n"));
  }

  /** Those that run. */
  get views(): readonly NodeView[] {
    // Asked after every event.
    this.#views ??= [...this.running.values()];
    return this.#views;
  }

  /** Nodes that have started, and take commands. */
  get ready(): readonly NodeView[] {
    return this.views.filter((view) => this.#ready.has(view));
  }

  /** Terms that had a leader. */
  get terms(): number {
    return [...this.#groups.values()].reduce((sum, group) => sum + group.terms, 0);
  }

  /** Snapshots that were taken or installed. */
  get snapshots(): number {
    return [...this.#groups.values()].reduce((sum, group) => sum + group.snapshots, 0);
  }

  /** Those among them that came from members which were asked for them. */
  get fetchedSnapshots(): number {
    return [...this.#groups.values()].reduce((sum, group) => sum + group.fetchedSnapshots, 0);
  }

  hasDisk(host: string): boolean {
    return this.#hasDisk.get(host) === true;
  }

  /** Whether a host may crash: what it remembers outlives that, or the others can do without. */
  mayCrash(host: SimHost): boolean {
    return this.hasDisk(host.name) || this.mayLose(host);
  }

  /** Whether the others can do without what a host remembers. */
  mayLose(host: SimHost): boolean {
    return canForget(host.name, this.running, this.leaving);
  }

  /** What runs on a host: a node with these settings. */
  program(member: ListedNode): Program {
    const { name, host } = member;
    return async (machine) => {
      const { plugins, ...settings } = this.#settingsOf(member, this.members);
      const directory = this.#directory;
      const world = directory === undefined ? machine : { ...machine, disk: new SubDisk(machine.disk, directory) };
      const node = await createNode({
        world,
        config: {
          name,
          host,
          port: PORT,
          insecure: true,
          // The slowest disks that are drawn take seconds for each operation.
          pluginTimeoutMs: 120_000,
          ...(this.hasDisk(host) ? { dataDir: "data" } : {}),
          ...settings,
          plugins: {
            ...plugins,
            ...(this.#hasClients ? {} : { resp: false }),
            raft: {
              snapshotBytes: this.#snapshotBytes,
              maxVoters: this.maxVoters,
              replaceAfterMs: 2000,
              requestMs: 3000,
            },
          },
        },
        onStopped: (fault) => {
          // Whatever was wrong on it, a node that stops by itself has found a broken invariant.
          throw new Error(`${name} stopped by itself: ${fault?.message ?? "for no reason"}`);
        },
      });
      const view = viewOf(host, node);
      this.running.set(host, view);
      this.#views = undefined;
      await node.start();
      this.#ready.add(view);
    };
  }

  /** Ends all faults, stalls that have begun included. */
  async heal(injector: FaultInjector): Promise<void> {
    const { simulation } = this;
    injector.stopAndHeal();
    await simulation.runFor(
      Math.max(0, ...simulation.hosts.map((host) => host.process.readyAtUs / 1000 - simulation.nowMs)),
    );
  }

  /** Waits until each of some nodes has changed the map: by an act of its own. */
  async changeOnEach(views: readonly NodeView[]): Promise<void> {
    const { simulation } = this;
    for (const view of views) {
      let outcome: string = "nothing";
      const change = async (): Promise<void> => {
        while (outcome !== "done") {
          const cause = `last request on ${view.name}`;
          outcome = (await view.topology.request({ type: "bump-epoch", node: view.node.facts.id }, cause)).type;
          // A refusal may come at once: time has to pass before the next try.
          await new Promise<void>((resolve) => {
            simulation.after(50, "operator", resolve);
          });
        }
      };
      await simulation.settle(`a change on ${view.name}`, change(), LIVENESS_MS);
    }
  }

  /** What must hold in the end for the nodes of one cluster: see `MapChecker`. */
  checkFinal(views: readonly NodeView[]): void {
    try {
      this.maps.final(views);
    } catch (thrown) {
      throw this.simulation.error(thrown instanceof Error ? thrown.message : String(thrown));
    }
  }

  #lookAtGroup(view: NodeView): void {
    const { machine } = view.consensus;
    const before = this.#memberships.get(view);
    if (before?.machine !== machine) {
      this.#stopped(view);
      if (machine !== undefined) this.#memberships.set(view, { machine, group: this.#groupOf(view) });
    }
    this.#memberships.get(view)?.group.look(view);
  }

  /** It is a member no more: it has stopped, or left its group. */
  #stopped(view: NodeView): void {
    const before = this.#memberships.get(view);
    before?.group.stopped(before.machine);
    this.#memberships.delete(view);
  }

  #groupOf(view: NodeView): GroupChecker {
    const key = this.#hasManyGroups ? view.consensus.status.group : "";
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new GroupChecker();
      this.#groups.set(key, group);
    }
    return group;
  }
}

export function viewOf(name: string, node: Node): NodeView {
  const consensus = node.service(consensusService);
  const topology = node.service(topologyService);
  if (consensus === undefined || topology === undefined) throw new Error("the nodes of this run agree on a map");
  // The provider is the plugin `raft`, whose service has its machine.
  return { name, node, topology, consensus: consensus as RaftConsensus };
}

/**
 * Whether a node that forgets everything when it stops may stop: the voters that are left must be a majority, wherever anybody stands.
 *
 * @param leaving Nodes that the others are about to do without, by id: each of them may just be losing its vote.
 */
function canForget(name: string, running: ReadonlyMap<string, NodeView>, leaving: ReadonlySet<string>): boolean {
  const nodeOf = (peer: string): string => peer.slice(0, peer.indexOf("/"));
  const losing: readonly ReadonlySet<string>[] = [new Set(), ...[...leaving].map((id) => new Set([id])), leaving];
  const alive = new Set(
    [...running.values()].filter((view) => view.name !== name).map((view) => view.consensus.status.peer),
  );
  // Nobody can be asked who votes.
  if (running.size === 0) return false;
  for (const view of running.values()) {
    const machine = view.consensus.machine;
    if (machine === undefined) return false;
    for (const { members } of machine.log.configurationsFrom(machine.log.commitIndex)) {
      for (const without of losing) {
        const voters = members.filter(({ id, isVoter }) => isVoter && !without.has(nodeOf(id)));
        // Alone it is just about to give somebody a vote, who must not die then: two memories are needed from there on.
        if (voters.length === 1 && members.some(({ id }) => id === running.get(name)?.consensus.status.peer))
          return false;
        const left = voters.filter(({ id }) => alive.has(id)).length;
        if (voters.length > 0 && left < majorityOf(voters.length)) return false;
      }
    }
  }
  return true;
}

/** What a primary says that has lost its shard's data. */
const LOST = "a replica to take over: this node has restarted, and lost what its shard held";

/** One leader, everybody has everything, nobody has lost anything that another waits for. */
export function isWhole(views: readonly NodeView[], count: number): boolean {
  if (views.length !== count) return false;
  // Asked after every event: what costs least comes first.
  const leaders = views.filter((view) => view.consensus.machine?.role === "leader");
  const [leader] = leaders;
  if (leader === undefined || leaders.length > 1) return false;
  const { version } = leader.topology.map;
  if (views.some(({ topology: { map } }) => map.version !== version || map.releases.length > 0)) return false;
  const { commitIndex, lastIndex, members } = leader.consensus.status;
  const peers = new Set(views.map((view) => view.consensus.status.peer));
  return (
    commitIndex === lastIndex &&
    members.length === count &&
    members.every((member) => peers.has(member.peer)) &&
    // A shard whose data are gone waits for an operator, which is right.
    views.every((view) => (view.topology.waitingFor ?? LOST) === LOST)
  );
}

export function describe(view: NodeView): string {
  const { status, machine } = view.consensus;
  const members = status.members.map(
    ({ peer, isVoter }) => `${peer.slice(0, 4)}${peer.slice(40)}${isVoter ? "" : "(learner)"}`,
  );
  const progress = [...(machine?.leadership?.progress ?? [])].map(
    ([peer, { state, match, next }]) => `${peer.slice(0, 4)}${peer.slice(40)}:${state}/${match}/${next}`,
  );
  return `${view.name} ${status.peer.slice(0, 4)}${status.peer.slice(40)} ${status.role} term ${status.term} leader ${status.leader?.slice(0, 4) ?? "-"} group ${status.group.slice(0, 4)} log ${status.snapshotIndex}..${status.lastIndex} commit ${status.commitIndex} map ${view.topology.map.version} releases ${view.topology.map.releases.length} waits for ${view.topology.waitingFor ?? "nothing"}; members ${members.join(" ")} ${progress.join(" ")}`;
}
