/**
 * The operator of shards with replicas: kills primaries, promotes a member where one died, cuts primaries off and promotes others meanwhile, plans failovers, moves replicas
 * to other shards, changes how many must be in sync.
 *
 * Where nodes fail over by themselves it promotes nobody: it cuts primaries off from nodes alone, and asks for failovers by the command.
 *
 * Without leases a primary that was deposed and does not know it would serve what is not so any more. So only these are promoted away: dead ones; those that are
 * cut off from nodes and clients alike, until they know; and those that hold their commands.
 */
import { replicationService } from "../../src/contracts/replication.ts";
import type { ClusterMap, ShardRecord } from "../../src/contracts/topology.ts";
import type { NodeView } from "./cluster-checkers.ts";
import type { ClusterWorld } from "./cluster-world.ts";
import { newestMapOf, runningMember, runningPrimary } from "./shard-checkers.ts";
import type { CrashKind } from "./sim-disk.ts";
import type { SimHost } from "./sim-world.ts";
import type { Healable } from "./sim-network.ts";
import type { SimRandom } from "./sim-random.ts";

/** Why it changes how many must be in sync: so that its acts are told from the cluster's own. */
export const MINIMUM_CAUSE = "another minimum";

export interface ShardOperatorOptions {
  /** Promotes others where primaries are lost, by hand. Off where nodes do it themselves. */
  readonly isPromoting: boolean;
  readonly clients: () => readonly SimHost[];
}

/** How often it looks for primaries that are lost. */
const LOOK_MS = 50;
/** A dead primary is replaced within this. */
const MAX_PROMOTION_MS = 1500;
/** A primary that is killed may have been cut off from the other nodes for so long: clients see what it has not told them. */
const MAX_CUT_BEFORE_MS = 900;
/** A cut ends after this though nobody was promoted: it may have taken the majority, with voters that lost their votes in the same moment. */
const MAX_CUT_MS = 20_000;
/** For how long a primary that hands over may wait for a replica. */
const HAND_OVER_MS = 400;

export class ShardOperator {
  readonly counts = { promoted: 0, killed: 0, cutOff: 0, planned: 0, moved: 0, settings: 0 };
  /** Hosts that somebody must be able to count on for now, or that nobody can: none of them is crashed. */
  readonly #spared = new Set<string>();
  /** Hosts that are cut off on purpose, with what cuts them. */
  readonly #cuts = new Map<string, { nodes: Healable | undefined; clients: Healable | undefined }>();
  readonly #world: ClusterWorld;
  readonly #random: SimRandom;
  readonly #options: ShardOperatorOptions;
  readonly #promoting = new Set<string>();
  #requests = 0;
  #underWay = 0;
  #isStopped = false;
  #problem: Error | undefined;

