/**
 * The configuration of the nodes that `consensus` measures: a command that asks for a cheap change of the cluster map, the same again and again.
 *
 * `BENCHCHANGE` is answered once the node that was asked has applied the change: the way of any change, and no more than that.
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
    const request = { type: "change-setting", name: "min-in-sync", value: "1" } as const;
    context.command({
      name: "benchchange",
      syntax: "",
      arity: 1,
      flags: ["admin"],
      group: "cluster",
      summary: "Asks for a change of the cluster map.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run(call) {
        const deferred = call.defer();
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
