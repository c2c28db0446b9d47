/** `GET /cluster/stats`: what nodes say of themselves, as INFO has it. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { type NodeRecord, topologyService } from "../../src/contracts/topology.ts";
import type { Stats } from "../../src/rest/schemas.ts";
import { infoFields, statsOf } from "../../src/rest/stats.ts";
import { TOKENS, startHttpNode } from "../support/http-door.ts";
import { holdToDocument } from "../support/openapi-document.ts";

const INFO = [
  "# Server",
  "uptime_in_seconds:12",
  "# Clients",
  "connected_clients:3",
  "# Memory",
  "used_memory:2048",
  "used_memory_rss:90000",
  "maxmemory:0",
  "# Stats",
  "total_commands_processed:110",
  "instantaneous_ops_per_sec:7",
  "total_error_replies:2",
  "# Replication",
  "role:master",
  "slave0:ip=127.0.0.1,port=7002,state=online,offset=90,lag=0,in_sync=1,behind=4",
  "slave1:ip=127.0.0.1,port=7003,state=send_bulk,offset=0,lag=0,in_sync=0,behind=94",
  "slave1_fill:slots=1/2,keys=3,bytes=4,eta_ms=?",
  "slave2:ip=127.0.0.1,port=7009,state=online,offset=0,lag=0,in_sync=0,behind=94",
  "# Commandstats",
  "cmdstat_get:calls=60,usec=120,usec_per_call=2.00,rejected_calls=0,failed_calls=0",
  "cmdstat_set:calls=40,usec=200,usec_per_call=5.00,rejected_calls=0,failed_calls=0",
  "cmdstat_info:calls=10,usec=9000,usec_per_call=900.00,rejected_calls=0,failed_calls=0",
  "# Cluster",
  "membership_loop_lag_ms:3.5",
  "# Keyspace",
  "db0:keys=5,expires=1,avg_ttl=0",
  "# Failover",
  "lease_state:held",
  "lease_left_ms:750",
  "",
].join("\r\n");

const nodeAt = (id: string, port: number): NodeRecord => ({ id, host: "127.0.0.1", port }) as NodeRecord;

describe("statsOf", () => {
  test("takes from INFO what there is to see, without the work that asking makes", () => {
    expect(statsOf(INFO, 1000, [nodeAt("b", 7002), nodeAt("c", 7003)])).toEqual({
      asked_at: 1000,
      uptime_s: 12,
      commands: 100,
      commands_per_second: 7,
      command_calls: 100,
      command_us: 320,
      errors: 2,
      memory_bytes: 2048,
      resident_bytes: 90_000,
      max_memory_bytes: 0,
      keys: 5,
      clients: 3,
      loop_lag_ms: 3.5,
      lease: "held",
      lease_left_ms: 750,
      // One that the map does not know is not told.
      replicas: [
        { node_id: "b", state: "following", in_sync: true, lag: 4 },
        { node_id: "c", state: "filling", in_sync: false, lag: 94 },
      ],
    });
  });

  test("takes what a node without some plugins does not say for nothing", () => {
    const stats = statsOf("uptime_in_seconds:1\r\n", 1, []);
    expect(stats).toMatchObject({ uptime_s: 1, commands: 0, keys: 0, lease: "none", replicas: [] });
  });

  test("infoFields keeps what stands behind the first colon", () => {
    expect([...infoFields("# A\r\na:1:2\r\n\r\nb:\r\n")]).toEqual([
      ["a", "1:2"],
      ["b", ""],
    ]);
  });
});

test("any node tells of all nodes, and of itself", async () => {
  const { node, door } = await startHttpNode({ name: "a" });
  await holdToDocument(door);
  try {
    const { id } = present(node.service(topologyService), "there is a map").self;
    const answer = await door.ask("/cluster/stats", { token: TOKENS.readToken });
    expect(answer.status).toBe(200);
    const { nodes, count } = answer.json() as Stats;
    expect([count, nodes.map(({ node_id: each }) => each)]).toEqual([1, [id]]);
    expect(nodes[0]?.stats).toMatchObject({ errors: 0, keys: 0, replicas: [] });
    // Whoever asks at the same moment is told the same.
    const [one, other] = await Promise.all([door.ask("/cluster/stats"), door.ask("/cluster/stats")]);
    expect(one.text).toBe(other.text);
  } finally {
    await node.stop();
  }
});