  constructor(world: ClusterWorld, random: SimRandom, options: ShardOperatorOptions) {
    this.#world = world;
    this.#random = random;
    this.#options = options;
    world.simulation.check("what the operator does", () => {
      if (this.#problem !== undefined) throw this.#problem;
    });
  }

  /** Nothing that it began is unfinished. */
  get isIdle(): boolean {
    return this.#underWay === 0;
  }

  /** @param kinds What it does on its own, and how often: in virtual milliseconds, on average; 0: not at all. */
  start(kinds: {
    readonly killMs: number;
    readonly cutOffMs: number;
    readonly plannedMs: number;
    readonly moveMs: number;
    readonly settingMs: number;
  }): void {
    if (this.#options.isPromoting) this.#lookOn();
    this.#repeat("kills", kinds.killMs, (random) => this.#kill(random));
    this.#repeat("cut-offs", kinds.cutOffMs, (random) => this.#cutOff(random));
    this.#repeat("planned", kinds.plannedMs, (random) => this.#handOver(random));
    this.#repeat("moves", kinds.moveMs, (random) => this.#moveReplica(random));
    this.#repeat("settings", kinds.settingMs, (random) => this.#changeSetting(random));
  }

  /** Begins nothing new, but for replacing what is lost. */
  stop(): void {
    this.#isStopped = true;
  }

  /** All cuts of the network were healed: those that it needs are made again. */
  cutAgain(): void {
    for (const [host, cut] of this.#cuts) {
      if (cut.nodes !== undefined) cut.nodes = this.#cutFromNodes(host);
      if (cut.clients !== undefined) cut.clients = this.#cutFromClients(host);
    }
  }

  /** Whether a shard's acknowledged writes outlive a crash of this host. */
  mayCrash(host: string): boolean {
    if (this.#spared.has(host)) return false;
    // One is cut off until the others have agreed on another primary: a voter that forgets everything meanwhile would have them wait for the one that is cut off.
    const isWaiting = [...this.#cuts.values()].some(({ clients }) => clients !== undefined);
    if (isWaiting && !this.#world.hasDisk(host)) return false;
    const { views } = this.#world;
    const map = newestMapOf(views);
    const view = views.find(({ name }) => name === host);
    if (map === undefined || view === undefined) return false;
    const { id } = view.node.facts;
    // It may have been agreed already that others are out.
    const own = map.shards.find((shard) => shard.primary === id || shard.replicas.includes(id));
    const leaders = views.filter(({ topology }) => topology.selfShard?.id === own?.id);
    if (leaders.some(({ node }) => node.service(replicationService)?.isChangingSets === true)) return false;
    return map.shards.every((shard) => {
      if (shard.primary !== id && !shard.replicas.includes(id)) return true;
      const holders = [...shard.inSync, ...shard.eligible].filter((each) => {
        const holder = each === shard.primary ? runningPrimary(map, views, shard) : runningMember(map, views, each);
        return each !== id && holder !== undefined && !this.#cuts.has(holder.name);
      });
      return holders.length > 0;
    });
  }

  /** Shards whose every holder is gone: only an operator's word that the loss is accepted starts them again. */
  lostShards(): readonly ShardRecord[] {
    const { views } = this.#world;
    const map = newestMapOf(views);
    return (map?.shards ?? []).filter(
      (shard) =>
        map !== undefined &&
        shard.slots.length > 0 &&
        runningPrimary(map, views, shard) === undefined &&
        heirsOf(map, views, shard).length === 0,
    );
  }

  /** Of shards that were lost by a map that may not have been the newest: those of which nobody has anything. Members of the others hold it, or have taken over. */
  stillLost(seemedLost: readonly ShardRecord[]): readonly ShardRecord[] {
    const { views } = this.#world;
    const map = newestMapOf(views);
    return seemedLost.filter(({ id, primary }) => {
      const now = map?.shards.find((shard) => shard.id === id);
      return (
        map === undefined || now === undefined || (now.primary === primary && heirsOf(map, views, now).length === 0)
      );
    });
  }

  // --- primaries that died ---

  #lookOn(): void {
    const { views } = this.#world;
    const map = newestMapOf(views);
    for (const shard of map?.shards ?? []) {
      if (map === undefined || this.#promoting.has(shard.id) || runningPrimary(map, views, shard) !== undefined)
        continue;
      if (heirsOf(map, views, shard).length === 0) continue;
      this.#promoting.add(shard.id);
      this.#do(async () => {
        await this.#pause(this.#random.below(MAX_PROMOTION_MS));
        if (await this.#promote(shard.id, (now, then) => runningPrimary(now, this.#world.views, then) === undefined))
          this.counts.promoted += 1;
        this.#promoting.delete(shard.id);
      });
    }
    this.#world.simulation.after(LOOK_MS, "operator", () => this.#lookOn());
  }

  /**
   * Promotes some member of a shard, until that has happened or is no more to happen.
   *
   * @param isWanted Whether it still is, by the newest map. Asked before each request.
   */
  async #promote(shardId: string, isWanted: (map: ClusterMap, shard: ShardRecord) => boolean): Promise<boolean> {
    for (;;) {
      const { views } = this.#world;
      const map = newestMapOf(views);
      const shard = map?.shards.find(({ id }) => id === shardId);
      if (map === undefined || shard === undefined || !isWanted(map, shard)) return false;
      const heir = this.#random.pick(heirsOf(map, views, shard).filter(({ name }) => !this.#cuts.has(name)));
      if (heir === undefined) return false;
      const request = {
        type: "promote",
        shard: shardId,
        shardVersion: shard.version,
        node: heir.node.facts.id,
      } as const;
      this.#requests += 1;
      const id = `promotion ${this.#requests}`;
      this.#spared.add(heir.name);
      const outcome = await this.#ask(request, id);
      this.#spared.delete(heir.name);
      if (outcome === "done") return true;
      await this.#pause(100);
    }
  }

  /** Asks until it is known what came of it. */
  async #ask(request: Parameters<NodeView["topology"]["request"]>[0], id: string): Promise<"done" | "not done"> {
    for (;;) {
      const view = this.#random.pick(this.#world.ready.filter(({ name }) => !this.#cuts.has(name)));
      if (view !== undefined) {
        const { type } = await Promise.race([view.topology.request(request, id, id), this.#death(view)]);
        if (type === "done") return "done";
        if (type === "rejected") return "not done";
      }
      await this.#pause(50);
    }
  }

  /** A node that dies while it is asked answers nothing. */
  async #death(view: NodeView): Promise<{ readonly type: "unknown" }> {
    while (this.#world.views.includes(view)) await this.#pause(50);
    return { type: "unknown" };
  }

  /** Kills a primary, which comes back without its data. Mostly it has not reached the other nodes for a moment: only clients. */
  #kill(random: SimRandom): void {
    const chosen = this.#choosePrimary(random);
    const downMs = random.exponential(1000);
    const kind: CrashKind = random.below(2) === 0 ? "process" : "power";
    const isCutBefore = random.below(3) > 0;
    const cutMs = random.below(MAX_CUT_BEFORE_MS);
    const { simulation } = this.#world;
    if (chosen === undefined || !this.mayCrash(chosen.view.name)) return;
    const { view, shard } = chosen;
    const { name } = view;
    const crash = (): void => {
      this.counts.killed += 1;
      simulation.crash(name, kind);
      simulation.after(downMs, "operator", () => {
        if (!simulation.host(name).isUp) simulation.restart(name);
      });
    };
    // What it asks of the map now must not be agreed on once it is back: with a disk it would remember.
    const remembers = this.#world.hasDisk(name) && view.consensus.status.role === "leader";
    if (!isCutBefore || remembers) return crash();
    const spared = this.#spareMembersOf(shard);
    this.#cuts.set(name, { nodes: this.#cutFromNodes(name), clients: undefined });
    this.#do(async () => {
      await this.#pause(cutMs);
      // Another voter may have died meanwhile, which remembers nothing either.
      if (this.#world.views.includes(view) && this.#world.mayLose(simulation.host(name))) crash();
      await this.#pause(downMs);
      this.#cuts.get(name)?.nodes?.heal();
      this.#cuts.delete(name);
      for (const each of spared) this.#spared.delete(each);
    });
  }

  // --- primaries that are cut off ---

  /** Cuts a primary off from everybody, promotes another, and lets the primary back: to the nodes first, and to clients once it knows. */
  #cutOff(random: SimRandom): void {
    const chosen = this.#choosePrimary(random);
    if (chosen === undefined) return;
    const { shard, view } = chosen;
    const host = view.name;
    const waitMs = random.below(2000);
    this.counts.cutOff += 1;
    if (!this.#options.isPromoting) {
      const cut = this.#cutFromNodes(host);
      this.#do(() => this.#pause(2 * waitMs).then(() => cut.heal()));
      return;
    }
    const cut: { nodes: Healable | undefined; clients: Healable | undefined } = {
      nodes: this.#cutFromNodes(host),
      clients: this.#cutFromClients(host),
    };
    this.#cuts.set(host, cut);
    const spared = this.#spareMembersOf(shard);
    this.#do(async () => {
      await this.#pause(waitMs);
      // What is known of it by now: it may have been dropped from the sets, or dropped others, before the cut.
      const promotion = this.#promote(shard.id, (_, now) => now.primary === shard.primary);
      await Promise.race([promotion, this.#pause(MAX_CUT_MS)]);
      const version = newestMapOf(this.#world.views)?.version ?? 0;
      cut.nodes?.heal();
      cut.nodes = undefined;
      const knows = (): boolean => {
        const now = this.#world.views.find(({ name }) => name === host);
        return now === undefined || now.topology.map.version >= version;
      };
      while (!knows()) await this.#pause(20);
      cut.clients?.heal();
      this.#cuts.delete(host);
      await promotion;
      for (const each of spared) this.#spared.delete(each);
    });
  }

  /** Nobody of its sets is crashed until the hosts that this returns are taken out again. */
  #spareMembersOf(shard: ShardRecord): readonly string[] {
    const names = [...shard.inSync, ...shard.eligible].flatMap(
      (id) => this.#world.views.find(({ node }) => node.facts.id === id)?.name ?? [],
    );
    for (const name of names) this.#spared.add(name);
    return names;
  }

  #cutFromNodes(host: string): Healable {
    const others = this.#world.members.map((member) => member.host).filter((each) => each !== host);
    return this.#world.simulation.partition([host], others);
  }

