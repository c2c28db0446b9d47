/**
 * A disk in memory, for looking at files without touching them: what reads a data directory also mends it (cuts torn ends, begins new files), and nothing
 * may be changed before its owner has said yes.
 */
import type { Disk } from "../world.ts";

export class MemoryDisk implements Disk {
  readonly #files = new Map<string, Uint8Array>();

  /** Copies some files, and those in a directory. */
  static async copyOf(source: Disk, files: readonly string[], directory: string): Promise<MemoryDisk> {
    const disk = new MemoryDisk();
    const inside = (await source.list(directory)).map((name) => `${directory}/${name}`);
    for (const path of [...files, ...inside]) {
      const bytes = await source.read(path);
      if (bytes !== undefined) disk.#files.set(path, bytes);
    }
    return disk;
  }

  read(path: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#files.get(path)?.slice());
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    const before = this.#files.get(path) ?? new Uint8Array(0);
    const after = new Uint8Array(before.length + bytes.length);
    after.set(before);
    after.set(bytes, before.length);
    this.#files.set(path, after);
    return Promise.resolve();
  }

  sync(): Promise<void> {
    return Promise.resolve();
  }

  truncate(path: string, length: number): Promise<void> {
    this.#files.set(path, (this.#files.get(path) ?? new Uint8Array(0)).slice(0, length));
    return Promise.resolve();
  }

  rename(from: string, to: string): Promise<void> {
    const bytes = this.#files.get(from);
    if (bytes === undefined) return Promise.reject(new Error(`There is no file "${from}"`));
    this.#files.delete(from);
    this.#files.set(to, bytes);
    return Promise.resolve();
  }

  remove(path: string): Promise<void> {
    this.#files.delete(path);
    return Promise.resolve();
  }

  list(directory: string): Promise<readonly string[]> {
    const prefix = directory === "." ? "" : `${directory}/`;
    const names = [...this.#files.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length).split("/", 1)[0] ?? "");
    return Promise.resolve([...new Set(names)].toSorted());
  }
}
