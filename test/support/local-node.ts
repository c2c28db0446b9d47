/** A node without sockets, for tests of what commands answer: replies as text, one client or many. */
import { ReplyError, type ReplyValue } from "../../src/codec/resp-reader.ts";
import type { Config } from "../../src/config.ts";
import { type Node, type NodeOptions, createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";

/** Starts a node that no client can connect to. Its port for other nodes is any: tests run side by side. */
export async function startLocalNode(config: Config = {}, options: Partial<NodeOptions> = {}): Promise<Node> {
  const node = await createNode({
    world: createBunWorld({ logLevel: "silent" }),
    ...options,
    config: { port: 0, ...config, plugins: { resp: false, http: false, ...config.plugins } },
  });
  await node.start();
  return node;
}

/** A reply as a test reads it: values as text, lists in brackets, errors as their message. */
export function showReply(value: ReplyValue): string {
  if (value instanceof ReplyError) return value.message;
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (Array.isArray(value)) return `[${value.map((each: ReplyValue) => showReply(each)).join(" ")}]`;
  return value === null ? "nil" : typeof value === "string" ? value : Bun.inspect(value);
}

/** A client that takes a command line and gives the reply as text. */
export function localClient(node: Node): { run(line: string): Promise<string>; close(): void } {
  const connection = node.connect();
  return {
    run: async (line) => showReply(await connection.execute(...line.split(" "))),
    close: () => connection.close(),
  };
}
