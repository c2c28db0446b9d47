/**
 * What membership costs and how soon it sees things, by the size of the cluster: machines alone on virtual time (`test/support/swim-world.ts`), settings of the
 * preset `lan`. Nothing here depends on how busy the machine is.
 *
 * Idle: half a minute after the nodes have met. A change of the map: on one node, until the last one has fetched it from somebody who has it. Deaths: one at a
 * time, until each of the others holds it for down. False deaths: an hour with one datagram in a hundred lost.
 */

import { join } from "node:path";
import { SwimWorld } from "../../test/support/swim-world.ts";
import type { Bench, BenchContext } from "../bench.ts";
import { formatFigure, median } from "../figures.ts";
import { type MembershipFigures, membershipChart } from "../membership-chart.ts";
import type { BenchResult } from "../report.ts";

const SIZES: readonly number[] = [10, 100, 500, 1000, 2000];
const QUICK_SIZES: readonly number[] = [10, 100, 500];
/** A cluster that has just met goes on comparing for a while. */
const SETTLE_MS = 20_000;
const IDLE_MS = 30_000;
const DEATHS = 10;
const MAP_CHANGES = 5;
const HOUR_MS = 3_600_000;
const QUICK_HOUR_MS = 60_000;
const LOST_PER_MILLE = 10;
/** What a node sends does not grow with the cluster: the most of all sizes by the least. */
const FLAT_LIMIT = 1.2;
const CHART = join(import.meta.dir, "../../docs/membership.svg");

export const membershipBench: Bench = {
  name: "membership",
  summary: "what membership costs and how soon it sees things, from 10 to 2000 simulated nodes",
  run,
};

async function run(context: BenchContext): Promise<BenchResult> {
  const { isQuick, progress } = context;
  const hourMs = isQuick ? QUICK_HOUR_MS : HOUR_MS;
  const figures: MembershipFigures[] = [];
  for (const nodes of isQuick ? QUICK_SIZES : SIZES) {
    progress(`${nodes} nodes`);
    figures.push({ ...measure(nodes), falseDeaths: falseDeaths(nodes, hourMs) });
  }
  if (!isQuick) await Bun.write(CHART, membershipChart(figures));
  const bytes = figures.map(({ bytesPerSecond }) => bytesPerSecond);
  return {
    sections: [
      {
        title: "Membership (virtual time)",
        columns: [
          "nodes",
          "messages/s a node",
          "bytes/s a node",
          "all nodes, Mb/s",
          "map change to all, ms",
          "death, median, ms",
          "death, worst, ms",
          "false deaths in an hour",
        ],
        rows: figures.map((each) => [
          String(each.nodes),
          formatFigure(each.messagesPerSecond),
          formatFigure(each.bytesPerSecond),
          formatFigure((each.bytesPerSecond * each.nodes * 8) / 1_000_000),
          formatFigure(each.mapMs),
          formatFigure(each.deathMedianMs),
          formatFigure(each.deathWorstMs),
          String(each.falseDeaths),
        ]),
        notes: [
          `Sent by each node while nothing happens, headers included. Deaths: ${DEATHS}, one at a time; of all nodes that saw them. A map change: the slowest of ${MAP_CHANGES}.`,
          `False deaths: times that a node held one which was there for down, in ${hourMs / 60_000} minutes with ${LOST_PER_MILLE / 10} % of datagrams lost.`,
        ],
      },
    ],
    bounds: [
      {
        what: "Membership: bytes a node, most by least of all sizes",
        measured: Math.max(...bytes) / Math.min(...bytes),
        limit: FLAT_LIMIT,
        unit: "",
      },
      {
        what: "Membership: false deaths in an hour",
        measured: figures.reduce((sum, each) => sum + each.falseDeaths, 0),
        limit: 0,
        unit: "",
      },
    ],
    raw: figures,
  };
}

function measure(nodes: number): Omit<MembershipFigures, "falseDeaths"> {
  const world = new SwimWorld({ seed: 1, count: nodes });
  world.run(SETTLE_MS);
  const before = { ...world.traffic };
  world.run(IDLE_MS);
  const perNodeAndSecond = (key: keyof typeof before): number =>
    ((world.traffic[key] - before[key]) / nodes / IDLE_MS) * 1000;
  const idle = {
    nodes,
    messagesPerSecond: perNodeAndSecond("datagrams") + perNodeAndSecond("exchanges"),
    bytesPerSecond: perNodeAndSecond("datagramBytes") + perNodeAndSecond("exchangeBytes"),
  };

  const changes: number[] = [];
  for (const host of world.random.shuffle(world.hosts).slice(0, MAP_CHANGES)) {
    const version = world.changeMap(host);
    changes.push(world.runUntil(() => world.hosts.every((each) => each.mapVersion >= version), 60_000, 1) ?? 60_000);
    world.run(1000);
  }

  const seen: number[] = [];
  for (let death = 0; death < DEATHS; death += 1) {
    const dies = world.random.pick(world.running);
    if (dies === undefined) break;
    const diedAtMs = world.nowMs;
    let count = 0;
    world.heard = ({ about, state, atMs }) => {
      if (about !== dies || state !== "down") return;
      seen.push(atMs - diedAtMs);
      count += 1;
    };
    world.kill(dies);
    world.runUntil(() => count >= nodes - 1, 60_000);
    world.restart(dies);
    world.run(SETTLE_MS);
  }
  return {
    ...idle,
    mapMs: Math.max(...changes),
    deathMedianMs: median(seen),
    deathWorstMs: seen.reduce((most, each) => Math.max(most, each), 0),
  };
}

function falseDeaths(nodes: number, forMs: number): number {
  const world = new SwimWorld({ seed: 2, count: nodes, loss: LOST_PER_MILLE, isOnWire: false });
  let count = 0;
  world.heard = ({ state, isThere }) => {
    if (state === "down" && isThere) count += 1;
  };
  world.run(forMs);
  return count;
}
