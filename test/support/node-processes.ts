/** Nodes that are processes of their own, known by their ports: what tests of clusters of them share. */
import { assert } from "../../src/assert.ts";
import { HTTP_PORT_OFFSET } from "../../src/config.ts";
import { type BunchProcess, runBunch } from "./bunch-server.ts";
import { hostOf } from "./places.ts";

/** From here on a system gives ports to connections going out: another process' may have one of those. */
const FIRST_CHOSEN_PORT = 32_768;

export function busPort(port: number): number {
  return port + 500;
}

/** Where other nodes find the nodes of these ports, as `--join` takes it. */
export function busAddresses(...ports: readonly number[]): string {
  return ports.map((port) => `${hostOf(port)}:${busPort(port)}`).join(",");
}

/** Starts the node of a port, named after it. */
export function runNode(port: number, ...flags: readonly string[]): BunchProcess {
  return runNodeWithin([], port, ...flags);
}

/** The same on a network of its own. @param within What its command begins with. */
export function runNodeWithin(within: readonly string[], port: number, ...flags: readonly string[]): BunchProcess {
  assert(port + HTTP_PORT_OFFSET < FIRST_CHOSEN_PORT, `a node's ports are its own: ${port} is too high for that`);
  const args = [
    "node",
    "--port",
    String(port),
    "--bus-port",
    String(busPort(port)),
    "--name",
    `node-${port}`,
    ...flags,
  ];
  return runBunch(args, {}, undefined, within);
}
