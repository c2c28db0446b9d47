/** A key, named by where its bytes lie, with its slot and its hash. Owned by whoever fills it, again and again: no allocation per key. */
export class KeyReference {
  bytes: Uint8Array = EMPTY;
  start = 0;
  /** One past the last byte. */
  end = 0;
  /** Hash slot, 0 to 16383: where the cluster keeps the key. */
  slot = 0;
  /** Seeded hash of the whole key, 0 to 2^30 - 1: where the slot's table keeps it. Differs from node to node. */
  hash = 0;

  /** The key as a string of one character a byte, for maps and messages. */
  toString(): string {
    let text = "";
    for (let index = this.start; index < this.end; index += 1) text += String.fromCharCode(this.bytes[index] as number);
    return text;
  }
}

const EMPTY = new Uint8Array(0);
