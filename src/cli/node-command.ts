/**
 * `bun run node`: one node as a process.
 *
 * 1. Settings: configuration file, environment, flags (each setting of the core and of every plugin is a flag).
 * 2. The node is made and started; where it listens is printed.
 * 3. SIGTERM and SIGINT stop it in order: no new commands, replies sent, exit 0. A second one ends it at once. For `bun start`, which may be
 *    killed, the end of standard input does as well.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import Table from "cli-table3";
import { Command, Option } from "commander";
import pc from "picocolors";
import {
  type Config,
  type ConfigLayer,
  type SettingDescription,
  describeSettings,
  readEnvironment,
  readText,
} from "../config.ts";
import { defaultPlugins } from "../default-plugins.ts";
import { ConfigError, StartError, messageOf } from "../errors.ts";
import { topologyService } from "../contracts/topology.ts";
import { type Node, createNode } from "../node.ts";
import { type Plugin, isPlugin } from "../plugin.ts";
import { type LogLevel, createBunWorld } from "../world-bun.ts";
import { lockDirectory } from "./directory-lock.ts";
import { failStart } from "./report.ts";

/** Read when no `--config` is given. */
const DEFAULT_CONFIG_FILE = "bunch.config.ts";

/** Variables of other parts of the project, which are no settings. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set([
  "BUNCH_STRICT",
  "BUNCH_STEPS",
  "BUNCH_SEED",
  "BUNCH_TEST_SEED",
  "BUNCH_REDIS_SERVER",
  "BUNCH_TOKEN",
]);

interface NodeFlags {
  readonly config?: string;
  readonly disable: readonly string[];
  readonly plugin: readonly string[];
  readonly plugins: boolean;
  readonly logLevel: LogLevel;
  readonly stopWithInput: boolean;
}

/** Makes the subcommand. */
export function nodeCommand(): Command {
  const command = new Command("node")
    .description("Runs one node. Alone, it owns all slots.")
    .option("--config <file>", `the configuration file (default: ${DEFAULT_CONFIG_FILE}, if there is one)`)
    .option("--disable <plugin>", "turns a plugin off; repeat it, or separate names by commas", collect, [])
    .option("--plugin <file>", "loads a plugin of your own; repeat it for more", collect, [])
    .option("--plugins", "prints the boot tree (plugins, what they provide and require, their hooks) and exits", false)
    .addOption(
      new Option("--log-level <level>", "the least level that is logged")
        .choices(["debug", "info", "warn", "error", "silent"])
        .default("info"),
    );
  command.addOption(new Option("--stop-with-input", "stops when standard input ends").default(false).hideHelp());
  for (const setting of describeSettings(defaultPlugins)) command.addOption(optionOf(setting));
  // Plugins of your own bring settings that are only known once they are loaded: their flags are read below.
  command.allowUnknownOption(true).allowExcessArguments(true);
  command.action(async (flags: NodeFlags, self: Command) => {
    try {
      await run(flags, self);
    } catch (thrown) {
      failStart(thrown);
    }
  });
  return command;
}

function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, ...value.split(",").filter((part) => part !== "")];
}

function optionOf(setting: SettingDescription): Option {
  const shownDefault = setting.defaultValue === undefined ? "" : ` (default: ${JSON.stringify(setting.defaultValue)})`;
  const option = new Option(
    setting.isBoolean ? `${setting.flag} [boolean]` : `${setting.flag} <value>`,
    `${setting.description}${shownDefault} [${setting.environment}]`,
  );
  return option.helpGroup(setting.plugin === undefined ? "Node:" : `Plugin ${setting.plugin}:`);
}

/** How often a node that does not serve yet looks whether what it waits for is still what it said last. */
const WAITING_MS = 2000;

async function run(flags: NodeFlags, command: Command): Promise<void> {
  const config = await loadConfig(flags.config);
  const plugins: Plugin[] = [];
  for (const file of flags.plugin) plugins.push(await loadPlugin(file));
  const known: readonly Plugin[] = [...defaultPlugins, ...(config.use ?? []), ...plugins];
  const layers = [
    readEnvironment(process.env, known, (name) => !OTHER_VARIABLES.has(name)),
    readFlags(command, flags, known),
  ];
  const dataDirectory = dataDirectoryOf(config, layers);
  const world = createBunWorld({
    logLevel: flags.logLevel,
    ...(dataDirectory === undefined ? {} : { dataDirectory: resolve(dataDirectory) }),
  });
  let isStopping = false;
  const node = await createNode({
    world,
    config,
    layers,
    plugins,
    onStopped: (fault) => process.exit(fault === undefined ? 0 : 1),
  });
  if (flags.plugins) {
    printBootTree(node);
    process.exit(0);
  }
  if (dataDirectory !== undefined) await lockDirectory(resolve(dataDirectory));
  await node.start();
  // Before it says that it is ready: who waits for that may stop it at once.
  const stop = (): void => {
    isStopping = true;
    node.stop().then(
      () => process.exit(0),
      (thrown: unknown) => failStart(thrown),
    );
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (isStopping) process.exit(1);
      stop();
    });
  }
  if (flags.stopWithInput) {
    process.stdin.resume().once("end", () => {
      if (!isStopping) stop();
    });
  }
  // Without the plugin that listens there is no such parameter.
  const port = node.parameters.get("port")?.get();
  const where = port === undefined ? "listens nowhere" : `listens on ${addressOf(node.core.host, port)}`;
  process.stdout.write(
    `${pc.green("ready")} node ${node.core.name ?? node.facts.id.slice(0, 8)} ${where} (id ${node.facts.id})\n`,
  );
  tellWhenServing(node);
}

