/**
 * Plugins: how a feature becomes part of a node.
 *
 * A plugin is one file with one default export, made by `definePlugin`. It says what it is called, which services it requires, uses and
 * provides, and what can be set; `setup` then gets all of that, typed, and hangs the plugin's handlers and commands into the node. The
 * compiler refuses a plugin that asks for a service which it did not declare, or does not return one that it promised; the loader refuses
 * one whose requirements nobody meets.
 */
import { type Static, type TObject, Type } from "@sinclair/typebox";
import type { ClientTable } from "./client.ts";
import type { ClientPasswords } from "./client-passwords.ts";
import type { CommandSpecification } from "./contracts/commands.ts";
import type { CoreSettings } from "./config.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { HoldRoom } from "./held-commands.ts";
import type { Hook, HookOrder } from "./hook.ts";
import type { Hooks } from "./hooks.ts";
import type { Identity } from "./identity.ts";
import type { BootTreeEntry } from "./node.ts";
import type { Parameter, ParameterTable } from "./parameter-table.ts";
import type { ReplyGate } from "./reply-gate.ts";
import type { ServiceOf, ServiceToken } from "./service.ts";
import type { Timer, World } from "./world.ts";

/** Services by the names that a plugin gives them for itself. */
export type Tokens = Readonly<Record<string, ServiceToken<unknown>>>;

/** What stands behind tokens. */
export type Services<Needed extends Tokens> = { readonly [Name in keyof Needed]: ServiceOf<Needed[Name]> };

/** What stands behind tokens that nobody may provide. */
export type OptionalServices<Needed extends Tokens> = {
  readonly [Name in keyof Needed]: ServiceOf<Needed[Name]> | undefined;
};

/** What `setup` must return: an implementation for each service that was promised, and nothing if there is none. */
export type Provided<Promised extends Tokens> = keyof Promised extends never ? void : Services<Promised>;

/** Facts about the node. Those of its identity change when it is reset; the others do not while it runs. */
export interface NodeFacts extends Identity {
  /** 40 hexadecimal digits. Not to be kept: `CLUSTER RESET HARD` gives the node another one. */
  readonly id: string;
  readonly version: string;
  /** Another 40 digits, new at each start (`run_id` in Redis). */
  readonly runId: string;
  /** `monotonicMs` of the start. */
  readonly startedAtMs: number;
}

/** What a plugin has of its node, whatever it declared. */
export interface NodeContext {
  readonly node: NodeFacts;
  readonly world: World;
  readonly hooks: Hooks;
  readonly clients: ClientTable;
  /** What clients must give to be let in. */
  readonly passwords: ClientPasswords;
  readonly dispatcher: Dispatcher;
  /** What replies wait at that depend on keys. */
  readonly replyGate: ReplyGate;
  /** Where commands wait that are held back. */
  readonly holdRoom: HoldRoom;
  readonly parameters: ParameterTable;
  /** The settings of the node itself. */
  readonly core: CoreSettings;
  /** Every plugin of the node, once they are set up, with what it has hung into it. */
  bootTree(): readonly BootTreeEntry[];
  /** Adds a handler to a hook, in this plugin's name. @returns A function that takes it away again. */
  on<Run>(hook: Hook<Run>, run: Run, options?: { readonly order?: HookOrder }): () => void;
  /** Adds a command. */
  command(specification: CommandSpecification): void;
  /**
   * Adds a subcommand to a container which another plugin adds, before or after. If none does, there is no such command.
   *
   * @param container The container's name, such as `cluster`.
   */
  subcommand(container: string, specification: CommandSpecification): void;
  /** Adds a parameter of `CONFIG GET` and `SET`. */
  parameter(parameter: Parameter): void;
  /** As `world.clock.every`; ends by itself when the node stops. */
  every(periodMs: number, callback: () => void): Timer;
  /**
   * Makes the node one that was reset, durably: see `Identity`.
   *
   * @param id From here on; the one that it has, or another.
   * @param left Who it was in the group that it has left, and the cluster that it moves to, if it is not one by itself.
   */
  resetIdentity(id: string, left: Pick<Identity, "leftPeer" | "joining">): Promise<void>;
  /** Stops the node at once: an invariant is broken. */
  fault(error: unknown): void;
  /** Whether one has: what this node holds counts no more, and nobody is to take it over. */
  isFaulty(): boolean;
  /** Has a callback called when one has, before anything else runs: what goes on by itself (what is sent, a lease) ends with that, and not when the node has stopped. */
  onFault(callback: () => void): void;
  /** Makes a handler of one that must not fail by half, with the node going on as if nothing were: whatever it throws is a fault. */
  vital<Args extends readonly unknown[]>(run: (...args: Args) => void): (...args: Args) => void;
  /** Stops the node in order, as SIGTERM does. */
  shutdown(): void;
}

/** What `setup` gets. */
export interface PluginContext<
  Required extends Tokens,
  Used extends Tokens,
  Settings extends TObject,
