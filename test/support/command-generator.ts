/**
 * Random commands for comparing servers: all that the node has for strings, keys, bits, expiry, dumps and transactions, drawn from a seed.
 *
 * Most commands are sound, over few keys, so that they meet values that others have left. Some are spoiled after they were drawn: a part lost, doubled,
 * replaced, one too many. What two servers may answer differently by right is not drawn, or says with `as` how its replies are compared:
 *
 * - Expiry is either past or hours away: what a millisecond between the servers would decide is not asked.
 * - `GT` and `LT` go with moments that no two draws share, or that are years away, for the same reason.
 * - `RESTORE` with a time so far away that the sum with the present exceeds 64 bits: what comes of that is undefined in C.
 * - A valid `SCAN` goes over all keys at once: cursors are each server's own.
 * - A scaled offset of BITFIELD (`#...`) does not exceed 64 bits: what comes of that is undefined in C.
 * - `WATCH` and `OVERFLOW FAIL` are not in one list: a field that fails makes or grows its key all the same, and redis-server does not tell those who watch it.
 * - `RANDOMKEY` and `DBSIZE` are not in one list: expired keys count until something finds them, and RANDOMKEY may find one by chance.
 * - `COMMAND` and `TIME` alone: there are other commands, and other clocks.
 * - `OBJECT REFCOUNT`, `FREQ` and `IDLETIME` tell how a server keeps values, not what they are.
 */
import type { SimRandom } from "./sim-random.ts";

/** How the replies to a command are compared. */
export type Comparison =
  | "exact"
  /** Lists of keys: in any order. */
  | "unordered"
  /** One of the keys, or none. */
  | "any-key"
  /** Seconds, or milliseconds, that pass. */
  | "s"
  | "ms"
  /** The connection's id is each server's own. */
  | "hello"
  /** How a value is kept. */
  | "encoding";

/** What the last DUMP has answered, as it was or damaged. Resolved when it is sent, so that it follows a shrunk list. */
export interface Dumped {
  readonly damage?: {
    /** How much of it is left, of 1. */
    readonly part: number;
    /** Where a byte is replaced, of 1, and by which one. */
    readonly at: number;
    readonly byte: number;
  };
}

export type Part = string | Uint8Array | Dumped;

/** A command on one of two connections. */
export interface Step {
  readonly connection: 0 | 1;
  readonly parts: readonly Part[];
  readonly as: Comparison;
}

/** The servers are to be started with it as `proto-max-bulk-len`: the smallest there may be, so that strings at the limit are cheap. */
export const MAX_BYTES = 1_048_576;

type Choices<T> = readonly [T, ...T[]];

const BINARY_KEY = Uint8Array.of(0, 255, 13, 10, 36, 42);
const KEYS: Choices<Part> = ["a", "a", "b", "b", "c", "", BINARY_KEY];
/** Only what is cheap on a long value uses it; it may be as long as a string can be. */
const LONG_KEY = "long";

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const VALUES: Choices<Part> = [
  "",
  "0",
  "1",
  "-1",
  "10",
  "007",
  "3.5",
  "hello",
  "ohmytext",
  "mynewtext",
  "9223372036854775807",
  "-9223372036854775808",
  "9223372036854775808",
  "9007199254740993",
  "-0",
  " 1",
  "x".repeat(44),
  "x".repeat(45),
  "ab".repeat(40),
  Uint8Array.of(0xff, 0xff),
  Uint8Array.of(0, 0, 1),
  Uint8Array.of(0xff, 0xf0, 0),
  ALL_BYTES,
];

