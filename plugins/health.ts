/**
 * health: what is right and wrong, what it means, and what to do.
 *
 * Promises: each check has a state (ok, warn, critical), since when, a sentence on what is so, one on what that means, and one on what to do; a state does not flap:
 * it gets worse once something has been so for a while, and better after `clearMs` (`src/protocol/health/monitor.ts`). `docs/health.md` has all checks with their thresholds.
 *
 * How: once in `periodMs` the facts are taken from the services that other plugins provide (`src/health/gather.ts`) and judged (`src/protocol/health/`). What nobody
 * tells is not judged: a check is not there without its plugin. Each node judges what it sees. Checks on the cluster are the same on all nodes, but for what only the
 * leader of the map's log knows: every ten seconds each node tells it what its shard has to do, and how far its clock is from the leader's (`src/health/reports.ts`).
 *
 * Who wants to know: CLUSTER HEALTH and INFO health, on any node; the log, a line for each change; the hook `healthChanged`; the service `health`; `bunch health`,
 * which asks all nodes and has an exit code for scripts; and `webhook`, a URL that each change is posted to as JSON. So that one event is one post, changes of checks
 * on the cluster are posted by the leader, by the others only while they hear none; a node that begins to lead posts what is so at that moment. What cannot be
 * posted is tried again for about ten minutes, and nothing waits for it (`src/health/webhook.ts`).
 */
import { type Static, Type } from "@sinclair/typebox";
import type { Call } from "../src/call.ts";
import { type ShardLoad, encodeHealthMessage, readHealthMessage } from "../src/codec/health-codec.ts";
import type { ReplyWriter } from "../src/codec/resp-writer.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { BusChannel, busService } from "../src/contracts/bus.ts";
import { consensusService } from "../src/contracts/consensus.ts";
import { failoverService } from "../src/contracts/failover.ts";
import { type Health, type HealthCheck, type HealthCheckName, healthService } from "../src/contracts/health.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { membershipService } from "../src/contracts/membership.ts";
import { migrationService } from "../src/contracts/migration.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { slotLoadsService } from "../src/contracts/slot-loads.ts";
import { topologyService } from "../src/contracts/topology.ts";
import { StartError } from "../src/errors.ts";
import { FactGatherer } from "../src/health/gather.ts";
import { HealthReports } from "../src/health/reports.ts";
import { Webhook } from "../src/health/webhook.ts";
import { definePlugin } from "../src/plugin.ts";
import { CHECKS, CHECK_NAMES, wordsOf, wordsOfBetter } from "../src/protocol/health/catalog.ts";
import { BEGIN_MS } from "../src/protocol/health/limits.ts";
import { evaluate } from "../src/protocol/health/evaluate.ts";
import { Monitor, type Watched } from "../src/protocol/health/monitor.ts";
import { type DiskFacts, type HealthThresholds, worstOf } from "../src/protocol/health/types.ts";

const ms = (description: string, value: number, minimum = 0, more = "") =>
  Type.Integer({ description: `${description}, in milliseconds.${more}`, default: value, minimum });
const percent = (description: string, value: number) =>
  Type.Integer({ description, default: value, minimum: 1, maximum: 100 });

