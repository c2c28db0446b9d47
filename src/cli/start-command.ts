/**
 * `bun start`: a local cluster, each node a process of its own, on consecutive ports, primaries first. They find each other by the first one's address, with a secret
 * that nobody else knows, and divide the slots among them; each primary gets its replicas. A table says who is what, once they serve.
 *
 * The nodes' output is shown with the node's name before each line. All stop together: on SIGINT, SIGTERM or SIGHUP, or when this process ends,
 * be it killed. When one dies by itself, it says so and the others go on.
 */
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { Command, Option } from "commander";
import pc from "picocolors";
import { BUS_PORT_OFFSET, type CoreSettings, HTTP_PORT_OFFSET, describeSettings } from "../config.ts";
import { defaultPlugins } from "../default-plugins.ts";
import { StartError, messageOf } from "../errors.ts";
import { TOKENS_PATTERN, TOKENS_WANTS } from "../http/roles.ts";
import { PATIENCE_MS, askNode, askNodeAnything } from "./ask-node.ts";
import { failStart } from "./report.ts";

/** How long nodes may take to stop in order before they are ended: longer than one takes for replies that nobody reads. */
const STOP_LIMIT_MS = 5000;

/** Settings that say who a node is, where it is, or where it belongs. `bun start` gives each node its own, or nodes that shared them would collide. */
const OWN_SETTINGS: ReadonlySet<string> = new Set<
  keyof CoreSettings | "plugins.topology.nodes" | `plugins.http.${"host" | "port" | "announceHost" | "announcePort"}`
>([
  "name",
  "host",
  "port",
  "busPort",
  "announceHost",
  "announcePort",
  "announceBusHost",
  "announceBusPort",
  "join",
  "bootstrapExpect",
  "replicaOf",
  "empty",
  "witness",
  "dataDir",
  "secret",
  "secretFile",
  "plugins.topology.nodes",
  "plugins.http.host",
  "plugins.http.port",
  "plugins.http.announceHost",
  "plugins.http.announcePort",
]);

/** What the environment may have for `bun start` alone: an administrator's token for all nodes. */
const TOKEN_VARIABLE = "BUNCH_TOKEN";

/** What a node of a local cluster inherits: the environment, without what each node has for itself, and with the cluster's secret and an administrator's token. */
export function childEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  secret: string,
  token: string,
): Record<string, string | undefined> {
  const own = describeSettings(defaultPlugins).filter(({ path }) => OWN_SETTINGS.has(path));
  const names = new Set([TOKEN_VARIABLE, ...own.map((setting) => setting.environment)]);
  const kept = Object.entries(environment).filter(([name]) => !names.has(name));
  return { BUNCH_HTTP_ADMIN_TOKEN: token, ...Object.fromEntries(kept), BUNCH_SECRET: secret };
}

/** Why the nodes are to end: somebody said so, nobody reads their output, or one of them did not start. */
type EndCause = "signal" | "unread" | "failed";

/**
 * What nodes are sent. A second wish to end them does not wait for them to stop in order; but only a signal is one: what nodes say while they stop finds out again
 * and again that nobody reads it.
 */
export function signalFor(cause: EndCause, isStopping: boolean): "SIGTERM" | "SIGKILL" | undefined {
  if (!isStopping) return "SIGTERM";
  return cause === "signal" ? "SIGKILL" : undefined;
}

/** Makes the subcommand. */
export function startCommand(): Command {
  return new Command("start")
    .description("Runs a local cluster: several nodes, the slots divided among them.")
    .option("--nodes <count>", "how many nodes own slots", "3")
    .addOption(
      // Set for all nodes it would be about these as well.
      new Option("--replicas <count>", "how many replicas each of them gets, each a node more")
        .default("0")
        .env("BUNCH_REPLICAS"),
    )
    .option("--port <port>", "the first node's port; the others follow", "7001")
    .action(async (flags: { readonly nodes: string; readonly replicas: string; readonly port: string }) => {
      try {
        const primaries = wholeNumber("--nodes", flags.nodes, 1, MAX_NODES);
        await run(primaries, wholeNumber("--replicas", flags.replicas, 0, MAX_REPLICAS), flags.port);
      } catch (thrown) {
        failStart(thrown);
      }
    });
}

const MAX_NODES = 100;
/** As the setting `replicas` has it. */
const MAX_REPLICAS = 10;

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^[0-9]+$/.test(text) && value >= least && value <= most) return value;
  throw new StartError(`Flag ${flag} is "${text}", but it must be a whole number from ${least} to ${most}.`);
}

/**
 * Who is what, for people.
 *
 * @param nodes What CLUSTER NODES says.
 * @param names Of the nodes, by their ports.
 */
