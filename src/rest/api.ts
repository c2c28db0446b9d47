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

/** What a route says of itself beside its schemas. */
export interface Detail {
  readonly summary: string;
  readonly description?: string;
  /** The least role that may use it. */
  readonly role: HttpRole;
  /** Problems that it may answer with, beside those that any route may. */
  readonly problems: readonly ProblemKind[];
  /** Of a body that is not JSON. */
  readonly bodyType?: string;
  /** Answers that the schemas do not say all of, by status. */
  readonly answers?: Readonly<Record<number, AnswerDetail>>;
  /** Headers that it looks at, as OpenAPI has them. */
  readonly headerParameters?: readonly HeaderDetail[];
}

export interface AnswerDetail {
  readonly description?: string;
  /** What it is, by media type, with the schema where there is one. */
  readonly content?: Readonly<Record<string, TSchema | undefined>>;
  /** What its headers say, by name. */
  readonly headers?: Readonly<Record<string, string>>;
}

export type HeaderDetail = {
  readonly name: string;
  readonly in: "header";
  readonly required: boolean;
  readonly description: string;
  readonly schema: { readonly type: "string" };
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
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Problem("bad-request", "The body is no JSON.");
  }
}

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
  return new Problem("invalid", `${field} of the ${where}: ${detail}.`, { errors: [{ in: where, field, detail }] });
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
