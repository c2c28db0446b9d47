import { describe, expect, test } from "bun:test";
import { writeCrc64 } from "../../src/codec/crc64.ts";
import { bodyEnd, decode, encodeNothing, encodeString } from "../../src/codec/dump.ts";
import { sealed } from "../support/dump-payload.ts";

const LIMIT = 1024 * 1024;
const encode = (text: string): string => {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.from(encodeString(bytes, 0, bytes.length)).toString("hex");
};

describe("writeCrc64", () => {
  test("gives the check value of the Jones polynomial, lowest byte first", () => {
    const bytes = Buffer.from("xx123456789yyyyyyyy");
    writeCrc64(bytes, 2, 11, bytes, 11);
    expect(bytes.subarray(11).toString("hex")).toBe(Buffer.from("e9c6d914c4b8d9ca", "hex").reverse().toString("hex"));
  });

  test("gives the same in steps of eight bytes as bit by bit, at every length to 40", () => {
    for (let length = 0; length <= 40; length++) {
      const bytes = Uint8Array.from({ length }, (_, index) => index * 37 + length * 101);
      const target = new Uint8Array(8);
      writeCrc64(bytes, 0, length, target, 0);
      expect(new DataView(target.buffer).getBigUint64(0, true)).toBe(slowCrc64(bytes));
    }
  });
});

describe("encodeString", () => {
  // What redis-server 7.0.15 gives for DUMP.
  test.each([
    ["", "00000a00"],
    ["0", "00c0000a00"],
    ["-128", "00c0800a00"],
    ["128", "00c180000a00"],
    ["-32768", "00c100800a00"],
    ["32768", "00c2008000000a00"],
    ["2147483647", "00c2ffffff7f0a00"],
    ["-2147483648", "00c2000000800a00"],
    ["2147483648", "000a323134373438333634380a00"],
    ["01", "000230310a00"],
    ["-0", "00022d300a00"],
    ["abc", "00036162630a00"],
    ["a".repeat(20), `0014${"61".repeat(20)}0a00`],
    ["a".repeat(64), "00c3094040016161e033000161610a00"],
  ])("writes %j as Redis does", (text, expected) => {
    expect(encode(text).slice(0, -16)).toBe(expected);
  });
});

describe("decode", () => {
  test.each([
    ["six bits", "0003616263", "abc"],
    ["fourteen bits", "004003616263", "abc"],
    ["32 bits", "008000000003616263", "abc"],
    ["64 bits", "00810000000000000003616263", "abc"],
    ["an integer of 8 bits", "00c0ff", "-1"],
    ["an integer of 16 bits", "00c1ff7f", "32767"],
    ["an integer of 32 bits", "00c200000080", "-2147483648"],
    ["a repeat that reaches into itself", "00c3050a0061e00000", "aaaaaaaaaa"],
  ])("reads %s", (_name, body, text) => {
    const decoded = decodeHex(body);
    expect(decoded.kind === "string" ? Buffer.from(decoded.value).toString() : decoded.kind).toBe(text);
  });

  test.each([
    ["nothing", ""],
    ["a type with no value", "00"],
    ["a length of 14 bits cut", "0040"],
    ["a length of 32 bits cut", "00800000"],
    ["a length of 64 bits cut", "008100000000"],
    ["an unknown form of length", "0082616263"],
    ["an unknown kind of string", "00c4616263"],
    ["less than its length", "0004616263"],
    ["a length of 2^64 - 1", "0081ffffffffffffffff616263"],
    ["an integer cut", "00c20000"],
    ["compressed bytes with no lengths", "00c3"],
    ["compressed bytes cut", "00c3050a0061"],
    ["a repeat from before the beginning", "00c3020320000000"],
    ["a repeat with no distance", "00c3030400612000"],
    ["more than its length says", "00c30202016162"],
    ["less than its length says", "00c30203006100"],
    ["a length that the bytes cannot fill", "00c3027e800061"],
    ["a special length within", "00c3c00100610000"],
  ])("calls %s malformed", (_name, body) => {
    expect(decodeHex(body)).toEqual({ kind: "malformed" });
  });

  test("tells another type by its number", () => {
    expect(decodeHex("0e0161")).toEqual({ kind: "unsupported", type: 14 });
  });

  test("refuses a value that is longer than allowed, without making it", () => {
    expect(decodeHex("0003616263", 10, 3).kind).toBe("string");
    expect(decodeHex("0003616263", 10, 2)).toEqual({ kind: "too-large" });
    const zeros = encodeString(new Uint8Array(100_000), 0, 100_000);
    expect(decode(zeros, 0, zeros.length, 99_999)).toEqual({ kind: "too-large" });
    expect(decode(zeros, 0, zeros.length, 100_000).kind).toBe("string");
  });

  test("refuses newer versions, takes older ones", () => {
    expect(decodeHex("0003616263", 11)).toEqual({ kind: "damaged" });
    expect(decodeHex("0003616263", 256)).toEqual({ kind: "damaged" });
    expect(decodeHex("0003616263", 6).kind).toBe("string");
  });

  test("finds every changed bit and every cut", () => {
    const payload = encodeString(Buffer.from("some value"), 0, 10);
    for (let bit = 0; bit < payload.length * 8; bit++) {
      const changed = payload.slice();
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(decode(changed, 0, changed.length, LIMIT)).toEqual({ kind: "damaged" });
    }
    for (let end = 0; end < payload.length; end++) expect(decode(payload, 0, end, LIMIT)).toEqual({ kind: "damaged" });
  });
});

describe("bodyEnd", () => {
  test("is where the body ends, whatever it holds, with other bytes on both sides", () => {
    for (const body of ["", "00", "f50161", "ff".repeat(100)]) {
      const payload = sealed(Buffer.from(body, "hex"));
      const bytes = Buffer.concat([Buffer.from("eeee", "hex"), payload, Buffer.from("ee", "hex")]);
      expect(bodyEnd(bytes, 2, bytes.length - 1)).toBe(2 + body.length / 2);
      for (let end = 2; end < bytes.length - 1; end++) expect(bodyEnd(bytes, 2, end)).toBe(-1);
    }
  });

  test("of nothing is where the payload begins, and its bytes are Redis'", () => {
    const payload = encodeNothing();
    // What redis-server 7.0.15 gives for FUNCTION DUMP.
    expect(Buffer.from(payload).toString("hex")).toBe("0a005d9b5c400f7fa2da");
    expect(bodyEnd(payload, 0, payload.length)).toBe(0);
    expect(decode(payload, 0, payload.length, LIMIT)).toEqual({ kind: "malformed" });
  });
});

/** Adds version and checksum to a body, then reads it, with other bytes on both sides. */
function decodeHex(body: string, version = 10, maxBytes = LIMIT): ReturnType<typeof decode> {
  const payload = Buffer.concat([
    Buffer.from("ee", "hex"),
    sealed(Buffer.from(body, "hex"), version),
    Buffer.from("ee", "hex"),
  ]);
  return decode(payload, 1, payload.length - 1, maxBytes);
}

/** The definition, a bit at a time. */
function slowCrc64(bytes: Uint8Array): bigint {
  let crc = 0n;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1n) ^ ((crc & 1n) === 1n ? 0x95ac9329ac4bc9b5n : 0n);
  }
  return crc;
}
