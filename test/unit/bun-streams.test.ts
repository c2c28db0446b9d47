/** Streams on real sockets keep what the contract says of the order of calls. */
import { expect, test } from "bun:test";
import { createBunWorld } from "../../src/world-bun.ts";
import type { Stream } from "../../src/world.ts";

for (const how of ["end", "destroy"] as const) {
  for (const side of ["opened", "accepted"] as const) {
    test(`the end of a stream that was ${side} is told after ${how}() has returned, and once`, async () => {
      const { network } = createBunWorld({ logLevel: "silent" });
      const told: string[] = [];
      const { promise: bothClosed, resolve } = Promise.withResolvers<void>();
      const handlerOf = (name: string) => ({
        opened: (stream: Stream) => act(name, stream),
        data: () => undefined,
        writable: () => undefined,
        closed: () => {
          told.push(name);
          if (told.length === 3) resolve();
        },
      });
      const act = (name: string, stream: Stream): void => {
        if (name !== side) return;
        // From a turn of its own: within a callback of the socket its end would wait in any case.
        setImmediate(() => {
          stream[how]();
          told.push("returned");
        });
      };
      const listener = await network.listen({
        host: "127.0.0.1",
        port: 0,
        accept: (stream) => {
          act("accepted", stream);
          return handlerOf("accepted");
        },
      });
      network.connect({ host: "127.0.0.1", port: listener.port, handler: handlerOf("opened") });
      await bothClosed;
      listener.close();
      expect(told[0]).toBe("returned");
      expect(told.slice(1).toSorted()).toEqual(["accepted", "opened"]);
    });
  }
}

for (const [host, port] of [
  ["127.0.0.1", 99_999],
  ["127.0.0.1", -1],
  ["", 1],
  ["a\0b", 1],
  ["x".repeat(10_000), 1],
] as const) {
  test(`a stream to what is no address (${host.slice(0, 20)}, port ${port}) does not come about, and is told to be closed later`, async () => {
    const { network } = createBunWorld({ logLevel: "silent" });
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    let hasReturned = false;
    network.connect({
      host,
      port,
      handler: {
        data: () => undefined,
        writable: () => undefined,
        closed: (_stream, reason) => {
          expect(hasReturned).toBe(true);
          resolve(reason);
        },
      },
    });
    hasReturned = true;
    expect(await promise).toBeString();
  });
}