export function clusterTable(nodes: string, names: ReadonlyMap<number, string>): string {
  const lines = nodes.split("\n").flatMap((line) => {
    const [id = "", address = "", flags = "", primary = "", , , , , ...slots] = line.trim().split(" ");
    const port = Number(/:([0-9]+)@/.exec(address)?.[1]);
    return id === "" || Number.isNaN(port) ? [] : [{ id, port, flags, primary, slots }];
  });
  const nameOf = (port: number): string => names.get(port) ?? String(port);
  const table = new Table({ head: ["node", "port", "role", "slots"], style: { head: [], border: [] } });
  for (const { port, flags, primary, slots } of lines.toSorted((one, other) => one.port - other.port)) {
    const followed = lines.find(({ id }) => id === primary);
    const isReplica = flags.split(",").includes("slave");
    const role = isReplica ? `replica of ${followed === undefined ? primary : nameOf(followed.port)}` : "primary";
    table.push([nameOf(port), String(port), role, slots.join(" ")]);
  }
  return table.toString();
}

/**
 * What is said of a node that has died.
 *
 * @param survivor The port of one that lives, which can be asked.
 */
export function deathWords(how: string, replicas: number, survivor: number | undefined): string {
  const outcome = replicas === 0 ? "its slots are not served" : "if it was a primary, a replica takes over";
  const ask =
    survivor === undefined
      ? ""
      : `; bun run bunch health --node 127.0.0.1:${survivor} says ${replicas === 0 ? "what to do" : "how it is"}`;
  return `the node has died (${how}); ${outcome}${ask}`;
}

async function run(primaries: number, replicas: number, portText: string): Promise<void> {
  const count = primaries * (replicas + 1);
  if (count > MAX_NODES) {
    throw new StartError(
      `Flags --nodes ${primaries} and --replicas ${replicas} make ${count} nodes, but there can be ${MAX_NODES} at most.`,
    );
  }
  const firstPort = wholeNumber("--port", portText, 1, 65535 - BUS_PORT_OFFSET - count + 1);
  const nodes = Array.from({ length: count }, (_, index) => ({
    name: `node-${index + 1}`,
    host: "127.0.0.1",
    port: firstPort + index,
  }));
  const secret = randomBytes(32).toString("hex");
  const given = process.env[TOKEN_VARIABLE];
  if (given !== undefined && !new RegExp(TOKENS_PATTERN).test(given)) {
    throw new StartError(`Variable ${TOKEN_VARIABLE} is not shown, but it must be ${TOKENS_WANTS}.`);
  }
  const token = given ?? randomBytes(24).toString("base64url");
  // Whoever read the output may go: then nobody wants the nodes any more.
  const say = (stream: NodeJS.WriteStream, text: string): void => {
    try {
      stream.write(text);
    } catch {
      unread();
    }
  };
  const main = fileURLToPath(new URL("../main.ts", import.meta.url));
  let isStopping = false;
  let exitCode = 0;
  const children = nodes.map((node, index) => {
    const child = Bun.spawn(
      [
        process.execPath,
        main,
        "node",
        "--name",
        node.name,
        "--host",
        node.host,
        "--port",
        String(node.port),
        "--http-port",
        String(node.port + HTTP_PORT_OFFSET),
        "--join",
        `127.0.0.1:${firstPort + BUS_PORT_OFFSET}`,
        "--bootstrap-expect",
        String(count),
        "--replicas",
        String(replicas),
        "--log-level",
        "warn",
        "--stop-with-input",
      ],
      {
        // Never written to: it ends with this process, however that ends, and the node with it.
        stdin: "pipe",
        stdout: "pipe",
        stderr: "pipe",
        env: childEnvironment(process.env, secret, token),
      },
    );
    const colour = COLOURS[index % COLOURS.length] ?? String;
    const prefix = colour(`${node.name} |`);
    const ready = Promise.withResolvers<void>();
    const output = Promise.all([
      eachLine(child.stdout, (line) => {
        // From this line on it serves its slots.
        if (line.includes("takes part")) ready.resolve();
        say(process.stdout, `${prefix} ${line}\n`);
      }),
      eachLine(child.stderr, (line) => say(process.stderr, `${prefix} ${line}\n`)),
    ]);
    const exited = child.exited.then(async (code) => {
      await output;
      if (isStopping) return;
      exitCode = 1;
      const how = child.signalCode === null ? `exit code ${code}` : `signal ${child.signalCode}`;
      const survivor = children.findIndex((each) => each.child.exitCode === null && each.child.signalCode === null);
      const words = deathWords(how, replicas, nodes[survivor]?.port);
      say(process.stderr, `${prefix} ${pc.red(words)}\n`);
      ready.reject(new StartError(`Node ${node.name} did not start: see its output above.`));
    });
    ready.promise.catch(() => undefined);
    return { child, exited, ready: ready.promise };
  });

  const stop = (cause: EndCause = "failed"): void => {
    const signal = signalFor(cause, isStopping);
    if (signal !== undefined) for (const { child } of children) child.kill(signal);
    if (isStopping) return;
    isStopping = true;
    setTimeout(() => {
      for (const { child } of children) child.kill("SIGKILL");
    }, STOP_LIMIT_MS).unref();
  };
  /** The same, and ends: also where some node never came to be ready, and whoever waits for that waits for nothing. */
  const quit = (cause: EndCause): void => {
    stop(cause);
    void Promise.all(children.map(({ child }) => child.exited)).then(() => process.exit(exitCode));
  };
  const unread = (): void => quit("unread");
  // The last: the terminal was closed.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => quit("signal"));
  for (const stream of [process.stdout, process.stderr]) stream.on("error", unread);
  process.on("exit", () => {
    for (const { child } of children) if (child.exitCode === null) child.kill("SIGKILL");
  });

  try {
    await Promise.all(children.map(({ ready }) => ready));
  } catch (thrown) {
    stop();
    await Promise.all(children.map(({ exited }) => exited));
    if (isStopping && !(thrown instanceof StartError)) process.exit(0);
    throw thrown;
  }
  try {
    const told = await askNode(`127.0.0.1:${firstPort}`, process.env["BUNCH_PASSWORD"], "CLUSTER", "NODES");
    say(process.stdout, `\n${clusterTable(told, new Map(nodes.map(({ port, name }) => [port, name])))}\n`);
  } catch (thrown) {
    // The cluster is there all the same.
    if (!isStopping) say(process.stderr, `${messageOf(thrown)}\n`);
  }
  say(process.stdout, `\n${pc.green(`${count} ${count === 1 ? "node" : "nodes"}, all 16384 slots served.`)} Try:\n`);
  say(
    process.stdout,
    `  redis-cli -c -p ${firstPort} set foo bar\n  redis-cli -c -p ${firstPort + count - 1} get foo\n`,
  );
  for (const line of await httpLines(nodes, given === undefined ? token : undefined))
    say(process.stdout, `  ${line}\n`);
  say(process.stdout, "Ctrl-C stops them all.\n\n");
  await Promise.all(children.map(({ exited }) => exited));
  process.exit(exitCode);
}

