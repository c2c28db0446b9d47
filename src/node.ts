/**
 * A node: a world, settings and plugins, put together.
 *
 * `createNode` is what the command line, programs that embed a node, and the simulator all use. A node by itself does nothing: it has hooks,
 * a command table, a table of clients, and everything else is plugins' work.
 *
 * Life: created (plugins are set up) -> started (ports are open, timers run) -> stopping -> stopped. A fault, a broken invariant, stops it from
 * anywhere: it never serves on with broken state.
 */
import { Fault } from "./assert.ts";
import type { Call } from "./call.ts";
import { ClientTable } from "./client.ts";
import { ClientPasswords } from "./client-passwords.ts";
import { Command } from "./command-table.ts";
import { type Config, type ConfigLayer, type CoreSettings, readObject, resolveConfig } from "./config.ts";
import { Verdict } from "./contracts/commands.ts";
import { keyspaceService } from "./contracts/keyspace.ts";
import { defaultPlugins } from "./default-plugins.ts";
import { Dispatcher } from "./dispatcher.ts";
import { StartError, messageOf } from "./errors.ts";
import { HoldRoom } from "./held-commands.ts";
import { Hook, type HookOrder } from "./hook.ts";
import { Hooks } from "./hooks.ts";
import { type Identity, identify, identifyAnew, randomId } from "./identity.ts";
import { type BootRecord, orderPlugins, setUpPlugins, withinLimit } from "./loader.ts";
import { LocalConnection } from "./local-connection.ts";
import { ParameterTable } from "./parameter-table.ts";
import type { NodeFacts, Plugin, PluginHost } from "./plugin.ts";
import { ReplyGate } from "./reply-gate.ts";
import type { ServiceToken } from "./service.ts";
import type { Timer, World } from "./world.ts";

/** Shown in `INFO` and `HELLO`. */
export const BUNCH_VERSION = "0.1.0";

export interface NodeOptions {
  readonly world: World;
  /** Settings, as a configuration file has them. */
  readonly config?: Config;
  /** More settings, weaker ones first: environment, flags. All win over `config`. */
  readonly layers?: readonly ConfigLayer[];
  /** Plugins of your own, beside the default ones and those in `config.use`. */
  readonly plugins?: readonly Plugin[];
  /** Called once, when the node has stopped by itself: a fault, or a command (`SHUTDOWN`). */
  readonly onStopped?: (fault: Error | undefined) => void;
}

/** A plugin in the boot tree, with what it has hung into the node. */
export interface BootTreeEntry extends BootRecord {
  readonly hooks: readonly { readonly hook: string; readonly order: HookOrder }[];
  readonly commands: readonly string[];
}

type State = "created" | "started" | "stopping" | "stopped";

export class Node {
  readonly #facts: { -readonly [Fact in keyof NodeFacts]: NodeFacts[Fact] };
  readonly core: CoreSettings;
  readonly hooks: Hooks;
  readonly clients = new ClientTable();
  readonly passwords: ClientPasswords;
  readonly dispatcher: Dispatcher;
  readonly replyGate: ReplyGate;
  readonly parameters = new ParameterTable();
  readonly world: World;

  #state: State = "created";
  readonly #holdRoom = new HoldRoom();
  readonly #services = new Map<ServiceToken<unknown>, unknown>();
  readonly #timers = new Set<Timer>();
  /** Subcommands of containers that no plugin has added yet, by the container's name. */
  readonly #subcommandsToCome = new Map<string, readonly ((container: Command) => void)[]>();
  #bootRecords: readonly BootRecord[] = [];
  #stopping: Promise<void> | undefined;
  #isFaulty = false;
  readonly #faultCallbacks: (() => void)[] = [];
  readonly #onStopped: ((fault: Error | undefined) => void) | undefined;

  private constructor(world: World, core: CoreSettings, identity: Identity, onStopped: NodeOptions["onStopped"]) {
    this.world = world;
    this.core = core;
    this.passwords = new ClientPasswords(core.password);
    this.#facts = {
      ...identity,
      version: BUNCH_VERSION,
      runId: randomId(world.random),
      startedAtMs: world.clock.monotonicMs(),
    };
    this.#onStopped = onStopped;
    this.hooks = new Hooks((error) => {
      if (error instanceof Fault) this.#fault(error);
      else world.log.error("plugin failed", { reason: error.message });
    });
    this.replyGate = new ReplyGate(world.clock);
    this.dispatcher = new Dispatcher(this.hooks, this.replyGate, world.clock, world.log, (error) => this.#fault(error));
  }

