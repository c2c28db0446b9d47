/**
 * Keys as REST asks for them, while primaries are lost: each node has callers of its own, who ask it for a key that another node may have (`route=proxy`). What they are told
 * is held against one register a key: a success happened, a refusal did not, and only where a caller is told that nobody knows may it be either.
 */
import { expect, test } from "bun:test";
import { tagOf, type Condition, type KeyOperation, type KeyOutcome } from "../../src/rest/key-operations.ts";
import { routeKey } from "../../src/rest/key-routes.ts";
import { LocalCommands } from "../../src/rest/local-commands.ts";
import { Nodes } from "../../src/rest/nodes.ts";
import { Peers } from "../../src/rest/peers.ts";
import { Problem } from "../../src/http/problem.ts";
import type { Node } from "../../src/node.ts";
import { FailoverWorld } from "../support/failover-world.ts";
import { History } from "../support/history.ts";
import { type Model, checkHistory, formatReport } from "../support/linearizability.ts";

type Input =
  | { readonly command: "get" | "delete" }
  | { readonly command: "put" | "create"; readonly value: string; readonly seen?: undefined }
  | { readonly command: "swap"; readonly seen: string; readonly value: string };
/** The value of a get; of all else whether it was done. */
type Output = string | null | boolean;

const model: Model<string | null, Input, Output> = {
  initial: null,
  step(state, input, output) {
    switch (input.command) {
      case "get":
        return output === undefined || output === state ? state : undefined;
      case "delete":
        return output === undefined || output === (state !== null) ? null : undefined;
      case "put":
        return output === false ? undefined : input.value;
      case "create":
        if (output === undefined) return state ?? input.value;
        return output === (state === null) ? (state ?? input.value) : undefined;
      case "swap":
        // That it was not done says little: somebody may have touched the key and put back what was there.
        if (output === false) return state;
        if (output === undefined) return state === input.seen ? input.value : state;
        return state === input.seen ? input.value : undefined;
      default:
        return input satisfies never;
    }
  },
  stateKey: (state) => JSON.stringify(state),
  isReadOnly: (input) => input.command === "get",
  describe: (input, output) => `${JSON.stringify(input)} -> ${JSON.stringify(output) ?? "unknown"}`,
};

const KEYS = ["k1", "k2", "k3"];
const encoder = new TextEncoder();

function operationOf(key: string, input: Input): KeyOperation {
  const bytes = encoder.encode(key);
  const none: Condition = { type: "none" };
  switch (input.command) {
    case "get":
      return { type: "get", key: bytes };
    case "delete":
      return { type: "delete", key: bytes, condition: none };
    default: {
      const { command, seen } = input;
      const condition: Condition =
        seen !== undefined
          ? { type: "tags", tags: [tagOf(encoder.encode(seen))] }
          : command === "create"
            ? { type: "absent" }
            : none;
      return { type: "put", key: bytes, value: encoder.encode(input.value), ttl: undefined, condition };
    }
  }
}

function outputOf(outcome: KeyOutcome): Output {
  if (outcome.type === "value") return new TextDecoder().decode(outcome.value);
  if (outcome.type === "none") return null;
  return outcome.type !== "failed";
}

class Callers {
  readonly history: History<Input, Output>;
  done = 0;
  unknown = 0;
  refused = 0;
  isStopped = false;
  #counter = 0;
  readonly #world: FailoverWorld;

  constructor(world: FailoverWorld) {
    this.#world = world;
    this.history = new History(() => world.simulation.nowMs);
  }

