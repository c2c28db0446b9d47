/** Directories as a whole, which what makes or replaces a data directory works on: `file-directories.ts` has this machine's, tests have simulated ones. */
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
