/**
 * plan-commands: CLUSTER PLAN: what would have to move for slots to be even over the shards, or for a shard to be empty.
 *
 * Promises: nothing is changed by it. A plan is made for one version of the map, which it tells: whoever carries it out gives that version to CLUSTER MOVE, which refuses
 * what is not the same any more.
 *
 * - CLUSTER PLAN REBALANCE: each shard is to have its part of the slots, or of the keys, bytes or processor time in them (BY). WEIGHTS are parts of shards beside each other,
 *   such as `a=2,b=0`, by names or ids of nodes or shards. THRESHOLD is how far from its part a shard may be, in percent: by default 2. SKIPEMPTY gives nothing to
 *   shards without slots.
 * - CLUSTER PLAN DRAIN: all slots of a shard go to the others.
 * - No slot goes to a shard with fewer members in sync, but with ALLOWFEWERCOPIES.
 * - None goes to a shard that was emptied, but by a weight of its own, or where nobody else could take what is drained: it is about to be taken out.
 *
 * The reply is a map: id (the same for the same plan), kind, by, cluster-id, map-version; slots, keys and bytes, that would move in all; worst-before and worst-after,
 * how far the shard that is farthest from its part is from it, in percent, as text; moves, shares, warnings (sentences) and left-out. A move is a map of source,
 * source-node, target, target-node (shards and their primaries), slots (such as `0-99 7`), slot-count, keys and bytes. A share is a map of shard, node, weight
 * (as text), and slots, keys, bytes and load before and after. Left-out has shards that could not be asked, and the reason, in turn: they neither give nor get.
 *
 * How: this node asks every primary what its slots hold (CLUSTER SLOTLOADS), and plans by its own map. `bunch plan` and REST make the same plans.
 */
import type { Call } from "../src/call.ts";
import type { ReplyWriter } from "../src/codec/resp-writer.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { type ShardId, topologyService } from "../src/contracts/topology.ts";
import { LocalConnection } from "../src/local-connection.ts";
import { LOADS_COMMAND, measureSlots } from "../src/migration/measure-slots.ts";
import { definePlugin } from "../src/plugin.ts";
import { PLAN_MEASURES, type Plan, type PlanMeasure, findShard, twiceWeighed } from "../src/protocol/plan/plan.ts";
import { type PlanOptions, planDrain, planRebalance } from "../src/protocol/plan/rebalance.ts";
import { formatSlotRange } from "../src/protocol/slot-ranges.ts";
import { SYNTAX_ERROR } from "../src/replies.ts";
import { LocalCommands } from "../src/rest/local-commands.ts";
import { Nodes } from "../src/rest/nodes.ts";
import { Peers } from "../src/rest/peers.ts";

/** How long a node may take to tell what its slots hold. */
const PATIENCE_MS = 5000;
/** As everywhere. */
const DEFAULT_THRESHOLD = 0.02;
const MAX_WEIGHT = 1_000_000;

type Field = readonly [name: string, write: (reply: ReplyWriter) => void];

/** What is to be planned, or the error. */
type Wanted = { readonly drains: ShardId | undefined; readonly options: PlanOptions } | { readonly error: string };

