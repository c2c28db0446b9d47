/**
 * What the operations of REST share: who asks and may ask, how bodies are read, and how what went wrong is told.
 *
 * Each operation is a route of Elysia with its schemas, and `needs` says who may use it and what it is for: what the server checks and what the OpenAPI document
 * says come from there alike.
 */
import type { TSchema } from "@sinclair/typebox";
import type { HttpCaller, HttpRole } from "../contracts/http.ts";
import { type FieldError, Problem, type ProblemKind } from "../http/problem.ts";
import { mustInclude } from "../http/roles.ts";

/** The longest text of a caller's that an answer repeats. */
const MAX_SHOWN = 64;

/** Who sent the requests that are being answered. */
export class Callers {
  readonly #callers = new WeakMap<Request, HttpCaller>();

  set(request: Request, caller: HttpCaller): void {
    this.#callers.set(request, caller);
  }

  /** @throws {Problem} If nobody is known to have sent it. */
  of(request: Request): HttpCaller {
    const caller = this.#callers.get(request);
    if (caller === undefined) throw new Problem("unauthorized", "Nobody is known to have sent this request.");
    return caller;
  }

  /**
   * Who sent a request, if that is allowed to.
   *
   * @throws {Problem} If it is not.
   */
  allow(request: Request, least: HttpRole): HttpCaller {
    const caller = this.of(request);
    mustInclude(caller, least);
    return caller;
  }
}

/** What may be told of a change that others decide on, beside its being made. */
export const DECIDED = [
  "conflict",
  "stale",
  "unavailable",
  "cluster-down",
  "outcome-unknown",
] as const satisfies readonly ProblemKind[];

/** What a route says of itself beside its schemas. */
export interface Detail {
  readonly summary: string;
  readonly description?: string;
  /** The least role that may use it. */
  readonly role: HttpRole;
  /** As how many requests it counts, where an address may ask so often a second: as long as it takes beside `GET /cluster/nodes`, roughly. Default: 1. */
  readonly cost?: number;
  /** Problems that it may answer with, beside those that any route may. */
  readonly problems: readonly ProblemKind[];
  /** Of a body that is not JSON. */
  readonly bodyType?: string;
  /** Answers that the schemas do not say all of, by status. */
  readonly answers?: Readonly<Record<number, AnswerDetail>>;
  /** Its path or its query names a key, of which nothing must be cut off. */
  readonly namesKey?: boolean;
  /** Headers that it looks at, as OpenAPI has them. */
  readonly headerParameters?: readonly HeaderDetail[];
}

export interface AnswerDetail {
  readonly description?: string;
  /** What it is, by media type, with the schema where there is one. */
  readonly content?: Readonly<Record<string, TSchema | undefined>>;
  /** Headers that it has, by name. */
  readonly headers?: Readonly<Record<string, HeaderAnswer>>;
}

/** What a header says; one that is optional is not always there. */
export type HeaderAnswer = string | { readonly description: string; readonly isOptional: true };

export type HeaderDetail = {
  readonly name: string;
  readonly in: "header";
  readonly required: boolean;
  readonly description: string;
  readonly schema: { readonly type: "string"; readonly pattern: string };
};

/** The part of an Elysia route that says who may use it. */
export interface Needs {
  readonly transform: (context: { readonly request: Request }) => void;
  readonly parse: (context: { readonly request: Request }) => Promise<unknown>;
  readonly detail: Detail;
}

/**
 * Says who may use a route, and what it is for. The role is looked at before anything that the caller has sent.
 *
 * @param least The least role.
 */
export function needs(
  callers: Callers,
  least: HttpRole,
  summary: string,
  more: Partial<Omit<Detail, "summary" | "role">> = {},
): Needs {
  const check = ({ request }: { readonly request: Request }): void => void callers.allow(request, least);
  return {
    transform: check,
    async parse(context) {
      check(context);
      return await jsonOf(context.request);
    },
    detail: { problems: [], ...more, summary, role: least },
  };
}

