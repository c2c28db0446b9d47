/**
 * Slabs: memory outside of the JavaScript heap, handed out in blocks.
 *
 * The garbage collector walks every object there is; a million keys as objects make it stop the world for longer than a client should wait.
 * So keys and values lie as bytes in a few big arrays, which cost it nothing, and this allocator says which bytes are whose.
 *
 * Memory comes in *chunks* of 1 MiB, each one ArrayBuffer. A chunk is cut into 16 *pages* of 64 KiB; a page holds *blocks* of one size class
 * (`size-classes.ts`). A block is named by a *handle*: its place, counted in granules of 16 bytes over all chunks, so that 31 bits reach 32 GiB. What
 * is larger than 16 KiB gets a buffer of its own and a negative handle. Both kinds are read the same way:
 *
 *     bytes = handle > 0 ? slabs.bytes[handle >>> 16] : slabs.largeBytes[~handle]
 *     start = handle > 0 ? (handle & 0xffff) << 4     : 0
 *
 * A page gives out its freed blocks first, from a list threaded through them, then blocks that were never used. Each class has one *open* page that
 * it allocates from; its other pages with room are kept in lists by how full they are: the fullest is opened next, so that sparse pages run
 * empty by themselves, and the sparsest is what compaction (`compaction.ts`) empties. An empty page goes back to its chunk and may serve another
 * class; an empty chunk goes back to the operating system at once (one is kept, so that a store at the edge does not flap).
 *
 * A block's first 32-bit word says what it is: -1 is free (the second word is then the next free one), anything else belongs to the owner, who
 * must write it before the next call here. That is how a page can be walked.
 */
import { assert } from "../assert.ts";
import { copyBytes } from "../codec/copy-bytes.ts";
import {
  CLASS_BLOCKS_PER_PAGE,
  CLASS_BYTES,
  CLASS_COUNT,
  CLASS_OF_GRANULES,
  GRANULE_BYTES,
  SMALL_LIMIT_BYTES,
} from "./size-classes.ts";

/** Large enough that a store of 32 GiB has 32768 of them, small enough that the engine zeroes one in far less than a millisecond. */
export const CHUNK_BYTES = 1048576;
export const PAGES_PER_CHUNK = 16;
/** Granules in a page: a handle shifted right by 12 is its page. */
export const PAGE_GRANULES = 4096;
/** All of a chunk's pages, as bits. */
const ALL_PAGES = 0xffff;
/** A handle has 15 bits for the chunk. */
const CHUNK_LIMIT = 32768;
/** The first word of a free block. */
export const FREE_BLOCK = -1;
/** In how many lists the pages of a class are kept, by how full they are. Eighths: finer ones change nothing in the fragmentation tests. */
export const FULLNESS_STEPS = 8;
/** Spare room in a large block that is asked to grow: every byte is then copied at most five times however small the steps. */
const GROWTH_FACTOR = 1.25;
/** A large block is kept in place while this part of it is used. Below what `GROWTH_FACTOR` leaves, or every growth would be undone. */
const LARGE_FILL_LIMIT = 0.75;

/** What a page is doing. */
export const PageState = { unused: 0, open: 1, listed: 2, full: 3, leaving: 4 } as const;

/** A block of 16 bytes, zero at first, that is always there and counted nowhere: the owner's, for something that takes no memory. */
export const ROOT_BLOCK = -1;
const ROOT_BYTES = GRANULE_BYTES;

const EMPTY_BYTES = new Uint8Array(0);
const EMPTY_INTS = new Int32Array(0);
const EMPTY_BUFFER = new ArrayBuffer(0);

export class Slabs {
  /** Each chunk's bytes; an empty array where there is no chunk. Chunk 0 does not exist, so that no handle is 0. */
  readonly bytes: Uint8Array[] = [EMPTY_BYTES];
  /** The same memory, as 32-bit words. */
  readonly ints: Int32Array[] = [EMPTY_INTS];
  /** Each large block's bytes, by the complement of its handle; an empty array where there is none. */
  readonly largeBytes: Uint8Array[] = [];
  readonly largeInts: Int32Array[] = [];
  /** Bytes of all live blocks, whole blocks counted. */
  usedBytes = 0;
  /** Bytes of all chunks and large blocks. */
  allocatedBytes = 0;

