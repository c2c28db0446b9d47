/** The event stream: what happens is told as it happens, in order, and a stream goes on where another one ended. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { type Topology, topologyService } from "../../src/contracts/topology.ts";
import type { Node } from "../../src/node.ts";
import { type AskOptions, type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { holdToDocument } from "../support/openapi-document.ts";

const token = TOKENS.readToken;
let node: Node;
let door: FakeHttpDoor;
let topology: Topology;
beforeAll(async () => {
  ({ node, door } = await startHttpNode({ name: "a", plugins: { http: { ...TOKENS, requestsPerSecond: 0 } } }));
  await holdToDocument(door);
  topology = present(node.service(topologyService), "there is a map");
});
afterAll(async () => {
  await node.stop();
});

interface Event {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A stream, event by event. */
class Stream {
  readonly #reader: Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel">;
  #text = "";

  constructor(response: Response) {
    this.#reader = present(response.body, "a stream has a body").getReader();
  }

  static async open(path = "/cluster/events", options: AskOptions = {}): Promise<Stream> {
    const response = await door.send(path, { token, ...options });
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    return new Stream(response);
  }

  /** @returns `undefined` at the end. */
  async next(): Promise<Event | undefined> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end >= 0) {
        const lines = this.#text.slice(0, end).split("\n");
        this.#text = this.#text.slice(end + 2);
        const field = (name: string): string | undefined =>
          lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        const event = field("event");
        // Without one it only says that it is there.
        if (event === undefined) continue;
        return { event, id: field("id"), data: JSON.parse(field("data") ?? "") as Event["data"] };
      }
      const { done, value } = await this.#reader.read();
      if (done) return undefined;
      this.#text += new TextDecoder().decode(value);
    }
  }

  async events(count: number): Promise<readonly Event[]> {
    const found: Event[] = [];
    while (found.length < count) found.push(present(await this.next(), "the stream goes on"));
    return found;
  }

  close(): Promise<void> {
    return this.#reader.cancel();
  }
}

const set = async (value: string): Promise<number> => {
  const outcome = await topology.request({ type: "change-setting", name: "on-loss", value }, `a test sets ${value}`);
  expect(outcome.type).toBe("done");
  return topology.map.version;
};

describe("a stream", () => {
  test("begins with where it is and how the cluster is, and tells each act with its cause", async () => {
    const keptBefore = door.kept;
    const stream = await Stream.open();
    expect(door.kept).toBe(keptBefore + 1);
    const before = topology.map.version;
    expect(await stream.events(2)).toEqual([
      { event: "start", id: String(before), data: { cluster_id: topology.map.clusterId, map_version: before } },
      { event: "state", id: undefined, data: { state: "ok", reasons: [] } },
    ]);
    const version = await set("accept");
    const [change] = await stream.events(1);
    expect(change).toMatchObject({
      event: "change",
      id: String(version),
      data: { version, cause: "a test sets accept", changes: ['setting on-loss is "accept"'] },
    });
    await stream.close();
  });

  test("goes on after the event that another one had last", async () => {
    const first = await Stream.open();
    await first.events(2);
    await set("stop");
    const [seen] = await first.events(1);
    await first.close();
    const missed = [await set("accept"), await set("stop")];
    for (const [path, headers] of [
      ["/cluster/events", { "last-event-id": seen?.id ?? "" }],
      [`/cluster/events?since=${seen?.id ?? ""}`, {}],
    ] as const) {
      const second = await Stream.open(path, { headers });
      const [start, ...changes] = await second.events(3);
      expect(start).toMatchObject({ event: "start", id: seen?.id });
      expect(changes.map(({ data }) => data["version"])).toEqual(missed);
      expect((await second.next())?.event).toBe("state");
      await second.close();
    }
  });

  test("that would have more to tell than may wait begins anew, and goes on", async () => {
    const before = topology.map.version;
    for (let change = 0; change < 501; change += 1) {
      const value = change % 2 === 0 ? "3" : "2";
      const outcome = await topology.request({ type: "change-setting", name: "min-in-sync", value }, "a long night");
      expect(outcome.type).toBe("done");
    }
    await topology.request({ type: "change-setting", name: "min-in-sync", value: "1" }, "the morning");
    const stream = await Stream.open(`/cluster/events?since=${before}`);
    expect(await stream.next()).toMatchObject({ event: "start", data: { map_version: topology.map.version } });
    await stream.next();
    await topology.request({ type: "change-setting", name: "on-loss", value: "accept" }, "the day");
    expect(await stream.next()).toMatchObject({ event: "change", data: { cause: "the day" } });
    await stream.close();
    await topology.request({ type: "change-setting", name: "on-loss", value: "stop" }, "the evening");
    // Not so many are told one by one.
    const other = await Stream.open(`/cluster/events?since=${topology.map.version - 400}`);
    expect((await other.events(402)).map(({ event }) => event).slice(0, 3)).toEqual(["start", "change", "change"]);
    await other.close();
  });

  test("that asks for what there is not begins anew", async () => {
    const stream = await Stream.open("/cluster/events?since=999999999");
    const [start, state] = await stream.events(2);
    expect(start).toMatchObject({ event: "start", data: { map_version: topology.map.version } });
    expect(state?.event).toBe("state");
    await stream.close();
    for (const bad of ["x", "-1", "1.5"]) {
      expect((await door.ask(`/cluster/events?since=${bad}`, { token })).status).toBe(422);
      expect((await door.ask("/cluster/events", { token, headers: { "last-event-id": bad } })).status).toBe(422);
    }
    expect((await door.ask("/cluster/events", { from: "10.0.0.9:1" })).status).toBe(401);
  });

  test("tells of members and of how the cluster is, when that changes", async () => {
    const stream = await Stream.open();
    await stream.events(2);
    const told = {
      nodeId: "b".repeat(40),
      incarnation: 1,
      state: "down",
      previous: "suspect",
      reason: "a test",
    } as const;
    node.hooks.memberChanged.notify(told);
    expect((await stream.events(1))[0]).toMatchObject({
      event: "member",
      data: { state: "down", previous: "suspect", reason: "a test" },
    });
    node.hooks.memberChanged.notify({ ...told, reason: `${node.facts.id.slice(0, 8)} told so` });
    expect((await stream.events(1))[0]?.data["reason"]).toBe("a found that it does not answer");
    await topology.request({ type: "release-slots", slots: [{ first: 7, last: 7 }] }, "a test");
    const [change, state] = await stream.events(2);
    expect(change?.event).toBe("change");
    expect(state).toMatchObject({ event: "state", data: { state: "fail", reasons: ["1 slot is nobody's"] } });
    await topology.request({ type: "assign-slots", node: node.facts.id, slots: [{ first: 7, last: 7 }] }, "a test");
    let last: Event | undefined;
    do last = await stream.next();
    while (last !== undefined && last.data["state"] !== "ok");
    expect(last?.event).toBe("state");
    await stream.close();
  });
});

