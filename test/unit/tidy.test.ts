/** Keeps the house in order: layers, doors to the outside, names, documentation. */
import { describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describeSettings } from "../../src/config.ts";
import { argumentsOf, showSyntax } from "../../src/command-syntax.ts";
import type { Command } from "../../src/command-table.ts";
import { defaultPlugins } from "../../src/default-plugins.ts";
import { Hook } from "../../src/hook.ts";
import { createNode } from "../../src/node.ts";
import type { Plugin } from "../../src/plugin.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { checkFile, findCycles } from "../support/tidy-rules.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string): string => readFileSync(`${ROOT}${path}`, "utf8");
const list = (folder: string, ending: string): readonly string[] =>
  (readdirSync(`${ROOT}${folder}`, { recursive: true }) as string[])
    .filter((name) => name.endsWith(ending) && !name.includes("results/"))
    .map((name) => `${folder}/${name}`);

const files = new Map(
  ["src", "plugins", "web", "test", "bench", "examples", "tools"]
    .flatMap((folder) => list(folder, ".ts"))
    .map((path) => [path, read(path)]),
);

test("every file keeps the rules", () => {
  const findings = [...files].flatMap(([path, source]) => checkFile(path, source));
  expect(findings.map(({ path, line, rule, remedy }) => `${path}:${line}: ${rule}: ${remedy}`)).toEqual([]);
});

test("no imports go round in a circle", () => {
  expect(findCycles(files).map((cycle) => cycle.join(" -> "))).toEqual([]);
});