  /** Of each class: its live blocks, and its pages. What is missing to `pages * blocks per page` is free. */
  readonly classLive = new Int32Array(CLASS_COUNT);
  readonly classPages = new Int32Array(CLASS_COUNT);
  /** Pages that no class has, the spare chunk's and the leaving chunk's among them. */
  unusedPages = 0;
  /** The one chunk that is kept though it is empty, or 0. */
  spareChunk = 0;
  /** The chunk that compaction is emptying, or 0: no page is taken from it. */
  leavingChunk = 0;

  // Of each page, by its number (chunk * 16 + its place there). Grown together as chunks come.
  pageState = new Uint8Array(64);
  /** Meaningless while the page is unused. */
  pageClass = new Uint8Array(64);
  /** Live blocks. */
  pageLive = new Uint16Array(64);
  /** First of the freed blocks, or 0. */
  pageFree = new Int32Array(64);
  /** Granules from the page's start on that were given out at least once; a multiple of the class' block. */
  pageTouched = new Uint16Array(64);
  /** Neighbours in the list that the page is in (state `listed`), or 0. */
  #pageNext = new Int32Array(64);
  #pagePrevious = new Int32Array(64);
  /** The list that the page is in: class * 8 + fullness. */
  #pageList = new Uint16Array(64);
  /** First page of each list, or 0. */
  readonly #listHead = new Int32Array(CLASS_COUNT * FULLNESS_STEPS);
  /** The page that each class allocates from, or 0. */
  readonly #openPage = new Int32Array(CLASS_COUNT);

  /** Of each chunk, a bit for each page that no class has. */
  readonly #chunkUnused: number[] = [0];
  readonly #chunkBuffers: ArrayBuffer[] = [EMPTY_BUFFER];
  /** Numbers of chunks that were given back. */
  #vacantChunks: number[] = [];
  /** No chunk below this one has an unused page (but the spare and the leaving one). */
  #lowestUnused = 1;

  readonly #largeBuffers: ArrayBuffer[] = [];
  #vacantLarge: number[] = [];

  constructor() {
    this.#addRoot();
  }

  /** The bytes that a block lies in. */
  bytesOf(handle: number): Uint8Array {
    return (handle > 0 ? this.bytes[handle >>> 16] : this.largeBytes[~handle]) as Uint8Array;
  }

  /** The words that a block lies in. */
  intsOf(handle: number): Int32Array {
    return (handle > 0 ? this.ints[handle >>> 16] : this.largeInts[~handle]) as Int32Array;
  }

  /** How many bytes a block of at least `bytes` bytes would have. */
  roundUp(bytes: number): number {
    if (bytes > SMALL_LIMIT_BYTES) return Math.ceil(bytes / GRANULE_BYTES) * GRANULE_BYTES;
    return CLASS_BYTES[CLASS_OF_GRANULES[(bytes + GRANULE_BYTES - 1) >>> 4] as number] as number;
  }

  /** Bytes of a live block. */
  blockBytes(handle: number): number {
    if (handle > 0) return CLASS_BYTES[this.pageClass[handle >>> 12] as number] as number;
    return (this.largeBytes[~handle] as Uint8Array).length;
  }

  /** Whether a block is what a new content of `bytes` bytes would be given: then it can stay where it is. */
  suits(handle: number, bytes: number): boolean {
    if (handle > 0) {
      return (
        bytes <= SMALL_LIMIT_BYTES &&
        CLASS_OF_GRANULES[(bytes + GRANULE_BYTES - 1) >>> 4] === this.pageClass[handle >>> 12]
      );
    }
    const capacity = (this.largeBytes[~handle] as Uint8Array).length;
    return bytes > SMALL_LIMIT_BYTES && bytes <= capacity && bytes >= capacity * LARGE_FILL_LIMIT;
  }

