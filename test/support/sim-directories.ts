/** Directories on a simulated disk: for code that works on whole ones, and for a node that has one of its own among them. */
import type { Directories } from "../../src/cli/directories.ts";
import type { Disk, World } from "../../src/world.ts";
import type { DiskStore } from "./sim-disk.ts";

/** A directory of a disk, as a disk. */
export class SubDisk implements Disk {
  readonly #disk: Disk;
  readonly #directory: string;

  constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  read(path: string): Promise<Uint8Array | undefined> {
    return this.#disk.read(this.#in(path));
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    return this.#disk.append(this.#in(path), bytes);
  }

  sync(path: string): Promise<void> {
    return this.#disk.sync(this.#in(path));
  }

  truncate(path: string, length: number): Promise<void> {
    return this.#disk.truncate(this.#in(path), length);
  }

  rename(from: string, to: string): Promise<void> {
    return this.#disk.rename(this.#in(from), this.#in(to));
  }

  remove(path: string): Promise<void> {
    return this.#disk.remove(this.#in(path));
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#disk.list(directory === "." ? this.#directory : this.#in(directory));
  }

  #in(path: string): string {
    return `${this.#directory}/${path}`;
  }
}

/** The directories of a machine, as a process on it works on them. */
export class SimDirectories implements Directories {
  readonly #world: World;
  readonly #store: DiskStore;

  constructor(world: World, store: DiskStore) {
    this.#world = world;
    this.#store = store;
  }

  async exists(path: string): Promise<boolean> {
    return (await this.#world.disk.list(path)).length > 0;
  }

  disk(path: string): Disk {
    return new SubDisk(this.#world.disk, path);
  }

  async copy(source: string, target: string, except: string): Promise<void> {
    for (const name of await this.#world.disk.list(source)) {
      const bytes = name === except ? undefined : await this.#world.disk.read(`${source}/${name}`);
      if (bytes !== undefined) await this.#world.disk.append(`${target}/${name}`, bytes);
    }
  }

  async rename(source: string, target: string): Promise<void> {
    if (await this.exists(target)) throw new Error(`Cannot rename ${source}: there is a ${target} already`);
    // Takes as long as any other operation, and happens at its end: a process that died meanwhile has not done it.
    await this.#world.disk.list(source);
    this.#store.renameDirectory(source, target);
  }

  async remove(path: string): Promise<void> {
    // File by file: a crash leaves a part.
    const inside = this.#store.paths().filter((each) => each.startsWith(`${path}/`));
    for (const each of inside) await this.#world.disk.remove(each);
  }
}
