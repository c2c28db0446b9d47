/** Nodes that are processes of their own, known by their ports: what tests of clusters of them share. */
import { type BunchProcess, runBunch } from "./bunch-server.ts";
import { hostOf } from "./places.ts";

/** Below the ports that a system gives to connections going out: another process' may have one of those. */
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
