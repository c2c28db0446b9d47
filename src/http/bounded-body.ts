/**
 * Bodies of requests, as long as they may be, and in the time that they may take. A body is read to its end before anybody else sees the request: who sends a byte now and
 * then holds the place of a request for that time, and no longer.
 */
import type { Clock } from "../world.ts";
import { Problem } from "./problem.ts";

/** What is used of the runtime's. */
interface Reader {
  read(): Promise<{ readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

export interface BodyBounds {
  readonly maxBytes: number;
  /** How long it may take from when it is asked for until it is there as a whole. */
  readonly limitMs: number;
  readonly clock: Pick<Clock, "after">;
}

/**
 * The request with its body, once that is there.
 *
 * @throws {Problem} If it is too long, is not there in time, or ends before its end.
 */
export async function boundedBody(request: Request, { maxBytes, limitMs, clock }: BodyBounds): Promise<Request> {
  const said = request.headers.get("content-length");
  if (said !== null && !(Number(said) <= maxBytes)) throw tooLarge(maxBytes);
  if (request.body === null) return request;
  const reader: Reader = (request.body as ReadableStream<Uint8Array>).getReader();
  let isLate = false;
  const timer = clock.after(limitMs, () => {
    isLate = true;
    // Whoever waits for the next part of it is told that it is at its end.
    letGo(reader);
  });
  try {
    const body = await read(reader, maxBytes);
    if (isLate) throw tooLate(limitMs);
    return new Request(request.url, { method: request.method, headers: request.headers, body });
  } catch (thrown) {
    letGo(reader);
    if (isLate) throw tooLate(limitMs);
    if (thrown instanceof Problem) throw thrown;
    // It was cut off: whoever sent it is gone.
    throw new Problem("bad-request", "The body ended before its end.");
  } finally {
    timer.cancel();
  }
}

/** @throws {Problem} If it is too long. */
async function read(reader: Reader, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for (let { value } = await reader.read(); value !== undefined; { value } = await reader.read()) {
    total += value.length;
    if (total > maxBytes) throw tooLarge(maxBytes);
    chunks.push(value);
  }
  const body = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** What is left of it nobody reads. */
function letGo(reader: Reader): void {
  reader.cancel().catch(() => undefined);
}

function tooLarge(maxBytes: number): Problem {
  return new Problem("too-large", `The body of a request may have ${maxBytes} bytes here (http.maxBodyBytes).`);
}

function tooLate(limitMs: number): Problem {
  return new Problem(
    "request-timeout",
    `The body of a request has to be here within ${limitMs / 1000} seconds (http.bodyTimeoutS).`,
    // What comes of it after that would be taken for another request.
    { headers: { connection: "close" } },
  );
}
