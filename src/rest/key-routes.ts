/**
 * Which node does what is asked of a key: this one; or the caller is sent to the one that has it; or, if the caller wants that, this one asks there in its stead.
 *
 * SAFETY: a redirect says that nothing was done. Where a write may have been logged and has no reply, the caller is told that nobody knows (`outcome-unknown`).
 */
import { ReplyError } from "../codec/resp-reader.ts";
import type { ClusterMap, NodeRecord } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { formatAddress } from "../net-address.ts";
import { writeKey } from "./key-text.ts";
import { type KeyOperation, type KeyOutcome, Redirected, operate } from "./key-operations.ts";
import type { Nodes } from "./nodes.ts";
import { problemOf } from "./resp-problem.ts";
import { SessionLost } from "./sessions.ts";

/** How long a node may take. A command may be held while a slot changes hands, which is a matter of a second at the worst. */
const PATIENCE_MS = 10_000;
/** Where a slot is in motion a key may be sent on once or twice; more is a circle. */
const MAX_HOPS = 5;

/** Another node has the key. */
export interface Elsewhere {
  readonly type: "elsewhere";
  readonly kind: "MOVED" | "ASK";
  readonly slot: number;
  readonly node: NodeRecord | undefined;
}

export interface KeySources {
  readonly topology: { readonly self: NodeRecord; readonly map: Pick<ClusterMap, "nodes"> };
  readonly nodes: Pick<Nodes, "with">;
  /** Why nobody serves a slot, as far as this node knows; `undefined`: somebody does. Missing where nobody finds that out. */
  readonly whyNotServed?: (slot: number) => string | undefined;
}

/**
 * Does what is asked of a key.
 *
 * @param isProxied Wherever the key is; else only here.
 * @param isAsking This node was named by ASK.
 * @throws {Problem} Why it was not done, or that nobody knows.
 */
export async function routeKey(
  { topology, nodes, whyNotServed }: KeySources,
  operation: KeyOperation,
  isProxied: boolean,
  isAsking: boolean,
): Promise<KeyOutcome | Elsewhere> {
  let node = topology.self;
  let asks = isAsking;
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    try {
      return await nodes.with(node, PATIENCE_MS, (run) => operate(run, operation, asks));
    } catch (thrown) {
      if (!(thrown instanceof Redirected)) throw problemOfKey(thrown, operation);
      const { kind, slot, address } = thrown;
      // A client of Redis would find out by itself, and ask again: here the one that would be asked is known to be of no use.
      const reason = kind === "MOVED" ? whyNotServed?.(slot) : undefined;
      if (reason !== undefined) {
        throw new Problem("cluster-down", `Nobody serves slot ${slot}: ${reason}.`, {
          retryAfterS: 1,
          members: { code: "CLUSTERDOWN", slot },
        });
      }
      const next = nodeAt(topology, address);
      if (!isProxied) return { type: "elsewhere", kind, slot, node: next };
      if (next === undefined) break;
      node = next;
      asks = kind === "ASK";
    }
  }
  throw new Problem("unavailable", "The key's slot is on its way from node to node.", { retryAfterS: 1 });
}

function problemOfKey(thrown: unknown, operation: KeyOperation): unknown {
  if (thrown instanceof ReplyError) return problemOf(thrown.message);
  if (!(thrown instanceof SessionLost)) return thrown;
  if (thrown.isUnsent) return new Problem("unavailable", `It was not done: ${thrown.message}.`, { retryAfterS: 1 });
  return operation.type === "get"
    ? new Problem("unavailable", `There is no answer: ${thrown.message}.`, { retryAfterS: 1 })
    : new Problem("outcome-unknown", `It may have been done or not: ${thrown.message}.`);
}

/** The node that clients are sent to by this address. */
function nodeAt({ map, self }: KeySources["topology"], address: string): NodeRecord | undefined {
  const isIt = ({ host, port }: NodeRecord): boolean =>
    formatAddress({ host, port }) === address || `${host}:${port}` === address;
  return isIt(self) ? self : map.nodes.find(isIt);
}

/** Where the caller is to ask instead. @throws {Problem} If that node does not listen to operators. */
export function locationOf({ kind, node, slot }: Elsewhere, key: Uint8Array, search: string): string {
  if (node === undefined || node.httpPort === 0) {
    throw new Problem(
      "unavailable",
      `Node ${node?.name || node?.id || "?"} has slot ${slot}, and does not listen for HTTP: ask with route=proxy.`,
      { retryAfterS: 1, members: { code: kind, slot } },
    );
  }
  const kept = search
    .replace(/^\?/, "")
    .split("&")
    .filter((part) => part !== "" && !part.startsWith("asking="));
  const text = [...kept, ...(kind === "ASK" ? ["asking=true"] : [])].join("&");
  return `http://${formatAddress({ host: node.httpHost, port: node.httpPort })}/kv/${writeKey(key)}${text === "" ? "" : `?${text}`}`;
}
