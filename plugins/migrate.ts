/**
 * migrate: `MIGRATE`: moves keys to another node, of this cluster or not, as Redis does.
 *
 * Each key goes over as a RESTORE-ASKING, and is removed here when the other node has answered OK: to a node of this cluster that means that it is committed there. The
 * removal is a DEL in the shard's log, and the reply waits until that is committed. Commands on the keys' slot wait from the moment at which a key is read until its removal,
 * so that none changes between; commands on other slots go on, which they do not in Redis. Connections are kept for ten seconds.
 *
 * A key is never at both sides of a slot that is moved key by key (CLUSTER SETSLOT), or a copy would come to light when the key is deleted here:
 *
 * - When nobody knows whether a key has arrived (a connection broke, no answer came), this node goes on holding the slot, and has the other one delete its copies, until
 *   that has said that it did. MIGRATE itself answers IOERR, at once.
 * - A node that becomes the primary of a shard with such slots does the same for all keys of these that it has, before it serves any: its predecessor may have been about to
 *   move them.
 * - What is still on its way then must not arrive later. Connections that bring keys of a shard say so first (CLUSTER KEYSOURCE shard epoch session), and whoever has heard of
 *   a later session of the shard, or of a later primary, lets none of an earlier one do anything more.
 *
 * A key that goes out of the cluster while a task moves its slot to another shard stays in the cluster, too, and MIGRATE answers IOERR: so it may be in Redis after any IOERR.
 *
 * The slot is held as long as this takes; if the other node is gone for good, CLUSTER SETSLOT slot STABLE FORCE ends it.
 *
 * Talks to the rest through the dispatcher (removals are effects), the map, the service `key-mover`, and a connection of its own to the other node.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import type { Client } from "../src/client.ts";
import { encodeString } from "../src/codec/dump.ts";
import { type ReplyValue, ReplyError, encodeCommand } from "../src/codec/resp-reader.ts";
import { ArgumentList } from "../src/codec/resp-parser.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { type KeyMover, keyMoverService } from "../src/contracts/key-mover.ts";
import { NO_EXPIRY, ValueType, keyspaceService } from "../src/contracts/keyspace.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { routerService } from "../src/contracts/routing.ts";
import { type NodeRecord, type ShardRecord, topologyService } from "../src/contracts/topology.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR } from "../src/replies.ts";
import { type LinkFailure, RespLink } from "../src/resp-link.ts";
import { SlotHold } from "../src/slot-hold.ts";
import { KeyReference } from "../src/store/key-reference.ts";
import type { Timer } from "../src/world.ts";

/** How long a connection that nobody uses is kept, and how many. As in Redis. */
const KEEP_MS = 10_000;
const MAX_KEPT = 64;
/** What Redis takes a timeout for that is none. */
const DEFAULT_TIMEOUT_MS = 1000;
/** The other node is asked to delete its copies so often, and given so long each time. */
const FORGET_AGAIN_MS = 200;
const FORGET_IDLE_MS = 2000;
/** Keys that go over at a time when a whole slot does, and how long nothing may happen. */
const BATCH_KEYS = 100;
const BATCH_IDLE_MS = 5000;
/** How long a node waits to hear of a primary that it is told of. */
const HEAR_OF_MS = 1000;

const DEL = new TextEncoder().encode("DEL");

/** What a MIGRATE wants. */
interface Wish {
  readonly host: string;
  readonly port: number;
  readonly db: string;
  readonly timeoutMs: number;
  readonly isCopy: boolean;
  readonly isReplace: boolean;
  readonly auth: readonly string[];
}

/** A connection that is kept. */
interface Kept {
  readonly link: RespLink;
  /** The database that it has selected. */
  readonly db: string;
  readonly timer: Timer;
}

/** What an exchange came to. */
interface Outcome {
  /** Keys that have arrived. */
  readonly moved: readonly Uint8Array[];
  /** Keys of which nobody knows. */
  readonly unknown: readonly Uint8Array[];
  /** What the other node said no with, first. */
  readonly refusal: string | undefined;
  readonly failure: LinkFailure | undefined;
}

/** Whose keys a connection brings: a shard's, from one of its primaries, in one of that one's sessions. */
interface Source {
  readonly epoch: number;
  readonly session: number;
}

function isEarlier(one: Source, other: Source): boolean {
  return one.epoch < other.epoch || (one.epoch === other.epoch && one.session < other.session);
}

