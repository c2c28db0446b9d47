/** The dispatcher by itself: commands made for the test, a clock that is turned by hand, a real store behind. */
import { beforeEach, describe, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import type { Call, DeferredReply } from "../../src/call.ts";
import { Client, type ClientTransport } from "../../src/client.ts";
import { ArgumentList, ParseStatus, RequestParser } from "../../src/codec/resp-parser.ts";
import { encodeCommand } from "../../src/codec/resp-reader.ts";
import { ReplyWriter } from "../../src/codec/resp-writer.ts";
import { ReplyGate } from "../../src/reply-gate.ts";
import { Command } from "../../src/command-table.ts";
import { type CommandSpecification, type Effect, Verdict } from "../../src/contracts/commands.ts";
import { NO_EXPIRY, ValueType } from "../../src/contracts/keyspace.ts";
import { Dispatcher } from "../../src/dispatcher.ts";
import { Hooks } from "../../src/hooks.ts";
import { KeyReference } from "../../src/store/key-reference.ts";
import { Store } from "../../src/store/store.ts";
import type { Clock, Log, LogFields } from "../../src/world.ts";

/** A clock that stands still until the test turns it, and counts how often it is read. */
class HandClock implements Clock {
  nowMs = 1000;
  dateMs = 1_800_000_000_000;
  reads = 0;
  dateReads = 0;

  monotonicMs(): number {
    this.reads += 1;
    return this.nowMs;
  }

  wallMs(): number {
    this.dateReads += 1;
    return this.dateMs;
  }

  after(): never {
    throw new Error("a dispatcher sets no timers");
  }

  every(): never {
    throw new Error("a dispatcher sets no timers");
  }

  soon(): never {
    throw new Error("a dispatcher sets no timers");
  }
}

class Transport implements ClientTransport {
  readonly remoteAddress = "10.0.0.9:5000";
  readonly localAddress = "10.0.0.1:6379";
  kills = 0;
  settled: ((reply: ReplyWriter) => void)[] = [];

  queryBytes(): number {
    return 0;
  }

  outputBytes(): number {
    return 0;
  }

  closeAfterReply(): void {}

  kill(): void {
    this.kills += 1;
  }

  release(): void {}

  settle(write: (reply: ReplyWriter) => void): void {
    this.settled.push(write);
  }
}

function argumentsOf(line: string): ArgumentList {
  const parser = new RequestParser({ maxBulkBytes: 1_000_000 });
  parser.isAuthenticated = true;
  const args = new ArgumentList();
  parser.feed(encodeCommand(line.split(" ")));
  expect(parser.next(args)).toBe(ParseStatus.command);
  return args.clone();
}

let clock: HandClock;
let transport: Transport;
let client: Client;
let hooks: Hooks;
let store: Store;
let dispatcher: Dispatcher;
let reply: ReplyWriter;
let faults: unknown[];
let reported: Error[];
let logged: { readonly event: string; readonly fields: LogFields }[];
/** What ran, asked or was told, in order. */
let trail: string[];

/** Adds a command; without `run` it answers OK and leaves its name in the trail. */
function add(specification: Partial<CommandSpecification> & { readonly name: string }, plugin = "tested"): Command {
  const command = new Command(
    {
      arity: -1,
      flags: [],
      group: "module",
      summary: "For tests.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run: (call) => {
        trail.push(`ran ${call.command.fullName}`);
        call.reply.ok();
      },
      ...specification,
    },
    plugin,
  );
  dispatcher.commands.add(command);
  return command;
}

/** Sends a line and gives its reply; the verdict is in `verdict`. */
let verdict: Verdict | undefined;
function send(line: string): string {
  reply.reset();
  verdict = dispatcher.dispatch(client, argumentsOf(line), reply);
  return written();
}

function keyOf(name: string): KeyReference {
  const key = new KeyReference();
  const bytes = new TextEncoder().encode(name);
  store.refer(key, bytes, 0, bytes.length);
  return key;
}

function written(): string {
  return new TextDecoder().decode(reply.bytes.subarray(0, reply.length));
}

beforeEach(() => {
  clock = new HandClock();
  transport = new Transport();
  client = new Client(1, transport, 0, true);
  reported = [];
  faults = [];
  logged = [];
  trail = [];
  verdict = undefined;
  hooks = new Hooks((error) => void reported.push(error));
  const note = (event: string, fields: LogFields = {}): void => void logged.push({ event, fields });
  const log: Log = { debug: note, info: note, warn: note, error: note };
  dispatcher = new Dispatcher(hooks, new ReplyGate(clock), clock, log, (error) => void faults.push(error));
  store = new Store({ seed: 1, random: () => 0 });
  dispatcher.keyspace = store;
  reply = new ReplyWriter();
});