describe("the rules catch", () => {
  for (const [rule, path, snippet] of [
    ["plugins never import plugins", "plugins/a.ts", 'import b from "./b.ts";'],
    ["plugins never import plugins", "plugins/a.ts", 'import { b } from "../plugins/b.ts";'],
    ["src/ knows plugins", "src/a.ts", 'import b from "../plugins/b.ts";'],
    ["machines, codecs and the store", "src/codec/a.ts", 'import { b } from "../config.ts";'],
    ["machines, codecs and the store", "src/protocol/a.ts", 'import { b } from "commander";'],
    ["relative imports name the file", "src/a.ts", 'import { b } from "./b";'],
    ["nothing but the world touches clocks", "plugins/a.ts", "const now = Date.now();"],
    ["nothing but the world touches clocks", "src/a.ts", "setTimeout(() => undefined, 1);"],
    ["nothing but the world touches clocks", "src/a.ts", "export const a = process.env;"],
    ["nothing but the world touches clocks", "plugins/a.ts", "Bun.sleepSync(1);"],
    ["nothing but the world touches clocks", "plugins/a.ts", "crypto.getRandomValues(new Uint8Array(1));"],
    ["nothing but the world touches I/O", "src/a.ts", 'import { readFileSync } from "node:fs";'],
    ["nothing but the world touches I/O", "plugins/a.ts", 'import { readFileSync } from "fs";'],
    ["nothing but the world touches I/O", "plugins/a.ts", 'import { readFile } from "fs/promises";'],
    ["nothing but the world touches I/O", "src/a.ts", 'import net from "net";'],
    ["nothing but the world touches I/O", "src/a.ts", 'import * as http from "http";'],
    ["nothing but the world touches I/O", "src/a.ts", 'import { setTimeout } from "timers/promises";'],
    ["nothing but the world touches I/O", "src/a.ts", 'import { spawn } from "child_process";'],
    ["nothing but the world touches I/O", "src/a.ts", 'import "worker_threads";'],
    ["nothing but the world touches I/O", "src/a.ts", 'export { readFile } from "fs";'],
    ["nothing but the world touches I/O", "src/a.ts", 'export const a = await import("os");'],
    ["nothing but the world names Bun", "plugins/a.ts", 'import { serve } from "bun";'],
    ["nothing but the world names Bun", "plugins/a.ts", 'import { Database } from "bun:sqlite";'],
    ["nothing but the world names Bun", "src/a.ts", 'import { dlopen } from "bun:ffi";'],
    ["nothing but the world names Bun", "src/a.ts", 'export const a = await import("bun:jsc");'],
    ["from the global object", "plugins/a.ts", "globalThis.setTimeout(() => undefined, 1);"],
    ["from the global object", "src/a.ts", 'export const a = globalThis["Date"];'],
    ["from the global object", "src/a.ts", "const { Date: Clock } = globalThis;"],
    ["from the global object", "src/a.ts", 'export const a = Reflect.get(globalThis, "process");'],
    ["from the global object", "src/a.ts", "global.queueMicrotask(() => undefined);"],
    ["from the global object", "src/a.ts", "window.setTimeout(() => undefined, 1);"],
    ["from the global object", "src/a.ts", "export const a = self.performance.now();"],
    ["from the global object", "src/a.ts", 'export const a = self["fetch"];'],
    ["chance comes from the world", "src/a.ts", 'import { randomBytes } from "node:crypto";'],
    ["chance comes from the world", "src/a.ts", 'import { randomBytes } from "crypto";'],
    ["arithmetic is the same", "src/a.ts", "export const a = Math.log(2);"],
    ["arithmetic is the same", "src/a.ts", "export const a = Math.random();"],
    ["no any", "src/a.ts", "export const a: any = 1;"],
    ["no non-null assertions", "test/a.test.ts", "const a = [1][0]!;"],
    ["no @ts-ignore", "src/a.ts", "// @ts-ignore\nexport const a = 1;"],
    ["@ts-expect-error is for type tests", "src/a.ts", "// @ts-expect-error -- no\nexport const a = 1;"],
    ["default exports", "src/a.ts", "export default 1;"],
    ["no mutable state", "src/a.ts", "let a = 1;"],
    ["no mutable state", "src/a.ts", "const a = new Map();\nexport function b() { a.set(1, 2); }"],
    ["no files that only pass on", "src/a.ts", '/** A. */\nexport * from "./b.ts";'],
    ["a file begins with a comment", "src/a.ts", "export const a = 1;"],
    ["kebab-case", "src/camelCase.ts", "/** A. */"],
    ["read in a sitting", "plugins/a.ts", `/** A. */${"\n".repeat(800)}`],
    ["no markers", "src/a.ts", "// TODO: later\nexport const a = 1;"],
  ] as const) {
    test(`${rule}: ${snippet.slice(0, 50)}`, () => {
      expect(
        checkFile(path, snippet)
          .map((finding) => finding.rule)
          .join("\n"),
      ).toContain(rule);
    });
  }

  test("a circle", () => {
    const cycle = new Map([
      ["src/a.ts", 'import { b } from "./b.ts";'],
      ["src/b.ts", 'import { c } from "./c.ts";'],
      ["src/c.ts", 'import { a } from "./a.ts";'],
    ]);
    expect(findCycles(cycle)).toHaveLength(1);
  });

  test("and let the doors themselves, types, strings and comments be", () => {
    for (const path of ["src/world-bun.ts", "src/main.ts", "src/cli/a.ts"]) {
      for (const line of [
        "export const now = Date.now();",
        "export const now = globalThis.Date.now();",
        'import { readFileSync } from "fs";',
        'import { dlopen } from "bun:ffi";',
      ])
        expect(checkFile(path, `/** A. */\n${line}`), `${path}: ${line}`).toStrictEqual([]);
    }
    for (const line of [
      // Names that are like those of modules or of the global object, and are not.
      'import { a } from "../src/fs.ts";',
      'import { createHash } from "node:crypto";',
      'import { createHash } from "crypto";',
      'import { Buffer } from "buffer";',
      "export const a = { self: 1, globalThis: 2 }.globalThis;",
      "export const b = (self: { id: string }) => self.id;",
    ])
      expect(checkFile("plugins/a.ts", `/** A. */\n${line}`), line).toStrictEqual([]);
    expect(
      checkFile(
        "src/codec/a.ts",
        '/** A. */\nimport type { B } from "../config.ts";\nexport const a: B | undefined = undefined;',
      ),
    ).toEqual([]);
    expect(
      checkFile(
        "plugins/a.ts",
        '/** Date.now() and any. */\nexport const a = "process.exit";\nexport const b = { process: 1 }.process;',
      ),
    ).toEqual([]);
  });
});

