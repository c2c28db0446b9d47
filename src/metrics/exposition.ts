/**
 * Samples as the text that Prometheus reads, by way of prom-client, which sees to escapes, numbers and names. It takes a while to load, so whoever needs
 * this imports it when the first scrape comes.
 *
 * Its metrics are made anew at each scrape: nothing is counted with them, which would cost 290 ns each time, and what a node does not know at that moment is not
 * told as 0.
 */
import type * as PromClient from "prom-client";
import { LATENCY_BOUNDS } from "../latency-counts.ts";
import { FAMILIES, FAMILY_NAMES, type FamilyName } from "./catalog.ts";
import type { HistogramSample, Samples } from "./samples.ts";

/**
 * The whole of the library takes 70 ms to load, in which a node serves nobody, for what is not used here (gateways that are pushed to, metrics of its own); the parts
 * take 10 ms. Their types are those of the whole.
 */
async function load<Name extends keyof typeof PromClient>(name: Name): Promise<(typeof PromClient)[Name]> {
  const path = `prom-client/lib/${name.toLowerCase()}.js`;
  const part = (await import(path)) as { readonly default: (typeof PromClient)[Name] };
  return part.default;
}
const Registry = await load("Registry");
const Counter = await load("Counter");
const Gauge = await load("Gauge");
const Histogram = await load("Histogram");
type Metric = ReturnType<PromClient.Histogram["get"]>;

/** Upper bounds in seconds, as labels have them. */
const BOUNDS = LATENCY_BOUNDS.map((microseconds) => microseconds / 1e6);

/** A histogram whose buckets were counted elsewhere. */
class CountedHistogram extends Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #samples: readonly HistogramSample[];

  constructor(name: FamilyName, samples: readonly HistogramSample[]) {
    const { help } = FAMILIES[name];
    super({ name, help, buckets: BOUNDS, registers: [] });
    this.#name = name;
    this.#help = help;
    this.#samples = samples;
  }

  /** As the registry asks for it. */
  getForPromString(): Metric {
    return this.get();
  }

  override get(): Metric {
    const values = this.#samples.flatMap(({ labels, latency }) => {
      let sum = 0;
      const buckets = [...latency.counts].map((count, at) => {
        sum += count;
        const le = BOUNDS[at] ?? "+Inf";
        return { metricName: `${this.#name}_bucket`, labels: { ...labels, le }, value: sum };
      });
      return [
        ...buckets,
        { metricName: `${this.#name}_sum`, labels, value: latency.sumMicroseconds / 1e6 },
        { metricName: `${this.#name}_count`, labels, value: sum },
      ];
    });
    const told = { name: this.#name, help: this.#help, type: "histogram", values, aggregator: "sum" };
    // The library says that kinds are numbers, and gives texts.
    return Promise.resolve(told as unknown as Awaited<Metric>);
  }
}

export const METRICS_MEDIA_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** @returns The text of all families of which there is anything to tell, in the order of the catalog. */
export function expose(samples: Samples): Promise<string> {
  const registry = new Registry();
  for (const name of FAMILY_NAMES) {
    const { type, help, labels = [] } = FAMILIES[name];
    const told = samples.values.get(name);
    const histograms = samples.histograms.get(name);
    if (histograms !== undefined) registry.registerMetric(new CountedHistogram(name, histograms));
    if (told === undefined) continue;
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    if (type === "counter") {
      const metric = new Counter(options);
      for (const sample of told) metric.inc({ ...sample.labels }, sample.value);
    } else {
      const metric = new Gauge(options);
      for (const sample of told) metric.set({ ...sample.labels }, sample.value);
    }
  }
  return registry.metrics();
}
