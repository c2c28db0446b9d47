/**
 * Settings: how a node starts.
 *
 * They come from three places, the later ones winning: a configuration file (`bunch.config.ts`, `export default defineConfig({...})`), the
 * environment (`BUNCH_*`), and flags. One schema, put together from the core's part below and from each plugin's own, checks them all,
 * fills in defaults, and is what `--help` and the documentation are made of. An unknown or bad setting stops the start, with a sentence that
 * names the setting, where it came from, what it got and what it wants.
 *
 * A setting `port` of the core is `BUNCH_PORT` and `--port`; a setting `maxClients` of the plugin `resp` is `plugins: { resp: { maxClients } }`,
 * `BUNCH_RESP_MAX_CLIENTS` and `--resp-max-clients`.
 */
import { type Static, type TObject, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { ConfigError } from "./errors.ts";
import { ADDRESS_PATTERN } from "./net-address.ts";
import { SECRET_PATTERN, SECRET_WANTS } from "./protocol/link/secrets.ts";
import type { Plugin } from "./plugin.ts";

/** What an address or a host name is made of. Lines that clients parse by blanks and commas carry it. */
export const HOST_PATTERN = "^[A-Za-z0-9._:-]{1,253}$";

/** One or several, separated by commas. */
const HOSTS_PATTERN = "^[A-Za-z0-9._:-]{1,253}(,[A-Za-z0-9._:-]{1,253}){0,7}$";

/** The port for other nodes is so far above the one for clients, as in Redis, unless it is said. */
export const BUS_PORT_OFFSET = 10_000;

/** The port for HTTP is so far above the one for clients, unless it is said: 15500 for 6379. */
export const HTTP_PORT_OFFSET = 9121;

/** The settings of the node itself. */
export const coreSchema = Type.Object({
  name: Type.Optional(
    Type.String({
      description:
        "The node's name: in logs, in the map, and what its id is derived from when there is no data directory. No two nodes of a cluster have one.",
      pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
      examples: ["letters, digits, '.', '_' and '-', 64 at most"],
    }),
  ),
  host: Type.String({
    description:
      "The address that it listens on. With every address (0.0.0.0, ::) a node that is not alone needs announceHost. Anything but loopback wants a password and a cluster secret, or --insecure.",
    default: "127.0.0.1",
    pattern: HOST_PATTERN,
    examples: ["an address or a host name, such as 127.0.0.1, ::1 or localhost"],
  }),
  announcePort: Type.Optional(
    Type.Integer({
      description: "The port that clients are told to connect to. Default: the port that it listens on.",
      minimum: 1,
      maximum: 65535,
    }),
  ),
  announceBusPort: Type.Optional(
    Type.Integer({
      description: "The port that other nodes are told to connect to. Default: the one that it listens on.",
      minimum: 1,
      maximum: 65535,
    }),
  ),
  announceHost: Type.Optional(
    Type.String({
      description:
        "The address or host name that clients are told to connect to; more of them, separated by commas, are told beside it. Default: the host that it listens on; if that is every address, the one that the client has reached.",
      pattern: HOSTS_PATTERN,
      examples: ["an address or a host name, or several, separated by commas"],
    }),
  ),
  announceBusHost: Type.Optional(
    Type.String({
      description:
        "The address or host name that other nodes are told to connect to; of several, separated by commas, the next one is tried when one fails. Default: what clients are told.",
      pattern: HOSTS_PATTERN,
      examples: ["an address or a host name, or several, separated by commas"],
    }),
  ),
  port: Type.Integer({
    description: "The port for clients (RESP). 0 lets the machine choose.",
    default: 6379,
    minimum: 0,
    maximum: 65535,
  }),
  busPort: Type.Optional(
    Type.Integer({
      description: "The port for other nodes. Default: the client port + 10000.",
      minimum: 1,
      maximum: 65535,
    }),
  ),
  join: Type.Optional(
    Type.String({
      description:
        "Where a cluster is looked for: bus addresses of nodes, HOST:BUSPORT, separated by commas. Some may be down, or be this node's own. Without --bootstrap-expect this node founds none by itself, and waits until one is there.",
      pattern: `^${ADDRESS_PATTERN}(,${ADDRESS_PATTERN})*$`,
      examples: ["bus addresses, such as 10.0.0.1:16379,10.0.0.2:16379 (the bus port is the client port + 10000)"],
    }),
  ),
  bootstrapExpect: Type.Optional(
    Type.Integer({
      description:
        "How many nodes found the first cluster together, each started with this number and with --join: once all know each other, and all say that they belong to none, the slots are divided among them. Where there is a cluster already it is joined, so that the flag may stay. 1: this node founds alone, once all of --join but itself have said that there is no cluster.",
      minimum: 1,
      maximum: 1000,
    }),
  ),
  replicas: Type.Integer({
    description: "With --bootstrap-expect: how many replicas each primary gets.",
    default: 0,
    minimum: 0,
    maximum: 10,
  }),
  replicaOf: Type.Optional(
    Type.String({
      description:
        "With --join: the shard whose replica this node becomes once it is in the cluster: a shard's id, or the id or the name of a node of it; or auto: the one with the fewest replicas whose primary is on another host. A node that comes back with slots, or as a replica, stays what it is. Default: it comes in as a primary without slots.",
      pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
      wants: "auto, the id of a shard, or the id or name of a node of it",
    }),
  ),
  empty: Type.Boolean({
    description: "Starts without slots, and waits to be met by a cluster, or to be given slots.",
    default: false,
  }),
  zone: Type.String({
    description: "Where this node stands: voters, and the copies of a shard, are spread over zones.",
    default: "",
    maxLength: 64,
  }),
  witness: Type.Boolean({
    description: "This node votes on the cluster map and holds no data. It needs a data directory.",
    default: false,
  }),
  dataDir: Type.Optional(
    Type.String({
      description:
        "The directory of what must outlive the process: the node's identity, and the log of the cluster map. Default: none, everything is in memory, and each start is another member.",
      minLength: 1,
    }),
  ),
  password: Type.Optional(
    Type.String({
      description: "What clients must give with AUTH or HELLO. Default: none is asked for.",
      minLength: 1,
      isSecret: true,
    }),
  ),
  secret: Type.Optional(
    Type.String({
      description:
        "The cluster's secret: nodes prove to each other that they know it. A command line is seen by everybody on the machine: better in a file, or in the environment. Default: none, and any node is taken for one of the cluster.",
      pattern: SECRET_PATTERN,
      wants: `a secret: ${SECRET_WANTS}`,
      isSecret: true,
    }),
  ),
  secretFile: Type.Optional(
    Type.String({
      description:
        "A file with the cluster's secret on its first line, instead of `secret`. A second line may hold another one that is accepted too, while the secret is being changed.",
      minLength: 1,
    }),
  ),
  insecure: Type.Boolean({
    description: "Allows to listen off loopback without a password and without a cluster secret.",
    default: false,
  }),
  pluginTimeoutMs: Type.Integer({
    description: "How long one plugin may take to set up, to start, or to stop, in milliseconds.",
    default: 10_000,
    minimum: 1,
  }),
});

export type CoreSettings = Static<typeof coreSchema>;

/** What a user may write for a plugin: off, on, or settings (which turn it on). */
type PluginChoice<Settings extends TObject> = boolean | Partial<Static<Settings>>;

/** Settings of plugins by name; those in `Plugins` are typed. */
export type PluginChoices<Plugins extends Plugin = never> = {
  readonly [Each in Plugins as Each["name"]]?: Each extends Plugin<string, infer Settings>
    ? PluginChoice<Settings>
    : never;
} & Readonly<Record<string, boolean | Readonly<Record<string, unknown>>>>;

/** What a configuration file exports. `Plugins`: the plugins whose settings are to be typed. */
export interface Config<Plugins extends Plugin = Plugin> extends Partial<CoreSettings> {
  readonly plugins?: PluginChoices<Plugins>;
  /** Plugins of your own, beside the default ones. */
  readonly use?: readonly Plugin[];
}

/** Where a value came from, for messages: `--port`, `BUNCH_PORT`, `bunch.config.ts`. */
type Origins = ReadonlyMap<string, string>;

/** Settings of one place, before they are checked: by path, such as `port` or `plugins.resp.maxClients`. */
export interface ConfigLayer {
  readonly origin: string;
  readonly values: ReadonlyMap<string, { readonly value: unknown; readonly origin: string }>;
}

/** What a node starts from. */
export interface ResolvedConfig {
  readonly core: CoreSettings;
  /** The plugins that are on. */
  readonly plugins: readonly Plugin[];
  /** Plugins that are known and off: named when somebody misses what they provide. */
  readonly off: readonly Plugin[];
  /** Settings of each plugin that is on. */
  readonly settings: ReadonlyMap<string, unknown>;
}

/** A setting as help and documentation show it. */
export interface SettingDescription {
  /** `port`, or `resp.maxClients`. */
  readonly path: string;
  readonly plugin: string | undefined;
  readonly flag: string;
  readonly environment: string;
  readonly description: string;
  readonly defaultValue: unknown;
  readonly isBoolean: boolean;
  /** What it takes, in words. */
  readonly wants: string;
}

/** A size in bytes: a whole number, or text such as `64mb` (kb, mb, gb are powers of 1024; k, m, g of 1000, as in redis.conf). */
export function byteSize(options: {
  readonly description: string;
  readonly default?: number | string;
}): TSchema & { static: number | string } {
  return Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern: BYTE_SIZE.source })], {
    ...options,
    wants: "a size in bytes, such as 1048576, 64mb or 2gb",
  });
}

