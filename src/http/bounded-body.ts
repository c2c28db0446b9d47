/** Bodies of requests, as long as they may be. */
import { Problem } from "./problem.ts";

/**
 * The request, if its body is within a bound. One that does not say how long its body is is read to its end first.
 *
 * @throws {Problem} If it is longer.
 */
export async function boundedBody(request: Request, maxBytes: number): Promise<Request> {
  const said = request.headers.get("content-length");
  if (said !== null) {
    if (!(Number(said) <= maxBytes)) throw tooLarge(maxBytes);
    return request;
  }
  if (request.body === null) return request;
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of request.body as AsyncIterable<Uint8Array>) {
    total += chunk.length;
    // What is left of it is let go with the iterator.
    if (total > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  const body = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return new Request(request.url, { method: request.method, headers: request.headers, body });
}

function tooLarge(maxBytes: number): Problem {
  return new Problem("too-large", `The body of a request may have ${maxBytes} bytes here (http.maxBodyBytes).`);
}