describe("the checks before a command come in Redis' order", () => {
  beforeEach(() => {
    add({ name: "plain", arity: 2 });
    add({ name: "open", arity: 1, flags: ["no_auth"] });
    add({
      name: "box",
      arity: -2,
      subcommands: [
        {
          name: "one",
          arity: 3,
          flags: [],
          group: "module",
          summary: "One.",
          complexity: "O(1)",
          since: "bunch 0.1.0",
          run: (call) => {
            trail.push(`ran ${call.command.fullName}`);
            call.reply.ok();
          },
        },
      ],
    });
    hooks.commandBefore.add("hook", (call) => void trail.push(`asked ${call.command.fullName}`));
    client.onRejected = () => void trail.push("rejected");
  });

  test("an unknown command is unknown, also to a client that gave no password", () => {
    client.isAuthenticated = false;
    expect(send("nonsense a b")).toBe("-ERR unknown command 'nonsense', with args beginning with: 'a' 'b' \r\n");
    expect(verdict).toBe(Verdict.rejected);
    expect(trail).toStrictEqual(["rejected"]);
  });

  test("an unknown subcommand is told before its arity and the password", () => {
    client.isAuthenticated = false;
    expect(send("box two a b c")).toBe("-ERR unknown subcommand 'two'. Try BOX HELP.\r\n");
    expect(trail).toStrictEqual(["rejected"]);
  });

  test("the arity is checked before the password, and a subcommand's is its own", () => {
    client.isAuthenticated = false;
    expect(send("plain")).toBe("-ERR wrong number of arguments for 'plain' command\r\n");
    expect(send("box one")).toBe("-ERR wrong number of arguments for 'box|one' command\r\n");
    expect(send("box")).toBe("-ERR wrong number of arguments for 'box' command\r\n");
    expect(trail).toStrictEqual(["rejected", "rejected", "rejected"]);
  });

  test("without the password nothing is asked or run, but what needs none", () => {
    client.isAuthenticated = false;
    expect(send("plain a")).toBe("-NOAUTH Authentication required.\r\n");
    expect(trail).toStrictEqual(["rejected"]);
    expect(send("open")).toBe("+OK\r\n");
    expect(trail).toStrictEqual(["rejected", "asked open", "ran open"]);
  });

  test("the hook is asked, then the client's interceptor, then the command runs", () => {
    client.intercept = (call) => void trail.push(`intercepted ${call.command.fullName}`);
    expect(send("BOX oNe a")).toBe("+OK\r\n");
    expect(verdict).toBeUndefined();
    expect(trail).toStrictEqual(["asked box|one", "intercepted box|one", "ran box|one"]);
    expect([client.lastCommandName, client.commandCount]).toStrictEqual(["box|one", 1]);
  });

  test("what the hook refuses does not get to the interceptor, and what that answers does not run", () => {
    client.intercept = (call) => {
      trail.push("intercepted");
      call.reply.simple("QUEUED");
      return Verdict.answered;
    };
    expect(send("plain a")).toBe("+QUEUED\r\n");
    expect(verdict).toBe(Verdict.answered);
    expect(trail).toStrictEqual(["asked plain", "intercepted"]);
    hooks.commandBefore.add("second", (call) => {
      call.reply.error("MOVED 1 host:1");
      return Verdict.rejected;
    });
    expect(send("plain a")).toBe("-MOVED 1 host:1\r\n");
    expect(verdict).toBe(Verdict.rejected);
    expect(trail.slice(2)).toStrictEqual(["asked plain", "rejected"]);
  });

  test("a browser's request closes the connection without an answer", () => {
    for (const line of ["POST / HTTP/1.1", "Host: localhost"]) expect(send(line)).toBe("");
    expect(transport.kills).toBe(2);
    expect(dispatcher.errorCount).toBe(0);
    expect(logged.map(({ fields }) => fields["remote"])).toStrictEqual(["10.0.0.9:5000", "10.0.0.9:5000"]);
    send("get / HTTP/1.1");
    expect(transport.kills).toBe(2);
  });

  test("an unknown command is shown to 128 characters, and so are its arguments", () => {
    expect(send(`${"n".repeat(500)} ${"a".repeat(500)} more`)).toBe(
      `-ERR unknown command '${"n".repeat(128)}', with args beginning with: '${"a".repeat(128)}' \r\n`,
    );
  });
});