const settingsSchema = Type.Object({
  periodMs: ms("How often everything is looked at", 1000, 100, " Less often costs idle nodes less, and tells later."),
  clearMs: ms(
    "How long something must be better before that is said",
    5000,
    0,
    " Longer: fewer messages of what comes and goes.",
  ),
  replicas: Type.Optional(
    Type.Integer({
      description:
        "How many replicas each shard is to have. Default: the node's setting `replicas`; or else one, if any shard has some.",
      minimum: 0,
      maximum: 100,
    }),
  ),
  lagWarnMs: ms("A replica that lacks something which its primary has had for so long is behind", 5000, 1),
  lagCriticalMs: ms("The same, for critical", 60_000, 1),
  clockWarnMs: ms("Wall clocks of a node and of the leader are apart", 500, 1),
  clockCriticalMs: ms("The same, for critical", 5000, 1),
  loopLagWarnMs: ms("The event loop stood still for so long", 200, 1),
  loopLagCriticalMs: ms(
    "The same, for critical",
    1000,
    1,
    " A primary that stands still for a lease's time may be replaced.",
  ),
  memoryWarnPercent: percent(
    "Memory runs low from here on: in percent of maxmemory if nothing is evicted, and of the machine's memory.",
    80,
  ),
  memoryCriticalPercent: percent("The same, for critical.", 95),
  diskWarnBytes: byteSize({
    description: "With fewer free bytes where the data directory is, the disk fills up.",
    default: "1gb",
  }),
  diskCriticalBytes: byteSize({ description: "The same, for critical.", default: "200mb" }),
  mapBehindWarnMs: ms("Others have had a newer cluster map for so long", 3000, 1),
  mapBehindCriticalMs: ms("The same, for critical", 30_000, 1),
  stuckWarnMs: ms("A move of slots about which nothing has changed for so long does not get on", 60_000, 1),
  stuckCriticalMs: ms("The same, for critical", 600_000, 1),
  skewWarnFactor: Type.Number({
    description: "A shard with so many times its fair part of the load, or of the bytes, has too much.",
    default: 2,
    minimum: 1,
  }),
  webhook: Type.Optional(
    Type.String({
      description:
        "A URL that each change is posted to, as JSON. It may hold a token: better in the environment than on a command line. Default: none.",
      pattern: "^https?://[^\\s/]+",
      wants: "a URL, such as https://hooks.example.com/bunch",
      isSecret: true,
    }),
  ),
  webhookAuthorization: Type.Optional(
    Type.String({
      description: "What posts say in the header Authorization, such as `Bearer abc`. Default: they have none.",
      minLength: 1,
      isSecret: true,
    }),
  ),
});

/** How often nodes tell the leader of themselves, in milliseconds: loads are averages over a minute, and clocks do not move fast. */
const REPORT_MS = 10_000;
/** How often the disk is looked at, in milliseconds. */
const DISK_MS = 30_000;

