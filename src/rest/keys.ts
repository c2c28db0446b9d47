/** The operations of REST on keys. */
import { type Static, Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import type { HttpCaller } from "../contracts/http.ts";
import { Problem, typeOf } from "../http/problem.ts";
import { formatAddress } from "../net-address.ts";
import { type Callers, type HeaderDetail, invalidField, needs, readWhole } from "./api.ts";
import { type Condition, type KeyOperation, type KeyOutcome, tagInTurns, tagOf } from "./key-operations.ts";
import { type Elsewhere, type KeySources, locationOf, routeKey } from "./key-routes.ts";
import { lastOfPath, readKey, readText, writeText } from "./key-text.ts";
import { flag, nodeId, oneOf, orNull, record, slot, wholeNumber } from "./schemas.ts";
import type { RestSources } from "./sources.ts";

/** A hundred years, in milliseconds: beyond, nobody means it. */
const MAX_TTL_MS = 3_153_600_000_000;
const MAX_BATCH = 1000;
/** So many operations of a batch are as much work as one that comes by itself. */
const OPERATIONS_A_REQUEST = 10;
/** And so many bytes of values that are told. */
const BYTES_A_REQUEST = 256 * 1024;
/** Each has a connection for itself. */
const BATCH_AT_ONCE = 16;

const ROUTE = oneOf(
  ["redirect", "proxy"],
  "`redirect` (the default): who asks for a key that another node has is sent there (307). `proxy`: this node asks there instead.",
);
const routing = {
  route: Type.Optional(ROUTE),
  asking: Type.Optional(flag("Set in the place that an ASK leads to: the slot is on its way to this node.")),
};
const CONDITION = oneOf(["absent", "present"], "Only if there is no such key, or if there is one.");
const encoding = oneOf(["utf8", "base64"], "How the bytes are written. Default: utf8.");

const elsewhereSchema = record({
  code: oneOf(
    ["MOVED", "ASK"],
    "`MOVED`: the slot is that node's. `ASK`: it is on its way there; this one key has to be asked for there, others not yet.",
  ),
  slot,
  node_id: nodeId,
  node: Type.String({ description: "Where clients reach it." }),
  location: Type.String(),
});

const valueSchema = record({
  key: Type.String(),
  key_encoding: encoding,
  value: Type.String(),
  encoding,
  ttl_ms: orNull(Type.Number({ minimum: 0, description: "Null: it stays for good." })),
  etag: Type.String({ description: "Made of the value." }),
});

/** What answers may be that have no value in them. */
const ANSWERS = {
  304: {
    description: "The value has a tag that the caller has named.",
    content: {},
    headers: {
      ETag: "The value's tag.",
      "X-TTL-MS": { description: "Milliseconds until it expires; missing: it stays for good.", isOptional: true },
    },
  },
  stored: { 204: { description: "It is stored.", content: {}, headers: { ETag: "The value's tag." } } },
  deleted: { 204: { description: "It is gone.", content: {} } },
  elsewhere: {
    307: { content: { "application/json": elsewhereSchema }, headers: { Location: "Where to ask instead." } },
  },
} as const;
/** A tag, as RFC 9110 has it, without a comma in it. */
const TAG = '(W/)?"[!#-+\\x2d-~]*"';
const TAGS = `${TAG}( *, *${TAG})*`;
const CONDITIONS = {
  match: {
    name: "If-Match",
    in: "header",
    required: false,
    description:
      "Only if the value has one of these tags (compare-and-set), of which a weak one (`W/`) is none; `*`: only if there is a value.",
    schema: { type: "string", pattern: `^(\\*|${TAGS})$` },
  },
  known: {
    name: "If-None-Match",
    in: "header",
    required: false,
    description: "Tags of values that the caller has, or `*` for any: of these there is no need to tell (304).",
    schema: { type: "string", pattern: `^(\\*|${TAGS})$` },
  },
  absent: {
    name: "If-None-Match",
    in: "header",
    required: false,
    description: "Only if there is no such key.",
    schema: { type: "string", pattern: "^\\*$" },
  },
} as const satisfies Readonly<Record<string, HeaderDetail>>;

const batchSchema = record({
  operations: Type.Array(
    record({
      op: oneOf(["get", "put", "delete"], "What is done."),
      key: Type.String({ minLength: 1 }),
      key_encoding: Type.Optional(encoding),
      value: Type.Optional(Type.String({ description: "Of a put." })),
      encoding: Type.Optional(encoding),
      ttl_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_TTL_MS })),
      condition: Type.Optional(CONDITION),
      if_match: Type.Optional(
        Type.String({
          maxLength: 100,
          pattern: `^${TAGS}$`,
          description: "Only if the value has this tag.",
          wants: "a tag in quotation marks",
        }),
      ),
    }),
    { minItems: 1, maxItems: MAX_BATCH },
  ),
});
const resultsSchema = record({
  results: Type.Array(
    record({
      status: Type.Integer({
        description: "As the operation by itself would have it. 413: the answer has no room for the value.",
      }),
      value: Type.Optional(Type.String()),
      encoding: Type.Optional(encoding),
      ttl_ms: Type.Optional(orNull(Type.Number({ minimum: 0 }))),
      etag: Type.Optional(Type.String()),
      location: Type.Optional(Type.String({ description: "Of 307: where to ask instead." })),
      type: Type.Optional(Type.String({ description: "Of what was not done: the problem." })),
      detail: Type.Optional(Type.String()),
    }),
    { description: "In the order of the operations; each is done for itself." },
  ),
});
type BatchOperation = Static<typeof batchSchema>["operations"][number];
type BatchResult = Static<typeof resultsSchema>["results"][number];

