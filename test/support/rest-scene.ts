/** What tests of REST have in common that say what becomes of what is asked: a node without whoever would decide, a map of two nodes, and another node that says what a test wants. */
import { defaultPlugins } from "../../src/default-plugins.ts";

/** What would decide really, or stand in the way of what a test says. */
export const WITHOUT = Object.fromEntries(
  defaultPlugins
    .map(({ name }): string => name)
    .filter((name) =>
      ["topology", "raft", "bus", "hash-slot-router", "migrator", "failover", "auto-rebalance", "meet"].includes(name),
    )
    .map((name) => [name, false]),
);
/** Half of the slots each. */
export const HALVES = [{ slots: [{ first: 0, last: 8191 }] }, { slots: [{ first: 8192, last: 16_383 }] }] as const;

/** Another node, which says the same to all that it is asked, or nothing and goes; and to who comes what it is greeted with, or nothing. */
export function listenAs(port: number, told: () => string, greeting = () => ""): Bun.TCPSocketListener<undefined> {
  return Bun.listen({
    hostname: "127.0.0.1",
    port,
    socket: {
      open: (socket) => void (greeting() === "" ? 0 : socket.end(greeting())),
      data: (socket) => void (told() === "" ? socket.end() : socket.write(told())),
    },
  });
}