export default definePlugin({
  name: "health",
  summary: "Tells what is right and wrong, what it means, and what to do.",
  uses: {
    topology: topologyService,
    bus: busService,
    consensus: consensusService,
    membership: membershipService,
    replication: replicationService,
    failover: failoverService,
    migrations: migrationService,
    keyspace: keyspaceService,
    slotLoads: slotLoadsService,
  },
  provides: { health: healthService },
  settings: settingsSchema,
  setup(context) {
    const { core, dispatcher, hooks, node, settings, world } = context;
    const { clock, log, machine } = world;
    const { topology, bus, consensus, membership, replication, failover, migrations, keyspace, slotLoads } =
      context.uses;
    const thresholds = thresholdsOf(settings);
    const webhook =
      settings.webhook === undefined ? undefined : new Webhook(world, settings.webhook, settings.webhookAuthorization);

    // --- what this node tells, and is told ---

    const reports =
      topology === undefined || bus === undefined || consensus === undefined
        ? undefined
        : new HealthReports(
            {
              nowMs: () => clock.monotonicMs(),
              wallMs: () => clock.wallMs(),
              leader: () => consensus.status.leader,
              get nodeId() {
                return topology.self.id;
              },
              load: () => load,
              send(to, message) {
                const record = topology.node(to);
                if (record === undefined) return;
                bus.send(
                  { host: record.busHost, port: record.busPort },
                  BusChannel.health,
                  encodeHealthMessage(message),
                );
              },
            },
            REPORT_MS,
          );
    bus?.receive(BusChannel.health, ({ nodeId }, bytes) => {
      const message = readHealthMessage(bytes);
      if (message !== undefined) reports?.received(nodeId, message);
    });

    let load: ShardLoad | undefined;
    let commandsBefore = -1;
    /** To look at all slots takes a millisecond: not worth it where nothing happens. */
    const measureLoad = (): void => {
      const shard = topology?.selfShard;
      const isServing = shard?.primary === topology?.self.id && (shard?.slots.length ?? 0) > 0;
      const isIdle = dispatcher.commandCount === commandsBefore && load?.microseconds === 0;
      commandsBefore = dispatcher.commandCount;
      const bytes = keyspace?.usedBytes ?? 0;
      const all = isServing && !isIdle ? (slotLoads?.all ?? []) : [];
      const microseconds = all.reduce((sum, each) => sum + each.microseconds, 0);
      const [hottest] = all.toSorted((one, other) => other.microseconds - one.microseconds);
      load = isServing
        ? {
            microseconds: Math.round(microseconds),
            bytes,
            hottestSlot: hottest?.slot ?? 0,
            hottestMicroseconds: Math.round(hottest?.microseconds ?? 0),
          }
        : undefined;
    };

    let disk: DiskFacts | undefined;
    const { dataDir } = core;
    const lookAtDisk = async (): Promise<void> => {
      const space = dataDir === undefined ? undefined : await machine.diskSpace(dataDir);
      disk = space === undefined ? undefined : { freeBytes: space.free, totalBytes: space.total };
    };

    /** When this was looked at last, from how late a look comes. */
    let lookedAtMs = Number.POSITIVE_INFINITY;
    let lateMs = 0;

    // --- judging ---

    const gatherer = new FactGatherer({
      topology,
      consensus,
      membership,
      replication,
      failover,
      migrations,
      keyspace,
      reports,
      wantedReplicas: settings.replicas ?? (core.replicas > 0 ? core.replicas : undefined),
      load: () => load,
      parameter: (name) => context.parameters.get(name)?.get(),
      machine: () => ({ residentBytes: machine.residentBytes(), totalBytes: machine.totalMemoryBytes() }),
      disk: () => disk,
      // Who looks for members measures it more finely.
      takeLagMs: () => Math.max(lateMs, membership?.member(node.id)?.lagMs ?? 0),
    });
    const monitor = new Monitor((name) => ({
      raiseMs: CHECKS[name].raiseMs,
      clearMs: Math.max(settings.clearMs, CHECKS[name].clearMs ?? 0),
      beginMs: Math.max(CHECKS[name].raiseMs, BEGIN_MS),
    }));
    /** When each state began, by the wall clock as it was then. */
    const begun = new Map<HealthCheckName, { readonly atMs: number; readonly wallMs: number }>();
    let checks: readonly HealthCheck[] = [];
    let checkedAtMs = clock.wallMs();

    const told = (name: HealthCheckName, { state, sinceMs, finding, better }: Watched): HealthCheck => {
      const before = begun.get(name);
      const start =
        before?.atMs === sinceMs
          ? before
          : { atMs: sinceMs, wallMs: Math.round(clock.wallMs() - (clock.monotonicMs() - sinceMs)) };
      begun.set(name, start);
      const { scope } = CHECKS[name];
      const { summary, values } = finding;
      const { meaning, advice } = wordsOf(name, state);
      if (better !== undefined) {
        const betterMs = Math.round(clock.monotonicMs() - better.sinceMs);
        return { name, scope, state, sinceMs: start.wallMs, ...wordsOfBetter(name, finding, better.finding, betterMs) };
      }
      // A state may outlast what was found: then what was found last is not what is to be done.
      const fitting = finding.state === state ? (finding.advice ?? advice) : advice;
      return { name, scope, state, sinceMs: start.wallMs, summary, meaning, advice: fitting, values };
    };
    const look = (): void => {
      const nowMs = clock.monotonicMs();
      lateMs = Math.max(0, nowMs - lookedAtMs - settings.periodMs);
      lookedAtMs = nowMs;
      const changes = monitor.look(evaluate(gatherer.gather(nowMs), thresholds), nowMs);
      checkedAtMs = clock.wallMs();
      checks = CHECK_NAMES.flatMap((name) => {
        const watched = monitor.watched.get(name);
        return watched === undefined ? [] : [told(name, watched)];
      });
      const changed = changes.map((change) => ({
        previous: change.previous,
        check: checks.find(({ name }) => name === change.finding.name) ?? told(change.finding.name, change),
      }));
      for (const change of changed) {
        const { name, state, summary, advice } = change.check;
        const level = state === "ok" ? "info" : state === "warn" ? "warn" : "error";
        log[level]("health changed", { check: name, state, previous: change.previous, summary, advice });
        hooks.healthChanged.notify(change);
      }
      const isLeader = consensus?.leadership !== undefined;
      const mine = changed.filter(
        ({ check: { scope } }) => scope === "node" || isLeader || consensus?.status.hearsLeader !== true,
      );
      // Whoever led before may have had no time to tell.
      const takesOver =
        isLeader && !wasLeader && checks.some(({ scope, state }) => scope === "cluster" && state !== "ok");
      wasLeader = isLeader;
      if (mine.length > 0 || takesOver) post(mine);
    };
    let wasLeader = false;
    const post = (changes: readonly { readonly check: HealthCheck; readonly previous: string }[]): void =>
      webhook?.post(
        JSON.stringify({
          type: "health-changed",
          cluster: topology?.map.clusterId ?? "",
          ...viewOf(),
          state: health.state,
          atMs: checkedAtMs,
          changes: changes.map(({ check, previous }) => ({ ...check, previous })),
          // All that is not well at this moment: whoever missed a post has it from the next one.
          problems: checks.filter(({ state }) => state !== "ok"),
        }),
      );
    const viewOf = (): Health["view"] => ({
      nodeId: node.id,
      nodeName: core.name ?? "",
      isLeader: consensus?.leadership !== undefined,
      leader: consensus?.status.hearsLeader === true ? consensus.status.leader : undefined,
    });
    const health: Health = {
      get state() {
        return worstOf(health.checks.map(({ state }) => state));
      },
      get checks() {
        // A node that has not looked yet does not say that all is well.
        if (checks.length === 0) look();
        return checks;
      },
      get checkedAtMs() {
        return checkedAtMs;
      },
      get view() {
        return viewOf();
      },
    };

    // --- life ---

    context.on(hooks.start, () => {
      if (dataDir !== undefined) context.every(DISK_MS, () => void lookAtDisk());
      if (reports !== undefined) {
        context.every(REPORT_MS, () => {
          measureLoad();
          reports.tell();
        });
      }
    });
    context.on(hooks.ready, async () => {
      await lookAtDisk();
      look();
      // Timers beat on a grid of their own: what is late is measured from the first beat on.
      lookedAtMs = Number.POSITIVE_INFINITY;
      context.every(settings.periodMs, look);
    });
    context.on(hooks.stop, () => webhook?.stop());

    // --- who asks ---

    context.on(hooks.info, () => ({
      section: "health",
      fields: {
        health_state: health.state,
        health_view: viewOf().isLeader ? "leader" : "node",
        ...infoOf(health.checks),
        ...(webhook === undefined
          ? {}
          : {
              health_webhook_sent: webhook.sent,
              health_webhook_waiting: webhook.waiting,
              health_webhook_retried: webhook.retried,
              health_webhook_failed: webhook.failed,
              health_webhook_dropped: webhook.dropped,
            }),
      },
    }));
    context.subcommand("cluster", {
      name: "health",
      arity: 2,
      flags: ["admin", "loading", "stale"],
      group: "cluster",
      summary: "Tells what is right and wrong as this node sees it, what that means, and what to do.",
      complexity: "O(N), N being the checks",
      since: "bunch 0.1.0",
      tips: ["nondeterministic_output", "request_policy:all_nodes"],
      run({ reply }: Call) {
        const { nodeId, nodeName, isLeader, leader } = viewOf();
        reply.map(8);
        writeText(reply, "state", health.state);
        writeText(reply, "node-id", nodeId);
        writeText(reply, "node-name", nodeName);
        writeNumber(reply, "is-leader", isLeader ? 1 : 0);
        writeText(reply, "leader-id", leader ?? "");
        writeNumber(reply, "map-version", topology?.map.version ?? 0);
        writeNumber(reply, "checked-at", checkedAtMs);
        reply.bulkText("checks");
        reply.array(health.checks.length);
        for (const check of health.checks) writeCheck(reply, check);
      },
    });
    return { health };
  },
});