/** Whole numbers and what looks like them: none is a positive count of seconds or milliseconds that ends while a test runs. */
const NUMBERS: Choices<string> = [
  "0",
  "1",
  "-1",
  "2",
  "7",
  "8",
  "-2",
  "100",
  "-100",
  "2147483647",
  "2147483648",
  "-2147483649",
  "4294967295",
  "4294967296",
  "9007199254740991",
  "9007199254740993",
  "-9007199254740993",
  "9223372036854775806",
  "9223372036854775807",
  "-9223372036854775807",
  "-9223372036854775808",
];
const NO_NUMBERS: Choices<string> = [
  "",
  "abc",
  " 1",
  "1 ",
  "+1",
  "01",
  "1.5",
  "-0",
  "--1",
  "-",
  "1e3",
  "0x10",
  "9223372036854775808",
  "-9223372036854775809",
  "18446744073709551616",
  "99999999999999999999",
  "1\0",
];
const FLOATS: Choices<string> = [
  "0",
  "1",
  "-1",
  "0.1",
  "-0.1",
  "3.0",
  "1.5e3",
  "5.0e-3",
  "1e308",
  "-1e308",
  "1e4000",
  "1e4932",
  "-1e4932",
  "1e5000",
  "1e-5000",
  "1e-20",
  "3.141592653589793238",
  "123456789012345678.9",
  "nan",
  "-nan",
  "inf",
  "-inf",
  "+inf",
  "infinity",
  "infinit",
  "0x10",
  "0x1p3",
  "0x.8",
  "0x",
  "-0x1.8p1",
  ".5",
  "5.",
  ".",
  "1e",
  "1e+",
  "+1",
  "-0",
  " 1",
  "1 ",
  "",
  "abc",
  "1,5",
  "00012",
  "9223372036854775807",
  "18446744073709551616",
  "0.00000000000000001",
  "0.000000000000000005",
];
/** In seconds since 1970: years away, or past. */
const MOMENTS: Choices<string> = ["4102444800", "4102444801", "5000000000", "1", "0", "-1"];
/** In seconds from now: hours away, past, or out of range. */
const DELAYS: Choices<string> = [
  "10000",
  "20000",
  "5000000",
  "0",
  "-1",
  "-10000",
  "9223372036854775",
  "9223372036854776",
  "-9223372036854776",
  "9223372036854775807",
  "-9223372036854775808",
];
const PATTERNS: Choices<string> = [
  "*",
  "a",
  "?",
  "[ab]",
  "[^a]",
  "nope*",
  "",
  "\\a",
  "[",
  "*[a-b",
  "[b-a]",
  "??",
  "*n*",
];
/** None of them is a cursor but 0: that of another server means nothing. */
const CURSORS: Choices<string> = ["0", "00", "", "+0", "-0", "abc", "0x", " 0", "0 ", "99999999999999999999", "1.5"];
/** What takes the place of a part that is spoiled. */
const JUNK: Choices<Part> = [
  "",
  "foo",
  "nx",
  "xx",
  "get",
  "ex",
  "persist",
  "keepttl",
  "replace",
  "bit",
  "byte",
  "idx",
  "0",
  "-1",
  "1.5",
  "abc",
  "9223372036854775807",
  "-9223372036854775809",
  "9223372036854775808",
  "x".repeat(140),
  Uint8Array.of(0x66, 0, 0x66),
  Uint8Array.of(0xff, 0x0d, 0x0a),
];

/** To a narrower field that saturates, redis-server's own subtraction goes round with them: see `addToField`. */
const SMALLEST = new Set(["-9223372036854775807", "-9223372036854775808"]);

/** A command as it was drawn, before it is spoiled. */
interface Drawn {
  readonly parts: readonly Part[];
  readonly as?: Comparison;
  /** It must be sent as it is: spoiled, it could ask for what servers answer differently by right. */
  readonly isFixed?: boolean;
}

/** How likely a command is to be spoiled. */
const SPOIL_PROBABILITY = 0.08;
/** How likely the next command is to be on the other connection. */
const SWITCH_PROBABILITY = 0.08;
/** How likely a transaction ends at the next command: they become some six commands long. */
const EXEC_PROBABILITY = 0.15;

/** The number of 1 in so many draws, each of which leaves out what it is for. */
const RARE = 40;

/** Draws commands for two connections. */
export class CommandGenerator {
  readonly #random: SimRandom;
  #connection: 0 | 1 = 0;
  readonly #isQueueing: [boolean, boolean] = [false, false];
  /** Whether keys are watched; if not, fields may fail on overflow. */
  readonly #hasWatch: boolean;
  /** Whether a key may be drawn; if not, keys may be counted. */
  readonly #hasRandomKey: boolean;

  constructor(random: SimRandom) {
    this.#random = random;
    this.#hasWatch = random.chance(0.5);
    this.#hasRandomKey = random.chance(0.5);
  }

