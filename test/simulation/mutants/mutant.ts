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
  /** It must be found within so many seeds, counted from 1. */
  readonly withinSeeds: number;
}
