/** The operation of REST that tells what happens, as it happens. */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { type Callers, invalidField, needs, readWhole } from "./api.ts";
import type { EventStreams } from "./events.ts";
import { record, wholeNumber } from "./schemas.ts";

/** Versions of the map. */
const EVENT_ID = "^[0-9]{1,15}$";

export function eventStream(events: EventStreams, callers: Callers) {
  return new Elysia({ prefix: "/cluster", normalize: false }).get(
    "/events",
    ({ request, query }) => {
      const caller = callers.of(request);
      const last = request.headers.get("last-event-id");
      if (last !== null && !new RegExp(EVENT_ID).test(last)) {
        throw invalidField("header", "/last-event-id", "must be the id of an event");
      }
      const asked = last ?? query.since;
      const since = asked === undefined ? undefined : readWhole(asked, "query", "/since", 0, Number.MAX_SAFE_INTEGER);
      const stream = events.open(caller.remoteHost, since, () => caller.isStillAllowed());
      caller.keepOpen();
      return new Response(stream, { headers: { "content-type": "text/event-stream", "x-accel-buffering": "no" } });
    },
    {
      ...needs(
        callers,
        "read",
        "What happens, as it happens: acts on the map, nodes that come and go, how the cluster is",
        {
          description:
            "Server-sent events. `start`: which cluster, and from which version of its map; read the cluster anew if it comes again. `change`: an act on the map, with its version as its id. `member`: a node is held for alive, suspect, down or gone. `state`: how the cluster is. `health`: a check has another state.",
          answers: {
            200: {
              description: "A stream that does not end.",
              content: { "text/event-stream": undefined },
              headers: { "X-Accel-Buffering": "`no`: a proxy passes each event on as it comes." },
            },
          },
          headerParameters: [
            {
              name: "Last-Event-ID",
              in: "header",
              required: false,
              description: "The stream goes on after this event.",
              schema: { type: "string", pattern: EVENT_ID },
            },
          ],
        },
      ),
      query: record({
        since: Type.Optional(
          wholeNumber(
            0,
            Number.MAX_SAFE_INTEGER,
            "It goes on after this version of the map. Default: the present one.",
          ),
        ),
      }),
    },
  );
}