export default definePlugin({
  name: "plan-commands",
  summary: "CLUSTER PLAN: what would have to move for slots to be even, or for a shard to be empty.",
  requires: { topology: topologyService },
  setup(context) {
    const { topology } = context.requires;
    const { clock, network } = context.world;
    const local = new LocalCommands(
      () => new LocalConnection(context.dispatcher, context.clients, clock, context.hooks, context.replyGate),
      clock,
    );
    const nodes = new Nodes(() => topology.self.id, local, new Peers(network, clock, context.passwords));
    context.on(context.hooks.stop, () => local.close());

    const readWeights = (text: string): ReadonlyMap<ShardId, number> | { readonly error: string } => {
      const weights = new Map<ShardId, number>();
      for (const part of text.split(",")) {
        const [, name = "", value = ""] = /^(.+)=([0-9]+(?:\.[0-9]+)?)$/.exec(part) ?? [];
        if (name === "" || Number(value) > MAX_WEIGHT) {
          return { error: "ERR weights are SHARD=NUMBER, with a comma between two: a=2,b=0" };
        }
        const shard = findShard(topology.map, name);
        if ("problem" in shard) return { error: `ERR ${shard.problem}` };
        if (weights.has(shard.id)) return { error: `ERR ${twiceWeighed(name)}` };
        weights.set(shard.id, Number(value));
      }
      return weights;
    };

    const read = (call: Call): Wanted => {
      const isDrain = call.is(2, "DRAIN");
      if (!isDrain && !call.is(2, "REBALANCE")) return { error: SYNTAX_ERROR };
      let at = 3;
      let drains: ShardId | undefined;
      if (isDrain) {
        if (call.count === 3) return { error: `ERR wrong number of arguments for '${call.command.fullName}' command` };
        const shard = findShard(topology.map, call.text(3));
        if ("problem" in shard) return { error: `ERR ${shard.problem}` };
        drains = shard.id;
        at = 4;
      }
      let by: PlanMeasure = "slots";
      let threshold = DEFAULT_THRESHOLD;
      let weights: ReadonlyMap<ShardId, number> = new Map();
      let leavesEmpty = false;
      let allowsFewerCopies = false;
      while (at < call.count) {
        const isLast = at + 1 === call.count;
        if (call.is(at, "ALLOWFEWERCOPIES")) allowsFewerCopies = true;
        else if (!isDrain && call.is(at, "SKIPEMPTY")) leavesEmpty = true;
        else if (isLast) return { error: SYNTAX_ERROR };
        else {
          const value = call.text(at + 1);
          if (call.is(at, "BY")) {
            const measure = PLAN_MEASURES.find((each) => each === value.toLowerCase());
            if (measure === undefined) return { error: `ERR BY is one of ${PLAN_MEASURES.join(", ")}` };
            by = measure;
          } else if (!isDrain && call.is(at, "THRESHOLD")) {
            if (!/^[0-9]{1,2}(\.[0-9]+)?$/.test(value)) return { error: "ERR THRESHOLD is a percentage below 100" };
            threshold = Number(value) / 100;
          } else if (!isDrain && call.is(at, "WEIGHTS")) {
            const given = readWeights(value);
            if ("error" in given) return given;
            weights = given;
          } else return { error: SYNTAX_ERROR };
          at += 1;
        }
        at += 1;
      }
      return { drains, options: { by, threshold, weights, leavesEmpty, allowsFewerCopies } };
    };

    const primaryOf = (id: ShardId): string => topology.map.shards.find((shard) => shard.id === id)?.primary ?? "";
    const writePlan = (reply: ReplyWriter, plan: Plan, silent: ReadonlyMap<ShardId, string>): void => {
      const percent = (part: number): string => (part * 100).toFixed(1);
      const before = new Map(plan.before.shares.map((share) => [share.shard, share]));
      writeMap(reply, [
        text("id", plan.id),
        text("kind", plan.kind),
        text("by", plan.by),
        text("cluster-id", plan.clusterId),
        number("map-version", plan.mapVersion),
        number("slots", plan.slotCount),
        number("keys", plan.keys),
        number("bytes", plan.bytes),
        text("worst-before", percent(plan.before.worst)),
        text("worst-after", percent(plan.after.worst)),
        list("moves", plan.moves, (move) =>
          writeMap(reply, [
            text("source", move.source),
            text("source-node", primaryOf(move.source)),
            text("target", move.target),
            text("target-node", primaryOf(move.target)),
            text("slots", move.slots.map(formatSlotRange).join(" ")),
            number("slot-count", move.slotCount),
            number("keys", move.keys),
            number("bytes", move.bytes),
          ]),
        ),
        list("shares", plan.after.shares, (after) => {
          const amounts = (["slots", "keys", "bytes", "load"] as const).flatMap((name) => [
            number(`${name}-before`, before.get(after.shard)?.[name] ?? 0),
            number(`${name}-after`, after[name]),
          ]);
          writeMap(reply, [
            text("shard", after.shard),
            text("node", primaryOf(after.shard)),
            text("weight", String(after.weight)),
            ...amounts,
          ]);
        }),
        list("warnings", plan.warnings, (warning) => reply.bulkText(warning)),
        list("left-out", [...silent].flat(), (word) => reply.bulkText(word)),
      ]);
    };

    const make = async ({ drains, options }: Exclude<Wanted, { readonly error: string }>) => {
      const { loads, silent } = await measureSlots(topology.map, async ({ primary }) => {
        const node = topology.node(primary);
        const told = node === undefined ? undefined : await nodes.ask(node, LOADS_COMMAND, PATIENCE_MS);
        if (told === undefined) throw new Error("its primary does not answer");
        return told;
      });
      const all = { ...options, leftOut: new Set(silent.keys()) };
      const { map } = topology;
      const plan = drains === undefined ? planRebalance(map, loads, all) : planDrain(map, loads, [drains], all);
      return { plan, silent };
    };

    context.subcommand("cluster", {
      ...splitUsage(
        "plan purpose:(REBALANCE | DRAIN shard-or-node) [BY measure] [THRESHOLD percent] [WEIGHTS weights] [SKIPEMPTY] [ALLOWFEWERCOPIES]",
      ),
      arity: -3,
      flags: ["admin", "stale", "no_async_loading"],
      group: "cluster",
      summary: "Plans moves of slots, so that shards have equal parts or one is empty, and tells them. Nothing moves.",
      complexity: "O(N), N being the slots, times the shards; every primary is asked what its slots hold",
      since: "bunch 0.1.0",
      tips: ["nondeterministic_output"],
      run(call) {
        const wanted = read(call);
        if ("error" in wanted) return call.reply.error(wanted.error);
        const deferred = call.defer();
        make(wanted).then(
          ({ plan, silent }) =>
            deferred.resolve((reply) => {
              if ("problem" in plan) reply.error(`ERR there is no such plan: ${plan.problem}`);
              else writePlan(reply, plan, silent);
            }),
          (thrown: unknown) => context.fault(thrown),
        );
        return undefined;
      },
    });
  },
});

function writeMap(reply: ReplyWriter, fields: readonly Field[]): void {
  reply.map(fields.length);
  for (const [name, write] of fields) {
    reply.bulkText(name);
    write(reply);
  }
}

function text(name: string, value: string): Field {
  return [name, (reply) => reply.bulkText(value)];
}

function number(name: string, value: number): Field {
  return [name, (reply) => reply.integer(Math.round(value))];
}

function list<Item>(name: string, items: readonly Item[], write: (item: Item) => void): Field {
  return [
    name,
    (reply) => {
      reply.array(items.length);
      for (const item of items) write(item);
    },
  ];
}
