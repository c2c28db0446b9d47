/**
 * Asks a cluster over HTTP, with types: what each operation takes and answers is known to the compiler.
 *
 *     bun examples/rest-client.ts http://127.0.0.1:15500 [TOKEN]
 *
 * Prints how the cluster is, who its nodes are and what they own, and with a token what rebalancing it would move.
 */
import { treaty } from "@elysia/eden";
// In a program of your own: import type { RestApp } from "bunch/client";
import type { RestApp } from "../src/rest/client.ts";

const [url = "http://127.0.0.1:15500", token] = process.argv.slice(2);
const { cluster } = treaty<RestApp>(url, {
  headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
});

const info = await cluster.info.get();
if (info.error !== null) throw new Error(`The node at ${url} says: ${JSON.stringify(info.error.value)}`);
const { state, reasons, slots, map_version } = info.data;
console.log(`state ${state}, ${slots.coverage} % of the slots are owned, map version ${map_version}`);
for (const reason of reasons) console.log(`  ${reason}`);

const { data: nodes } = await cluster.nodes.get();
for (const node of nodes?.nodes ?? [])
  console.log(
    `${node.name || node.id} at ${node.address}: ${node.is_replica ? "replica" : "primary"}, ${node.slot_count} slots`,
  );

if (token !== undefined) {
  const plan = await cluster.plans.post({ kind: "rebalance" });
  if (plan.error === null) console.log(`rebalancing would move ${plan.data.slot_count} slots`);
  else console.log(`there is no plan: ${JSON.stringify(plan.error.value)}`);
}
