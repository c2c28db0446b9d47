/**
 * The trace of a simulated run: what every node logged and what happened to it, one line an event.
 *
 * All lines go into a running hash of 64 bits. Two runs of one seed that end with the same hash did the same things in
 * the same order, on whatever engine; that is how a run is known to be repeatable. Lines are formatted for people only on
 * demand (a sink, or the last ones when a run fails); the hash takes the numbers as they are.
 *
 * Legend, in fixed columns:
 *
 * ```text
 *     time in ms  host            level event                        fields
 *       1204.017  10.0.0.2        info  node ready                   port=6379
 *       1204.230  10.0.0.3        .     stream data                  64
 * ```
 *
 * The level is `.` for what the simulation did, else the level that the node logged with.
 */

import type { Log, LogFields } from "../../src/world.ts";
import { hashText } from "./sim-random.ts";

/** How many events are kept to be shown when a run fails: enough to see the last exchange, few enough to be read. */
const RECENT_EVENTS = 60;

/** Bytes of a message's start and end that go into the hash: headers and lengths, which is where runs differ first. */
const SAMPLED_BYTES = 32;

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Collects the events of a run. */
export class Trace {
  /** Gets each line as it comes, e.g. to print it. Formatting costs time: leave it unset in long runs. */
  sink: ((line: string) => void) | undefined = undefined;

  #high = 0x6a09e667;
  #low = 0xbb67ae85 | 0;
  readonly #codes = new Map<string, number>();
  // A ring of the last events, in columns, so that keeping them makes no object.
  readonly #recentTimes = new Float64Array(RECENT_EVENTS);
  readonly #recentHosts: string[] = [];
  readonly #recentLevels: string[] = [];
  readonly #recentEvents: string[] = [];
  readonly #recentFields: (string | number)[] = [];
  #count = 0;

  /** The hash of all that happened so far: 16 hexadecimal digits. */
  get hash(): string {
    return hex(this.#high) + hex(this.#low);
  }

  /** Events so far. */
  get count(): number {
    return this.#count;
  }

  /**
   * Notes something that the simulation did.
   *
   * @param timeUs Virtual time, in microseconds.
   * @param host Whom it happened to.
   * @param event What happened, in constant words.
   * @param detail A number or text that tells it from others.
   */
  event(timeUs: number, host: string, event: string, detail: string | number = ""): void {
    this.#mixTime(timeUs);
    this.mix(this.#code(host));
    this.mix(this.#code(event));
    this.mix(typeof detail === "number" ? detail : hashText(detail, 1));
    this.#keep(timeUs, host, ".", event, detail);
  }

  /** Notes what a node logged. */
  log(timeUs: number, host: string, level: LogLevel, event: string, fields: LogFields | undefined): void {
    let text = "";
    for (const name in fields) {
      const value = fields[name];
      if (value === undefined) continue;
      text += `${text === "" ? "" : " "}${name}=${typeof value === "string" ? quoteIfNeeded(value) : String(value)}`;
    }
    this.#mixTime(timeUs);
    this.mix(this.#code(host));
    this.mix(this.#code(level));
    this.mix(hashText(event, 2));
    this.mix(hashText(text, 3));
    this.#keep(timeUs, host, level, event, text);
  }

  /** Takes 32 bits into the hash. */
  mix(word: number): void {
    this.#high = Math.imul(this.#high ^ word, 0x85ebca6b);
    this.#high ^= this.#high >>> 13;
    this.#low = Math.imul((this.#low + word) | 0, 0xc2b2ae35);
    this.#low = ((this.#low << 15) | (this.#low >>> 17)) ^ this.#high;
  }

  /** Takes a message into the hash: its length, its start and its end. */
  mixBytes(bytes: Uint8Array): void {
    const length = bytes.length;
    this.mix(length);
    const start = Math.min(length, SAMPLED_BYTES);
    let hash = 0;
    for (let i = 0; i < start; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
    for (let i = Math.max(start, length - SAMPLED_BYTES); i < length; i++) {
      hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
    }
    this.mix(hash);
  }

  /** The last events, as lines, the oldest first. */
  recent(): string[] {
    const lines: string[] = [];
    for (let i = Math.max(0, this.#count - RECENT_EVENTS); i < this.#count; i++) {
      const at = i % RECENT_EVENTS;
      lines.push(
        formatLine(
          this.#recentTimes[at] as number,
          this.#recentHosts[at] as string,
          this.#recentLevels[at] as string,
          this.#recentEvents[at] as string,
          this.#recentFields[at] as string | number,
        ),
      );
    }
    return lines;
  }

  #keep(timeUs: number, host: string, level: string, event: string, fields: string | number): void {
    const at = this.#count % RECENT_EVENTS;
    this.#count++;
    this.#recentTimes[at] = timeUs;
    this.#recentHosts[at] = host;
    this.#recentLevels[at] = level;
    this.#recentEvents[at] = event;
    this.#recentFields[at] = fields;
    this.sink?.(formatLine(timeUs, host, level, event, fields));
  }

  #mixTime(timeUs: number): void {
    this.mix(timeUs | 0);
    this.mix(Math.floor(timeUs / 4_294_967_296));
  }

  /** The hash of a text that comes again and again. */
  #code(text: string): number {
    let code = this.#codes.get(text);
    if (code === undefined) {
      code = hashText(text, 0);
      this.#codes.set(text, code);
    }
    return code;
  }
}

/** A node's log in simulation: everything goes to the trace, with the time of the simulation (not of the node's clock). */
export class SimLog implements Log {
  readonly #trace: Trace;
  readonly #host: string;
  /** The present, in microseconds; `undefined` once the process is dead and can say nothing more. */
  readonly #nowUs: () => number | undefined;

  constructor(trace: Trace, host: string, nowUs: () => number | undefined) {
    this.#trace = trace;
    this.#host = host;
    this.#nowUs = nowUs;
  }

  debug(event: string, fields?: LogFields): void {
    this.#write("debug", event, fields);
  }

  info(event: string, fields?: LogFields): void {
    this.#write("info", event, fields);
  }

  warn(event: string, fields?: LogFields): void {
    this.#write("warn", event, fields);
  }

  error(event: string, fields?: LogFields): void {
    this.#write("error", event, fields);
  }

  #write(level: LogLevel, event: string, fields: LogFields | undefined): void {
    const nowUs = this.#nowUs();
    if (nowUs !== undefined) this.#trace.log(nowUs, this.#host, level, event, fields);
  }
}

function formatLine(timeUs: number, host: string, level: string, event: string, fields: string | number): string {
  const time = formatMs(timeUs).padStart(14);
  return `${time}  ${host.padEnd(15)} ${level.padEnd(5)} ${event.padEnd(28)} ${String(fields)}`.trimEnd();
}

/**
 * Microseconds as milliseconds with three decimals.
 *
 * @example
 * ```ts
 * formatMs(1_204_017); // "1204.017"
 * ```
 */
export function formatMs(timeUs: number): string {
  const whole = Math.floor(timeUs / 1000);
  return `${whole}.${String(timeUs - whole * 1000).padStart(3, "0")}`;
}

function quoteIfNeeded(value: string): string {
  return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}
