/**
 * setslot: `CLUSTER SETSLOT`: slots that are moved from shard to shard key by key, as redis-cli does it.
 *
 * MIGRATING and IMPORTING put a mark on a slot, STABLE takes a shard's marks away, NODE gives the slot to another shard. The marks are in the cluster map, so that they
 * outlive any failover; the router serves by them (ASK, ASKING, TRYAGAIN), MIGRATE moves the keys.
 *
 * Promises, beyond Redis': whichever node is asked, a slot has one owner at any time, and no key is left behind where nobody looks for it.
 * - A slot is given away on its owner's word alone: the owner's primary holds commands on the slot, has no key of it, and nothing of it that is not committed; then it
 *   asks the map for the change, and holds on until it knows what came of it. So it serves nothing of the slot from before the change is decided, and the one who gains
 *   it need not wait for anything. It lets the held commands go (to MOVED) when the gainer has said that it knows, or after a second.
 * - A slot is closed for a shard that takes it in by the same kind of word: it has taken in no key. Closed for its owner it is closed first for those who take it in.
 *   Of a slot that is nobody's, keys may stay: whoever has them may become its owner.
 * - With keys at both sides STABLE gathers the slot at the node that was asked, since nothing else leaves no key behind: its keys are moved there, and the slot is its own then. Where the
 *   owner was asked, it changes places with the other shard first, so that keys go back as they came. If somebody dies meanwhile, the slot is open as any other.
 * - A word names the version of the shard that it was given for: if another member has been promoted since, it is worth nothing.
 *
 * `SETSLOT slot STABLE FORCE`, which Redis does not have, takes all marks from a slot and asks nobody: for a shard that takes it in and is gone for good. Keys that
 * are there are lost.
 *
 * Words are asked for over the bus, on the channel `slots`, as often as it takes: a frame may be lost, and every question may be asked twice.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import { type SlotQuestion, type SlotWord, encodeSlotMessage, readSlotMessage } from "../src/codec/slot-word-codec.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { BusChannel, busService } from "../src/contracts/bus.ts";
import { keyMoverService } from "../src/contracts/key-mover.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { replicationService } from "../src/contracts/replication.ts";
import {
  type NodeId,
  type ShardId,
  type ShardRecord,
  type TopologyRequest,
  topologyService,
} from "../src/contracts/topology.ts";
import { slotHoldsService } from "../src/contracts/slot-holds.ts";
import { type Settled, answerAfter, causeOf, settledOf } from "../src/map-change.ts";
import { definePlugin } from "../src/plugin.ts";
import { STALE } from "../src/protocol/topology/decision.ts";
import { keysLeftText } from "../src/protocol/topology/decide-open-slots.ts";
import { SlotHold } from "../src/slot-hold.ts";

/** A question without an answer is asked again after so long. */
const ASK_AGAIN_MS = 200;
/** How long words are waited for, whoever may give them meanwhile. */
const ASK_LIMIT_MS = 10_000;
/** How long a node that has given a slot away waits for word that the other one knows. */
const REACH_MS = 1000;
/** A request that is rejected as stale is made anew so often. */
const MAX_ATTEMPTS = 10;

/** How long all keys of a slot may take on their way. */
const SEND_LIMIT_MS = 600_000;

const ELSEWHERE: SlotWord = { result: "elsewhere", error: "the node that was asked is not the primary", version: 0 };

