/** What must not compile. Each line under a `@ts-expect-error` is an error; if it is not, `bun check` says so. */
import { Type } from "@sinclair/typebox";
import type { ClusterMap } from "../../src/contracts/topology.ts";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { defineConfig } from "../../src/define-config.ts";
import { definePlugin } from "../../src/plugin.ts";
import { service } from "../../src/service.ts";

interface Greeter {
  greet(name: string): string;
}
const greeterService = service<Greeter>("greeter");

export const plugins = [
  definePlugin({
    name: "asks-for-what-it-declared",
    summary: "Compiles.",
    requires: { keyspace: keyspaceService },
    uses: { topology: topologyService },
    provides: { greeter: greeterService },
    settings: Type.Object({ word: Type.String({ default: "hello" }) }),
    setup(context) {
      const size: number = context.requires.keyspace.size;
      const version: number | undefined = context.uses.topology?.map.version;
      return { greeter: { greet: (name) => `${context.settings.word} ${name} ${size} ${version ?? 0}` } };
    },
  }),
  definePlugin({
    name: "takes-its-time",
    summary: "Compiles.",
    async setup() {
      await Promise.resolve();
    },
  }),
  definePlugin({
    name: "asks-for-what-it-did-not-declare",
    summary: "Must not compile.",
    requires: { keyspace: keyspaceService },
    setup(context) {
      // @ts-expect-error -- the service was not declared
      void context.requires.topology;
      // @ts-expect-error -- nor as one that may be missing
      void context.uses.topology;
    },
  }),
  definePlugin({
    name: "takes-a-used-service-for-granted",
    summary: "Must not compile.",
    uses: { topology: topologyService },
    setup(context) {
      // @ts-expect-error -- nobody may provide it
      void context.uses.topology.map;
    },
  }),
  definePlugin({
    name: "breaks-its-promise",
    summary: "Must not compile.",
    provides: { greeter: greeterService },
    // @ts-expect-error -- the promised service is not returned
    setup: () => ({}),
  }),
  definePlugin({
    name: "returns-something-else",
    summary: "Must not compile.",
    provides: { greeter: greeterService },
    // @ts-expect-error -- what is returned is no greeter
    setup: () => ({ greeter: { greet: (name: number) => name } }),
  }),
  definePlugin({
    name: "gives-what-it-did-not-promise",
    summary: "Must not compile.",
    // @ts-expect-error -- it provides nothing, and returns a service
    setup: () => ({ greeter: { greet: (name: string) => name } }),
  }),
  definePlugin({
    name: "gives-it-later",
    summary: "Must not compile.",
    // @ts-expect-error -- nor may it come as a promise
    setup: () => Promise.resolve({ greeter: { greet: (name: string) => name } }),
  }),
  definePlugin({
    name: "gives-more-than-it-promised",
    summary: "Compiles: what nobody can ask for does no harm.",
    provides: { greeter: greeterService },
    setup: () => ({ greeter: { greet: (name: string) => name }, other: 1 }),
  }),
  definePlugin({
    name: "listens-wrongly",
    summary: "Must not compile.",
    setup(context) {
      // @ts-expect-error -- an error is a text
      context.on(context.hooks.connectionBefore, () => 1);
      // @ts-expect-error -- a section has fields
      context.on(context.hooks.info, () => ({ section: "x" }));
      // @ts-expect-error -- there is no such order
      context.on(context.hooks.info, () => undefined, { order: "early" });
    },
  }),
  definePlugin({
    name: "misreads-its-settings",
    summary: "Must not compile.",
    settings: Type.Object({ count: Type.Integer({ default: 1 }) }),
    setup(context) {
      // @ts-expect-error -- it is a number
      const text: string = context.settings.count;
      // @ts-expect-error -- there is no such setting
      void context.settings.size;
      void text;
    },
  }),
];

export const configs = [
  defineConfig({ port: 7001, plugins: { resp: { maxClients: 10 }, slowlog: false } }),
  // @ts-expect-error -- a port is a number
  defineConfig({ port: "7001" }),
  // @ts-expect-error -- there is no such setting
  defineConfig({ prot: 7001 }),
  // @ts-expect-error -- a number of clients is a number
  defineConfig({ plugins: { resp: { maxClients: "many" } } }),
];

export function change(map: ClusterMap): void {
  // @ts-expect-error -- a map never changes
  map.version = 2;
  // @ts-expect-error -- nor do its lists
  map.nodes.length = 0;
}
