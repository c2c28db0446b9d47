/**
 * info: `INFO` and `LATENCY`.
 *
 * `INFO` shows what every plugin tells of itself by the hook `info`; plugins that name the same section add to it. This one adds the sections
 * about the process and about commands. Sections and fields have Redis' names, since clients and tools parse them.
 */
import type { Call } from "../src/call.ts";
import type { Command } from "../src/command-table.ts";
import { REDIS_VERSION } from "../src/compatibility.ts";
import { splitUsage } from "../src/command-syntax.ts";
import type { CommandSpecification } from "../src/contracts/commands.ts";
import type { InfoSection } from "../src/hooks.ts";
import { definePlugin } from "../src/plugin.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";

/** In the order in which they are shown. Sections that others add come after. */
const SECTION_ORDER = [
  "server",
  "clients",
  "memory",
  "persistence",
  "stats",
  "replication",
  "cpu",
  "commandstats",
  "errorstats",
  "cluster",
  "keyspace",
];
/** Shown only when they are asked for, by name or with `all`. */
const EXTRA_SECTIONS = new Set(["commandstats"]);
/** Milliseconds between two looks at how many commands ran, for `instantaneous_ops_per_sec`. */
const RATE_PERIOD_MS = 1000;

/** Every command and subcommand. */
function* everyCommand(commands: Iterable<Command>): Generator<Command> {
  for (const command of commands) {
    yield command;
    if (command.subcommands !== undefined) yield* everyCommand(command.subcommands);
  }
}

/** The text of INFO. @param wanted Names of sections in lower case; empty: the default ones. */
function render(sections: readonly InfoSection[], wanted: ReadonlySet<string>): string {
  const bySection = new Map<string, Record<string, string | number>>(SECTION_ORDER.map((name) => [name, {}]));
  for (const { section, fields } of sections) bySection.set(section, { ...bySection.get(section), ...fields });
  const isAll = wanted.has("all") || wanted.has("everything");
  const isDefault = wanted.size === 0 || wanted.has("default");
  const shown: string[] = [];
  for (const [name, fields] of bySection) {
    if (!isAll && !wanted.has(name) && !(isDefault && !EXTRA_SECTIONS.has(name))) continue;
    const lines = Object.entries(fields).map(([field, value]) => `${field}:${value}\r\n`);
    if (lines.length === 0 && !["keyspace", "errorstats", "commandstats"].includes(name)) continue;
    const title = name === "cpu" ? "CPU" : name.charAt(0).toUpperCase() + name.slice(1);
    shown.push(`# ${title}\r\n${lines.join("")}`);
  }
  return shown.join("\r\n");
}

