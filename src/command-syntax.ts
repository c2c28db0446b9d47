/**
 * What a command takes, in one line that people read and programs take apart: the tree of arguments that `COMMAND DOCS` tells, and the usage that
 * `HELP` and the documentation show.
 *
 *     key value [condition:(NX | XX)@2.6.12] [GET@6.2.0] [EX seconds:integer | PX milliseconds:integer]
 *
 * | written                | means                                                                                                    |
 * | ---------------------- | -------------------------------------------------------------------------------------------------------- |
 * | `value`                | An argument of that name: a string.                                                                      |
 * | `seconds:integer`      | One of another type. A name that is a type needs none: `key` is a key, `pattern` a pattern.              |
 * | `NX`                   | Just this word. Capitals are words as clients send them.                                                 |
 * | `""`                   | An empty word.                                                                                           |
 * | `EX seconds:integer`   | A word, and the argument or group that it announces.                                                     |
 * | `(a b)`, `(a \| b)`    | A group: all of these in a row, or one of them.                                                          |
 * | `range:(start end)`    | A group with a name. Without one it is called after what is in it: `start_end`.                          |
 * | `[a]`, `[a b]`         | May be left out. More than one in brackets are a group.                                                  |
 * | `key...`, `(a b)...`   | Once or more often.                                                                                      |
 * | `[GET field]...`       | The same, the word too. In `[ID id...]` the word comes once.                                             |
 * | `GET@6.2.0`            | Since that version of Redis. With a word before it or brackets around it, the whole.                     |
 * | `address@..2.8.12`     | Discouraged since that version.                                                                          |
 *
 * Keys belong to the command's key specifications in order; those that are left over belong to the last one.
 */
import type { CommandSpecification } from "./contracts/commands.ts";

const ARGUMENT_TYPES = ["string", "integer", "double", "key", "pattern", "unix-time"] as const;

/** One argument of a command, or a group of them, in the words of `COMMAND DOCS`. */
export interface CommandArgument {
  readonly name: string;
  readonly type: (typeof ARGUMENT_TYPES)[number] | "pure-token" | "oneof" | "block";
  /** Of a key: which of the command's key specifications finds it. */
  readonly keySpecificationIndex?: number;
  /** The word that it is, or that stands before it. */
  readonly token?: string;
  readonly since?: string;
  readonly deprecatedSince?: string;
  readonly isOptional?: boolean;
  readonly isMultiple?: boolean;
  /** When it is repeated, its token is too. */
  readonly isTokenMultiple?: boolean;
  /** Of a group. */
  readonly arguments?: readonly CommandArgument[];
}

/**
 * A command's name and syntax, written in one.
 *
 * @param usage Such as `get key`.
 * @returns The parts of a specification.
 */
export function splitUsage(usage: string): { readonly name: string; readonly syntax: string } {
  const [name = ""] = usage.split(" ", 1);
  return { name, syntax: usage.slice(name.length + 1) };
}

/** Dots, a sign, a version or two, a word; and what is none of these, to be refused. */
const LEXEME = /\.\.\.|[[\]()|]|@\d+\.\d+\.\d+|@\.\.\d+\.\d+\.\d+|[^\s[\]()|@.]+|\S/g;

/** The arguments of a command. They are read when somebody asks: a node starts without. @throws {SyntaxError} As `parseSyntax`. */
export function argumentsOf({
  syntax = "",
  keys = [],
}: Pick<CommandSpecification, "syntax" | "keys">): readonly CommandArgument[] {
  return parseSyntax(syntax, keys.length);
}

/**
 * Reads a syntax.
 *
 * @param keySpecificationCount How many key specifications the command has.
 * @throws {SyntaxError} If it is none.
 */
