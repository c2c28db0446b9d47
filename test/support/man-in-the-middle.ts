/** A machine that others take for a node: it carries what they say on to one, and does with it what a test wants. */
import type { BusAddress } from "../../src/contracts/bus.ts";
import type { Stream, World } from "../../src/world.ts";
import { RawStream } from "./bus-peer.ts";

/** Which way bytes go: `in` from whoever opened the stream, `out` to it. */
export type Way = "in" | "out";

export class ManInTheMiddle {
  /** What the first stream brought, each way. */
  readonly recorded: { readonly in: number[]; readonly out: number[] } = { in: [], out: [] };
  readonly #world: World;
  readonly #to: BusAddress;
  readonly #change: (way: Way, bytes: Uint8Array, at: number) => Uint8Array;
  #streams = 0;

  /** @param change What becomes of bytes on their way; `at`: how many came before them on that stream, that way. */
  constructor(world: World, to: BusAddress, change: (way: Way, bytes: Uint8Array, at: number) => Uint8Array) {
    this.#world = world;
    this.#to = to;
    this.#change = change;
  }

  async listen(address: BusAddress): Promise<void> {
    await this.#world.network.listen({
      ...address,
      accept: (stream) => {
        this.#streams += 1;
        return this.#carry(stream, this.#streams === 1);
      },
    });
  }

  #carry(stream: Stream, isRecorded: boolean) {
    const counts = { in: 0, out: 0 };
    const pass = (way: Way, bytes: Uint8Array): Uint8Array => {
      if (isRecorded) this.recorded[way].push(...bytes);
      const changed = this.#change(way, bytes, counts[way]);
      counts[way] += bytes.length;
      return changed;
    };
    const waiting: Uint8Array[] = [];
    const flush = (): void => {
      for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
        const taken = stream.write(first, 0, first.length);
        waiting.shift();
        if (taken < first.length) return void waiting.unshift(first.subarray(taken));
      }
    };
    const heard = (bytes: Uint8Array): void => {
      waiting.push(pass("out", bytes));
      flush();
    };
    const beyond = new RawStream(this.#world, this.#to, heard, () => stream.destroy());
    return {
      data: (_stream: Stream, bytes: Uint8Array) => beyond.write(pass("in", bytes)),
      writable: flush,
      closed: () => beyond.close(),
    };
  }
}
