/**
 * A snapshot that comes in pieces. A piece that is not the next one is left: the sender is told what is wanted, and goes on from there.
 *
 * A leader's pieces come from one member, within one term. Pieces that were asked for may come from several members, one after another: they name the digest of
 * the whole, and only those of the same whole are put together.
 */
import { present } from "../../assert.ts";
import type { Message, Snapshot, SnapshotPart } from "./types.ts";

type Piece = Extract<Message, { readonly type: "snapshot" | "fetch-snapshot" }>;

export class IncomingSnapshot {
  readonly #pieces: Uint8Array[] = [];
  readonly #first: Piece;
  /** Bytes that are there, from the start. */
  received = 0;

  constructor(first: Piece) {
    this.#first = first;
  }

  /** The index that it is of. */
  get index(): number {
    return this.#first.snapshotIndex;
  }

  /** What there is of it, for whoever is asked for more. */
  get part(): SnapshotPart {
    return { index: this.index, term: this.#first.snapshotTerm, digest: digestIn(this.#first), offset: this.received };
  }

  /** Whether a piece is one of this snapshot. */
  isOf(piece: Piece): boolean {
    return (
      piece.snapshotIndex === this.#first.snapshotIndex &&
      piece.snapshotTerm === this.#first.snapshotTerm &&
      piece.totalBytes === this.#first.totalBytes &&
      digestIn(piece) === digestIn(this.#first)
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
    const { snapshotIndex, snapshotTerm } = this.#first;
    const configuration = present(this.#first.configuration, "the first piece names the members");
    return { index: snapshotIndex, term: snapshotTerm, configuration, data };
  }
}

/** Empty: a leader's, which names none. */
function digestIn(piece: Piece): string {
  return piece.type === "fetch-snapshot" ? piece.digest : "";
}
