/**
 * Compaction: moves records together, so that memory can be given back.
 *
 * Keys come and go, and leave pages that are half empty. Every record has exactly one reference, its entry in a slot's table, which its own key
 * leads to: so any record can be moved at any time between commands. Two kinds of work, in small steps:
 * 1. a class of sizes that has more pages than its records need: its sparsest page is emptied into the others, and goes back to its chunk;
 * 2. many unused pages spread over chunks: the chunk with the fewest used ones is emptied, and goes back to the operating system.
 */
import { FREE_BLOCK, PAGES_PER_CHUNK, PAGE_GRANULES, PageState, type Slabs } from "./slabs.ts";
import { CLASS_BYTES, CLASS_COUNT, GRANULE_BYTES, PAGE_BYTES } from "./size-classes.ts";

/** Work begins when this part of the memory is gaps. The promise is 0.3; a margin keeps it while the work goes on. */
const GAPS_LIMIT = 0.2;
/** Gaps that are never worth the work: each of some sixty classes has an open page, and one chunk is kept. */
const LEAST_GAPS_BYTES = 4 * 1024 * 1024;
/** When there was nothing to gain, the store must change by so much before it is looked at again. */
const RETRY_BYTES = 256 * 1024;

export class Compaction {
  readonly #slabs: Slabs;
  /** Tells the owner that a block has moved. */
  readonly #moved: (from: number, to: number) => void;
  /** The page that is being emptied, or 0, and the next granule to look at. */
  #page = 0;
  #granule = 0;
  /** `usedBytes` when nothing was to be gained, or -1. */
  #fruitlessAtBytes = -1;

  constructor(slabs: Slabs, moved: (from: number, to: number) => void) {
    this.#slabs = slabs;
    this.#moved = moved;
  }

  /** Whether there are so many gaps that work is worth it. */
  get isNeeded(): boolean {
    const { allocatedBytes, usedBytes } = this.#slabs;
    const gaps = allocatedBytes - usedBytes;
    if (gaps <= LEAST_GAPS_BYTES || gaps <= allocatedBytes * GAPS_LIMIT) return false;
    return this.#fruitlessAtBytes < 0 || Math.abs(usedBytes - this.#fruitlessAtBytes) > RETRY_BYTES;
  }

  /** Forgets what was under way: everything has been given back. */
  reset(): void {
    this.#page = 0;
    this.#granule = 0;
    this.#fruitlessAtBytes = -1;
  }

  /**
   * Does some of it.
   *
   * @param limitBytes How much to move at most (a little more: blocks are moved whole).
   * @returns Whether there is more to do.
   */
  run(limitBytes: number): boolean {
    this.#fruitlessAtBytes = -1;
    let movedBytes = 0;
    while (movedBytes < limitBytes) {
      // The page may have run empty by itself, and even serve another class by now.
      if (this.#page === 0 || this.#slabs.pageState[this.#page] !== PageState.leaving) {
        if (!this.#begin()) {
          this.#fruitlessAtBytes = this.#slabs.usedBytes;
          return false;
        }
      }
      movedBytes += this.#moveNext();
    }
    return this.isNeeded;
  }

  /** Chooses a page to empty. @returns False if nothing is to be gained. */
  #begin(): boolean {
    this.#page = 0;
    this.#granule = 0;
    if (!this.isNeeded) return false;
    const slabs = this.#slabs;
    if (slabs.leavingChunk !== 0) {
      const page = this.#usedPageOf(slabs.leavingChunk);
      if (page !== 0) return this.#leave(page);
      slabs.stopLeaving();
    }
    let bestClass = -1;
    let bestGain = 0;
    for (let sizeClass = 0; sizeClass < CLASS_COUNT; sizeClass += 1) {
      const gain = slabs.pagesToGain(sizeClass);
      // One page to gain is the open one, half full: nothing that moving would mend for long.
      if (gain > bestGain && gain > 1 && slabs.sparsestPage(sizeClass) !== 0) [bestClass, bestGain] = [sizeClass, gain];
    }
    const spare = slabs.spareChunk === 0 ? 0 : PAGES_PER_CHUNK;
    const isUnusedMuch = slabs.unusedPages - spare > 2 * PAGES_PER_CHUNK;
    // Gaps within pages come first: emptying them makes the unused pages that chunks are emptied for.
    if (bestClass >= 0 && (bestGain * PAGE_BYTES > LEAST_GAPS_BYTES / 4 || !isUnusedMuch))
      return this.#leave(slabs.sparsestPage(bestClass));
    if (!isUnusedMuch) return false;
    const chunk = slabs.sparsestChunk();
    if (chunk === 0) return false;
    slabs.leavingChunk = chunk;
    const page = this.#usedPageOf(chunk);
    if (page !== 0) return this.#leave(page);
    slabs.stopLeaving();
    return false;
  }

  #leave(page: number): boolean {
    this.#slabs.startLeaving(page);
    this.#page = page;
    return true;
  }

  #usedPageOf(chunk: number): number {
    for (let page = chunk * PAGES_PER_CHUNK; page < (chunk + 1) * PAGES_PER_CHUNK; page += 1) {
      const state = this.#slabs.pageState[page];
      if (state !== PageState.unused && state !== PageState.leaving) return page;
    }
    return 0;
  }

  /** Moves the next block of the page. @returns Bytes of work. */
  #moveNext(): number {
    const slabs = this.#slabs;
    const blockBytes = CLASS_BYTES[slabs.pageClass[this.#page] as number] as number;
    const end = slabs.pageTouched[this.#page] as number;
    while (this.#granule < end) {
      const handle = this.#page * PAGE_GRANULES + this.#granule;
      this.#granule += blockBytes / GRANULE_BYTES;
      if (slabs.intsOf(handle)[(handle & 0xffff) << 2] === FREE_BLOCK) continue;
      const copy = slabs.duplicate(handle);
      this.#moved(handle, copy);
      slabs.free(handle);
      return blockBytes;
    }
    // All were moved: the page has gone back, and its state says so.
    this.#page = 0;
    return GRANULE_BYTES;
  }
}
