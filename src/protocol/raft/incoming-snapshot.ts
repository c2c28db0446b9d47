/** A snapshot that comes in pieces. A piece that is not the next one is left: the sender is told what is wanted, and goes on from there. */
import type { Message, Snapshot } from "./types.ts";

type Piece = Extract<Message, { readonly type: "snapshot" }>;

export class IncomingSnapshot {
  readonly #pieces: Uint8Array[] = [];
  readonly #first: Piece;
  /** Bytes that are there, from the start. */
  received = 0;

  constructor(first: Piece) {
    this.#first = first;
  }

  /** Whether a piece is one of this snapshot. */
  isOf(piece: Piece): boolean {
    return (
      piece.snapshotIndex === this.#first.snapshotIndex &&
      piece.snapshotTerm === this.#first.snapshotTerm &&
      piece.totalBytes === this.#first.totalBytes
    );
  }

  /** Takes a piece. @returns The snapshot, once it is whole. */
  add(piece: Piece): Snapshot | undefined {
    if (piece.offset === this.received) {
      this.#pieces.push(piece.bytes);
      this.received += piece.bytes.length;
    }
    if (this.received < this.#first.totalBytes) return undefined;
    const data = new Uint8Array(this.received);
    let at = 0;
    for (const bytes of this.#pieces) {
      data.set(bytes, at);
      at += bytes.length;
    }
    const { snapshotIndex, snapshotTerm, configuration } = this.#first;
    return { index: snapshotIndex, term: snapshotTerm, configuration, data };
  }
}
