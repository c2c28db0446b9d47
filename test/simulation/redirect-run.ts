/**
 * A run of the simulation: nodes with a configured map, clients that follow redirects, crashes and partitions.
 *
 * Safety phase: faults as the seed has drawn them. No answer may be wrong: each key's history is linearizable (a node that crashes loses its keys,
 * and the model knows), and nobody serves a slot that it does not own. Liveness phase: all faults end; every key must be served again within a
 * bound of virtual time.
 */
import { Store } from "../../src/store/store.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import { type Node, createNode } from "../../src/node.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import type { SlotRange } from "../../src/contracts/topology.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { History } from "../support/history.ts";
import { checkHistory, formatReport } from "../support/linearizability.ts";
import { type RegisterInput, type RegisterOutput, registerModel } from "../support/register-model.ts";
import { Simulation } from "../support/sim-world.ts";
import { type SwarmOptions, drawSwarm, swarmSimulation } from "../support/swarm.ts";
import { SimClient } from "./sim-client.ts";

export interface RedirectRunOptions {
  readonly nodes: number;
  readonly clients: number;
  /** Virtual milliseconds of faults. */
  readonly safetyMs: number;
  /** Plugins of the nodes that are turned off: a run without the router must fail, which shows that the checkers see. */
  readonly disabled: readonly string[];
  /** What goes wrong; by default as the seed draws it. */
  readonly swarm: SwarmOptions | undefined;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
}

const DEFAULTS: RedirectRunOptions = {
  nodes: 3,
  clients: 4,
  safetyMs: 8000,
  disabled: [],
  swarm: undefined,
  sink: undefined,
};

/** What a run came to. */
export interface RunResult {
  /** Depends on everything that happened. */
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly answered: number;
  readonly redirected: number;
  readonly unknown: number;
  readonly faults: string;
}

const PORT = 6379;
/** Keys that clients fight for: a few on each node, so that histories overlap. */
const KEYS = ["a", "b", "c", "d", "{t}1", "{t}2", "user:1", "user:2"];
/** A healed world serves every key again within this: connections that hang are given up after 1.5 s, and nodes start at once. */
const LIVENESS_MS = 20_000;
/** How often the invariants that look into nodes are checked. */
const CHECK_EVERY_EVENTS = 50;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runRedirects(seed: number, options: Partial<RedirectRunOptions> = {}): Promise<RunResult> {
  const {
    nodes: nodeCount,
    clients: clientCount,
    safetyMs,
    disabled,
    swarm: given,
    sink,
  } = { ...DEFAULTS, ...options };
  const swarm = given ?? drawSwarm(seed);
  const simulation = new Simulation(seed, { ...swarmSimulation(swarm), sink });
  const history = new History<RegisterInput, RegisterOutput>(() => simulation.nowMs);

  const ranges = divideSlots(nodeCount);
  const members = ranges.map((range, index) => ({
    name: `node-${index + 1}`,
    host: `10.0.0.${index + 1}`,
    port: PORT,
    slots: [formatSlotRange(range)],
  }));
  const running = new Map<string, Node>();
  for (const { name, host } of members) {
    simulation.addHost(host, async (world) => {
      const node = await createNode({
        world,
        config: {
          name,
          host,
          port: PORT,
          insecure: true,
          plugins: {
            topology: { nodes: members },
            // The map is what the configuration says; `cluster-run.ts` has one that changes.
            raft: false,
            bus: false,
            ...Object.fromEntries(disabled.map((plugin) => [plugin, false])),
          },
        },
      });
      await node.start();
      running.set(host, node);
    });
  }
  const encoder = new TextEncoder();
  const slotOf = (key: string): number => {
    const bytes = encoder.encode(key);
    return keySlot(bytes, 0, bytes.length);
  };
  const ownerOf = (slot: number): string => {
    const index = ranges.findIndex((range: SlotRange) => slot >= range.first && slot <= range.last);
    return members[index]?.host ?? "";
  };

  // A node that crashes loses its keys, between that moment and the first one at which it may answer again.
  const losses = new Map<string, { returned(output: RegisterOutput): void }>();
  simulation.observe(({ type, host }) => {
    if (!members.some((member) => member.host === host.name)) return;
    if (type === "crashed") {
      running.delete(host.name);
      losses.set(
        host.name,
        history.invokeOnMany(host.name, (key) => ownerOf(slotOf(key)) === host.name, { command: "LOST" }),
      );
    } else {
      losses.get(host.name)?.returned("OK");
      losses.delete(host.name);
    }
  });

  const served = new Set<string>();
  const clients: SimClient[] = [];
  for (let index = 0; index < clientCount; index += 1) {
    const host = simulation.addHost(`10.0.1.${index + 1}`, async (world) => {
      const client = new SimClient({
        name: `client-${index + 1}`,
        world,
        addresses: members.map((member) => `${member.host}:${member.port}`),
        keys: KEYS,
        history,
        onServed: (key, address) => {
          served.add(key);
          if (ownerOf(slotOf(key)) !== address.split(":")[0]) {
            throw new Error(
              `${address} served key ${key} of slot ${slotOf(key)}, which belongs to ${ownerOf(slotOf(key))}`,
            );
          }
        },
      });
      clients.push(client);
      await client.run();
    });
    simulation.explain(() => (host.isUp ? undefined : `${host.name} is down`));
  }

  simulation.check(
    "nobody holds keys of a slot that it does not own",
    () => {
      for (const [host, node] of running) {
        const keyspace = node.service(keyspaceService);
        for (const key of KEYS) {
          const slot = slotOf(key);
          if (ownerOf(slot) !== host && (keyspace?.slotSize(slot) ?? 0) > 0)
            throw new Error(`${host} holds keys of slot ${slot}`);
        }
      }
    },
    CHECK_EVERY_EVENTS,
  );
  simulation.check(
    "every store fits together",
    () => {
      for (const node of running.values()) {
        const keyspace = node.service(keyspaceService);
        if (keyspace instanceof Store) keyspace.check();
      }
    },
    5000,
  );

  const injector = new FaultInjector(simulation, swarm, {
    hosts: members.map((member) => member.host),
    bystanders: clients.length === 0 ? Array.from({ length: clientCount }, (_, index) => `10.0.1.${index + 1}`) : [],
  });
  injector.start();
  await simulation.runFor(safetyMs);
  injector.stopAndHeal();
  // A stall that has begun ends by itself, and the faults have only ended when it has: it may outlast the phase by far.
  const lastStallMs = Math.max(0, ...simulation.hosts.map((host) => host.process.readyAtUs / 1000 - simulation.nowMs));
  await simulation.runFor(lastStallMs);
  served.clear();
  simulation.explain(
    () => `keys not served since the world was healed: ${KEYS.filter((key) => !served.has(key)).join(", ")}`,
  );
  await simulation.runUntil("every key to be served again", () => KEYS.every((key) => served.has(key)), LIVENESS_MS);
  for (const client of clients) client.stop();
  await simulation.runFor(3000);

  const report = checkHistory(history.operations(), registerModel);
  if (report.verdict !== "linearizable")
    throw simulation.error(`The clients' history is wrong. ${formatReport(report)}`);
  const sum = (of: (client: SimClient) => number): number => clients.reduce((total, client) => total + of(client), 0);
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    answered: sum((client) => client.answered),
    redirected: sum((client) => client.redirected),
    unknown: sum((client) => client.unknown),
    faults: injector.summary(),
  };
}