describe("documentation", () => {
  const readme = read("README.md");
  const tests = [...files]
    .filter(([path]) => path.startsWith("test/"))
    .map(([, source]) => source)
    .join("\n");

  for (const path of list("plugins", ".ts")) {
    const name = path.replace(/^plugins\/|\.ts$/g, "");
    test(`plugin ${name} is on by default or not, documented, in the README's table, and tested`, () => {
      expect(defaultPlugins.map((plugin) => plugin.name as string)).toContain(name);
      expect(readme).toContain(`(docs/plugins/${name}.md)`);
      const page = read(`docs/plugins/${name}.md`);
      expect(page).toStartWith(`# ${name}\n\n`);
      expect(page).toContain(`--disable ${name}`);
      // By its name, or by what it brings. A setting of it in another plugin's test is no test of it.
      const uses = tests.replaceAll(new RegExp(`\\b${name}"?: (?:false|\\{)`, "g"), "");
      const isNamed = new RegExp(`\\b${name}\\b`).test(uses);
      expect(isNamed, `no test names ${name}`).toBe(true);
    });
  }

  test("every setting is in its plugin's page, with a meaning", () => {
    for (const setting of describeSettings(defaultPlugins)) {
      expect(setting.description.length, setting.path).toBeGreaterThan(10);
      if (setting.plugin !== undefined) expect(read(`docs/plugins/${setting.plugin}.md`)).toContain(setting.flag);
    }
  });

  test("every command says what it does and takes, how long it takes, since when, and is in its plugin's page", async () => {
    const node = await createNode({ world: createBunWorld({ logLevel: "silent" }) });
    const check = (command: Command): void => {
      const { summary, complexity, since } = command.specification;
      expect(summary, command.fullName).toMatch(/^[A-Z].*\.$/);
      expect(complexity.length, command.fullName).toBeGreaterThan(3);
      expect(since, command.fullName).toMatch(/^(bunch )?\d+\.\d+\.\d+$/);
      const usage = `${command.fullName.toUpperCase().replace("|", " ")} ${showSyntax(argumentsOf(command.specification))}`;
      if (command.subcommands === undefined)
        expect(read(`docs/plugins/${command.plugin}.md`)).toContain(`\`${usage.trimEnd().replaceAll("|", "\\|")}\``);
      for (const each of command.subcommands ?? []) check(each);
    };
    for (const command of node.dispatcher.commands) check(command);
  });

  test("every hook has a comment, and a row in the architecture", async () => {
    const node = await createNode({ world: createBunWorld({ logLevel: "silent" }) });
    const source = read("src/hooks.ts");
    const architecture = read("docs/architecture.md");
    for (const hook of Object.values(node.hooks).filter((value): value is Hook<unknown> => value instanceof Hook)) {
      expect(source).toMatch(new RegExp(`\\*/\\n {2}readonly ${hook.name}: `));
      expect(architecture).toContain(`\`${hook.name}\``);
    }
  });

  test("plugins' names are those of their files", () => {
    const names = defaultPlugins.map((plugin: Plugin) => `plugins/${plugin.name}.ts`);
    expect(names.toSorted()).toEqual(list("plugins", ".ts").toSorted());
  });

  test("versions are pinned, and no file names a place on somebody's machine", () => {
    const manifest = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
    for (const version of Object.values({ ...manifest["dependencies"], ...manifest["devDependencies"] }))
      expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    for (const [path, source] of files)
      if (!path.includes("tidy")) expect(/["'`](\/root|\/work|\/home)\//.test(source), path).toBe(false);
  });
});
