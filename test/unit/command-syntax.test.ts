/** The notation of what commands take: what each sign means, what is refused, and that it is shown as it was written. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type CommandArgument, argumentsOf, parseSyntax, showSyntax, splitUsage } from "../../src/command-syntax.ts";
import type { Command } from "../../src/command-table.ts";
import type { Node } from "../../src/node.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

const NX: CommandArgument = { name: "nx", type: "pure-token", token: "NX" };
const XX: CommandArgument = { name: "xx", type: "pure-token", token: "XX" };
const A: CommandArgument = { name: "a", type: "string" };
const B: CommandArgument = { name: "b", type: "integer" };

describe("parseSyntax", () => {
  test.each<readonly [string, readonly CommandArgument[]]>([
    ["", []],
    ["a b:integer", [A, B]],
    [
      "key pattern",
      [
        { name: "key", type: "key", keySpecificationIndex: 0 },
        { name: "pattern", type: "pattern" },
      ],
    ],
    ["key:string", [{ name: "key", type: "string" }]],
    ["ip:port:string", [{ name: "ip:port", type: "string" }]],
    ["at:unix-time", [{ name: "at", type: "unix-time" }]],
    ["NX XX", [NX, XX]],
    ["EX b:integer", [{ ...B, token: "EX" }]],
    ["(NX | XX)", [{ name: "nx_xx", type: "oneof", arguments: [NX, XX] }]],
    ["when:(NX|XX)", [{ name: "when", type: "oneof", arguments: [NX, XX] }]],
    ["WHEN (NX | XX)", [{ name: "nx_xx", type: "oneof", arguments: [NX, XX], token: "WHEN" }]],
    ["(a)", [{ name: "a", type: "block", arguments: [A] }]],
    [
      "(a b:integer | NX)",
      [{ name: "a_b_nx", type: "oneof", arguments: [{ name: "a_b", type: "block", arguments: [A, B] }, NX] }],
    ],
    ["[a]", [{ ...A, isOptional: true }]],
    ["[a b:integer]", [{ name: "a_b", type: "block", arguments: [A, B], isOptional: true }]],
    ["[NX | XX]", [{ name: "nx_xx", type: "oneof", arguments: [NX, XX], isOptional: true }]],
    ["[when:(NX | XX)]", [{ name: "when", type: "oneof", arguments: [NX, XX], isOptional: true }]],
    ["a...", [{ ...A, isMultiple: true }]],
    ["[a...]", [{ ...A, isMultiple: true, isOptional: true }]],
    ["[A a...]", [{ ...A, isMultiple: true, token: "A", isOptional: true }]],
    ["[A a]...", [{ ...A, token: "A", isOptional: true, isMultiple: true, isTokenMultiple: true }]],
    ["NX@6.2.0 XX", [{ ...NX, since: "6.2.0" }, XX]],
    ["[A a@6.2.0]", [{ ...A, token: "A", since: "6.2.0", isOptional: true }]],
    ["a...@6.2.0", [{ ...A, isMultiple: true, since: "6.2.0" }]],
    ["a@..2.8.12", [{ ...A, deprecatedSince: "2.8.12" }]],
  ])("%p", (syntax, expected) => {
    expect(parseSyntax(syntax, 1)).toEqual([...expected]);
  });

  test("keys belong to the key specifications in order, those left over to the last one", () => {
    const indexes = (count: number): readonly (number | undefined)[] =>
      parseSyntax("key (b:key [c:key])...", count)
        .flatMap((argument) => argument.arguments ?? [argument])
        .map((argument) => argument.keySpecificationIndex);
    expect(indexes(3)).toEqual([0, 1, 2]);
    expect(indexes(2)).toEqual([0, 1, 1]);
    expect(indexes(1)).toEqual([0, 0, 0]);
    expect(indexes(0)).toEqual([undefined, undefined, undefined]);
  });

  test.each([
    ["(a", '")" was expected, not the end'],
    ["[a | b)", '"]" was expected, not ")"'],
    ["a)", 'an argument was expected, not ")"'],
    ["a | b", 'an argument was expected, not "|"'],
    ["()", 'an argument was expected, not ")"'],
    ["(a | )", 'an argument was expected, not ")"'],
    ["...", 'an argument was expected, not "..."'],
    ["a .", 'an argument was expected, not "."'],
    ["a@6.2", 'an argument was expected, not "@"'],
    ["a:number", 'an argument of type string, integer, double, key, pattern, unix-time was expected, not "a:number"'],
    ["a:", '"(" was expected, not the end'],
    [":key", 'an argument was expected, not ":key"'],
    ["EX:integer", 'an argument was expected, not "EX:integer"'],
  ])("refuses %p", (syntax, reason) => {
    expect(() => parseSyntax(syntax, 1)).toThrow(`Cannot read "${syntax}": ${reason}`);
  });
});

test("splitUsage takes a name from what follows it", () => {
  expect(splitUsage("get key")).toEqual({ name: "get", syntax: "key" });
  expect(splitUsage("incrby key by:integer")).toEqual({ name: "incrby", syntax: "key by:integer" });
  expect(splitUsage("time")).toEqual({ name: "time", syntax: "" });
});

describe("showSyntax", () => {
  test.each([
    ["key value [when:(NX | XX)@2.6.12] [GET@6.2.0]", "key value [NX | XX] [GET]"],
    ["key... (ON | OFF)", "key... (ON | OFF)"],
    ["(key value)...", "(key value)..."],
    ["[A a...] [B b]...", "[A a...] [B b]..."],
    ["[A (a b)]... [B (a b)...]", "[A a b]... [B (a b)...]"],
    ["[TYPE (NORMAL | MASTER)]", "[TYPE (NORMAL | MASTER)]"],
    ["[range:(start end [BYTE | BIT])]", "[start end [BYTE | BIT]]"],
    ["[steps:(GET (a b) | more:([OVERFLOW how] SET a))]...", "[GET a b | [OVERFLOW how] SET a]..."],
  ])("%p as %p", (syntax, shown) => {
    expect(showSyntax(parseSyntax(syntax, 1))).toBe(shown);
  });

  test("what is shown of all of them can be read, and is shown the same", () => {
    const shown = "key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL] (a b)... [X (c | D)]";
    expect(showSyntax(parseSyntax(shown, 1))).toBe(shown);
  });
});

describe("the commands of a node", () => {
  let node: Node;
  beforeAll(async () => {
    node = await startLocalNode();
  });
  afterAll(() => node.stop());

  test("have a syntax that can be read, with as many arguments as their arity asks for", () => {
    const check = (command: Command): void => {
      const members = argumentsOf(command.specification);
      const required = members.filter((argument) => argument.isOptional !== true).length;
      const own = Math.abs(command.arity) - (command.fullName.includes("|") ? 2 : 1);
      // One group may stand for several arguments; what is told nothing of has none.
      if (members.length > 0)
        expect({ name: command.fullName, isFew: required <= own }).toEqual({ name: command.fullName, isFew: true });
      if (command.arity > 0 && members.length > 0)
        expect({ name: command.fullName, flags: members.filter((each) => each.isOptional ?? each.isMultiple) }).toEqual(
          { name: command.fullName, flags: [] },
        );
      for (const subcommand of command.subcommands ?? []) check(subcommand);
    };
    expect(node.dispatcher.commands.size).toBeGreaterThan(50);
    for (const command of node.dispatcher.commands) check(command);
  });

  test("show how subcommands are used in HELP", async () => {
    const client = localClient(node);
    expect(await client.run("client help")).toContain(
      "PAUSE timeout [WRITE | ALL]     Holds the commands of all connections for some milliseconds.",
    );
    expect(await client.run("memory help")).toContain(
      "USAGE key [SAMPLES count]     Tells how many bytes a key takes.",
    );
    client.close();
  });
});
