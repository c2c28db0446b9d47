/**
 * The snapshots that a member sends to others which asked for what it no longer has as entries.
 *
 * Whoever is being sent one gets that one to its end, though the member makes newer ones meanwhile: else a large one would be begun anew again and again. So
 * there is a bound on how many are sent at once, and whoever stops asking is forgotten.
 */
import { snapshotDigest } from "../../codec/snapshot-digest.ts";
import type { Message, PeerId, Snapshot, SnapshotPart } from "./types.ts";

/** Members that are sent snapshots at once: each may hold another one in memory, and takes its share of the link. */
export const MAX_SNAPSHOT_ASKERS = 4;

type Piece = Extract<Message, { readonly type: "fetch-snapshot" }>;

interface Known {
  readonly snapshot: Snapshot;
  readonly digest: string;
}

export class OutgoingSnapshots {
  readonly #pieceBytes: number;
  readonly #patienceTicks: number;
  readonly #askers = new Map<PeerId, Known & { idleTicks: number }>();
  // The newest, so that its digest is made once.
  #newest: Known | undefined;

  /**
   * @param pieceBytes Of one piece.
   * @param patienceTicks Whoever has not asked for so long is forgotten.
   */
  constructor(pieceBytes: number, patienceTicks: number) {
    this.#pieceBytes = pieceBytes;
    this.#patienceTicks = patienceTicks;
  }

  /** How many members are being sent one. */
  get count(): number {
    return this.#askers.size;
  }

  tick(): void {
    for (const [id, asker] of this.#askers) {
      asker.idleTicks += 1;
      if (asker.idleTicks > this.#patienceTicks) this.#askers.delete(id);
    }
  }

  /**
   * The next piece for a member.
   *
   * @param newest What it is sent if it begins, or if it has a part of one that this member does not have.
   * @param part What it has got so far, from whomever.
   * @returns `undefined`: too many are being sent one.
   */
  next(id: PeerId, newest: Snapshot, part: SnapshotPart | undefined, term: number): Piece | undefined {
    const before = this.#askers.get(id);
    if (before === undefined && this.#askers.size >= MAX_SNAPSHOT_ASKERS) return undefined;
    if (this.#newest?.snapshot !== newest) this.#newest = { snapshot: newest, digest: snapshotDigest(newest) };
    const known = [before, this.#newest].find((each) => each !== undefined && isPartOf(part, each));
    const { snapshot, digest } = known ?? this.#newest;
    const offset = known === undefined ? 0 : (part?.offset ?? 0);
    const bytes = snapshot.data.subarray(offset, offset + this.#pieceBytes);
    const totalBytes = snapshot.data.length;
    if (offset + bytes.length === totalBytes) this.#askers.delete(id);
    else this.#askers.set(id, { snapshot, digest, idleTicks: 0 });
    return {
      type: "fetch-snapshot",
      term,
      snapshotIndex: snapshot.index,
      snapshotTerm: snapshot.term,
      // Named once: the members of a large group take more than a piece.
      configuration: offset === 0 ? snapshot.configuration : undefined,
      totalBytes,
      digest,
      offset,
      bytes,
    };
  }
}

/** Whether there is more of this snapshot to be had for who has that part of one. */
function isPartOf(part: SnapshotPart | undefined, { snapshot, digest }: Known): boolean {
  return (
    part !== undefined &&
    part.index === snapshot.index &&
    part.term === snapshot.term &&
    part.digest === digest &&
    part.offset < snapshot.data.length
  );
}
