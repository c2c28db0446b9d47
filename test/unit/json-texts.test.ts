/** JSON texts in one piece, as snapshots copy them. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { JsonTexts } from "../../src/protocol/topology/json-texts.ts";

function read(texts: JsonTexts): unknown {
  const bytes = new Uint8Array(texts.length + 2).fill(0x5d);
  bytes[0] = 0x5b;
  texts.copyTo(bytes, 1);
  return JSON.parse(new TextDecoder().decode(bytes));
}

test("JsonTexts hold what came in and was not dropped, in order", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.jsonValue(), { nil: undefined }), { maxLength: 300 }), (steps) => {
      const texts = new JsonTexts();
      const values: unknown[] = [];
      for (const value of steps) {
        if (value !== undefined) {
          texts.push(value);
          values.push(JSON.parse(JSON.stringify(value)));
        } else if (values.length > 0) {
          texts.shift();
          values.shift();
        }
        expect(texts.count).toBe(values.length);
      }
      expect(read(texts)).toEqual(values);
    }),
  );
});

test("JsonTexts take no more room than what they hold, however much went through", () => {
  const texts = new JsonTexts();
  for (let at = 0; at < 20_000; at += 1) {
    texts.push({ at });
    if (texts.count > 100) texts.shift();
  }
  expect(texts.length).toBeLessThan(2000);
  expect(read(texts)).toEqual(Array.from({ length: 100 }, (_, at) => ({ at: 19_900 + at })));
});

test("JsonTexts have nothing to drop when they are empty", () => {
  expect(() => new JsonTexts().shift()).toThrow("there is a text to drop");
});