/**
 * Where operators come, and what they show there.
 *
 * @param token The one that was drawn for them, if they do not have one. It is told to a terminal alone: what is kept of the output has no token in it.
 */
async function httpLines(
  nodes: readonly { readonly name: string; readonly port: number }[],
  token: string | undefined,
): Promise<readonly string[]> {
  const lines: string[] = [];
  const asked: number[] = [];
  for (const { name, port } of nodes) {
    // A node may have been told to listen elsewhere, or not at all.
    const told = await askNodeAnything(
      `127.0.0.1:${port}`,
      process.env["BUNCH_PASSWORD"],
      PATIENCE_MS,
      "CONFIG",
      "GET",
      "http-port",
    ).catch(() => undefined);
    const value: unknown = Array.isArray(told) ? told[1] : undefined;
    const httpPort = value instanceof Uint8Array ? new TextDecoder().decode(value) : "0";
    if (httpPort === "0") continue;
    asked.push(port);
    lines.push(`${name}: http://127.0.0.1:${httpPort}`);
  }
  const [first] = lines;
  if (first === undefined) return [];
  const bearer = token === undefined || !process.stdout.isTTY ? `$${TOKEN_VARIABLE}` : token;
  const header = process.env["BUNCH_HTTP_ADMIN_TOKEN"] === undefined ? ` -H "Authorization: Bearer ${bearer}"` : "";
  const hint =
    token !== undefined && !process.stdout.isTTY && header !== ""
      ? [`(a token was drawn, and is shown in a terminal alone; ${TOKEN_VARIABLE} sets one)`]
      : [];
  const address = first.replace(/^.*: /, "");
  const page = (await hasDashboard(address)) ? [`the dashboard: ${address}/dashboard`] : [];
  const status = `bun run bunch status --node 127.0.0.1:${asked[0] ?? 0}`;
  return [status, `curl${header} ${address}/cluster/info`, ...page, ...lines, ...hint];
}

/** Whether a node has the plugin: it may be turned off. */
async function hasDashboard(address: string): Promise<boolean> {
  const answer = await fetch(`${address}/dashboard/caller`).catch(() => undefined);
  return answer?.ok === true;
}

const COLOURS: readonly ((text: string) => string)[] = [pc.cyan, pc.yellow, pc.magenta, pc.green, pc.blue];

/** Calls back for each line of a stream, the last one too if it does not end in a newline. */
async function eachLine(stream: ReadableStream<Uint8Array>, callback: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) callback(line);
  }
  if (rest !== "") callback(rest);
}
