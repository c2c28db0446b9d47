/**
 * The loader: sets plugins up in the order of their needs, starts them, stops them in reverse.
 *
 * 1. Order: a plugin comes after the providers of what it requires and uses; among those that are free to go, in the order in which they
 *    were listed. Missing, doubled and cyclic providers are refused with a sentence that names them.
 * 2. Set up: each plugin's `setup`, one after another, each within a time limit.
 * 3. Start, ready, stop: the series hooks of `hooks.ts`, each handler within the same limit.
 */
import type { Plugin, PluginHost } from "./plugin.ts";
import { PluginError, StartError, messageOf } from "./errors.ts";
import { Fault } from "./assert.ts";
import type { ServiceToken } from "./service.ts";
import type { Clock } from "./world.ts";

/** What the boot tree tells of a plugin. */
export interface BootRecord {
  readonly plugin: string;
  readonly summary: string;
  readonly provides: readonly string[];
  readonly requires: readonly string[];
  /** Services that it uses if they are there, with those that are not marked. */
  readonly uses: readonly { readonly service: string; readonly isThere: boolean }[];
  /** Milliseconds that `setup` took. */
  readonly milliseconds: number;
}

/**
 * Puts plugins in the order in which they are set up.
 *
 * @param plugins Those that are on.
 * @param off Those that are known and off, for the sentence.
 * @returns The same plugins, providers before those that need them.
 * @throws {StartError} If a service has no provider, two, or depends on itself.
 */
export function orderPlugins(plugins: readonly Plugin[], off: readonly Plugin[] = []): readonly Plugin[] {
  const providers = new Map<ServiceToken<unknown>, Plugin>();
  for (const plugin of plugins) {
    for (const token of plugin.provides) {
      const other = providers.get(token);
      if (other !== undefined) {
        throw new StartError(
          `Cannot load plugin "${plugin.name}": plugin "${other.name}" provides service "${token.name}" too; turn one of them off (--disable ${other.name})`,
        );
      }
      providers.set(token, plugin);
    }
  }
  for (const plugin of plugins) {
    for (const token of plugin.requires) {
      if (providers.has(token)) continue;
      const candidate = off.find((other) => other.provides.includes(token));
      const hint =
        candidate === undefined
          ? ""
          : ` (plugin "${candidate.name}" does, but it is off: turn "${plugin.name}" off as well, or load another provider)`;
      throw new StartError(
        `Cannot load plugin "${plugin.name}": no loaded plugin provides service "${token.name}"${hint}`,
      );
    }
  }
  const ordered: Plugin[] = [];
  const placed = new Set<Plugin>();
  let waiting = [...plugins];
  while (waiting.length > 0) {
    const next = waiting.find((plugin) =>
      needsOf(plugin, providers).every((need) => placed.has(need) || need === plugin),
    );
    if (next === undefined) throw new StartError(describeCycle(waiting, providers, placed));
    ordered.push(next);
    placed.add(next);
    waiting = waiting.filter((plugin) => plugin !== next);
  }
  return ordered;
}

function needsOf(plugin: Plugin, providers: ReadonlyMap<ServiceToken<unknown>, Plugin>): readonly Plugin[] {
  return [...plugin.requires, ...plugin.uses].flatMap((token) => providers.get(token) ?? []);
}

/** Every plugin in `waiting` waits for another one in it: following them must come round. */
function describeCycle(
  waiting: readonly Plugin[],
  providers: ReadonlyMap<ServiceToken<unknown>, Plugin>,
  placed: ReadonlySet<Plugin>,
): string {
  const path: Plugin[] = [];
  let plugin = waiting[0];
  while (plugin !== undefined && !path.includes(plugin)) {
    path.push(plugin);
    plugin = needsOf(plugin, providers).find((need) => !placed.has(need));
  }
  const cycle = plugin === undefined ? path : [...path.slice(path.indexOf(plugin)), plugin];
  const names = cycle.map((each) => `"${each.name}"`);
  return `Cannot load plugins ${names.slice(0, -1).join(", ")}: they need each other in a circle (${names.join(" needs ")})`;
}

/**
 * Sets plugins up.
 *
 * @param ordered As `orderPlugins` gives them.
 * @param hostOf Makes what a plugin gets.
 * @param limitMs How long one may take.
 * @returns The boot tree.
 * @throws {PluginError} If one throws, or never finishes.
 */
export async function setUpPlugins(
  ordered: readonly Plugin[],
  hostOf: (plugin: Plugin) => PluginHost,
  clock: Clock,
  limitMs: number,
): Promise<readonly BootRecord[]> {
  const records: BootRecord[] = [];
  for (const plugin of ordered) {
    const host = hostOf(plugin);
    const startedAtMs = clock.monotonicMs();
    try {
      await withinLimit(clock, limitMs, plugin.name, "set up", plugin.boot(host));
    } catch (thrown) {
      // What a setup says to the person who starts the node (a bad setting, a name that is taken) is a sentence already.
      if (thrown instanceof Fault || thrown instanceof StartError) throw thrown;
      throw new PluginError(plugin.name, `Plugin "${plugin.name}" failed to set up: ${messageOf(thrown)}`, thrown);
    }
    records.push({
      plugin: plugin.name,
      summary: plugin.summary,
      provides: plugin.provides.map((token) => token.name),
      requires: plugin.requires.map((token) => token.name),
      uses: plugin.uses.map((token) => ({ service: token.name, isThere: host.find(token) !== undefined })),
      milliseconds: clock.monotonicMs() - startedAtMs,
    });
  }
  return records;
}

/**
 * Waits for a plugin's work, but not for ever.
 *
 * @param doing For the sentence: `set up`, `start`, `stop`.
 * @throws {PluginError} When the time is over. The work is not stopped by that: nothing can.
 */
export function withinLimit(
  clock: Clock,
  limitMs: number,
  plugin: string,
  doing: string,
  work: Promise<void>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(limitMs, () => {
      reject(
        new PluginError(plugin, `Plugin "${plugin}" did not ${doing} within ${limitMs} ms (setting "pluginTimeoutMs")`),
      );
    });
    work.then(resolve, reject).finally(() => timer.cancel());
  });
}