const READS = ["conflict", "cluster-down", "unavailable", "bad-request"] as const;
const WRITES = [...READS, "outcome-unknown"] as const;

export function keyOperations(given: RestSources, callers: Callers) {
  const { topology, view } = given;
  const sources = {
    ...given,
    whyNotServed: (at: number) => {
      const shard = topology.map.shards[topology.map.shardOfSlot[at] ?? -1];
      return shard === undefined ? undefined : view.whyNotServed(shard);
    },
  };
  /** Keys are behind the password, if there is one. @throws {Problem} */
  const allow = (request: Request): void => {
    const { hasToken, role } = callers.of(request);
    if (hasToken || !sources.passwords.isNeeded || role === "admin") return;
    throw new Problem("unauthorized", "Clients of this node need a password: keys need a token here.", {
      headers: { "www-authenticate": "Bearer" },
    });
  };
  /** Does it, or sends the caller to who can. */
  const done = async (
    request: Request,
    operation: KeyOperation,
    { route, asking }: { readonly route?: "redirect" | "proxy"; readonly asking?: "true" | "false" },
    answer: (outcome: KeyOutcome) => Response | Promise<Response>,
  ): Promise<Response> => {
    const outcome = await routeKey(sources, operation, route === "proxy", asking === "true");
    if (outcome.type !== "elsewhere") return await answer(outcome);
    const location = locationOf(outcome, operation.key, new URL(request.url).search);
    return Response.json(elsewhereView(outcome, location), { status: 307, headers: { location } });
  };
  const params = record({
    // Not read from here: Elysia takes what is no UTF-8 for nothing.
    key: Type.Unknown({ description: "The key: any bytes, percent-encoded.", toldAs: { type: "string" } }),
  });
  return new Elysia({ prefix: "/kv", normalize: false })
    .get(
      "/:key",
      async ({ request, query }) => {
        allow(request);
        const key = readKey(lastOfPath(request));
        const known = tagsIn(request, "if-none-match");
        return await done(request, { type: "get", key }, query, (outcome) =>
          valueResponse(request, callers.of(request), sources, key, known, outcome),
        );
      },
      {
        ...needs(callers, "read", "The value of a key", {
          description: `As bytes; with \`Accept: application/json\` as JSON. Counts as a request more for each ${BYTES_A_REQUEST} bytes of the value.`,
          problems: ["not-found", ...READS],
          namesKey: true,
          answers: {
            200: {
              description: "The value.",
              content: { "application/octet-stream": undefined, "application/json": valueSchema },
              headers: {
                ETag: "The value's tag.",
                "X-TTL-MS": {
                  description: "Milliseconds until it expires; missing: it stays for good.",
                  isOptional: true,
                },
              },
            },
            304: ANSWERS[304],
            ...ANSWERS.elsewhere,
          },
          headerParameters: [CONDITIONS.known],
        }),
        params,
        query: record(routing),
      },
    )
    .put(
      "/:key",
      async ({ request, query }) => {
        allow(request);
        const condition = conditionOf(request, query.condition);
        if (query.keep_ttl === "true" && query.ttl_ms !== undefined) {
          throw invalidField("query", "/ttl_ms", "must not be there with keep_ttl");
        }
        const ttl = query.ttl_ms === undefined ? undefined : readWhole(query.ttl_ms, "query", "/ttl_ms", 1, MAX_TTL_MS);
        const operation: KeyOperation = {
          type: "put",
          key: readKey(lastOfPath(request)),
          value: new Uint8Array(await request.arrayBuffer()),
          ttl: query.keep_ttl === "true" ? "keep" : ttl,
          condition,
        };
        return await done(request, operation, query, (outcome) => {
          if (outcome.type === "stored") return new Response(null, { status: 204, headers: { etag: outcome.tag } });
          throw unmet();
        });
      },
      {
        ...needs(callers, "operate", "Stores a value", {
          description: "The body is the value, whatever its type.",
          bodyType: "application/octet-stream",
          problems: ["precondition-failed", ...WRITES],
          namesKey: true,
          answers: { ...ANSWERS.stored, ...ANSWERS.elsewhere },
          headerParameters: [CONDITIONS.match, CONDITIONS.absent],
        }),
        // The body is the value itself.
        parse: "none",
        params,
        query: record({
          ...routing,
          ttl_ms: Type.Optional(
            wholeNumber(1, MAX_TTL_MS, "Milliseconds after which it expires. Default: it stays for good."),
          ),
          keep_ttl: Type.Optional(flag("It expires when the value before would have.")),
          condition: Type.Optional(CONDITION),
        }),
      },
    )
    .delete(
      "/:key",
      async ({ request, query }) => {
        allow(request);
        const condition = conditionOf(request, undefined);
        if (condition.type === "absent") throw invalidField("header", "/if-none-match", "is no condition of a removal");
        const operation: KeyOperation = { type: "delete", key: readKey(lastOfPath(request)), condition };
        return await done(request, operation, query, (outcome) => {
          if (outcome.type === "deleted") return new Response(null, { status: 204 });
          throw outcome.type === "none" ? noKey() : unmet();
        });
      },
      {
        ...needs(callers, "operate", "Removes a key", {
          problems: ["not-found", "precondition-failed", ...WRITES],
          namesKey: true,
          answers: { ...ANSWERS.deleted, ...ANSWERS.elsewhere },
          headerParameters: [CONDITIONS.match],
        }),
        params,
        query: record(routing),
      },
    )
    .post(
      "/batch",
      async ({ body, query, request }) => {
        allow(request);
        if (body.operations.some(({ op }) => op !== "get")) callers.allow(request, "operate");
        callers.of(request).charge(Math.ceil(body.operations.length / OPERATIONS_A_REQUEST));
        const operations = body.operations.map(readOperation);
        const results: BatchResult[] = [];
        const caller = callers.of(request);
        const most = Math.min(sources.maxBatchBytes, caller.roomBytes);
        const bound =
          most === sources.maxBatchBytes
            ? `The values of one answer may have ${most} bytes here (rest.maxBatchBytes)`
            : `The values may have ${most} bytes beside answers that nobody has read yet (http.maxUnreadBytes)`;
        let room = most;
        const admits = (bytes: number): boolean => {
          if (bytes > room) return false;
          room -= bytes;
          return true;
        };
        for (let at = 0; at < operations.length; at += BATCH_AT_ONCE) {
          const part = operations.slice(at, at + BATCH_AT_ONCE);
          results.push(
            ...(await Promise.all(part.map((each) => resultOf(sources, each, query.route === "proxy", admits, bound)))),
          );
        }
        chargeFor(caller, most - room);
        return { results };
      },
      {
        ...needs(callers, "read", "Does several operations on keys, each for itself", {
          description: `Gets need the role \`read\`, all else \`operate\`. Each result has the status that the operation by itself would have; 413: there was no room in the answer for the value, which is there to be asked for again. Counts as a request for each ${OPERATIONS_A_REQUEST} operations, and for each ${BYTES_A_REQUEST} bytes of values that are told.`,
          problems: ["forbidden"],
        }),
        query: record({ route: Type.Optional(ROUTE) }),
        body: batchSchema,
        response: { 200: resultsSchema },
      },
    );
}

