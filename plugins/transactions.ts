/**
 * transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * Promises: the commands of a transaction run one after another with nothing between them, or, if a watched key has changed or one of them was
 * refused when it was queued, none of them runs. Keys of a transaction live in one slot wherever slots matter. A command whose reply comes later, such as
 * one that changes the cluster map, is waited for before the next one runs, and EXEC answers after the last; then, and only then, commands of other clients
 * may run in between.
 *
 * How: MULTI sets the client's interceptor, which queues copies of arguments. WATCH notes keys by slot; the keyspace tells changes of slots
 * that are watched, and of no others. EXEC asks `commandBefore` about every queued command before it runs the first one, so that a map
 * that changed meanwhile refuses the whole. After a command that was waited for it asks anew about each one that is left, and a refusal is the reply to
 * that one alone: what ran before it stays done.
 */
import { Type } from "@sinclair/typebox";
import type { Call, DeferredReply } from "../src/call.ts";
import { ALL_SLOTS, type Client, NO_SLOT } from "../src/client.ts";
import type { ArgumentList } from "../src/codec/resp-parser.ts";
import { ReplyWriter } from "../src/codec/resp-writer.ts";
import { CommandBits } from "../src/command-table.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { RUN_WITHIN_MULTI, Verdict } from "../src/contracts/commands.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { routerService } from "../src/contracts/routing.ts";
import { definePlugin } from "../src/plugin.ts";
import { KeyReference } from "../src/store/key-reference.ts";

/** What a client between MULTI and EXEC has. */
interface Transaction {
  readonly queue: ArgumentList[];
  /** One of the commands was refused: EXEC will be, too. */
  isTainted: boolean;
  /** Bytes of the queued arguments. */
  bytes: number;
}

/** A key that a client watches. */
interface WatchedKey {
  readonly slot: number;
  readonly name: string;
  readonly bytes: Uint8Array;
  /** It had expired already when WATCH saw it: that it is gone later is no change. */
  readonly wasThere: boolean;
}

/** What a client that watches keys has. */
interface Watch {
  readonly keys: Map<string, WatchedKey>;
  /** What they take. */
  bytes: number;
  /** One of them has changed. */
  isDirty: boolean;
}

/** What a queued command takes beside its bytes: an object and two typed arrays. Without it many tiny commands would be twenty times over the limit. */
const QUEUED_COMMAND_BYTES = 320;
/** What a watched key takes beside its bytes, which are there as text as well: objects, and its places in two tables. */
const WATCHED_KEY_BYTES = 512;

const settingsSchema = Type.Object({
  maxQueueBytes: byteSize({
    description:
      "What the commands that one client has queued may take up: a transaction is in memory twice while it runs, and nobody else is served meanwhile.",
    default: "1gb",
  }),
  maxWatchedBytes: byteSize({
    description:
      "What the keys that one client watches may take up: they are in memory whether or not there are such keys.",
    default: "1gb",
  }),
});

