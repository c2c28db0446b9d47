/** Reads the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/), as far as bunch's nodes write it. */

export interface MetricSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface MetricsText {
  /** By the families' names. */
  readonly help: ReadonlyMap<string, string>;
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly MetricSample[];
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/s;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)/gs;

/** @returns `undefined` if it is no such text. */
export function readMetrics(text: string): MetricsText | undefined {
  const help = new Map<string, string>();
  const types = new Map<string, string>();
  const samples: MetricSample[] = [];
  for (const line of text.split("\n")) {
    const [, word, family = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (word !== undefined) {
      (word === "HELP" ? help : types).set(family, rest);
      continue;
    }
    if (line === "" || line.startsWith("#")) continue;
    const [, name, labelText = "", value] = SAMPLE.exec(line) ?? [];
    if (name === undefined) return undefined;
    const labels = [...labelText.matchAll(LABEL)].map(
      ([, label = "", shown = ""]) => [label, unescape(shown)] as const,
    );
    samples.push({ name, labels: Object.fromEntries(labels), value: value === "+Inf" ? Infinity : Number(value) });
  }
  return { help, types, samples };
}

function unescape(text: string): string {
  return text.replaceAll(/\\(.)/gs, (_, letter: string) => (letter === "n" ? "\n" : letter));
}
