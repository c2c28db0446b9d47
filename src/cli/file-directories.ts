/** The directories of this machine. */
import { existsSync } from "node:fs";
import { cp, open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { createBunWorld } from "../world-bun.ts";
import type { Disk } from "../world.ts";
import type { Directories } from "./directories.ts";

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
