/** What a bench is, and what it is given. `main.ts` lists them all. */

import type { BenchResult } from "./report.ts";
import type { Servers, Subject } from "./servers.ts";

export interface Bench {
  /** What one types to run it. */
  readonly name: string;
  /** What it measures, in one sentence. */
  readonly summary: string;
  readonly run: (context: BenchContext) => Promise<BenchResult>;
}

export interface BenchContext {
  readonly servers: Servers;
  /** The one whose bounds are checked. */
  readonly ours: Subject;
  /** Redis, which it is compared with. */
  readonly theirs: Subject;
  /** This port and the nine above it may be used (and those 10,000 higher, for the cluster buses). */
  readonly port: number;
  /** Whether rough figures, soon, are better than good ones later. */
  readonly isQuick: boolean;
  /** Tells what is going on, while it goes on. */
  readonly progress: (message: string) => void;
  /** What the command line asks for in place of a bench's own choice. */
  readonly overrides: Overrides;
}

export interface Overrides {
  readonly rounds?: number | undefined;
  readonly seconds?: number | undefined;
  readonly keys?: number | undefined;
  /** Which rows of a matrix to run. */
  readonly filter?: RegExp | undefined;
}
