/** The operations of REST that tell about the cluster and change nothing. */
import { Elysia } from "elysia";
import { type Callers, needs } from "./api.ts";
import { infoSchema, noQuery } from "./schemas.ts";
import { type RestSources, infoOf } from "./views.ts";

export function clusterReads(sources: RestSources, callers: Callers) {
  return new Elysia({ prefix: "/cluster", normalize: false }).get("/info", () => infoOf(sources), {
    ...needs(callers, "read", "How the cluster is"),
    query: noQuery,
    response: { 200: infoSchema },
  });
}
