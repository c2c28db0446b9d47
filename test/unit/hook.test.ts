/** Hooks: who is called, in which order, and what becomes of a throw. */
import { describe, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import { PluginError } from "../../src/errors.ts";
import { CollectHook, FirstHook, NotifyHook, SeriesHook, WaterfallHook } from "../../src/hook.ts";

const broken = (): never => {
  throw new Error("no luck");
};

describe("every hook", () => {
  test("calls handlers in order first, pre, normal, post, and within one as they were added", () => {
    const hook = new CollectHook<void, string>("names");
    hook.add("a", () => "post", "post");
    hook.add("b", () => "normal 1");
    hook.add("c", () => "pre", "pre");
    hook.add("e", () => "first", "first");
    hook.add("d", () => "normal 2");
    expect(hook.collect()).toEqual(["first", "pre", "normal 1", "normal 2", "post"]);
    expect(hook.handlers.map(({ plugin, order }) => `${plugin} ${order}`)).toEqual([
      "e first",
      "c pre",
      "b normal",
      "d normal",
      "a post",
    ]);
  });

  test("takes a handler away again, once", () => {
    const hook = new CollectHook<void, number>("numbers");
    const remove = hook.add("a", () => 1);
    hook.add("b", () => 2);
    remove();
    remove();
    expect(hook.collect()).toEqual([2]);
  });

  test("calls those that were there when the call began", () => {
    const hook = new NotifyHook<void>("added", () => undefined);
    let calls = 0;
    hook.add("a", () => {
      hook.add("b", () => (calls += 1));
    });
    hook.notify();
    expect(calls).toBe(0);
    hook.notify();
    expect(calls).toBe(1);
  });
});

describe("NotifyHook", () => {
  test("tells all, and reports a throw with the plugin and the hook", () => {
    const reported: Error[] = [];
    const hook = new NotifyHook<number>("noted", (error) => reported.push(error));
    let sum = 0;
    hook.add("bad", broken);
    hook.add("good", (value) => (sum += value));
    expect(hook.isHeard).toBe(true);
    hook.notify(3);
    expect(sum).toBe(3);
    expect(reported.map((error) => error.message)).toEqual(['Plugin "bad" failed in hook "noted": no luck']);
    expect(reported[0]).toBeInstanceOf(PluginError);
  });
});

describe("FirstHook", () => {
  test("is answered by nobody, by one, and by the first of many that answers", () => {
    const hook = new FirstHook<number, string>("asked");
    expect(hook.ask(1)).toBeUndefined();
    const remove = hook.add("a", (value) => (value === 1 ? "a" : undefined));
    expect(hook.ask(1)).toBe("a");
    expect(hook.ask(2)).toBeUndefined();
    hook.add("b", () => "b");
    expect(hook.ask(1)).toBe("a");
    expect(hook.ask(2)).toBe("b");
    remove();
    expect(hook.ask(1)).toBe("b");
  });

  test("names who threw, whether alone or among others", () => {
    const hook = new FirstHook<void, string>("asked");
    hook.add("bad", broken);
    expect(() => hook.ask()).toThrow('Plugin "bad" failed in hook "asked": no luck');
    hook.add("early", () => undefined, "pre");
    expect(() => hook.ask()).toThrow('Plugin "bad" failed in hook "asked": no luck');
  });

  test("lets a fault through as it is", () => {
    const hook = new FirstHook<void, string>("asked");
    hook.add("bad", () => {
      throw new Fault("an invariant is broken");
    });
    expect(() => hook.ask()).toThrow(Fault);
  });
});

test("WaterfallHook hands on what the one before returned, and names who threw", () => {
  const hook = new WaterfallHook<number, number>("flow");
  hook.add("add", (value, by) => value + by);
  hook.add("double", (value) => 2 * value, "post");
  expect(hook.pass(1, 10)).toBe(22);
  hook.add("bad", broken, "pre");
  expect(() => hook.pass(1, 10)).toThrow('Plugin "bad" failed in hook "flow": no luck');
});

test("CollectHook leaves out those that answered nothing, and names who threw", () => {
  const hook = new CollectHook<void, number>("all");
  hook.add("a", () => 1);
  hook.add("b", () => undefined);
  expect(hook.collect()).toEqual([1]);
  hook.add("bad", broken);
  expect(() => hook.collect()).toThrow('Plugin "bad" failed in hook "all": no luck');
});

describe("SeriesHook", () => {
  test("waits for each before the next, and stops at the first that fails", async () => {
    const told: string[] = [];
    const hook = new SeriesHook<void>("start");
    hook.add("a", async () => {
      await Promise.resolve();
      told.push("a");
    });
    hook.add("b", () => void told.push("b"));
    await hook.run();
    expect(told).toEqual(["a", "b"]);
    hook.add("bad", () => Promise.reject(new Error("no luck")), "pre");
    expect(hook.run()).rejects.toThrow('Plugin "bad" failed in hook "start": no luck');
    expect(told).toEqual(["a", "b"]);
  });

  test("calls all in reverse order, whatever others throw", async () => {
    const told: string[] = [];
    const hook = new SeriesHook<void>("stop");
    hook.add("a", () => void told.push("a"));
    hook.add("bad", broken);
    hook.add("c", () => void told.push("c"));
    const errors = await hook.runReversed();
    expect(told).toEqual(["c", "a"]);
    expect(errors.map((error) => error.message)).toEqual(['Plugin "bad" failed in hook "stop": no luck']);
  });
});
