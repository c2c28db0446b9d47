/** What configuration files import. */
import type { Config } from "./config.ts";
import type { DefaultPlugin } from "./default-plugins.ts";

/**
 * Types a configuration: the default export of `bunch.config.ts`.
 *
 * @param config Settings of the node and of its plugins, and plugins of your own.
 * @returns The same.
 * @example
 * ```ts
 * export default defineConfig({ port: 7001, plugins: { resp: { maxClients: 100 } } });
 * ```
 */
export function defineConfig(config: Config<DefaultPlugin>): Config<DefaultPlugin> {
  return config;
}
