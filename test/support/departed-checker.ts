/** What must hold for nodes that were taken out of a cluster, as seen from outside. */
import type { NodeView } from "./cluster-checkers.ts";
import { Violation } from "./raft-checkers.ts";

/** A node that is out of a map. */
interface Departure {
  /** The version that took it out. */
  readonly version: number;
  /** The group's members are without it since this index. */
  goneAtIndex: number;
  /** No term that it may be in is higher, but for those that others have had. */
  highestTerm: number;
}

/**
 * 1. Whoever was taken out is in no later map, and its tombstone stays.
 * 2. Once the group's members are without it they stay so.
 * 3. From then on it is in no term that no other member has been in: it disturbs nobody.
 */
export class DepartedChecker {
  readonly #departures = new Map<string, Departure>();
  readonly #maps = new WeakMap<NodeView, object>();
  readonly #looked = new WeakMap<NodeView, number>();
  /** By groups. */
  readonly #highestTerms = new Map<string, number>();

  look(view: NodeView): void {
    this.#lookAtMap(view);
    this.#lookAtMembers(view);
  }

  #lookAtMap(view: NodeView): void {
    const { map } = view.topology;
    if (this.#maps.get(view) === map) return;
    this.#maps.set(view, map);
    const { clusterId, version } = map;
    const tombstones = new Set(map.tombstones.map(({ node }) => node));
    for (const { node, version: at } of map.tombstones) {
      const key = `${clusterId} ${node}`;
      if (!this.#departures.has(key)) {
        this.#departures.set(key, { version: at, goneAtIndex: Infinity, highestTerm: 0 });
      }
    }
    for (const [key, departure] of this.#departures) {
      const [cluster, node = ""] = key.split(" ");
      if (cluster !== clusterId || version < departure.version) continue;
      if (map.nodes.some(({ id }) => id === node)) {
        throw new Violation(`whoever was taken out stays out: ${node} is in the map of ${view.name} at ${version}`);
      }
      if (!tombstones.has(node)) {
        throw new Violation(`tombstones stay: that of ${node} is gone on ${view.name} at ${version}`);
      }
    }
  }

  #lookAtMembers(view: NodeView): void {
    const { machine } = view.consensus;
    if (machine === undefined) return;
    const { log, term } = machine;
    // Nothing has changed that is looked at here.
    const state = log.commitIndex * 1e6 + term;
    if (this.#looked.get(view) === state) return;
    this.#looked.set(view, state);
    const { group } = view.consensus.status;
    const own = this.#departures.get(`${group} ${view.node.facts.id}`);
    const highestTerm = this.#highestTerms.get(group) ?? 0;
    if (own !== undefined && own.goneAtIndex < Infinity) {
      if (term > Math.max(own.highestTerm, highestTerm)) {
        throw new Violation(
          `whoever is out disturbs nobody: ${view.name} is in term ${term}, and nobody else has been in one above ${highestTerm}`,
        );
      }
      return;
    }
    this.#highestTerms.set(group, Math.max(highestTerm, term));
    const { commitIndex } = log;
    const { members } = log.configurationAt(commitIndex);
    for (const [key, departure] of this.#departures) {
      const [cluster, node = ""] = key.split(" ");
      if (cluster !== group || members.length === 0 || commitIndex < departure.version) continue;
      if (!members.some(({ id }) => id.startsWith(`${node}/`))) {
        if (commitIndex >= departure.goneAtIndex) continue;
        departure.goneAtIndex = commitIndex;
        departure.highestTerm = Math.max(highestTerm, term);
      } else if (commitIndex >= departure.goneAtIndex) {
        throw new Violation(
          `whoever was taken out stays out: ${node} is a member again at ${commitIndex} on ${view.name}`,
        );
      }
    }
  }
}
