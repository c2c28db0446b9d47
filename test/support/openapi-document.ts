/** The OpenAPI document of a node, and whether what is answered is what it says. */
import { expect } from "bun:test";
import type { Answer, FakeHttpDoor } from "./http-door.ts";
import { type Json, type Schema, findMisfits } from "./json-schema.ts";

type Content = Readonly<Record<string, { readonly schema?: Schema }>>;

/** An operation, as the document has it. */
export interface Operation {
  readonly operationId: string;
  readonly security: readonly unknown[];
  readonly parameters: readonly { name: string; in: string; required: boolean; schema: Schema }[];
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<
    Record<
      string,
      { readonly content?: Content; readonly headers?: Readonly<Record<string, { readonly required?: boolean }>> }
    >
  >;
}

/** The body that an operation takes, and its type. */
export function bodyOf({ requestBody }: Operation): { readonly type: string; readonly schema?: Schema } | undefined {
  const [first] = Object.entries(requestBody?.content ?? {});
  return first === undefined ? undefined : { type: first[0], ...first[1] };
}

/** An operation, and where it is. */
export interface Described {
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
}

/** Headers that any answer may have. */
const GENERAL_HEADERS = new Set([
  "content-type",
  "content-length",
  "transfer-encoding",
  "date",
  "cache-control",
  "vary",
  "x-content-type-options",
]);

/** What of an answer is looked at. */
export type Told = Pick<Answer, "status" | "headers" | "text">;

export class OpenApiDocument {
  readonly document: Schema;
  readonly operations: readonly Described[];
  /** What was answered, as far as it was looked at: `operationId status`. */
  readonly #answered = new Set<string>();

  constructor(document: Schema) {
    this.document = document;
    this.operations = Object.entries(document["paths"] as Record<string, Record<string, unknown>>).flatMap(
      ([path, methods]) =>
        Object.entries(methods).map(([method, operation]) => ({
          path,
          method: method.toUpperCase(),
          operation: operation as Operation,
        })),
    );
  }

  static async of(door: Pick<FakeHttpDoor, "ask">): Promise<OpenApiDocument> {
    return new OpenApiDocument((await door.ask("/openapi/json")).json() as Schema);
  }

  /** What is wrong with an answer. */
  misfitsOf(operation: Operation, { status, headers, text }: Told): readonly string[] {
    this.#answered.add(`${operation.operationId} ${status}`);
    const told = operation.responses[String(status)];
    if (told === undefined) return [`status ${status} is not in the document: ${text.slice(0, 300)}`];
    const misfits: string[] = [];
    const named = new Map(Object.entries(told.headers ?? {}).map(([name, header]) => [name.toLowerCase(), header]));
    for (const [name, { required }] of named) {
      if (required === true && !headers.has(name)) misfits.push(`${status} lacks the header ${name}`);
    }
    for (const name of headers.keys()) {
      if (!GENERAL_HEADERS.has(name) && !named.has(name))
        misfits.push(`${status} has the header ${name}, which is not in the document`);
    }
    const type = (headers.get("content-type") ?? "").split(";")[0] ?? "";
    const content = told.content?.[type];
    if (content === undefined) {
      const isNothing = text === "" && Object.keys(told.content ?? {}).length === 0;
      return isNothing ? misfits : [...misfits, `${status} answers with ${type}, which is not in the document`];
    }
    if (content.schema === undefined || !type.endsWith("json")) return misfits;
    return [
      ...misfits,
      ...findMisfits(content.schema, JSON.parse(text) as Json, this.document).map((misfit) => `${status} ${misfit}`),
    ];
  }

  /** Of what operations may answer, what was not: `operationId status`. */
  get unanswered(): readonly string[] {
    return this.operations
      .flatMap(({ operation }) =>
        Object.keys(operation.responses).map((status) => `${operation.operationId} ${status}`),
      )
      .filter((each) => !this.#answered.has(each));
  }

  /** What is wrong with an answer to a request; nothing if the document has no such operation. @param path With its query. */
  misfitsAt(method: string, path: string, answer: Told): readonly string[] {
    const parts = path.replace(/\?.*$/, "").split("/");
    const fits = (template: string): boolean => {
      const wanted = template.split("/");
      return wanted.length === parts.length && wanted.every((part, at) => part.startsWith("{") || part === parts[at]);
    };
    const found = this.operations
      .filter((each) => each.method === method && fits(each.path))
      .toSorted((a, b) => Number(a.path.includes("{")) - Number(b.path.includes("{")))[0];
    return found === undefined ? [] : this.misfitsOf(found.operation, answer);
  }
}

/** From here on every answer that comes through a door is held to the document of the node behind it. */
export async function holdToDocument(door: FakeHttpDoor): Promise<void> {
  const document = await OpenApiDocument.of(door);
  door.onAnswer = (method, path, answer) =>
    expect(document.misfitsAt(method, path, answer), `${method} ${path}`).toEqual([]);
}