/** The fields of INFO: of what is well only that it is. */
function infoOf(checks: readonly HealthCheck[]): Readonly<Record<string, string | number>> {
  const fields: Record<string, string | number> = {};
  for (const { name, state, sinceMs, summary } of checks) {
    const field = `health_${name.replaceAll("-", "_")}`;
    fields[field] = state;
    if (state === "ok") continue;
    fields[`${field}_since_ms`] = sinceMs;
    fields[`${field}_why`] = summary;
  }
  return fields;
}

function writeText(reply: ReplyWriter, name: string, value: string): void {
  reply.bulkText(name);
  reply.bulkText(value);
}

function writeNumber(reply: ReplyWriter, name: string, value: number): void {
  reply.bulkText(name);
  if (Number.isSafeInteger(value)) reply.integer(value);
  else reply.double(value);
}

function writeCheck(reply: ReplyWriter, check: HealthCheck): void {
  reply.map(8);
  writeText(reply, "name", check.name);
  writeText(reply, "scope", check.scope);
  writeText(reply, "state", check.state);
  writeNumber(reply, "since", check.sinceMs);
  writeText(reply, "summary", check.summary);
  writeText(reply, "meaning", check.meaning);
  writeText(reply, "advice", check.advice);
  reply.bulkText("values");
  const values = Object.entries(check.values);
  reply.map(values.length);
  for (const [name, value] of values) {
    if (typeof value === "string") writeText(reply, name, value);
    else writeNumber(reply, name, value);
  }
}