export default definePlugin({
  name: "transactions",
  summary: "MULTI and EXEC, with WATCH.",
  settings: settingsSchema,
  requires: { keyspace: keyspaceService },
  uses: { router: routerService },
  setup(context) {
    const { keyspace } = context.requires;
    const { router } = context.uses;
    const { dispatcher, hooks, settings } = context;
    const { clock } = context.world;
    const maxQueueBytes = parseByteSize(settings.maxQueueBytes) ?? 0;
    const maxWatchedBytes = parseByteSize(settings.maxWatchedBytes) ?? 0;
    const transactions = new Map<Client, Transaction>();
    const watches = new Map<Client, Watch>();
    /** Clients that watch a key, by the key's bytes as text. */
    const watchersOf = new Map<string, Set<Client>>();
    const scratch = new KeyReference();

    keyspace.onChange = (key) => {
      for (const client of watchersOf.get(key.toString()) ?? []) {
        const watch = watches.get(client);
        if (watch !== undefined) watch.isDirty = true;
      }
    };

    const unwatch = (client: Client): void => {
      const watch = watches.get(client);
      if (watch === undefined) return;
      watches.delete(client);
      for (const [name, { slot }] of watch.keys) {
        keyspace.slotWatchers[slot] = (keyspace.slotWatchers[slot] as number) - 1;
        const clients = watchersOf.get(name);
        clients?.delete(client);
        if (clients?.size === 0) watchersOf.delete(name);
      }
    };
    const discard = (client: Client): void => {
      transactions.delete(client);
      client.intercept = undefined;
      client.queuedSlot = NO_SLOT;
      client.onRejected = undefined;
      client.listFields.delete("multi");
      client.listFields.delete("flags");
    };
    const forget = (client: Client): void => {
      discard(client);
      unwatch(client);
    };
    context.on(hooks.clientClosed, forget);
    context.on(hooks.clientReset, forget);

    /** Whether a watched key is no longer what it was: changed, expired without anybody having removed it, or gone to another shard, where it may change. */
    const hasChanged = (watch: Watch): boolean => {
      if (watch.isDirty) return true;
      for (const { bytes, slot, wasThere } of watch.keys.values()) {
        if (keyspace.isHidden(slot)) return true;
        keyspace.refer(scratch, bytes, 0, bytes.length);
        if (wasThere && keyspace.peek(scratch) === 0) return true;
      }
      return false;
    };

    /** The interceptor between MULTI and EXEC. */
    const queueCommand = (call: Call): Verdict | undefined => {
      const { client, command, reply } = call;
      if (RUN_WITHIN_MULTI.has(command.fullName)) return undefined;
      const transaction = transactions.get(client);
      if (transaction === undefined) return undefined;
      if ((command.bits & CommandBits.noMulti) !== 0) {
        reply.error("ERR Command not allowed inside a transaction");
        return Verdict.rejected;
      }
      const args = call.args.clone();
      transaction.bytes += args.bytes.length + args.offsets.byteLength + QUEUED_COMMAND_BYTES;
      if (transaction.bytes > maxQueueBytes) {
        reply.error(`ERR the transaction is larger than ${maxQueueBytes} bytes`);
        return Verdict.rejected;
      }
      transaction.queue.push(args);
      const isWriteOfAll = !call.hasKey && (command.bits & CommandBits.write) !== 0;
      if (call.hasKey && client.queuedSlot === NO_SLOT) client.queuedSlot = call.key.slot;
      else if (isWriteOfAll || (call.hasKey && client.queuedSlot !== call.key.slot)) client.queuedSlot = ALL_SLOTS;
      client.listFields.set("multi", String(transaction.queue.length));
      reply.simple("QUEUED");
      return Verdict.answered;
    };

    /** The rest of a transaction, from a command on whose reply is awaited. A client that leaves changes nothing: what was begun is finished. */
    class Rest {
      readonly #client: Client;
      readonly #queue: readonly ArgumentList[];
      readonly #deferred: DeferredReply;
      readonly #written = new ReplyWriter();
      // Of the first command that has not begun.
      #next: number;

      /** @param written The replies so far. */
      constructor(call: Call, queue: readonly ArgumentList[], next: number, written: Uint8Array) {
        this.#client = call.client;
        this.#queue = queue;
        this.#next = next;
        this.#written.raw(written, 0, written.length);
        this.#deferred = call.defer();
      }

      /** Takes the awaited reply, and runs what is left. In a turn of its own: whoever gives the reply may be within a command of somebody else's. */
      goOn(write: (reply: ReplyWriter) => void): void {
        try {
          if (!dispatcher.asOne(() => this.#run(write))) return;
          this.#deferred.resolve((reply) => reply.raw(this.#written.bytes, 0, this.#written.length));
        } catch (thrown) {
          // There was no room for a reply, not even for its error. An error of EXEC as a whole would say that nothing was done.
          if (thrown instanceof RangeError) this.#client.transport.kill();
          else context.fault(thrown);
        }
      }

      /** @returns Whether all is done; else a command's reply is awaited. */
      #run(write: (reply: ReplyWriter) => void): boolean {
        this.#written.protocol = this.#client.protocol;
        write(this.#written);
        dispatcher.beginTurn();
        for (;;) {
          const args = this.#queue[this.#next];
          if (args === undefined) return true;
          this.#next += 1;
          this.#written.protocol = this.#client.protocol;
          if (this.#isRefused(args)) continue;
          const settle = (more: (reply: ReplyWriter) => void): void => clock.soon(() => this.goOn(more));
          if (dispatcher.dispatchNested(this.#client, args, this.#written, settle) === Verdict.deferred) return false;
        }
      }

      /** Whether a command may not run any more; the reason is its reply then. */
      #isRefused(args: ArgumentList): boolean {
        const mark = this.#written.length;
        const verdict = dispatcher.ask(this.#client, args, this.#written);
        if (verdict === undefined) return false;
        if (this.#written.length === mark)
          this.#written.error("ERR the command was not run: it would have had to wait");
        return true;
      }
    }

    const flags = ["noscript", "loading", "stale", "fast", "allow_busy"] as const;
    const group = "transactions";
    const categories = ["transaction"] as const;

    context.command({
      name: "multi",
      arity: 1,
      flags,
      group,
      categories,
      summary: "Begins a transaction: the commands that follow are queued.",
      complexity: "O(1)",
      since: "1.2.0",
      run(call) {
        const { client } = call;
        if (transactions.has(client)) {
          call.reply.error("ERR MULTI calls can not be nested");
          return;
        }
        const transaction: Transaction = { queue: [], isTainted: false, bytes: 0 };
        transactions.set(client, transaction);
        client.intercept = queueCommand;
        client.onRejected = () => {
          transaction.isTainted = true;
        };
        client.listFields.set("multi", "0");
        client.listFields.set("flags", "x");
        call.reply.ok();
      },
    });
    context.command({
      name: "discard",
      arity: 1,
      flags,
      group,
      categories,
      summary: "Ends a transaction, running none of it.",
      complexity: "O(N), N being the queued commands",
      since: "2.0.0",
      run(call) {
        if (!transactions.has(call.client)) {
          call.reply.error("ERR DISCARD without MULTI");
          return;
        }
        forget(call.client);
        call.reply.ok();
      },
    });
    context.command({
      name: "exec",
      arity: 1,
      flags: ["noscript", "loading", "stale", "skip_slowlog"],
      group,
      categories,
      isAboutKeys: true,
      summary: "Runs the queued commands, all or none.",
      complexity: "Of the queued commands.",
      since: "1.2.0",
      // As in Redis, an EXEC that cannot run ends the transaction if there is one, and the watch in any case.
      onRefused(client, error) {
        forget(client);
        return `EXECABORT Transaction discarded because of: ${error.replace(/^ERR /, "")}`;
      },
      run(call) {
        const { client, reply } = call;
        const transaction = transactions.get(client);
        if (transaction === undefined) {
          reply.error("ERR EXEC without MULTI");
          return;
        }
        const watch = watches.get(client);
        const isStale = watch !== undefined && hasChanged(watch);
        forget(client);
        if (transaction.isTainted) {
          reply.error("EXECABORT Transaction discarded because of previous errors.");
          return;
        }
        const { queue } = transaction;
        if (router?.refusesTransaction(call, queue) === true) return;
        const mark = reply.length;
        for (const args of queue) {
          const verdict = dispatcher.ask(client, args, reply);
          if (verdict === undefined) continue;
          // What was written is the reason, such as MOVED: the answer to EXEC as a whole.
          if (reply.length === mark) reply.error("EXECABORT Transaction discarded because a command could not run.");
          return;
        }
        if (isStale) {
          reply.nullArray();
          return;
        }
        reply.array(queue.length);
        let rest: Rest | undefined;
        const settle = (write: (reply: ReplyWriter) => void): void => clock.soon(() => rest?.goOn(write));
        let next = 0;
        for (const args of queue) {
          next += 1;
          if (dispatcher.dispatchNested(client, args, reply, settle) === Verdict.deferred) {
            rest = new Rest(call, queue, next, reply.bytes.slice(mark, reply.length));
            reply.rewind(mark);
            return;
          }
          // HELLO within a transaction changes it for the replies that follow.
          reply.protocol = client.protocol;
        }
      },
    });
    context.command({
      name: "watch",
      syntax: "key...",
      arity: -2,
      flags: ["noscript", "loading", "stale", "fast", "allow_busy"],
      keys: [{ first: 1, last: -1, step: 1, flags: ["RO"] }],
      group,
      categories,
      summary: "Makes the next EXEC run only if the keys have not changed until then.",
      complexity: "O(1) for each key",
      since: "2.2.0",
      run(call) {
        const { client } = call;
        if (transactions.has(client)) {
          call.reply.error("ERR WATCH inside MULTI is not allowed");
          return;
        }
        let watch = watches.get(client);
        if (watch === undefined) {
          watch = { keys: new Map(), bytes: 0, isDirty: false };
          watches.set(client, watch);
        }
        for (let index = 1; index < call.count; index += 1) {
          const key = call.keyAt(keyspace, index, scratch);
          const name = key.toString();
          if (watch.keys.has(name)) continue;
          const bytes = 2 * name.length + WATCHED_KEY_BYTES;
          if (watch.bytes + bytes > maxWatchedBytes) {
            call.reply.error(`ERR the watched keys take more than ${maxWatchedBytes} bytes`);
            return;
          }
          watch.bytes += bytes;
          const wasThere = keyspace.peek(key) !== 0;
          watch.keys.set(name, { slot: key.slot, name, bytes: call.copy(index), wasThere });
          const clients = watchersOf.get(name) ?? new Set();
          clients.add(client);
          watchersOf.set(name, clients);
          keyspace.slotWatchers[key.slot] = (keyspace.slotWatchers[key.slot] as number) + 1;
        }
        call.reply.ok();
      },
    });
    context.command({
      name: "unwatch",
      arity: 1,
      flags,
      group,
      categories,
      summary: "Forgets all watched keys.",
      complexity: "O(N), N being the watched keys",
      since: "2.2.0",
      run(call) {
        unwatch(call.client);
        call.reply.ok();
      },
    });
  },
});