describe("statistics", () => {
  test("tell what ran, what was refused before it ran, and what failed", () => {
    const plain = add({ name: "plain", arity: 2 });
    const failing = add({ name: "failing", run: (call) => call.reply.error("WRONGTYPE no") });
    send("plain a");
    send("plain");
    send("failing");
    expect([plain.callCount, plain.rejectedCount, plain.failedCount]).toStrictEqual([1, 1, 0]);
    expect([failing.callCount, failing.rejectedCount, failing.failedCount]).toStrictEqual([1, 0, 1]);
    expect(dispatcher.commandCount).toBe(2);
    expect(Object.fromEntries(dispatcher.errorCounts)).toStrictEqual({ ERR: 1, WRONGTYPE: 1 });
    dispatcher.resetStatistics();
    expect([plain.callCount, plain.rejectedCount, failing.failedCount]).toStrictEqual([0, 0, 0]);
    expect([dispatcher.commandCount, dispatcher.errorCount, dispatcher.errorCounts.size]).toStrictEqual([0, 0, 0]);
  });

  test("tell of a command that is answered later what it was answered", () => {
    const taken: NonNullable<Call["deferred"]>[] = [];
    const later = add({ name: "later", run: (call) => void taken.push(call.defer()) });
    const counts = (): readonly number[] => [later.callCount, later.failedCount, later.unansweredCount];
    for (let run = 0; run < 3; run += 1) send("later");
    expect(counts()).toStrictEqual([3, 0, 3]);
    taken[0]?.resolve((target) => target.error("CLUSTERDOWN nobody leads"));
    taken[1]?.resolve((target) => target.ok());
    // What is given to a client counts once it is written.
    expect(counts()).toStrictEqual([3, 0, 3]);
    // Whatever was written before it is no part of it.
    const written = new ReplyWriter();
    written.error("ERR of somebody else's");
    for (const write of transport.settled) write(written);
    expect(counts()).toStrictEqual([3, 1, 1]);
    expect([...dispatcher.errorCounts]).toStrictEqual([["CLUSTERDOWN", 1]]);
    // The third client is gone: nobody is answered.
    dispatcher.resetStatistics();
    expect(counts()).toStrictEqual([0, 0, 0]);
  });

  test("count errors by their first word, a bounded number of words of bounded length", () => {
    add({ name: "say", arity: 2, run: (call) => call.reply.error(`${call.text(1)} is what it is`) });
    for (let index = 0; index < 200; index += 1) send(`say WORD${index}`);
    expect(dispatcher.errorCounts.size).toBe(129);
    expect(dispatcher.errorCounts.get("OTHER")).toBe(72);
    expect(dispatcher.errorCount).toBe(200);
    // Words that are known go on being counted under their own name.
    send("say WORD0");
    expect(dispatcher.errorCounts.get("WORD0")).toBe(2);
    dispatcher.resetStatistics();
    send(`say ${"X".repeat(1000)}`);
    expect([...dispatcher.errorCounts.keys()].map((word) => word.length)).toStrictEqual([31]);
  });
});

describe("verdicts", () => {
  test("a held command has written nothing, and counts as neither run nor refused", () => {
    const plain = add({ name: "plain" });
    hooks.commandBefore.add("hook", () => Verdict.held);
    client.onRejected = () => void trail.push("rejected");
    expect(send("plain")).toBe("");
    expect(verdict).toBe(Verdict.held);
    expect([plain.callCount, plain.rejectedCount, trail.length]).toStrictEqual([0, 0, 0]);
  });

  test("a deferred command has run, and its reply goes to the transport once", () => {
    const taken: NonNullable<Call["deferred"]>[] = [];
    const later = add({ name: "later", run: (call) => void taken.push(call.defer()) });
    expect(send("later")).toBe("");
    expect(verdict).toBe(Verdict.deferred);
    expect([later.callCount, later.failedCount]).toStrictEqual([1, 0]);
    taken[0]?.resolve((target) => target.ok());
    taken[0]?.resolve((target) => target.ok());
    expect(transport.settled).toHaveLength(1);
    // The next command is not taken for a deferred one.
    add({ name: "plain" });
    expect(send("plain")).toBe("+OK\r\n");
    expect(verdict).toBeUndefined();
  });
});

