/** CRC-32 (the polynomial of Ethernet and zlib): tells a record on disk that was torn or has changed. */

function makeTable(): Int32Array {
  const table = new Int32Array(256);
  for (let byte = 0; byte < 256; byte += 1) {
    let value = byte;
    for (let bit = 0; bit < 8; bit += 1) value = (value & 1) !== 0 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    table[byte] = value;
  }
  return table;
}

const TABLE = makeTable();

/**
 * The CRC of bytes `start` to `end - 1`.
 *
 * @returns An unsigned number of 32 bits.
 * @example
 * ```ts
 * crc32(new TextEncoder().encode("123456789"), 0, 9); // 0xcbf43926
 * ```
 */
export function crc32(bytes: Uint8Array, start: number, end: number): number {
  let crc = -1;
  for (let at = start; at < end; at += 1) {
    crc = (crc >>> 8) ^ (TABLE[(crc ^ (bytes[at] as number)) & 0xff] as number);
  }
  return ~crc >>> 0;
}
