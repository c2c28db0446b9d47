/**
 * The checksum at the end of Redis' dumps: CRC64 with the polynomial of David Jones, bits taken from the lowest on.
 *
 * It runs on two 32-bit halves, since a bigint per byte would take a hundred times as long, and eats eight bytes a step:
 * a CRC is linear, so the effects of the eight bytes are looked up one by one and xor-ed together.
 */

/** 0xad93d23594c935a9 with its bits in reverse order, as two halves. */
const POLYNOMIAL_HIGH = 0x95ac9329;
const POLYNOMIAL_LOW = 0xac4bc9b5;

/** Low and high half, in turn, of what a byte does when 0 to 7 more bytes follow it: `[(distance * 256 + byte) * 2]`. Never changed. */
const EFFECTS = makeEffects();

function makeEffects(): Int32Array {
  const effects = new Int32Array(8 * 256 * 2);
  for (let byte = 0; byte < 256; byte++) {
    let low = byte;
    let high = 0;
    for (let bit = 0; bit < 8; bit++) {
      const isOdd = (low & 1) === 1;
      low = (low >>> 1) | (high << 31);
      high >>>= 1;
      if (isOdd) {
        low ^= POLYNOMIAL_LOW;
        high ^= POLYNOMIAL_HIGH;
      }
    }
    effects[byte * 2] = low;
    effects[byte * 2 + 1] = high;
  }
  for (let index = 512; index < effects.length; index += 2) {
    const low = effects[index - 512] as number;
    const high = effects[index - 511] as number;
    const byte = (low & 0xff) * 2;
    effects[index] = ((low >>> 8) | (high << 24)) ^ (effects[byte] as number);
    effects[index + 1] = (high >>> 8) ^ (effects[byte + 1] as number);
  }
  return effects;
}

/**
 * Computes the checksum and writes it, lowest byte first, as dumps hold it.
 *
 * @param bytes Holds the input.
 * @param start Where the input begins.
 * @param end Where it ends, exclusive.
 * @param target Takes the eight bytes; may be `bytes` itself.
 * @param at Where they go.
 * @example
 * ```ts
 * writeCrc64(dump, 0, dump.length - 8, dump, dump.length - 8);
 * ```
 */
export function writeCrc64(bytes: Uint8Array, start: number, end: number, target: Uint8Array, at: number): void {
  const effects = EFFECTS;
  let low = 0;
  let high = 0;
  let from = start;
  for (; from + 8 <= end; from += 8) {
    const byte0 = ((bytes[from] as number) ^ (low & 0xff)) << 1;
    const byte1 = ((bytes[from + 1] as number) ^ ((low >>> 8) & 0xff)) << 1;
    const byte2 = ((bytes[from + 2] as number) ^ ((low >>> 16) & 0xff)) << 1;
    const byte3 = ((bytes[from + 3] as number) ^ (low >>> 24)) << 1;
    const byte4 = ((bytes[from + 4] as number) ^ (high & 0xff)) << 1;
    const byte5 = ((bytes[from + 5] as number) ^ ((high >>> 8) & 0xff)) << 1;
    const byte6 = ((bytes[from + 6] as number) ^ ((high >>> 16) & 0xff)) << 1;
    const byte7 = ((bytes[from + 7] as number) ^ (high >>> 24)) << 1;
    low =
      (effects[0xe00 + byte0] as number) ^
      (effects[0xc00 + byte1] as number) ^
      (effects[0xa00 + byte2] as number) ^
      (effects[0x800 + byte3] as number) ^
      (effects[0x600 + byte4] as number) ^
      (effects[0x400 + byte5] as number) ^
      (effects[0x200 + byte6] as number) ^
      (effects[byte7] as number);
    high =
      (effects[0xe01 + byte0] as number) ^
      (effects[0xc01 + byte1] as number) ^
      (effects[0xa01 + byte2] as number) ^
      (effects[0x801 + byte3] as number) ^
      (effects[0x601 + byte4] as number) ^
      (effects[0x401 + byte5] as number) ^
      (effects[0x201 + byte6] as number) ^
      (effects[1 + byte7] as number);
  }
  for (; from < end; from++) {
    const byte = ((bytes[from] as number) ^ (low & 0xff)) << 1;
    low = ((low >>> 8) | (high << 24)) ^ (effects[byte] as number);
    high = (high >>> 8) ^ (effects[byte + 1] as number);
  }
  for (let index = 0; index < 4; index++) {
    target[at + index] = low >>> (index * 8);
    target[at + 4 + index] = high >>> (index * 8);
  }
}