  next(): Step {
    const random = this.#random;
    if (random.chance(SWITCH_PROBABILITY)) this.#connection = this.#connection === 0 ? 1 : 0;
    const connection = this.#connection;
    if (this.#isQueueing[connection] && random.chance(EXEC_PROBABILITY)) {
      this.#isQueueing[connection] = false;
      return { connection, parts: [random.pick(["exec", "exec", "exec", "discard", "EXEC"])], as: "exact" };
    }
    const drawn = random.pick(this.#groups)();
    if (drawn.parts[0] === "multi") this.#isQueueing[connection] = true;
    const isSpoiled = drawn.isFixed !== true && random.chance(SPOIL_PROBABILITY);
    return { connection, parts: isSpoiled ? this.#spoil(drawn.parts) : drawn.parts, as: drawn.as ?? "exact" };
  }

  #key = (): Part => this.#random.pick(KEYS);
  /** For commands that are cheap on long values, too. */
  #anyKey = (): Part => (this.#random.below(12) === 0 ? LONG_KEY : this.#key());
  #value = (): Part => this.#random.pick(VALUES);
  #number = (): string => (this.#random.below(10) === 0 ? this.#random.pick(NO_NUMBERS) : this.#random.pick(NUMBERS));
  /** A small number as a rule. */
  #small = (): string =>
    this.#random.below(5) === 0
      ? this.#number()
      : String(this.#random.between(-this.#random.pick([1, 4, 50]), this.#random.pick([3, 12, 100])));
  /** A word in letters of either case. */
  #word = (words: Choices<string>): string => {
    const word = this.#random.pick(words);
    return this.#random.below(4) === 0 ? word.toUpperCase() : word;
  };
  /** Up to `count` words, or their groups. */
  #some = (count: number, groups: Choices<() => readonly Part[]>): readonly Part[] =>
    Array.from({ length: this.#random.below(count + 1) }, () => this.#random.pick(groups)()).flat();
  #keys = (most: number): readonly Part[] => Array.from({ length: this.#random.between(1, most) }, this.#key);

  #delay(factor: 1 | 1000): string {
    const delay = this.#random.below(15) === 0 ? this.#random.pick(NO_NUMBERS) : this.#random.pick(DELAYS);
    return factor === 1000 && /^-?[1-9][0-9]{0,9}$/.test(delay) ? `${delay}000` : delay;
  }
  #moment(factor: 1 | 1000): string {
    if (this.#random.below(15) === 0) return this.#delay(1);
    const moment = this.#random.pick(MOMENTS);
    return factor === 1000 && moment !== "0" ? `${moment}000` : moment;
  }
  #expiry = (): readonly Part[] => {
    switch (this.#random.below(4)) {
      case 0:
        return [this.#word(["ex"]), this.#delay(1)];
      case 1:
        return [this.#word(["px"]), this.#delay(1000)];
      case 2:
        return [this.#word(["exat"]), this.#moment(1)];
      default:
        return [this.#word(["pxat"]), this.#moment(1000)];
    }
  };
  /** A number of milliseconds that no other draw is near, some hours long at least. */
  #uniqueDelayMs = (): number => 20_000_000 + this.#random.below(1_000_000) * 10_000;

  #dump = (): Dumped => {
    const random = this.#random;
    if (random.below(5) > 0) return {};
    return { damage: { part: random.pick([1, random.fraction()]), at: random.fraction(), byte: random.below(256) } };
  };

  #fieldType = (): string => {
    const random = this.#random;
    if (random.below(15) === 0) {
      return random.pick(["u64", "i65", "u0", "i0", "x8", "", "u", "i", "u-1", "u08", "U8", "I8", "u 8", "i+8", "u8x"]);
    }
    return random.pick<() => string>([
      () => `u${random.between(1, 63)}`,
      () => `i${random.between(1, 64)}`,
      () => "u8",
      () => "i64",
    ])();
  };
  #fieldOffset = (): string => {
    const random = this.#random;
    if (random.below(12) === 0) {
      return random.pick([
        "",
        "#",
        "#-1",
        "-1",
        "abc",
        "#abc",
        "##1",
        "+1",
        "8388608",
        "8388607",
        "#8388608",
        "4294967295",
        "#9223372036854775807",
        "9223372036854775807",
      ]);
    }
    return `${random.below(3) === 0 ? "#" : ""}${random.below(random.pick([9, 70, 300]))}`;
  };
  #fieldOperation = (): readonly Part[] => {
    switch (this.#random.below(5)) {
      case 0:
        return [this.#word(["get"]), this.#fieldType(), this.#fieldOffset()];
      case 1:
        return [this.#word(["set"]), this.#fieldType(), this.#fieldOffset(), this.#fieldValue()];
      case 2:
      case 3:
        return [this.#word(["incrby"]), this.#fieldType(), this.#fieldOffset(), this.#number()];
      default:
        return [this.#word(["overflow"]), this.#overflow()];
    }
  };

  #overflow = (): string => this.#word(["wrap", "sat", this.#hasWatch ? "sat" : "fail", "wrap", "sat", "foo"]);
  #fieldValue = (): string => {
    const number = this.#number();
    return SMALLEST.has(number) ? "-4611686018427387904" : number;
  };

  /** None of them is met by a connection that is there. */
  #clientFilter = (): readonly Part[] => {
    const random = this.#random;
    switch (random.below(6)) {
      case 0:
        return [this.#word(["type"]), random.pick(["foo", "pubsub", "master", "replica", "slave", "", ...JUNK])];
      case 1:
        return [this.#word(["id"]), random.pick(["999999999", ...NO_NUMBERS])];
      case 2:
        return [this.#word(["user"]), random.pick(["nobody", "", "x".repeat(140)])];
      case 3:
        return [this.#word(["addr", "laddr"]), random.pick(["1.2.3.4:5", "", "foo"])];
      case 4:
        return [this.#word(["skipme"]), random.pick(["yes", "foo", ""]), "id", "999999999"];
      default:
        return [random.pick(JUNK)];
    }
  };

  /** The bit or byte of a value where something is written: near its beginning, or where there can be none. */
  #offset = (limit: number): string => {
    const random = this.#random;
    if (random.below(RARE) === 0) return random.pick([String(limit), String(limit + 1), "9223372036854775807", "-1"]);
    return random.below(12) === 0 ? random.pick(NO_NUMBERS) : String(random.below(random.pick([4, 20, 200])));
  };

  readonly #strings: Choices<() => Drawn> = [
    () => ({ parts: ["set", this.#key(), this.#value()] }),
    () => ({ parts: ["set", this.#key(), this.#value()] }),
    () => ({
      parts: [
        "set",
        this.#key(),
        this.#value(),
        ...this.#some(3, [() => [this.#word(["nx", "xx", "get", "get", "keepttl"])], this.#expiry]),
      ],
    }),
    () => ({ parts: ["setnx", this.#key(), this.#value()] }),
    () => ({ parts: ["setex", this.#key(), this.#delay(1), this.#value()] }),
    () => ({ parts: ["psetex", this.#key(), this.#delay(1000), this.#value()] }),
    () => ({ parts: ["getset", this.#key(), this.#value()] }),
    () => ({ parts: ["get", this.#anyKey()] }),
    () => ({ parts: ["getdel", this.#anyKey()] }),
    () => ({ parts: ["getex", this.#anyKey(), ...this.#some(2, [() => [this.#word(["persist"])], this.#expiry])] }),
    () => ({ parts: ["mget", ...this.#keys(4)] }),
    () => ({ parts: ["mset", ...this.#keys(3).flatMap((key) => [key, this.#value()])] }),
    () => ({ parts: ["msetnx", ...this.#keys(2).flatMap((key) => [key, this.#value()])] }),
    () => ({ parts: ["strlen", this.#anyKey()] }),
    () => ({ parts: ["append", this.#key(), this.#value()] }),
    () => ({ parts: [this.#word(["getrange", "substr"]), this.#anyKey(), this.#small(), this.#small()] }),
    () => ({ parts: ["setrange", this.#key(), this.#offset(MAX_BYTES), this.#value()] }),
    () => ({ parts: ["incr", this.#key()] }),
    () => ({ parts: ["decr", this.#key()] }),
    () => ({ parts: [this.#word(["incrby", "decrby"]), this.#key(), this.#number()] }),
    () => ({ parts: ["incrbyfloat", this.#key(), this.#random.pick(FLOATS)] }),
    () => ({ parts: ["set", this.#key(), this.#random.pick(FLOATS)] }),
    () => ({
      parts: [
        "lcs",
        this.#key(),
        this.#key(),
        ...this.#some(3, [
          () => [this.#word(["len", "idx", "idx", "withmatchlen"])],
          () => [this.#word(["minmatchlen"]), this.#small()],
        ]),
      ],
    }),
  ];

  /** About a value as long as may be: now and then only. */
  readonly #long: Choices<() => Drawn> = [
    () => ({
      parts: ["setrange", LONG_KEY, String(MAX_BYTES - this.#random.between(-1, 8)), this.#value()],
      isFixed: true,
    }),
    () => ({
      parts: ["setbit", LONG_KEY, String(MAX_BYTES * 8 - this.#random.between(-1, 8)), "1"],
      isFixed: true,
    }),
    () => ({
      parts: [
        "bitfield",
        LONG_KEY,
        ...this.#some(2, [() => [this.#word(["overflow"]), this.#overflow()]]),
        this.#word(["set", "incrby"]),
        this.#fieldType(),
        String(MAX_BYTES * 8 - this.#random.between(-1, 70)),
        this.#fieldValue(),
      ],
      isFixed: true,
    }),
    () => ({ parts: ["append", LONG_KEY, this.#value()], isFixed: true }),
    () => ({ parts: ["del", LONG_KEY], isFixed: true }),
  ];

  readonly #bits: Choices<() => Drawn> = [
    () => ({ parts: ["setbit", this.#key(), this.#offset(MAX_BYTES * 8), this.#random.pick(["0", "1", "1", "2"])] }),
    () => ({ parts: ["getbit", this.#anyKey(), this.#offset(MAX_BYTES * 8)] }),
    () => ({ parts: ["bitcount", this.#anyKey()] }),
    () => ({ parts: ["bitcount", this.#anyKey(), this.#small(), this.#small(), ...this.#unit()] }),
    () => ({ parts: ["bitpos", this.#anyKey(), this.#bit()] }),
    () => ({ parts: ["bitpos", this.#anyKey(), this.#bit(), this.#small()] }),
    () => ({ parts: ["bitpos", this.#anyKey(), this.#bit(), this.#small(), this.#small(), ...this.#unit()] }),
    () => ({ parts: ["bitop", this.#word(["and", "or", "xor", "not", "foo"]), this.#key(), ...this.#keys(3)] }),
    () => ({ parts: ["bitop", this.#word(["and", "or", "xor"]), this.#key(), ...this.#keys(12)] }),
    () => ({ parts: ["bitop", "not", this.#key(), this.#key()] }),
    () => ({ parts: ["bitfield", this.#key(), ...this.#some(4, [this.#fieldOperation])] }),
    () => ({ parts: ["bitfield", this.#key(), ...this.#fieldOperation(), ...this.#fieldOperation()] }),
    () => ({
      parts: ["bitfield_ro", this.#key(), ...this.#some(3, [() => ["get", this.#fieldType(), this.#fieldOffset()]])],
    }),
    () => ({ parts: ["bitfield_ro", this.#key(), ...this.#some(2, [this.#fieldOperation])] }),
  ];
  #bit = (): string => (this.#random.below(10) === 0 ? this.#number() : this.#random.pick(["0", "1"]));
  #unit = (): readonly Part[] => this.#some(1, [() => [this.#word(["bit", "byte", "bit", "byte", "foo"])]]);

  readonly #keyCommands: Choices<() => Drawn> = [
    () => ({ parts: [this.#word(["del", "unlink"]), ...this.#keys(3)] }),
    () => ({ parts: [this.#word(["exists", "touch"]), ...this.#keys(3)] }),
    () => ({ parts: ["type", this.#anyKey()] }),
    () => (this.#hasRandomKey ? { parts: ["randomkey"], as: "any-key" } : { parts: ["dbsize"] }),
    () => ({ parts: ["keys", this.#random.pick(PATTERNS)], as: "unordered" }),
    () => ({
      parts: [
        "scan",
        "0",
        ...this.#some(2, [
          () => [this.#word(["match"]), this.#random.pick(PATTERNS)],
          () => [this.#word(["type"]), this.#random.pick(["string", "STRING", "list", "hash", "foo", ""])],
        ]),
        "count",
        "10000",
      ],
      as: "unordered",
      isFixed: true,
    }),
    () => ({
      parts: [
        "scan",
        this.#random.pick(CURSORS),
        "count",
        "10000",
        ...this.#some(1, [() => ["match"], () => ["foo", "bar"]]),
      ],
      as: "unordered",
      isFixed: true,
    }),
    () => ({ parts: ["scan", "0", "count", this.#random.pick(["0", "-1", ...NO_NUMBERS])], isFixed: true }),
    () => ({ parts: [this.#word(["rename", "renamenx"]), this.#key(), this.#key()] }),
    () => ({
      parts: [
        "copy",
        this.#key(),
        this.#key(),
        ...this.#some(2, [
          () => [this.#word(["replace"])],
          () => [this.#word(["db"]), this.#random.pick(["0", "0", "1", "-1", "abc", "", "4294967296"])],
        ]),
      ],
    }),
    () => ({ parts: ["object", this.#word(["encoding"]), this.#key()], as: "encoding" }),
    () => ({ parts: ["object", "encoding", this.#key()], as: "encoding" }),
    () => ({ parts: ["dump", this.#key()] }),
    () => ({ parts: ["dump", this.#key()] }),
    () => ({
      parts: [
        "restore",
        this.#key(),
        "0",
        this.#dump(),
        ...this.#some(1, [() => [this.#word(["replace"])]]),
        ...this.#some(1, [() => [this.#random.pick(JUNK)]]),
      ],
      isFixed: true,
    }),
    () => ({ parts: ["restore", this.#key(), "0", this.#dump(), "replace"], isFixed: true }),
    () => ({ parts: ["restore", this.#key(), "0"] }),
    () => ({
      parts: [
        "restore",
        this.#key(),
        this.#random.pick(["4102444800000", "1", "-1", "abc", "9223372036854775808"]),
        this.#dump(),
        "absttl",
        ...this.#some(2, [
          () => [this.#word(["replace"])],
          () => [this.#word(["idletime"]), this.#number()],
          () => [this.#word(["freq"]), this.#small()],
        ]),
      ],
      isFixed: true,
    }),
    () => ({
      parts: [
        "restore",
        this.#key(),
        this.#random.pick(["100000000", "0", "-1", "abc", "-9223372036854775808"]),
        this.#dump(),
        "replace",
      ],
      isFixed: true,
    }),
  ];

  readonly #expiries: Choices<() => Drawn> = [
    () => ({ parts: ["expire", this.#key(), this.#delay(1), ...this.#conditions()] }),
    () => ({ parts: ["pexpire", this.#key(), this.#delay(1000), ...this.#conditions()] }),
    () => ({ parts: ["expireat", this.#key(), this.#moment(1), ...this.#conditions()] }),
    () => ({ parts: ["pexpireat", this.#key(), this.#moment(1000), ...this.#conditions()] }),
    () => ({
      parts: ["pexpire", this.#key(), String(this.#uniqueDelayMs()), ...this.#some(2, [() => [this.#condition()]])],
      isFixed: true,
    }),
    () => ({
      parts: ["expire", this.#key(), String(this.#uniqueDelayMs() / 1000), this.#word(["gt", "lt"])],
      isFixed: true,
    }),
    () => ({
      parts: ["expireat", this.#key(), this.#random.pick(MOMENTS), ...this.#some(2, [() => [this.#condition()]])],
      isFixed: true,
    }),
    () => ({
      parts: ["pexpireat", this.#key(), `${this.#random.pick(MOMENTS)}000`, this.#condition()],
      isFixed: true,
    }),
    () => ({ parts: ["persist", this.#key()] }),
    () => ({ parts: [this.#word(["ttl"]), this.#key()], as: "s" }),
    () => ({ parts: ["pttl", this.#key()], as: "ms" }),
    () => ({ parts: ["expiretime", this.#key()], as: "s" }),
    () => ({ parts: ["pexpiretime", this.#key()], as: "ms" }),
  ];
  #condition = (): string => this.#word(["nx", "xx", "gt", "lt"]);
  #conditions = (): readonly Part[] => this.#some(1, [() => [this.#word(["nx", "xx", "nx", "xx", "foo"])]]);

  readonly #transactions: Choices<() => Drawn> = [
    () => ({ parts: ["multi"], isFixed: true }),
    () => ({ parts: ["multi"], isFixed: true }),
    () => ({ parts: [this.#word(["exec", "discard"])] }),
    () => ({ parts: this.#hasWatch ? ["watch", ...this.#keys(3)] : ["unwatch"] }),
    () => ({ parts: this.#hasWatch ? ["watch", this.#key()] : ["multi"], isFixed: true }),
    () => ({ parts: ["unwatch"] }),
    () => ({ parts: [this.#word(["foo", "get", "set", "multi", "exec", "watch", "discard"])] }),
  ];

  readonly #connectionCommands: Choices<() => Drawn> = [
    () => ({ parts: ["ping", ...this.#some(2, [() => [this.#value()]])] }),
    () => ({ parts: ["echo", this.#value()] }),
    () => ({
      parts: ["select", this.#random.pick(["0", "0", "1", "-1", "abc", "", "00", "2147483648", "4294967296"])],
    }),
    () => ({
      parts: ["client", this.#word(["setname"]), this.#random.pick(["", "name", "a b", "a\n", "x!~", "\u007f"])],
    }),
    () => ({ parts: ["client", this.#word(["getname"])] }),
    () => ({ parts: ["client", "no-evict", this.#word(["on", "off", "foo"])] }),
    () => ({
      parts: ["client", this.#word(["list", "kill"]), ...this.#clientFilter(), ...this.#some(1, [this.#clientFilter])],
      isFixed: true,
    }),
    () => ({ parts: ["client", this.#word(["pause"]), this.#random.pick(NO_NUMBERS)], isFixed: true }),
    () => ({ parts: ["client", "unpause"] }),
    () => ({ parts: ["config", "get", this.#random.pick(["nope*", "", "maxmemory", "proto-max-bulk-len"])] }),
    () => ({ parts: ["config", "set", this.#random.pick(JUNK), this.#random.pick(JUNK)], isFixed: true }),
    () => ({
      parts: ["hello", ...this.#some(1, [() => [this.#random.pick(["2", "3", "1", "4", "abc", ""])]])],
      as: "hello",
    }),
    () => ({
      parts: ["hello", this.#random.pick(["2", "3"]), "setname", this.#random.pick(["", "name", "a b"])],
      as: "hello",
    }),
    () => ({ parts: ["auth", ...this.#some(3, [() => [this.#random.pick(["default", "x", ""])]])] }),
    () => ({ parts: ["object", this.#word(["foo", "encoding"])] }),
    () => ({ parts: ["time", "x"], isFixed: true }),
    () => ({
      parts: [this.#word(["foo", "get", "set", "expire", "bitop", "ping", "client", "object", "foo|bar", ""])],
    }),
    () => ({
      parts: [
        "command",
        "getkeys",
        ...this.#some(1, [(): readonly Part[] => this.#random.pick(this.#strings)().parts]),
      ],
      isFixed: true,
    }),
    () => ({ parts: ["command", "getkeys", ...this.#random.pick(this.#keyCommands)().parts], isFixed: true }),
    () => ({ parts: ["command", "getkeysandflags", ...this.#random.pick(this.#strings)().parts], isFixed: true }),
    () => ({ parts: ["command", "getkeysandflags", ...this.#random.pick(this.#bits)().parts], isFixed: true }),
    () => (this.#random.below(4) === 0 ? { parts: ["reset"] } : { parts: ["ping"] }),
    () =>
      this.#random.below(4) === 0
        ? {
            parts: [
              this.#word(["flushall", "flushdb"]),
              ...this.#some(1, [() => [this.#word(["sync", "async", "foo"])]]),
            ],
          }
        : { parts: ["ping"] },
  ];

  /** The kinds of commands, as likely as they are often here. */
  readonly #groups: Choices<() => Drawn> = [
    () => this.#random.pick(this.#transactions)(),
    ...Array.from({ length: 8 }, () => () => this.#random.pick(this.#strings)()),
    ...Array.from({ length: 5 }, () => () => this.#random.pick(this.#bits)()),
    ...Array.from({ length: 6 }, () => () => this.#random.pick(this.#keyCommands)()),
    ...Array.from({ length: 4 }, () => () => this.#random.pick(this.#expiries)()),
    ...Array.from({ length: 3 }, () => () => this.#random.pick(this.#connectionCommands)()),
    () => this.#random.pick(this.#transactions)(),
    () => (this.#random.below(3) === 0 ? this.#random.pick(this.#long)() : this.#random.pick(this.#transactions)()),
  ];

  #spoil(parts: readonly Part[]): readonly Part[] {
    const random = this.#random;
    const spoiled = [...parts];
    const at = random.below(parts.length);
    switch (random.below(6)) {
      case 0:
        spoiled.pop();
        break;
      case 1:
        if (at > 0) spoiled.splice(at, 1);
        break;
      case 2:
        spoiled.splice(at, 0, parts[at] ?? "");
        break;
      case 3:
        spoiled.push(random.pick(JUNK));
        break;
      case 4:
        spoiled.push(random.pick(JUNK), random.pick(JUNK));
        break;
      default:
        spoiled[Math.max(1, at)] = random.pick(JUNK);
    }
    return spoiled.length === 0 ? ["ping"] : spoiled;
  }
}
