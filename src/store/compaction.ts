/**
 * Compaction: moves blocks together so that whole pages, and then whole chunks, become empty and can be given back.
 *
 * Deleting 90 % of the keys at random leaves every page with a tenth of its blocks: nothing is empty, nothing can be given back. The same
 * happens slowly when values are overwritten with longer or shorter ones for months: sizes go out of fashion, and their
 * pages stay half used. So, when more than a fifth of the memory is unused, and a chunk or more of it can be won:
 *
 * 1. the spare chunk is given back;
 * 2. while fewer than 16 pages are unused, the sparsest page of the class with most to gain is emptied: its blocks are
 *    copied to the class' other pages;
 * 3. when 16 pages are unused, the chunk with fewest pages in use is emptied the same way, and given back.
 *
 * A block can be moved because exactly one place refers to it, and the owner can tell that place from the block's content. The work is cut into
 * steps of a given number of bytes, so that no client waits for it; between the steps everything may change: blocks of a
 * page that is being emptied may be freed or overwritten, and the page may become empty by itself.
 */
import { CHUNK_BYTES, FREE_BLOCK, PAGES_PER_CHUNK, PAGE_GRANULES, PageState, type Slabs } from "./slabs.ts";
import { CLASS_BYTES, CLASS_COUNT } from "./size-classes.ts";

/** The part of the memory that may be unused. With the promise at 0.3, the rest is for what rounding up to a class costs. */
const UNUSED_PART_LIMIT = 0.2;
/** Less than this cannot be given back. Small stores may so be half unused. */
const UNUSED_LIMIT_BYTES = CHUNK_BYTES;
/** What moving a block costs beyond copying its bytes (hashing its key, finding its entry), counted in bytes. */
const BLOCK_COST_BYTES = 64;

export class Compaction {
  readonly #slabs: Slabs;
  readonly #moved: (from: number, to: number) => void;
  /** Pages to be emptied, the last one first. One may have become empty, or even another class', since it was put here: its state tells. */
  readonly #leaving: number[] = [];
  /** Where to go on in the last of `#leaving`: granules from the page's start. */
  #nextGranule = 0;

  /** @param moved Told after a block was copied and before the old one is freed: refer to `to` from here on. */
  constructor(slabs: Slabs, moved: (from: number, to: number) => void) {
    this.#slabs = slabs;
    this.#moved = moved;
  }

  /** Whether `run` would do anything. Two comparisons as long as memory is well used. */
  get isNeeded(): boolean {
    const slabs = this.#slabs;
    const unusedBytes = slabs.allocatedBytes - slabs.usedBytes;
    if (this.#leaving.length > 0) return true;
    if (unusedBytes <= UNUSED_LIMIT_BYTES || unusedBytes <= slabs.allocatedBytes * UNUSED_PART_LIMIT) return false;
    // Less than a chunk's worth of pages cannot be given back: going on would be moving for nothing.
    let pages = slabs.unusedPages;
    for (let sizeClass = 0; sizeClass < CLASS_COUNT; sizeClass++) pages += slabs.pagesToGain(sizeClass);
    return pages >= PAGES_PER_CHUNK;
  }

  /**
   * Moves blocks.
   *
   * @param limitBytes Stops after the block that reaches this many bytes.
   * @returns Whether there is more to do.
   * @throws {RangeError} If the machine has no memory for a chunk to move to; nothing is lost, and it may be tried again.
   */
  run(limitBytes: number): boolean {
    let costBytes = 0;
    while (costBytes < limitBytes) {
      if (this.#leaving.length === 0) {
        if (!this.isNeeded || !this.#choose()) return false;
      } else {
        costBytes += this.#empty(limitBytes - costBytes);
      }
    }
    return this.isNeeded;
  }

  /** Forgets what it was about. For when all blocks are gone. */
  reset(): void {
    this.#leaving.length = 0;
    this.#nextGranule = 0;
  }

  /** Gives the spare chunk back, or chooses what to empty next. False if there is nothing to do. */
  #choose(): boolean {
    const slabs = this.#slabs;
    this.#nextGranule = 0;
    // Nothing need be moved for the spare; afterwards, there may be enough.
    if (slabs.dropSpare()) return true;
    if (slabs.unusedPages >= PAGES_PER_CHUNK) {
      const chunk = slabs.sparsestChunk();
      slabs.leavingChunk = chunk;
      for (let place = 0; place < PAGES_PER_CHUNK; place++) {
        const page = chunk * PAGES_PER_CHUNK + place;
        if (slabs.pageState[page] === PageState.unused) continue;
        slabs.startLeaving(page);
        this.#leaving.push(page);
      }
      return true;
    }
    let best = 0;
    let bestGain = 0;
    for (let sizeClass = 0; sizeClass < CLASS_COUNT; sizeClass++) {
      const gain = slabs.pagesToGain(sizeClass);
      const page = gain > bestGain ? slabs.sparsestPage(sizeClass) : 0;
      if (page === 0) continue;
      best = page;
      bestGain = gain;
    }
    if (best === 0) return false;
    slabs.startLeaving(best);
    this.#leaving.push(best);
    return true;
  }

  /** Moves blocks out of the last of the leaving pages, up to a limit. Returns what it cost in bytes. */
  #empty(limitBytes: number): number {
    const slabs = this.#slabs;
    const page = this.#leaving.at(-1) as number;
    let costBytes = 0;
    let granule = this.#nextGranule;
    const blockBytes = CLASS_BYTES[slabs.pageClass[page] as number] as number;
    // The last move may free the page, and its chunk's memory with it: the state is asked before each block.
    while (slabs.pageState[page] === PageState.leaving && granule < (slabs.pageTouched[page] as number)) {
      if (costBytes >= limitBytes) {
        this.#nextGranule = granule;
        return costBytes;
      }
      const handle = page * PAGE_GRANULES + granule;
      if (slabs.intsOf(handle)[(handle & 0xffff) << 2] !== FREE_BLOCK) {
        const copy = slabs.duplicate(handle);
        this.#moved(handle, copy);
        slabs.free(handle);
        costBytes += blockBytes + BLOCK_COST_BYTES;
      }
      granule += blockBytes >>> 4;
    }
    this.#leaving.pop();
    this.#nextGranule = 0;
    if (this.#leaving.length === 0) slabs.stopLeaving();
    return costBytes;
  }
}
