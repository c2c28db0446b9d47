/** Settings: which place wins, and what a bad one is told. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import {
  type Config,
  type ConfigLayer,
  byteSize,
  describeSettings,
  parseByteSize,
  readEnvironment,
  readObject,
  readText,
  resolveConfig,
} from "../../src/config.ts";
import { present } from "../../src/assert.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";
import { endLeftovers, runBunch } from "../support/bunch-server.ts";

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

describe("of several places", () => {
  /** Settings as flags give them. */
  const flags = (given: Readonly<Record<string, string>>): ConfigLayer => {
    const settings = describeSettings(known);
    return {
      origin: "flags",
      values: new Map(
        Object.entries(given).map(([flag, text]) => {
          if (flag === "--disable") return [`plugins.${text}`, { value: false, origin: flag }];
          const setting = present(
            settings.find((each) => each.flag === flag),
            "the flag is one",
          );
          return [setting.path, { value: readText(setting, text, flag, known), origin: flag }];
        }),
      ),
    };
  };
  const resolveAll = (
    config: Config,
    environment: Readonly<Record<string, string>>,
    given: Readonly<Record<string, string>>,
  ) => resolveConfig(known, [readObject(config, "test.config.ts"), readEnvironment(environment, known), flags(given)]);

  for (const [places, inEnvironment, inFlags, wanted] of [
    ["the file alone", false, false, "file"],
    ["the environment over the file", true, false, "environment"],
    ["a flag over the file", false, true, "flag"],
    ["a flag over the environment and the file", true, true, "flag"],
  ] as const) {
    test(`it is ${places} that counts, for a setting of the node and of a plugin`, () => {
      const { core, settings } = resolveAll(
        { name: "file", port: 1, plugins: { cache: { size: "1kb", maxItems: 1 } } },
        inEnvironment ? { BUNCH_NAME: "environment", BUNCH_CACHE_SIZE: "2kb" } : {},
        inFlags ? { "--name": "flag", "--cache-size": "3kb" } : {},
      );
      expect(core.name).toBe(wanted);
      expect(settings.get("cache")).toMatchObject({ size: { file: "1kb", environment: "2kb", flag: "3kb" }[wanted] });
      // What only a weaker place says stays: places win for each setting, not as wholes.
      expect(core.port).toBe(1);
      expect(settings.get("cache")).toMatchObject({ maxItems: 1, isEager: false });
    });
  }

  test("also a value that is as good as none wins over one that is not", () => {
    const file: Config = { port: 7000, insecure: true, plugins: { cache: { isEager: true } } };
    const { core, settings } = resolveAll(
      file,
      { BUNCH_PORT: "0", BUNCH_INSECURE: "false" },
      { "--cache-is-eager": "off" },
    );
    expect([core.port, core.insecure]).toStrictEqual([0, false]);
    expect(settings.get("cache")).toMatchObject({ isEager: false });
  });

  test("--disable wins over settings that turn a plugin on", () => {
    const { plugins } = resolveAll(
      { plugins: { cache: { maxItems: 2 }, extra: true } },
      { BUNCH_CACHE_MAX_ITEMS: "3" },
      { "--disable": "cache" },
    );
    expect(plugins.map(({ name }) => name)).toStrictEqual(["extra"]);
  });

  test("a bad value is told with the place that it came from, the strongest one", () => {
    expect(() => resolveAll({ port: -1 }, {}, { "--port": "70000" })).toThrow(
      'Setting "port" is 70000 (from --port), but it must be a whole number from 0 to 65535.',
    );
    expect(() => resolveAll({ port: -1 }, { BUNCH_PORT: "70001" }, {})).toThrow('"port" is 70001 (from BUNCH_PORT)');
    // A bad one that a good one wins over does not count.
    expect(resolveAll({ port: -1 }, { BUNCH_PORT: "70001" }, { "--port": "5" }).core.port).toBe(5);
  });
});

describe("the command line", () => {
  const directory = mkdtempSync(join(tmpdir(), "bunch-config-"));
  const file = join(directory, "test.config.ts");
  writeFileSync(file, 'export default { name: "file", port: 21753, host: "127.0.0.1" };\n');
  afterAll(async () => {
    await endLeftovers();
    rmSync(directory, { recursive: true });
  });

  for (const [wanted, environment, flags] of [
    ["file listens on 127.0.0.1:21753", {}, []],
    ["environment listens on 127.0.0.1:21754", { BUNCH_NAME: "environment", BUNCH_PORT: "21754" }, []],
    [
      "flag listens on 127.0.0.1:21755",
      { BUNCH_NAME: "environment", BUNCH_PORT: "21754" },
      ["--name", "flag", "--port", "21755"],
    ],
    ["flag listens on 127.0.0.1:21754", { BUNCH_PORT: "21754" }, ["--name", "flag"]],
  ] as const) {
    test(`starts what flags, then the environment, then the file say: node ${wanted}`, async () => {
      const node = runBunch(["node", "--config", file, ...flags], environment);
      await node.until(`ready node ${wanted} `);
      node.kill("SIGTERM");
      await node.exited;
    });
  }
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