function noKey(): Problem {
  return new Problem("not-found", "There is no such key.");
}

function unmet(): Problem {
  return new Problem(
    "precondition-failed",
    "The condition does not hold: the key has another value, or there is one, or none.",
  );
}

function elsewhereView({ kind, slot: at, node }: Elsewhere, location: string): Static<typeof elsewhereSchema> {
  // Where there is a location there is a node.
  const { id = "", host = "", port = 0 } = node ?? {};
  return { code: kind, slot: at, node_id: id, node: formatAddress({ host, port }), location };
}

function valueView(key: Uint8Array, value: Uint8Array, ttlMs: number | null, etag: string): Static<typeof valueSchema> {
  const [name, told] = [writeText(key), writeText(value)];
  return {
    key: name.text,
    key_encoding: name.encoding,
    value: told.text,
    encoding: told.encoding,
    ttl_ms: ttlMs,
    etag,
  };
}

async function valueResponse(
  { headers: asked }: Request,
  caller: HttpCaller,
  { clock }: Pick<RestSources, "clock">,
  key: Uint8Array,
  known: Tags | undefined,
  outcome: KeyOutcome,
): Promise<Response> {
  if (outcome.type !== "value") throw noKey();
  const { value, ttlMs } = outcome;
  chargeFor(caller, value.length);
  const etag = await tagInTurns(value, clock);
  const headers = { etag, vary: "accept", ...(ttlMs === null ? {} : { "x-ttl-ms": String(ttlMs) }) };
  if (known === "any" || known?.includes(etag) === true) {
    return new Response(null, { status: 304, headers });
  }
  if (/^application\/json *(;|,|$)/i.test(asked.get("accept") ?? "")) {
    return Response.json(valueView(key, value, ttlMs, etag), { headers });
  }
  return new Response(caller.bodyOf(value), { headers: { ...headers, "content-type": "application/octet-stream" } });
}