describe("ASKING", () => {
  let answer: Verdict | undefined;
  beforeEach(() => {
    answer = undefined;
    add({ name: "plain", run: (call) => call.reply.ok() });
    add({
      name: "asking",
      run: (call) => {
        call.client.isAsking = true;
        call.reply.ok();
      },
    });
    hooks.commandBefore.add("hook", (call) => {
      trail.push(`${call.command.fullName} ${call.client.isAsking ? "asks" : "does not ask"}`);
      return call.command.fullName === "plain" ? answer : undefined;
    });
  });

  for (const [what, given] of [
    ["that runs", undefined],
    ["that is refused", Verdict.rejected],
    ["that is answered in its stead", Verdict.answered],
  ] as const) {
    test(`is for the next command, and falls after one ${what}`, () => {
      send("asking");
      expect(client.isAsking).toBe(true);
      answer = given;
      send("plain");
      expect(client.isAsking).toBe(false);
      send("plain");
      expect(trail).toStrictEqual(["asking does not ask", "plain asks", "plain does not ask"]);
    });
  }

  test("stays for a command that is held, until that is decided", () => {
    send("asking");
    answer = Verdict.held;
    send("plain");
    expect(client.isAsking).toBe(true);
    answer = undefined;
    expect(send("plain")).toBe("+OK\r\n");
    expect(client.isAsking).toBe(false);
    expect(trail).toStrictEqual(["asking does not ask", "plain asks", "plain asks"]);
  });
});

describe("commands within commands", () => {
  test("are examined and run, and ask neither the hook nor the interceptor", () => {
    const inner = [argumentsOf("inner a"), argumentsOf("inner"), argumentsOf("nonsense")];
    const nested: boolean[] = [];
    add({
      name: "inner",
      arity: 2,
      run: (call) => {
        nested.push(call.isNested);
        call.reply.bulkText(call.text(1));
      },
    });
    add({
      name: "outer",
      run: (call) => {
        nested.push(call.isNested);
        call.reply.array(inner.length);
        for (const args of inner) dispatcher.dispatchNested(client, args, call.reply);
        // The outer call is not what its inner ones were.
        call.reply.bulkText(call.command.fullName);
      },
    });
    hooks.commandBefore.add("hook", (call) => void trail.push(`asked ${call.command.fullName}`));
    client.intercept = (call) => void trail.push(`intercepted ${call.command.fullName}`);
    expect(send("outer")).toBe(
      "*3\r\n$1\r\na\r\n-ERR wrong number of arguments for 'inner' command\r\n-ERR unknown command 'nonsense', with args beginning with: \r\n$5\r\nouter\r\n",
    );
    expect(nested).toStrictEqual([false, true]);
    expect(trail).toStrictEqual(["asked outer", "intercepted outer"]);
    expect(dispatcher.commandCount).toBe(2);
    expect(client.lastCommandName).toBe("outer");
  });

  test("that throw give their own error, and the others run", () => {
    add({
      name: "bad",
      run: (call) => {
        call.reply.array(3);
        throw new Error("no luck");
      },
    });
    add({ name: "plain" });
    const inner = [argumentsOf("plain"), argumentsOf("bad"), argumentsOf("plain")];
    add({
      name: "outer",
      run: (call) => {
        call.reply.array(inner.length);
        for (const args of inner) dispatcher.dispatchNested(client, args, call.reply);
      },
    });
    expect(send("outer")).toBe(`*3\r\n+OK\r\n-ERR command 'bad' of plugin "tested" failed: no luck\r\n+OK\r\n`);
    // The depth is what it was: this may be repeated for ever.
    for (let round = 0; round < 10; round += 1) expect(send("outer")).toStartWith("*3\r\n");
    expect(faults).toStrictEqual([]);
  });

  test("answer later to whoever takes it, and to nobody else", () => {
    const inner = argumentsOf("later");
    const taken: string[] = [];
    let deferred: DeferredReply | undefined;
    add({ name: "later", run: (call) => void (deferred = call.defer()) });
    add({
      name: "outer",
      run: (call) => {
        const take = (write: (reply: ReplyWriter) => void): void => {
          const reply = new ReplyWriter();
          write(reply);
          taken.push(new TextDecoder().decode(reply.bytes.slice(0, reply.length)));
        };
        expect(dispatcher.dispatchNested(client, inner, call.reply, take)).toBe(Verdict.deferred);
        call.reply.simple("outer");
      },
    });
    expect(send("outer")).toBe("+outer\r\n");
    expect(taken).toEqual([]);
    for (const word of ["first", "second"]) deferred?.resolve((reply) => reply.simple(word));
    expect(taken).toEqual(["+first\r\n"]);
  });

  test("may not answer later where nobody takes it", () => {
    const inner = argumentsOf("later");
    add({ name: "later", run: (call) => void call.defer() });
    add({ name: "outer", run: (call) => dispatcher.dispatchNested(client, inner, call.reply) });
    expect(() => send("outer")).toThrow("a command within EXEC answers at once");
    expect(faults.length).toBeGreaterThan(0);
  });

  test("do not nest without end", () => {
    const inner = argumentsOf("outer");
    add({ name: "outer", run: (call) => dispatcher.dispatchNested(client, inner, call.reply) });
    expect(() => send("outer")).toThrow("commands do not nest without end");
    expect(faults[0]).toBeInstanceOf(Fault);
  });

  test("can be asked about without being run", () => {
    const plain = add({ name: "plain", arity: 2 });
    const answers: Verdict[] = [];
    hooks.commandBefore.add("hook", (call) => {
      trail.push(`asked ${call.command.fullName}${call.isNested ? " nested" : ""}`);
      if (answers.length > 0) call.reply.error("MOVED 1 host:1");
      return answers.shift();
    });
    client.intercept = () => Verdict.held;
    reply.reset();
    expect(dispatcher.ask(client, argumentsOf("plain a"), reply)).toBeUndefined();
    expect(written()).toBe("");
    answers.push(Verdict.rejected);
    expect(dispatcher.ask(client, argumentsOf("plain a"), reply)).toBe(Verdict.rejected);
    expect(written()).toBe("-MOVED 1 host:1\r\n");
    reply.reset();
    expect(dispatcher.ask(client, argumentsOf("plain"), reply)).toBe(Verdict.rejected);
    expect(written()).toBe("-ERR wrong number of arguments for 'plain' command\r\n");
    expect(trail).toStrictEqual(["asked plain nested", "asked plain nested"]);
    expect(plain.callCount).toBe(0);
  });
});

