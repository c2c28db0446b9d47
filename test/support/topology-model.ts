/** The cluster map's machine as tests drive it: requests decided and applied at once, the state checked after each. */
import { createHash } from "node:crypto";
import { assert, present } from "../../src/assert.ts";
import type { NodeRecord, ShardRecord, SlotRange, TopologyRequest } from "../../src/contracts/topology.ts";
import { decideRequest } from "../../src/protocol/topology/decide.ts";
import type { TopologyDecision } from "../../src/protocol/topology/decision.ts";
import {
  EMPTY_STATE,
  type TopologyState,
  applyAct,
  checkChange,
  checkState,
  deltaOf,
  stateToJson,
} from "../../src/protocol/topology/state.ts";

/** A node's id by a letter: `a` is forty times a. */
export function idOf(letter: string): string {
  return letter.repeat(40);
}

/** A node as it asks to be admitted. */
export function nodeRecord(
  letter: string,
  changes: Partial<Omit<NodeRecord, "incarnation">> = {},
): Omit<NodeRecord, "incarnation"> {
  const port = 7000 + letter.charCodeAt(0);
  return {
    id: idOf(letter),
    name: letter,
    host: "127.0.0.1",
    port,
    busHost: "127.0.0.1",
    busPort: port + 10_000,
    httpHost: "127.0.0.1",
    httpPort: 0,
    zone: "",
    role: "data",
    start: `${letter}-start-1`,
    ...changes,
  };
}

export function range(first: number, last = first): SlotRange {
  return { first, last };
}

export function shardIdOf(text: string): string {
  return createHash("sha1").update(`test shard ${text}`).digest("hex");
}

export class TopologyModel {
  state: TopologyState = EMPTY_STATE;

  /** Admits nodes, one after another. */
  static of(letters: string): TopologyModel {
    const model = new TopologyModel();
    for (const letter of letters) model.grant({ type: "register-node", node: nodeRecord(letter) });
    return model;
  }

  /** @param term Of the leader that decides. */
  decide(request: TopologyRequest, term?: number): TopologyDecision {
    const before = JSON.stringify(stateToJson(this.state));
    const decision = decideRequest(this.state, request, shardIdOf, term);
    assert(JSON.stringify(stateToJson(this.state)) === before, "deciding changes nothing");
    return decision;
  }

  /** Decides, and applies what came of it. */
  ask(request: TopologyRequest, cause = "a test", term?: number): TopologyDecision {
    const decision = this.decide(request, term);
    if ("rejection" in decision) return decision;
    const { state } = this;
    const before = JSON.stringify(stateToJson(state));
    const act = { requestId: `request-${state.version + 1}`, cause, timeMs: 1, ...decision };
    this.state = applyAct(state, state.version + 1, act);
    assert(JSON.stringify(stateToJson(state)) === before, "applying makes another state, and leaves the one before");
    checkState(this.state);
    checkChange(state, this.state, deltaOf(state, this.state));
    return decision;
  }

  /** Asks for what must be granted. @returns The outcome. */
  grant(request: TopologyRequest): readonly string[] {
    return this.grantIn(undefined, request);
  }

  /** The same of a leader of some term. */
  grantIn(term: number | undefined, request: TopologyRequest): readonly string[] {
    const decision = this.ask(request, "a test", term);
    assert(!("rejection" in decision), `granted: ${"rejection" in decision ? decision.rejection : ""}`);
    return decision.outcome;
  }

  /** Why a request is rejected; `undefined` if it would be granted. */
  reasonOf(request: TopologyRequest): string | undefined {
    const decision = this.decide(request);
    return "rejection" in decision ? decision.rejection : undefined;
  }

  /** The shard that a node is a member of. */
  shard(letter: string): ShardRecord {
    const id = idOf(letter);
    const found = [...this.state.shards.values()].find(
      ({ primary, replicas }) => primary === id || replicas.includes(id),
    );
    return present(found, `node ${letter} is in a shard`);
  }

  assign(letter: string, ...slots: readonly SlotRange[]): void {
    this.grant({ type: "assign-slots", node: idOf(letter), slots });
  }

  /** Makes `replica` a replica of `primary`, in sync or not. */
  follow(primary: string, replica: string, isInSync = true): void {
    const { id, version: shardVersion } = this.shard(primary);
    this.grant({ type: "add-replica", shard: id, shardVersion, node: idOf(replica) });
    if (!isInSync) return;
    const { version, inSync, eligible } = this.shard(primary);
    this.grant({
      type: "change-in-sync",
      shard: id,
      shardVersion: version,
      inSync: [...inSync, idOf(replica)],
      eligible,
    });
  }

  /** Starts a migration between the shards of two nodes. */
  migrate(
    id: string,
    source: string,
    target: string,
    ...slots: readonly SlotRange[]
  ): Extract<TopologyRequest, { type: "start-migration" }> {
    const [from, to] = [this.shard(source), this.shard(target)];
    return {
      type: "start-migration",
      id,
      source: from.id,
      sourceVersion: from.version,
      target: to.id,
      targetVersion: to.version,
      slots,
    };
  }
}
