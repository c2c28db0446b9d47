/**
 * Records in a file that is only added to, so that a crash in the middle of a write is told from damage.
 *
 *     magic   4 bytes   where a record may begin
 *     length  4 bytes   of the payload
 *     crc     4 bytes   CRC-32 of what follows
 *     synced  4 bytes   how long the file was when it was last made durable before this record was written
 *     payload
 *
 * Whatever was not made durable may be lost or torn at a crash, in any of its parts: that is a *torn end*, and it is cut off. A record that is
 * bad although a later one says that it was durable is *damage*: somebody relied on it.
 */
import { ByteWriter } from "./byte-writer.ts";
import { crc32 } from "./crc32.ts";

const MAGIC = 0xb0_0c_4a_1e;
const HEADER_BYTES = 16;
const CRC_OFFSET = 8;
/** The CRC covers the record from here. */
const COVERED_OFFSET = 12;

/** One record as bytes. @param syncedLength Bytes of the file that are durable. */
export function encodeRecord(payload: Uint8Array, syncedLength: number): Uint8Array {
  const writer = new ByteWriter(HEADER_BYTES + payload.length);
  writer.fixed32(MAGIC);
  writer.fixed32(payload.length);
  writer.fixed32(0);
  writer.fixed32(syncedLength);
  writer.raw(payload);
  const bytes = writer.finish();
  const crc = crc32(bytes, COVERED_OFFSET, bytes.length);
  for (let place = 0; place < 4; place += 1) bytes[CRC_OFFSET + place] = crc >>> (place * 8);
  return bytes;
}

/** What a file holds. */
export interface JournalContent {
  readonly records: readonly Uint8Array[];
  /** Bytes of good records; what follows is a torn end. */
  readonly goodBytes: number;
  /** Where a record is bad that was durable once; `undefined` if none is. */
  readonly damagedAt: number | undefined;
}

interface Found {
  readonly payload: Uint8Array;
  readonly synced: number;
  readonly end: number;
}

/** Reads all records of a file. */
export function readJournal(bytes: Uint8Array): JournalContent {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const records: Uint8Array[] = [];
  let at = 0;
  for (let found = recordAt(view, bytes, at); found !== undefined; found = recordAt(view, bytes, at)) {
    records.push(found.payload);
    at = found.end;
  }
  return { records, goodBytes: at, damagedAt: isDurableBeyond(view, bytes, at) ? at : undefined };
}

function recordAt(view: DataView, bytes: Uint8Array, at: number): Found | undefined {
  if (at + HEADER_BYTES > bytes.length || view.getUint32(at, true) !== MAGIC) return undefined;
  const end = at + HEADER_BYTES + view.getUint32(at + 4, true);
  if (end > bytes.length || view.getUint32(at + CRC_OFFSET, true) !== crc32(bytes, at + COVERED_OFFSET, end))
    return undefined;
  return { payload: bytes.slice(at + HEADER_BYTES, end), synced: view.getUint32(at + COVERED_OFFSET, true), end };
}

/** Whether a good record further on says that the file was durable beyond `position`. */
function isDurableBeyond(view: DataView, bytes: Uint8Array, position: number): boolean {
  for (let at = position + 1; at + HEADER_BYTES <= bytes.length; at += 1) {
    if (view.getUint32(at, true) !== MAGIC) continue;
    const found = recordAt(view, bytes, at);
    if (found !== undefined && found.synced > position) return true;
  }
  return false;
}