const BYTE_SIZE = /^[0-9]{1,15}([bB]|[kKmMgG][bB]?)?$/;
const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1000,
  kb: 1024,
  m: 1000 ** 2,
  mb: 1024 ** 2,
  g: 1000 ** 3,
  gb: 1024 ** 3,
};

/**
 * Reads a size in bytes.
 *
 * @param text As `byteSize` takes it.
 * @returns Bytes, or `undefined` if it is no size.
 */
export function parseByteSize(text: string | number): number | undefined {
  if (typeof text === "number") return Number.isSafeInteger(text) && text >= 0 ? text : undefined;
  if (!BYTE_SIZE.test(text)) return undefined;
  const digits = /^[0-9]+/.exec(text)?.[0] ?? "";
  const bytes = Number(digits) * (UNITS[text.slice(digits.length).toLowerCase()] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `maxClients` -> `max-clients`. */
function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Every setting of the core and of some plugins. */
export function describeSettings(plugins: readonly Plugin[]): readonly SettingDescription[] {
  const describe = (schema: TObject, plugin: string | undefined): SettingDescription[] =>
    Object.entries<TSchema>(schema.properties).map(([name, property]) => {
      const flag = plugin === undefined ? kebab(name) : `${plugin}-${kebab(name)}`;
      return {
        path: plugin === undefined ? name : `plugins.${plugin}.${name}`,
        plugin,
        flag: `--${flag}`,
        environment: `BUNCH_${flag.replaceAll("-", "_").toUpperCase()}`,
        description: property.description ?? "",
        defaultValue: property["default"] as unknown,
        isBoolean: property["type"] === "boolean",
        wants: wantsOf(property),
      };
    });
  return [...describe(coreSchema, undefined), ...plugins.flatMap((plugin) => describe(plugin.settings, plugin.name))];
}

/**
 * Reads the settings that an environment has.
 *
 * @param environment Names and values; those that do not begin with `BUNCH_` are not looked at.
 * @param isOurs Whether a name is somebody else's business (`BUNCH_STRICT` of the tests, say).
 * @throws {ConfigError} If a name means nothing, or a value cannot be read.
 */
export function readEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  plugins: readonly Plugin[],
  isOurs: (name: string) => boolean = () => true,
): ConfigLayer {
  const known = new Map(describeSettings(plugins).map((setting) => [setting.environment, setting]));
  const values = new Map<string, { value: unknown; origin: string }>();
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith("BUNCH_") || text === undefined || !isOurs(name)) continue;
    const setting = known.get(name);
    if (setting === undefined)
      throw new ConfigError(`Unknown setting ${name} in the environment.${suggest(name, known.keys())}`);
    values.set(setting.path, { value: readText(setting, text, name, plugins), origin: name });
  }
  return { origin: "the environment", values };
}

