/** Whole nodes in a simulated world, and what they say of their health. */
import { present } from "../../src/assert.ts";
import {
  type Health,
  type HealthCheck,
  type HealthCheckName,
  type HealthState,
  healthService,
} from "../../src/contracts/health.ts";
import { ClusterView } from "../../src/cluster-view.ts";
import { consensusService } from "../../src/contracts/consensus.ts";
import { failoverService } from "../../src/contracts/failover.ts";
import { membershipService } from "../../src/contracts/membership.ts";
import { replicationService } from "../../src/contracts/replication.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import type { Info } from "../../src/rest/schemas.ts";
import { obstaclesOf } from "../../src/rest/explain.ts";
import { infoOf } from "../../src/rest/views.ts";
import { FailoverWorld, type FailoverWorldOptions } from "./failover-world.ts";

/** A line of a node's log about a check. */
export interface LoggedChange {
  readonly atMs: number;
  readonly name: HealthCheckName;
  readonly state: HealthState;
  readonly previous: HealthState;
}

/** Nodes `a`, `b`, `c` ..., whose keys are replicated. */
export class HealthWorld extends FailoverWorld {
  constructor(options: Partial<FailoverWorldOptions> = {}) {
    super({ isReal: true, ...options });
  }

  health(name: string): Health {
    return present(this.node(name).service(healthService), "there is health");
  }

  check(name: string, check: HealthCheckName): HealthCheck {
    return present(
      this.health(name).checks.find((each) => each.name === check),
      `${name} judges ${check}`,
    );
  }

  /** What `GET /cluster/info` tells at a node. */
  info(name: string): Info {
    return infoOf({ ...this.#sources(name), isCluster: true });
  }

  /** What `GET /cluster/explain` says at a node of what stands in the way of another one's being as it should be. */
  async obstacles(name: string, ofNode: string): Promise<readonly string[]> {
    const sources = this.#sources(name);
    const { map } = sources.topology;
    const node = present(
      map.nodes.find((each) => each.name === ofNode),
      `${ofNode} is in the map`,
    );
    // Nobody else is asked: the one that is asked leads, or nobody does.
    const nodes = { ask: () => Promise.resolve(undefined) };
    return await obstaclesOf({ ...sources, migrations: undefined, nodes }, { type: "node", node });
  }

  #sources(name: string) {
    const node = this.node(name);
    const topology = present(node.service(topologyService), "there is a map");
    const [consensus, membership] = [node.service(consensusService), node.service(membershipService)];
    const [failover, replication] = [node.service(failoverService), node.service(replicationService)];
    const clock = { monotonicMs: () => this.localMs(name), wallMs: () => this.localMs(name) };
    const view = new ClusterView({ topology, membership, failover, replication, clock });
    return { topology, view, consensus, membership, failover };
  }

  /** Waits until a node says so. @returns What it says. */
  async says(name: string, check: HealthCheckName, state: HealthState, withinMs = 20_000): Promise<string> {
    await this.until(
      `${name} to say that ${check} is ${state}`,
      () => this.health(name).checks.some((each) => each.name === check && each.state === state),
      withinMs,
    );
    return this.check(name, check).summary;
  }

  /** Waits until all nodes run and say that all is well. */
  async well(): Promise<void> {
    await this.until(
      "all to be well",
      () => this.names.every((name) => this.isUp(name) && this.health(name).state === "ok"),
      120_000,
    );
  }

  /** All that a node has logged about its checks. */
  changesOf(name: string): readonly LoggedChange[] {
    const host = ` ${this.hostOf(name)} `;
    return this.log.flatMap((line) => {
      const [, atMs, check, state, previous] =
        /^ *([0-9.]+) .*health changed .*check=(\S+) state=(\S+) previous=(\S+)/.exec(line) ?? [];
      if (!line.includes(host) || atMs === undefined) return [];
      return [
        {
          atMs: Number(atMs),
          name: check as HealthCheckName,
          state: state as HealthState,
          previous: previous as HealthState,
        },
      ];
    });
  }

  /** What a node has logged about one, such as `ok to warn`. */
  logged(name: string, check: HealthCheckName): readonly string[] {
    return this.changesOf(name)
      .filter((change) => change.name === check)
      .map(({ previous, state }) => `${previous} to ${state}`);
  }
}

/** A shard on `a` with the others as its replicas; three nodes, if nothing else is said. */
export async function startShard(options: Partial<FailoverWorldOptions> = {}): Promise<HealthWorld> {
  const world = new HealthWorld(options);
  await world.whole();
  await world.follow(...world.names.slice(1));
  await world.well();
  return world;
}