  /**
   * Gives out a block. Its bytes hold anything, and its first word must be written before the next call here.
   *
   * @param bytes At least this many, 1 or more.
   * @returns Its handle.
   * @throws {RangeError} If the machine has no memory for it; nothing has changed then.
   */
  allocate(bytes: number): number {
    if (bytes > SMALL_LIMIT_BYTES) return this.#allocateLarge(bytes);
    const sizeClass = CLASS_OF_GRANULES[(bytes + GRANULE_BYTES - 1) >>> 4] as number;
    let page = this.#openPage[sizeClass] as number;
    if (page === 0) page = this.#openNext(sizeClass);
    const blockBytes = CLASS_BYTES[sizeClass] as number;
    let handle = this.pageFree[page] as number;
    if (handle === 0) {
      const touched = this.pageTouched[page] as number;
      handle = page * PAGE_GRANULES + touched;
      this.pageTouched[page] = touched + (blockBytes >>> 4);
    } else {
      this.pageFree[page] = (this.ints[handle >>> 16] as Int32Array)[((handle & 0xffff) << 2) + 1] as number;
    }
    const live = (this.pageLive[page] as number) + 1;
    this.pageLive[page] = live;
    this.classLive[sizeClass] = (this.classLive[sizeClass] as number) + 1;
    this.usedBytes += blockBytes;
    if (live === CLASS_BLOCKS_PER_PAGE[sizeClass]) {
      this.pageState[page] = PageState.full;
      this.#openPage[sizeClass] = 0;
    }
    return handle;
  }

  /** Like `allocate`, with room left over for growing, if it is large. */
  allocateGrowing(bytes: number): number {
    return this.allocate(bytes > SMALL_LIMIT_BYTES ? Math.floor(bytes * GROWTH_FACTOR) : bytes);
  }

  /** Takes a block back. */
  free(handle: number): void {
    if (handle < 0) {
      this.#freeLarge(~handle);
      return;
    }
    const ints = this.ints[handle >>> 16] as Int32Array;
    const word = (handle & 0xffff) << 2;
    assert(ints[word] !== FREE_BLOCK, "A block is freed once.");
    const page = handle >>> 12;
    const sizeClass = this.pageClass[page] as number;
    ints[word] = FREE_BLOCK;
    ints[word + 1] = this.pageFree[page] as number;
    this.pageFree[page] = handle;
    this.usedBytes -= CLASS_BYTES[sizeClass] as number;
    this.classLive[sizeClass] = (this.classLive[sizeClass] as number) - 1;
    const live = (this.pageLive[page] as number) - 1;
    this.pageLive[page] = live;
    if (live === 0) {
      this.#returnPage(page);
      return;
    }
    const state = this.pageState[page] as number;
    if (state === PageState.full) {
      this.pageState[page] = PageState.listed;
      this.#link(page);
    } else if (state === PageState.listed && this.#listFor(page) !== this.#pageList[page]) {
      this.#unlink(page);
      this.#link(page);
    }
  }