describe("time", () => {
  /** Runs for so long. */
  const slow = (name: string, durationMs: () => number, more: Partial<CommandSpecification> = {}): Command =>
    add({
      name,
      run: (call) => {
        clock.nowMs += durationMs();
        call.reply.ok();
      },
      ...more,
    });

  test("one turn sees one date, which is read again half a millisecond later", () => {
    expect(dispatcher.beginTurn()).toBe(1000);
    expect(store.nowMs).toBe(1_800_000_000_000);
    clock.dateMs += 7;
    add({ name: "plain" });
    send("plain");
    expect(store.nowMs).toBe(1_800_000_000_000);
    clock.nowMs += 0.4;
    dispatcher.beginTurn();
    expect([store.nowMs, clock.dateReads]).toStrictEqual([1_800_000_000_000, 1]);
    clock.nowMs += 0.1;
    expect(dispatcher.beginTurn()).toBe(1000.5);
    expect([store.nowMs, clock.dateReads]).toStrictEqual([1_800_000_000_007, 2]);
  });

  test("every command that is not quick is timed, from the end of the one before", () => {
    const command = slow("long", () => 3);
    dispatcher.beginTurn();
    send("long");
    send("long");
    expect([command.timedCount, command.totalMicroseconds]).toStrictEqual([2, 6000]);
    expect(dispatcher.nowMs).toBe(1006);
  });

  test("of quick commands one in sixteen is timed, and stands for the others", () => {
    const command = slow("quick", () => 0.002, { flags: ["fast"] });
    dispatcher.beginTurn();
    const before = clock.reads;
    for (let count = 0; count < 32; count += 1) send("quick");
    expect([command.callCount, command.timedCount]).toStrictEqual([32, 2]);
    // Each of the two is measured from its own beginning, though nothing was read before it.
    expect(clock.reads - before).toBe(4);
    expect(command.totalMicroseconds).toBeCloseTo(64, 3);
  });

  test("which one of sixteen is drawn anew each time: of commands in turn all are seen", () => {
    const names = Array.from({ length: 16 }, (_, at) => `turn${at}`);
    const commands = names.map((name) => slow(name, () => 0, { flags: ["fast"] }));
    dispatcher.beginTurn();
    for (let count = 0; count < 1600; count += 1) send(names[count % 16] ?? "");
    const seen = commands.map(({ timedCount }) => timedCount);
    expect(seen.reduce((sum, count) => sum + count, 0)).toBe(100);
    expect(Math.max(...seen)).toBeLessThan(20);
    expect(seen.filter((count) => count === 0).length).toBeLessThan(3);
  });

  test("who listens is told of those on keys: slot, time, size, and how many they stand for", () => {
    const keys = [{ first: 1, last: 1, step: 1, flags: ["RO"] }];
    slow("read", () => 1, { keys });
    slow("peek", () => 0.002, { keys, flags: ["fast"] });
    slow("keyless", () => 1);
    const told: string[] = [];
    const leave = hooks.commandTimed.add("hook", ({ slot, microseconds, standsFor, bytesIn, bytesOut }) => {
      told.push([slot, Math.round(microseconds), standsFor, bytesIn, bytesOut].join(" "));
    });
    dispatcher.beginTurn();
    send("read foo");
    send("keyless foo");
    expect(told.splice(0)).toStrictEqual(["12182 1000 1 23 5"]);
    for (let count = 0; count < 16; count += 1) send("peek foo");
    expect(told).toStrictEqual(["12182 2 16 23 5"]);
    leave();
  });

  test("a quick command with many arguments or a large reply is timed", () => {
    const command = slow("quick", () => 1, { flags: ["fast"] });
    const large = add({
      name: "large",
      flags: ["fast"],
      run: (call) => {
        clock.nowMs += 1;
        call.reply.bulkText("x".repeat(20_000));
      },
    });
    dispatcher.beginTurn();
    send(`quick${" x".repeat(31)}`);
    expect(command.timedCount).toBe(0);
    send(`quick${" x".repeat(32)}`);
    expect([command.timedCount, command.timedMicroseconds]).toStrictEqual([1, 1000]);
    send("large");
    expect([large.timedCount, large.timedMicroseconds]).toStrictEqual([1, 1000]);
  });

  test("a command within another has its own time, and counts into the other's", () => {
    const inner = slow("inner", () => 2);
    const args = [argumentsOf("inner"), argumentsOf("inner")];
    const outer = add({
      name: "outer",
      run: (call) => {
        for (const each of args) dispatcher.dispatchNested(client, each, call.reply);
        clock.nowMs += 1;
      },
    });
    dispatcher.beginTurn();
    send("outer");
    expect([inner.timedMicroseconds, outer.timedMicroseconds]).toStrictEqual([4000, 5000]);
  });

  test("a command that takes as long as the threshold is slow, and told; a negative threshold tells none", () => {
    let durationMs = 0;
    slow("work", () => durationMs);
    const told: string[] = [];
    hooks.commandSlow.add("hook", ({ call, microseconds }) => {
      told.push(`${call.command.fullName} ${call.text(1)} ${microseconds}`);
    });
    dispatcher.slowThresholdMicroseconds = 2000;
    dispatcher.beginTurn();
    for (durationMs of [1, 2, 3]) send(`work ${durationMs}`);
    expect(told).toStrictEqual(["work 2 2000", "work 3 3000"]);
    dispatcher.slowThresholdMicroseconds = -1;
    send("work 3");
    expect(told).toHaveLength(2);
  });

  test("with a threshold below a millisecond every quick command is timed", () => {
    const command = slow("quick", () => 0.5, { flags: ["fast"] });
    let toldCount = 0;
    hooks.commandSlow.add("hook", () => void (toldCount += 1));
    dispatcher.slowThresholdMicroseconds = 100;
    dispatcher.beginTurn();
    for (let count = 0; count < 5; count += 1) send("quick");
    expect([command.timedCount, toldCount]).toStrictEqual([5, 5]);
  });
});

