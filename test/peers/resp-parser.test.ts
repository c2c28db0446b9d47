import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { ArgumentList, ParseStatus, RequestParser } from "../../src/codec/resp-parser.ts";
import { ReplyWriter } from "../../src/codec/resp-writer.ts";
import { needsRedisServer, type RedisServer, startRedisServer } from "../support/redis-server.ts";

const PORT = 21001;
const ECHO = "*2\r\n$4\r\nECHO\r\n";
/** Sent last, so that a server that finds nothing wrong has an answer too. Where it waits for more, this is what it gets. */
const PING = "PING\r\n";

/** What the codec alone answers: PONG, ECHO's argument, or the error after which it closes. */
function answer(input: string, isAuthenticated: boolean): string {
  const parser = new RequestParser({ maxBulkBytes: 536_870_912 });
  parser.isAuthenticated = isAuthenticated;
  const args = new ArgumentList();
  const reply = new ReplyWriter();
  parser.feed(new Uint8Array(Buffer.from(input, "latin1")));
  let status = parser.next(args);
  for (; status === ParseStatus.command; status = parser.next(args)) {
    if (args.count === 2) reply.bulk(args.bytes, args.start(1), args.end(1));
    else reply.simple("PONG");
  }
  if (status === ParseStatus.error) reply.error(`ERR ${parser.error}`);
  return Buffer.from(reply.bytes.subarray(0, reply.length)).toString("latin1");
}

/** What redis-server answers before it closes. Our side ends the stream, so it closes where it waits for more too. */
function ask(input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect({ port: PORT, host: "127.0.0.1" }, () => socket.end(Buffer.from(input, "latin1")));
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("close", () => resolve(Buffer.concat(chunks).toString("latin1")));
    socket.on("error", reject);
  });
}

describe.skipIf(!needsRedisServer())("requests, beside redis-server", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedisServer({ port: PORT });
  });
  afterAll(() => server.stop());

  test.each([
    "*2147483647\r\n",
    "*2147483648\r\n",
    "*abc\r\n",
    "*\r\n",
    "*01\r\n",
    "*+1\r\n",
    "*-0\r\n",
    "*-1x\r\n",
    "* 1\r\n",
    "*0\r\n",
    "*-1\r\n",
    "*-9223372036854775808\r\n",
    "*-9223372036854775809\r\n",
    `*${"1".repeat(20)}\r\n`,
    "*1\rX$4\rYPING\r\n",
    "*1\r\n$4\r\nPINGXY",
    `${ECHO}$0\r\n\r\n`,
    `${ECHO}$-1\r\n`,
    `${ECHO}$536870912\r\n`,
    `${ECHO}$536870913\r\n`,
    `${ECHO}$abc\r\n`,
    `${ECHO}$\r\n`,
    `${ECHO}$01\r\na\r\n`,
    `${ECHO}:1\r\n`,
    `${ECHO}\r\n`,
    `${ECHO}\nabc\r\n`,
    `${ECHO}\xff\r\n`,
    "\r\n\n  \r\n",
    'ECHO "a\\x41\\n\\r\\t\\b\\a\\q\\\\\\""\r\n',
    "ECHO 'a\\n\\'b'\r\n",
    "ECHO foo\"bar\"'b c'\r\n",
    'ECHO ""\r\n',
    'ECHO "\\x4"\r\n',
    'ECHO "\\xfF\\x00"\r\n',
    "ECHO a\\nb\r\n",
    "ECHO a\vb\r\n",
    "ECHO \v\fa\r\n",
    "PING\r\r\n",
    'ECHO "foo\r\n',
    "ECHO 'foo\r\n",
    'ECHO "foo"bar\r\n',
    'ECHO "a\\\r\n',
    'ECHO "a\\"\r\n',
    'ECHO "a"\xa0\r\n',
  ])("RequestParser makes of %j what redis-server makes of it", async (input) => {
    expect(answer(input + PING, true)).toBe(await ask(input + PING));
  });

  test.each([
    ["*", "1"],
    [`${ECHO}$`, "1"],
    ["", "A"],
  ])("RequestParser finds a line too long when redis-server does, after %j", async (before, letter) => {
    // Nothing follows here: where Redis has read past a long line's end before it looked, it judges the line by what is on it.
    const marker = before === "" ? 0 : 1;
    const most = before + letter.repeat(65_536 - marker);
    expect(answer(most, true)).toBe(await ask(most));
    expect(answer(most + letter, true)).toBe(await ask(most + letter));
    expect(answer(most + letter, true)).toStartWith("-ERR Protocol error: too big");
  });

  test("RequestParser lets a client without the password send what redis-server lets it send", async () => {
    const set = (password: string, auth: string): Promise<string> =>
      ask(`${auth}CONFIG SET requirepass "${password}"\r\n`);
    expect(await set("secret", "")).toBe("+OK\r\n");
    for (const input of [
      "*10\r\n",
      "*11\r\n",
      "*3000000000\r\n",
      `${ECHO}$16384\r\n`,
      `${ECHO}$16385\r\n`,
      `${ECHO}$536870913\r\n`,
    ]) {
      expect(answer(input, false), JSON.stringify(input)).toBe(await ask(input));
    }
    expect(await set("", "AUTH secret\r\n")).toBe("+OK\r\n+OK\r\n");
  });
});
