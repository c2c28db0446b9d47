/**
 * cluster-changes: the subcommands of `CLUSTER` that change the cluster map: who owns which slots, who is in the cluster, and epochs.
 *
 * Promises: arguments are checked as Redis does, in its order and its words; whichever node is asked, the change is decided once, for all nodes, by the one
 * that leads; OK means that it is agreed, and that the node that was asked knows it. Where Redis changes what one node believes, and leaves it to gossip,
 * this changes what all know.
 *
 * How: a command asks `topology` and defers its reply until that is settled:
 * - done: OK, or what the command answers instead;
 * - rejected: the reason, in Redis' words where it has some. Nothing has happened;
 * - nobody could decide: `CLUSTERDOWN`, and why. Nothing has happened, it can be asked again;
 * - word was lost on the way: `UNKNOWN`. It may have happened or may yet; CLUSTER NODES tells.
 *
 * CLUSTER FORGET is the operator's word that a node is gone. It is never admitted again, and once it hears of it it serves nothing. One that is cut off, and was
 * not seen to let its slots go, serves them until then, beside whoever has them from here on: stop it, or wait for it.
 *
 * CLUSTER RESET makes this node a cluster by itself, without slots, once the cluster that it belonged to has let it go. SOFT keeps its id, HARD draws
 * another one. A primary with keys is not reset; a replica's are a copy, and go. Without a data directory that holds until the next start, which is as the settings say; with one for good: a list of nodes in the settings is
 * not about the node any more.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import { splitUsage } from "../src/command-syntax.ts";
import type { CommandSpecification } from "../src/contracts/commands.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { membershipService } from "../src/contracts/membership.ts";
import { replicationService } from "../src/contracts/replication.ts";
import {
  type ClusterMap,
  type DecidedOn,
  type NodeId,
  type ShardId,
  type ShardRecord,
  type SlotRange,
  type TopologyRequest,
  topologyService,
} from "../src/contracts/topology.ts";
import { randomId } from "../src/identity.ts";
import { KeyHold } from "../src/key-hold.ts";
import { type Settled, answerAfter, causeOf, settledOf } from "../src/map-change.ts";
import { definePlugin } from "../src/plugin.ts";
import { SETTING_DEFAULTS } from "../src/protocol/topology/decide.ts";
import { STALE } from "../src/protocol/topology/decision.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR } from "../src/replies.ts";
import { refuseExtraArguments } from "../src/subcommand-help.ts";

/** How often a change is decided anew when shards change faster than it is asked for. */
const MAX_ATTEMPTS = 10;

const BAD_SLOT = "ERR Invalid or out of range slot";

/** Slots that were asked for: in the order in which they stand there, which decides the one that an error names. */
class WantedSlots {
  readonly ranges: { first: number; last: number }[] = [];
  readonly #isWanted = new Uint8Array(SLOT_COUNT);

