/**
 * Answers that nobody has read yet: long ones are handed to the runtime a piece at a time, as the other side reads them. So it is known how much of them waits, and what
 * may wait together is bounded; and no answer is so long that nobody else has a turn while it is sent.
 *
 * A short answer is handed over at once: the machine's buffers take it.
 */
import type { Clock } from "../world.ts";

/** An answer of no more is short. It is what a connection that reads nothing may hold of us unseen. */
export const SHORT_BYTES = 64 * 1024;
/** How much is handed over at a time: a fraction of a millisecond's work. */
const PIECE_BYTES = 256 * 1024;

export interface LongAnswer {
  readonly body: ReadableStream<Uint8Array>;
  /** It will not be read after all. */
  letGo(): void;
}

export class UnreadAnswers {
  readonly #maxBytes: number;
  readonly #clock: Pick<Clock, "soon">;
  #bytes = 0;

  constructor(maxBytes: number, clock: Pick<Clock, "soon">) {
    this.#maxBytes = maxBytes;
    this.#clock = clock;
  }

  /** Of answers that are being read, what is still to be. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How much more may wait. */
  get roomBytes(): number {
    return Math.max(0, this.#maxBytes - this.#bytes);
  }

  /** Whether an answer may wait beside the others. One alone may always: else there would be values that nobody gets. */
  hasRoomFor(bytes: number): boolean {
    return this.#bytes === 0 || bytes <= this.roomBytes;
  }

  /**
   * An answer begins to be read. Its bytes must not change until that is over.
   *
   * @param onOver Called once: it was read to its end, or the connection is closed.
   */
  begin(bytes: Uint8Array, onOver: () => void): LongAnswer {
    let at = 0;
    /** Of the bytes, those that somebody has taken. */
    let taken = 0;
    let isOver = false;
    this.#bytes += bytes.length;
    const take = (upTo: number): void => {
      this.#bytes -= upTo - taken;
      taken = upTo;
    };
    const end = (): void => {
      if (isOver) return;
      isOver = true;
      take(bytes.length);
      onOver();
    };
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (stream) => {
          // Who asks for more has taken what there was.
          take(at);
          if (at > 0) await new Promise<void>((resolve) => this.#clock.soon(resolve));
          if (isOver) return;
          if (at === bytes.length) {
            stream.close();
            end();
            return;
          }
          const piece = bytes.subarray(at, at + PIECE_BYTES);
          at += piece.length;
          stream.enqueue(piece);
        },
        cancel: end,
      },
      // What nobody has asked for stays here.
      { highWaterMark: 0 },
    );
    return { body, letGo: end };
  }
}
