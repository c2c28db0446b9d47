/**
 * The disks of simulated machines.
 *
 * A disk outlives the processes that write to it. What it promises is exactly what `Disk` in `world.ts` promises, and it
 * takes every liberty that this leaves:
 * - each operation takes a time of its own; those on one file happen in the order in which they were asked for, those on
 *   different files in any order;
 * - when a process is killed, what it was doing may have happened, in part or not at all; what it had finished stays (the
 *   operating system has it);
 * - when the power goes, of each file any part of what was not synced is lost from the end, and sectors of what stays may
 *   hold zeros or rubbish instead.
 *
 * What was synced never changes.
 */

import { assert, Fault } from "../../src/assert.ts";
import type { Disk } from "../../src/world.ts";
import type { SimRandom } from "./sim-random.ts";
import type { Scheduler, SimProcess } from "./sim-scheduler.ts";

/** Disks write whole sectors: a torn write is torn at their borders. */
const SECTOR_BYTES = 512;

const SMALLEST_FILE_BYTES = 256;

/** How disks behave. May be changed while the simulation runs. */
export interface DiskSettings {
  /** The shortest time an operation takes, in milliseconds. */
  latencyMinMs: number;
  /** What chance adds to that, on average, in milliseconds. */
  latencyMeanMs: number;
  /** How long a kibibyte takes to be written, in microseconds. */
  microsecondsPerKib: number;
  /** How likely a sector that was not synced holds zeros or rubbish after the power went. */
  tornSectorChance: number;
}

export const DEFAULT_DISK: Readonly<DiskSettings> = {
  latencyMinMs: 0.05,
  latencyMeanMs: 0.2,
  microsecondsPerKib: 2,
  tornSectorChance: 0,
};

/** What became of a machine: its process was killed, or the power went. */
export type CrashKind = "process" | "power";

interface SimFile {
  bytes: Uint8Array;
  length: number;
  /** Bytes from the start that no crash takes back. */
  syncedLength: number;
}

interface Operation {
  readonly paths: readonly string[];
  /** Does it whole, or a part of it (`fraction` below 1; what cannot be done by parts does nothing then). */
  readonly apply: (fraction: number) => void;
}

/** A disk, as it stands in the machine. */
export class DiskStore {
  readonly settings: DiskSettings;
  /** Multiplies the time of each operation; the fault injector turns it up for a while. */
  slowness = 1;
  readonly #random: SimRandom;
  readonly #files = new Map<string, SimFile>();
  readonly #busyUntilUs = new Map<string, number>();
  #running: Operation[] = [];

  constructor(settings: DiskSettings, random: SimRandom) {
    this.settings = settings;
    this.#random = random;
  }

  /** What a file holds (synced or not), for checks from outside; `undefined` if there is none. */
  peek(path: string): Uint8Array | undefined {
    const file = this.#files.get(path);
    return file?.bytes.slice(0, file.length);
  }

  /** The first bytes of a file, which no crash takes back: how many they are. 0 if there is none. */
  syncedLength(path: string): number {
    return this.#files.get(path)?.syncedLength ?? 0;
  }

