/**
 * The OpenAPI document: what every operation takes, answers and refuses, made of the schemas that the server itself checks with.
 *
 * TypeBox schemas are JSON schemas, which is what OpenAPI 3.1 has. Left out is what only the server needs; what is text to the server, and something else to people (a whole
 * number in a path), is told as that (`toldAs`).
 */
import type { HttpRole } from "../contracts/http.ts";
import { PROBLEMS, PROBLEM_MEDIA_TYPE, type ProblemKind, typeOf } from "../http/problem.ts";
import { type Detail, type HeaderAnswer, MAX_DEPTH, MAX_VALUES } from "./api.ts";

type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };
type JsonObject = { readonly [name: string]: Json };

/** A route, as Elysia has it. */
export interface DescribedRoute {
  readonly method: string;
  readonly path: string;
  readonly hooks: {
    readonly detail?: unknown;
    readonly params?: unknown;
    readonly query?: unknown;
    readonly body?: unknown;
    readonly response?: unknown;
  };
}

/** What any operation may answer. */
const ALWAYS: readonly ProblemKind[] = ["unauthorized", "invalid", "rate-limited", "internal", "unavailable"];
/** What one that may come with a body may answer as well. */
const WITH_BODY: readonly ProblemKind[] = ["too-large", "request-timeout"];
/** And if the body is JSON. */
const WITH_JSON: readonly ProblemKind[] = ["bad-request", "unsupported-media-type"];

/** Headers that problems have, by status. */
const PROBLEM_HEADERS: Readonly<Record<string, Readonly<Record<string, HeaderAnswer>>>> = {
  401: { "WWW-Authenticate": "What is wanted: a bearer token." },
  408: { Connection: "`close`: what is left of the body is not read." },
  429: { "Retry-After": "When to ask again, in seconds." },
  503: { "Retry-After": { description: "When to ask again, in seconds.", isOptional: true } },
};

/** What successful answers mean. */
const MEANINGS: Readonly<Record<string, string>> = {
  200: "It is done, or this is how it is.",
  201: "It is there.",
  202: "It was begun, and goes on.",
  204: "It is done.",
  207: "Each was done for itself.",
  307: "Another node has it: ask there.",
};

const ROLE_WORDS: Readonly<Record<HttpRole, string>> = {
  none: "Anybody may ask this.",
  read: "Needs the role `read`; who is on the same machine needs none.",
  operate: "Needs the role `operate`.",
  admin: "Needs the role `admin`.",
};

/**
 * Makes the document.
 *
 * @param version Of the program.
 */
export function openApiOf(routes: readonly DescribedRoute[], version: string): JsonObject {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:([A-Za-z_]+)/g, "{$1}");
    (paths[path] ??= {})[route.method.toLowerCase()] = operationOf(route);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "bunch",
      version,
      description: `The operator's side of a bunch cluster. Any node may be asked. An answer that is no success is a problem document (RFC 9457), of a \`type\` that never changes. Moments are milliseconds since 1970. A body of JSON has at most ${MAX_DEPTH} levels and ${MAX_VALUES} values.`,
    },
    servers: [{ url: "/" }],
    paths,
    components: {
      securitySchemes: {
        token: { type: "http", scheme: "bearer", description: "A token of the node's settings; each has a role." },
      },
      schemas: {
        Problem: {
          type: "object",
          required: ["type", "title", "status", "detail"],
          properties: {
            type: { type: "string", description: "Never changes: what programs compare." },
            title: { type: "string" },
            status: { type: "integer" },
            detail: { type: "string", description: "For people." },
            code: { type: "string", description: "The word that a Redis client would have been given." },
            slot: { type: "integer", description: "The hash slot that it is about." },
            errors: {
              type: "array",
              description: "What is wrong with which part of the request.",
              items: {
                type: "object",
                required: ["in", "field", "detail"],
                properties: {
                  in: { type: "string", enum: ["body", "query", "path", "header"] },
                  field: { type: "string", description: "A JSON pointer." },
                  detail: { type: "string" },
                },
              },
            },
          },
        },
      },
    },
  };
}

