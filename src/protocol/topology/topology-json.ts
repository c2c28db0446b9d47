/** Acts and snapshots of the cluster map as bytes: JSON, since people read it in backups, and it is small. */
import { assert } from "../../assert.ts";
import type { HistoryEntry } from "../../contracts/topology.ts";
import type { TopologyAct } from "./records.ts";
import { Journal, type Outcome, type TopologyState, stateFromJson, stateToJson } from "./state.ts";

/** Of the JSON's form. */
const FORMAT = 1;

/** Of a map in a file. */
export const MAP_FILE_FORMAT = "bunch cluster map 1";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeAct(act: TopologyAct): Uint8Array {
  return encoder.encode(JSON.stringify(act));
}

/** The bytes come out of the log, which is this program's own. */
export function decodeAct(bytes: Uint8Array): TopologyAct {
  return JSON.parse(decoder.decode(bytes)) as TopologyAct;
}

/** As `JSON.stringify` would write it, without writing again what the journal has as text. */
export function encodeSnapshot(state: TopologyState, { historyTexts, outcomeTexts }: Journal): Uint8Array {
  const pieces = [
    encoder.encode(`{"format":${FORMAT},"state":${JSON.stringify(stateToJson(state))},"journal":{"history":[`),
    historyTexts,
    encoder.encode(`],"outcomes":[`),
    outcomeTexts,
    encoder.encode("]}}"),
  ];
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) bytes.set(piece, at);
    else piece.copyTo(bytes, at);
    at += piece.length;
  }
  return bytes;
}

/** @throws {Fault} If the snapshot has another format. */
export function decodeSnapshot(bytes: Uint8Array): { readonly state: TopologyState; readonly journal: Journal } {
  const json = JSON.parse(decoder.decode(bytes)) as {
    format: number;
    state: Parameters<typeof stateFromJson>[0];
    journal: { history: HistoryEntry[]; outcomes: [string, Outcome][] };
  };
  assert(json.format === FORMAT, "the snapshot has a format that this version reads");
  return { state: stateFromJson(json.state), journal: Journal.fromJson(json.journal) };
}

/** The map as a file that people keep, and that makes a new cluster (`bunch import`). */
export function encodeMapFile(state: TopologyState): string {
  // A new cluster that is made of it is on its way nowhere.
  const { seal: _, ...map } = stateToJson(state);
  return `${JSON.stringify({ format: MAP_FILE_FORMAT, ...map }, undefined, 2)}\n`;
}