/**
 * Reads one setting from text, as flags and the environment give it.
 *
 * @param origin How to name the place in a message.
 * @throws {ConfigError} If the text is not of the setting's type.
 */
export function readText(
  setting: SettingDescription,
  text: string,
  origin: string,
  plugins: readonly Plugin[],
): unknown {
  const schema = schemaOf(setting, plugins);
  for (const kind of schema["anyOf"] === undefined ? [schema] : (schema["anyOf"] as TSchema[])) {
    const value = readAs(kind, text);
    if (value !== undefined && (schema["anyOf"] === undefined || Value.Check(kind, value))) return value;
  }
  throw new ConfigError(`Setting "${setting.path}" is "${text}" (from ${origin}), but it must be ${setting.wants}.`);
}

function readAs(schema: TSchema, text: string): unknown {
  switch (schema["type"]) {
    case "integer":
    case "number":
      return /^-?[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : undefined;
    case "boolean":
      if (/^(true|yes|on|1)$/i.test(text)) return true;
      return /^(false|no|off|0)$/i.test(text) ? false : undefined;
    case "array":
    case "object":
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return undefined;
      }
    default:
      return text;
  }
}

/** The settings of a configuration file's (or a program's) object. @throws {ConfigError} If it is not of the right form. */
export function readObject(config: Config, origin: string): ConfigLayer {
  const values = new Map<string, { value: unknown; origin: string }>();
  for (const [name, value] of Object.entries(config)) {
    if (name === "use" || value === undefined) continue;
    if (name !== "plugins") {
      values.set(name, { value, origin });
      continue;
    }
    if (typeof value !== "object" || value === null)
      throw new ConfigError(`Setting "plugins" (from ${origin}) must be an object of plugin names.`);
    for (const [plugin, choice] of Object.entries(value as Readonly<Record<string, unknown>>)) {
      if (typeof choice === "boolean") {
        values.set(`plugins.${plugin}`, { value: choice, origin });
      } else if (typeof choice === "object" && choice !== null) {
        values.set(`plugins.${plugin}`, { value: true, origin });
        for (const [setting, of] of Object.entries(choice))
          values.set(`plugins.${plugin}.${setting}`, { value: of, origin });
      } else {
        throw new ConfigError(
          `Setting "plugins.${plugin}" (from ${origin}) must be true, false, or an object of settings.`,
        );
      }
    }
  }
  return { origin, values };
}