export default definePlugin({
  name: "info",
  summary: "INFO and LATENCY.",
  setup(context) {
    const { dispatcher, hooks, node, world, core } = context;
    const isCluster = (): boolean => context.parameters.get("cluster-enabled")?.get() === "yes";
    let rate = 0;
    let countedAtMs = node.startedAtMs;
    let counted = 0;
    let resetCount = 0;
    context.on(hooks.start, () => {
      context.every(RATE_PERIOD_MS, () => {
        const nowMs = world.clock.monotonicMs();
        rate = Math.max(0, Math.round(((dispatcher.commandCount - counted) * 1000) / Math.max(1, nowMs - countedAtMs)));
        counted = dispatcher.commandCount;
        countedAtMs = nowMs;
      });
    });
    context.on(hooks.statisticsReset, () => {
      counted = 0;
      resetCount += 1;
    });

    context.on(hooks.info, () => {
      const upS = Math.floor((world.clock.monotonicMs() - node.startedAtMs) / 1000);
      return {
        section: "server",
        fields: {
          redis_version: REDIS_VERSION,
          redis_mode: isCluster() ? "cluster" : "standalone",
          os: world.machine.system,
          arch_bits: 64,
          bunch_version: node.version,
          bunch_runtime: world.machine.runtime,
          node_id: node.id,
          node_name: core.name ?? "",
          process_id: world.machine.processId,
          run_id: node.runId,
          tcp_port: context.parameters.get("port")?.get() ?? core.port,
          server_time_usec: world.clock.wallMs() * 1000,
          uptime_in_seconds: upS,
          uptime_in_days: Math.floor(upS / 86_400),
        },
      };
    });
    context.on(hooks.info, () => ({ section: "cluster", fields: { cluster_enabled: isCluster() ? 1 : 0 } }));
    context.on(hooks.info, () => ({
      section: "stats",
      fields: {
        total_commands_processed: dispatcher.commandCount,
        instantaneous_ops_per_sec: rate,
        total_error_replies: dispatcher.errorCount,
        stat_resets: resetCount,
      },
    }));
    context.on(hooks.info, () => {
      const { user, system } = world.machine.cpuSeconds();
      return { section: "cpu", fields: { used_cpu_sys: system.toFixed(6), used_cpu_user: user.toFixed(6) } };
    });
    context.on(hooks.info, () => {
      const fields: Record<string, string> = {};
      for (const command of everyCommand(dispatcher.commands)) {
        const { callCount, totalMicroseconds, rejectedCount, failedCount } = command;
        if (callCount === 0 && rejectedCount === 0) continue;
        const perCall = callCount === 0 ? 0 : totalMicroseconds / callCount;
        fields[`cmdstat_${command.fullName}`] =
          `calls=${callCount},usec=${Math.round(totalMicroseconds)},usec_per_call=${perCall.toFixed(2)},rejected_calls=${rejectedCount},failed_calls=${failedCount}`;
      }
      return { section: "commandstats", fields };
    });
    context.on(hooks.info, () => ({
      section: "errorstats",
      fields: Object.fromEntries(
        [...dispatcher.errorCounts].map(([word, count]) => [`errorstat_${word}`, `count=${count}`]),
      ),
    }));

    context.command({
      name: "info",
      syntax: "[section...]",
      arity: -1,
      flags: ["loading", "stale"],
      categories: ["dangerous"],
      group: "server",
      summary: "Tells about the node, section by section.",
      complexity: "O(1)",
      since: "1.0.0",
      tips: ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
      run(call) {
        const wanted = new Set<string>();
        for (let index = 1; index < call.count; index += 1) wanted.add(call.text(index).toLowerCase());
        call.reply.verbatim("txt", render(hooks.info.collect(), wanted));
      },
    });

    const latency = (
      usage: string,
      arity: number,
      summary: string,
      run: (call: Call) => void,
      tips: readonly string[] = [],
    ): CommandSpecification => ({
      ...splitUsage(usage),
      arity,
      flags: ["admin", "noscript", "loading", "stale"],
      categories: ["dangerous"],
      group: "server",
      summary,
      complexity: "O(1)",
      since: "2.8.13",
      tips,
      run,
    });
    const subcommands = [
      // Spikes are what the slow log and the event loop's own measure tell; Redis' latency monitor is off by default, and so is this.
      latency("latest", 2, "Lists the latest latency spikes: none are kept.", (call) => call.reply.array(0), [
        "nondeterministic_output",
        "request_policy:all_nodes",
        "response_policy:special",
      ]),
      latency(
        "reset [event...]",
        -2,
        "Forgets latency spikes. Answers how many kinds of events were forgotten: none.",
        (call) => call.reply.integer(0),
        ["request_policy:all_nodes", "response_policy:all_succeeded"],
      ),
    ];
    context.command({
      name: "latency",
      arity: -2,
      flags: [],
      group: "server",
      summary: "Commands about latency spikes.",
      complexity: "Depends on the subcommand.",
      since: "2.8.13",
      subcommands: [...subcommands, helpSubcommand("LATENCY", "server", "2.8.13", subcommands)],
      run: wantsSubcommand,
    });
  },
});
