/** Settings: which place wins, and what a bad one is told. */
import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import {
  type Config,
  byteSize,
  describeSettings,
  parseByteSize,
  readEnvironment,
  readObject,
  resolveConfig,
} from "../../src/config.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";

const plugin: Plugin = definePlugin({
  name: "cache",
  summary: "For tests.",
  settings: Type.Object({
    maxItems: Type.Integer({ description: "How many.", default: 10, minimum: 1, maximum: 100 }),
    size: byteSize({ description: "How large.", default: "1mb" }),
    isEager: Type.Boolean({ description: "How soon.", default: false }),
    peers: Type.Optional(Type.Array(Type.String(), { description: "Who else." })),
  }),
  setup: () => undefined,
});
const off: Plugin = definePlugin({
  name: "extra",
  summary: "Must be asked for.",
  isOnByDefault: false,
  setup: () => undefined,
});
const known = [plugin, off];

const resolve = (config: Config, environment: Readonly<Record<string, string>> = {}) =>
  resolveConfig(known, [readObject(config, "test.config.ts"), readEnvironment(environment, known)]);

describe("resolveConfig", () => {
  test("fills in defaults", () => {
    const { core, settings, plugins, off: turnedOff } = resolve({});
    expect(core.port).toBe(6379);
    expect(core.host).toBe("127.0.0.1");
    expect(settings.get("cache")).toEqual({ maxItems: 10, size: "1mb", isEager: false });
    expect(plugins.map(({ name }) => name)).toEqual(["cache"]);
    expect(turnedOff.map(({ name }) => name)).toEqual(["extra"]);
  });

  test("lets later places win over earlier ones", () => {
    const { core, settings } = resolve(
      { port: 1, name: "file", plugins: { cache: { maxItems: 2, isEager: false } } },
      { BUNCH_PORT: "2", BUNCH_CACHE_IS_EAGER: "yes", BUNCH_CACHE_PEERS: '["a"]', UNRELATED: "x" },
    );
    expect([core.port, core.name]).toEqual([2, "file"]);
    expect(settings.get("cache")).toEqual({ maxItems: 2, size: "1mb", isEager: true, peers: ["a"] });
  });

  test("turns plugins off and on", () => {
    expect(resolve({ plugins: { cache: false, extra: true } }).plugins.map(({ name }) => name)).toEqual(["extra"]);
    expect(resolve({ plugins: { extra: {} } }).plugins.map(({ name }) => name)).toEqual(["cache", "extra"]);
  });

  for (const [what, config, environment, message] of [
    ["an unknown setting", { prot: 1 }, {}, 'Unknown setting "prot" (from test.config.ts). Did you mean "port"?'],
    [
      "an unknown plugin",
      { plugins: { cahce: true } },
      {},
      'Unknown plugin "cahce" (from test.config.ts). Did you mean "cache"?',
    ],
    [
      "an unknown setting of a plugin",
      { plugins: { cache: { maxItem: 1 } } },
      {},
      'Unknown setting "plugins.cache.maxItem" (from test.config.ts). Did you mean "maxItems"?',
    ],
    [
      "a value out of range",
      { port: 70_000 },
      {},
      'Setting "port" is 70000 (from test.config.ts), but it must be a whole number from 0 to 65535.',
    ],
    [
      "a value of another type",
      { plugins: { cache: { maxItems: "5" } } },
      {},
      'Setting "plugins.cache.maxItems" is "5" (from test.config.ts), but it must be a whole number from 1 to 100.',
    ],
    [
      "a bad size",
      { plugins: { cache: { size: "1 mb" } } },
      {},
      'Setting "plugins.cache.size" is "1 mb" (from test.config.ts), but it must be a size in bytes, such as 1048576, 64mb or 2gb.',
    ],
    [
      "an unknown variable",
      {},
      { BUNCH_PROT: "1" },
      'Unknown setting BUNCH_PROT in the environment. Did you mean "BUNCH_PORT"?',
    ],
    [
      "a variable that is no number",
      {},
      { BUNCH_PORT: "abc" },
      'Setting "port" is "abc" (from BUNCH_PORT), but it must be a whole number from 0 to 65535.',
    ],
    [
      "a variable that is no list",
      {},
      { BUNCH_CACHE_PEERS: "a,b" },
      'Setting "plugins.cache.peers" is "a,b" (from BUNCH_CACHE_PEERS), but it must be a list.',
    ],
    [
      "a plugin that is neither on nor off",
      { plugins: { cache: 3 } },
      {},
      'Setting "plugins.cache" (from test.config.ts) must be true, false, or an object of settings.',
    ],
  ] as const) {
    test(`refuses ${what}, naming what it got and what it wants`, () => {
      // The configuration of somebody who does not check types.
      expect(() => resolve(config as unknown as Config, environment)).toThrow(message);
    });
  }

  test("refuses two plugins of one name", () => {
    expect(() => resolveConfig([plugin, plugin], [])).toThrow('There are two plugins named "cache"');
  });
});

test("parseByteSize reads what redis.conf may say", () => {
  expect(["0", "1024", "1k", "1kb", "2MB", "3g", "1Gb", "5b"].map(parseByteSize)).toEqual([
    0,
    1024,
    1000,
    1024,
    2 * 1024 ** 2,
    3e9,
    1024 ** 3,
    5,
  ]);
  expect(["", "-1", "1.5", "1tb", "mb", "1 mb", "99999999999999999999"].map(parseByteSize)).toEqual(
    Array.from({ length: 7 }, () => undefined),
  );
  expect([parseByteSize(12), parseByteSize(-1), parseByteSize(1.5)]).toEqual([12, undefined, undefined]);
});

test("describeSettings names flag and variable of each setting", () => {
  const described = describeSettings(known).find(({ path }) => path === "plugins.cache.maxItems");
  expect(described).toMatchObject({
    flag: "--cache-max-items",
    environment: "BUNCH_CACHE_MAX_ITEMS",
    defaultValue: 10,
    wants: "a whole number from 1 to 100",
  });
});
