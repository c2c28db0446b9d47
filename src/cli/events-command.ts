/** `bunch events`: what happens in a cluster, as it happens: acts on the map with their causes, nodes that come and go, health. */
import { Command } from "commander";
import pc from "picocolors";
import type { HealthState } from "../contracts/health.ts";
import { StartError } from "../errors.ts";
import type { CheckView, Info, NodeView } from "../rest/schemas.ts";
import { type ServerEvent, followEvents } from "./event-source.ts";
import { RestAccess, withRest } from "./rest-access.ts";
import { type JsonFlags, sayUnknown, untilInterrupted } from "./rest-command.ts";
import { CLUSTER_PAINT, HEALTH_PAINT, nameIn, paintState, withNodeNames } from "./rest-tables.ts";
import { harmless, jsonText, parseHarmless } from "./terminal.ts";

interface ChangeEvent {
  readonly version: number;
  readonly time: number;
  readonly cause: string;
  readonly changes: readonly string[];
}

/**
 * An event for people.
 *
 * @param nowMs Wall time in milliseconds, for events that do not say when they were.
 */
export function describeEvent({ event, data }: ServerEvent, nodes: readonly NodeView[], nowMs: number): string {
  const told = parseHarmless(data);
  const line = (atMs: number, kind: string, text: string): string =>
    `${new Date(atMs).toISOString().slice(11, 23)}  ${kind.padEnd(6)}  ${withNodeNames(nodes, text)}`;
  switch (event) {
    case "start": {
      const { cluster_id: id, map_version: version } = told as {
        readonly cluster_id: string;
        readonly map_version: number;
      };
      return line(nowMs, event, `cluster ${id || "none"}, after version ${version} of its map`);
    }
    case "change": {
      const { version, time, cause, changes } = told as ChangeEvent;
      const more = changes.map((change) => `\n${" ".repeat(22)}${pc.dim(withNodeNames(nodes, change))}`).join("");
      return `${line(time, event, `version ${version}: ${cause}`)}${more}`;
    }
    case "member": {
      const member = told as Record<"node_id" | "reason", string> & Record<"state" | "previous", NodeView["state"]>;
      const why = member.reason === "" ? "" : `: ${member.reason}`;
      const name = nameIn(nodes, member.node_id);
      return line(nowMs, event, `${name} is ${paintState(member.state)} and was ${member.previous}${why}`);
    }
    case "state": {
      const { state, reasons } = told as Pick<Info, "state" | "reasons">;
      return line(nowMs, event, [CLUSTER_PAINT[state](state), ...reasons].join("; "));
    }
    case "health": {
      const { name, state, previous, summary, advice } = told as CheckView & { readonly previous: HealthState };
      const todo = advice === "" ? "" : `\n${" ".repeat(22)}do: ${withNodeNames(nodes, advice)}`;
      return `${line(nowMs, event, `${name} is ${HEALTH_PAINT[state](state)} and was ${previous}: ${summary}`)}${todo}`;
    }
    default:
      return line(nowMs, harmless(event), harmless(data));
  }
}

/** An event for programs: one line of JSON. */
export function eventJson({ event, id, data }: ServerEvent): string {
  return jsonText({ event, id: id === undefined ? null : Number(id), data: JSON.parse(data) as unknown });
}

async function follow(
  access: RestAccess,
  flags: JsonFlags & { readonly since?: string },
  signal: AbortSignal,
): Promise<void> {
  const { since } = flags;
  if (since !== undefined && !/^[0-9]{1,15}$/.test(since))
    throw new StartError(`--since is "${since}", but it must be a version of the cluster map, such as 12.`);
  const listNodes = async (): Promise<readonly NodeView[]> =>
    (await access.get<{ readonly nodes: readonly NodeView[] }>("/cluster/nodes")).nodes;
  let nodes = flags.json ? [] : await listNodes();
  let said = "";
  const broken = (reason: string): void => {
    // It tries again and again: once is enough.
    if (reason !== said) process.stderr.write(`${pc.yellow("waits:")} ${reason}\n`);
    said = reason;
  };
  for await (const event of followEvents(access, { since, signal, broken })) {
    said = "";
    // Who has just come is known by its name, too. Without that the ids are still right.
    const isNews = event.event === "change" || event.event === "start";
    if (!flags.json && isNews) nodes = await listNodes().catch(() => nodes);
    process.stdout.write(`${flags.json ? eventJson(event) : describeEvent(event, nodes, Date.now())}\n`);
  }
}

/** Makes the subcommand. */
export function eventsCommand(): Command {
  return withRest(new Command("events"))
    .description(
      "Tells what happens in a cluster, as it happens, until it is interrupted; goes on where it was when the connection breaks. Exit code 3: the node does not answer.",
    )
    .option("--since <version>", "begins after this version of the cluster map, as far as is remembered")
    .option("--json", "prints a line of JSON for each", false)
    .action(async (flags: JsonFlags & { readonly since?: string }) => {
      const ending = untilInterrupted();
      try {
        await follow(new RestAccess(flags), flags, ending.signal);
      } catch (thrown) {
        sayUnknown(thrown);
      } finally {
        ending.release();
      }
    });
}
