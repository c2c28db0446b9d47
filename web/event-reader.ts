/** Server-sent events, read from a stream of text: browsers' own reader cannot send a token but in the address. */

export interface ServerEvent {
  readonly type: string;
  /** Of the last event that had one. */
  readonly id: string;
  readonly data: string;
}

/** Text goes in as it comes, events come out. */
export class EventReader {
  readonly #told: (event: ServerEvent) => void;
  #rest = "";
  #id = "";
  #type = "";
  #data: string[] = [];

  constructor(told: (event: ServerEvent) => void) {
    this.#told = told;
  }

  read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  #line(line: string): void {
    if (line === "") {
      if (this.#data.length > 0)
        this.#told({ type: this.#type || "message", id: this.#id, data: this.#data.join("\n") });
      this.#type = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id") this.#id = value;
  }
}
