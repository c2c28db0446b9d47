/** Draws what membership costs and how soon it sees things, by the size of the cluster: a picture as SVG. Pure. */

export interface MembershipFigures {
  readonly nodes: number;
  /** Sent by each node, with what goes around a message on the wire. */
  readonly bytesPerSecond: number;
  readonly messagesPerSecond: number;
  /** From a change of the map on one node until all have it. */
  readonly mapMs: number;
  /** From a death until a node knows of it: of all nodes and deaths the median, and the last. */
  readonly deathMedianMs: number;
  readonly deathWorstMs: number;
  /** Times that a node held one which was there for down. */
  readonly falseDeaths: number;
}

interface Line {
  readonly label: string;
  readonly colour: string;
  readonly points: readonly (readonly [nodes: number, value: number])[];
}

const WIDTH = 420;
const HEIGHT = 260;
const MARGIN = { left: 60, right: 20, top: 40, bottom: 40 };
const SIZES: readonly number[] = [10, 100, 1000];

/** A number in a picture: no more digits than one sees. */
function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/** One diagram: nodes to the right, by powers of ten. @param top The highest value. */
function diagram(title: string, unit: string, top: number, left: number, lines: readonly Line[]): string {
  const x = (nodes: number): number =>
    left + MARGIN.left + (Math.log10(nodes / 10) / Math.log10(200)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (value: number): number => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const parts = [`<text x="${left + MARGIN.left}" y="20" font-weight="bold">${title}</text>`];
  for (let step = 0; step <= 4; step += 1) {
    const value = (top * step) / 4;
    parts.push(
      `<line x1="${left + MARGIN.left}" x2="${left + WIDTH - MARGIN.right}" y1="${short(y(value))}" y2="${short(y(value))}" stroke="#ddd"/>`,
      `<text x="${left + MARGIN.left - 6}" y="${short(y(value) + 4)}" text-anchor="end">${short(value)} ${unit}</text>`,
    );
  }
  for (const nodes of SIZES)
    parts.push(`<text x="${short(x(nodes))}" y="${HEIGHT - 22}" text-anchor="middle">${nodes}</text>`);
  parts.push(`<text x="${short(x(140))}" y="${HEIGHT - 6}" text-anchor="middle">nodes</text>`);
  for (const [at, { label, colour, points }] of lines.entries()) {
    const path = points.map(([nodes, value]) => `${short(x(nodes))},${short(y(value))}`);
    if (path.length > 1)
      parts.push(`<polyline points="${path.join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const point of path) {
      const [cx, cy] = point.split(",");
      parts.push(`<circle cx="${cx ?? ""}" cy="${cy ?? ""}" r="3" fill="${colour}"/>`);
    }
    parts.push(
      `<text x="${left + MARGIN.left + 10}" y="${MARGIN.top + 12 + at * 16}" fill="${colour}">${label}</text>`,
    );
  }
  return parts.join("\n");
}

/** The whole picture. */
export function membershipChart(figures: readonly MembershipFigures[]): string {
  const series = (label: string, colour: string, value: (each: MembershipFigures) => number): Line => ({
    label,
    colour,
    points: figures.map((each) => [each.nodes, value(each)]),
  });
  // As published: 200 nodes say 40 Mb a second in all, idle.
  const redis: Line = { label: "Redis Cluster, as published", colour: "#c33", points: [[200, 25]] };
  const seconds = Math.ceil(Math.max(...figures.map(({ deathWorstMs }) => deathWorstMs)) / 4000) * 4;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${2 * WIDTH}" height="${HEIGHT}" viewBox="0 0 ${2 * WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="${2 * WIDTH}" height="${HEIGHT}" fill="#fff"/>
${diagram("What an idle node sends", "kB/s", 28, 0, [redis, series("bunch, simulated", "#27c", ({ bytesPerSecond }) => bytesPerSecond / 1000)])}
${diagram("Until it is known", "s", seconds, WIDTH, [
  series("a death, to the last node", "#c33", ({ deathWorstMs }) => deathWorstMs / 1000),
  series("a death, median", "#27c", ({ deathMedianMs }) => deathMedianMs / 1000),
  series("a change of the map, to all", "#283", ({ mapMs }) => mapMs / 1000),
])}
</svg>
`;
}
