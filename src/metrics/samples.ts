/** What is told at one scrape: samples of families of the catalog. */
import type { LatencyCounts } from "../latency-counts.ts";
import type { FamilyName } from "./catalog.ts";

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

export interface HistogramSample {
  readonly labels: Labels;
  readonly latency: LatencyCounts;
}

export class Samples {
  readonly values = new Map<FamilyName, Sample[]>();
  readonly histograms = new Map<FamilyName, HistogramSample[]>();

  /** @param value What nobody knows is not told. */
  add(name: FamilyName, value: number | undefined, labels: Labels = {}): void {
    if (value === undefined || !Number.isFinite(value)) return;
    const there = this.values.get(name);
    if (there === undefined) this.values.set(name, [{ labels, value }]);
    else there.push({ labels, value });
  }

  addHistogram(name: FamilyName, latency: LatencyCounts, labels: Labels = {}): void {
    const there = this.histograms.get(name);
    if (there === undefined) this.histograms.set(name, [{ labels, latency }]);
    else there.push({ labels, latency });
  }
}
