/**
 * Writes `docs/plugins/<name>.md` from the plugins themselves: the header comment of the file, its services, settings, commands, parameters and hooks as
 * a node has them at runtime. So the pages say what the code does.
 *
 *     bun run docs           writes the pages, and the table in README.md
 *     bun run docs --check   exits with 1 if one of them is not as it would be written
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { argumentsOf, showSyntax } from "../src/command-syntax.ts";
import type { Command } from "../src/command-table.ts";
import { describeSettings } from "../src/config.ts";
import { defaultPlugins } from "../src/default-plugins.ts";
import { type BootTreeEntry, type Node, createNode } from "../src/node.ts";
import type { Plugin } from "../src/plugin.ts";
import { createBunWorld } from "../src/world-bun.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const TABLE_START = "<!-- plugins: written by `bun run docs` -->";
const TABLE_END = "<!-- end of plugins -->";

/** A file's text, or nothing. */
function read(path: string): string {
  try {
    return readFileSync(join(ROOT, path), "utf8");
  } catch {
    return "";
  }
}

/** The paragraphs of a file's first comment, the first one without the plugin's name. */
export function headerOf(source: string, name: string): readonly string[] {
  const comment = /^\/\*\*([\s\S]*?)\*\//.exec(source)?.[1] ?? "";
  const lines = comment.split("\n").map((line) => line.replace(/^ ?\* ?/, "").trimEnd());
  const paragraphs = lines.join("\n").trim().split(/\n\n+/);
  return paragraphs.map((paragraph, index) => {
    const isList = /^(\d+\.|-) /m.test(paragraph);
    const text = isList ? paragraph : paragraph.replaceAll("\n", " ");
    const bare = index === 0 ? text.replace(new RegExp(`^${name}: `), "") : text;
    return index === 0 ? bare.charAt(0).toUpperCase() + bare.slice(1) : bare;
  });
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const escape = (cell: string): string => cell.replaceAll("|", "\\|").replaceAll("\n", " ");
  const line = (cells: readonly string[]): string => `| ${cells.map(escape).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function* withSubcommands(command: Command): Generator<Command> {
  yield command;
  for (const each of command.subcommands ?? []) yield* withSubcommands(each);
}

const link = (names: readonly string[]): string =>
  names.length === 0 ? "none" : names.map((name) => `\`${name}\``).join(", ");

/** One page. */
function page(plugin: Plugin, entry: BootTreeEntry, node: Node): string {
  const parts = [`# ${plugin.name}`, ...headerOf(read(`plugins/${plugin.name}.ts`), plugin.name)];

  const hooks = [
    ...new Set(entry.hooks.map(({ hook, order }) => (order === "normal" ? `\`${hook}\`` : `\`${hook}\` (${order})`))),
  ];
  parts.push(
    "## Services and hooks",
    [
      `- Provides: ${link(entry.provides)}`,
      `- Requires: ${link(entry.requires)}`,
      `- Uses, if it is there: ${link(entry.uses.map(({ service }) => service))}`,
      `- Listens to: ${hooks.length === 0 ? "none" : hooks.join(", ")}`,
    ].join("\n"),
  );

  const settings = describeSettings([plugin]).filter((setting) => setting.plugin === plugin.name);
  if (settings.length > 0) {
    parts.push(
      "## Settings",
      table(
        ["setting", "flag", "environment", "default", "meaning"],
        settings.map((setting) => [
          `\`${setting.path.split(".").at(-1) ?? ""}\``,
          `\`${setting.flag}\``,
          `\`${setting.environment}\``,
          setting.defaultValue === undefined ? "none" : `\`${JSON.stringify(setting.defaultValue)}\``,
          setting.description,
        ]),
      ),
    );
  }

  const commands = [...node.dispatcher.commands]
    .flatMap((command) => Array.from(withSubcommands(command)))
    .filter((command) => command.plugin === plugin.name)
    // A container without subcommands of its own meaning is told by them.
    .filter((command) => command.subcommands === undefined || command.specification.name === "command");
  if (commands.length > 0) {
    parts.push(
      "## Commands",
      table(
        ["command", "what it does", "complexity", "since"],
        commands.map((command) => [
          `\`${`${command.fullName.toUpperCase().replace("|", " ")} ${showSyntax(argumentsOf(command.specification))}`.trim()}\``,
          command.specification.summary,
          command.specification.complexity,
          command.specification.since,
        ]),
      ),
    );
  }

  const parameters = node.parameters
    .list()
    .filter((parameter) => node.parameters.ownerOf(parameter.name) === plugin.name);
  if (parameters.length > 0) {
    parts.push(
      "## Parameters",
      table(
        ["CONFIG GET", "CONFIG SET"],
        parameters.map((parameter) => [`\`${parameter.name}\``, parameter.set === undefined ? "read only" : "yes"]),
      ),
    );
  }

  const dependents = defaultPlugins
    .filter((other) => other.requires.some((token) => plugin.provides.includes(token)))
    .map((other) => other.name);
  const swap =
    plugin.provides.length === 0
      ? ""
      : ` To swap it, turn it off and load a plugin that provides ${link(plugin.provides.map((token) => token.name))}.`;
  const rest =
    dependents.length === 0
      ? "Everything else goes on without it."
      : `What requires it must then be off as well, or have another provider: ${link(dependents)}.`;
  parts.push(
    "## Turning it off",
    `\`--disable ${plugin.name}\`, or \`plugins: { "${plugin.name}": false }\` in the configuration. ${rest}${swap}`,
  );
  return `${parts.join("\n\n")}\n`;
}

const node = await createNode({ world: createBunWorld({ logLevel: "silent" }) });
const tree = node.bootTree();
const wanted = new Map<string, string>();
for (const plugin of defaultPlugins) {
  const entry = tree.find((each) => each.plugin === plugin.name);
  if (entry !== undefined) wanted.set(`docs/plugins/${plugin.name}.md`, page(plugin, entry, node));
}
const rows = defaultPlugins.map((plugin: Plugin) => [
  `[${plugin.name}](docs/plugins/${plugin.name}.md)`,
  plugin.summary,
  plugin.provides.map((token) => `\`${token.name}\``).join(", "),
  plugin.requires.map((token) => `\`${token.name}\``).join(", "),
]);
const readme = read("README.md");
const start = readme.indexOf(TABLE_START);
const end = readme.indexOf(TABLE_END);
if (start >= 0 && end > start) {
  const written = `${TABLE_START}\n\n${table(["plugin", "what it does", "provides", "requires"], rows)}\n\n`;
  wanted.set("README.md", readme.slice(0, start) + written + readme.slice(end));
}

/** Tables that a formatter has aligned are the same tables. */
const bare = (text: string): string =>
  text
    .replaceAll(/[ \t]+/g, " ")
    .replaceAll(/-{3,}/g, "---")
    .replaceAll(/\n+/g, "\n")
    .trim();
let stale = 0;
for (const [path, text] of wanted) {
  if (bare(read(path)) === bare(text)) continue;
  stale += 1;
  if (process.argv.includes("--check"))
    process.stdout.write(`${path} is not what the plugins say: run "bun run docs"\n`);
  else writeFileSync(join(ROOT, path), text);
}
process.stdout.write(`${wanted.size} pages, ${stale} ${process.argv.includes("--check") ? "stale" : "written"}\n`);
process.exit(process.argv.includes("--check") && stale > 0 ? 1 : 0);
