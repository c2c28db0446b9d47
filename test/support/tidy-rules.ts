/**
 * The rules of the house that no tool knows, checked on the syntax tree, so that strings and comments do not fool them.
 *
 * A rule looks at one file and tells what is wrong, with the line and what to do. `test/unit/tidy.test.ts` runs them over the repository, and over
 * small bad snippets that each must be caught.
 */
import { builtinModules } from "node:module";
import { parseSync } from "oxc-parser";

export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly rule: string;
  readonly remedy: string;
}

/** Files that open the doors to the outside, or are the outside: everywhere else is simulated. */
const OUTSIDE = /^src\/(world-bun|world-bun-http|main)\.ts$|^src\/cli\//;
const SOURCE = /^(src|plugins)\//;
/** What nothing may touch behind the doors. */
const BANNED_GLOBALS = new Set([
  "Date",
  "performance",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "queueMicrotask",
  "Bun",
  "process",
  "console",
  "fetch",
  "crypto",
  "Deno",
]);
/** Engines differ in their last digits: the same seed would give two traces. */
const BANNED_MATH = new Set([
  "random",
  "log",
  "log2",
  "log10",
  "log1p",
  "exp",
  "expm1",
  "pow",
  "sin",
  "cos",
  "tan",
  "asin",
  "acos",
  "atan",
  "atan2",
  "sinh",
  "cosh",
  "tanh",
  "cbrt",
  "hypot",
]);
/** Names of the global object: what is banned by its own name is not to be had through these either. */
const GLOBAL_OBJECTS = new Set(["globalThis", "global", "window"]);
/** Names of it that are good for other things too: refused where something banned is taken from them. */
const AMBIGUOUS_GLOBAL_OBJECTS = new Set(["self"]);
/** Node's modules, which can be named with `node:` before them or without: `fs`, `fs/promises` ... */
const BUILTIN_MODULES = new Set(builtinModules);
/** Node's modules that are no I/O. */
const PURE_MODULES = new Set(["node:buffer", "node:crypto"]);
/** Of node:crypto, what does not draw random numbers. */
const PURE_CRYPTO = new Set(["createCipheriv", "createHash", "createHmac", "timingSafeEqual"]);
const LONGEST_FILE_LINES = 700;

/** A module's one name: `fs` and `node:fs` are the same; what is not Node's stays as it is. */
function moduleName(from: string): string {
  return BUILTIN_MODULES.has(from) && !from.includes(":") && from !== "bun" ? `node:${from}` : from;
}

interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly [key: string]: unknown;
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** A string field of a node, or of a node in a node's field. */
function text(node: unknown, ...path: readonly string[]): string {
  let value: unknown = node;
  for (const key of path) value = isNode(value) ? value[key] : undefined;
  return typeof value === "string" ? value : "";
}

/** Calls back for every node, with those that it lies in, the nearest last. */
function walk(
  node: unknown,
  visit: (node: SyntaxNode, parents: readonly SyntaxNode[]) => void,
  parents: readonly SyntaxNode[] = [],
): void {
  if (Array.isArray(node)) {
    for (const each of node) walk(each, visit, parents);
    return;
  }
  if (!isNode(node)) return;
  visit(node, parents);
  const inside = [...parents, node];
  for (const [key, value] of Object.entries(node))
    if (key !== "type" && typeof value === "object") walk(value, visit, inside);
}

/** An import of a module, as far as the rules care. */
export interface ImportOf {
  readonly from: string;
  readonly isTypeOnly: boolean;
  readonly names: readonly string[];
  readonly start: number;
}

/** The modules that a file imports or exports from. */
export function importsOf(path: string, source: string): readonly ImportOf[] {
  const found: ImportOf[] = [];
  walk(parseSync(path, source).program, (node) => {
    if (
      !["ImportDeclaration", "ExportNamedDeclaration", "ExportAllDeclaration", "ImportExpression"].includes(node.type)
    )
      return;
    const from = text(node, "source", "value");
    if (from === "") return;
    const specifiers = Array.isArray(node["specifiers"]) ? node["specifiers"].filter(isNode) : [];
    const kind = text(node, "importKind") || text(node, "exportKind");
    const isTypeOnly =
      kind === "type" || (specifiers.length > 0 && specifiers.every((each) => text(each, "importKind") === "type"));
    found.push({
      from,
      isTypeOnly,
      names: specifiers.map((each) => text(each, "imported", "name")),
      start: node.start,
    });
  });
  return found;
}

