/** Nodes that are processes of their own, known by their ports: what tests of clusters of them share. */
import { type BunchProcess, runBunch } from "./bunch-server.ts";

/** Below the ports that a system gives to connections going out: another process' may have one of those. */
export function busPort(port: number): number {
  return port + 500;
}

/** Where other nodes find the nodes of these ports, as `--join` takes it. */
export function busAddresses(...ports: readonly number[]): string {
  return ports.map((port) => `127.0.0.1:${busPort(port)}`).join(",");
}

/** Starts the node of a port, named after it. */
export function runNode(port: number, ...flags: readonly string[]): BunchProcess {
  return runBunch([
    "node",
    "--port",
    String(port),
    "--bus-port",
    String(busPort(port)),
    "--name",
    `node-${port}`,
    ...flags,
  ]);
}
