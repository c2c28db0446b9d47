/** What nodes tell, made harmless for terminals: RESP, REST and errors. */
import { describe, expect, test } from "bun:test";
import { stripVTControlCharacters } from "node:util";
import * as fc from "fast-check";
import { ClusterAccess } from "../../src/cli/cluster-access.ts";
import { askHealth } from "../../src/cli/ask-health.ts";
import { describeHealth, pictureOf } from "../../src/cli/health-command.ts";
import { RestAccess } from "../../src/cli/rest-access.ts";
import { harmless, harmlessJson, harmlessLines, harmlessReply, jsonText } from "../../src/cli/terminal.ts";
import { ReplyError } from "../../src/codec/resp-reader.ts";

const HOSTILE = "\u001B[2Jgone\r\nok: all is well\u009B1A\u202Etxt\u2028\u007F";
const SHOWN = String.raw`\x1b[2Jgone\x0d\x0aok: all is well\x9b1A\u202etxt\u2028\x7f`;
/** What a terminal acts on, but for the end of a line. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const ORDERS = /[\u0000-\u0009\u000B-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/u;

describe("harmless", () => {
  test("shows what a terminal would take for an order, and leaves everything else", () => {
    expect(harmless(HOSTILE)).toBe(SHOWN);
    expect(harmless("12 ≥ ä 日本 🙂 \\x1b")).toBe("12 ≥ ä 日本 🙂 \\x1b");
    expect(harmlessLines("one\r\n\u0007two")).toBe(String.raw`one\x0d` + "\n" + String.raw`\x07two`);
  });

  test("leaves no order in any text, and changes nothing that is harmless", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const shown = harmless(text);
        expect(shown).not.toMatch(ORDERS);
        expect(shown).not.toContain("\n");
        expect(harmless(shown)).toBe(shown);
      }),
    );
  });

  test("JSON says the same, and can be looked at", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const text = jsonText(value, 2);
        expect(text).not.toMatch(ORDERS);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(harmlessJson('{\n"a": "\u009B"}')).toBe('{\n"a": "\\u009b"}');
  });

  test("replies are, however deep their texts are", () => {
    const bytes = new TextEncoder().encode(HOSTILE);
    const reply = harmlessReply([1, null, HOSTILE, [bytes, new ReplyError(`ERR ${HOSTILE}`)]]);
    expect(reply).toEqual([1, null, SHOWN, [new TextEncoder().encode(SHOWN), new ReplyError(`ERR ${SHOWN}`)]]);
  });
});

/** A server that says one thing to whatever it is asked. */
async function saying(reply: string, ask: (address: string) => Promise<void>): Promise<void> {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (socket) => void socket.write(reply) },
  });
  try {
    await ask(`127.0.0.1:${server.port}`);
  } finally {
    server.stop(true);
  }
}
const bulk = (text: string): string => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;

describe("the command line", () => {
  const check = ["name", "disk", "state", "warn", "summary", HOSTILE, "meaning", HOSTILE, "advice", HOSTILE];
  const fields = ["state", "warn", "node-id", "a", "node-name", HOSTILE, "checks"].map(bulk).join("");
  const reply = `*8\r\n${fields}*1\r\n*${check.length}\r\n${check.map(bulk).join("")}`;

  test("shows health as nodes tell it, without orders; programs get it as it is", async () => {
    await saying(reply, async (node) => {
      const shown = describeHealth(pictureOf(await askHealth(new ClusterAccess({ node }), true)), 0);
      expect(stripVTControlCharacters(shown)).not.toMatch(ORDERS);
      expect(shown).toContain(`as ${SHOWN} sees it`);
      expect(shown).toContain(`means: ${SHOWN}\n  do:    ${SHOWN}`);
      const { told } = await askHealth(new ClusterAccess({ node, json: true }), true);
      expect(told[0]?.checks[0]?.summary).toBe(HOSTILE);
    });
  });

  test("says what a node says instead, without orders", async () => {
    await saying("-ERR no \u001B[2J\u0007\r\n", async (node) => {
      const said = await new ClusterAccess({ node, json: true }).ask("CLUSTER", "HEALTH").catch(String);
      expect(said).toEndWith(String.raw`says: ERR no \x1b[2J\x07`);
    });
  });

  test("reads REST the same way, in answers and in refusals", async () => {
    const answer = { cause: HOSTILE, changes: [HOSTILE] };
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: ({ url }) =>
        url.endsWith("/no")
          ? Response.json({ detail: HOSTILE }, { status: 409, headers: { "content-type": "application/problem+json" } })
          : Response.json(answer),
    });
    try {
      const flags = { node: "", http: `127.0.0.1:${server.port}` };
      expect(await new RestAccess(flags).get<typeof answer>("/")).toEqual({ cause: SHOWN, changes: [SHOWN] });
      expect(await new RestAccess({ ...flags, json: true }).get<typeof answer>("/")).toEqual(answer);
      const refusal = await new RestAccess({ ...flags, json: true }).get("/no").catch(String);
      expect(refusal).toEndWith(`says: ${SHOWN}`);
    } finally {
      await server.stop(true);
    }
  });
});