function operationOf({ method, path, hooks }: DescribedRoute): JsonObject {
  // Each route has it: `needs` makes it.
  const detail = hooks.detail as Detail;
  const { summary, role, bodyType = "application/json", answers = {} } = detail;
  const hasBody = hooks.body !== undefined || detail.bodyType !== undefined;
  const problems = [
    ...ALWAYS,
    ...(role === "read" || role === "none" ? [] : (["forbidden"] as const)),
    ...(method === "GET" ? [] : WITH_BODY),
    ...(hooks.body === undefined ? [] : WITH_JSON),
    ...detail.problems,
  ];
  const responses: Record<string, Json> = {};
  const schemas = (hooks.response ?? {}) as Readonly<Record<string, unknown>>;
  for (const status of new Set([...Object.keys(schemas), ...Object.keys(answers)])) {
    const { description, headers, content = { "application/json": schemas[status] } } = answers[Number(status)] ?? {};
    responses[status] = {
      description: description ?? MEANINGS[status] ?? "An answer.",
      ...(headers === undefined ? {} : { headers: headersOf(headers) }),
      content: Object.fromEntries(
        Object.entries(content).map(([type, schema]) => [
          type,
          schema === undefined ? {} : { schema: schemaOf(schema) },
        ]),
      ),
    };
  }
  for (const [status, kinds] of Map.groupBy(new Set(problems), (kind) => String(PROBLEMS[kind].status))) {
    const headers = PROBLEM_HEADERS[status];
    responses[status] = {
      description: kinds.map((kind) => PROBLEMS[kind].title).join("; ") + ".",
      ...(headers === undefined ? {} : { headers: headersOf(headers) }),
      content: {
        [PROBLEM_MEDIA_TYPE]: {
          schema: {
            allOf: [{ $ref: "#/components/schemas/Problem" }, { properties: { type: { enum: kinds.map(typeOf) } } }],
          },
        },
      },
    };
  }
  return {
    operationId: `${method.toLowerCase()}${path.replaceAll(/[/:_-]+([A-Za-z])/g, (_, letter: string) => letter.toUpperCase())}`,
    summary,
    description: [
      ...(detail.description === undefined ? [] : [detail.description]),
      ROLE_WORDS[role],
      ...(detail.cost === undefined ? [] : [`Counts as ${detail.cost} requests.`]),
    ].join(" "),
    security: role === "none" ? [] : role === "read" ? [{ token: [] }, {}] : [{ token: [] }],
    parameters: [
      ...parametersOf(hooks.params, "path"),
      ...parametersOf(hooks.query, "query"),
      ...(detail.headerParameters ?? []),
    ],
    ...(hasBody
      ? {
          requestBody: {
            required: true,
            content: { [bodyType]: hooks.body === undefined ? {} : { schema: schemaOf(hooks.body) } },
          },
        }
      : {}),
    responses,
  };
}

function headersOf(headers: Readonly<Record<string, HeaderAnswer>>): JsonObject {
  return Object.fromEntries(
    Object.entries(headers).map(([name, header]) => {
      const isOptional = typeof header !== "string";
      const description = isOptional ? header.description : header;
      return [name, { description, required: !isOptional, schema: { type: "string" } }];
    }),
  );
}

function parametersOf(schema: unknown, where: "path" | "query"): Json[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = schemaOf(schema) as {
    readonly properties?: Readonly<Record<string, JsonObject>>;
    readonly required?: readonly string[];
  };
  return Object.entries(properties).map(([name, { description = "", ...of }]) => ({
    name,
    in: where,
    required: where === "path" || required.includes(name),
    description,
    schema: of,
  }));
}

/** A schema as the document has it. */
function schemaOf(schema: unknown): JsonObject {
  // What TypeBox knows schemas by are symbols, which JSON has none of.
  return plain(JSON.parse(JSON.stringify(schema)) as Json) as JsonObject;
}

function plain(value: Json): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map(plain);
  if (typeof value !== "object" || value === null) return value;
  const { wants: _, toldAs, ...rest } = value as JsonObject;
  if (typeof toldAs === "object" && toldAs !== null) {
    const { description = "" } = rest;
    return { ...(toldAs as JsonObject), description };
  }
  const { anyOf, ...others } = rest;
  const words = Array.isArray(anyOf) ? (anyOf as readonly JsonObject[]).map((each) => each["const"]) : [];
  if (words.length > 0 && words.every((word) => typeof word === "string")) {
    return { ...(plain(others) as JsonObject), type: "string", enum: words };
  }
  return Object.fromEntries(Object.entries(rest).map(([name, each]) => [name, plain(each)]));
}
