/** What answers of the node mean, before the page shows any of it. */
import { harmless, parseHarmless } from "../src/harmless.ts";

/** An answer that says no, or none. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  /** 0: there was no answer. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Reads JSON, with nothing in its texts that would have the page write backwards. */
export function readAnswer(text: string): unknown {
  return parseHarmless(text);
}

/** An answer that says no, by its body. */
export function refusalOf(status: number, body: string): Refusal {
  return new Refusal(status, detailOf(body) ?? `The answer was ${status}.`);
}

function detailOf(body: string): string | undefined {
  try {
    const problem: unknown = JSON.parse(body);
    if (typeof problem !== "object" || problem === null || !("detail" in problem)) return undefined;
    return typeof problem.detail === "string" ? harmless(problem.detail) : undefined;
  } catch {
    // A proxy may have answered, with a page.
    return undefined;
  }
}

/** What went wrong, for people. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/**
 * Why the page is not told what happens as it happens.
 *
 * @param thrown What ended the stream; `undefined`: it came to its end.
 */
export function whyLost(thrown: unknown): string {
  const isRefused = thrown instanceof Refusal && thrown.status !== 0;
  const why = isRefused ? thrown.message : "The connection to this node is cut.";
  return `${why} Trying again; what is shown may be old.`;
}
