/** JSON schemas, as far as the OpenAPI document uses them: whether a value fits one, and values that do, or nearly do. */
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
  if (typeof value === "number") {
    if (typeof own["minimum"] === "number" && value < own["minimum"]) wrong(`below ${own["minimum"]}`);
    if (typeof own["maximum"] === "number" && value > own["maximum"]) wrong(`above ${own["maximum"]}`);
  }
  if (Array.isArray(value) && isObject(own["items"] ?? null)) {
    for (const [index, each] of value.entries())
      misfits.push(...findMisfits(own["items"] as Schema, each, document, `${place}/${index}`));
  }
  if (isObject(value)) {
    const properties = (own["properties"] ?? {}) as Readonly<Record<string, Schema>>;
    for (const name of (own["required"] ?? []) as readonly string[]) if (!(name in value)) wrong(`lacks ${name}`);
    for (const [name, each] of Object.entries(value)) {
      const property = properties[name];
      if (property !== undefined) misfits.push(...findMisfits(property, each, document, `${place}/${name}`));
      else if (own["additionalProperties"] === false && own["patternProperties"] === undefined)
        wrong(`has ${name}, which nobody knows`);
    }
  }
  return misfits;
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

/** Values of any kind, among them such as nearly fit: with a field more, a field less, or one of another kind. */
export function misfitting(schema: Schema, document: Schema): fc.Arbitrary<Json> {
  const any = fc.jsonValue() as fc.Arbitrary<Json>;
  const nearly = fc
    .tuple(fitting(schema, document), fc.nat(), any, fc.constantFrom("more", "less", "other"))
    .map(([value, at, other, how]): Json => {
      if (!isObject(value)) return other;
      if (how === "more") return Object.assign({}, value, { unknown_field: other });
      const names = Object.keys(value);
      const name = names[at % Math.max(1, names.length)] ?? "";
      if (how === "other") return Object.assign({}, value, { [name]: other });
      return Object.fromEntries(Object.entries(value).filter(([each]) => each !== name));
    });
  return fc.oneof({ weight: 3, arbitrary: nearly }, any);
}