describe("effects", () => {
  const putString = (call: Call): void => {
    store.setString(call.key, call.bytes, call.start(2), call.end(2), NO_EXPIRY);
    call.reply.ok();
  };
  const keys = [{ first: 1, last: 1, step: 1, flags: ["OW"] }];
  let told: string[];
  const listen = (): void =>
    void hooks.effect.add("hook", ({ slot, args }: Effect) => {
      told.push(
        `${slot} ${args
          .copies()
          .map((part) => new TextDecoder().decode(part))
          .join(" ")}`,
      );
    });
  beforeEach(() => {
    told = [];
  });

  test("a write that changed something is told as it came, with its slot", () => {
    listen();
    add({ name: "put", arity: 3, flags: ["write"], keys, run: putString });
    send("put foo bar");
    expect(told).toStrictEqual(["12182 put foo bar"]);
  });

  test("a write that changed nothing has none, nor has a command that is no write, nor one that was refused", () => {
    listen();
    add({
      name: "miss",
      arity: 2,
      flags: ["write"],
      keys,
      run: (call) => call.reply.integer(store.remove(call.key) ? 1 : 0),
    });
    add({ name: "sneak", arity: 3, flags: ["readonly"], keys, run: putString });
    add({ name: "put", arity: 3, flags: ["write"], keys, run: putString });
    expect(send("miss foo")).toBe(":0\r\n");
    expect(send("sneak foo bar")).toBe("+OK\r\n");
    hooks.commandBefore.add("hook", () => Verdict.rejected);
    send("put foo bar");
    expect(told).toStrictEqual([]);
  });

  test("a write that says what it did is told in those words, all of them, in order", () => {
    listen();
    add({
      name: "both",
      arity: 3,
      flags: ["write"],
      keys,
      run: (call) => {
        putString(call);
        call.effectIs("SET", call.copy(1), "1");
        call.effectIs("PEXPIREAT", call.copy(1), "99");
      },
    });
    add({ name: "put", arity: 3, flags: ["write"], keys, run: putString });
    send("both foo bar");
    // What one command said is not taken for what the next one did.
    send("put foo bar");
    expect(told).toStrictEqual(["12182 SET foo 1", "12182 PEXPIREAT foo 99", "12182 put foo bar"]);
  });

  test("a command without a key that changed something has no slot", () => {
    listen();
    add({ name: "put", arity: 3, flags: ["write"], keys, run: putString });
    add({
      name: "wipe",
      flags: ["write"],
      run: (call) => {
        store.clear();
        call.reply.ok();
      },
    });
    send("put foo bar");
    send("wipe");
    expect(told[1]).toBe("-1 wipe");
  });

  test("commands within a command have their own", () => {
    listen();
    const inner = [argumentsOf("put foo 1"), argumentsOf("put bar 2")];
    add({ name: "put", arity: 3, flags: ["write"], keys, run: putString });
    add({
      name: "outer",
      run: (call) => {
        for (const args of inner) dispatcher.dispatchNested(client, args, call.reply);
      },
    });
    send("outer");
    expect(told).toStrictEqual(["12182 put foo 1", "5061 put bar 2"]);
  });
});