  /** Callers of a node, for as long as it runs. */
  begin(name: string, node: Node): void {
    const { topology } = { topology: this.#world.topology(name) };
    const { clock, network } = node.world;
    const local = new LocalCommands(() => node.connect(), clock);
    const nodes = new Nodes(() => topology.self.id, local, new Peers(network, clock, node.passwords));
    for (let caller = 0; caller < 2; caller += 1) void this.#call(`${name}${caller}`, node, { topology, nodes });
  }

  async #call(
    client: string,
    { world: { clock, random } }: Node,
    sources: Parameters<typeof routeKey>[0],
  ): Promise<void> {
    const seen = new Map<string, string>();
    while (!this.isStopped) {
      const key = KEYS[random.below(KEYS.length)] ?? "";
      this.#counter += 1;
      const input = this.#draw(random.below(6), `${client}.${this.#counter}`, seen.get(key));
      const pending = this.history.invoke(client, key, input);
      try {
        const outcome = await routeKey(sources, operationOf(key, input), true, false);
        if (outcome.type === "elsewhere") throw new Error("who asks in a caller's stead sends nobody on");
        const output = outputOf(outcome);
        pending.returned(input.command === "delete" ? output === true : output);
        if (input.command === "get" && typeof output === "string") seen.set(key, output);
        this.done += 1;
      } catch (thrown) {
        if (!(thrown instanceof Problem)) throw thrown;
        if (thrown.kind === "outcome-unknown") this.unknown += 1;
        else {
          pending.failed();
          this.refused += 1;
        }
      }
      await new Promise<void>((resolve) => void clock.after(random.below(30), resolve));
    }
  }

  #draw(which: number, value: string, seen: string | undefined): Input {
    if (which === 0) return { command: "delete" };
    if (which === 1) return { command: "put", value };
    if (which === 2) return { command: "create", value };
    if (which === 3 && seen !== undefined) return { command: "swap", seen, value };
    return { command: "get" };
  }
}

test("what callers are told holds while primaries are cut off, killed, and hand over", async () => {
  let unknown = 0;
  let refused = 0;
  for (const seed of [1, 2, 3, 4]) {
    const world = new FailoverWorld({ seed, isReal: true, settingsOf: () => ({ plugins: { resp: {} } }) });
    const { simulation } = world;
    await world.whole();
    await world.follow("b", "c");
    const callers = new Callers(world);
    const known = new Map<string, Node>();
    const greet = (): void => {
      for (const name of world.names) {
        if (!world.isUp(name) || known.get(name) === world.node(name)) continue;
        known.set(name, world.node(name));
        callers.begin(name, world.node(name));
      }
    };
    const isWell = (): boolean => {
      greet();
      return (
        world.names.every((name) => world.isUp(name) && world.topology(name).waitingFor === undefined) &&
        world.shard(world.leader).inSync.length === world.names.length &&
        world.isHeld(world.primary(world.leader))
      );
    };
    for (let round = 0; round < 8; round += 1) {
      await world.until("all to be well", isWell, 60_000);
      await simulation.runFor(300);
      const primary = world.primary(world.leader);
      const others = world.names.filter((name) => name !== primary).map((name) => world.hostOf(name));
      switch ((seed + round) % 4) {
        // It still reaches the others, who take what it sends, and hears no word of theirs: what it does not confirm may be there all the same.
        case 3:
          simulation.cutOneWay(others, [world.hostOf(primary)]);
          await simulation.runFor(2500);
          simulation.heal();
          break;
        case 0:
          simulation.isolate([world.hostOf(primary)]);
          await simulation.runFor(2500);
          simulation.heal();
          break;
        case 1:
          world.crash(primary);
          await simulation.runFor(1500);
          simulation.restart(world.hostOf(primary));
          break;
        default: {
          const heir = world.names.find((name) => name !== primary) ?? "";
          const begun = world.failover(heir).handOver(world.shard(heir).id, world.idOf(heir), false, "a test");
          await simulation.settle("a hand-over", begun, 10_000);
        }
      }
    }
    await world.until("all to be well", isWell, 60_000);
    callers.isStopped = true;
    await simulation.runFor(15_000);
    const report = checkHistory(callers.history.operations(), model);
    if (report.verdict !== "linearizable")
      throw simulation.error(`What was told does not hold. ${formatReport(report)}`);
    expect(callers.done).toBeGreaterThan(300);
    unknown += callers.unknown;
    refused += callers.refused;
  }
  // Else nothing was tried.
  expect(unknown).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(0);
}, 120_000);