  /** Makes a node and sets its plugins up. See `createNode`. */
  static async create(options: NodeOptions): Promise<Node> {
    const { world, config = {} } = options;
    const known = [...defaultPlugins, ...(config.use ?? []), ...(options.plugins ?? [])];
    const resolved = resolveConfig(known, [readObject(config, "the configuration"), ...(options.layers ?? [])]);
    const ordered = orderPlugins(resolved.plugins, resolved.off);
    const identity = await identify(world.disk, world.random, resolved.core.dataDir, resolved.core.name);
    const node = new Node(world, resolved.core, identity, options.onStopped);
    const hostOf = (plugin: Plugin): PluginHost => node.#host(plugin, resolved.settings.get(plugin.name));
    node.#bootRecords = await setUpPlugins(ordered, hostOf, world.clock, resolved.core.pluginTimeoutMs);
    node.dispatcher.keyspace = node.service(keyspaceService);
    return node;
  }

  get facts(): NodeFacts {
    return this.#facts;
  }

  get state(): State {
    return this.#state;
  }

  /** What a token's provider gives, if there is one. */
  service<Service>(token: ServiceToken<Service>): Service | undefined {
    // The map is only filled by `provide`, which takes a token and a service of its type.
    return this.#services.get(token) as Service | undefined;
  }