describe("what a command throws", () => {
  const throwing = (thrown: () => Error): void =>
    void add({
      name: "break",
      run: (call) => {
        // A reply that was begun is taken back.
        call.reply.array(5);
        throw thrown();
      },
    });

  test("a broken invariant stops the node, and is thrown on", () => {
    throwing(() => new Fault("two and two make five"));
    expect(() => send("break")).toThrow("two and two make five");
    expect(faults).toHaveLength(1);
    expect(faults[0]).toBeInstanceOf(Fault);
  });

  test("a plugin's mistake is that command's error, with command and plugin named, and nothing of a reply before it", () => {
    throwing(() => new TypeError("x is not a function"));
    expect(send("break")).toBe(`-ERR command 'break' of plugin "tested" failed: x is not a function\r\n`);
    expect(verdict).toBeUndefined();
    expect(faults).toStrictEqual([]);
    expect(logged).toStrictEqual([
      {
        event: "command failed",
        fields: { command: "break", plugin: "tested", reason: "x is not a function" },
      },
    ]);
    expect(dispatcher.errorCount).toBe(1);
  });

  test("memory that cannot be had is an OOM error", () => {
    throwing(() => new RangeError("Out of memory"));
    expect(send("break")).toBe("-OOM the machine has no memory left for this command\r\n");
    expect(faults).toStrictEqual([]);
    expect(logged.map(({ event }) => event)).toStrictEqual(["command out of memory"]);
    expect(dispatcher.errorCounts.get("OOM")).toBe(1);
  });

  describe("when it has changed something", () => {
    let told: readonly string[][];
    const pairs = [{ first: 1, last: 2, step: 1, flags: ["RW"] }];
    const half = (thrown: Error): Command =>
      add({
        name: "half",
        arity: 3,
        flags: ["write"],
        keys: pairs,
        run: (call) => {
          store.setString(call.key, call.bytes, call.start(1), call.end(1), 1_900_000_000_000);
          call.effectIs("both", call.copy(1), call.copy(2));
          throw thrown;
        },
      });
    beforeEach(() => {
      told = [];
      hooks.effect.add("replica", ({ args }) => {
        told = [...told, args.copies().map((part) => new TextDecoder().decode(part))];
      });
    });

    test("ends the connection: an error would say that nothing was done; and replicas are told what its keys are now", () => {
      half(new RangeError("Out of memory"));
      send("half {a}1 {a}2");
      expect(transport.kills).toBe(1);
      const meta = `${ValueType.string} ${store.flags(store.peek(keyOf("{a}1")))} 1900000000000 4`;
      expect(told).toEqual([
        ["\0\u0001", "{a}1", meta, "{a}1"],
        ["DEL", "{a}2"],
      ]);
    });

    test("is told though there is no room for a reply, not even for its error: of a transaction's command too", () => {
      reply.maxBytes = reply.bytes.length;
      const inner = argumentsOf("count key");
      add({
        name: "count",
        arity: 2,
        flags: ["write"],
        keys: [{ first: 1, last: 1, step: 1, flags: ["RW"] }],
        run: (call) => {
          store.setString(call.key, call.bytes, call.start(0), call.end(0), NO_EXPIRY);
          call.reply.integer(1_000_000);
        },
      });
      add({
        name: "outer",
        run: (call) => {
          call.reply.simple("x".repeat(reply.maxBytes - 8));
          dispatcher.dispatchNested(client, inner, call.reply);
        },
      });
      // Nobody gets it.
      expect(send("outer")).toStartWith("-ERR the reply is larger than ");
      expect(transport.kills).toBeGreaterThan(0);
      expect(told).toHaveLength(1);
      expect(told[0]?.slice(1, 2)).toEqual(["key"]);
      expect(told[0]?.at(-1)).toBe("count");
    });

    test("stops the node if that cannot be told", () => {
      half(new Error("no luck"));
      store.peek = () => {
        throw new RangeError("Out of memory");
      };
      expect(() => send("half {a}1 {a}2")).toThrow("what command 'half' left half done cannot be told");
      expect(faults).toHaveLength(1);
    });
  });

  test("only its own reply is taken back, not those of commands before it", () => {
    throwing(() => new Error("no luck"));
    reply.simple("EARLIER");
    dispatcher.dispatch(client, argumentsOf("break"), reply);
    expect(written()).toBe(`+EARLIER\r\n-ERR command 'break' of plugin "tested" failed: no luck\r\n`);
  });

  test("so does a handler of the hook: its mistake refuses the command, a broken invariant stops the node", () => {
    const plain = add({ name: "plain" });
    let thrown: Error = new Error("no luck");
    hooks.commandBefore.add("picky", (call) => {
      call.reply.array(5);
      throw thrown;
    });
    expect(send("plain")).toBe(
      `-ERR command 'plain' of plugin "tested" failed: Plugin "picky" failed in hook "commandBefore": no luck\r\n`,
    );
    expect(verdict).toBe(Verdict.rejected);
    expect([plain.callCount, trail.length]).toStrictEqual([0, 0]);
    thrown = new Fault("broken");
    expect(() => send("plain")).toThrow("broken");
    expect(faults).toStrictEqual([thrown]);
  });

  test("a mistake of those who are told of effects and slow commands is reported, and the command has its reply", () => {
    hooks.effect.add("replica", () => {
      throw new Error("no luck");
    });
    add({
      name: "put",
      arity: 3,
      flags: ["write"],
      keys: [{ first: 1, last: 1, step: 1, flags: ["OW"] }],
      run: (call) => {
        store.setString(call.key, call.bytes, call.start(2), call.end(2), NO_EXPIRY);
        call.reply.ok();
      },
    });
    expect(send("put foo bar")).toBe("+OK\r\n");
    expect(reported.map(({ message }) => message)).toStrictEqual(['Plugin "replica" failed in hook "effect": no luck']);
  });
});

test("lookUp finds a command, its subcommand, or the container of one that is unknown", () => {
  const names = ["get", "set"];
  add({
    name: "box",
    arity: -2,
    subcommands: names.map((name) => ({
      name,
      arity: 2,
      flags: [],
      group: "module",
      summary: "For tests.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run: () => undefined,
    })),
  });
  const found = ["box get", "BOX SET", "box put", "box", "nothing"].map(
    (line) => dispatcher.lookUp(argumentsOf(line))?.fullName,
  );
  expect(found).toStrictEqual(["box|get", "box|set", "box", "box", undefined]);
});
