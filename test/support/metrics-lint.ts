/**
 * What `promtool check metrics` and Prometheus' conventions (https://prometheus.io/docs/practices/naming/) ask of metrics: names, units, kinds, labels.
 */
import { type MetricsText, readMetrics } from "../../src/cli/prometheus-text.ts";

/** Units that are no base units, by what a name may not have as one of its words. */
const WRONG_UNITS =
  /(^|_)(milliseconds?|ms|microseconds?|us|usec|nanoseconds?|minutes?|hours?|days?|kilobytes?|kb|megabytes?|mb|bits|percent|second|byte)(_|$)/;
/** Labels that other parts of Prometheus give. */
const RESERVED = new Set(["job", "instance", "__name__"]);
const MAX_SERIES_OF_FAMILY = 10_000;

function familyOf({ types }: MetricsText, name: string): string | undefined {
  if (types.has(name)) return name;
  const base = name.replace(/_(bucket|sum|count)$/, "");
  return types.get(base) === "histogram" ? base : undefined;
}

/** @returns What is wrong, a sentence each. */
export function lintMetrics(text: string): readonly string[] {
  const read = readMetrics(text);
  if (read === undefined) return ["it cannot be read"];
  const found: string[] = [];
  const say = (family: string, what: string): void => void found.push(`${family}: ${what}`);
  if (!text.endsWith("\n")) say("text", "its last line has no end");
  const typeLines = text.split("\n").filter((line) => line.startsWith("# TYPE "));
  if (typeLines.length !== read.types.size) say("text", "a family is told twice");
  for (const [family, type] of read.types) {
    if (!/^[a-z][a-z0-9_]*$/.test(family) || family.includes("__")) say(family, "its name is not in snake case");
    if ((read.help.get(family) ?? "").trim() === "") say(family, "it has no help text");
    if ((type === "counter") !== family.endsWith("_total")) say(family, "counters, and only they, end in _total");
    if (/_(count|sum|bucket)$/.test(family)) say(family, "its name ends as those of a histogram's parts do");
    if (family.split("_").includes(type)) say(family, "its name says its kind");
    if (WRONG_UNITS.test(family)) say(family, "its unit is no base unit");
    // A unit is the last word, but for what counters end in.
    const unit = /_(seconds|bytes)(?!$|_total$|_info$)/.exec(family);
    if (unit !== null) say(family, `its unit (${unit[1]}) is not at the end`);
    if (type !== "counter" && type !== "gauge" && type !== "histogram") say(family, `there is no kind ${type}`);
  }
  const series = new Set<string>();
  const counts = new Map<string, number>();
  for (const { name, labels, value } of read.samples) {
    const family = familyOf(read, name);
    if (family === undefined) {
      say(name, "its family has no type");
      continue;
    }
    const key = `${name} ${labels["le"] ?? ""} ${seriesOf(labels)}`;
    if (series.has(key)) say(name, `a series is told twice: ${key}`);
    series.add(key);
    counts.set(family, (counts.get(family) ?? 0) + 1);
    if (Number.isNaN(value)) say(name, "a value is no number");
    if (read.types.get(family) !== "gauge" && value < 0) say(name, "a count is less than nothing");
    for (const label of Object.keys(labels)) {
      if (!/^[a-z][a-z0-9_]*$/.test(label)) say(name, `label ${label} is not in snake case`);
      if (RESERVED.has(label) || (label === "le" && !name.endsWith("_bucket"))) say(name, `label ${label} is reserved`);
    }
  }
  for (const [family, count] of counts) if (count > MAX_SERIES_OF_FAMILY) say(family, `it has ${count} series`);
  for (const [family, type] of read.types) if (type === "histogram") found.push(...lintHistogram(read, family));
  return found;
}

/** What tells a series from others of its name, bounds of buckets aside. */
function seriesOf(labels: Readonly<Record<string, string>>): string {
  const named = Object.entries(labels).filter(([label]) => label !== "le");
  return JSON.stringify(named.map(([label, value]) => `${label}=${value}`).toSorted());
}

/** Buckets go up, the last has no bound, and it is the count. */
function lintHistogram({ samples }: MetricsText, family: string): readonly string[] {
  const found: string[] = [];
  const last = new Map<string, { readonly bound: number; readonly value: number }>();
  for (const { name, labels, value } of samples) {
    if (name !== `${family}_bucket`) continue;
    const key = seriesOf(labels);
    const bound = labels["le"] === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels["le"]);
    const before = last.get(key) ?? { bound: Number.NEGATIVE_INFINITY, value: 0 };
    if (!(bound > before.bound)) found.push(`${family}: buckets of ${key} are not in order`);
    if (value < before.value) found.push(`${family}: buckets of ${key} do not add up`);
    last.set(key, { bound, value });
  }
  for (const [key, { bound, value }] of last) {
    if (bound !== Number.POSITIVE_INFINITY) found.push(`${family}: ${key} has no bucket without a bound`);
    const of = (part: string): number | undefined =>
      samples.find(({ name, labels }) => name === `${family}_${part}` && seriesOf(labels) === key)?.value;
    if (of("count") !== value) found.push(`${family}: the count of ${key} is not that of its last bucket`);
    if (of("sum") === undefined) found.push(`${family}: ${key} has no sum`);
  }
  return found;
}