  /** Takes all blocks back, and gives all memory back. */
  reset(): void {
    for (let chunk = 1; chunk < this.bytes.length; chunk++) {
      if ((this.bytes[chunk] as Uint8Array).length > 0) this.#dropBuffer(this.#chunkBuffers[chunk] as ArrayBuffer);
    }
    for (const buffer of this.#largeBuffers) this.#dropBuffer(buffer);
    for (const list of [this.bytes, this.ints, this.#chunkBuffers, this.#chunkUnused]) list.length = 1;
    for (const list of [this.largeBytes, this.largeInts, this.#largeBuffers]) list.length = 0;
    this.#vacantChunks = [];
    this.#vacantLarge = [];
    this.#lowestUnused = 1;
    this.usedBytes = 0;
    this.allocatedBytes = 0;
    this.unusedPages = 0;
    this.spareChunk = 0;
    this.leavingChunk = 0;
    for (const list of [this.classLive, this.classPages, this.#listHead, this.#openPage, this.pageState]) list.fill(0);
    this.#addRoot();
  }

  // For compaction.

  /** How many pages the blocks of a class take up beyond what they need. */
  pagesToGain(sizeClass: number): number {
    const needed = Math.ceil((this.classLive[sizeClass] as number) / (CLASS_BLOCKS_PER_PAGE[sizeClass] as number));
    return (this.classPages[sizeClass] as number) - needed;
  }

  /** One of the sparsest pages of a class, other than the open one, or 0. */
  sparsestPage(sizeClass: number): number {
    for (let fullness = 0; fullness < FULLNESS_STEPS; fullness++) {
      const page = this.#listHead[sizeClass * FULLNESS_STEPS + fullness] as number;
      if (page !== 0) return page;
    }
    return 0;
  }

  /** Gives the spare chunk back. False if there is none. */
  dropSpare(): boolean {
    const chunk = this.spareChunk;
    if (chunk === 0) return false;
    this.spareChunk = 0;
    this.#dropChunk(chunk);
    return true;
  }

  /** The chunk that fewest pages of are used, other than the spare, or 0. */
  sparsestChunk(): number {
    let sparsest = 0;
    let mostUnused = 0;
    for (let chunk = 1; chunk < this.#chunkUnused.length; chunk++) {
      const unused = bitCount(this.#chunkUnused[chunk] as number);
      if (unused > mostUnused && chunk !== this.spareChunk) {
        sparsest = chunk;
        mostUnused = unused;
      }
    }
    return sparsest;
  }

  /** Lets a page that is in use give out no more blocks. Each of its blocks must be moved; then it goes back to its chunk. */
  startLeaving(page: number): void {
    const state = this.pageState[page] as number;
    assert(
      state !== PageState.unused && state !== PageState.leaving,
      "Only a page in use is emptied, and by one at a time.",
    );
    if (state === PageState.listed) this.#unlink(page);
    if (state === PageState.open) this.#openPage[this.pageClass[page] as number] = 0;
    this.pageState[page] = PageState.leaving;
  }

  /** Lets the leaving chunk's pages be taken again. Happens by itself when the chunk is empty. */
  stopLeaving(): void {
    if (this.leavingChunk === 0) return;
    this.#lowestUnused = Math.min(this.#lowestUnused, this.leavingChunk);
    this.leavingChunk = 0;
  }

  /** Copies a small block to a new one of its class. The old one stays the owner's to free. */
  duplicate(handle: number): number {
    const blockBytes = this.blockBytes(handle);
    const copy = this.allocate(blockBytes);
    const start = (handle & 0xffff) << 4;
    copyBytes(this.bytesOf(handle), start, start + blockBytes, this.bytesOf(copy), (copy & 0xffff) << 4);
    return copy;
  }

  // Pages.

  /** Gives a class a page to allocate from: its fullest with room, else a new one. */
  #openNext(sizeClass: number): number {
    let page = 0;
    for (let fullness = FULLNESS_STEPS - 1; fullness >= 0 && page === 0; fullness--) {
      page = this.#listHead[sizeClass * FULLNESS_STEPS + fullness] as number;
    }
    if (page === 0) {
      page = this.#takePage();
      this.pageClass[page] = sizeClass;
      this.pageLive[page] = 0;
      this.pageFree[page] = 0;
      this.pageTouched[page] = 0;
      this.classPages[sizeClass] = (this.classPages[sizeClass] as number) + 1;
    } else {
      this.#unlink(page);
    }
    this.pageState[page] = PageState.open;
    this.#openPage[sizeClass] = page;
    return page;
  }

  /** Takes a page from the lowest chunk that has one, so that high chunks run empty; else from the spare, else from a new chunk. */
  #takePage(): number {
    let chunk = this.#lowestUnused;
    while (
      chunk < this.#chunkUnused.length &&
      (this.#chunkUnused[chunk] === 0 || chunk === this.spareChunk || chunk === this.leavingChunk)
    ) {
      chunk++;
    }
    this.#lowestUnused = chunk;
    if (chunk === this.#chunkUnused.length) {
      // Chunks below the spare were passed over as full, and the spare itself is passed over no more.
      chunk = this.spareChunk === 0 || this.spareChunk === this.leavingChunk ? this.#addChunk() : this.spareChunk;
      this.#lowestUnused = Math.min(this.#lowestUnused, chunk);
      if (chunk === this.spareChunk) this.spareChunk = 0;
    }
    const unused = this.#chunkUnused[chunk] as number;
    const lowestBit = unused & -unused;
    this.#chunkUnused[chunk] = unused ^ lowestBit;
    this.unusedPages--;
    return chunk * PAGES_PER_CHUNK + (31 - Math.clz32(lowestBit));
  }

  /** Gives an empty page back to its chunk, and the chunk back to the operating system if it is not needed. */
  #returnPage(page: number): void {
    const sizeClass = this.pageClass[page] as number;
    const state = this.pageState[page] as number;
    if (state === PageState.listed) this.#unlink(page);
    if (state === PageState.open) this.#openPage[sizeClass] = 0;
    this.pageState[page] = PageState.unused;
    this.classPages[sizeClass] = (this.classPages[sizeClass] as number) - 1;
    const chunk = page >>> 4;
    const unused = (this.#chunkUnused[chunk] as number) | (1 << (page & (PAGES_PER_CHUNK - 1)));
    this.#chunkUnused[chunk] = unused;
    this.unusedPages++;
    if (unused !== ALL_PAGES) {
      if (chunk < this.#lowestUnused) this.#lowestUnused = chunk;
      return;
    }
    if (chunk === this.leavingChunk) this.stopLeaving();
    if (this.spareChunk === 0) this.spareChunk = chunk;
    else this.#dropChunk(chunk);
  }

  #listFor(page: number): number {
    const sizeClass = this.pageClass[page] as number;
    const fullness = Math.floor(
      ((this.pageLive[page] as number) * FULLNESS_STEPS) / (CLASS_BLOCKS_PER_PAGE[sizeClass] as number),
    );
    return sizeClass * FULLNESS_STEPS + fullness;
  }

  #link(page: number): void {
    const list = this.#listFor(page);
    const next = this.#listHead[list] as number;
    this.#pageList[page] = list;
    this.#pageNext[page] = next;
    this.#pagePrevious[page] = 0;
    if (next !== 0) this.#pagePrevious[next] = page;
    this.#listHead[list] = page;
  }

  #unlink(page: number): void {
    const next = this.#pageNext[page] as number;
    const previous = this.#pagePrevious[page] as number;
    if (next !== 0) this.#pagePrevious[next] = previous;
    if (previous === 0) this.#listHead[this.#pageList[page] as number] = next;
    else this.#pageNext[previous] = next;
  }

  // Chunks and large blocks.

  #addChunk(): number {
    const isReused = this.#vacantChunks.length > 0;
    const chunk = isReused ? (this.#vacantChunks.at(-1) as number) : this.bytes.length;
    if (chunk >= CHUNK_LIMIT) throw new RangeError("Cannot hold more than 32 GiB of small records");
    const buffer = new ArrayBuffer(CHUNK_BYTES);
    if (isReused) this.#vacantChunks.pop();
    this.#chunkBuffers[chunk] = buffer;
    this.bytes[chunk] = new Uint8Array(buffer);
    this.ints[chunk] = new Int32Array(buffer);
    this.#chunkUnused[chunk] = ALL_PAGES;
    this.unusedPages += PAGES_PER_CHUNK;
    this.allocatedBytes += CHUNK_BYTES;
    const pages = (chunk + 1) * PAGES_PER_CHUNK;
    if (pages > this.pageState.length) this.#growPages(pages * 2);
    return chunk;
  }

  #dropChunk(chunk: number): void {
    this.#dropBuffer(this.#chunkBuffers[chunk] as ArrayBuffer);
    this.#chunkBuffers[chunk] = EMPTY_BUFFER;
    this.bytes[chunk] = EMPTY_BYTES;
    this.ints[chunk] = EMPTY_INTS;
    this.#chunkUnused[chunk] = 0;
    this.unusedPages -= PAGES_PER_CHUNK;
    this.allocatedBytes -= CHUNK_BYTES;
    this.#vacantChunks.push(chunk);
  }

  #growPages(count: number): void {
    this.pageState = grown(this.pageState, new Uint8Array(count));
    this.pageClass = grown(this.pageClass, new Uint8Array(count));
    this.pageLive = grown(this.pageLive, new Uint16Array(count));
    this.pageFree = grown(this.pageFree, new Int32Array(count));
    this.pageTouched = grown(this.pageTouched, new Uint16Array(count));
    this.#pageNext = grown(this.#pageNext, new Int32Array(count));
    this.#pagePrevious = grown(this.#pagePrevious, new Int32Array(count));
    this.#pageList = grown(this.#pageList, new Uint16Array(count));
  }

  #addRoot(): void {
    const root = new ArrayBuffer(ROOT_BYTES);
    this.#largeBuffers[0] = EMPTY_BUFFER;
    this.largeBytes[0] = new Uint8Array(root);
    this.largeInts[0] = new Int32Array(root);
  }

  #allocateLarge(bytes: number): number {
    const capacity = Math.ceil(bytes / GRANULE_BYTES) * GRANULE_BYTES;
    const buffer = new ArrayBuffer(capacity);
    const index = this.#vacantLarge.pop() ?? this.largeBytes.length;
    this.#largeBuffers[index] = buffer;
    this.largeBytes[index] = new Uint8Array(buffer);
    this.largeInts[index] = new Int32Array(buffer);
    this.usedBytes += capacity;
    this.allocatedBytes += capacity;
    return ~index;
  }

  #freeLarge(index: number): void {
    const buffer = this.#largeBuffers[index] as ArrayBuffer;
    assert(buffer.byteLength > 0, "A large block is freed once.");
    this.usedBytes -= buffer.byteLength;
    this.allocatedBytes -= buffer.byteLength;
    this.#dropBuffer(buffer);
    this.#largeBuffers[index] = EMPTY_BUFFER;
    this.largeBytes[index] = EMPTY_BYTES;
    this.largeInts[index] = EMPTY_INTS;
    this.#vacantLarge.push(index);
  }

