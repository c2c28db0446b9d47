/** Payloads of DUMP with any body. */
import { writeCrc64 } from "../../src/codec/crc64.ts";

/** Adds version and checksum to a body. */
export function sealed(body: Uint8Array, version = 10): Buffer {
  const payload = Buffer.concat([body, Uint8Array.of(version & 0xff, version >> 8), new Uint8Array(8)]);
  writeCrc64(payload, 0, payload.length - 8, payload, payload.length - 8);
  return payload;
}
