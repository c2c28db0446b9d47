/** Directories as a whole, which what makes or replaces a data directory works on: those of this machine here, those of a simulated one in tests. */
import { existsSync } from "node:fs";
import { cp, open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { createBunWorld } from "../world-bun.ts";
import type { Disk } from "../world.ts";

export interface Directories {
  exists(path: string): Promise<boolean>;
  /** The files in one. It is made with the first of them. */
  disk(path: string): Disk;
  /** Copies what is in one, but for a directory in it, to where nothing is. */
  copy(source: string, target: string, except: string): Promise<void>;
  /** Renames one, durably and in one step. An empty one in the target's place is replaced. */
  rename(source: string, target: string): Promise<void>;
  /** Removes one with everything in it; nothing happens if there is none. */
  remove(path: string): Promise<void>;
}

/** Those of this machine. */
export class FileDirectories implements Directories {
  exists(path: string): Promise<boolean> {
    return Promise.resolve(existsSync(path));
  }

  disk(path: string): Disk {
    return createBunWorld({ dataDirectory: path }).disk;
  }

  async copy(source: string, target: string, except: string): Promise<void> {
    const left = resolve(source, except);
    await cp(source, target, { recursive: true, filter: (each) => resolve(each) !== left });
  }

  async rename(source: string, target: string): Promise<void> {
    await rename(resolve(source), resolve(target));
    for (const path of new Set([dirname(resolve(target)), dirname(resolve(source))])) {
      const parent = await open(path, "r");
      await parent.sync();
      await parent.close();
    }
  }

  async remove(path: string): Promise<void> {
    await rm(path, { recursive: true, force: true });
  }
}