  #cutFromClients(host: string): Healable {
    return this.#world.simulation.partition([host], this.#options.clients());
  }

  // --- planned failovers ---

  #handOver(random: SimRandom): void {
    const chosen = this.#choosePrimary(random);
    if (chosen === undefined) return;
    const { shard, view, map } = chosen;
    const replication = view.node.service(replicationService);
    const heirs = heirsOf(map, this.#world.views, shard).filter(({ node }) => shard.inSync.includes(node.facts.id));
    const heir = random.pick(heirs);
    if (replication === undefined || heir === undefined) return;
    this.counts.planned += 1;
    if (!this.#options.isPromoting) {
      const words = random.below(3) > 0 ? ["failover"] : ["failover", "force"];
      // Nobody answers for a node that dies; and what was begun may take its time.
      this.#do(() =>
        Promise.race([heir.node.connect().execute("cluster", ...words), this.#pause(2000)]).then(() =>
          this.#pause(6000),
        ),
      );
      return;
    }
    this.#spared.add(heir.name);
    this.#do(async () => {
      const to = heir.node.facts.id;
      const hasAll = await Promise.race([replication.handOver(to, HAND_OVER_MS), this.#death(view).then(() => false)]);
      const isAlive = (): boolean => this.#world.views.includes(view);
      if (hasAll && isAlive()) {
        const shardNow = view.topology.selfShard;
        this.#requests += 1;
        const request = { type: "promote", shard: shard.id, shardVersion: shardNow?.version ?? 0, node: to } as const;
        await this.#ask(request, `planned failover ${this.#requests}`);
      }
      // It ends by itself if it was deposed.
      if (isAlive()) replication.resume();
      this.#spared.delete(heir.name);
    });
  }

  // --- others ---

  /** Moves a replica to another shard. Its own keeps its primary meanwhile, which may be the only one that has everything from then on. */
  #moveReplica(random: SimRandom): void {
    const chosen = this.#choosePrimary(random);
    const to = random.pick(
      (chosen?.map.shards ?? []).filter(({ id, slots }) => id !== chosen?.shard.id && slots.length > 0),
    );
    const node = random.pick(chosen?.shard.replicas ?? []);
    if (chosen === undefined || to === undefined || node === undefined) return;
    this.counts.moved += 1;
    const spared = this.#spareMembersOf(chosen.shard);
    this.#requests += 1;
    const id = `move ${this.#requests}`;
    this.#do(async () => {
      await this.#ask({ type: "add-replica", shard: to.id, shardVersion: to.version, node }, id);
      for (const each of spared) this.#spared.delete(each);
    });
  }

  #changeSetting(random: SimRandom): void {
    const view = random.pick(this.#world.ready);
    const value = String(1 + random.below(2));
    if (view === undefined) return;
    this.counts.settings += 1;
    void view.topology.request({ type: "change-setting", name: "min-in-sync", value }, MINIMUM_CAUSE);
  }

  /** Some primary that runs, with somebody to take over, without whom the rest agrees on changes. */
  #choosePrimary(random: SimRandom): { shard: ShardRecord; view: NodeView; map: ClusterMap } | undefined {
    if (this.#cuts.size > 0 || this.#spared.size > 0) return undefined;
    const { views } = this.#world;
    const map = newestMapOf(views);
    if (map === undefined) return undefined;
    const shard = random.pick(map.shards.filter((each) => heirsOf(map, views, each).length > 0));
    const view = shard === undefined ? undefined : runningPrimary(map, views, shard);
    if (shard === undefined || view === undefined || !this.#world.ready.includes(view)) return undefined;
    const host = this.#world.hosts.find(({ name }) => name === view.name);
    return host !== undefined && this.#world.mayLose(host) ? { shard, view, map } : undefined;
  }

  #repeat(kind: string, everyMs: number, act: (random: SimRandom) => void): void {
    if (everyMs <= 0) return;
    const random = this.#random.fork(kind);
    const arm = (): void =>
      void this.#world.simulation.after(random.exponential(everyMs), "operator", () => {
        if (this.#isStopped) return;
        act(random);
        arm();
      });
    arm();
  }

  #do(work: () => Promise<void>): void {
    this.#underWay += 1;
    work().then(
      () => {
        this.#underWay -= 1;
      },
      (thrown: unknown) => {
        this.#problem ??= thrown instanceof Error ? thrown : new Error(String(thrown));
      },
    );
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#world.simulation.after(ms, "operator", resolve);
    });
  }
}

/** Members that run and may be promoted: those in sync, else those that are eligible. */
function heirsOf(map: ClusterMap, views: readonly NodeView[], shard: ShardRecord): readonly NodeView[] {
  const running = (ids: readonly string[]): readonly NodeView[] =>
    ids.flatMap((id) => (id === shard.primary ? [] : (runningMember(map, views, id) ?? [])));
  const inSync = running(shard.inSync);
  return inSync.length > 0 ? inSync : running(shard.eligible);
}
