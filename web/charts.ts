/** What the nodes have to do, over time: drawn by uPlot, and said in words beside each picture. */
import uPlot from "uplot";
import type { NodeStats, NodeView } from "../src/rest/schemas.ts";
import { find, make, mark, say } from "./elements.ts";
import { type Sample, sampleOf } from "./model.ts";
import { bytesInWords, countInWords } from "./words.ts";

/** Samples that are kept: a quarter of an hour, at one in two seconds. */
const MAX_SAMPLES = 450;
const HEIGHT = 190;
/** Lines of all nodes, and of one. */
const COLOURS = { light: ["#0b5cad", "#b3450b"], dark: ["#7cbcf5", "#f5a26a"] } as const;

type Measure = Exclude<keyof Sample, "atMs">;

interface ChartKind {
  readonly measure: Measure;
  readonly title: string;
  /** What the line of all nodes is. */
  readonly all: string;
  /** The least value at the top: little is not to look like much. */
  readonly leastTop: number;
  /** Bytes are counted in twos. */
  readonly isBytes?: boolean;
  readonly words: (value: number) => string;
}

const KINDS: readonly ChartKind[] = [
  { measure: "commands", title: "Commands a second", all: "all nodes", leastTop: 10, words: countInWords },
  {
    measure: "commandUs",
    title: "Time of a command, in its node",
    all: "mean of all",
    leastTop: 10,
    words: (value) => (value < 1000 ? `${value.toFixed(1)} \u00b5s` : `${(value / 1000).toFixed(1)} ms`),
  },
  {
    measure: "memoryBytes",
    title: "Memory of keys and values",
    all: "all nodes",
    leastTop: 1024 * 1024,
    isBytes: true,
    words: bytesInWords,
  },
  {
    measure: "loopLagMs",
    title: "Loop lag",
    all: "the worst node",
    leastTop: 10,
    words: (value) => `${Math.round(value)} ms`,
  },
];

interface Chart {
  readonly kind: ChartKind;
  readonly plot: uPlot;
  readonly words: HTMLElement;
}

export class Charts {
  readonly #select = find("chart-node", HTMLSelectElement);
  readonly #list = find("chart-list", HTMLDivElement);
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  readonly #resized: ResizeObserver;
  #charts: readonly Chart[] = [];
  #told: readonly { readonly atMs: number; readonly stats: ReadonlyMap<string, NodeStats> }[] = [];
  #samples: readonly Sample[] = [];

  constructor() {
    this.#select.addEventListener("change", () => this.#draw());
    this.#select.form?.addEventListener("submit", (event) => event.preventDefault());
    this.#dark.addEventListener("change", () => this.#build());
    this.#resized = new ResizeObserver(() => {
      for (const { plot } of this.#charts) plot.setSize({ width: this.#widthOf(plot.root), height: HEIGHT });
    });
    this.#build();
    this.#resized.observe(this.#list);
  }

  /** Offers nodes to be shown beside all. */
  choose(nodes: readonly NodeView[]): void {
    const wanted = new Map(nodes.map((node) => [node.id, node.name || node.id.slice(0, 8)]));
    const options = [...this.#select.options].slice(1);
    for (const option of options) if (!wanted.has(option.value)) option.remove();
    const there = new Set(options.map(({ value }) => value));
    for (const [value, name] of wanted) if (!there.has(value)) this.#select.append(make("option", { value }, name));
  }

  /** Adds what the nodes have told at a moment. */
  add(stats: ReadonlyMap<string, NodeStats>, atMs: number): void {
    const last = this.#told.at(-1);
    this.#told = [...this.#told, { atMs, stats }].slice(-MAX_SAMPLES);
    this.#samples = [...this.#samples, sampleOf(last?.stats ?? new Map(), stats, atMs)].slice(-MAX_SAMPLES);
    this.#draw();
  }

  #draw(): void {
    const only = this.#select.value;
    const own =
      only === ""
        ? []
        : this.#told.map(({ atMs, stats }, at) => sampleOf(this.#told[at - 1]?.stats ?? new Map(), stats, atMs, only));
    const times = this.#samples.map(({ atMs }) => atMs / 1000);
    for (const { kind, plot, words } of this.#charts) {
      const all = this.#samples.map((sample) => sample[kind.measure]);
      const one = only === "" ? times.map(() => null) : own.map((sample) => sample[kind.measure]);
      plot.setData([times, all, one]);
      const inWords = (value: number | null | undefined): string =>
        value === null || value === undefined ? "not known" : kind.words(value);
      const beside =
        only === "" ? "" : `; dashed, ${this.#select.selectedOptions[0]?.text ?? ""}: ${inWords(one.at(-1))}`;
      say(words, `${kind.all}: ${inWords(all.at(-1))}${beside}`);
    }
  }

  #widthOf(element: HTMLElement): number {
    return Math.max(200, element.parentElement?.clientWidth ?? 0);
  }

  /** Makes the pictures, in the colours of the moment. */
  #build(): void {
    for (const { plot } of this.#charts) plot.destroy();
    this.#list.replaceChildren();
    const [allColour, oneColour] = COLOURS[this.#dark.matches ? "dark" : "light"];
    const [text, lines] = this.#dark.matches ? ["#a3afbb", "#33404d"] : ["#525d69", "#d3dae1"];
    this.#charts = KINDS.map((kind) => {
      const words = make("span", { class: "quiet" });
      const frame = make("div", { role: "img" });
      mark(frame, "aria-label", `${kind.title} over time. The last value is said beside the title.`);
      this.#list.append(make("figure", {}, make("figcaption", {}, kind.title, " ", words), frame));
      const axis = {
        stroke: text,
        grid: { stroke: lines, width: 1 },
        ticks: { stroke: lines, width: 1 },
        font: "12px system-ui",
      };
      const incrs = Array.from(
        { length: 50 },
        (_, power) =>
          (kind.isBytes === true ? 2 ** power : ([1, 2, 5][power % 3] ?? 1)) *
          (kind.isBytes === true ? 1 : 10 ** Math.floor(power / 3)),
      );
      const plot = new uPlot(
        {
          width: Math.max(200, frame.clientWidth),
          height: HEIGHT,
          scales: {
            x: { time: true },
            y: { range: (_plot, _least, most) => [0, Math.max(kind.leastTop, most * 1.1)] },
          },
          axes: [
            { ...axis, space: 90, values: (_plot, values) => values.map(timeInWords) },
            { ...axis, size: 76, incrs, values: (_plot, values) => values.map((value) => kind.words(value)) },
          ],
          series: [
            {},
            { stroke: allColour, width: 2, spanGaps: true },
            { stroke: oneColour, width: 2, dash: [6, 4], spanGaps: true },
          ],
          legend: { show: false },
          cursor: { drag: { x: false, y: false } },
        },
        [[], [], []],
        frame,
      );
      return { kind, plot, words };
    });
    this.#draw();
  }
}

function timeInWords(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}
