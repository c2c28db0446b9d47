/** What a mutant is. */

export interface Mutant {
  /** In kebab-case. */
  readonly name: string;
  /** The rule that it breaks, in words. */
  readonly breaks: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** What finds it: machines alone (`raft-world.ts` for Raft, `swim-run.ts` for membership), or whole nodes (`cluster-run.ts` and its like). */
  readonly run:
    | "raft"
    | "swim"
    | "cluster"
    | "forget"
    | "forget-without-leases"
    | "reset"
    | "recover"
    | "formation"
    | "sole"
    | "meeting"
    | "replication"
    | "failover"
    | "migration";
  /** Where the hunt begins: of all seeds from 1 on the first one that found it, when that was last looked for. By default 1. */
  readonly seed?: number;
  /** It must be found within so many seeds, that one counted: what is simulated changes with what is built, and a seed that finds it now may miss it then. */
  readonly withinSeeds: number;
}
