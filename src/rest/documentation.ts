/** What the operations are, for programs and for people. */
import { Elysia } from "elysia";
import { type Callers, needs } from "./api.ts";
import { OPENAPI_PAGE } from "./openapi-page.ts";
import { noQuery } from "./schemas.ts";

/** Nothing but itself: what the page has in it is all that it may use. */
const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** @param document The OpenAPI document, once all routes are there. */
export function documentation(callers: Callers, document: () => string) {
  return new Elysia({ prefix: "/openapi", normalize: false })
    .get("/json", () => new Response(document(), { headers: { "content-type": "application/json" } }), {
      ...needs(callers, "none", "This document", {
        answers: { 200: { content: { "application/json": undefined }, description: "The OpenAPI document." } },
      }),
      query: noQuery,
    })
    .get(
      "",
      () =>
        new Response(OPENAPI_PAGE, {
          headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": PAGE_POLICY },
        }),
      {
        ...needs(callers, "none", "This document as a page", {
          answers: {
            200: {
              content: { "text/html": undefined },
              description: "A page that needs nothing from elsewhere.",
              headers: { "Content-Security-Policy": "It loads nothing, and asks nobody but this node." },
            },
          },
        }),
        query: noQuery,
      },
    );
}