/** Values that were read are work by their length, beside the request itself. */
function chargeFor(caller: HttpCaller, bytes: number): void {
  const requests = Math.floor(bytes / BYTES_A_REQUEST);
  // One of those that are charged was counted when it came.
  if (requests > 0) caller.charge(requests + 1);
}

/** Tags of values, or of any. */
type Tags = readonly string[] | "any";

/** The tags that a header names. @throws {Problem} If it has something else in it. */
function tagsIn({ headers }: Request, name: "if-match" | "if-none-match"): Tags | undefined {
  const text = headers.get(name);
  if (text === null) return undefined;
  if (text === "*") return "any";
  if (new RegExp(`^${TAGS}$`).test(text)) return name === "if-match" ? strongTagsOf(text) : tagsOf(text);
  throw invalidField("header", `/${name}`, "must be `*`, or tags in quotation marks with commas between them");
}

/** @param list Tags with commas between them. */
function tagsOf(list: string): readonly string[] {
  return list.split(",").map((part) => part.trim().replace(/^W\//, ""));
}

/** Those of some tags that a value may be changed by: a weak one says of two values that they are as good as equal, and no more. */
function strongTagsOf(list: string): readonly string[] {
  return list
    .split(",")
    .map((part) => part.trim())
    .filter((part) => !part.startsWith("W/"));
}

/** On what a write depends, by its headers and by its query. @throws {Problem} If that is more than one thing. */
function conditionOf(request: Request, named: "absent" | "present" | undefined): Condition {
  const match = tagsIn(request, "if-match");
  const noneMatch = tagsIn(request, "if-none-match");
  if (noneMatch !== undefined && noneMatch !== "any")
    throw invalidField("header", "/if-none-match", "must be `*` where something is written");
  if (match !== undefined && noneMatch !== undefined)
    throw invalidField("header", "/if-none-match", "must not be there with If-Match");
  if (named !== undefined && (match ?? noneMatch) !== undefined)
    throw invalidField("query", "/condition", "must not be there with If-Match or If-None-Match");
  if (named !== undefined) return { type: named };
  if (noneMatch !== undefined) return { type: "absent" };
  if (match === undefined) return { type: "none" };
  return match === "any" ? { type: "present" } : { type: "tags", tags: match };
}

/** @throws {Problem} If it lacks something, or has too much. */
function readOperation(operation: BatchOperation, index: number): KeyOperation {
  const { op, value, ttl_ms, condition, if_match } = operation;
  const at = `/operations/${index}`;
  const key = readText(operation.key, operation.key_encoding ?? "utf8", `${at}/key`);
  if ((op === "put") !== (value !== undefined))
    throw invalidField("body", `${at}/value`, "is there for a put, and for nothing else");
  if (op !== "put" && (ttl_ms !== undefined || condition !== undefined || operation.encoding !== undefined)) {
    throw invalidField("body", at, "only a put has ttl_ms, condition and encoding");
  }
  if (op === "get") {
    if (if_match !== undefined) throw invalidField("body", `${at}/if_match`, "is for writes");
    return { type: "get", key };
  }
  if (condition !== undefined && if_match !== undefined) {
    throw invalidField("body", `${at}/if_match`, "must not be there with condition");
  }
  const on: Condition =
    if_match === undefined ? { type: condition ?? "none" } : { type: "tags", tags: strongTagsOf(if_match) };
  if (op === "delete") return { type: "delete", key, condition: on };
  return {
    type: "put",
    key,
    value: readText(value ?? "", operation.encoding ?? "utf8", `${at}/value`),
    ttl: ttl_ms,
    condition: on,
  };
}

/** What came of one operation of several. @param admits Whether a value has room in the answer. @param bound Why it has none, in words. */
async function resultOf(
  sources: KeySources & Pick<RestSources, "maxBatchBytes">,
  operation: KeyOperation,
  isProxied: boolean,
  admits: (bytes: number) => boolean,
  bound: string,
): Promise<BatchResult> {
  try {
    const asked = operation.type === "get" ? { ...operation, admits } : operation;
    const outcome = await routeKey(sources, asked, isProxied, false);
    switch (outcome.type) {
      case "elsewhere":
        return { status: 307, location: locationOf(outcome, operation.key, "") };
      case "value": {
        const { value, ttlMs } = outcome;
        const { key: _, key_encoding: __, ...view } = valueView(operation.key, value, ttlMs, tagOf(value));
        return { status: 200, ...view };
      }
      case "stored":
        return { status: 204, etag: outcome.tag };
      case "deleted":
        return { status: 204 };
      case "none":
        throw noKey();
      case "long":
        throw new Problem("too-large", `${bound}: ask for this one again, by itself if need be.`);
      case "failed":
        throw unmet();
      default:
        return outcome satisfies never;
    }
  } catch (thrown) {
    if (!(thrown instanceof Problem)) throw thrown;
    return { status: thrown.status, type: typeOf(thrown.kind), detail: thrown.message };
  }
}
