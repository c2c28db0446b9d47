/** The plugins that every node has unless they are turned off: the one place where `src/` knows of `plugins/`. */
import hashSlotRouter from "../plugins/hash-slot-router.ts";
import keyspace from "../plugins/keyspace.ts";
import resp from "../plugins/resp.ts";
import topology from "../plugins/topology.ts";
import type { Plugin } from "./plugin.ts";

/** In the order in which they are set up, as far as their needs leave it open. */
export const defaultPlugins = [keyspace, topology, hashSlotRouter, resp] as const satisfies readonly Plugin[];

/** Any of the default plugins: types the settings in `defineConfig`. */
export type DefaultPlugin = (typeof defaultPlugins)[number];
