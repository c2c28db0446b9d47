/** All checks on what a node knows at a moment. Pure. */
import {
  checkBalance,
  checkClocks,
  checkMembers,
  checkMigrations,
  checkQuorum,
  checkReplicas,
  checkSlots,
} from "./cluster-checks.ts";
import { checkDisk, checkLag, checkLoopLag, checkMapVersion, checkMemory, checkNode } from "./node-checks.ts";
import type { Finding, HealthFacts, HealthThresholds } from "./types.ts";

/** @returns A finding for each part of the facts that is there. */
export function evaluate(facts: HealthFacts, thresholds: HealthThresholds): readonly Finding[] {
  const found: Finding[] = [];
  const judge = <Facts>(
    part: Facts | undefined,
    check: (facts: Facts, thresholds: HealthThresholds) => Finding,
  ): void => {
    if (part !== undefined) found.push(check(part, thresholds));
  };
  judge(facts.quorum, checkQuorum);
  judge(facts.node, checkNode);
  judge(facts.slots, checkSlots);
  judge(facts.replicas, checkReplicas);
  judge(facts.members, checkMembers);
  judge(facts.lag, checkLag);
  judge(facts.clocks, checkClocks);
  judge(facts["map-version"], checkMapVersion);
  judge(facts.migrations, checkMigrations);
  judge(facts.balance, checkBalance);
  judge(facts["loop-lag"], checkLoopLag);
  judge(facts.memory, checkMemory);
  judge(facts.disk, checkDisk);
  return found;
}