test("streams are bounded, and who does not read is let go", async () => {
  const open = (from: string, count: number): Promise<readonly Stream[]> =>
    Promise.all(Array.from({ length: count }, () => Stream.open("/cluster/events", { from })));
  const streams = [...(await open("10.0.0.1:1", 32))];
  // Who has many keeps nobody else out.
  const tooMany = await door.ask("/cluster/events", { token, from: "10.0.0.1:2" });
  expect([tooMany.status, tooMany.headers.get("retry-after"), tooMany.json()]).toMatchObject([
    429,
    "10",
    { detail: "This address has 32 event streams already (rest.maxEventStreamsPerAddress)." },
  ]);
  streams.push(...(await open("10.0.0.2:1", 32)));
  const refused = await door.ask("/cluster/events", { token, from: "10.0.0.3:1" });
  expect([refused.status, refused.headers.get("retry-after"), refused.json()]).toMatchObject([
    503,
    "10",
    { detail: "There are 64 event streams already (rest.maxEventStreams)." },
  ]);
  await streams.pop()?.close();
  streams.push(...(await open("10.0.0.3:1", 1)));
  await Promise.all(streams.map((stream) => stream.close()));
  const deaf = await Stream.open();
  const told = { nodeId: "b".repeat(40), incarnation: 1, state: "alive", previous: "suspect", reason: "" } as const;
  for (let count = 0; count < 1100; count += 1) node.hooks.memberChanged.notify(told);
  const read = async (): Promise<void> => {
    while ((await deaf.next()) !== undefined);
  };
  expect(read()).rejects.toThrow("too much");
});

test("a stream whose token was replaced ends; one that nobody would read is none", async () => {
  const own = await startHttpNode({ name: "t", plugins: { http: { ...TOKENS, requestsPerSecond: 0 } } });
  await holdToDocument(own.door);
  const open = (path: string, options: AskOptions): Promise<Response> => own.door.send(path, options);
  const stream = new Stream(await open("/cluster/events", { token: TOKENS.readToken }));
  await stream.events(2);
  const connection = own.node.connect();
  expect(await connection.execute("config", "set", "http-read-token", "another-0123456789abcdef")).toBe("OK");
  connection.close();
  expect(await stream.next()).toBeUndefined();
  // More than there may be streams.
  for (let asked = 0; asked < 70; asked += 1) {
    const head = await open("/cluster/events", { method: "HEAD", token: TOKENS.adminToken });
    expect([head.status, head.body]).toEqual([200, null]);
  }
  await own.node.stop();
});

test("a node that stops ends its streams", async () => {
  const other = await startHttpNode();
  await holdToDocument(other.door);
  const response = await other.door.send("/cluster/events", { token });
  const stream = new Stream(response);
  await stream.events(2);
  await other.node.stop();
  let last: Event | undefined;
  do last = await stream.next();
  while (last !== undefined);
  expect(last).toBeUndefined();
});
