/**
 * The 16384 slots as a picture: a point each, 128 in a row, slot 0 at the top left, in the colour of its shard. Slots that nobody serves are red, those that nobody owns
 * are hatched. Slots that move are
 * pale, and take the colour of where they go to as far as their keys have got, with a white edge; a white wave runs through the rest.
 */
import type { MigrationView, ShardView } from "../src/rest/schemas.ts";
import { doneOf, isUnderWay } from "./model.ts";

export const SLOTS = 16_384;
export const SIDE = 128;

export type Colour = readonly [red: number, green: number, blue: number];

const NOT_SERVED: Colour = [214, 40, 40];
const NOBODYS: readonly [Colour, Colour] = [
  [128, 128, 128],
  [90, 90, 90],
];
const SHIMMER: Colour = [255, 255, 255];
/** Part of a turn between the hues of two shards: those that follow one another differ most. */
const GOLDEN = 0.618_034;
/** Red is for what is not served. */
const [FIRST_HUE, HUES] = [35, 290];

/** The colour of a shard, by its place among all. */
export function shardColour(place: number): Colour {
  const hue = FIRST_HUE + ((place * GOLDEN + 0.55) % 1) * HUES;
  const lightness = [0.52, 0.62, 0.44][Math.floor(place / 8) % 3] ?? 0.52;
  return fromHsl(hue, 0.58, lightness);
}

function fromHsl(hue: number, saturation: number, lightness: number): Colour {
  const part = (shift: number): number => {
    const at = (shift + hue / 30) % 12;
    return Math.round(
      255 * (lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(at - 3, 9 - at, 1))),
    );
  };
  return [part(0), part(8), part(4)];
}

export function cssOf([red, green, blue]: Colour): string {
  return `rgb(${red} ${green} ${blue})`;
}

/** Who owns what, by slot: a shard's place in the list, or -1. */
export function ownersOf(shards: readonly ShardView[]): Int16Array {
  const owners = new Int16Array(SLOTS).fill(-1);
  for (const [place, { slots }] of shards.entries())
    for (const { start, end } of slots) owners.fill(place, start, end + 1);
  return owners;
}

/**
 * Paints all slots.
 *
 * @param pixels Four bytes a slot: red, green, blue and opacity.
 * @param phase Of the shimmer, from 0 to 1; `undefined`: nothing is to move.
 */
export function paint(
  pixels: Uint8ClampedArray,
  shards: readonly ShardView[],
  migrations: readonly MigrationView[],
  phase: number | undefined,
): void {
  const owners = ownersOf(shards);
  const set = (slot: number, [red, green, blue]: Colour): void => {
    pixels[slot * 4] = red;
    pixels[slot * 4 + 1] = green;
    pixels[slot * 4 + 2] = blue;
    pixels[slot * 4 + 3] = 255;
  };
  const colours = shards.map((shard, place) => (shard.is_served ? shardColour(place) : NOT_SERVED));
  for (let slot = 0; slot < SLOTS; slot += 1) {
    const place = owners[slot] ?? -1;
    const hatch = NOBODYS[(slot + Math.floor(slot / SIDE)) % 2] ?? NOBODYS[0];
    set(slot, colours[place] ?? hatch);
  }
  for (const move of migrations) {
    if (!isUnderWay(move)) continue;
    const target = shards.findIndex(({ primary }) => primary === move.to_node);
    const colour = colours[target] ?? SHIMMER;
    const slots = move.slots.flatMap(({ start, end }) =>
      Array.from({ length: end - start + 1 }, (_, at) => start + at),
    );
    const done = Math.floor(doneOf(move) * slots.length);
    const edge = Math.max(1, Math.ceil(slots.length / 24));
    for (const [at, slot] of slots.entries()) {
      if (at < done) set(slot, colour);
      else if (at < done + edge) set(slot, SHIMMER);
      else if (phase !== undefined && (at / slots.length + 1 - phase) % 1 > 0.92) set(slot, SHIMMER);
      else set(slot, mixed(SHIMMER, colours[owners[slot] ?? -1] ?? SHIMMER));
    }
  }
}

function mixed(one: Colour, other: Colour): Colour {
  return [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2, (one[2] + other[2]) / 2];
}
