/** Mutants of slots that move key by key: whole nodes that fail over by themselves, and an operator who moves slots meanwhile, must find them (`key-mover.ts`). */
import type { Mutant } from "./mutant.ts";

export const SLOT_MUTANTS: readonly Mutant[] = [
  {
    name: "keys-change-on-their-way",
    breaks: "Commands on a slot wait while keys of it are on their way.",
    file: "src/slot-hold.ts",
    find: "if (hasKey) return key.slot;",
    replace: "if (hasKey) return NO_SLOT;",
    run: "slots",
    seed: 24,
    withinSeeds: 30,
  },
];