  /** @returns The first slot that is wanted twice, if there is one. The slots before it count as wanted. */
  add(first: number, last: number): number | undefined {
    for (let slot = first; slot <= last; slot += 1) {
      if (this.#isWanted[slot] === 1) return slot;
      this.#isWanted[slot] = 1;
      const previous = this.ranges.at(-1);
      if (previous?.last === slot - 1) previous.last = slot;
      else this.ranges.push({ first: slot, last: slot });
    }
    return undefined;
  }
}

/** A number from 0 to 16383, or NaN. */
function slotArgument(call: Call, index: number): number {
  const slot = integerArgument(call, index);
  return slot >= 0 && slot < SLOT_COUNT ? slot : Number.NaN;
}

/** The shards that own some of these slots, and their versions. */
function ownersOf({ shards, shardOfSlot }: ClusterMap, slots: readonly SlotRange[]): DecidedOn {
  const owners: Record<ShardId, number> = {};
  for (const { first, last } of slots) {
    for (let slot = first; slot <= last; slot += 1) {
      const shard = shards[shardOfSlot[slot] ?? -1];
      if (shard !== undefined) owners[shard.id] = shard.version;
    }
  }
  return owners;
}

export default definePlugin({
  name: "cluster-changes",
  summary: "CLUSTER: changes the cluster map, for all nodes at once.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  uses: { membership: membershipService, replication: replicationService },
  setup(context) {
    const { topology, keyspace } = context.requires;
    const { membership, replication } = context.uses;

    const ask = async (request: TopologyRequest, cause: string): Promise<Settled> =>
      settledOf(await topology.request(request, cause));
    /**
     * Asks for what is decided on this node's map. A shard that it concerns may change before the leader sees the request; it is decided once more then, on the
     * map that the rejection came with, by what the client wants and that map shows.
     */
    const askAnew = async (
      decide: () => TopologyRequest | { readonly error: string },
      cause: string,
    ): Promise<Settled> => {
      for (let attempt = 1; ; attempt += 1) {
        const request = decide();
        if ("error" in request) return request;
        const settled = await ask(request, cause);
        if (settled.error?.startsWith(STALE) !== true || attempt === MAX_ATTEMPTS) return settled;
      }
    };
    /** Asks for a change, and answers OK when it is made. */
    const change = (call: Call, request: TopologyRequest): void =>
      answerAfter(context, call, ask(request, causeOf(call)));

    const keyHold = new KeyHold(context);

    // --- slots ---

    /** The arguments as pairs of first and last slot. */
    const pairs = (call: Call): readonly (readonly [first: number, last: number])[] => {
      const isRange = call.command.specification.name.endsWith("range");
      const step = isRange ? 2 : 1;
      return Array.from({ length: (call.count - 2) / step }, (_, at) => [2 + at * step, 2 + at * step + step - 1]);
    };
    /**
     * What Redis says of slots before it comes to an error that this node has found: the leader would say it, but does not get to see arguments that are
     * wrong. For the choice between two errors the map that is known here is good enough.
     */
    const earlierError = (ranges: readonly SlotRange[], isAssigning: boolean): string | undefined => {
      for (const { first, last } of ranges) {
        for (let slot = first; slot <= last; slot += 1) {
          const isOwned = topology.map.shardOfSlot[slot] !== -1;
          if (isOwned === isAssigning) return `ERR Slot ${slot} is already ${isAssigning ? "busy" : "unassigned"}`;
        }
      }
      return undefined;
    };
    /** Reads the slots that a command names, or writes its error. */
    const wantedSlots = (call: Call, isAssigning: boolean): readonly SlotRange[] | undefined => {
      const isRange = call.command.specification.name.endsWith("range");
      const wanted = new WantedSlots();
      const refuse = (error: string): undefined => {
        call.reply.error(earlierError(wanted.ranges, isAssigning) ?? error);
      };
      // Of single slots Redis looks at all before it compares any with the map, of ranges at one after another.
      if (!isRange && pairs(call).some(([index]) => Number.isNaN(slotArgument(call, index)))) return refuse(BAD_SLOT);
      for (const [firstIndex, lastIndex] of pairs(call)) {
        const first = slotArgument(call, firstIndex);
        const last = slotArgument(call, lastIndex);
        if (Number.isNaN(first) || Number.isNaN(last)) return refuse(BAD_SLOT);
        if (first > last) return refuse(`ERR start slot number ${first} is greater than end slot number ${last}`);
        const twice = wanted.add(first, last);
        if (twice !== undefined) return refuse(`ERR Slot ${twice} specified multiple times`);
      }
      return wanted.ranges;
    };
    const changeSlots = (call: Call, isAssigning: boolean): void => {
      const slots = wantedSlots(call, isAssigning);
      if (slots === undefined) return;
      const cause = causeOf(call);
      const decide = (): TopologyRequest => {
        if (!isAssigning) return { type: "release-slots", slots, decidedOn: ownersOf(topology.map, slots) };
        const { self, selfShard } = topology;
        const decidedOn = selfShard === undefined ? {} : { [selfShard.id]: selfShard.version };
        return { type: "assign-slots", node: self.id, slots, decidedOn };
      };
      answerAfter(context, call, askAnew(decide, cause));
    };
    const assign = (call: Call): void => changeSlots(call, true);
    const release = (call: Call): void => changeSlots(call, false);
    const inPairs = (run: (call: Call) => void) => (call: Call) => {
      if (call.count % 2 === 0) run(call);
      else call.reply.error(`ERR wrong number of arguments for '${call.command.fullName}' command`);
    };
    const flush = (call: Call): void => {
      if (keyspace.size > 0) call.reply.error("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.");
      else
        answerAfter(
          context,
          call,
          keyHold.during(() => ask({ type: "flush-slots", node: topology.self.id }, causeOf(call))),
        );
    };

    // --- nodes ---

    const forget = (call: Call): void => {
      const node = call.text(2);
      if (!/^[0-9a-f]{40}$/.test(node)) call.reply.error(`ERR Unknown node ${node}`);
      else if (node === topology.self.id) call.reply.error("ERR I tried hard but I can't forget myself...");
      else change(call, { type: "remove-node", node, by: topology.self.id });
    };

    /** Why a replica may not drop its copy: its primary may be gone, and the copy what acknowledged writes are to be had from. */
    const whyNeeded = ({ id, inSync, eligible, primary }: ShardRecord, self: NodeId): string | undefined => {
      const isHolder = primary !== self && [...inSync, ...eligible].includes(self);
      if (!isHolder || replication?.waitingFor === undefined) return undefined;
      return `this node holds data of shard ${id}, and does not hear its primary (${replication.waitingFor}): wait until one leads, or CLUSTER RESET this node if its copy may be lost`;
    };
    /** Makes this node a replica of another's shard: one without slots and keys, or a replica of another shard, whose copy it drops. */
    const replicate = (call: Call): void => {
      const id = call.text(2);
      const decide = (): TopologyRequest | { readonly error: string } => {
        const { self, map, selfShard } = topology;
        const shard = map.shards.find((each) => each.primary === id);
        if (topology.node(id) === undefined) return { error: `ERR Unknown node ${id.slice(0, 128)}` };
        if (id === self.id) return { error: "ERR Can't replicate myself" };
        if (shard === undefined) return { error: "ERR I can only replicate a master, not a replica." };
        if (selfShard?.primary === self.id && keyspace.size > 0) {
          return { error: "ERR To set a master the node must be empty and without assigned slots." };
        }
        const problem = selfShard === undefined ? undefined : whyNeeded(selfShard, self.id);
        if (problem !== undefined) return { error: `ERR ${problem}` };
        return { type: "add-replica", shard: shard.id, shardVersion: shard.version, node: self.id };
      };
      const first = decide();
      if ("error" in first) call.reply.error(first.error);
      else if (topology.selfShard?.primary === id) call.reply.simple("OK");
      else {
        const cause = causeOf(call);
        answerAfter(
          context,
          call,
          keyHold.during(() => askAnew(decide, cause)),
        );
      }
    };

    /**
     * Takes this node out of the cluster, and makes it one by itself.
     *
     * 1. The map releases its slots. The answer comes when it knows that itself: from then on it serves none of them, and others may.
     * 2. The map removes it. In an act of its own, since what a node that is removed has lost is not waited for any more: were word of both lost, it would
     *    serve on what others serve.
     * 3. The group lets it go: it does not count on its vote any more.
     * 4. It founds a cluster of its own, without slots, that knows nothing of the other one.
     *
     * If it stops on the way it is without slots, or out of the map, and may be reset again.
     */
    const resetNode = async (isHard: boolean, cause: string): Promise<Settled> => {
      const { id } = topology.self;
      const epoch = topology.selfShard?.primaryEpoch ?? 0;
      if (topology.isMember && topology.map.nodes.length > 1) {
        for (const request of [
          { type: "flush-slots", node: id },
          { type: "remove-node", node: id, by: id },
        ] as const) {
          const { error } = await ask(request, cause);
          // Others may have removed it meanwhile, and its group has nothing to say to it.
          if (error !== undefined && topology.isMember) return { error };
        }
      }
      const problem = await topology.beginAlone(isHard ? randomId(context.world.random) : id, isHard ? 0 : epoch);
      return problem === undefined ? {} : { error: `CLUSTERDOWN ${problem}; send CLUSTER RESET again` };
    };
    /** What it holds is a copy, which is dropped when it leaves its shard. */
    const isReplica = (): boolean => topology.selfShard?.replicas.includes(topology.self.id) === true;
    let isResetting = false;
    const reset = (call: Call): void => {
      if (call.count > 3) {
        refuseExtraArguments(call);
      } else if (call.count === 3 && !call.is(2, "HARD") && !call.is(2, "SOFT")) {
        call.reply.error(SYNTAX_ERROR);
      } else if (keyspace.size > 0 && !isReplica()) {
        call.reply.error("ERR CLUSTER RESET can't be called with master nodes containing keys");
      } else if (isResetting) {
        call.reply.error("ERR the node is being reset already");
      } else {
        isResetting = true;
        const isHard = call.count === 3 && call.is(2, "HARD");
        const cause = causeOf(call);
        answerAfter(
          context,
          call,
          keyHold
            .during(() => resetNode(isHard, cause))
            .finally(() => {
              isResetting = false;
            }),
        );
      }
    };

    // --- epochs ---

    const setEpoch = (call: Call): void => {
      const epoch = integerArgument(call, 2);
      if (Number.isNaN(epoch)) call.reply.error(NOT_AN_INTEGER);
      // Beyond, numbers are no longer told apart from the next one.
      else if (epoch < 0 || epoch > Number.MAX_SAFE_INTEGER)
        call.reply.error(`ERR Invalid config epoch specified: ${call.text(2)}`);
      else change(call, { type: "set-epoch", node: topology.self.id, epoch });
    };
    const bumpEpoch = (call: Call): void =>
      answerAfter(context, call, ask({ type: "bump-epoch", node: topology.self.id }, causeOf(call)), (words) =>
        words.join(" "),
      );
    const countFailureReports = (call: Call): void => {
      const id = call.text(2);
      if (topology.node(id) !== undefined) call.reply.integer(membership?.member(id)?.suspectedBy.length ?? 0);
      else call.reply.error(`ERR Unknown node ${id}`);
    };

    // --- settings of the whole cluster ---

    const setting = (call: Call): void => {
      const { reply } = call;
      const present = new Map([...SETTING_DEFAULTS, ...topology.map.settings]);
      if (call.count === 4) {
        change(call, { type: "change-setting", name: call.text(2), value: call.text(3) });
      } else if (call.count > 4) {
        refuseExtraArguments(call);
      } else if (call.count === 3) {
        const value = present.get(call.text(2));
        if (value === undefined)
          reply.error(
            `ERR there is no cluster setting "${call.shown(2).slice(0, 64)}"; there are ${[...present.keys()].join(", ")}`,
          );
        else reply.bulkText(value);
      } else {
        reply.map(present.size);
        for (const [name, value] of present) {
          reply.bulkText(name);
          reply.bulkText(value);
        }
      }
    };

    const subcommand = (
      usage: string,
      arity: number,
      since: string,
      summary: string,
      run: (call: Call) => void,
      more: Partial<CommandSpecification> = {},
    ): void =>
      context.subcommand("cluster", {
        ...splitUsage(usage),
        arity,
        flags: ["admin", "stale", "no_async_loading"],
        group: "cluster",
        summary,
        complexity: "O(1)",
        since,
        run,
        ...more,
      });
    const perSlot = { complexity: "O(N), N being the slots" };
    const range = "(start-slot:integer end-slot:integer)...";

    subcommand("addslots slot:integer...", -3, "3.0.0", "Assigns slots to this node.", assign, perSlot);
    subcommand(
      `addslotsrange ${range}`,
      -4,
      "7.0.0",
      "Assigns ranges of slots to this node.",
      inPairs(assign),
      perSlot,
    );
    subcommand("delslots slot:integer...", -3, "3.0.0", "Takes slots from whoever owns them.", release, perSlot);
    subcommand(
      `delslotsrange ${range}`,
      -4,
      "7.0.0",
      "Takes ranges of slots from whoever owns them.",
      inPairs(release),
      perSlot,
    );
    subcommand("flushslots", 2, "3.0.0", "Takes all of this node's slots from it.", flush);
    subcommand("replicate node-id", 3, "3.0.0", "Makes this node a replica of another one.", replicate);
    subcommand("forget node-id", 3, "3.0.0", "Takes a node out of the cluster, if it owns no slots.", forget);
    subcommand(
      "reset [hard_soft:(HARD | SOFT)]",
      -2,
      "3.0.0",
      "Takes this node out of its cluster: it is one by itself then, without slots.",
      reset,
      { complexity: "O(N), N being the nodes", flags: ["admin", "noscript", "stale"] },
    );
    subcommand("bumpepoch", 2, "3.0.0", "Gives this node's shard the highest epoch, if it has not got it.", bumpEpoch, {
      tips: ["nondeterministic_output"],
    });
    subcommand(
      "set-config-epoch config-epoch:integer",
      3,
      "3.0.0",
      "Sets the epoch of a node that has none and is alone.",
      setEpoch,
    );
    subcommand(
      "count-failure-reports node-id",
      3,
      "3.0.0",
      "Tells how many nodes found that another one does not answer, as far as that mattered.",
      countFailureReports,
      { complexity: "O(N), N being the reports", flags: ["admin", "stale"], tips: ["nondeterministic_output"] },
    );
    subcommand(
      "setting [name [value]]",
      -2,
      "bunch 0.1.0",
      "Tells the settings of the whole cluster, or one of them, or changes one for all nodes.",
      setting,
      { complexity: "O(N), N being the settings" },
    );
    subcommand("saveconfig", 2, "3.0.0", "Answers OK: what is agreed is on disk already, where there is one.", (call) =>
      call.reply.ok(),
    );
  },
});