/** A body as JSON. @throws {Problem} If it is none. */
async function jsonOf(request: Request): Promise<unknown> {
  const text = await request.text();
  if (text === "") return undefined;
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/json *(;|$)/i.test(type)) {
    throw new Problem("unsupported-media-type", "The body must be application/json.");
  }
  const names = refuseIntricate(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Problem("bad-request", "The body is no JSON.");
  }
  // Of two of one name the first would be left out.
  if (countNames(value) < names) throw invalidField("body", "", "must have no field twice");
  return value;
}

/** How deep a body's values may lie in each other. No schema has more than a handful of levels. */
export const MAX_DEPTH = 32;
/** Values that a body may have: a hundred thousand are read within a moment, and the longest list of ranges of slots has half as many. */
export const MAX_VALUES = 100_000;

/**
 * Refuses a body that would keep this node busy for long before it is known that it fits no schema: in a few megabytes there is room for millions of values, or for as many
 * levels, and meanwhile nobody else is served.
 *
 * @returns How many names of fields it has, those that are there twice among them.
 * @throws {Problem}
 */
function refuseIntricate(text: string): number {
  let names = 0;
  let depth = 0;
  let values = 0;
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case OPEN_BRACKET:
      case OPEN_BRACE:
        depth += 1;
        values += 1;
        break;
      case CLOSE_BRACKET:
      case CLOSE_BRACE:
        depth -= 1;
        break;
      case COMMA:
        values += 1;
        break;
      case COLON:
        names += 1;
        break;
      default:
    }
    if (depth > MAX_DEPTH) throw invalidField("body", "", `must have no more than ${MAX_DEPTH} levels`);
    if (values > MAX_VALUES) throw invalidField("body", "", `must have no more than ${MAX_VALUES} values`);
  }
  return names;
}

/** How many fields a value has, with those of all that is in it: it is not deep. */
function countNames(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const inside = Object.values(value).reduce((sum: number, each) => sum + countNames(each), 0);
  return Array.isArray(value) ? inside : inside + Object.keys(value).length;
}

/** Where a string ends that begins at a quotation mark; if it does not, the text is no JSON, and ends. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return end;
  }
  return text.length;
}

const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];

/** One thing that a schema finds wrong, as TypeBox tells it. */
interface SchemaError {
  readonly path: string;
  readonly message: string;
  readonly schema: object;
}

const PLACES: Readonly<Record<string, FieldError["in"]>> = { body: "body", query: "query", params: "path" };

/**
 * What is said to a caller whose request does not fit the schemas of its route.
 *
 * @param place As Elysia names it.
 */
export function invalid(place: string, errors: readonly SchemaError[]): Problem {
  const where = PLACES[place] ?? "body";
  const found = new Map<string, FieldError>();
  for (const { path, message, schema } of errors) {
    const wants = "wants" in schema && typeof schema.wants === "string" ? `must be ${schema.wants}` : message;
    if (!found.has(path)) found.set(path, { in: where, field: path, detail: wants });
  }
  const [first] = found.values();
  const name = first === undefined || first.field === "" ? `The ${where}` : `${first.field} of the ${where}`;
  return new Problem("invalid", `${name}: ${first?.detail ?? "it does not fit"}.`, {
    errors: [...found.values()].slice(0, MAX_FIELD_ERRORS),
  });
}

/** Of more nobody reads on. */
const MAX_FIELD_ERRORS = 20;

/** One thing that is wrong with a request that fits its schemas. */
export function invalidField(where: FieldError["in"], field: string, detail: string): Problem {
  const name = field === "" ? `The ${where}` : `${field} of the ${where}`;
  return new Problem("invalid", `${name}: ${detail}.`, { errors: [{ in: where, field, detail }] });
}

/** A text of a caller's, as an answer may repeat it. */
export function shown(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}

/**
 * Reads a whole number of a path or a query, of which the schema has seen to it that it is one.
 *
 * @throws {Problem} If it is out of range.
 */
export function readWhole(text: string, where: FieldError["in"], field: string, least: number, most: number): number {
  const value = Number(text);
  if (value >= least && value <= most) return value;
  throw invalidField(where, field, `must be a whole number from ${least} to ${most}`);
}