  /** All files' paths, sorted. */
  paths(): string[] {
    return [...this.#files.keys()].toSorted();
  }

  /** Loses everything, as a new disk. */
  wipe(): void {
    this.#files.clear();
    this.#running = [];
    this.#busyUntilUs.clear();
  }

  /** What a crash does. Its process must be dead already. */
  crash(kind: CrashKind): void {
    const unfinished = new Set<string>();
    for (const operation of this.#running) {
      // Operations on one file go in order: nothing follows one that was not finished.
      if (operation.paths.some((path) => unfinished.has(path))) continue;
      const fraction = this.#random.pick([0, this.#random.fraction(), 1]);
      attempt(operation, fraction);
      if (fraction < 1) for (const path of operation.paths) unfinished.add(path);
    }
    this.#running = [];
    this.#busyUntilUs.clear();
    if (kind === "power") for (const file of this.#files.values()) this.#loseUnsynced(file);
  }

  /**
   * Does something to files after the time that it takes.
   *
   * @param process Who asks, and is told.
   * @param paths The files that it concerns.
   * @param size How many bytes move.
   * @param part What it does when it is cut off; without it, that is nothing.
   */
  operate<T>(
    scheduler: Scheduler,
    process: SimProcess,
    label: string,
    paths: readonly string[],
    size: number,
    whole: () => T,
    part?: (fraction: number) => void,
  ): Promise<T> {
    // A dead process asks for nothing any more, and is told nothing.
    if (!process.isAlive) return new Promise<T>(() => undefined);
    scheduler.called(process);
    const { latencyMinMs, latencyMeanMs, microsecondsPerKib } = this.settings;
    const latencyUs = (latencyMinMs + this.#random.exponential(latencyMeanMs)) * 1000 * this.slowness;
    let startUs = scheduler.nowFor(process);
    for (const path of paths) startUs = Math.max(startUs, this.#busyUntilUs.get(path) ?? 0);
    const doneUs = startUs + Math.ceil(latencyUs + (size * microsecondsPerKib) / 1024);
    for (const path of paths) this.#busyUntilUs.set(path, doneUs);
    const operation: Operation = {
      paths,
      apply: (fraction) => {
        if (fraction >= 1) whole();
        else part?.(fraction);
      },
    };
    this.#running.push(operation);
    return scheduler.promise(process, doneUs, label, () => {
      this.#running.splice(this.#running.indexOf(operation), 1);
      return whole();
    });
  }

  read(path: string): Uint8Array | undefined {
    return this.peek(path);
  }

  append(path: string, bytes: Uint8Array): void {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = { bytes: new Uint8Array(SMALLEST_FILE_BYTES), length: 0, syncedLength: 0 };
      this.#files.set(path, file);
    }
    const length = file.length + bytes.length;
    if (length > file.bytes.length) {
      const larger = new Uint8Array(Math.max(length, file.bytes.length * 2));
      larger.set(file.bytes.subarray(0, file.length));
      file.bytes = larger;
    }
    file.bytes.set(bytes, file.length);
    file.length = length;
  }

  sync(path: string): void {
    const file = this.#present(path, "sync");
    file.syncedLength = file.length;
  }

  truncate(path: string, length: number): void {
    const file = this.#present(path, "truncate");
    assert(length >= 0 && length <= file.length, "a file is cut to a length from 0 to its own");
    file.length = length;
    file.syncedLength = Math.min(file.syncedLength, length);
  }

  rename(from: string, to: string): void {
    const file = this.#present(from, "rename");
    this.#files.delete(from);
    this.#files.set(to, file);
  }

  /** Renames all files of a directory, in one step. */
  renameDirectory(from: string, to: string): void {
    for (const path of this.paths()) {
      if (path.startsWith(`${from}/`)) this.rename(path, to + path.slice(from.length));
    }
  }

  remove(path: string): void {
    this.#files.delete(path);
  }

  list(directory: string): string[] {
    const prefix = directory === "" || directory === "." ? "" : `${directory}/`;
    const names = new Set<string>();
    for (const path of this.#files.keys()) {
      if (path.startsWith(prefix)) names.add(path.slice(prefix.length).split("/", 1)[0] ?? "");
    }
    return [...names].toSorted();
  }

  #present(path: string, verb: string): SimFile {
    const file = this.#files.get(path);
    if (file === undefined) throw new Error(`Cannot ${verb} "${path}": there is no such file`);
    return file;
  }

  #loseUnsynced(file: SimFile): void {
    const unsynced = file.length - file.syncedLength;
    if (unsynced === 0) return;
    file.length =
      file.syncedLength +
      this.#random.weighted([
        [1, 0],
        [2, this.#random.below(unsynced + 1)],
        [1, unsynced],
      ]);
    for (let start = file.syncedLength; start < file.length;) {
      const end = Math.min(file.length, start - (start % SECTOR_BYTES) + SECTOR_BYTES);
      if (this.#random.chance(this.settings.tornSectorChance)) {
        if (this.#random.chance(0.5)) file.bytes.fill(0, start, end);
        else file.bytes.set(this.#random.bytes(end - start), start);
      }
      start = end;
    }
    // What the next start reads is on the disk.
    file.syncedLength = file.length;
  }
}

/** Does an operation whose process is gone: what it would have been told (that there is no such file) nobody hears. */
function attempt(operation: Operation, fraction: number): void {
  try {
    operation.apply(fraction);
  } catch (error) {
    if (error instanceof Fault) throw error;
  }
}

/** A process' door to its machine's disk. */
export class SimDisk implements Disk {
  readonly #scheduler: Scheduler;
  readonly #process: SimProcess;
  readonly #store: DiskStore;

  constructor(scheduler: Scheduler, process: SimProcess, store: DiskStore) {
    this.#scheduler = scheduler;
    this.#process = process;
    this.#store = store;
  }

  read(path: string): Promise<Uint8Array | undefined> {
    return this.#operate("disk read", [path], 0, () => this.#store.read(path));
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    const copy = bytes.slice();
    return this.#operate(
      "disk append",
      [path],
      copy.length,
      () => this.#store.append(path, copy),
      (fraction) => {
        if (fraction > 0) this.#store.append(path, copy.subarray(0, Math.floor(copy.length * fraction)));
      },
    );
  }

  sync(path: string): Promise<void> {
    return this.#operate("disk sync", [path], 0, () => this.#store.sync(path));
  }

  truncate(path: string, length: number): Promise<void> {
    return this.#operate("disk truncate", [path], 0, () => this.#store.truncate(path, length));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#operate("disk rename", [from, to], 0, () => this.#store.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#operate("disk remove", [path], 0, () => this.#store.remove(path));
  }

  list(directory: string): Promise<readonly string[]> {
    // Waits for nothing: which of the operations that are under way it sees is chance.
    return this.#operate("disk list", [], 0, () => this.#store.list(directory));
  }

  #operate<T>(
    label: string,
    paths: readonly string[],
    size: number,
    whole: () => T,
    part?: (fraction: number) => void,
  ): Promise<T> {
    for (const path of paths) {
      assert(path !== "" && !path.startsWith("/"), "a path on a disk is relative");
      assert(!path.split("/").includes(".."), "a path on a disk does not leave it");
    }
    return this.#store.operate(this.#scheduler, this.#process, label, paths, size, whole, part);
  }
}