/** The keys of a MIGRATE: behind KEYS, and none if the third argument is not empty then; else that. */
function findKeys(args: ArgumentList): readonly number[] {
  const isEmpty = args.start(3) === args.end(3);
  for (let index = 6; index < args.count - 1; index += 1) {
    const word = new TextDecoder("latin1").decode(args.copy(index)).toUpperCase();
    if (word === "AUTH") index += 1;
    else if (word === "AUTH2") index += 2;
    else if (word === "KEYS") {
      return isEmpty ? Array.from({ length: args.count - index - 1 }, (_, at) => index + 1 + at) : [];
    }
  }
  return [3];
}

export default definePlugin({
  name: "migrate",
  summary: "MIGRATE: moves keys to another node.",
  requires: { keyspace: keyspaceService, topology: topologyService },
  uses: { router: routerService, replication: replicationService },
  provides: { mover: keyMoverService },
  setup(context) {
    const { keyspace, topology } = context.requires;
    // As in Redis: what is no cluster sends keys as to any server.
    const restoreName = context.uses.router === undefined ? "RESTORE" : "RESTORE-ASKING";
    const { replication } = context.uses;
    const { dispatcher, hooks, node } = context;
    const { clock, network, log } = context.world;
    const hold = new SlotHold(context, () => (replication?.isHandingOver === true ? "pass" : "refuse"));
    const scratch = new KeyReference();
    /** Grows when what went before must not arrive any more. */
    let session = 1;
    /** Slots with keys of which it is not known at which side they are: how often, and who waits for that. */
    const unsettled = new Map<number, { count: number; readonly waiting: (() => void)[] }>();
    const unsettle = (slots: readonly number[]): void => {
      hold.hold(slots);
      for (const slot of slots) {
        const known = unsettled.get(slot);
        if (known === undefined) unsettled.set(slot, { count: 1, waiting: [] });
        else known.count += 1;
      }
    };
    const settle = (slots: readonly number[]): void => {
      for (const slot of slots) {
        const known = unsettled.get(slot);
        if (known === undefined || --known.count > 0) continue;
        unsettled.delete(slot);
        for (const resolve of known.waiting) resolve();
      }
      hold.release(slots);
    };

    // --- the map ---

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
    /** The node that keys of a slot of this node's are moved to; `undefined`: there is no such mark. */
    const targetOf = (slot: number): NodeRecord | undefined => {
      const { map } = topology;
      const to = map.openSlots.find((each) => each.slot === slot)?.migratingTo;
      const owner = map.shards[map.shardOfSlot[slot] ?? -1];
      const target = map.shards.find(({ id }) => id === to);
      return target === undefined || owner?.id !== ledShard()?.id ? undefined : topology.node(target.primary);
    };
    const takesIn = (slot: number, { id }: NodeRecord): boolean => {
      const { openSlots, shards } = topology.map;
      const shard = shards.find(({ primary }) => primary === id)?.id;
      return openSlots.some((each) => each.slot === slot && each.importing.some((mark) => mark.shard === shard));
    };
    const ownerOf = (slot: number): string | undefined => topology.map.shards[topology.map.shardOfSlot[slot] ?? -1]?.id;
    /** Whether a task gives a slot away at this moment: what happens here to its keys need not reach whoever gets it. */
    const isFenced = (slot: number): boolean =>
      topology.map.migrations.some(
        ({ fence, slots }) => fence !== undefined && slots.some(({ first, last }) => first <= slot && slot <= last),
      );
    /** Says whose keys follow. */
    const sourceCommand = ({ id, primaryEpoch }: ShardRecord): Uint8Array =>
      encodeCommand(["CLUSTER", "KEYSOURCE", id, String(primaryEpoch), String(session)]);

    // --- connections ---

    const links = new Set<RespLink>();
    const kept = new Map<string, Kept[]>();
    const connect = (host: string, port: number): RespLink => {
      const link = new RespLink(network, clock, host, port);
      links.add(link);
      return link;
    };
    const close = (link: RespLink): void => {
      links.delete(link);
      link.close();
    };
    const placeOf = (host: string, port: number): string => `${host} ${port}`;
    const keep = (link: RespLink, db: string): void => {
      const place = placeOf(link.host, link.port);
      const others = kept.get(place) ?? [];
      const count = [...kept.values()].reduce((sum, { length }) => sum + length, 0);
      if (link.isClosed || isStopped || count >= MAX_KEPT) {
        close(link);
        return;
      }
      const timer = clock.after(KEEP_MS, () => {
        const left = (kept.get(place) ?? []).filter((each) => each.link !== link);
        if (left.length === 0) kept.delete(place);
        else kept.set(place, left);
        close(link);
      });
      kept.set(place, [...others, { link, db, timer }]);
    };
    /** A connection that was kept, or a new one. */
    const linkTo = (host: string, port: number): { readonly link: RespLink; readonly db: string } => {
      const place = placeOf(host, port);
      const known = kept.get(place) ?? [];
      for (let last = known.pop(); last !== undefined; last = known.pop()) {
        last.timer.cancel();
        if (!last.link.isClosed) return last;
        links.delete(last.link);
      }
      kept.delete(place);
      return { link: connect(host, port), db: "" };
    };
    let isStopped = false;
    context.on(hooks.stop, () => {
      isStopped = true;
      for (const { timer } of [...kept.values()].flat()) timer.cancel();
      kept.clear();
      for (const link of links) close(link);
    });

    // --- moving ---

    /** A key as the command that makes it there; `undefined`: it is not here (any more). */
    const restoreCommand = (key: Uint8Array, isReplace: boolean): Uint8Array | undefined => {
      keyspace.refer(scratch, key, 0, key.length);
      const record = keyspace.peek(scratch);
      if (record === 0 || keyspace.type(record) !== ValueType.string) return undefined;
      const expiresAtMs = keyspace.expiresAtMs(record);
      const ttl = expiresAtMs === NO_EXPIRY ? 0 : Math.max(1, expiresAtMs - keyspace.nowMs);
      const start = keyspace.valueStart(record);
      const payload = encodeString(keyspace.bytes(record), start, start + keyspace.valueLength(record));
      return encodeCommand([restoreName, key, String(ttl), payload, ...(isReplace ? ["REPLACE"] : [])]);
    };

    /** Sends keys, and says what came of it. @param source What is said before, to a node of this cluster. */
    const send = async (wish: Wish, keys: readonly Uint8Array[], source: Uint8Array | undefined): Promise<Outcome> => {
      const { link, db } = linkTo(wish.host, wish.port);
      const preamble = [
        ...(wish.auth.length === 0 ? [] : [encodeCommand(["AUTH", ...wish.auth])]),
        ...(db === wish.db ? [] : [encodeCommand(["SELECT", wish.db])]),
        ...(source === undefined ? [] : [source]),
      ];
      const sent: Uint8Array[] = [];
      const moved: Uint8Array[] = [];
      let refusal: string | undefined;
      let prepared = 0;
      let read = 0;
      let answered = 0;
      const next = (): Uint8Array | undefined => {
        const first = preamble[prepared];
        prepared += 1;
        if (first !== undefined) return first;
        dispatcher.beginTurn();
        for (let key = keys[read]; key !== undefined; key = keys[read]) {
          read += 1;
          const command = restoreCommand(key, wish.isReplace);
          if (command === undefined) continue;
          sent.push(key);
          return command;
        }
        return undefined;
      };
      let isPreambleRefused = false;
      const onReply = (reply: ReplyValue): void => {
        answered += 1;
        const isPreamble = answered <= preamble.length;
        if (reply instanceof ReplyError) {
          refusal ??= reply.message;
          if (isPreamble) isPreambleRefused = true;
        } else if (!isPreamble && !isPreambleRefused) {
          const key = sent[answered - preamble.length - 1];
          if (key !== undefined) moved.push(key);
        }
      };
      const failure = await link.exchange(next, onReply, wish.timeoutMs);
      // After an error nobody knows which database is selected.
      if (failure === undefined) keep(link, refusal === undefined ? wish.db : "");
      else close(link);
      return { moved, unknown: sent.slice(Math.max(0, answered - preamble.length)), refusal, failure };
    };

    /** Removes keys that have arrived. */
    const remove = (keys: readonly Uint8Array[]): void => {
      dispatcher.beginTurn();
      const removed = new Map<number, Uint8Array[]>();
      for (const key of keys) {
        keyspace.refer(scratch, key, 0, key.length);
        const { slot } = scratch;
        if (keyspace.remove(scratch)) removed.set(slot, [...(removed.get(slot) ?? []), key]);
      }
      if (!hooks.effect.isHeard) return;
      for (const [slot, those] of removed) dispatcher.tellEffect(slot, ArgumentList.of([DEL, ...those]));
    };

    // --- keys that must not be there ---

    const pause = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(ms, resolve));
    /** Has a node delete keys of a slot. @returns Whether it has. */
    const haveDeleted = async (at: NodeRecord, source: Uint8Array, keys: readonly Uint8Array[]): Promise<boolean> => {
      const link = connect(at.host, at.port);
      const { current } = context.passwords;
      const commands = [...(current === undefined ? [] : [encodeCommand(["AUTH", current])]), source];
      // One by one: of several that are not all there none is deleted.
      const left = keys.values();
      const next = (): Uint8Array | undefined => {
        const first = commands.shift();
        const key = first === undefined ? left.next().value : undefined;
        if (key !== undefined) commands.push(encodeCommand(["DEL", key]));
        return first ?? (key === undefined ? undefined : encodeCommand(["ASKING"]));
      };
      let isRefused = false;
      const failure = await link.exchange(
        next,
        (reply) => {
          if (reply instanceof ReplyError) isRefused = true;
        },
        FORGET_IDLE_MS,
      );
      close(link);
      return failure === undefined && !isRefused;
    };
    /**
     * Sees to it that keys of a slot, which are here, are not where the slot is moved to. The slot is held until then, or until it is not moved any more, or not by this node.
     */
    const keepHere = async (slot: number, keys: readonly Uint8Array[], why: string): Promise<void> => {
      session += 1;
      unsettle([slot]);
      log.info("keys of a slot wait until the node that it moves to has none of them", {
        slot,
        keys: keys.length,
        why,
      });
      for (;;) {
        if (isStopped) break;
        const [shard, target] = [ledShard(), targetOf(slot)];
        // Who does not take the slot in has nothing of it: that is what ending it wants.
        if (shard === undefined || target === undefined || !takesIn(slot, target)) break;
        if (await haveDeleted(target, sourceCommand(shard), keys)) break;
        await pause(FORGET_AGAIN_MS);
      }
      log.info("keys of a slot are where they were, and nowhere else", { slot });
      settle([slot]);
    };
    const keysOf = (slot: number, limit = Number.POSITIVE_INFINITY): readonly Uint8Array[] => {
      const keys: Uint8Array[] = [];
      let position = 0;
      do {
        position = keyspace.scanSlot(slot, position, 1000, (record) => {
          const start = keyspace.keyStart(record);
          keys.push(keyspace.bytes(record).slice(start, start + keyspace.keyLength(record)));
        });
      } while (position !== 0 && keys.length < limit);
      return keys.slice(0, limit);
    };
    /** What this node leads, and since when: empty if nothing. Between two of them another node may have led. */
    let leadership = "";
    context.on(hooks.mapChanged, ({ map }) => {
      const shard = ledShard();
      const present = shard === undefined ? "" : `${shard.id} ${shard.primaryEpoch}`;
      if (present === leadership) return;
      leadership = present;
      for (const { slot } of map.openSlots) {
        if (targetOf(slot) === undefined || keyspace.slotSize(slot) === 0) continue;
        keepHere(slot, keysOf(slot), "their primary is a new one").catch((thrown: unknown) => context.fault(thrown));
      }
    });

    // --- the command ---

    /** Reads the arguments, or writes the error. */
    const readWish = (call: Call): Wish | undefined => {
      const refuse = (error: string): undefined => {
        call.reply.error(error);
      };
      let isCopy = false;
      let isReplace = false;
      let auth: readonly string[] = [];
      for (let index = 6; index < call.count; index += 1) {
        const more = call.count - 1 - index;
        if (call.is(index, "COPY")) isCopy = true;
        else if (call.is(index, "REPLACE")) isReplace = true;
        else if (call.is(index, "AUTH") && more >= 1) auth = [call.text((index += 1))];
        else if (call.is(index, "AUTH2") && more >= 2) {
          auth = [call.text(index + 1), call.text(index + 2)];
          index += 2;
        } else if (call.is(index, "KEYS")) {
          if (call.length(3) === 0) break;
          return refuse("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string");
        } else return refuse(SYNTAX_ERROR);
      }
      const timeoutMs = integerArgument(call, 5);
      if (Number.isNaN(timeoutMs) || Number.isNaN(integerArgument(call, 4))) return refuse(NOT_AN_INTEGER);
      return {
        host: call.text(1),
        port: Number.parseInt(call.text(2), 10) || 0,
        db: call.text(4),
        timeoutMs: timeoutMs <= 0 ? DEFAULT_TIMEOUT_MS : Math.min(timeoutMs, 2 ** 31 - 1),
        isCopy,
        isReplace,
        auth,
      };
    };
    /** Whether a MIGRATE goes to the node that the slot is moved to. */
    const isTarget = ({ host, port }: Wish, target: NodeRecord | undefined): boolean =>
      target?.port === port && [target.host, ...(target.otherHosts ?? [])].includes(host);

    const mayBeThere = (slot: number, keys: readonly Uint8Array[]): void => {
      keepHere(slot, keys, "they may have arrived there").catch((thrown: unknown) => context.fault(thrown));
    };
    /**
     * Moves keys.
     *
     * @param slots Of the keys: one, wherever slots matter.
     * @returns What is answered.
     */
    const move = async (wish: Wish, slots: readonly number[], keys: readonly Uint8Array[]): Promise<string> => {
      const [slot = 0] = slots;
      const shard = ledShard();
      const target = targetOf(slot);
      const isThere = isTarget(wish, target);
      // By an address that the map does not know, it may be there as well.
      const isMoving = target !== undefined;
      if (isThere && wish.isCopy) {
        return "-ERR MIGRATE COPY of a key whose slot is being moved there would leave it at both sides";
      }
      unsettle(slots);
      try {
        const asLeader = leadership;
        const owners = slots.map(ownerOf);
        const { moved, unknown, refusal, failure } = await send(
          wish,
          keys,
          shard !== undefined && isThere ? sourceCommand(shard) : undefined,
        );
        if (leadership !== asLeader) {
          // The keys are another primary's by now, or were meanwhile: it may have written to them, or had the other node delete them.
          if (isMoving && moved.length + unknown.length > 0) mayBeThere(slot, [...moved, ...unknown]);
          return "-IOERR the shard has had another primary meanwhile";
        }
        // The keys went to another shard meanwhile, or are about to, and are there: to remove them here alone would be no removal.
        if (!wish.isCopy && !isMoving && slots.some((each, at) => isFenced(each) || ownerOf(each) !== owners[at])) {
          return "-IOERR the slot is being given to another shard: the keys stay in this cluster";
        }
        if (!wish.isCopy) remove(moved);
        if (unknown.length > 0 && isMoving) mayBeThere(slot, unknown);
        if (refusal !== undefined) return `-ERR Target instance replied with error: ${refusal}`;
        if (failure === "connecting") return "-IOERR error or timeout connecting to the client";
        if (failure !== undefined) return `-IOERR error or timeout ${failure} to target instance`;
        return "+OK";
      } finally {
        settle(slots);
      }
    };
    const mover: KeyMover = {
      settled(slot) {
        const known = unsettled.get(slot);
        return known === undefined ? Promise.resolve() : new Promise((resolve) => void known.waiting.push(resolve));
      },
      async moveAll(slot, { host, port }) {
        const { current } = context.passwords;
        const auth = current === undefined ? [] : [current];
        const wish = { host, port, db: "0", timeoutMs: BATCH_IDLE_MS, isCopy: false, isReplace: true, auth };
        for (;;) {
          await mover.settled(slot);
          const keys = keysOf(slot, BATCH_KEYS);
          if (keys.length === 0) return undefined;
          const answer = await move(wish, [slot], keys);
          if (answer.startsWith("-")) return answer.slice(1);
          // Some may have expired, and be there yet.
          for (const key of keys) {
            keyspace.refer(scratch, key, 0, key.length);
            keyspace.peek(scratch);
          }
        }
      },
    };
    const migrate = (call: Call): void => {
      const wish = readWish(call);
      if (wish === undefined) return;
      const keys: Uint8Array[] = [];
      const found = new Set<number>();
      for (const index of findKeys(call.args)) {
        const key = call.copy(index);
        keyspace.refer(scratch, key, 0, key.length);
        if (keyspace.peek(scratch) === 0) continue;
        keys.push(key);
        found.add(scratch.slot);
      }
      if (keys.length === 0) {
        call.reply.simple("NOKEY");
        return;
      }
      const { client } = call;
      const slots = [...found];
      const deferred = call.defer();
      move(wish, slots, keys).then(
        (answer) => {
          for (const slot of slots) dispatcher.guardSlot(client, slot);
          deferred.resolve((reply) => {
            if (answer.startsWith("-")) reply.error(answer.slice(1));
            else reply.simple(answer.slice(1));
          });
        },
        (thrown: unknown) => context.fault(thrown),
      );
    };
    context.command({
      name: "migrate",
      syntax:
        'host port:integer key_or_empty_string:(key | "") destination-db:integer timeout:integer [COPY@3.0.0] [REPLACE@3.0.0] [authentication:([AUTH password@4.0.7] | [AUTH2 username_password:(username password)@6.0.0])] [KEYS key...@3.0.6]',
      arity: -6,
      flags: ["write", "movablekeys", "skip_slowlog"],
      keys: [
        { first: 3, last: 3, step: 1, flags: ["RW", "ACCESS", "DELETE"] },
        {
          first: 0,
          last: -1,
          step: 1,
          flags: ["RW", "ACCESS", "DELETE", "INCOMPLETE"],
          after: { word: "KEYS", from: -2 },
        },
      ],
      findKeys,
      group: "generic",
      categories: ["keyspace", "dangerous"],
      summary: "Moves keys to another node.",
      complexity: "O(N), N being the bytes of keys and values",
      since: "2.6.0",
      tips: ["nondeterministic_output"],
      run: migrate,
    });

    // --- the other side ---

    /** The last source that each shard's keys came from. */
    const heard = new Map<string, Source>();
    /** Clients that bring keys, with whose. */
    const bringers = new Map<Client, Source & { readonly shard: string }>();
    const gone = new WeakSet<Client>();
    context.on(hooks.clientClosed, (client) => {
      bringers.delete(client);
      gone.add(client);
    });
    const epochOf = (shard: string): number | undefined =>
      topology.map.shards.find(({ id }) => id === shard)?.primaryEpoch;

    /** Takes a client for one that brings keys, and lets none go on that brings earlier ones. @returns Why not. */
    const welcome = (client: Client, shard: string, source: Source): string | undefined => {
      const epoch = epochOf(shard);
      if (epoch === undefined) return `ERR there is no shard ${shard}`;
      const last = heard.get(shard) ?? { epoch: 0, session: 0 };
      if (source.epoch > epoch) return `ERR this node does not know of epoch ${source.epoch} of shard ${shard} yet`;
      if (source.epoch < epoch || isEarlier(source, last)) {
        return `ERR stale: shard ${shard} has another primary by now, or has begun anew`;
      }
      heard.set(shard, source);
      for (const id of heard.keys()) if (epochOf(id) === undefined) heard.delete(id);
      bringers.set(client, { ...source, shard });
      for (const [other, its] of bringers) {
        if (its.shard === shard && isEarlier(its, source)) other.transport.kill();
      }
      return undefined;
    };
    const keySource = (call: Call): void => {
      const { client } = call;
      const shard = call.text(2);
      const source = { epoch: integerArgument(call, 3), session: integerArgument(call, 4) };
      if (Number.isNaN(source.epoch) || Number.isNaN(source.session)) {
        call.reply.error(NOT_AN_INTEGER);
        return;
      }
      const deferred = call.defer();
      const answer = (): void => {
        timer.cancel();
        unhook();
        if (gone.has(client)) return;
        const problem = welcome(client, shard, source);
        deferred.resolve((reply) => {
          if (problem === undefined) reply.ok();
          else reply.error(problem);
        });
        // What it brings must do nothing: it has been sent already.
        if (problem !== undefined) client.transport.closeAfterReply();
      };
      const isKnown = (): boolean => source.epoch <= (epochOf(shard) ?? Number.POSITIVE_INFINITY);
      const timer = clock.after(isKnown() ? 0 : HEAR_OF_MS, answer);
      const unhook = context.on(hooks.mapChanged, () => {
        if (isKnown()) answer();
      });
    };
    context.subcommand("cluster", {
      ...splitUsage("keysource shard-id primary-epoch:integer session:integer"),
      arity: 5,
      flags: ["admin", "stale"],
      group: "cluster",
      summary: "Says whose keys a connection brings: what MIGRATE sends to a node of its own cluster.",
      complexity: "O(N), N being the connections that bring keys",
      since: "bunch 0.1.0",
      isSystemCommand: true,
      run: keySource,
    });
    return { mover };
  },
});
