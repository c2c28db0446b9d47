/**
 * The hooks of a node: where plugins meet. One set per node, never module state, since a simulation runs many nodes in one process.
 *
 * Each says its kind, who calls it and when. A plugin's own hooks live on the service that it provides.
 */
import type { Call } from "./call.ts";
import type { Client } from "./client.ts";
import type { Command } from "./command-table.ts";
import type { Effect, Verdict } from "./contracts/commands.ts";
import type { HealthChange } from "./contracts/health.ts";
import type { MemberChange } from "./contracts/membership.ts";
import type { MapChange } from "./contracts/topology.ts";
import { CollectHook, FirstHook, NotifyHook, SeriesHook } from "./hook.ts";

/** A part of what `INFO` tells. */
export interface InfoSection {
  /** As it is asked for and shown, such as `memory`. Plugins that name the same section add to it. */
  readonly section: string;
  readonly fields: Readonly<Record<string, string | number>>;
}

/** A command that took long. */
export interface SlowCommand {
  readonly call: Call;
  readonly microseconds: number;
}

/** A command on a key whose time was taken: the same object for each, nothing of it is kept beyond the call. */
export interface TimedCommand {
  /** Of its first key. */
  readonly slot: number;
  readonly microseconds: number;
  /** How many commands like it it stands for: of quick ones not all are timed. */
  readonly standsFor: number;
  /** Of the command, as clients send it. */
  readonly bytesIn: number;
  /** Of its reply, without one that comes later. */
  readonly bytesOut: number;
}

export class Hooks {
  /** Series. The node, once every plugin is set up: open ports, start timers. In the order in which plugins were set up. */
  readonly start: SeriesHook<void>;
  /** Series. The node, once it is started, in the same order: everything listens, the node is ready to serve. */
  readonly ready: SeriesHook<void>;
  /** Series, last plugin first. The node, when it is told to stop: take nothing new, finish what was begun, close. Every handler is called, whatever the others throw. */
  readonly stop: SeriesHook<void>;
  /**
   * First. The dispatcher, for each command that is known, has the right arity and a client that is let in; before it runs. A handler that
   * answers has written the reply (`Verdict.rejected`, `answered`) or keeps the command for later (`held`). On the path of every
   * command: a handler adds about 30 ns, and must allocate nothing.
   */
  readonly commandBefore: FirstHook<Call, Verdict>;
  /** Notify. The dispatcher, after a command that took longer than the slow log's threshold. */
  readonly commandSlow: NotifyHook<SlowCommand>;
  /** Notify. The dispatcher, after a command on a key whose time it took: each that is not quick, of the others one in sixteen. Must allocate nothing. */
  readonly commandTimed: NotifyHook<TimedCommand>;
  /** Notify. The dispatcher, after a write that changed something, and the keyspace, before it removes an expired key: what replicas and journals apply. Costs nothing while nobody listens. */
  readonly effect: NotifyHook<Effect>;
  /** First. The `resp` plugin, for each new connection: an answer is the error that refuses it. */
  readonly connectionBefore: FirstHook<Client, string>;
  /** Notify. Whoever carries clients, after one came. */
  readonly clientOpened: NotifyHook<Client>;
  /** Notify. Whoever carries clients, after one went. */
  readonly clientClosed: NotifyHook<Client>;
  /** Notify. `RESET`, before the client is set back to how it came: forget what it began (MULTI, WATCH). */
  readonly clientReset: NotifyHook<Client>;
  /** Collect. `INFO`, each time it is asked. */
  readonly info: CollectHook<void, InfoSection>;
  /** Notify. `CONFIG RESETSTAT`. */
  readonly statisticsReset: NotifyHook<void>;
  /** Notify. `topology`, after it switched to another cluster map; and once when the node starts. */
  readonly mapChanged: NotifyHook<MapChange>;
  /** Notify. `discovery`, after it came to hold another state of a member: alive, suspect, down, left. */
  readonly memberChanged: NotifyHook<MemberChange>;
  /** Notify. `health`, after a check came into another state. */
  readonly healthChanged: NotifyHook<HealthChange>;
  /** Notify. The node, after a command was added to its table. */
  readonly commandAdded: NotifyHook<Command>;

  /** @param report Gets what handlers of notify hooks throw. */
  constructor(report: (error: Error) => void) {
    this.start = new SeriesHook("start");
    this.ready = new SeriesHook("ready");
    this.stop = new SeriesHook("stop");
    this.commandBefore = new FirstHook("commandBefore");
    this.commandSlow = new NotifyHook("commandSlow", report);
    this.commandTimed = new NotifyHook("commandTimed", report);
    this.effect = new NotifyHook("effect", report);
    this.connectionBefore = new FirstHook("connectionBefore");
    this.clientOpened = new NotifyHook("clientOpened", report);
    this.clientClosed = new NotifyHook("clientClosed", report);
    this.clientReset = new NotifyHook("clientReset", report);
    this.info = new CollectHook("info");
    this.statisticsReset = new NotifyHook("statisticsReset", report);
    this.mapChanged = new NotifyHook("mapChanged", report);
    this.memberChanged = new NotifyHook("memberChanged", report);
    this.healthChanged = new NotifyHook("healthChanged", report);
    this.commandAdded = new NotifyHook("commandAdded", report);
  }
}