/**
 * Puts layers together, checks them, and fills in defaults.
 *
 * @param known Every plugin there is, default ones and the user's.
 * @param layers From the weakest to the strongest.
 * @throws {ConfigError} At the first setting that is unknown or bad.
 */
export function resolveConfig(known: readonly Plugin[], layers: readonly ConfigLayer[]): ResolvedConfig {
  const byName = new Map<string, Plugin>();
  for (const plugin of known) {
    if (byName.has(plugin.name))
      throw new ConfigError(`There are two plugins named "${plugin.name}": rename one, or load one.`);
    byName.set(plugin.name, plugin);
  }
  const coreValues: Record<string, unknown> = {};
  const pluginValues = new Map<string, Record<string, unknown>>(known.map((plugin) => [plugin.name, {}]));
  const isOn = new Map<string, boolean>(known.map((plugin) => [plugin.name, plugin.isOnByDefault]));
  const origins = new Map<string, string>();
  for (const layer of layers) {
    for (const [path, { value, origin }] of layer.values) {
      origins.set(path, origin);
      const [head, plugin, setting] = path.split(".");
      if (head !== "plugins" || plugin === undefined) {
        if (!Object.hasOwn(coreSchema.properties, path)) {
          throw new ConfigError(
            `Unknown setting "${path}" (from ${origin}).${suggest(path, Object.keys(coreSchema.properties))}`,
          );
        }
        coreValues[path] = value;
      } else {
        const found = byName.get(plugin);
        if (found === undefined)
          throw new ConfigError(`Unknown plugin "${plugin}" (from ${origin}).${suggest(plugin, byName.keys())}`);
        if (setting === undefined) isOn.set(plugin, value === true);
        else if (Object.hasOwn(found.settings.properties, setting)) (pluginValues.get(plugin) ?? {})[setting] = value;
        else {
          throw new ConfigError(
            `Unknown setting "${path}" (from ${origin}).${suggest(setting, Object.keys(found.settings.properties))}`,
          );
        }
      }
    }
  }
  const core = check(coreSchema, coreValues, "", origins);
  const plugins = known.filter((plugin) => isOn.get(plugin.name) === true);
  const settings = new Map<string, unknown>();
  for (const plugin of plugins) {
    settings.set(
      plugin.name,
      check(plugin.settings, pluginValues.get(plugin.name) ?? {}, `plugins.${plugin.name}.`, origins),
    );
  }
  return { core, plugins, off: known.filter((plugin) => isOn.get(plugin.name) !== true), settings };
}