  /** Every plugin in the order in which it was set up, with what it has hung into the node. */
  bootTree(): readonly BootTreeEntry[] {
    const hooks = Object.values(this.hooks).filter((value): value is Hook<unknown> => value instanceof Hook);
    return this.#bootRecords.map((record) => ({
      ...record,
      hooks: hooks.flatMap((hook) =>
        hook.handlers
          .filter((handler) => handler.plugin === record.plugin)
          .map(({ order }) => ({ hook: hook.name, order })),
      ),
      commands: [...this.dispatcher.commands]
        // With subcommands that another plugin has added.
        .flatMap((command) =>
          [command].concat([...(command.subcommands ?? [])].filter(({ plugin }) => plugin !== command.plugin)),
        )
        .filter((command) => command.plugin === record.plugin)
        .map((command) => command.fullName),
    }));
  }

  /**
   * Starts: ports open, timers run.
   *
   * @throws {StartError} If a plugin cannot start; those that had started are stopped again.
   */
  async start(): Promise<void> {
    if (this.#state !== "created") throw new StartError(`Cannot start a node that is ${this.#state}`);
    this.#state = "started";
    try {
      await this.hooks.start.run(undefined, this.#limit("start"));
      await this.hooks.ready.run(undefined, this.#limit("start"));
    } catch (thrown) {
      await this.stop();
      throw thrown;
    }
  }

  /**
   * Stops in order: nothing new is taken, what was begun is finished, ports close. Every plugin is asked, whatever goes wrong in others.
   *
   * @returns When everything has stopped. The same promise for each call.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /**
   * Opens a connection from within the process: commands as any client sends them, without a socket.
   *
   * @example
   * ```ts
   * const connection = node.connect();
   * await connection.execute("SET", "greeting", "hello");
   * ```
   */
  connect(): LocalConnection {
    return new LocalConnection(this.dispatcher, this.clients, this.world.clock, this.hooks, this.replyGate);
  }

  async #stop(): Promise<void> {
    this.#state = "stopping";
    for (const error of await this.hooks.stop.runReversed(undefined, this.#limit("stop"))) {
      this.world.log.error("plugin failed to stop", { reason: error.message });
    }
    for (const timer of this.#timers) timer.cancel();
    this.#state = "stopped";
  }

  #fault(error: unknown): void {
    if (this.#state === "stopped" || this.#isFaulty) return;
    this.world.log.error("fault: a broken invariant stops the node", {
      reason: messageOf(error),
      stack: error instanceof Error ? error.stack : undefined,
    });
    const fault = error instanceof Error ? error : new Fault(messageOf(error));
    this.#isFaulty = true;
    this.#serveNoMore();
    // It may stop already, and serve meanwhile: until somebody has taken over.
    if (this.#state !== "stopping") void this.#stopBecause(fault);
  }

  /** From here on nothing that this node holds is told to anybody: stopping takes time, in which it would serve on with what is broken. Whatever of it fails, the rest is done. */
  #serveNoMore(): void {
    const refuse = ({ client }: Call): Verdict => {
      client.transport.kill();
      return Verdict.rejected;
    };
    const steps = [
      () => void this.hooks.commandBefore.add("node", refuse, "first"),
      () => this.replyGate.shut("a fault stops this node"),
      ...this.#faultCallbacks,
      ...[...this.clients].map((client) => () => client.transport.kill()),
    ];
    for (const step of steps) {
      try {
        step();
      } catch (thrown) {
        this.world.log.error("fault: what ends with it has failed to", { reason: messageOf(thrown) });
      }
    }
  }

  async #stopBecause(fault: Error | undefined): Promise<void> {
    await this.stop();
    this.#onStopped?.(fault);
  }

  #limit(doing: string): (plugin: string, work: Promise<void>) => Promise<void> {
    return (plugin, work) => withinLimit(this.world.clock, this.core.pluginTimeoutMs, plugin, doing, work);
  }

  #host(plugin: Plugin, settings: unknown): PluginHost {
    const { clock } = this.world;
    return {
      node: this.facts,
      world: this.world,
      hooks: this.hooks,
      clients: this.clients,
      passwords: this.passwords,
      dispatcher: this.dispatcher,
      replyGate: this.replyGate,
      holdRoom: this.#holdRoom,
      parameters: this.parameters,
      core: this.core,
      settings,
      bootTree: () => this.bootTree(),
      on: (hook, run, options) => hook.add(plugin.name, run, options?.order),
      command: (specification) => {
        const command = new Command(specification, plugin.name);
        this.dispatcher.commands.add(command);
        this.hooks.commandAdded.notify(command);
        const { name } = specification;
        for (const add of this.#subcommandsToCome.get(name) ?? []) add(command);
        this.#subcommandsToCome.delete(name);
      },
      subcommand: (name, specification) => {
        const add = (container: Command): void => {
          const command = new Command(specification, plugin.name, container);
          if (container.subcommands === undefined) {
            throw new StartError(
              `Cannot add command "${command.fullName}" of plugin "${plugin.name}": "${name}" of plugin "${container.plugin}" has no subcommands`,
            );
          }
          container.subcommands.add(command);
          this.hooks.commandAdded.notify(command);
        };
        const container = this.dispatcher.commands.get(name);
        if (container === undefined) {
          this.#subcommandsToCome.set(name, [...(this.#subcommandsToCome.get(name) ?? []), add]);
        } else {
          add(container);
        }
      },
      parameter: (parameter) => this.parameters.add(parameter, plugin.name),
      every: (periodMs, callback) => {
        const timer = clock.every(periodMs, () => {
          try {
            callback();
          } catch (thrown) {
            if (thrown instanceof Fault) this.#fault(thrown);
            else this.world.log.error("plugin failed in a timer", { plugin: plugin.name, reason: messageOf(thrown) });
          }
        });
        const handle: Timer = {
          cancel: () => {
            timer.cancel();
            this.#timers.delete(handle);
          },
        };
        this.#timers.add(handle);
        return handle;
      },
      resetIdentity: async (id, left) => {
        Object.assign(this.#facts, await identifyAnew(this.world.disk, this.core.dataDir !== undefined, id, left));
      },
      isFaulty: () => this.#isFaulty,
      onFault: (callback) => void this.#faultCallbacks.push(callback),
      vital:
        (run) =>
        (...args) => {
          try {
            run(...args);
          } catch (thrown) {
            this.#fault(thrown);
          }
        },
      fault: (error) => this.#fault(error),
      shutdown: () => void this.#stopBecause(undefined),
      find: (token) => this.service(token),
      provide: (token, service) => void this.#services.set(token, service),
    };
  }
}

/**
 * Makes a node: reads the settings, finds out who the node is, sets its plugins up. `start` starts it.
 *
 * @param options World, settings, plugins.
 * @returns The node, created and not yet started.
 * @throws {ConfigError} If a setting is unknown or bad.
 * @throws {StartError} If a plugin misses what it requires, or the data directory is another node's.
 * @example
 * ```ts
 * const node = await createNode({ world: createBunWorld(), config: { port: 0 } });
 * await node.start();
 * await node.connect().execute("SET", "greeting", "hello");
 * await node.stop();
 * ```
 */
export function createNode(options: NodeOptions): Promise<Node> {
  return Node.create(options);
}