/** @throws {StartError} If what is critical comes before what is worth a warning. */
function thresholdsOf(settings: Static<typeof settingsSchema>): HealthThresholds {
  const bytes = (name: "diskWarnBytes" | "diskCriticalBytes"): number => {
    const size = parseByteSize(settings[name]);
    if (size === undefined)
      throw new StartError(`Setting "plugins.health.${name}" is "${settings[name]}", which is too large`);
    return size;
  };
  const thresholds = {
    ...settings,
    diskWarnBytes: bytes("diskWarnBytes"),
    diskCriticalBytes: bytes("diskCriticalBytes"),
  };
  const mustRise = (warn: keyof HealthThresholds, critical: keyof HealthThresholds, sign = 1): void => {
    if (sign * thresholds[warn] <= sign * thresholds[critical]) return;
    throw new StartError(
      `Setting "plugins.health.${critical}" is ${settings[critical]}, but it must be at ${sign > 0 ? "least" : "most"} ${warn} (${settings[warn]}): what is critical is worth a warning.`,
    );
  };
  mustRise("lagWarnMs", "lagCriticalMs");
  mustRise("clockWarnMs", "clockCriticalMs");
  mustRise("loopLagWarnMs", "loopLagCriticalMs");
  mustRise("memoryWarnPercent", "memoryCriticalPercent");
  mustRise("diskWarnBytes", "diskCriticalBytes", -1);
  mustRise("mapBehindWarnMs", "mapBehindCriticalMs");
  mustRise("stuckWarnMs", "stuckCriticalMs");
  return thresholds;
}