/** The file that a relative import means, from the repository's root. */
export function resolveImport(path: string, from: string): string {
  const parts = path.split("/").slice(0, -1);
  for (const part of from.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** Checks one file by all rules. */
export function checkFile(path: string, source: string): readonly Finding[] {
  const findings: Finding[] = [];
  const { program, comments } = parseSync(path, source);
  const lineOf = (start: number): number => source.slice(0, start).split("\n").length;
  const report = (start: number, rule: string, remedy: string): void =>
    void findings.push({ path, line: lineOf(start), rule, remedy });
  const isSource = SOURCE.test(path);
  const isInside = isSource && !OUTSIDE.test(path);

  // Layers.
  for (const { from, isTypeOnly, names, start } of importsOf(path, source)) {
    const isRelative = from.startsWith(".");
    if (isRelative && !/\.(ts|json)$/.test(from)) report(start, "relative imports name the file", `write "${from}.ts"`);
    const target = isRelative ? resolveImport(path, from) : from;
    if (path.startsWith("plugins/") && target.startsWith("plugins/"))
      report(start, "plugins never import plugins", "meet in a hook, a service or a contract");
    if (path.startsWith("src/") && target.startsWith("plugins/") && path !== "src/default-plugins.ts") {
      report(
        start,
        "src/ knows plugins in its default list alone",
        "import it in src/default-plugins.ts, or provide a service",
      );
    }
    if (/^src\/(protocol|codec|store)\//.test(path) && !isTypeOnly) {
      const isAllowed =
        /^src\/(protocol|codec|store)\//.test(target) ||
        target === "src/assert.ts" ||
        PURE_MODULES.has(target) ||
        target === "src/contracts/keyspace.ts";
      if (!isAllowed)
        report(
          start,
          "machines, codecs and the store import each other, assert and types",
          `do without ${from}, or pass it in`,
        );
    }
    const module = moduleName(from);
    if (isInside && module.startsWith("node:")) {
      if (!PURE_MODULES.has(module))
        report(start, "nothing but the world touches I/O", `take what ${from} does from the world`);
      if (module === "node:crypto")
        for (const name of names)
          if (!PURE_CRYPTO.has(name))
            report(start, "chance comes from the world", `use world.random instead of ${name}`);
    }
    if (isInside && (from === "bun" || from.startsWith("bun:")))
      report(start, "nothing but the world names Bun", "take it from the world");
  }

  walk(program, (node, parents) => {
    const parent = parents.at(-1);
    // The name of a property, whatever it is a property of, is not the thing itself.
    const isProperty =
      (parent?.type === "MemberExpression" && parent["property"] === node && parent["computed"] !== true) ||
      (["Property", "PropertyDefinition", "MethodDefinition", "TSPropertySignature", "TSMethodSignature"].includes(
        parent?.type ?? "",
      ) &&
        parent?.["key"] === node);
    if (isInside && node.type === "Identifier" && !isProperty && GLOBAL_OBJECTS.has(text(node, "name")))
      report(
        node.start,
        "nothing but the world takes things from the global object",
        `name what is meant without ${text(node, "name")}, or take it from the world`,
      );
    if (
      isInside &&
      node.type === "MemberExpression" &&
      AMBIGUOUS_GLOBAL_OBJECTS.has(text(node, "object", "name")) &&
      BANNED_GLOBALS.has(text(node, "property", "name") || text(node, "property", "value"))
    ) {
      report(
        node.start,
        "nothing but the world takes things from the global object",
        `take what ${text(node, "property", "name") || text(node, "property", "value")} does from the world`,
      );
    }
    if (isInside && node.type === "Identifier" && BANNED_GLOBALS.has(text(node, "name"))) {
      if (!isProperty)
        report(
          node.start,
          "nothing but the world touches clocks, timers, chance, processes or I/O",
          `take what ${text(node, "name")} does from the world`,
        );
    }
    if (
      isInside &&
      node.type === "MemberExpression" &&
      text(node, "object", "name") === "Math" &&
      BANNED_MATH.has(text(node, "property", "name"))
    ) {
      report(node.start, "arithmetic is the same on every engine", `do without Math.${text(node, "property", "name")}`);
    }
    if (node.type === "TSAnyKeyword") report(node.start, "no any", "use unknown, and narrow it");
    if (node.type === "TSNonNullExpression")
      report(node.start, "no non-null assertions", "use present() of src/assert.ts, or handle what is missing");
    if (node.type === "ExportDefaultDeclaration" && !/^(plugins|examples)\/|\.config\.ts$/.test(path))
      report(node.start, "default exports are for plugins and configurations", "give it a name");
    if (
      isSource &&
      node.type === "VariableDeclaration" &&
      ["let", "var"].includes(text(node, "kind")) &&
      ["Program", "ExportNamedDeclaration"].includes(parent?.type ?? "")
    ) {
      report(
        node.start,
        "no mutable state of a module: many nodes live in one process",
        "put it in what the node makes",
      );
    }
    if (
      isSource &&
      node.type === "NewExpression" &&
      ["Map", "Set", "WeakMap", "WeakSet"].includes(text(node, "callee", "name"))
    ) {
      const declarator = parents.findLast((each) => each.type === "VariableDeclarator");
      const isModuleLevel = !parents.some((each) => /Function|Class|Method|PropertyDefinition/.test(each.type));
      const name = text(declarator, "id", "name");
      if (isModuleLevel && new RegExp(`\\b${name}\\.(set|add|delete|clear)\\(`).test(source)) {
        report(
          node.start,
          "no mutable state of a module: many nodes live in one process",
          "put it in what the node makes",
        );
      }
    }
  });

  for (const comment of comments) {
    if (/@ts-(ignore|nocheck)/.test(comment.value)) report(comment.start, "no @ts-ignore", "mend the type");
    if (/@ts-expect-error/.test(comment.value) && !path.startsWith("test/types/") && !path.includes("tidy"))
      report(comment.start, "@ts-expect-error is for type tests", "mend the type");
    if (isSource && /\b(TODO|FIXME|XXX|HACK)\b/.test(comment.value))
      report(comment.start, "no markers of unfinished work", "finish it, or leave it out");
  }

  const body = isNode(program) && Array.isArray(program["body"]) ? program["body"].filter(isNode) : [];
  const isBarrel =
    body.length > 0 &&
    body.every(
      (node) =>
        ["ExportAllDeclaration", "ExportNamedDeclaration"].includes(node.type) && text(node, "source", "value") !== "",
    );
  if (isBarrel) report(0, "no files that only pass on others' exports", "import from where it is");
  // A test's names say what it is.
  if (!path.endsWith(".test.ts") && !/^(#!.*\n)?\/\*\*/.test(source))
    report(0, "a file begins with a comment that says what it is", "write one");
  if (!/^[a-z0-9-]+(\.test|\.config)?\.ts$/.test(path.split("/").at(-1) ?? ""))
    report(0, "files are named in kebab-case", "rename it");
  const lines = source.split("\n").length;
  if (isSource && lines > LONGEST_FILE_LINES)
    report(
      0,
      `a file that one can read in a sitting: at most ${LONGEST_FILE_LINES} lines`,
      `it has ${lines}: split it`,
    );
  return findings;
}

/** Circles of imports (types alone make none). */
export function findCycles(files: ReadonlyMap<string, string>): readonly (readonly string[])[] {
  const graph = new Map<string, readonly string[]>();
  for (const [path, source] of files) {
    const targets = importsOf(path, source).filter(({ from, isTypeOnly }) => from.startsWith(".") && !isTypeOnly);
    graph.set(
      path,
      targets.map(({ from }) => resolveImport(path, from)),
    );
  }
  const cycles: string[][] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      cycles.push([...trail.slice(trail.indexOf(path)), path]);
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles;
}
