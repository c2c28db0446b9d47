/**
 * Size classes: the sizes that small blocks of memory come in.
 *
 * A page of memory is cut into blocks of one size, so that a freed block fits the next one asked for. Few sizes waste room
 * inside of blocks, many sizes waste pages that are half used. The compromise: every multiple of 16 bytes up to 256 (where most keys
 * live, and where 16 bytes matter), eight steps to each doubling up to 4 KiB (at most an eighth is lost), and above that the sizes of
 * which a whole number just fills a page.
 */

/** What handles count in. A record's header takes 12 bytes, so that nothing would be won by a finer one. */
export const GRANULE_BYTES = 16;
/** Blocks of one class share a page. Four of the largest class still fill it whole. */
export const PAGE_BYTES = 65536;
/** Larger blocks get a buffer of their own: in pages they would waste a fifth and more. */
export const SMALL_LIMIT_BYTES = 16384;

/** Multiples of a granule up to here. */
const FINE_LIMIT_BYTES = 256;
/** An eighth of a power of two up to here. */
const STEPPED_LIMIT_BYTES = 4096;
const STEPS_PER_DOUBLING = 8;

/** The block size of each class, in bytes, ascending. */
export const CLASS_BYTES: Int32Array = makeClassBytes();
export const CLASS_COUNT: number = CLASS_BYTES.length;
/** How many blocks of each class a page holds. */
export const CLASS_BLOCKS_PER_PAGE: Int32Array = CLASS_BYTES.map((bytes) => Math.floor(PAGE_BYTES / bytes));
/** The smallest class that holds so many granules (1 to 1024). */
export const CLASS_OF_GRANULES: Uint8Array = makeClassOfGranules();

function makeClassBytes(): Int32Array {
  const sizes: number[] = [];
  for (let bytes = GRANULE_BYTES; bytes <= FINE_LIMIT_BYTES; bytes += GRANULE_BYTES) sizes.push(bytes);
  for (let doubling = FINE_LIMIT_BYTES; doubling < STEPPED_LIMIT_BYTES; doubling *= 2) {
    for (let step = 1; step <= STEPS_PER_DOUBLING; step++)
      sizes.push(doubling + (doubling / STEPS_PER_DOUBLING) * step);
  }
  for (let blocks = PAGE_BYTES / STEPPED_LIMIT_BYTES - 1; blocks >= PAGE_BYTES / SMALL_LIMIT_BYTES; blocks--) {
    sizes.push(Math.floor(PAGE_BYTES / blocks / GRANULE_BYTES) * GRANULE_BYTES);
  }
  return Int32Array.from(sizes);
}

function makeClassOfGranules(): Uint8Array {
  const classes = new Uint8Array(SMALL_LIMIT_BYTES / GRANULE_BYTES + 1);
  let sizeClass = 0;
  for (let granules = 0; granules < classes.length; granules++) {
    if (granules * GRANULE_BYTES > (CLASS_BYTES[sizeClass] as number)) sizeClass++;
    classes[granules] = sizeClass;
  }
  return classes;
}