  /** Frees a buffer's memory here and not when the collector comes by, which a buffer that it has no reason to hurry for may wait for long. */
  #dropBuffer(buffer: ArrayBuffer): void {
    if (buffer.byteLength > 0) buffer.transfer(0);
  }

  /**
   * Walks everything and asserts that it fits together. Slow: for tests and simulation.
   *
   * @param visit Called with each live small block.
   * @throws {Fault} Naming what does not hold.
   */
  check(visit: (handle: number) => void): void {
    let usedBytes = 0;
    let allocatedBytes = 0;
    let unusedPages = 0;
    const classLive = new Int32Array(CLASS_COUNT);
    const classPages = new Int32Array(CLASS_COUNT);
    for (let chunk = 1; chunk < this.bytes.length; chunk++) {
      const isHeld = (this.bytes[chunk] as Uint8Array).length > 0;
      const unused = this.#chunkUnused[chunk] as number;
      assert(isHeld || unused === 0, "A chunk that was given back has no pages.");
      if (!isHeld) continue;
      allocatedBytes += CHUNK_BYTES;
      unusedPages += bitCount(unused);
      assert(unused !== ALL_PAGES || chunk === this.spareChunk, "Only the spare chunk is empty.");
      const isPassedOver = unused !== 0 && chunk < this.#lowestUnused;
      assert(
        !isPassedOver || chunk === this.spareChunk || chunk === this.leavingChunk,
        "No chunk with an unused page is forgotten.",
      );
      for (let place = 0; place < PAGES_PER_CHUNK; place++) {
        const page = chunk * PAGES_PER_CHUNK + place;
        const isUnused = (unused & (1 << place)) !== 0;
        assert(
          isUnused === (this.pageState[page] === PageState.unused),
          "A page is unused for its chunk and for itself.",
        );
        if (isUnused) continue;
        const sizeClass = this.pageClass[page] as number;
        const live = this.#checkPage(page, visit);
        classLive[sizeClass] = (classLive[sizeClass] as number) + live;
        classPages[sizeClass] = (classPages[sizeClass] as number) + 1;
        usedBytes += live * (CLASS_BYTES[sizeClass] as number);
      }
    }
    for (let sizeClass = 0; sizeClass < CLASS_COUNT; sizeClass++) {
      assert(classLive[sizeClass] === this.classLive[sizeClass], "A class knows how many blocks it has.");
      assert(classPages[sizeClass] === this.classPages[sizeClass], "A class knows how many pages it has.");
      this.#checkLists(sizeClass);
    }
    for (const buffer of this.#largeBuffers) {
      usedBytes += buffer.byteLength;
      allocatedBytes += buffer.byteLength;
    }
    assert(usedBytes === this.usedBytes, "The used bytes are those of the live blocks.");
    assert(allocatedBytes === this.allocatedBytes, "The allocated bytes are those of the buffers.");
    assert(unusedPages === this.unusedPages, "The unused pages are counted.");
  }

  #checkPage(page: number, visit: (handle: number) => void): number {
    const sizeClass = this.pageClass[page] as number;
    const touched = this.pageTouched[page] as number;
    let live = 0;
    let free = 0;
    for (let granule = 0; granule < touched; granule += (CLASS_BYTES[sizeClass] as number) >>> 4) {
      const handle = page * PAGE_GRANULES + granule;
      if (this.intsOf(handle)[(handle & 0xffff) << 2] === FREE_BLOCK) {
        free++;
      } else {
        live++;
        visit(handle);
      }
    }
    for (let handle = this.pageFree[page] as number; handle !== 0; free--) {
      assert(handle >>> 12 === page, "A free list stays in its page.");
      const word = (handle & 0xffff) << 2;
      assert(this.intsOf(handle)[word] === FREE_BLOCK, "A free list holds free blocks.");
      handle = this.intsOf(handle)[word + 1] as number;
    }
    assert(free === 0, "Every free block of a page is in its list.");
    assert(live === this.pageLive[page], "A page knows how many live blocks it has.");
    const isFull = live === CLASS_BLOCKS_PER_PAGE[sizeClass];
    const state = this.pageState[page];
    assert(live > 0, "A page in use has a live block.");
    assert(state === PageState.leaving || isFull === (state === PageState.full), "A page knows whether it is full.");
    assert(state !== PageState.open || this.#openPage[sizeClass] === page, "A class has one open page.");
    return live;
  }

  #checkLists(sizeClass: number): void {
    let listed = 0;
    for (let list = sizeClass * FULLNESS_STEPS; list < (sizeClass + 1) * FULLNESS_STEPS; list++) {
      let previous = 0;
      for (let page = this.#listHead[list] as number; page !== 0; page = this.#pageNext[page] as number) {
        assert(
          this.pageState[page] === PageState.listed && this.#listFor(page) === list,
          "A page is in the list that its fullness says.",
        );
        assert(this.#pagePrevious[page] === previous && this.#pageList[page] === list, "A list is linked both ways.");
        previous = page;
        listed++;
      }
    }
    let expected = 0;
    for (let page = PAGES_PER_CHUNK; page < this.bytes.length * PAGES_PER_CHUNK; page++) {
      if (this.pageState[page] === PageState.listed && this.pageClass[page] === sizeClass) expected++;
    }
    assert(listed === expected, "Every page with room is listed.");
  }
}

/** Copies a typed array's content to the start of a longer one. */
function grown<T extends Uint8Array | Uint16Array | Int32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Ones among the low 16 bits. */
function bitCount(bits: number): number {
  let count = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) count++;
  return count;
}
