/** The plugins that every node has unless they are turned off: the one place where `src/` knows of `plugins/`. */
import autoRebalance from "../plugins/auto-rebalance.ts";
import bus from "../plugins/bus.ts";
import clients from "../plugins/clients.ts";
import connection from "../plugins/connection.ts";
import dashboard from "../plugins/dashboard.ts";
import discovery from "../plugins/discovery.ts";
import health from "../plugins/health.ts";
import metrics from "../plugins/metrics.ts";
import http from "../plugins/http.ts";
import hashSlotRouter from "../plugins/hash-slot-router.ts";
import keyspace from "../plugins/keyspace.ts";
import meet from "../plugins/meet.ts";
import migrate from "../plugins/migrate.ts";
import raft from "../plugins/raft.ts";
import replication from "../plugins/replication.ts";
import replicationCommands from "../plugins/replication-commands.ts";
import rest from "../plugins/rest.ts";
import resp from "../plugins/resp.ts";
import migrator from "../plugins/migrator.ts";
import lcs from "../plugins/lcs.ts";
import strings from "../plugins/strings.ts";
import topology from "../plugins/topology.ts";
import transactions from "../plugins/transactions.ts";
import clusterChanges from "../plugins/cluster-changes.ts";
import clusterCommands from "../plugins/cluster-commands.ts";
import commandDocs from "../plugins/command-docs.ts";
import config from "../plugins/config.ts";
import info from "../plugins/info.ts";
import server from "../plugins/server.ts";
import setslot from "../plugins/setslot.ts";
import migrationCommands from "../plugins/migration-commands.ts";
import slotStats from "../plugins/slot-stats.ts";
import slowlog from "../plugins/slowlog.ts";
import expiry from "../plugins/expiry.ts";
import keys from "../plugins/keys.ts";
import bitmaps from "../plugins/bitmaps.ts";
import dump from "../plugins/dump.ts";
import functions from "../plugins/functions.ts";
import eviction from "../plugins/eviction.ts";
import failover from "../plugins/failover.ts";
import replicaMigration from "../plugins/replica-migration.ts";
import replicaOf from "../plugins/replica-of.ts";
import type { Plugin } from "./plugin.ts";

/** In the order in which they are set up, as far as their needs leave it open. */
export const defaultPlugins = [
  keyspace,
  bus,
  http,
  raft,
  topology,
  hashSlotRouter,
  discovery,
  strings,
  lcs,
  keys,
  expiry,
  bitmaps,
  dump,
  migrate,
  functions,
  eviction,
  replication,
  replicationCommands,
  migrator,
  connection,
  clients,
  transactions,
  clusterCommands,
  clusterChanges,
  setslot,
  slotStats,
  migrationCommands,
  meet,
  server,
  info,
  commandDocs,
  slowlog,
  resp,
  config,
  // Who is set up late stops early: a primary hands over while it still has its clients.
  failover,
  replicaMigration,
  autoRebalance,
  replicaOf,
  health,
  rest,
  metrics,
  dashboard,
] as const satisfies readonly Plugin[];

/** Any of the default plugins: types the settings in `defineConfig`. */
export type DefaultPlugin = (typeof defaultPlugins)[number];
