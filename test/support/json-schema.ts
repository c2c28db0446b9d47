/** JSON schemas, as far as the OpenAPI document uses them: whether a value fits one, values that do, and such as do not, each in one known place. */
import * as fc from "fast-check";

export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
export type Schema = Readonly<Record<string, Json>>;

/** The schema itself, where one is a reference into the document. */
function resolved(schema: Schema, document: Schema): Schema {
  const { $ref } = schema;
  if (typeof $ref !== "string") return schema;
  let found: Json = document;
  for (const part of $ref.replace(/^#\//, "").split("/")) found = (found as { [name: string]: Json })[part] ?? null;
  return found as Schema;
}

const schemasOf = (value: Json | undefined): readonly Schema[] => (Array.isArray(value) ? (value as Schema[]) : []);
const isObject = (value: Json): value is { [name: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isOfType(type: Json | undefined, value: Json): boolean {
  switch (type) {
    case "object":
      return isObject(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    case "null":
      return value === null;
    case undefined:
      return true;
    default:
      return typeof value === type;
  }
}

/** What is wrong with a value, each with its place; nothing if it fits. */
export function findMisfits(schema: Schema, value: Json, document: Schema, place = ""): readonly string[] {
  const own = resolved(schema, document);
  const misfits: string[] = [];
  const wrong = (what: string): void => void misfits.push(`${place || "/"}: ${what}`);
  for (const part of schemasOf(own["allOf"])) misfits.push(...findMisfits(part, value, document, place));
  const alternatives = schemasOf(own["anyOf"]);
  if (alternatives.length > 0 && alternatives.every((each) => findMisfits(each, value, document).length > 0)) {
    wrong(`none of ${alternatives.length} alternatives: ${JSON.stringify(value).slice(0, 200)}`);
  }
  if (!isOfType(own["type"], value)) {
    wrong(`no ${JSON.stringify(own["type"])}: ${JSON.stringify(value).slice(0, 100)}`);
    return misfits;
  }
  if (own["const"] !== undefined && own["const"] !== value) wrong(`not ${JSON.stringify(own["const"])}`);
  if (Array.isArray(own["enum"]) && !own["enum"].includes(value)) wrong(`not one of ${JSON.stringify(own["enum"])}`);
  if (typeof value === "string" && typeof own["pattern"] === "string" && !new RegExp(own["pattern"]).test(value))
    wrong(`"${value}" is not like ${own["pattern"]}`);
  const within = (size: number, least: string, most: string): void => {
    const [from, to] = [own[least], own[most]];
    if (typeof from === "number" && size < from) wrong(`below ${from} (${least})`);
    if (typeof to === "number" && size > to) wrong(`above ${to} (${most})`);
  };
  if (typeof value === "number") within(value, "minimum", "maximum");
  if (typeof value === "string") within(value.length, "minLength", "maxLength");
  if (Array.isArray(value)) within(value.length, "minItems", "maxItems");
  if (isObject(value)) within(Object.keys(value).length, "minProperties", "maxProperties");
  if (Array.isArray(value) && isObject(own["items"] ?? null)) {
    for (const [index, each] of value.entries())
      misfits.push(...findMisfits(own["items"] as Schema, each, document, `${place}/${index}`));
  }
  if (isObject(value)) {
    const properties = (own["properties"] ?? {}) as Readonly<Record<string, Schema>>;
    for (const name of (own["required"] ?? []) as readonly string[]) if (!(name in value)) wrong(`lacks ${name}`);
    for (const [name, each] of Object.entries(value)) {
      const property = Object.hasOwn(properties, name) ? properties[name] : matching(own, name);
      if (property !== undefined) misfits.push(...findMisfits(property, each, document, `${place}/${name}`));
      else if (own["additionalProperties"] === false) wrong(`has ${name}, which nobody knows`);
    }
  }
  return misfits;
}

/** The schema of a field that has no name of its own. */
function matching(own: Schema, name: string): Schema | undefined {
  const patterns = (own["patternProperties"] ?? {}) as Readonly<Record<string, Schema>>;
  return Object.entries(patterns).find(([pattern]) => new RegExp(pattern).test(name))?.[1];
}

/** Values that fit a schema. */
export function fitting(schema: Schema, document: Schema): fc.Arbitrary<Json> {
  const own = resolved(schema, document);
  if (own["const"] !== undefined) return fc.constant(own["const"]);
  if (Array.isArray(own["enum"])) return fc.constantFrom(...own["enum"]);
  const alternatives = schemasOf(own["anyOf"]);
  if (alternatives.length > 0) return fc.oneof(...alternatives.map((each) => fitting(each, document)));
  const bound = (name: string, otherwise: number): number => (typeof own[name] === "number" ? own[name] : otherwise);
  switch (own["type"]) {
    case "null":
      return fc.constant(null);
    case "boolean":
      return fc.boolean();
    case "integer":
      return fc.integer({ min: bound("minimum", -1000), max: bound("maximum", 1_000_000) });
    case "number":
      return fc.double({ min: bound("minimum", -1000), max: bound("maximum", 1e9), noNaN: true });
    case "string":
      if (typeof own["pattern"] === "string") return fc.stringMatching(new RegExp(own["pattern"]));
      return fc.string({ minLength: bound("minLength", 0), maxLength: Math.min(bound("maxLength", 20), 20) });
    case "array":
      return fc.array(fitting((own["items"] ?? {}) as Schema, document), {
        minLength: bound("minItems", 0),
        maxLength: Math.max(3, bound("minItems", 0)),
      });
    case "object": {
      const properties = (own["properties"] ?? {}) as Readonly<Record<string, Schema>>;
      const patterns = Object.entries((own["patternProperties"] ?? {}) as Readonly<Record<string, Schema>>);
      const [pattern] = patterns;
      if (pattern !== undefined) {
        return fc.dictionary(fc.stringMatching(new RegExp(pattern[0])), fitting(pattern[1], document), {
          minKeys: bound("minProperties", 0),
          maxKeys: 3,
        });
      }
      return fc.record(
        Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, fitting(each, document)])),
        { requiredKeys: (own["required"] ?? []) as string[] },
      );
    }
    default:
      return fc.jsonValue() as fc.Arbitrary<Json>;
  }
}

/** Values that do not fit a schema, in one place. */
export interface Spoiled {
  /** What is wrong, for people. */
  readonly what: string;
  /** Where, as a JSON pointer. */
  readonly field: string;
  readonly values: fc.Arbitrary<Json>;
}

/** Values of every kind. */
export const KINDS: readonly Json[] = [null, true, -1, 0.5, "", "text", [], [null], {}, { a: 1 }];
/** Names that no schema has; some mean something to the language. */
const UNKNOWN = ["unknown_field", "__proto__", "constructor", "a/b~c"];

/** Every way in which a value can miss a schema by one thing: of another kind, out of range, with a field too few or too many, and so on within. */
export function spoiled(schema: Schema, document: Schema): readonly Spoiled[] {
  const own = resolved(schema, document);
  const found: Spoiled[] = [];
  const add = (what: string, values: fc.Arbitrary<Json>, field = ""): void => void found.push({ what, field, values });
  const bound = (name: string): number | undefined => (typeof own[name] === "number" ? own[name] : undefined);
  const good = fitting(own, document);
  const kinds = KINDS.filter((value) =>
    Array.isArray(own["enum"]) ? !own["enum"].includes(value) : !isOfType(own["type"], value),
  );
  if (kinds.length > 0) add("another kind", fc.constantFrom(...kinds));
  if (typeof own["pattern"] === "string") {
    const pattern = new RegExp(own["pattern"]);
    add(
      "another pattern",
      fc
        .oneof(
          fc.string(),
          good.map((value) => `${value as string}\n`),
          good.map((value) => ` ${value as string}`),
        )
        .filter((text) => !pattern.test(text)),
    );
  }
  const [minimum, maximum] = [bound("minimum"), bound("maximum")];
  if (minimum !== undefined) add("too small", fc.constantFrom(minimum - 1, minimum - 1e9));
  if (maximum !== undefined) add("too great", fc.constantFrom(maximum + 1, maximum * 16 + 7));
  const [shortest, longest] = [bound("minLength"), bound("maxLength")];
  if (shortest !== undefined && shortest > 0) add("too short", fc.constant("x".repeat(shortest - 1)));
  if (longest !== undefined) add("too long", fc.constant("x".repeat(longest + 1)));
  if (own["type"] === "array") {
    const items = (own["items"] ?? {}) as Schema;
    const one = fitting(items, document);
    const [fewest, most] = [bound("minItems") ?? 0, bound("maxItems")];
    if (fewest > 0) add("too few", fc.constant([]));
    if (most !== undefined)
      add(
        "too many",
        one.map((item) => Array.from({ length: most + 1 }, () => item)),
      );
    for (const { what, field, values } of spoiled(items, document)) {
      add(
        `an item of ${what}`,
        values.map((item) => [item]),
        `/0${field}`,
      );
    }
  }
  if (own["type"] === "object") {
    const properties = Object.entries((own["properties"] ?? {}) as Readonly<Record<string, Schema>>);
    const required = (own["required"] ?? []) as readonly string[];
    const withField = (name: string, values: fc.Arbitrary<Json>): fc.Arbitrary<Json> =>
      fc.tuple(good, values).map(([value, each]) => {
        const more = Object.assign({}, value);
        // Not assigned: `__proto__` is to be a field.
        Object.defineProperty(more, name, { value: each, enumerable: true });
        return more;
      });
    for (const name of required) {
      const without = good.map((value) =>
        Object.fromEntries(Object.entries(value ?? {}).filter(([each]) => each !== name)),
      );
      add(`without ${name}`, without, `/${name}`);
    }
    for (const [name, each] of properties) {
      for (const { what, field, values } of spoiled(each, document))
        add(`${name} of ${what}`, withField(name, values), `/${name}${field}`);
    }
    const [pattern] = Object.entries((own["patternProperties"] ?? {}) as Readonly<Record<string, Schema>>);
    if (pattern !== undefined) {
      for (const { what, field, values } of spoiled(pattern[1], document))
        add(`a field of ${what}`, withField("abc", values), `/abc${field}`);
    }
    const [fewest, most] = [bound("minProperties") ?? 0, bound("maxProperties")];
    if (fewest > 0) add("too few fields", fc.constant({}));
    if (most !== undefined && pattern !== undefined) {
      const names = Array.from(
        { length: most + 1 },
        (_, at) => `a${String.fromCodePoint(97 + (at % 26)).repeat(1 + Math.floor(at / 26))}`,
      );
      add(
        "too many fields",
        fitting(pattern[1], document).map((value) => Object.fromEntries(names.map((name) => [name, value]))),
      );
    }
    if (own["additionalProperties"] === false) {
      const names =
        pattern === undefined ? UNKNOWN : ["", "UPPER\n"].filter((name) => !new RegExp(pattern[0]).test(name));
      for (const name of names)
        add(`with ${name}`, withField(name, fc.constant(1)), `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`);
    }
  }
  return found;
}
