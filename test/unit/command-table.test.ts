/** The command table: names as bytes, arity, where keys are. */
import { describe, expect, test } from "bun:test";
import { Command, CommandBits, CommandIndex } from "../../src/command-table.ts";
import type { CommandSpecification } from "../../src/contracts/commands.ts";

const make = (name: string, more: Partial<CommandSpecification> = {}): Command =>
  new Command(
    {
      name,
      arity: 1,
      flags: [],
      group: "module",
      summary: "",
      complexity: "",
      since: "",
      run: () => undefined,
      ...more,
    },
    "test",
  );
const find = (index: CommandIndex, name: string): Command | undefined => {
  const bytes = new TextEncoder().encode(`..${name}..`);
  return index.find(bytes, 2, bytes.length - 2);
};

describe("CommandIndex", () => {
  test("finds each of many commands in any case, and nothing else", () => {
    const index = new CommandIndex();
    const names = Array.from({ length: 500 }, (_, number) => `c${number.toString(36)}-x`);
    for (const name of names) index.add(make(name));
    expect(index.size).toBe(500);
    for (const name of names) {
      expect(find(index, name)?.specification.name).toBe(name);
      expect(find(index, name.toUpperCase())?.specification.name).toBe(name);
      expect(find(index, `${name}y`)).toBeUndefined();
    }
    // Bytes that differ from a name only in the bit that tells cases apart: the hash is the same, the name is not.
    for (const name of ["", "c0\rx", "c0\u0000x", "C0-X ", "c0-\u0018"]) expect(find(index, name)).toBeUndefined();
  });

  test("refuses a name that is taken, and what is no name", () => {
    const index = new CommandIndex();
    index.add(make("get"));
    expect(() => index.add(make("get"))).toThrow(
      'Cannot add command "get" of plugin "test": plugin "test" has one of that name',
    );
    for (const name of ["", "Get", "1st", "two words", "a|b"])
      expect(() => index.add(make(name))).toThrow(`Cannot add command "${name}"`);
  });
});

describe("Command", () => {
  test("takes as many arguments as its arity says", () => {
    expect([1, 2, 3].map((count) => make("a", { arity: 2 }).takes(count))).toEqual([false, true, false]);
    expect([1, 2, 3].map((count) => make("a", { arity: -2 }).takes(count))).toEqual([false, true, true]);
  });

  test("knows where its keys end", () => {
    const keys = (first: number, last: number, step: number): Command =>
      make("a", { keys: [{ first, last, step, flags: [] }] });
    expect(make("a").lastKeyOf(5)).toBe(0);
    expect(keys(1, 1, 1).lastKeyOf(3)).toBe(1);
    expect(keys(1, -1, 1).lastKeyOf(4)).toBe(3);
    expect(keys(1, -1, 2).lastKeyOf(5)).toBe(4);
    expect(keys(2, -1, 1).lastKeyOf(2)).toBe(0);
    expect(keys(1, 2, 1).lastKeyOf(2)).toBe(1);
  });

  test("has flags as bits, and subcommands with their full names", () => {
    const command = make("outer", {
      flags: ["write", "denyoom", "fast"],
      subcommands: [{ ...make("inner").specification }],
    });
    expect(command.bits).toBe(CommandBits.write | CommandBits.denyOom | CommandBits.quick | CommandBits.aboutKeys);
    expect(command.subcommands?.get("inner")?.fullName).toBe("outer|inner");
  });

  test("forgets its statistics, its subcommands' too", () => {
    const command = make("outer", { subcommands: [{ ...make("inner").specification }] });
    const inner = command.subcommands?.get("inner");
    if (inner === undefined) throw new Error("no subcommand");
    inner.callCount = 8;
    inner.timedCount = 2;
    inner.timedMicroseconds = 10;
    expect(inner.totalMicroseconds).toBe(40);
    command.resetStatistics();
    expect([inner.callCount, inner.totalMicroseconds]).toEqual([0, 0]);
  });
});