> extends NodeContext {
  /** The services that the plugin requires. */
  readonly requires: Services<Required>;
  /** Those that it uses if they are there. */
  readonly uses: OptionalServices<Used>;
  /** The plugin's settings, checked, defaults filled in. */
  readonly settings: Static<Settings>;
}

/** What the loader gives to a plugin: everything, by token. */
export interface PluginHost extends NodeContext {
  readonly settings: unknown;
  find<Service>(token: ServiceToken<Service>): Service | undefined;
  provide<Service>(token: ServiceToken<Service>, service: Service): void;
}

/** A plugin, as the loader sees it. Made by `definePlugin`. */
export interface Plugin<Name extends string = string, Settings extends TObject = TObject> {
  readonly name: Name;
  readonly summary: string;
  readonly requires: readonly ServiceToken<unknown>[];
  readonly uses: readonly ServiceToken<unknown>[];
  readonly provides: readonly ServiceToken<unknown>[];
  readonly settings: Settings;
  /** Whether it is on unless somebody turns it off. */
  readonly isOnByDefault: boolean;
  boot(host: PluginHost): Promise<void>;
}

/** Whether what a file exports is what `definePlugin` makes. */
export function isPlugin(value: unknown): value is Plugin {
  if (typeof value !== "object" || value === null) return false;
  return "name" in value && "settings" in value && "boot" in value && typeof value.boot === "function";
}

/** What a plugin says of itself. */
export interface PluginDefinition<
  Name extends string,
  Required extends Tokens,
  Used extends Tokens,
  Promised extends Tokens,
  Settings extends TObject,
> {
  /** Kebab-case, as the file. Names it in errors, in settings, in `--disable`. */
  readonly name: Name;
  /** One sentence. */
  readonly summary: string;
  /** Services without which it does not load. */
  readonly requires?: Required;
  /** Services that it works with if they are there. They are set up before it. */
  readonly uses?: Used;
  /** Services that it provides. */
  readonly provides?: Promised;
  /** Its settings: a TypeBox object in which each property has a `description`, and a `default` or is optional. */
  readonly settings?: Settings;
  /** False for a plugin that must be asked for. Default: true. */
  readonly isOnByDefault?: boolean;
  /** Wires it. Ports are opened, timers started in the hook `start`, not here. */
  readonly setup: (
    context: PluginContext<Required, Used, Settings>,
  ) => Provided<NoInfer<Promised>> | Promise<Provided<NoInfer<Promised>>>;
}

// The type of "none" for each of the four, so that a plugin which leaves one out gets an empty object instead of an index signature.
// oxlint-disable-next-line typescript/no-generated-empty-object-type -- an object without properties is just what is meant
type None = Readonly<Record<never, never>>;
const noSettings = Type.Object({});

/**
 * Defines a plugin.
 *
 * @param definition What it is called, needs, provides, and does.
 * @returns The plugin: the file's default export.
 * @example
 * ```ts
 * export default definePlugin({
 *   name: "greeter",
 *   summary: "Adds GREET, which greets.",
 *   setup(context) {
 *     context.command({
 *       name: "greet", syntax: "name", arity: 2, flags: ["fast"], group: "connection", summary: "Greets by name.", complexity: "O(1)", since: "bunch 0.1.0",
 *       run: (call) => call.reply.bulkText(`Hello, ${call.text(1)}!`),
 *     });
 *   },
 * });
 * ```
 */
export function definePlugin<
  const Name extends string,
  Required extends Tokens = None,
  Used extends Tokens = None,
  Promised extends Tokens = None,
  Settings extends TObject = typeof noSettings,
>(definition: PluginDefinition<Name, Required, Used, Promised, Settings>): Plugin<Name, Settings> {
  const required: Tokens = definition.requires ?? {};
  const used: Tokens = definition.uses ?? {};
  const promised: Tokens = definition.provides ?? {};
  // Only a definition without settings leaves the type parameter at its default, which is what `noSettings` is.
  const settings = (definition.settings ?? noSettings) as Settings;
  return {
    name: definition.name,
    summary: definition.summary,
    requires: Object.values(required),
    uses: Object.values(used),
    provides: Object.values(promised),
    settings,
    isOnByDefault: definition.isOnByDefault ?? true,
    async boot(host) {
      const pick = (tokens: Tokens): Record<string, unknown> =>
        Object.fromEntries(Object.entries(tokens).map(([name, token]) => [name, host.find(token)]));
      // The loader has seen to it that each required service is there, and that the settings fit their schema: what the types say is so.
      const context = {
        ...host,
        requires: pick(required) as Services<Required>,
        uses: pick(used) as OptionalServices<Used>,
        settings: host.settings as Static<Settings>,
      };
      const provided: unknown = await definition.setup(context);
      for (const [name, token] of Object.entries(promised)) {
        host.provide(token, (provided as Readonly<Record<string, unknown>>)[name]);
      }
    },
  };
}
