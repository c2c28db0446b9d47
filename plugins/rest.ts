/**
 * rest: the operator's side over HTTP: what the cluster is, and changes of it, as JSON.
 *
 * Promises: any node may be asked, and a change that is answered with success is agreed, and known to the node that was asked; what a request may hold is checked
 * before anything is done, and unknown fields are refused; whatever is refused changes nothing, and says why in a problem document (RFC 9457) whose `type` programs
 * can rely on. Where nobody knows whether a change was made, the answer says that (504, `outcome-unknown`).
 *
 * How: the operations are routes of Elysia (`src/rest/`), mounted at the plugin `http`, which knows who asks. Elysia takes a tenth of a second to load: where there are
 * tokens that is done when the node has started, else when the first request comes. Without `http` nobody comes.
 */
import { Type } from "@sinclair/typebox";
import { ClusterView } from "../src/cluster-view.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { consensusService } from "../src/contracts/consensus.ts";
import { failoverService } from "../src/contracts/failover.ts";
import { healthService } from "../src/contracts/health.ts";
import { httpService } from "../src/contracts/http.ts";
import { meetingsService } from "../src/contracts/meetings.ts";
import { membershipService } from "../src/contracts/membership.ts";
import { migrationService } from "../src/contracts/migration.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { routerService } from "../src/contracts/routing.ts";
import { topologyService } from "../src/contracts/topology.ts";
import { LocalConnection } from "../src/local-connection.ts";
import { definePlugin } from "../src/plugin.ts";
import type { RestHandler } from "../src/rest/app.ts";
import { EventStreams } from "../src/rest/events.ts";
import { LocalCommands } from "../src/rest/local-commands.ts";
import { Nodes } from "../src/rest/nodes.ts";
import { Peers } from "../src/rest/peers.ts";

const settingsSchema = Type.Object({
  maxBatchBytes: byteSize({
    description:
      "What the values in the answer to one `POST /kv/batch` may have together, in bytes as they are stored. A value for which there is no room is not read, and told as 413. Each of the requests that are answered at a time may need as much memory.",
    default: "16mb",
  }),
  maxEventStreams: Type.Integer({
    description:
      "Streams of `GET /cluster/events` at a time; one more is told to come again (503). Each open dashboard has one, and each `bunch events`.",
    default: 64,
    minimum: 1,
  }),
  maxEventStreamsPerAddress: Type.Optional(
    Type.Integer({
      description:
        "Of maxEventStreams, those that one address may have: one more from it is told to come later (429), while others get theirs. Behind a proxy all come from one address: raise it there to what maxEventStreams is. Default: half of that.",
      minimum: 1,
    }),
  ),
});

export default definePlugin({
  name: "rest",
  summary: "Tells about the cluster and changes it, over HTTP.",
  settings: settingsSchema,
  requires: { topology: topologyService },
  uses: {
    http: httpService,
    consensus: consensusService,
    membership: membershipService,
    failover: failoverService,
    replication: replicationService,
    router: routerService,
    migrations: migrationService,
    health: healthService,
    meetings: meetingsService,
  },
  setup(context) {
    const { topology } = context.requires;
    const { http, consensus, membership, failover, replication, router, migrations, health, meetings } = context.uses;
    const { clock, network } = context.world;
    const local = new LocalCommands(
      () => new LocalConnection(context.dispatcher, context.clients, clock, context.hooks, context.replyGate),
      clock,
    );
    const sources = {
      topology,
      view: new ClusterView({ topology, membership, failover, replication, clock }),
      consensus,
      membership,
      migrations,
      failover,
      health,
      meetings,
      plugins: () => context.bootTree(),
      clock,
      nodes: new Nodes(() => topology.self.id, local, new Peers(network, clock, context.passwords)),
      passwords: context.passwords,
      isCluster: router !== undefined,
      maxBatchBytes: parseByteSize(context.settings.maxBatchBytes) ?? 0,
    };
    const { maxEventStreams: maxStreams, maxEventStreamsPerAddress } = context.settings;
    const maxStreamsPerAddress = maxEventStreamsPerAddress ?? Math.ceil(maxStreams / 2);
    const events = new EventStreams(sources, { maxStreams, maxStreamsPerAddress });
    let rest: Promise<RestHandler> | undefined;
    // A tenth of a second in which nothing else happens: a node that has just started can spare it, one that serves clients better not.
    context.on(
      context.hooks.ready,
      () => {
        // What goes wrong is told to the first caller.
        if (http?.isExpectingCallers === true) clock.soon(() => void (rest ??= load()).catch(() => undefined));
      },
      { order: "post" },
    );
    const load = async (): Promise<RestHandler> => {
      const { createRest } = await import("../src/rest/app.ts");
      return createRest(sources, events, context.node.version);
    };
    for (const prefix of ["/cluster", "/kv", "/openapi"]) {
      http?.mount({
        prefix,
        async handle(request, caller) {
          rest ??= load();
          const handler = await rest;
          return await handler.handle(request, caller);
        },
      });
    }
    // What sends clients or a rolling restart here goes by it: a primary that serves nothing is not ready, whatever that comes from.
    const whyNotReady = (): string | undefined => {
      const shard = topology.selfShard;
      if (shard?.primary !== topology.self.id || shard.slots.length === 0) return undefined;
      const reason = sources.view.whyNotServed(shard);
      return reason === undefined ? undefined : `its slots to be served: ${reason}`;
    };
    if (http !== undefined) context.on(http.notReady, whyNotReady);
    context.on(context.hooks.mapChanged, () => events.mapChanged(), { order: "post" });
    context.on(context.hooks.healthChanged, (change) => events.healthChanged(change), { order: "post" });
    context.on(context.hooks.memberChanged, (change) => events.memberChanged(change), { order: "post" });
    context.on(context.hooks.start, () => {
      // Where nobody comes nobody listens.
      if (http !== undefined && http.address.port !== 0)
        context.every(EventStreams.tickMs, () => events.tick(clock.monotonicMs()));
    });
    context.on(context.hooks.stop, () => {
      events.close();
      local.close();
    });
  },
});