export default definePlugin({
  name: "setslot",
  summary: "CLUSTER SETSLOT: moves slots from shard to shard, key by key.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  uses: { bus: busService, mover: keyMoverService, replication: replicationService },
  provides: { holds: slotHoldsService },
  setup(context) {
    const { topology, keyspace } = context.requires;
    const { bus, mover, replication } = context.uses;
    const { hooks, node, replyGate } = context;
    const { clock, log } = context.world;
    const hold = new SlotHold(context, () => (replication?.isHandingOver === true ? "pass" : "refuse"));
    let questions = 0;

    const refused = (error: string): SlotWord => ({ result: "refused", error, version: 0 });
    const done = (version = topology.map.version): SlotWord => ({ result: "done", error: "", version });

    // --- the map, as far as it is about a slot ---

    const ownerOf = (slot: number): ShardRecord | undefined =>
      topology.map.shards[topology.map.shardOfSlot[slot] ?? -1];
    const shardOfPrimary = (id: NodeId): ShardRecord | undefined =>
      topology.map.shards.find(({ primary }) => primary === id);
    /** The shards that take a slot in, with the primary of each. */
    const takersOf = (slot: number): readonly ShardRecord[] => {
      const marks = topology.map.openSlots.find((each) => each.slot === slot)?.importing ?? [];
      return marks.flatMap(({ shard }) => topology.map.shards.find(({ id }) => id === shard) ?? []);
    };
    const isMigrating = (slot: number): boolean =>
      topology.map.openSlots.some((each) => each.slot === slot && each.migratingTo !== undefined);
    /** The shard that this node leads, with all that it holds. */
    const ledShard = (): ShardRecord | undefined => {
      const { self, selfShard, isMember } = topology;
      const isLeading =
        isMember &&
        selfShard?.primary === node.id &&
        self.start === node.runId &&
        selfShard.primaryIncarnation === self.incarnation;
      return isLeading ? selfShard : undefined;
    };

    // --- waiting ---

    /** Whether something comes to be so within the time. It is looked at when the map changes. */
    const comesAbout = async (isSo: () => boolean, limitMs: number): Promise<boolean> => {
      if (isSo()) return true;
      const { promise, resolve } = Promise.withResolvers<boolean>();
      const timer = clock.after(limitMs, () => resolve(isSo()));
      const unhook = context.on(hooks.mapChanged, () => {
        if (isSo()) resolve(true);
      });
      const result = await promise;
      timer.cancel();
      unhook();
      return result;
    };
    /** Until all that this node has done to a slot's keys is committed. @returns Whether it is: it may lose its role before. */
    const committed = (slot: number): Promise<boolean> => {
      const position = replyGate.positionOf(slot);
      if (replyGate.mayLeave(position)) return Promise.resolve(true);
      return new Promise((resolve) => {
        replyGate.wait(position, { released: () => resolve(true), broken: () => resolve(false) });
      });
    };

    // --- words, as they are given ---

    /**
     * Has the map changed by this node as the primary of its shard: until it is known what came of it.
     *
     * @param make The request, on the present version of the shard; or why there is none.
     */
    const settle = async (make: () => TopologyRequest | SlotWord, cause: string): Promise<SlotWord> => {
      for (let attempt = 1; ; attempt += 1) {
        const request = make();
        if ("error" in request) return request;
        questions += 1;
        const id = `slot ${node.runId} ${questions}`;
        let outcome = await topology.request(request, cause, id);
        // It may have happened, or may yet: asked again under its id it has one outcome.
        while (outcome.type === "unknown" && ledShard() !== undefined) {
          outcome = await topology.request(request, cause, id);
        }
        if (outcome.type === "done") return done(outcome.index);
        const { error = "" } = settledOf(outcome);
        if (!error.startsWith(STALE) || attempt === MAX_ATTEMPTS) return refused(error);
      }
    };
    const give = (slot: number, to: NodeId, cause: string): Promise<SlotWord> =>
      hold.during([slot], async () => {
        if (!(await committed(slot))) return ELSEWHERE;
        const word = await settle(() => {
          const shard = ledShard();
          if (ownerOf(slot)?.primary === to) return done();
          if (shard === undefined || ownerOf(slot)?.id !== shard.id) return ELSEWHERE;
          if (keyspace.slotSize(slot) > 0) {
            return refused(
              `ERR Can't assign hashslot ${slot} to a different node while I still hold keys for this hash slot.`,
            );
          }
          return { type: "give-slot", slot, from: { shard: shard.id, shardVersion: shard.version }, to };
        }, cause);
        // Whoever is sent there before that node knows would be sent back, again and again.
        if (word.result === "done") await ask(to, { type: "reach", version: word.version }, cause, REACH_MS);
        return word;
      });
    const close = (slot: number, isLast: boolean, cause: string): Promise<SlotWord> =>
      hold.during([slot], async () => {
        if (!(await committed(slot))) return ELSEWHERE;
        return settle(() => {
          const shard = ledShard();
          if (shard === undefined) return ELSEWHERE;
          if (!takersOf(slot).some(({ id }) => id === shard.id)) return done();
          const keys = keyspace.slotSize(slot);
          if (keys > 0 && ownerOf(slot) !== undefined) {
            return { result: "keys", error: `ERR ${keysLeftText(slot, node.id, keys)}`, version: 0 };
          }
          return { type: "unmark-slot", slot, shard: shard.id, shardVersion: shard.version, keys, isLast };
        }, cause);
      });
    /** Changes places with the shard that a slot of this node's is moved to. */
    const swap = (slot: number, other: ShardRecord, cause: string): Promise<SlotWord> =>
      hold.during([slot], async () => {
        await mover?.settled(slot);
        if (!(await committed(slot))) return ELSEWHERE;
        const word = await settle(() => {
          const shard = ledShard();
          return shard === undefined
            ? ELSEWHERE
            : { type: "swap-slot", slot, shard: shard.id, shardVersion: shard.version, with: other.id };
        }, cause);
        if (word.result === "done") {
          await ask(other.primary, { type: "reach", version: word.version }, cause, REACH_MS);
        }
        return word;
      });
    const sending = new Map<number, Promise<SlotWord>>();
    /** Moves all keys of a slot to a node, and gives it the slot then. */
    const send = (slot: number, to: NodeId, cause: string): Promise<SlotWord> => {
      const begun = sending.get(slot) ?? sendAll(slot, to, cause).finally(() => sending.delete(slot));
      sending.set(slot, begun);
      return begun;
    };
    const sendAll = async (slot: number, to: NodeId, cause: string): Promise<SlotWord> => {
      const [shard, target] = [ledShard(), topology.node(to)];
      if (shard === undefined || ownerOf(slot)?.id !== shard.id) return ELSEWHERE;
      if (target === undefined || mover === undefined) return refused(`ERR keys are not moved to node ${to} from here`);
      const { error } = await request({ type: "mark-slot", slot, node: node.id, mark: "migrating", peer: to }, cause);
      if (error !== undefined) return refused(error);
      const problem = await mover.moveAll(slot, target);
      return problem === undefined ? give(slot, to, cause) : refused(problem);
    };
    /** Once this node has applied a version of the map. */
    const reached = async (version: number): Promise<SlotWord> => {
      await comesAbout(() => topology.map.version >= version, REACH_MS);
      return done();
    };
    const answer = (question: SlotQuestion, cause: string): Promise<SlotWord> => {
      switch (question.type) {
        case "give":
          return give(question.slot, question.to, cause);
        case "send":
          return send(question.slot, question.to, cause);
        case "close":
          return close(question.slot, question.isLast, cause);
        case "reach": {
          const { version } = question;
          return reached(version);
        }
        default:
          return question satisfies never;
      }
    };

    // --- words, as they are asked for ---

    const waiting = new Map<number, (word: SlotWord) => void>();
    /** Questions of others that are being answered: asked again meanwhile they are no others. */
    const answering = new Set<string>();

    const tell = (to: NodeId, bytes: Uint8Array): void => {
      const record = topology.node(to);
      if (record !== undefined) void bus?.send({ host: record.busHost, port: record.busPort }, BusChannel.slots, bytes);
    };
    /** Asks a node, which may be this one. @returns `undefined` if it does not answer in time. */
    const ask = async (
      to: NodeId,
      question: SlotQuestion,
      cause: string,
      limitMs: number,
    ): Promise<SlotWord | undefined> => {
      if (to === node.id) return answer(question, cause);
      questions += 1;
      const id = questions;
      const bytes = encodeSlotMessage({ type: "question", id, cause, question });
      const { promise, resolve } = Promise.withResolvers<SlotWord | undefined>();
      waiting.set(id, resolve);
      tell(to, bytes);
      const again = clock.every(ASK_AGAIN_MS, () => tell(to, bytes));
      const over = clock.after(limitMs, () => resolve(undefined));
      const word = await promise;
      again.cancel();
      over.cancel();
      waiting.delete(id);
      return word;
    };
    bus?.receive(BusChannel.slots, ({ nodeId }, bytes) => {
      const message = readSlotMessage(bytes);
      if (message === undefined) {
        log.warn("message about slots refused", { from: nodeId, reason: "it makes no sense" });
      } else if (message.type === "word") {
        waiting.get(message.id)?.(message.word);
      } else {
        const { id, question, cause } = message;
        const key = `${nodeId} ${id}`;
        if (answering.has(key)) return;
        answering.add(key);
        answer(question, cause).then(
          (word) => {
            answering.delete(key);
            tell(nodeId, encodeSlotMessage({ type: "word", id, word }));
          },
          (thrown: unknown) => context.fault(thrown),
        );
      }
    });
    /**
     * Asks the primary of a shard, whoever that is meanwhile.
     *
     * @param find The shard; `undefined` if nobody need be asked any more.
     */
    const askPrimary = async (
      find: () => ShardRecord | undefined,
      question: SlotQuestion,
      cause: string,
      limitMs = ASK_LIMIT_MS,
    ): Promise<Settled & { readonly hasKeys?: boolean }> => {
      const untilMs = clock.monotonicMs() + limitMs;
      for (;;) {
        const shard = find();
        if (shard === undefined) return {};
        const leftMs = untilMs - clock.monotonicMs();
        if (leftMs <= 0) {
          return {
            error: `UNKNOWN The change may or may not have been made: node ${shard.primary}, whose word it takes, does not answer`,
          };
        }
        const word = await ask(shard.primary, question, cause, Math.min(leftMs, REACH_MS + ASK_AGAIN_MS));
        if (word?.result === "done") {
          await comesAbout(() => topology.map.version >= word.version, leftMs);
          return {};
        }
        if (word?.result === "refused" || word?.result === "keys") {
          return { error: word.error, hasKeys: word.result === "keys" };
        }
        // Its map, or this one, is behind.
        if (word !== undefined) await comesAbout(() => find()?.primary !== shard.primary, ASK_AGAIN_MS);
      }
    };

    // --- what is wanted ---

    const request = async (wanted: TopologyRequest, cause: string): Promise<Settled> =>
      settledOf(await topology.request(wanted, cause));
    const taker = (slot: number, shard: ShardId) => (): ShardRecord | undefined =>
      takersOf(slot).find(({ id }) => id === shard);
    /** Ends what a shard has to do with a slot. */
    const stabilize = async (slot: number, shard: ShardRecord, cause: string): Promise<Settled> => {
      /** Has all keys moved here, and the slot given, by whoever owns it. */
      const gather = (): Promise<Settled> => {
        const owner = (): ShardRecord | undefined => (ownerOf(slot)?.id === shard.id ? undefined : ownerOf(slot));
        return askPrimary(owner, { type: "send", slot, to: node.id }, cause, SEND_LIMIT_MS);
      };
      if (taker(slot, shard.id)() !== undefined) {
        const closed = await askPrimary(taker(slot, shard.id), { type: "close", slot, isLast: false }, cause);
        return closed.hasKeys === true && mover !== undefined ? gather() : closed;
      }
      if (ownerOf(slot)?.id !== shard.id || !isMigrating(slot)) return {};
      let holder: ShardRecord | undefined;
      for (const each of takersOf(slot)) {
        const closed = await askPrimary(taker(slot, each.id), { type: "close", slot, isLast: true }, cause);
        if (closed.error === undefined) continue;
        if (closed.hasKeys !== true || mover === undefined || holder !== undefined) return { error: closed.error };
        holder = each;
      }
      if (holder !== undefined) {
        const swapped = await swap(slot, holder, cause);
        return swapped.result === "done" ? gather() : { error: swapped.error };
      }
      const { result, error } = await settle(() => {
        const led = ledShard();
        if (led === undefined || ownerOf(slot)?.id !== led.id) return ELSEWHERE;
        if (!isMigrating(slot)) return done();
        return { type: "unmark-slot", slot, shard: led.id, shardVersion: led.version, keys: 0, isLast: false };
      }, cause);
      return result === "done" ? {} : { error };
    };
    /** Gives a slot to a node's shard, whoever owns it. */
    const assign = async (slot: number, to: NodeId, cause: string): Promise<Settled> => {
      for (const { id } of takersOf(slot)) {
        if (id === shardOfPrimary(to)?.id) continue;
        const { error } = await askPrimary(taker(slot, id), { type: "close", slot, isLast: false }, cause);
        if (error !== undefined) return { error };
      }
      if (ownerOf(slot) === undefined) return request({ type: "give-slot", slot, to }, cause);
      const owner = (): ShardRecord | undefined => {
        const shard = ownerOf(slot);
        return shard?.primary === to ? undefined : shard;
      };
      return askPrimary(owner, { type: "give", slot, to }, cause);
    };

    /** What Redis says before it does anything, in its order. */
    const problemOf = (call: Call, slot: number, shard: ShardRecord | undefined): string | undefined => {
      if (shard === undefined) return "ERR Please use SETSLOT only with masters.";
      if (Number.isNaN(slot)) return "ERR Invalid or out of range slot";
      const isOwner = ownerOf(slot)?.id === shard.id;
      const id = call.count === 5 ? call.text(4) : "";
      const peerProblem = (unknown: string): string | undefined => {
        if (topology.node(id) === undefined) return `ERR ${unknown} ${id.slice(0, 128)}`;
        return shardOfPrimary(id) === undefined ? "ERR Target node is not a master" : undefined;
      };
      if (call.count === 5 && call.is(3, "MIGRATING")) {
        return isOwner ? peerProblem("I don't know about node") : `ERR I'm not the owner of hash slot ${slot}`;
      }
      if (call.count === 5 && call.is(3, "IMPORTING")) {
        return isOwner ? `ERR I'm already the owner of hash slot ${slot}` : peerProblem("I don't know about node");
      }
      if (call.count === 5 && call.is(3, "NODE")) return peerProblem("Unknown node");
      const isStable = call.is(3, "STABLE") && (call.count === 4 || (call.count === 5 && call.is(4, "FORCE")));
      return isStable ? undefined : "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP";
    };
    const setSlot = (call: Call): void => {
      const number = integerArgument(call, 2);
      const slot = number >= 0 && number < SLOT_COUNT ? number : Number.NaN;
      const shard = shardOfPrimary(node.id);
      const problem = problemOf(call, slot, shard);
      if (problem !== undefined || shard === undefined) {
        call.reply.error(problem ?? "");
        return;
      }
      const cause = causeOf(call);
      const peer = call.count === 5 ? call.text(4) : "";
      const mark = (kind: "migrating" | "importing"): Promise<Settled> =>
        request({ type: "mark-slot", slot, node: node.id, mark: kind, peer }, cause);
      const work = call.is(3, "MIGRATING")
        ? mark("migrating")
        : call.is(3, "IMPORTING")
          ? mark("importing")
          : call.is(3, "NODE")
            ? assign(slot, peer, cause)
            : call.count === 5
              ? request({ type: "close-slot", slot }, cause)
              : stabilize(slot, shard, cause);
      answerAfter(context, call, work);
    };
    context.subcommand("cluster", {
      ...splitUsage("setslot slot:integer subcommand:(IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE)"),
      arity: -4,
      flags: ["admin", "stale", "no_async_loading"],
      group: "cluster",
      summary: "Marks a slot as one that is moved key by key, takes the marks away, or gives the slot to another node.",
      complexity: "O(1)",
      since: "3.0.0",
      run: setSlot,
    });
    return { holds: hold };
  },
});
