/**
 * Posts to a URL, one after another, without keeping anybody waiting.
 *
 * Promises: what is given is sent in order, each until the server says that it has it, or that it does not want it, or it was tried so many times; what waits is bounded,
 * and the oldest goes first; nothing of it stops or slows down the node. A server may get one twice: an answer can be lost.
 */
import type { Clock, HttpClient, Log, Timer } from "../world.ts";

/** What waits at most; of more the oldest is dropped. */
const MAX_WAITING = 64;
const TIMEOUT_MS = 5000;
/** Between two tries: at first, and at most; each time twice as long. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;
/** With these pauses about ten minutes: who was away for so long finds in the next one what is so by then. */
const MAX_TRIES = 15;

export interface WebhookDoors {
  readonly clock: Pick<Clock, "after">;
  readonly http: HttpClient;
  readonly log: Log;
}

export class Webhook {
  readonly #doors: WebhookDoors;
  readonly #url: string;
  readonly #authorization: string | undefined;
  readonly #waiting: string[] = [];
  #isSending = false;
  #tries = 0;
  #pause: Timer | undefined;
  #isStopped = false;
  /** Taken by the server; given up; dropped since too many waited. */
  sent = 0;
  failed = 0;
  dropped = 0;
  /** Tries that came to nothing and are followed by another one. */
  retried = 0;

  /** @param authorization Of the header of that name. */
  constructor(doors: WebhookDoors, url: string, authorization: string | undefined) {
    this.#doors = doors;
    this.#url = url;
    this.#authorization = authorization;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Has it sent. @param body JSON. */
  post(body: string): void {
    if (this.#isStopped) return;
    if (this.#waiting.length >= MAX_WAITING) {
      // What is on its way at this moment stays, so that it is known what became of it.
      this.#waiting.splice(this.#isSending ? 1 : 0, 1);
      // The next one has all of its tries.
      if (!this.#isSending) this.#tries = 0;
      this.dropped += 1;
    }
    this.#waiting.push(body);
    if (this.#pause === undefined) void this.#send();
  }

  /** Sends nothing more. */
  stop(): void {
    this.#isStopped = true;
    this.#pause?.cancel();
    this.#waiting.length = 0;
  }

  async #send(): Promise<void> {
    const [body] = this.#waiting;
    if (body === undefined || this.#isSending || this.#isStopped) return;
    this.#isSending = true;
    const outcome = await this.#try(body);
    this.#isSending = false;
    if (this.#isStopped) return;
    this.#tries += 1;
    const isOver = outcome === "sent" || outcome === "refused" || this.#tries >= MAX_TRIES;
    if (isOver) {
      if (outcome === "sent") this.sent += 1;
      else this.failed += 1;
      this.#waiting.shift();
      this.#tries = 0;
      void this.#send();
      return;
    }
    this.retried += 1;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (this.#tries - 1), LONGEST_PAUSE_MS);
    this.#pause = this.#doors.clock.after(pauseMs, () => {
      this.#pause = undefined;
      void this.#send();
    });
  }

  async #try(body: string): Promise<"sent" | "refused" | "failed"> {
    const { http, log } = this.#doors;
    let problem: string;
    try {
      const status = await http.post({
        url: this.#url,
        body,
        authorization: this.#authorization,
        timeoutMs: TIMEOUT_MS,
      });
      if (status >= 200 && status < 300) return "sent";
      problem = `status ${status}`;
      // It has understood, and does not want it: the same again would not help. But for "later" (408, 425, 429).
      if (status >= 300 && status < 500 && ![408, 425, 429].includes(status)) {
        log.warn("health: webhook refused", { reason: problem });
        return "refused";
      }
    } catch (thrown) {
      problem = thrown instanceof Error ? thrown.message : String(thrown);
    }
    // The URL may hold a token: it is not shown, and what the machine says of it may name it.
    const shown = problem.replaceAll(this.#url, "the webhook");
    if (this.#tries === 0) log.warn("health: webhook not reached, will be tried again", { reason: shown });
    else log.debug("health: webhook not reached", { tries: this.#tries + 1, reason: shown });
    return "failed";
  }
}
