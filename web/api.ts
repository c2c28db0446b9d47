/** What the page asks the node that has served it, by REST. The token is in a header, and in this tab's session storage: never in an address, where histories and logs keep it. */
import { Refusal, readAnswer, refusalOf } from "./answers.ts";
import { EventReader, type ServerEvent } from "./event-reader.ts";

const TOKEN_KEY = "bunch-token";

/** An answer takes no longer: a change may wait for some seconds to be agreed. */
const ANSWER_MS = 20_000;
/** A stream that lives says so every ten seconds. */
const SILENCE_MS = 25_000;

/** Ends a request that is waited for in vain, or that nobody wants any more. */
class Patience {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  #timer = 0;

  /** @param unwanted Says when nobody wants it any more. */
  constructor(unwanted?: AbortSignal) {
    this.signal =
      unwanted === undefined ? this.#controller.signal : AbortSignal.any([unwanted, this.#controller.signal]);
  }

  /** Waits for so long, from here on. */
  begin(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#controller.abort(), milliseconds);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

export class Api {
  get token(): string | undefined {
    return sessionStorage.getItem(TOKEN_KEY) ?? undefined;
  }

  set token(token: string | undefined) {
    if (token === undefined) sessionStorage.removeItem(TOKEN_KEY);
    else sessionStorage.setItem(TOKEN_KEY, token);
  }

  /** @throws {Refusal} */
  async get<Answer>(path: string): Promise<Answer> {
    return await this.#ask("GET", path);
  }

  /** @throws {Refusal} */
  async post<Answer>(path: string, body: object): Promise<Answer> {
    return await this.#ask("POST", path, body);
  }

  /**
   * Follows what happens, until the stream ends.
   *
   * @param since The id of the last event that is known; empty: none is.
   * @throws {Refusal}
   */
  async follow(since: string, told: (event: ServerEvent) => void, signal: AbortSignal): Promise<void> {
    const patience = new Patience(signal);
    try {
      const response = await this.#send("GET", "/cluster/events", undefined, patience, since);
      const reader = new EventReader(told);
      const decoder = new TextDecoder();
      const chunks = response.body?.getReader();
      for (;;) {
        patience.begin(SILENCE_MS);
        const chunk = await chunks?.read();
        if (chunk?.value === undefined) return;
        reader.read(decoder.decode(chunk.value, { stream: true }));
      }
    } finally {
      patience.end();
    }
  }

  /** Asks, and reads the answer to its end. */
  async #ask<Answer>(method: string, path: string, body?: object): Promise<Answer> {
    const patience = new Patience();
    try {
      return readAnswer(await (await this.#send(method, path, body, patience)).text()) as Answer;
    } finally {
      patience.end();
    }
  }

  async #send(
    method: string,
    path: string,
    body: object | undefined,
    patience: Patience,
    since = "",
  ): Promise<Response> {
    const { token } = this;
    const headers = new Headers();
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    if (body !== undefined) headers.set("content-type", "application/json");
    if (since !== "") headers.set("last-event-id", since);
    const options: RequestInit = {
      method,
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: patience.signal,
    };
    if (body !== undefined) options.body = JSON.stringify(body);
    patience.begin(ANSWER_MS);
    let response: Response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Refusal(0, "This node does not answer.");
    }
    if (response.ok) return response;
    throw refusalOf(response.status, await response.text().catch(() => ""));
  }
}
