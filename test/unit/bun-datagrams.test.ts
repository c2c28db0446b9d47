/** Datagrams on real sockets: by address and by name; what cannot be sent is lost, and nothing else happens. */
import { expect, test } from "bun:test";
import { createBunWorld } from "../../src/world-bun.ts";

test("datagrams go to addresses and to names, and those that cannot go are lost", async () => {
  const { network } = createBunWorld({ logLevel: "silent" });
  const heard = new Map<string, string>();
  const one = await network.bind({ host: "127.0.0.1", port: 0, received: () => undefined });
  const other = await network.bind({
    host: "127.0.0.1",
    port: 0,
    received: (bytes, host, port) => heard.set(new TextDecoder().decode(bytes), `${host}:${port}`),
  });
  const deadlineMs = performance.now() + 5000;
  while (heard.size < 2) {
    expect(performance.now()).toBeLessThan(deadlineMs);
    for (const host of ["127.0.0.1", "localhost"]) one.send(new TextEncoder().encode(host), host, other.port);
    // No such family here, no way there, no such name, nobody who listens, too long.
    for (const host of ["::1", "255.255.255.255", "no-such-host.invalid"])
      one.send(new Uint8Array(1), host, other.port);
    one.send(new Uint8Array(1), "127.0.0.1", 1);
    one.send(new Uint8Array(65_508), "127.0.0.1", other.port);
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (const host of ["127.0.0.1", "localhost"]) expect(heard.get(host)).toBe(`127.0.0.1:${one.port}`);
  one.close();
  other.close();
  one.send(new Uint8Array(1), "127.0.0.1", other.port);
});