/** Says that the node serves, or what it waits for until it does. */
function tellWhenServing(node: Node): void {
  const topology = node.service(topologyService);
  if (topology === undefined) return;
  const name = node.core.name ?? node.facts.id.slice(0, 8);
  let isTold = false;
  const look = (): void => {
    if (isTold || topology.waitingFor !== undefined) return;
    isTold = true;
    waiting.cancel();
    const { clusterId, nodes } = topology.map;
    const cluster = clusterId === "" ? "" : ` in cluster ${clusterId.slice(0, 8)}`;
    process.stdout.write(
      `${pc.green("serving")} node ${name} takes part${cluster} (${nodes.length} ${nodes.length === 1 ? "node" : "nodes"})\n`,
    );
  };
  let told: string | undefined;
  const waiting = node.world.clock.every(WAITING_MS, () => {
    const { waitingFor } = topology;
    if (waitingFor !== undefined && waitingFor !== told)
      process.stdout.write(`waiting node ${name} for ${waitingFor}\n`);
    told = waitingFor;
  });
  node.hooks.mapChanged.add("command line", look);
  look();
}

/** An address of IPv6 in brackets, so that the port stands apart. */
function addressOf(host: string, port: string): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The configuration file's default export. */
async function loadConfig(file: string | undefined): Promise<Config> {
  const path = resolve(file ?? DEFAULT_CONFIG_FILE);
  if (!existsSync(path)) {
    if (file === undefined) return {};
    throw new ConfigError(`Cannot read the configuration "${file}": there is no such file.`);
  }
  const value = await importDefault(path, `the configuration "${file ?? DEFAULT_CONFIG_FILE}"`);
  if (typeof value !== "object" || value === null) {
    throw new ConfigError(
      `The configuration "${file ?? DEFAULT_CONFIG_FILE}" has no default export: write "export default defineConfig({ ... })".`,
    );
  }
  const use: unknown = "use" in value ? value.use : undefined;
  if (use !== undefined && !(Array.isArray(use) && use.every((each: unknown) => isPlugin(each)))) {
    throw new ConfigError(
      `Setting "use" of the configuration "${file ?? DEFAULT_CONFIG_FILE}" must be a list of plugins, as "definePlugin" makes them.`,
    );
  }
  // Each of its other settings is checked against the schema.
  return value;
}

async function loadPlugin(file: string): Promise<Plugin> {
  const path = resolve(file);
  if (!existsSync(path)) throw new StartError(`Cannot load plugin "${file}": there is no such file.`);
  const value = await importDefault(path, `plugin "${file}"`);
  if (!isPlugin(value)) {
    throw new StartError(
      `Cannot load plugin "${file}": it has no plugin as its default export; write "export default definePlugin({ ... })".`,
    );
  }
  return value;
}

async function importDefault(path: string, what: string): Promise<unknown> {
  try {
    const module = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
    return module.default;
  } catch (thrown) {
    throw new StartError(`Cannot load ${what}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

/** The settings that flags give. */
function readFlags(command: Command, flags: NodeFlags, known: readonly Plugin[]): ConfigLayer {
  const values = new Map<string, { value: unknown; origin: string }>();
  for (const name of flags.disable) values.set(`plugins.${name}`, { value: false, origin: "--disable" });
  const given = command.opts<Record<string, unknown>>();
  const settings = describeSettings(known);
  const set = (setting: SettingDescription, text: string | true): void => {
    const value = text === true ? true : readText(setting, text, setting.flag, known);
    values.set(setting.path, { value, origin: setting.flag });
  };
  for (const setting of settings) {
    const text = given[camel(setting.flag)];
    if (typeof text === "string" || text === true) set(setting, text);
  }
  // What commander did not know: flags of plugins of one's own, and mistakes.
  const rest = [...command.args];
  while (rest.length > 0) {
    const word = rest.shift() ?? "";
    const [flag, inline] = word.split("=", 2);
    const setting = settings.find((each) => each.flag === flag);
    if (setting === undefined) {
      throw new StartError(
        `Unknown ${word.startsWith("-") ? "flag" : "argument"} "${word}": see "bun run node --help".`,
      );
    }
    const text = inline ?? (setting.isBoolean && (rest[0] ?? "--").startsWith("--") ? true : rest.shift());
    if (text === undefined) throw new StartError(`Flag ${setting.flag} needs a value: ${setting.wants}.`);
    set(setting, text);
  }
  return { origin: "flags", values };
}

/** `--max-clients` -> `maxClients`, as commander names it. */
function camel(flag: string): string {
  return flag.replace(/^--/, "").replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Needed before the node is made: the world has the disk. */
function dataDirectoryOf(config: Config, layers: readonly ConfigLayer[]): string | undefined {
  const value = [...layers].reverse().flatMap((layer) => layer.values.get("dataDir")?.value ?? [])[0] ?? config.dataDir;
  return typeof value === "string" ? value : undefined;
}

function printBootTree(node: Node): void {
  const table = new Table({
    head: ["plugin", "provides", "requires (uses)", "hooks", "commands", "ms"],
    style: { head: [], border: [] },
    wordWrap: true,
    colWidths: [20, 14, 24, 34, 10, 8],
  });
  for (const entry of node.bootTree()) {
    table.push([
      entry.plugin,
      entry.provides.join(", "),
      [...entry.requires, ...entry.uses.map(({ service, isThere }) => `(${service}${isThere ? "" : ": none"})`)].join(
        ", ",
      ),
      entry.hooks.map(({ hook, order }) => (order === "normal" ? hook : `${hook} ${order}`)).join(", "),
      String(entry.commands.length),
      entry.milliseconds.toFixed(1),
    ]);
  }
  process.stdout.write(`${table.toString()}\n`);
}
