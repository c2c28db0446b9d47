/**
 * metrics: what a node does and is, as Prometheus reads it: `GET /metrics`.
 *
 * Promises: nothing is counted for it on the path of commands: what the node counts anyway is put together when somebody asks, in a few milliseconds. Names and units
 * are by Prometheus' conventions; a metric that nobody tells at that moment (its plugin is off, the node is no primary) is not there, instead of being 0; what labels
 * may say is bounded. `docs/metrics.md` has all of them, `docs/grafana-dashboard.json` is a dashboard of them.
 *
 * How: read from the services of other plugins, from what they tell in INFO, and from the hook `mapChanged` (`src/metrics/`). CONFIG RESETSTAT sets counters of
 * commands to zero here as well, which Prometheus takes for a restart. The text is made by prom-client, which is loaded when the first scrape comes.
 *
 * Who may ask: whoever may read over HTTP (`http`): on the same machine anybody, from elsewhere with a token (`authorization` in Prometheus' scrape configuration).
 */
import { consensusService } from "../src/contracts/consensus.ts";
import { failoverService } from "../src/contracts/failover.ts";
import { healthService } from "../src/contracts/health.ts";
import { httpService } from "../src/contracts/http.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { membershipService } from "../src/contracts/membership.ts";
import { migrationService } from "../src/contracts/migration.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { routerService } from "../src/contracts/routing.ts";
import { topologyService } from "../src/contracts/topology.ts";
import { Problem } from "../src/http/problem.ts";
import { mustInclude } from "../src/http/roles.ts";
import { gather } from "../src/metrics/gather.ts";
import { MapCounts } from "../src/metrics/map-counts.ts";
import { definePlugin } from "../src/plugin.ts";

/** As how many requests a scrape counts, where an address may ask so often a second: without it a few callers would have the node do nothing else. */
const SCRAPE_COST = 20;

export default definePlugin({
  name: "metrics",
  summary: "Tells Prometheus what the node does, over HTTP.",
  uses: {
    http: httpService,
    topology: topologyService,
    consensus: consensusService,
    membership: membershipService,
    replication: replicationService,
    failover: failoverService,
    migrations: migrationService,
    keyspace: keyspaceService,
    router: routerService,
    health: healthService,
  },
  setup(context) {
    const { http, ...services } = context.uses;
    const { clock } = context.world;
    const mapCounts = new MapCounts();
    const sources = { context, ...services, mapCounts };
    const scrapes = { count: 0, lastMs: 0 };

    const scrape = async (): Promise<Response> => {
      const { expose, METRICS_MEDIA_TYPE } = await import("../src/metrics/exposition.ts");
      const begunAtMs = clock.monotonicMs();
      const samples = gather(sources);
      scrapes.count += 1;
      samples.add("bunch_scrapes_total", scrapes.count);
      samples.add("bunch_scrape_duration_seconds", scrapes.lastMs / 1000);
      const text = await expose(samples);
      scrapes.lastMs = clock.monotonicMs() - begunAtMs;
      return new Response(text, { headers: { "content-type": METRICS_MEDIA_TYPE } });
    };
    http?.mount({
      prefix: "/metrics",
      handle(request, caller) {
        mustInclude(caller, "read");
        if (new URL(request.url).pathname !== "/metrics") throw new Problem("not-found", "There is no such path.");
        if (request.method !== "GET" && request.method !== "HEAD")
          throw new Problem("method-not-allowed", "This path takes GET.", { headers: { allow: "GET" } });
        caller.charge(SCRAPE_COST);
        return scrape();
      },
    });
    context.on(context.hooks.mapChanged, (change) => mapCounts.note(change, context.node.id), { order: "post" });
  },
});