export function parseSyntax(syntax: string, keySpecificationCount: number): readonly CommandArgument[] {
  const lexemes = syntax.match(LEXEME) ?? [];
  let at = 0;
  let keyCount = 0;

  const fail = (wanted: string): never => {
    const found = at < lexemes.length ? `"${lexemes[at]}"` : "the end";
    throw new SyntaxError(`Cannot read "${syntax}": ${wanted} was expected, not ${found}`);
  };
  const skip = (lexeme: string): boolean => {
    if (lexemes[at] !== lexeme) return false;
    at += 1;
    return true;
  };

  /** What stands between parentheses or brackets, up to the closing one. */
  const readGroup = (closing: string): CommandArgument => {
    const alternatives: (readonly CommandArgument[])[] = [];
    do {
      const row = readRow();
      if (row.length === 0) fail("an argument");
      alternatives.push(row);
    } while (skip("|"));
    if (!skip(closing)) fail(`"${closing}"`);
    const [first = []] = alternatives;
    return alternatives.length === 1 ? group("block", first) : group("oneof", alternatives.map(single));
  };
  const readRow = (): readonly CommandArgument[] => {
    const row: CommandArgument[] = [];
    while (at < lexemes.length && !/^[|)\]]$/.test(lexemes[at] ?? "")) row.push(readSuffixes(readOne()));
    return row;
  };
  const readOne = (): CommandArgument => {
    if (skip("(")) return readGroup(")");
    if (skip("[")) {
      const inside = readGroup("]");
      // Brackets say that something may be left out, and make a group only of more than one thing.
      return { ...(inside.type === "block" ? single(inside.arguments ?? []) : inside), isOptional: true };
    }
    if (skip('""')) return { name: "empty_string", type: "pure-token", token: "" };
    const word = lexemes[at] ?? "";
    const colon = word.lastIndexOf(":");
    const type = ARGUMENT_TYPES.find((each) => each === word.slice(colon + 1));
    const isGroupName = colon > 0 && colon === word.length - 1;
    if (!/^([A-Z][^:]*|[a-z].*)$/.test(word)) fail("an argument");
    if (colon > 0 && !isGroupName && type === undefined) fail(`an argument of type ${ARGUMENT_TYPES.join(", ")}`);
    at += 1;
    if (/^[A-Z]/.test(word)) {
      const isAnnouncing = /^[a-z(]/.test(lexemes[at] ?? "");
      return isAnnouncing
        ? { ...readRepetition(readOne()), token: word }
        : { name: word.toLowerCase(), type: "pure-token", token: word };
    }
    const name = colon < 0 ? word : word.slice(0, colon);
    if (isGroupName) return skip("(") ? { ...readGroup(")"), name } : fail('"("');
    if (type !== "key") return { name, type: type ?? "string" };
    keyCount += 1;
    if (keySpecificationCount === 0) return { name, type };
    return { name, type, keySpecificationIndex: Math.min(keyCount, keySpecificationCount) - 1 };
  };
  const readRepetition = (argument: CommandArgument): CommandArgument => {
    if (!skip("...")) return argument;
    return { ...argument, isMultiple: true, ...(argument.token === undefined ? {} : { isTokenMultiple: true }) };
  };
  const readSuffixes = (before: CommandArgument): CommandArgument => {
    const argument = readRepetition(before);
    const version = lexemes[at] ?? "";
    if (!/^@./.test(version)) return argument;
    at += 1;
    return version.startsWith("@..")
      ? { ...argument, deprecatedSince: version.slice(3) }
      : { ...argument, since: version.slice(1) };
  };

  const row = readRow();
  if (at < lexemes.length) fail("an argument");
  return row;
}

function group(type: "oneof" | "block", members: readonly CommandArgument[]): CommandArgument {
  return { name: members.map(({ name }) => name).join("_"), type, arguments: members };
}

/** A row as one argument: itself if it is one. */
function single(row: readonly CommandArgument[]): CommandArgument {
  const [first] = row;
  return first !== undefined && row.length === 1 ? first : group("block", row);
}

/** Arguments as people read them: without types and versions. */
export function showSyntax(row: readonly CommandArgument[]): string {
  return row.map(showArgument).join(" ");
}

function showArgument(argument: CommandArgument): string {
  const { name, type, token, isOptional = false, isMultiple = false, isTokenMultiple = false } = argument;
  const members = argument.arguments?.map(showArgument);
  // Brackets hold a group together as well as parentheses do, and what is repeated as a whole has its dots outside of them.
  const isHeld = members !== undefined && token === undefined && isOptional;
  const isWholeRepeated = isMultiple && (isTokenMultiple || isHeld);
  const isValueRepeated = isMultiple && !isWholeRepeated;
  let text = members === undefined ? name : members.join(type === "oneof" ? " | " : " ");
  if (members !== undefined && !isHeld && (type === "oneof" || isValueRepeated)) text = `(${text})`;
  if (isValueRepeated) text += "...";
  if (token !== undefined) text = type === "pure-token" ? token || '""' : `${token} ${text}`;
  if (isOptional) text = `[${text}]`;
  return isWholeRepeated ? `${text}...` : text;
}
