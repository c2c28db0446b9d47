/** Other nodes as REST asks them: where nothing can have reached one, nobody is told that it may have been done. */
import { expect, test } from "bun:test";
import type { ListenOptions } from "../../src/world.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { Peers } from "../../src/rest/peers.ts";
import { SessionLost } from "../../src/rest/sessions.ts";

const HOST = "127.0.0.1";
const { clock, network } = createBunWorld();

/** What becomes of a write at a port. @param password Of clients; `undefined`: they need none. */
async function writeAt(port: number, password?: string): Promise<unknown> {
  const peers = new Peers(network, clock, { current: password });
  return await peers
    .with({ id: "b".repeat(40), name: "b", host: HOST, port }, 5000, (run) => run(["SET", "k", "v"]))
    .catch((thrown: unknown) => thrown);
}

/** A port at which somebody listens. */
const listen = (accept: ListenOptions["accept"]): ReturnType<typeof network.listen> =>
  network.listen({ host: HOST, port: 0, accept });

test("where nobody listens nothing was sent", async () => {
  const listener = await listen(() => ({ data: () => undefined, writable: () => undefined, closed: () => undefined }));
  const { port } = listener;
  listener.close();
  for (const password of [undefined, "a password"]) {
    const lost = await writeAt(port, password);
    expect(lost).toBeInstanceOf(SessionLost);
    expect(lost).toMatchObject({ message: "node b does not answer", isUnsent: true });
  }
});

test("who has taken a write and goes without a word may have done it", async () => {
  const listener = await listen((stream) => ({
    data: () => stream.destroy(),
    writable: () => undefined,
    closed: () => undefined,
  }));
  expect(await writeAt(listener.port)).toMatchObject({ message: "node b does not answer", isUnsent: false });
  listener.close();
});
