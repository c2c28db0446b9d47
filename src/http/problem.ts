/**
 * What is said to a caller over HTTP whose request was not done: problem details, as RFC 9457 has them.
 *
 * Each kind has a `type` that never changes, which programs compare, and one status. `detail` is for people, and is made of our own words and of what the caller
 * has sent; the text of an error that somebody threw is never part of it.
 */

/** The kinds, with what each means. */
export const PROBLEMS = {
  "bad-request": { status: 400, title: "The request cannot be read" },
  unauthorized: { status: 401, title: "A token is needed" },
  forbidden: { status: 403, title: "The token does not allow this" },
  "not-found": { status: 404, title: "There is no such thing" },
  "method-not-allowed": { status: 405, title: "This cannot be done with it" },
  "request-timeout": { status: 408, title: "The request did not come in time" },
  conflict: { status: 409, title: "The present state does not allow this" },
  stale: { status: 409, title: "What was decided on has changed" },
  "precondition-failed": { status: 412, title: "A condition of the request does not hold" },
  "too-large": { status: 413, title: "The request is too large" },
  "unsupported-media-type": { status: 415, title: "The body is of a kind that is not taken" },
  invalid: { status: 422, title: "Something in the request is wrong" },
  "rate-limited": { status: 429, title: "There are too many requests" },
  internal: { status: 500, title: "Something went wrong here" },
  unavailable: { status: 503, title: "Nothing of this can be done at this moment" },
  "cluster-down": { status: 503, title: "Nobody serves the slot" },
  "outcome-unknown": { status: 504, title: "It may have happened or not" },
} as const satisfies Readonly<Record<string, { readonly status: number; readonly title: string }>>;

export type ProblemKind = keyof typeof PROBLEMS;

export const PROBLEM_MEDIA_TYPE = "application/problem+json";

/** What is wrong with one part of a request. */
export interface FieldError {
  /** Where it stands. */
  readonly in: "body" | "query" | "path" | "header";
  /** A JSON pointer, such as `/slots/0/start`; empty for all of it. */
  readonly field: string;
  readonly detail: string;
}

/** What a problem may say beside its kind and its detail. */
export interface ProblemMore {
  readonly errors?: readonly FieldError[];
  /** When to ask again, in whole seconds. */
  readonly retryAfterS?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** More members of the document, by their names there. */
  readonly members?: Readonly<Record<string, string | number | readonly string[]>>;
}

/** A request that was not done. Thrown by whoever answers requests; the response is made of it in one place. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly kind: ProblemKind;
  readonly more: ProblemMore;

  /** @param detail A sentence for the caller. */
  constructor(kind: ProblemKind, detail: string, more: ProblemMore = {}) {
    super(detail);
    this.kind = kind;
    this.more = more;
  }

  get status(): number {
    return PROBLEMS[this.kind].status;
  }

  response(): Response {
    const { errors, retryAfterS, headers = {}, members = {} } = this.more;
    const body = {
      type: typeOf(this.kind),
      title: PROBLEMS[this.kind].title,
      status: this.status,
      detail: this.message,
      ...(errors === undefined ? {} : { errors }),
      ...members,
    };
    return new Response(JSON.stringify(body), {
      status: this.status,
      headers: {
        "content-type": PROBLEM_MEDIA_TYPE,
        ...(retryAfterS === undefined ? {} : { "retry-after": String(retryAfterS) }),
        ...headers,
      },
    });
  }
}

/** A kind's `type`. */
export function typeOf(kind: ProblemKind): string {
  return `urn:bunch:problem:${kind}`;
}
