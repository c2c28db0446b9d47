/**
 * The configuration of the nodes that `consensus` measures: a command that asks for a cheap change of the cluster map, the same again and again.
 *
 * `BENCHCHANGE [value]` is answered once the node that was asked has applied the change: the way of any change, and no more than that.
 */
import { topologyService } from "../src/contracts/topology.ts";
import { defineConfig } from "../src/define-config.ts";
import { definePlugin } from "../src/plugin.ts";

const changes = definePlugin({
  name: "bench-changes",
  summary: "BENCHCHANGE: asks for a change of the cluster map.",
  requires: { topology: topologyService },
  setup(context) {
    const { topology } = context.requires;
    context.command({
      name: "benchchange",
      syntax: "[value:integer]",
      arity: -1,
      flags: ["admin"],
      group: "cluster",
      summary: "Asks for a change of the cluster map.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run(call) {
        const deferred = call.defer();
        const value = call.count > 1 ? call.text(1) : "1";
        const request = { type: "change-setting", name: "min-in-sync", value } as const;
        void topology.request(request, "a bench").then((outcome) =>
          deferred.resolve((reply) => {
            if (outcome.type === "done") reply.simple("OK");
            else reply.error(`ERR ${outcome.type}: ${outcome.reason}`);
          }),
        );
      },
    });
  },
});

export default defineConfig({ use: [changes] });