function check<Schema extends TObject>(
  schema: Schema,
  values: Record<string, unknown>,
  prefix: string,
  origins: Origins,
): Static<Schema> {
  const filled: unknown = Value.Default(schema, Value.Clone(values));
  const error = Value.Errors(schema, filled).First();
  if (error !== undefined) {
    const [, name = ""] = error.path.split("/");
    const properties: Readonly<Record<string, TSchema>> = schema.properties;
    const property = properties[name];
    const path = `${prefix}${name}`;
    const isSecret = property?.["isSecret"] === true;
    const got = values[name] === undefined ? "missing" : isSecret ? "not shown" : JSON.stringify(values[name]);
    const deeper = error.path === `/${name}` ? "" : ` (at ${error.path}: ${error.message})`;
    const origin = origins.get(path);
    throw new ConfigError(
      `Setting "${path}" is ${got}${origin === undefined ? "" : ` (from ${origin})`}, but it must be ${property === undefined ? error.message : wantsOf(property)}${deeper}.`,
    );
  }
  return filled as Static<Schema>;
}

function schemaOf(setting: SettingDescription, plugins: readonly Plugin[]): TSchema {
  const schema =
    setting.plugin === undefined ? coreSchema : plugins.find((plugin) => plugin.name === setting.plugin)?.settings;
  const properties: Readonly<Record<string, TSchema>> = schema?.properties ?? {};
  const property = properties[setting.path.split(".").at(-1) ?? ""];
  if (property === undefined) throw new ConfigError(`Unknown setting "${setting.path}".`);
  return property;
}

/** What a schema takes, in words. */
function wantsOf(schema: TSchema): string {
  if (typeof schema["wants"] === "string") return schema["wants"];
  if (Array.isArray(schema["anyOf"])) return (schema["anyOf"] as TSchema[]).map((each) => wantsOf(each)).join(", or ");
  if (schema["const"] !== undefined) return JSON.stringify(schema["const"]);
  const { minimum, maximum, examples } = schema as { minimum?: number; maximum?: number; examples?: unknown[] };
  const range =
    minimum !== undefined && maximum !== undefined
      ? ` from ${minimum} to ${maximum}`
      : minimum !== undefined
        ? ` of at least ${minimum}`
        : maximum !== undefined
          ? ` of at most ${maximum}`
          : "";
  switch (schema["type"]) {
    case "integer":
      return `a whole number${range}`;
    case "number":
      return `a number${range}`;
    case "boolean":
      return "true or false";
    case "string":
      return typeof examples?.[0] === "string" ? `text: ${examples[0]}` : "text that is not empty";
    case "array":
      return "a list";
    default:
      return "an object";
  }
}

/** " Did you mean ...?", if one of the names is near. */
function suggest(name: string, names: Iterable<string>): string {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of names) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best === undefined ? "" : ` Did you mean "${best}"?`;
}

/** Letters to add, drop or change to get from one word to the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
