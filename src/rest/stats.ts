/** The operation of REST that tells what each node has to do, as each says of itself: any node asks all others, as a client would. */
import { Elysia } from "elysia";
import { textOf } from "../codec/reply-fields.ts";
import type { NodeRecord } from "../contracts/topology.ts";
import { type Callers, needs } from "./api.ts";
import { Round } from "./round.ts";
import { LEASES, type NodeStats, type Stats, noQuery, statsSchema } from "./schemas.ts";
import type { RestSources } from "./sources.ts";

/** What was heard so lately is told again. */
const FRESH_MS = 1000;

/** What INFO calls how a replica is. */
const REPLICA_STATES = { wait_bgsave: "absent", send_bulk: "filling", online: "following" } as const;

/** Reads what INFO says: names and values. */
export function infoFields(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0 && !line.startsWith("#")) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

/** Parts such as `calls=1,usec=2`. */
function partsOf(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split(",").map((part) => {
      const equals = part.indexOf("=");
      return [part.slice(0, equals), part.slice(equals + 1)] as const;
    }),
  );
}

function numberOf(text: string | undefined): number {
  const value = Number(text);
  return Number.isFinite(value) && value > 0 ? value : 0;
}

/**
 * What a node has said.
 *
 * @param text Of INFO.
 * @param askedAtMs Wall time.
 * @param nodes Of the map, to find replicas by their addresses.
 */
export function statsOf(text: string, askedAtMs: number, nodes: readonly NodeRecord[]): NodeStats {
  const fields = infoFields(text);
  const whole = (name: string): number => Math.round(numberOf(fields.get(name)));
  // To be asked is no work: without clients there would be nothing else to see.
  let asked = 0;
  let calls = 0;
  let microseconds = 0;
  const replicas: NodeStats["replicas"] = [];
  for (const [name, value] of fields) {
    if (name === "cmdstat_info") asked = numberOf(partsOf(value).get("calls"));
    else if (name.startsWith("cmdstat_")) {
      const parts = partsOf(value);
      calls += numberOf(parts.get("calls"));
      microseconds += numberOf(parts.get("usec"));
    } else if (/^slave[0-9]+$/.test(name)) {
      const parts = partsOf(value);
      const [host, port] = [parts.get("ip"), numberOf(parts.get("port"))];
      const node = nodes.find((each) => each.host === host && each.port === port);
      const word = parts.get("state") ?? "";
      const state = Object.entries(REPLICA_STATES).find(([said]) => said === word)?.[1] ?? "absent";
      if (node !== undefined)
        replicas.push({
          node_id: node.id,
          state,
          in_sync: parts.get("in_sync") === "1",
          lag: Math.round(numberOf(parts.get("behind"))),
        });
    }
  }
  const said = fields.get("lease_state");
  return {
    asked_at: askedAtMs,
    uptime_s: whole("uptime_in_seconds"),
    commands: Math.max(0, whole("total_commands_processed") - asked),
    commands_per_second: whole("instantaneous_ops_per_sec"),
    command_calls: Math.round(calls),
    command_us: Math.round(microseconds),
    errors: whole("total_error_replies"),
    memory_bytes: whole("used_memory"),
    resident_bytes: whole("used_memory_rss"),
    max_memory_bytes: whole("maxmemory"),
    keys: Math.round(numberOf(partsOf(fields.get("db0") ?? "").get("keys"))),
    clients: whole("connected_clients"),
    loop_lag_ms: numberOf(fields.get("membership_loop_lag_ms")),
    lease: LEASES.find((each) => each === said) ?? "none",
    lease_left_ms: whole("lease_left_ms"),
    replicas,
  };
}

const INFO = "INFO server clients memory stats replication cluster keyspace failover commandstats".split(" ");

export function statsReads(sources: RestSources, callers: Callers) {
  const round = new Round(sources, INFO, FRESH_MS, true);
  const read = async (): Promise<Stats> => {
    const words = await round.words();
    const listed = sources.topology.map.nodes;
    const nodes = listed.map(({ id }) => {
      const word = words.get(id);
      const isTold = word !== undefined && "reply" in word && textOf(word.reply) !== "";
      return { node_id: id, stats: isTold ? statsOf(textOf(word.reply), word.askedAtMs, listed) : null };
    });
    return { nodes, count: nodes.length };
  };
  return new Elysia({ prefix: "/cluster", normalize: false }).get("/stats", read, {
    ...needs(callers, "read", "What each node has to do, and how it is, as it says itself", {
      description: `Nodes are asked at most once in ${FRESH_MS} ms, whoever asks.`,
      cost: 5,
    }),
    query: noQuery,
    response: { 200: statsSchema },
  });
}
